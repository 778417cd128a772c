// Numbers and times as text: they are shown digit for digit, and compared by their digits.

// By the digits, not by what a double makes of them. Prices and strikes are never negative.
export function compareDecimals(a, b) {
  if (a === b) return 0;
  if (a == null || b == null) return a == null ? -1 : 1;
  const [wholeA, partA = ""] = a.split("."), [wholeB, partB = ""] = b.split(".");
  if (wholeA.length !== wholeB.length) return wholeA.length - wholeB.length;
  if (wholeA !== wholeB) return wholeA < wholeB ? -1 : 1;
  const length = Math.max(partA.length, partB.length);
  const [x, y] = [partA.padEnd(length, "0"), partB.padEnd(length, "0")];
  return x === y ? 0 : x < y ? -1 : 1;
}

export function duration(ms) {
  const seconds = Math.max(0, ms) / 1000;
  if (seconds < 9.95) return `${seconds.toFixed(1)} s`;
  if (seconds < 120) return `${Math.round(seconds)} s`;
  if (seconds < 7_200) return `${Math.round(seconds / 60)} min`;
  if (seconds < 172_800) return `${Math.round(seconds / 3_600)} h`;
  return `${Math.round(seconds / 86_400)} days`;
}

export function count(number) {
  return number == null ? "–" : Math.round(number).toLocaleString("en");
}

// To the minute: 2026-12-25 08:00 UTC.
export function minuteOf(time) {
  return `${time.slice(0, 10)} ${time.slice(11, 16)} UTC`;
}
