// The smile of an expiry: implied volatilities over strikes.
//
// One series of the chart library draws it: a line and a point for each mark IV, a bar from bid IV to ask IV.
// Calls are circles and a whole line, puts are squares and a dashed line, so colour is not needed to tell them.
// Strikes have their distances: the scale has a place for each common divisor of them.

import { ColorType, CrosshairMode, LineSeries, createChartEx } from "/page/vendor/lightweight-charts.standalone.production.mjs";
import { by, colour, setText, element } from "/page/dom.js";

const MAX_PLACES = 4_000; // Of the scale. Strikes that need more stand side by side.
const FAR_DELTA = 0.01; // Strikes whose call's delta is nearer to 0 or 1 are wings.
const FEWEST = 8; // Strikes in the chart, wings or not.
const SIDES = ["call", "put"];
const OFFSET_PX = 2.5; // Between the bars of a call and a put.
const FAR_QUOTE = 0.35; // A bid or ask this far from the mark leaves the chart and does not flatten the rest.

const numberOf = (text) => text == null ? null : Number(text);

// The horizontal scale of the library, in strikes.
class StrikeScale {
  options() { return this.set; }
  setOptions(options) { this.set = options; }
  preprocessData() {}
  updateFormatter(localization) { if (this.set) this.set.localization = localization; }
  createConverterToInternalObj() { return (strike) => strike; }
  key(strike) { return strike; }
  cacheKey(strike) { return strike; }
  convertHorzItemToInternal(strike) { return strike; }
  formatHorzItem(strike) { return textOf(strike); }
  formatTickmark(mark) { return textOf(mark.time); }
  maxTickMarkWeight(marks) { return Math.max(...marks.map((mark) => mark.weight)); }
  fillWeightsForPoints(points, from) {
    for (let at = from; at < points.length; at++) points[at].timeWeight = roundness(points[at].time);
  }
}

const textOf = (strike) => Number(strike.toFixed(8)).toLocaleString("en", { maximumFractionDigits: 8 });

// The rounder a strike, the sooner it is written at the axis: 100,000 before 50,000 before 10,000.
function roundness(strike) {
  for (let power = 7; power >= -6; power--) {
    for (const [step, more] of [[10 ** power, 2], [5 * 10 ** (power - 1), 1]]) {
      const times = strike / step;
      if (Math.abs(times - Math.round(times)) < 1e-6) return 2 * (power + 7) + more;
    }
  }
  return 1;
}

// Places of the scale from the first strike to the last one.
function placesOf(texts) {
  const scale = 10 ** Math.max(0, ...texts.map((text) => (text.split(".")[1] ?? "").length));
  const units = texts.map((text) => Math.round(Number(text) * scale));
  const divisor = (a, b) => b ? divisor(b, a % b) : a;
  const step = units.slice(1).reduce((sum, unit, at) => divisor(sum, unit - units[at]), 0);
  const places = step ? Math.round((units.at(-1) - units[0]) / step) + 1 : 1;
  if (places > MAX_PLACES) return units.map((unit) => unit / scale);
  return Array.from({ length: places }, (_, at) => (units[0] + at * step) / scale);
}

export function createSmile() {
  let api = null, series = null, ruler = null, drawn = null, fitted = "";
  let filter = "otm", hasWings = false, model = null, picked = null, state = "waiting", hovered = null;
  const note = element("p", "", "empty");
  const view = createView();

  function options() {
    return {
      autoSize: true,
      layout: {
        background: { type: ColorType.Solid, color: colour("card") }, textColor: colour("text"),
        attributionLogo: true, fontFamily: getComputedStyle(document.body).fontFamily,
      },
      grid: { vertLines: { color: colour("line") }, horzLines: { color: colour("line") } },
      crosshair: { mode: CrosshairMode.Normal },
      rightPriceScale: { borderColor: colour("line"), scaleMargins: { top: 0.12, bottom: 0.08 } },
      timeScale: {
        borderColor: colour("line"), allowBoldLabels: false, minBarSpacing: 0.01, fixLeftEdge: true, fixRightEdge: true,
        lockVisibleTimeRangeOnResize: true,
      },
      localization: { priceFormatter: (iv) => `${iv.toFixed(1)} %` },
    };
  }

  function start() {
    api = createChartEx(by("smile"), new StrikeScale(), options());
    ruler = api.addSeries(LineSeries, { lastValueVisible: false, priceLineVisible: false });
    series = api.addCustomSeries(view, { lastValueVisible: false, priceLineVisible: false, priceFormat: { type: "price", precision: 1, minMove: 0.1 } });
    recolour();
    api.subscribeCrosshairMove(({ time, point }) => {
      hovered = point && typeof time === "number" ? time : null;
      read();
    });
  }

  function recolour() {
    series.applyOptions(Object.fromEntries(["call", "put", "soft", "text", "card"].map((name) => [`${name}Colour`, colour(name)])));
  }

  // Which sides of a strike are drawn.
  function sidesOf(strike, forward) {
    if (filter === "both") return SIDES;
    if (filter !== "otm") return [filter];
    if (forward == null || strike === forward) return SIDES;
    return strike > forward ? ["call"] : ["put"];
  }

  function pointOf(line, forward) {
    const strike = Number(line.strike), point = { time: strike, strike };
    for (const side of sidesOf(strike, forward)) {
      const row = line[side];
      if (row?.mark_iv == null) continue;
      point[side] = { mark: Number(row.mark_iv), bid: numberOf(row.bid_iv), ask: numberOf(row.ask_iv), isPicked: row.base === picked };
    }
    return point;
  }

  function isWing(line) {
    const delta = numberOf(line.call?.delta) ?? (line.put?.delta == null ? null : 1 + Number(line.put.delta));
    return delta != null && (delta < FAR_DELTA || delta > 1 - FAR_DELTA);
  }

  function show(nextModel, nextPicked, nextState) {
    [model, picked, state] = [nextModel, nextPicked, nextState];
    const inner = model.lines.filter((line) => !isWing(line));
    const lines = hasWings || inner.length < FEWEST ? model.lines : inner;
    const forward = numberOf(model.forward);
    const points = lines.map((line) => pointOf(line, forward)).filter((point) => point.call || point.put);
    const box = by("smile");
    box.dataset.points = String(points.length);
    note.remove();
    if (!points.length) {
      note.textContent = model.lines.length ? "No option here has an implied volatility." : state === "waiting" ? "Waiting for the smile." : "No smile.";
      box.append(note);
    }
    if (!api && points.length) start();
    if (api) drawPoints(points, forward);
    describe(points);
    read();
  }

  function drawPoints(points, forward) {
    // Each hover is drawn from the same data, so equal data is not set again.
    const said = JSON.stringify([points, forward]);
    if (said === drawn) return;
    drawn = said;
    view.forward = forward;
    view.forwardText = model.forward;
    const places = points.length ? placesOf(points.map((point) => String(point.strike))) : [];
    ruler.setData(places.map((time) => ({ time })));
    series.setData(points);
    const extent = `${places[0]} ${places.at(-1)} ${places.length}`;
    if (extent !== fitted) { fitted = extent; api.timeScale().fitContent(); }
  }

  function describe(points) {
    const marks = points.flatMap((point) => SIDES.map((side) => point[side]?.mark)).filter((mark) => mark != null);
    const text = marks.length
      ? `Implied volatilities of ${points.length} strikes, ${points[0].strike} to ${points.at(-1).strike}: the marks are ${Math.min(...marks)} to ${Math.max(...marks)} percent; each value is in the chain`
      : "Chart of implied volatilities, empty";
    if (by("smile").getAttribute("aria-label") !== text) by("smile").setAttribute("aria-label", text);
  }

  // The line above the chart: the strike under the pointer, else the one of the chosen option, else at the money.
  function read() {
    const box = by("smile-reading");
    const lines = model?.lines ?? [];
    const distance = (line) => Math.abs(Number(line.strike) - hovered);
    const line = hovered != null ? lines.reduce((best, next) => best && distance(best) <= distance(next) ? best : next, null)
      : lines.find((one) => SIDES.some((side) => picked && one[side]?.base === picked)) ?? model?.atm;
    if (!line) return setText(box, "");
    const values = SIDES.filter((side) => line[side]).map((side) => {
      const { mark_iv: mark, bid_iv: bid, ask_iv: ask } = line[side];
      return `${side} ${mark ?? "–"} (${bid ?? "none"}–${ask ?? "none"})`;
    });
    setText(box, `${line.strike}: ${values.join(", ")} %`);
  }

  function again() {
    drawn = null;
    if (model) show(model, picked, state);
  }

  for (const button of document.querySelectorAll("[data-smile]")) {
    button.addEventListener("click", () => {
      filter = button.dataset.smile;
      for (const other of document.querySelectorAll("[data-smile]")) other.setAttribute("aria-pressed", String(other === button));
      again();
    });
  }
  by("wings").addEventListener("click", () => {
    hasWings = !hasWings;
    by("wings").setAttribute("aria-pressed", String(hasWings));
    again();
  });

  return {
    show,
    another() { fitted = ""; drawn = null; hovered = null; },
    restyle() {
      if (!api) return;
      api.applyOptions(options());
      recolour();
      again();
    },
  };
}

// ---- The series ----------------------------------------------------------------------------------

function createView() {
  let data = null, set = null;
  const view = {
    forward: null, forwardText: null,
    renderer: () => ({ draw }),
    update(nextData, nextOptions) { data = nextData; set = nextOptions; },
    isWhitespace: (point) => !point.call && !point.put,
    priceValueBuilder(point) {
      const sides = SIDES.map((side) => point[side]).filter(Boolean);
      const quotes = sides.flatMap(({ mark, bid, ask }) => [bid, ask].filter((iv) => iv != null && Math.abs(iv - mark) <= FAR_QUOTE * mark));
      return [...quotes, ...sides.map(({ mark }) => mark)]; // The last one is where the crosshair would snap.
    },
    defaultOptions: () => ({ color: "transparent", callColour: "", putColour: "", softColour: "", textColour: "", cardColour: "" }),
  };

  function draw(target, toY) {
    if (!data?.visibleRange) return;
    target.useMediaCoordinateSpace(({ context, mediaSize }) => {
      const { from, to } = data.visibleRange;
      const bars = data.bars.slice(Math.max(0, from - 1), to + 1); // One more on each side, for the lines.
      context.save();
      drawForward(context, mediaSize, bars);
      for (const side of ["put", "call"]) {
        const shift = bars.some(({ originalData }) => originalData.call && originalData.put) ? (side === "call" ? OFFSET_PX : -OFFSET_PX) : 0;
        const points = bars.filter(({ originalData }) => originalData[side]).map(({ x, originalData }) => ({ x: x + shift, ...originalData[side] }));
        drawSide(context, mediaSize, side, points, toY);
      }
      context.restore();
    });
  }

  // Where the underlying stands between two strikes.
  function forwardX(bars) {
    const right = bars.findIndex(({ originalData }) => originalData.strike >= view.forward);
    if (right <= 0 || view.forward == null) return null;
    const [a, b] = [bars[right - 1], bars[right]];
    const share = (view.forward - a.originalData.strike) / (b.originalData.strike - a.originalData.strike);
    return a.x + share * (b.x - a.x);
  }

  function drawForward(context, { width, height }, bars) {
    const x = forwardX(bars);
    if (x == null) return;
    context.strokeStyle = context.fillStyle = set.softColour;
    context.lineWidth = 1;
    context.setLineDash([4, 4]);
    context.beginPath();
    context.moveTo(x, 0);
    context.lineTo(x, height);
    context.stroke();
    context.setLineDash([]);
    context.font = `12px ${getComputedStyle(document.body).fontFamily}`;
    context.textBaseline = "top";
    const isRight = x > width / 2;
    context.textAlign = isRight ? "right" : "left";
    context.fillText(view.forwardText ?? "", x + (isRight ? -6 : 6), 5);
  }

  function drawSide(context, size, side, points, toY) {
    const tint = set[`${side}Colour`];
    context.strokeStyle = context.fillStyle = tint;
    drawRanges(context, size, points, toY);
    context.lineWidth = 1.5;
    context.setLineDash(side === "put" ? [5, 3] : []);
    context.beginPath();
    points.forEach(({ x, mark }, at) => at ? context.lineTo(x, toY(mark)) : context.moveTo(x, toY(mark)));
    context.stroke();
    context.setLineDash([]);
    const radius = points.length > 1 && (points.at(-1).x - points[0].x) / points.length < 7 ? 2 : 3;
    for (const { x, mark, isPicked } of points) drawPoint(context, side, x, toY(mark), isPicked ? radius + 3 : radius, isPicked);
  }

  function drawPoint(context, side, x, y, radius, isPicked) {
    context.beginPath();
    if (side === "call") context.arc(x, y, radius, 0, 2 * Math.PI); else context.rect(x - radius, y - radius, 2 * radius, 2 * radius);
    context.fillStyle = side === "call" ? set.callColour : set.cardColour;
    context.fill();
    context.stroke();
    if (!isPicked) return;
    context.strokeStyle = set.textColour;
    context.stroke();
    context.strokeStyle = set[`${side}Colour`];
  }

  // A side without a bid or an ask has one cap; a bid of zero goes to the bottom.
  function drawRanges(context, { height }, points, toY) {
    context.globalAlpha = 0.55;
    context.lineWidth = 1;
    context.beginPath();
    for (const { x, bid, ask } of points) {
      const [low, high] = [bid, ask].map((iv) => iv == null ? null : iv === 0 ? height : toY(iv));
      if (low != null && high != null) { context.moveTo(x, low); context.lineTo(x, high); }
      for (const y of [low, high]) if (y != null) { context.moveTo(x - 2.5, y); context.lineTo(x + 2.5, y); }
    }
    context.stroke();
    context.globalAlpha = 1;
  }

  return view;
}
