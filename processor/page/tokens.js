// The tokens view: tokens by volume in a window with their last five-minute volumes, and the status of
// a transaction's swaps.
//
// Rows are fetched again every few seconds while the view is shown: their order changes with each swap.
// Volumes are shown as the text that came. Only the sparklines, which draw, make numbers of them.

import { by, element, setText } from "/page/dom.js";
import { count, duration, minuteOf } from "/page/text.js";

const REFRESH_MS = 3_000; // Shorter than a block of most chains.
const SHOWN = 50; // Rows of the table; /v1/tokens has the others.
const VOLUMES = 48; // Five-minute windows of a sparkline: four hours.
const OLD_MS = 900_000; // Of the newest bucket: swaps of followed pools come every few minutes.
const SPARK = { width: 96, height: 24 }; // In units of the drawing.
const WINDOWS = ["5m", "1h", "24h"];
const SVG = "http://www.w3.org/2000/svg";
const STATES = {
  waiting: ["connecting", "Waiting"],
  failed: ["gone", "Not readable"],
  empty: ["connecting", "No swaps"],
  live: ["live", "Live"],
  old: ["gone", "Old"],
};
// Of swaps: the pill's colour and words.
const STATUSES = {
  PENDING: ["quiet", "Pending", "in no block yet, and counted nowhere"],
  INCLUDED: ["quiet", "Included", "in a block, with fewer confirmations than asked"],
  CONFIRMED: ["live", "Confirmed", "counted"],
  FINAL: ["live", "Final", "64 blocks deep: no reorganisation is expected to reach it"],
  REMOVED: ["dead", "Removed", "a reorganisation took its block away: counted nowhere"],
};

const keyOf = (row) => `${row.chain}/${row.token}`;
const nameOf = (row) => row.symbol || shortOf(row.token);
const shortOf = (hex) => `${hex.slice(0, 6)}…${hex.slice(-4)}`;

// Raw units as whole tokens, digit for digit.
export function wholeOf(raw, decimals) {
  if (raw == null) return "–";
  if (decimals == null) return raw;
  if (decimals === 0) return raw;
  const digits = raw.padStart(decimals + 1, "0");
  const part = digits.slice(-decimals).replace(/0+$/, "");
  return digits.slice(0, -decimals) + (part && `.${part}`);
}

// `announce` reads a text aloud, `now` is the server's time.
export function createTokens({ announce, now }) {
  const lines = new Map(); // key -> { element, cells, spark }
  let isShown = false, choice = "24h", answer = null, failure = "", asking = 0, timer = 0;
  let tx = "", found = null, refusal = "", lookup = 0, isFirst = false; // Of the transaction.
  let lastState = "waiting", chosen = "";

  // ---- The address -------------------------------------------------------------------------------

  // `place` is a window or nothing.
  function show(place) {
    isShown = true;
    const next = WINDOWS.includes(place) ? place : "24h";
    if (next !== choice) answer = null;
    choice = next;
    for (const button of document.querySelectorAll("[data-window]")) {
      button.setAttribute("aria-pressed", String(button.dataset.window === choice));
    }
    refresh();
    draw();
  }

  function hide() {
    isShown = false;
    clearTimeout(timer);
  }

  for (const button of document.querySelectorAll("[data-window]")) {
    button.addEventListener("click", () => { location.hash = `tokens/${button.dataset.window}`; });
  }

  // ---- Requests ----------------------------------------------------------------------------------

  async function read(path) {
    const reply = await fetch(path, { cache: "no-store" });
    const body = await reply.json();
    if (!reply.ok) throw new Error(body.error ?? `the answer is ${reply.status}`);
    return body;
  }

  async function refresh() {
    clearTimeout(timer);
    const ask = asking += 1;
    let next = null, trouble = "";
    try {
      next = await read(`/v1/tokens?window=${choice}&limit=${SHOWN}&volumes=${VOLUMES}`);
    } catch (error) { trouble = error.message; }
    if (ask !== asking || !isShown) return; // Another window was chosen meanwhile.
    failure = trouble;
    if (next) answer = next;
    draw();
    if (tx) look();
    timer = setTimeout(refresh, REFRESH_MS);
  }

  // ---- The table ---------------------------------------------------------------------------------

  function stateOf() {
    if (failure) return "failed";
    if (!answer) return "waiting";
    if (!answer.tokens.length) return "empty";
    return now() - Date.parse(answer.until) > OLD_MS ? "old" : "live";
  }

  function noteOf(state) {
    switch (state) {
      case "failed": return `The tokens cannot be read: ${failure}. They are read again every ${REFRESH_MS / 1000} s.${answer ? " These are the last that came." : ""}`;
      case "empty": return "No swap has been counted. producer run --venue ethereum follows the pools of a chain, and processor run --topologies prices,swaps counts their swaps.";
      case "old": return `The newest swaps are ${duration(now() - Date.parse(answer.until))} old. The feed is late, or the chain is silent.`;
      default: return "";
    }
  }

  function draw() {
    if (!isShown) return;
    const state = stateOf(), [pill, text] = STATES[state], note = noteOf(state);
    by("tokens-card").dataset.state = state;
    by("tokens-card").dataset.window = choice;
    by("tokens-state").dataset.state = pill;
    setText(by("tokens-state-text"), text);
    setText(by("tokens-note"), note);
    by("tokens-note").hidden = !note;
    const rows = answer?.tokens ?? [];
    const keep = new Set(rows.map(keyOf));
    for (const [key, line] of lines) if (!keep.has(key)) { line.element.remove(); lines.delete(key); }
    const body = by("token-rows"), focused = document.activeElement; // A row that moves loses it.
    rows.forEach((row, at) => {
      const key = keyOf(row), line = lines.get(key) ?? makeLine(row);
      lines.set(key, line);
      fill(line, row);
      if (body.children[at] !== line.element) body.insertBefore(line.element, body.children[at] ?? null);
    });
    if (body.contains(focused) && document.activeElement !== focused) focused.focus({ preventScroll: true });
    by("tokens-empty").hidden = rows.length > 0;
    setText(by("tokens-empty"), state === "waiting" ? "Waiting for the tokens." : "No tokens to show.");
    setText(by("tokens-span"), answer?.from ? `${minuteOf(answer.from)} to ${minuteOf(answer.until)}${answer.next_cursor ? `, the first ${SHOWN} by volume` : ""}` : "");
    showToken(rows.find((row) => keyOf(row) === chosen));
    if (state !== lastState && state !== "waiting") announce(`Tokens: ${text}.`);
    lastState = state;
  }

  function makeLine(row) {
    const made = element("tr"), head = element("th"), button = element("button", "", "choose");
    head.scope = "row";
    button.type = "button";
    button.dataset.token = row.token;
    button.addEventListener("click", () => pick(keyOf(row)));
    head.append(button, element("span", "", "note"));
    const cells = Object.fromEntries(["volume_usd", "swaps", "unpriced_swaps", "volume", "pools"].map((name) => [name, element("td", "", name === "volume" || name === "pools" ? "number wide" : "number")]));
    const cell = element("td", undefined, "spark"), spark = document.createElementNS(SVG, "svg");
    spark.setAttribute("viewBox", `0 0 ${SPARK.width} ${SPARK.height}`);
    spark.setAttribute("role", "img");
    spark.append(document.createElementNS(SVG, "path"));
    cell.append(spark);
    made.append(head, cell, cells.volume_usd, cells.swaps, cells.unpriced_swaps, cells.volume, cells.pools);
    return { element: made, head, cells, spark };
  }

  function fill({ element: row, head, cells, spark }, values) {
    const [button, chain] = head.children;
    setText(button, nameOf(values));
    button.setAttribute("aria-pressed", String(keyOf(values) === chosen));
    button.title = values.token;
    setText(chain, ` chain ${values.chain}`);
    row.setAttribute("aria-current", String(keyOf(values) === chosen));
    setText(cells.volume_usd, values.volume_usd ?? "–");
    setText(cells.swaps, count(values.swaps));
    setText(cells.unpriced_swaps, count(values.unpriced_swaps));
    setText(cells.volume, wholeOf(values.volume, values.decimals));
    setText(cells.pools, count(values.pools));
    drawSpark(spark, values);
  }

  // A bar for each window. The highest is as high as the drawing, so it shows the shape and no amount.
  function drawSpark(spark, { volumes = [], symbol, token, decimals }) {
    const numbers = volumes.map((volume) => Number(volume ?? 0)), most = Math.max(...numbers, 0);
    const step = SPARK.width / Math.max(numbers.length, 1);
    const bars = numbers.map((number, at) => {
      const height = most > 0 ? Math.max(number > 0 ? 1 : 0, number / most * SPARK.height) : 0;
      return height > 0 ? `M${(at * step).toFixed(2)} ${SPARK.height}v${(-height).toFixed(2)}h${(step * .8).toFixed(2)}v${height.toFixed(2)}z` : "";
    });
    const path = bars.join("");
    if (spark.firstChild.getAttribute("d") !== path) spark.firstChild.setAttribute("d", path);
    const active = numbers.filter((number) => number > 0).length;
    const last = wholeOf(volumes.at(-1) ?? "0", decimals);
    spark.setAttribute("aria-label", `${symbol || shortOf(token)}: swaps in ${active} of the last ${numbers.length} five-minute windows, ${last} in the newest`);
    spark.dataset.active = String(active);
  }

  function pick(key) {
    chosen = chosen === key ? "" : key;
    announce(chosen ? "All values of the token are below the table." : "No token is chosen.");
    draw();
  }

  function showToken(row) {
    by("token-hint").hidden = Boolean(row);
    setText(by("token-title"), row ? nameOf(row) : "Token");
    const facts = row ? [
      ["Address", row.token], ["Chain", String(row.chain)], ["Decimals", row.decimals == null ? "unknown" : String(row.decimals)],
      ["Volume, USD", row.volume_usd ?? "–"], ["Volume", wholeOf(row.volume, row.decimals)], ["Volume, raw units", row.volume ?? "beyond 78 digits"],
      ["Swaps", count(row.swaps)], ["Without a value in USD", count(row.unpriced_swaps)],
      ["Pools", row.pools == null ? "not counted over 24 h" : count(row.pools)], ["Last swap", minuteOf(row.event_time)],
    ] : [];
    setFacts(by("token-facts"), facts);
  }

  // ---- A transaction -----------------------------------------------------------------------------

  by("tx-form").addEventListener("submit", (event) => {
    event.preventDefault();
    tx = by("tx").value.trim();
    found = null;
    refusal = "";
    isFirst = true;
    if (!tx) { lookup += 1; return showSwaps(); }
    showSwaps();
    look();
  });

  // Again with each refresh, because a status changes with the blocks on top of it.
  async function look() {
    const ask = lookup += 1, asked = tx;
    let next = null, trouble = "";
    try { next = await read(`/v1/swaps/${encodeURIComponent(asked)}`); } catch (error) { trouble = error.message; }
    if (ask !== lookup || asked !== tx) return;
    const before = statusText();
    refusal = trouble;
    if (next || isFirst) found = next;
    showSwaps();
    if (isFirst || statusText() !== before) announce(statusText());
    isFirst = false;
  }

  function statusText() {
    if (refusal) return refusal;
    const rows = found?.swaps ?? [];
    return rows.map((row) => `${STATUSES[row.status]?.[1] ?? row.status}`).join(", ");
  }

  function showSwaps() {
    const rows = found?.swaps ?? [];
    by("swaps-card").dataset.state = refusal ? "refused" : rows.length ? "found" : tx ? "waiting" : "idle";
    setText(by("tx-note"), refusal || (rows.length ? "" : tx ? "Looking." : "Enter the hash of a transaction: 0x and 64 hexadecimal digits."));
    by("tx-note").hidden = !by("tx-note").textContent;
    by("tx-note").className = refusal ? "warning" : "note";
    const list = by("swap-rows");
    while (list.children.length > rows.length) list.lastElementChild.remove();
    rows.forEach((row, at) => {
      let item = list.children[at];
      if (!item) {
        item = list.appendChild(element("li"));
        item.append(element("span", "", "state"), element("span", "", "name"), element("span", "", "note"), element("dl", undefined, "facts small"));
      }
      const [colour, word, meaning] = STATUSES[row.status] ?? ["quiet", row.status, ""];
      const [state, name, note, facts] = item.children;
      item.dataset.status = row.status;
      state.className = `state ${colour}`;
      setText(state, word);
      setText(name, row.log_index == null ? "in no block" : `log ${row.log_index} of block ${row.block_number ?? "?"}`);
      setText(note, meaning);
      setFacts(facts, [
        ["Pool", row.pool], ["Chain", String(row.chain)], ["Amount of token 0, raw units", row.amount0], ["Amount of token 1, raw units", row.amount1],
        ["Block", row.block_hash ?? "–"], ["Block time", row.block_time ? minuteOf(row.block_time) : "–"],
      ]);
    });
  }

  showSwaps();
  return { show, hide, tick() { draw(); } };
}

// Changes text in place: a list that is made anew with each answer loses what a reader has marked.
function setFacts(list, facts) {
  while (list.children.length > facts.length) list.lastElementChild.remove();
  facts.forEach(([label, value], at) => {
    let fact = list.children[at];
    if (!fact) {
      fact = list.appendChild(element("div"));
      fact.append(element("dt"), element("dd"));
    }
    setText(fact.children[0], label);
    setText(fact.children[1], value);
  });
}
