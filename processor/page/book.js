// The book of the chosen pair: its measures, a ladder with depth bars, and its spreads over time.
//
// Prices and sizes are shown as the text that came. Only bars and chart, which draw, make numbers of them.
//
// Levels come once a second and quotes with each change, so the measures may be newer than the ladder. The row
// between the sides of the ladder is of its own best levels.

import { ColorType, CrosshairMode, LineSeries, createChart, createSeriesMarkers }
  from "/page/vendor/lightweight-charts.standalone.production.mjs";
import { by, colour, element, setText } from "/page/dom.js";

const LEVELS = 10; // Of each side: as many as a phone shows at once.
const HISTORY = 300; // Windows that are fetched for the chart.
const RECENT = 3; // Windows that are fetched again: the open one, the one before, and one of grace.
const SPREADS_MS = 5_000;
const LENGTH = { "1m": 60_000, "1h": 3_600_000, "1d": 86_400_000 };
const MEASURES = [
  ["Highest bid", "bid"], ["Lowest ask", "ask"], ["Spread", "spread"],
  ["Largest spread of the day", "max_spread"], ["Mean of the last ten mids", "mid_mean_10"],
];
const STATES = {
  waiting: ["connecting", "Waiting"],
  none: ["connecting", "Not followed"],
  "in-sync": ["live", "In sync"],
  "out-of-sync": ["gone", "Out of sync"],
};
const NOTES = {
  waiting: "",
  none: "No book of this pair is followed. producer run --channels book follows books.",
  "in-sync": "",
  "out-of-sync": "The book lost its proof and is fetched again. These are its last proved values.",
  unproved: "The book has not come yet: it is asked for again.",
};

// `say` sends a message, `announce` reads one aloud, `tokens` has the resume tokens, `newId` numbers a subscription.
export function createBook({ say, announce, tokens, newId }) {
  const ids = { quotes: 0, book: 0 };
  const chart = createSpreadChart();
  let pair = null, interval = "1m";
  let quote = null, levels = null, answered = false, drawing = false;
  let spreads = new Map(), asked = 0;

  const state = () => quote ? (quote.state === "IN_SYNC" ? "in-sync" : "out-of-sync") : answered ? "none" : "waiting";

  function choose(next) {
    pair = next;
    quote = levels = null;
    answered = false;
    for (const channel of Object.keys(ids)) {
      if (ids[channel]) say({ op: "unsubscribe", id: ids[channel] });
      tokens.delete(ids[channel]);
      ids[channel] = newId();
    }
    subscribe();
    load();
    draw();
  }

  // At each new connection, and for each new pair.
  function subscribe() {
    if (!pair) return;
    for (const [channel, id] of Object.entries(ids)) {
      const resume = tokens.get(id);
      say({ op: "subscribe", id, channel, ...pair, ...(resume && { resume }) });
    }
  }

  function take(message) {
    if (message.id !== ids.quotes && message.id !== ids.book) return;
    const row = message.rows.at(-1);
    if (message.type !== "snapshot" && !row) return;
    const value = row && !row.deleted ? row : null;
    if (message.id === ids.book) levels = value;
    else {
      const before = state();
      quote = value;
      answered = true;
      if (before !== state()) {
        if (before !== "waiting" || state() === "out-of-sync") announce(`Order book of ${pair.base}-${pair.quote}: ${STATES[state()][1]}.`);
        if (before === "waiting" || before === "none") load();
      }
    }
    draw();
  }

  // A token of a heartbeat replaces the one of a subscription that has its first rows.
  function heartbeat({ channel, resume }) {
    if (ids[channel] && tokens.has(ids[channel])) tokens.set(ids[channel], resume);
  }

  function draw() {
    if (drawing) return;
    drawing = true;
    requestAnimationFrame(() => {
      drawing = false;
      const now = state(), [pill, text] = STATES[now];
      by("book").dataset.state = now;
      by("book-state").dataset.state = pill;
      setText(by("book-state-text"), text);
      const note = NOTES[now === "out-of-sync" && quote.bid == null && quote.ask == null && !levels ? "unproved" : now];
      setText(by("book-note"), note);
      by("book-note").hidden = !note;
      setText(by("book-title"), pair ? `Order book of ${pair.base}-${pair.quote}` : "Order book");
      showMeasures();
      showLadder();
    });
  }

  function showMeasures() {
    by("measures").replaceChildren(...MEASURES.map(([label, name]) => {
      const fact = element("div");
      const size = name === "bid" || name === "ask" ? quote?.[`${name}_size`] : null;
      const value = element("dd", quote?.[name] ?? "–");
      if (size != null) value.append(element("span", ` × ${size}`, "note"));
      fact.append(element("dt", label), value);
      return fact;
    }));
  }

  // Each bar is the size from the best level up to this one, by the deepest of both sides.
  function showLadder() {
    const sides = ["bids", "asks"].map((side) => (levels?.[side] ?? []).slice(0, LEVELS));
    const sums = sides.map((side) => { let sum = 0; return side.map((level) => sum += Number(level.size)); });
    const deepest = Math.max(...sums.flat(), 0) || 1;
    const rows = sides.map((side, at) => side.map((level, place) => {
      const row = element("li", undefined, "level");
      row.style.setProperty("--depth", `${(100 * sums[at][place] / deepest).toFixed(2)}%`);
      row.append(element("span", level.price), element("span", level.size));
      return row;
    }));
    const empty = (name) => [element("li", levels ? `no ${name}` : "–", "none")];
    by("bids").replaceChildren(...rows[0].length ? rows[0] : empty("bids"));
    by("asks").replaceChildren(...rows[1].length ? rows[1].reverse() : empty("asks"));
    const [bid, ask] = sides.map((side) => side[0]?.price);
    setText(by("between"), bid == null || ask == null ? "no spread" : between(bid, ask));
  }

  // ---- Spreads -----------------------------------------------------------------------------------

  function load() {
    spreads = new Map();
    chart.another();
    fetchSpreads(HISTORY);
  }

  async function fetchSpreads(windows) {
    const of = pair, wanted = interval, ask = asked += 1;
    if (of && quote) {
      const to = Date.parse(quote.event_time) + LENGTH[wanted]; // No window is newer, also of a replay.
      const query = new URLSearchParams({ ...of, interval: wanted, from: to - (windows + 1) * LENGTH[wanted], limit: windows + 2 });
      try {
        const answer = await fetch(`/v1/spreads?${query}`);
        const found = answer.ok ? (await answer.json()).spreads : [];
        if (ask !== asked) return; // Another pair or interval was chosen meanwhile.
        for (const row of found) spreads.set(row.open_time, row);
      } catch { /* The next look asks again. */ }
    }
    show();
  }

  function show() {
    const rows = [...spreads.values()].sort((a, b) => a.open_time < b.open_time ? -1 : 1);
    chart.show(rows, interval);
    const last = rows.findLast((row) => row.spread_mean != null);
    setText(by("spreads-last"), last ? `mean ${last.spread_mean}` : "");
  }

  setInterval(() => fetchSpreads(spreads.size ? RECENT : HISTORY), SPREADS_MS);

  return {
    choose, subscribe, take, heartbeat,
    setInterval(next) { interval = next; load(); },
    restyle() { chart.restyle(interval); show(); },
  };
}

// Spread and mid of two prices, exact: whole numbers of a tenth of the smallest decimal place.
function between(bid, ask) {
  const places = 1 + Math.max(...[bid, ask].map((price) => (price.split(".")[1] ?? "").length));
  const units = (price) => {
    const [whole, fraction = ""] = price.split(".");
    return BigInt(whole + fraction.padEnd(places, "0"));
  };
  const text = (value) => {
    const digits = String(value < 0n ? -value : value).padStart(places + 1, "0");
    const fraction = digits.slice(-places).replace(/0+$/, "");
    return `${value < 0n ? "-" : ""}${digits.slice(0, -places)}${fraction && `.${fraction}`}`;
  };
  return `spread ${text(units(ask) - units(bid))} · mid ${text((units(ask) + units(bid)) / 2n)}`;
}

function createSpreadChart() {
  let api = null, mean = null, largest = null, markers = null, fitted = false;
  const note = element("p", "No spreads yet.", "empty");
  const box = () => by("spread-chart");

  function options(interval) {
    return {
      autoSize: true,
      layout: {
        background: { type: ColorType.Solid, color: colour("card") }, textColor: colour("text"),
        attributionLogo: false, // The chart of candles has it, and the foot of the page.
        fontFamily: getComputedStyle(document.body).fontFamily,
      },
      grid: { vertLines: { color: colour("line") }, horzLines: { color: colour("line") } },
      crosshair: { mode: CrosshairMode.Normal },
      rightPriceScale: { borderColor: colour("line") },
      timeScale: { borderColor: colour("line"), timeVisible: interval !== "1d", secondsVisible: false, rightOffset: 3 },
    };
  }

  function start(interval) {
    api = createChart(box(), options(interval));
    largest = api.addSeries(LineSeries, { lineWidth: 1, lastValueVisible: false, priceLineVisible: false });
    mean = api.addSeries(LineSeries, { lineWidth: 2 });
    markers = createSeriesMarkers(mean, []);
    recolour();
  }

  function recolour() {
    mean.applyOptions({ color: colour("accent") });
    largest.applyOptions({ color: colour("warn") });
  }

  const line = (rows, name) => rows.map((row) => {
    const time = Date.parse(row.open_time) / 1000;
    return row[name] == null ? { time } : { time, value: Number(row[name]) };
  });

  return {
    show(rows, interval) {
      if (!api && rows.length) start(interval);
      note.remove();
      if (!rows.length) box().append(note);
      box().dataset.spreads = String(rows.length);
      if (!api) return;
      const places = rows.slice(-50).map((row) => Math.min(8, (row.spread_max?.split(".")[1] ?? "").length));
      const precision = Math.max(2, ...places);
      for (const series of [mean, largest]) series.applyOptions({ priceFormat: { type: "price", precision, minMove: 10 ** -precision } });
      mean.setData(line(rows, "spread_mean"));
      largest.setData(line(rows, "spread_max"));
      const out = rows.filter((row) => row.gap);
      markers.setMarkers(out.map((row) => ({ time: Date.parse(row.open_time) / 1000, position: "belowBar", shape: "square", color: colour("warn"), text: "!" })));
      if (!fitted && rows.length) { // At least forty wide, so that two windows do not fill it.
        fitted = true;
        api.timeScale().setVisibleLogicalRange({ from: Math.min(rows.length - 37, Math.max(-3, rows.length - 90)), to: rows.length + 3 });
      }
    },
    another() { fitted = false; },
    restyle(interval) {
      if (!api) return;
      api.applyOptions(options(interval));
      recolour();
    },
  };
}
