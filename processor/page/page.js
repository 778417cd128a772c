// The page: prices and candles as they are committed, and how fresh they are.
//
// Prices are shown as the text that came. Only the chart, which draws, makes numbers of them.

import { CandlestickSeries, ColorType, CrosshairMode, createChart, createSeriesMarkers }
  from "/page/vendor/lightweight-charts.standalone.production.mjs";
import { createBook } from "/page/book.js";
import { by, colour, element, setText } from "/page/dom.js";
import { createIndex } from "/page/pair-index.js";
import { createOptions } from "/page/options.js";
import { compareDecimals, count, duration } from "/page/text.js";
import { createTokens } from "/page/tokens.js";

const SHOWN = 300; // Rows of the table; more are a search away.
const HISTORY = 300; // Candles that are fetched for a chart.
const OLD_MS = 60_000; // A price older than this is marked.
const HEALTH_MS = 3_000;
const SILENCE_MS = 15_000; // Three heartbeats: the connection is dead, whatever the browser says.
const WINDOW_MS = 60_000; // Latencies are of the last minute.
const PRICES = 1;
const LENGTH = { "1m": 60_000, "1h": 3_600_000, "1d": 86_400_000 };
const LONGEST_PAUSE = 240; // Windows in a row without a candle that the chart gives room to.

const pairs = new Map(); // key -> { row, previous, element }
const view = { sort: "pair", descending: false, search: "", exchange: "", chosen: null, interval: "1m" };
const tokens = new Map(); // subscription -> resume token
let candles = new Map(); // open time -> row
let candleId = 1;
let lastId = PRICES; // Of a subscription.
let candlesPending = 0;
let socket = null;
let attempts = 0;
let retryAt = 0;
let lastHeard = 0;
let lastMessageWasLive = false;
let clockSkew = 0; // The server's clock less ours.
let health = null;
let exchanges = []; // Rows of /v1/exchanges: the sync of books.
let healthFailed = false;
let saidTrouble = ""; // What was announced last.
const samples = []; // Histograms as they were, for the last minute.

const now = () => Date.now() + clockSkew;
const newId = () => lastId += 1;
const keyOf = (row) => `${row.base}\u0000${row.quote}\u0000${row.exchange}`;

// ---- Theme -------------------------------------------------------------------------------------

const darkQuery = matchMedia("(prefers-color-scheme: dark)");

function isDark() {
  const chosen = document.documentElement.dataset.theme;
  return chosen ? chosen === "dark" : darkQuery.matches;
}

function stored(name, value) {
  try { // A browser may forbid it; the page works without.
    if (value === undefined) return localStorage.getItem(name);
    localStorage.setItem(name, value);
  } catch { /* Nothing is remembered. */ }
  return null;
}

function showTheme() {
  by("theme").setAttribute("aria-pressed", String(isDark()));
  chart.restyle();
  book.restyle();
  options.restyle();
}

// ---- Prices ------------------------------------------------------------------------------------

function takePrice(row) {
  const key = keyOf(row);
  const known = pairs.get(key);
  if (row.deleted) {
    if (known) { known.element?.remove(); pairs.delete(key); structure = true; }
    return;
  }
  if (known) {
    const order = compareDecimals(row.price, known.row.price);
    if (order !== 0) known.direction = order > 0 ? "up" : "down";
    known.row = row;
    known.changed = true;
  } else {
    pairs.set(key, { row, direction: "", changed: true, element: null });
    structure = true;
  }
}

let structure = true; // Rows have come, gone, or are to stand otherwise.
let drawing = false;

function draw() {
  if (drawing) return;
  drawing = true;
  requestAnimationFrame(() => {
    drawing = false;
    if (structure) layOut();
    for (const pair of pairs.values()) if (pair.changed && pair.element) fill(pair);
  });
}

const ORDERS = {
  pair: (a, b) => a.row.base.localeCompare(b.row.base) || a.row.quote.localeCompare(b.row.quote),
  exchange: (a, b) => a.row.exchange.localeCompare(b.row.exchange),
  price: (a, b) => compareDecimals(a.row.price, b.row.price),
  volume: (a, b) => compareDecimals(a.row.base_volume_24h, b.row.base_volume_24h),
  age: (a, b) => Date.parse(b.row.event_time) - Date.parse(a.row.event_time),
};

function layOut() {
  structure = false;
  const words = view.search.toLowerCase().split(/\s+/).filter(Boolean);
  const wanted = [...pairs.values()].filter(({ row }) => {
    if (view.exchange && row.exchange !== view.exchange) return false;
    const text = `${row.base}-${row.quote} ${row.base}/${row.quote} ${row.exchange}`.toLowerCase();
    return words.every((word) => text.includes(word));
  });
  const order = ORDERS[view.sort], sign = view.descending ? -1 : 1;
  wanted.sort((a, b) => sign * order(a, b) || ORDERS.pair(a, b) || ORDERS.exchange(a, b));
  const shown = wanted.slice(0, SHOWN);
  const keep = new Set(shown);
  for (const pair of pairs.values()) {
    if (!keep.has(pair) && pair.element) { pair.element.remove(); pair.element = null; }
  }
  const body = by("rows");
  const focused = document.activeElement; // A row that moves loses it.
  shown.forEach((pair, index) => {
    pair.element ??= makeRow(pair);
    if (body.children[index] !== pair.element) body.insertBefore(pair.element, body.children[index] ?? null);
  });
  if (body.contains(focused) && document.activeElement !== focused) focused.focus({ preventScroll: true });
  by("empty").hidden = shown.length > 0;
  setText(by("empty"), pairs.size ? "No pair matches." : "Waiting for the first prices.");
  const more = wanted.length > shown.length ? `, the first ${SHOWN} are shown` : "";
  setText(by("count"), pairs.size ? `${count(wanted.length)} of ${count(pairs.size)} pairs${more}` : "");
  showExchanges();
  if (!view.chosen && shown.length) choose(shown[0].row, false);
}

function makeRow(pair) {
  const row = element("tr");
  const name = row.appendChild(element("td"));
  const button = name.appendChild(element("button", "", "choose"));
  button.type = "button";
  button.addEventListener("click", () => choose(pair.row, true));
  row.append(element("td"), element("td", "", "number"), element("td", "", "number"), element("td", "", "number wide"));
  pair.element = row;
  fill(pair);
  return row;
}

function fill(pair) {
  pair.changed = false;
  const { row, element: line } = pair;
  const [name, exchange, price, , volume] = line.children;
  setText(name.firstChild, `${row.base}-${row.quote}`);
  name.firstChild.setAttribute("aria-label", `${row.base}-${row.quote} on ${row.exchange}`);
  setText(exchange, row.exchange);
  if (price.textContent !== row.price) {
    if (price.textContent) { price.classList.remove("fresh"); void price.offsetWidth; price.classList.add("fresh"); }
    price.textContent = row.price;
  }
  price.classList.toggle("up", pair.direction === "up");
  price.classList.toggle("down", pair.direction === "down");
  setText(volume, row.base_volume_24h ?? "–");
  showAge(pair);
  const isChosen = view.chosen && keyOf(view.chosen) === keyOf(row);
  for (const node of [line, name.firstChild]) {
    if (isChosen) node.setAttribute("aria-current", "true"); else node.removeAttribute("aria-current");
  }
}

function showAge(pair) {
  const cell = pair.element.children[3];
  const age = now() - Date.parse(pair.row.event_time);
  setText(cell, duration(age));
  cell.classList.toggle("old", age > OLD_MS);
}

function showExchanges() {
  const select = by("exchange");
  const names = [...new Set([...pairs.values()].map((pair) => pair.row.exchange))].sort();
  const known = [...select.options].slice(1).map((option) => option.value);
  if (names.join() === known.join()) return;
  select.replaceChildren(select.options[0], ...names.map((name) => {
    const option = element("option", name);
    option.value = name;
    return option;
  }));
  select.value = view.exchange;
}

function sortBy(column) {
  view.descending = view.sort === column ? !view.descending : column !== "pair" && column !== "exchange";
  view.sort = column;
  for (const button of document.querySelectorAll("[data-sort]")) {
    const head = button.parentElement;
    if (button.dataset.sort === column) head.setAttribute("aria-sort", view.descending ? "descending" : "ascending");
    else head.removeAttribute("aria-sort");
  }
  structure = true;
  draw();
}

// ---- Candles -----------------------------------------------------------------------------------

const chart = (() => {
  let api = null, series = null, markers = null, colours = {}, fitted = false;
  const box = () => by("chart");
  const note = element("p", "", "empty");

  function options() {
    return {
      autoSize: true,
      layout: {
        background: { type: ColorType.Solid, color: colours.card }, textColor: colours.text,
        attributionLogo: true, fontFamily: getComputedStyle(document.body).fontFamily,
      },
      grid: { vertLines: { color: colours.line }, horzLines: { color: colours.line } },
      crosshair: { mode: CrosshairMode.Normal },
      rightPriceScale: { borderColor: colours.line },
      timeScale: { borderColor: colours.line, timeVisible: view.interval !== "1d", secondsVisible: false, rightOffset: 3 },
    };
  }

  function readColours() {
    for (const name of ["card", "text", "line", "rise", "fall", "accent", "warn", "soft"]) colours[name] = colour(name);
  }

  function bar(row) {
    const [open, high, low, close] = [row.open, row.high, row.low, row.close].map(Number);
    const side = close >= open ? colours.rise : colours.fall;
    const forming = row.status === "OPEN";
    const edge = row.gap ? colours.warn : forming ? colours.accent : side;
    return {
      time: Date.parse(row.open_time) / 1000, open, high, low, close,
      color: forming ? colours.card : side, borderColor: edge, wickColor: edge,
    };
  }

  // Time in which nobody traded has its width: an outage is seen as one. Of a longer pause, so much.
  function withPauses(rows) {
    const step = LENGTH[view.interval] / 1000, bars = [];
    for (const next of rows.map(bar)) {
      const missing = bars.length ? Math.round((next.time - bars.at(-1).time) / step) - 1 : 0;
      for (let n = Math.min(missing, LONGEST_PAUSE); n > 0; n--) bars.push({ time: next.time - n * step });
      bars.push(next);
    }
    return bars;
  }

  function marks(rows) {
    return rows.flatMap((row) => {
      const time = Date.parse(row.open_time) / 1000, made = [];
      if (row.status === "REVISED") made.push({ time, position: "aboveBar", shape: "circle", color: colours.accent, text: "R" });
      if (row.gap) made.push({ time, position: "belowBar", shape: "square", color: colours.warn, text: "!" });
      else if (isIncomplete(row)) made.push({ time, position: "belowBar", shape: "square", color: colours.warn, text: "½" });
      return made;
    });
  }

  function start() {
    readColours();
    api = createChart(box(), options());
    series = api.addSeries(CandlestickSeries, { priceLineColor: colours.soft });
    markers = createSeriesMarkers(series, []);
  }

  // As many digits as the prices have, so that the scale does not round them all to one.
  function digits(rows) {
    const places = rows.slice(-50).map((row) => (row.close.split(".")[1] ?? "").length);
    const precision = Math.min(8, Math.max(2, ...places));
    series.applyOptions({ priceFormat: { type: "price", precision, minMove: 10 ** -precision } });
  }

  return {
    show(rows) {
      if (!api && rows.length) start();
      note.remove();
      if (!rows.length) {
        note.textContent = view.chosen ? "No candles yet." : pairs.size ? "Choose a pair to see its candles." : "Candles come with the first prices.";
        box().append(note);
      }
      if (!api) return;
      digits(rows);
      const bars = withPauses(rows);
      series.setData(bars);
      markers.setMarkers(marks(rows));
      if (!fitted && rows.length) {
        fitted = true;
        const last = bars.length + 3; // At least forty wide, so that two candles are not two barns.
        api.timeScale().setVisibleLogicalRange({ from: Math.min(last - 40, Math.max(-3, last - 90)), to: last });
      }
      box().dataset.candles = String(rows.length);
    },
    another() { fitted = false; },
    restyle() {
      if (!api) return;
      readColours();
      api.applyOptions(options());
      series.applyOptions({ priceLineColor: colours.soft });
      drawCandles();
    },
  };
})();

function ordered() {
  const rows = [...candles.values()];
  const basis = rows.some((row) => row.basis === "TRADE") ? "TRADE" : "TICKER";
  return rows.filter((row) => row.basis === basis).sort((a, b) => a.open_time < b.open_time ? -1 : 1);
}

let drawingCandles = false;

function drawCandles() {
  if (drawingCandles) return;
  drawingCandles = true;
  requestAnimationFrame(() => {
    drawingCandles = false;
    const rows = ordered();
    chart.show(rows);
    showLast(rows.at(-1));
    if (document.querySelector("details").open) showTable(rows);
  });
}

const STATES = { OPEN: "forming", CLOSED: "closed", REVISED: "revised" };
// Known to lack something. Where the feed told no clock, no candle is known to be complete: a sign at each would tell nothing.
const isIncomplete = (row) => row.status !== "OPEN" && !row.complete && row.coverage_ms !== null;
const coverageOf = (row) => isIncomplete(row) ? ", incomplete" : row.status !== "OPEN" && !row.complete ? ", completeness unknown" : "";
const stateOf = (row) => STATES[row.status] + (row.revision ? ` ${row.revision}×` : "") + (row.gap ? ", gap" : "") + (row.partial_start ? ", began late" : "") + coverageOf(row);

function showLast(row) {
  const line = by("last"), { chosen } = view;
  line.replaceChildren();
  if (!chosen) return;
  const name = `${chosen.base}-${chosen.quote} on ${chosen.exchange}`;
  if (!row) { line.textContent = name; return; }
  const volume = row.base_volume == null ? "" : ` · volume ${row.base_volume}`;
  line.append(element("b", row.close), ` ${name} · O ${row.open} H ${row.high} L ${row.low} C ${row.close}${volume} · ${row.trades} events · ${stateOf(row)}`);
  by("chart").setAttribute("aria-label", `Candle chart of ${name}, ${view.interval}, last close ${row.close}; as a table below`);
}

function showTable(rows) {
  by("candle-rows").replaceChildren(...rows.slice(-100).reverse().map((row) => {
    const line = element("tr");
    const time = row.open_time.slice(0, 16).replace("T", " ");
    line.append(element("td", time), ...[row.open, row.high, row.low, row.close, row.base_volume ?? "–", String(row.trades)].map((text) => element("td", text, "number")), element("td", stateOf(row)));
    return line;
  }));
}

function choose(row, byHand) {
  view.chosen = { base: row.base, quote: row.quote, exchange: row.exchange };
  for (const pair of pairs.values()) if (pair.element) fill(pair);
  if (byHand) announce(`Candles of ${row.base}-${row.quote} on ${row.exchange}`);
  chart.another();
  loadCandles();
  book.choose(view.chosen);
  index.choose(view.chosen);
}

// Hears of changes first and reads history then: what a change says is never older.
function loadCandles() {
  if (!view.chosen) return;
  candles = new Map();
  drawCandles();
  if (candleId > PRICES) say({ op: "unsubscribe", id: candleId });
  tokens.delete(candleId);
  candleId = newId();
  subscribeCandles();
  fetchHistory(candleId, view.chosen, view.interval);
}

function subscribeCandles() {
  if (!view.chosen || candleId === PRICES) return;
  const resume = tokens.get(candleId);
  say({ op: "subscribe", id: candleId, channel: "candles", interval: view.interval, ...view.chosen, ...(resume && { resume }) });
}

async function fetchHistory(id, pair, interval) {
  const newest = pairs.get(keyOf(pair))?.row.event_time;
  const to = newest ? Date.parse(newest) + LENGTH[interval] : now();
  candlesPending += 1;
  try {
    for (const basis of ["TRADE", "TICKER"]) {
      const asked = new URLSearchParams({ ...pair, interval, basis, from: to - HISTORY * LENGTH[interval], limit: HISTORY + 2 });
      const answer = await fetch(`/v1/candles?${asked}`);
      const found = answer.ok ? (await answer.json()).candles : [];
      if (id !== candleId) return;
      for (const row of found) {
        const key = `${basis} ${row.open_time}`;
        if (!candles.has(key)) candles.set(key, { basis, ...row });
      }
      if (found.length) break;
    }
  } catch { /* The next connection asks again. */ } finally { candlesPending -= 1; }
  drawCandles();
}

function takeCandles(rows) {
  for (const row of rows) {
    const key = `${row.basis} ${row.open_time}`;
    if (row.deleted) candles.delete(key); else candles.set(key, row);
  }
  drawCandles();
}

// ---- The socket --------------------------------------------------------------------------------

function say(message) {
  if (socket?.readyState === WebSocket.OPEN) socket.send(JSON.stringify(message));
}

function connect() {
  retryAt = 0;
  setConnection("connecting");
  const opened = socket = new WebSocket(`${location.protocol === "https:" ? "wss" : "ws"}://${location.host}/v1/stream`);
  opened.addEventListener("open", () => {
    lastHeard = Date.now();
    const resume = tokens.get(PRICES);
    say({ op: "subscribe", id: PRICES, channel: "latest", ...(resume && { resume }) });
    subscribeCandles();
    book.subscribe();
    index.subscribe();
    options.subscribe();
  });
  opened.addEventListener("message", (event) => { if (opened === socket) take(JSON.parse(event.data)); });
  opened.addEventListener("close", (event) => { if (opened === socket) lost(event.reason); });
}

function lost(reason) {
  socket = null;
  const base = Math.min(15_000, 500 * 2 ** attempts);
  attempts += 1;
  const pause = base * (0.75 + Math.random() / 2); // So that not everybody comes back at once.
  retryAt = Date.now() + pause;
  setConnection("gone", reason);
  setTimeout(connect, pause);
}

function take(message) {
  lastHeard = Date.now();
  switch (message.type) {
    case "snapshot": case "resumed": case "update":
      attempts = 0;
      setConnection("live");
      if (message.id === PRICES) { message.rows.forEach(takePrice); draw(); }
      else if (message.id === candleId) takeCandles(message.rows);
      else { book.take(message); options.take(message); index.take(message); }
      if (message.resume) tokens.set(message.id, message.resume);
      break;
    case "error":
      options.refused(message);
      index.refused(message);
      break;
    case "gone":
      tokens.delete(message.id);
      // Before a pair is chosen there are no candles to read anew.
      if (view.chosen && message.id === candleId) fetchHistory(candleId, view.chosen, view.interval);
      break;
    case "heartbeat":
      clockSkew = Date.parse(message.time) - Date.now();
      for (const channel of message.channels) {
        if (channel.channel === "latest") tokens.set(PRICES, channel.resume);
        else if (channel.channel === "options") options.heartbeat(channel);
        else if (channel.channel === "index") index.heartbeat(channel);
        else if (channel.channel !== "candles") book.heartbeat(channel);
        else if (channel.interval === view.interval && tokens.has(candleId)) tokens.set(candleId, channel.resume);
      }
      break;
  }
}

function setConnection(state, reason) {
  const pill = by("connection"), before = pill.dataset.state;
  pill.dataset.state = state;
  if (before !== state) setText(by("connection-text"), { live: "Live", connecting: "Connecting", gone: "Not connected" }[state]);
  if (before === "live" && state === "gone") announce(`Connection lost${reason ? `: ${reason}` : ""}. The prices are not live.`);
  if (state === "live" && !lastMessageWasLive) announce("Live.");
  if (state !== "connecting") lastMessageWasLive = state === "live";
  showBanner();
}

function announce(text) {
  setText(by("announce"), text);
}

// ---- Feeds and processor -----------------------------------------------------------------------

async function lookAtHealth() {
  try {
    const answer = await fetch("/v1/health", { cache: "no-store" });
    if (!answer.ok) throw new Error(String(answer.status));
    const listed = await fetch("/v1/exchanges", { cache: "no-store" });
    if (listed.ok) exchanges = (await listed.json()).exchanges;
    health = await answer.json();
    healthFailed = false;
    clockSkew = Date.parse(health.time) - Date.now();
    samples.push({ at: Date.now(), metrics: health.metrics });
    while (samples.length > 2 && Date.now() - samples[0].at > WINDOW_MS) samples.shift();
    showFeeds();
    showProcessor();
  } catch { healthFailed = true; }
  showBanner();
  setTimeout(lookAtHealth, HEALTH_MS);
}

function showFeeds() {
  const lines = health.feeds.map((feed) => {
    const line = element("li");
    line.append(element("span", feed.exchange, "name"), element("span", feed.state, `state ${feed.state}`), element("span", `heard of ${duration(feed.age_ms)} ago`, "note"));
    line.append(...syncOf(feed.exchange));
    if (feed.last_gap_from) {
      const times = [feed.last_gap_from, feed.last_gap_until].map((time) => time ? time.slice(11, 19) : "now");
      line.append(element("span", `last gap ${times.join(" to ")} UTC: ${feed.last_gap_reason}`, "note"));
    }
    return line;
  });
  by("feeds").replaceChildren(...lines.length ? lines : [element("li", "No feed has been heard of.", "note")]);
}

// The books of an exchange, where some are followed.
function syncOf(exchange) {
  const row = exchanges.find((row) => row.exchange === exchange);
  if (!row?.books) return [];
  const total = `${count(row.books)} ${row.books === 1 ? "book" : "books"}`;
  if (!row.books_out_of_sync) return [element("span", `${total} in sync`, "state live sync")];
  const names = row.out_of_sync.map((pair) => `${pair.base}-${pair.quote}`);
  const more = row.books_out_of_sync > names.length ? " …" : "";
  return [
    element("span", `${count(row.books_out_of_sync)} of ${total} out of sync`, "state dead sync"),
    element("span", names.join(", ") + more, "note"),
  ];
}

const sum = (labelled) => labelled ? Object.values(labelled).reduce((a, b) => a + b, 0) : null;

// A quantile of what was counted between two looks: the bound of the bucket that holds it.
function quantile(name, share) {
  const first = samples[0]?.metrics[name], last = samples.at(-1)?.metrics[name];
  if (!last) return null;
  const base = samples.length > 1 && first ? first : { count: 0, buckets: [] };
  const total = last.count - base.count;
  if (total <= 0) return null;
  const bucket = last.buckets.findIndex(([, seen], i) => seen - (base.buckets[i]?.[1] ?? 0) >= share * total);
  return bucket < 0 ? null : last.buckets[bucket][0] * 1000;
}

const both = (name) => {
  const [half, most] = [quantile(name, 0.5), quantile(name, 0.99)];
  return half == null ? null : `≤ ${count(half)} / ${most == null ? "more" : `≤ ${count(most)}`} ms`;
};

function showProcessor() {
  const { metrics, members, follower, partitions } = health;
  const running = members.reduce((n, member) => n + member.running, 0);
  const restoring = members.concat(follower ?? []).reduce((n, member) => n + member.restoring, 0);
  const isView = health.role === "view";
  const lag = sum(isView ? metrics.standby_lag_records : metrics.consumer_lag_records);
  setText(by("role"), isView ? "read view" : "member of the group");
  const facts = [
    ["State", health.ready ? "ready" : "not ready", !health.ready],
    ["Partitions readable here", partitions.length ? partitions.join(" ") : "none", !partitions.length],
    isView ? ["Followed", `${follower?.running ?? 0} partitions`] : ["Assigned", `${running} ${running === 1 ? "task" : "tasks"}`],
    ["Restoring", restoring ? `${restoring}: ${count(sum(metrics.restore_remaining_records) || lag)} records to go` : "nothing", restoring > 0],
    ["Records behind", count(lag)],
  ];
  if (!isView) {
    facts.push(["Commit p50 / p99", both("commit_seconds") ?? "no commit lately"]);
    facts.push(["To commit p50 / p99", both("latency_seconds") ?? "no event lately"]);
    facts.push(["Rebalances", count(metrics.rebalances)]);
  }
  facts.push(["Streaming clients", count(sum(metrics.stream_clients))]);
  const bytes = sum(metrics.store_bytes);
  facts.push(["State on disk", bytes == null ? "–" : `${(bytes / 2 ** 20).toFixed(1)} MiB`]);
  by("processor").replaceChildren(...facts.map(([name, value, attention]) => {
    const fact = element("div");
    fact.append(element("dt", name), element("dd", value, attention ? "attention" : ""));
    return fact;
  }));
}

function newestAge() {
  let newest = -Infinity;
  for (const { row } of pairs.values()) newest = Math.max(newest, Date.parse(row.event_time));
  return newest === -Infinity ? null : now() - newest;
}

function showBanner() {
  const age = newestAge(), state = by("connection").dataset.state;
  let text = "", trouble = ""; // What is said aloud is what has begun, not each second of it.
  const dead = health?.feeds.filter((feed) => feed.state === "dead") ?? [];
  const restoring = health ? health.members.concat(health.follower ?? []).reduce((n, m) => n + m.restoring, 0) : 0;
  if (state === "gone" || (state === "connecting" && attempts > 0)) {
    const seconds = Math.ceil((retryAt - Date.now()) / 1000);
    const next = retryAt && seconds > 0 ? `Trying again in ${seconds} s.` : "Trying again now.";
    trouble = "connection";
    text = `Not connected. ${age == null ? "" : `The newest price is ${duration(age)} old. `}${next}`;
  } else if (health && !health.ready) {
    trouble = restoring ? "restoring" : "moving";
    text = restoring ? `Restoring: ${restoring} partitions are catching up. What is shown may be older until they have.` : "The processor is starting, or its group is moving partitions. What is shown may be older.";
  } else if (dead.length) {
    trouble = `dead ${dead.map((feed) => feed.exchange)}`;
    text = `No sign from ${dead.map((feed) => `${feed.exchange} for ${duration(feed.age_ms)}`).join(", ")}: those prices may be old.`;
  } else if (healthFailed && state === "live") {
    trouble = "health";
    text = "The health of the processor cannot be read at the moment.";
  }
  if (trouble !== saidTrouble && trouble !== "connection") { // The connection speaks for itself.
    if (text) announce(text); else if (state === "live" && saidTrouble !== "connection") announce("All is well again.");
  }
  saidTrouble = trouble;
  // A connection alone does not make a price live.
  if (state === "live") setText(by("connection-text"), text ? "Connected" : "Live");
  const banner = by("banner");
  banner.hidden = !text;
  setText(banner, text);
  setText(by("age"), age == null ? "" : `newest price ${duration(age)} old`);
}

// ---- The address -------------------------------------------------------------------------------

// After the #: "options", with a market and an expiry if they are chosen, "tokens", with a window, or a pair
// as BASE-QUOTE@EXCHANGE.
// A pair is chosen at once, also one that has a book and no price.
function followAddress() {
  let text = "";
  try { text = decodeURIComponent(location.hash); } catch { /* Not an address of this page. */ }
  const [, name = "markets", place = ""] = /^#(options|tokens)(?:\/(.*))?$/.exec(text) ?? [];
  showView(name);
  if (name === "options") options.show(place); else options.hide();
  if (name === "tokens") tokensView.show(place); else tokensView.hide();
  if (name !== "markets") return;
  const [, base, quote, exchange] = /^#(.+)-([^-@]+)@([^@]+)$/.exec(text) ?? [];
  if (exchange) choose({ base, quote, exchange }, false);
}

// The views, and the table that each begins with.
const TABLES = {
  markets: { table: "prices", words: "prices" },
  options: { table: "chain", words: "the chain" },
  tokens: { table: "tokens", words: "the tokens" },
};

function showView(name) {
  for (const view of Object.keys(TABLES)) {
    by(`${view}-view`).hidden = view !== name;
    if (view === name) by(`to-${view}`).setAttribute("aria-current", "page");
    else by(`to-${view}`).removeAttribute("aria-current");
  }
  setText(by("skip"), `Skip to ${TABLES[name].words}`);
}

// The address keeps the choice, so it does not follow this link.
function skip(event) {
  event.preventDefault();
  const name = Object.keys(TABLES).find((view) => !by(`${view}-view`).hidden);
  by(TABLES[name].table).focus();
}

// ---- Start -------------------------------------------------------------------------------------

const saved = stored("theme");
if (saved === "dark" || saved === "light") document.documentElement.dataset.theme = saved;
by("theme").addEventListener("click", () => {
  const theme = isDark() ? "light" : "dark";
  document.documentElement.dataset.theme = theme;
  stored("theme", theme);
  showTheme();
});
darkQuery.addEventListener("change", showTheme);
by("search").addEventListener("input", (event) => { view.search = event.target.value; structure = true; draw(); });
by("exchange").addEventListener("change", (event) => { view.exchange = event.target.value; structure = true; draw(); });
for (const button of document.querySelectorAll("[data-sort]")) button.addEventListener("click", () => sortBy(button.dataset.sort));
for (const button of document.querySelectorAll("[data-interval]")) {
  button.addEventListener("click", () => {
    view.interval = button.dataset.interval;
    for (const other of document.querySelectorAll("[data-interval]")) other.setAttribute("aria-pressed", String(other === button));
    chart.another();
    chart.restyle();
    loadCandles();
    book.setInterval(view.interval);
    book.restyle();
  });
}
document.querySelector("details").addEventListener("toggle", drawCandles);
setInterval(() => {
  for (const pair of pairs.values()) if (pair.element) showAge(pair);
  if (view.sort === "age" || view.sort === "price" || view.sort === "volume") { structure = true; draw(); }
  if (socket && lastHeard && Date.now() - lastHeard > SILENCE_MS) { const dead = socket; lost("silence"); dead.close(); }
  showBanner();
  options.tick();
  tokensView.tick();
  index.tick();
}, 1_000);
by("skip").addEventListener("click", skip);
const book = createBook({ say, announce, tokens, newId });
const options = createOptions({ say, announce, tokens, newId, now, isConnected: () => by("connection").dataset.state === "live" });
const tokensView = createTokens({ announce, now });
const index = createIndex({ say, announce, tokens, newId, now });
showTheme();
drawCandles();
followAddress();
addEventListener("hashchange", followAddress);
connect();
lookAtHealth();
