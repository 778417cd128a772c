// The chain of an expiry as a table: calls on the left, puts on the right, strikes between them.
//
// One mark price is a stop of the Tab key; the arrow keys move between the others.
// A narrow table has fewer columns, so they are made anew when its width passes a bound.

import { by, element, setText } from "/page/dom.js";
import { compareDecimals } from "/page/text.js";

const NARROW_PX = 640; // Thirteen columns do not fit below.
const COLUMNS = {
  bid: { label: "Bid" }, ask: { label: "Ask" }, mark_price: { label: "Mark" }, mark_iv: { label: "IV", title: "IV of the mark price, percent" },
  delta: { label: "Delta" }, open_interest: { label: "OI", title: "Open interest" },
};
const ORDER = { // Bids stand left of asks on both sides.
  call: ["open_interest", "delta", "mark_iv", "mark_price", "bid", "ask"],
  put: ["bid", "ask", "mark_price", "mark_iv", "delta", "open_interest"],
};
const NARROW = ["mark_price", "mark_iv"]; // Of each side, if both are shown.
const SIDES = ["call", "put"];
const TITLES = { call: "Calls", put: "Puts" };

// `pick` is called with the name of an option, `isOld` tells whether a row is older than it should be.
export function createChain({ pick, isOld }) {
  const lines = new Map(); // strike -> { element, strike, cells }
  let sides = "both", isNarrow = false, layout = null, isCentred = false;
  let model = null, picked = null, state = "waiting", here = null; // `here` is the stop of the Tab key.
  const forward = element("tr", undefined, "forward");

  // One side alone is right of its strike.
  function columnsOf(side) {
    if (sides !== "both") return ORDER.put;
    return isNarrow ? ORDER[side].filter((name) => NARROW.includes(name)) : ORDER[side];
  }

  function layOut() {
    const shown = SIDES.filter((side) => sides === "both" || sides === side);
    layout = shown.map((side) => ({ side, columns: columnsOf(side) }));
    lines.clear();
    by("chain-rows").replaceChildren();
    const groups = element("tr"), heads = element("tr");
    layout.forEach(({ side, columns }, at) => {
      const group = element("th", TITLES[side], side);
      group.colSpan = columns.length;
      group.scope = "colgroup";
      const made = columns.map((name) => {
        const { label, title } = COLUMNS[name], head = element("th", label, "number");
        head.scope = "col";
        if (title) { head.title = title; head.setAttribute("aria-label", title); }
        return head;
      });
      const strike = element("th", "Strike", "strike");
      strike.rowSpan = 2;
      strike.scope = "col";
      const isFirst = sides !== "both"; // One side alone begins with its strike.
      if (isFirst) groups.append(strike);
      groups.append(group);
      heads.append(...made);
      if (!isFirst && at === 0) groups.append(strike);
    });
    by("chain-head").replaceChildren(groups, heads);
    by("chain").dataset.sides = sides;
    const cell = element("td");
    cell.colSpan = layout.reduce((sum, { columns }) => sum + columns.length, 1);
    forward.replaceChildren(cell);
    isCentred = false;
  }

  function makeLine(strike) {
    const row = element("tr"), cells = {};
    const name = element("th", undefined, "strike");
    name.scope = "row";
    name.append(element("span", strike), element("span", "", "atm"));
    const parts = layout.map(({ side, columns }) => {
      cells[side] = Object.fromEntries(columns.map((column) => [column, element("td", "–", `number ${side}`)]));
      return columns.map((column) => cells[side][column]);
    });
    if (sides === "both") row.append(...parts[0], name, ...parts[1]); else row.append(name, ...parts[0]);
    return { element: row, name, strike, cells };
  }

  function show(nextModel, nextPicked, nextState) {
    [model, picked, state] = [nextModel, nextPicked, nextState];
    if (!layout) layOut();
    const keep = new Set(model.lines.map((line) => line.strike));
    for (const [strike, line] of lines) if (!keep.has(strike)) { line.element.remove(); lines.delete(strike); }
    const body = by("chain-rows");
    const above = model.forward == null ? -1 : model.lines.findIndex((line) => compareDecimals(line.strike, model.forward) > 0);
    const places = [];
    model.lines.forEach((options, at) => {
      if (at === above) places.push(forward);
      const line = lines.get(options.strike) ?? makeLine(options.strike);
      lines.set(options.strike, line);
      fill(line, options);
      places.push(line.element);
    });
    if (model.forward != null && above < 0 && places.length) places.push(forward);
    if (!places.includes(forward)) forward.remove();
    const focused = document.activeElement; // A row that moves loses it.
    places.forEach((row, at) => { if (body.children[at] !== row) body.insertBefore(row, body.children[at] ?? null); });
    if (body.contains(focused) && document.activeElement !== focused) focused.focus({ preventScroll: true });
    setText(forward.firstChild, model.forward == null ? "" : `underlying ${model.forward}`);
    showHead();
    setStop();
    centre();
  }

  const EMPTY = { waiting: "Waiting for the chain.", failed: "The chain cannot be read.", empty: "No options are followed.", missing: "Choose a currency and an expiry.", refused: "The chain was refused." };

  function showHead() {
    const { chosen, newest } = model;
    by("chain-empty").hidden = model.lines.length > 0;
    by("chain-head").hidden = !model.lines.length;
    setText(by("chain-empty"), EMPTY[state] ?? "This expiry has no options.");
    const unit = newest ? newest.quote : "";
    setText(by("chain-unit"), unit ? `prices in ${unit}, IV in percent` : "");
    setText(by("chain-caption"), chosen && newest
      ? `Options of ${chosen.currency} that expire on ${chosen.expiry_time.slice(0, 10)}: calls, strike, puts; prices in ${unit}. Arrow keys move between mark prices, Enter shows all values of one.`
      : "Option chain");
  }

  function fill(line, options) {
    const isAtm = model.atm?.strike === line.strike;
    line.element.classList.toggle("at-the-money", isAtm);
    setText(line.name.lastChild, isAtm ? "ATM" : "");
    const moneyness = model.forward == null ? 0 : compareDecimals(line.strike, model.forward);
    for (const { side, columns } of layout) {
      const row = options[side], cells = line.cells[side];
      const isIn = side === "call" ? moneyness < 0 : moneyness > 0;
      const isClosed = row?.state === "CLOSED", old = Boolean(row) && isOld(row);
      for (const name of columns) {
        const cell = cells[name];
        if (name === "mark_price") fillButton(cell, row, old); else setText(cell, row?.[name] ?? "–");
        cell.classList.toggle("itm", isIn);
        cell.classList.toggle("old", old);
        cell.classList.toggle("closed", isClosed);
        cell.classList.toggle("picked", Boolean(row) && row.base === picked);
      }
    }
  }

  function fillButton(cell, row, old) {
    let button = cell.querySelector("button");
    if (!row) { if (button) cell.replaceChildren("–"); return; }
    if (!button) {
      button = element("button", undefined, "pick");
      button.type = "button";
      button.tabIndex = -1;
      button.append(element("span", "", "hidden"), element("span"));
      cell.replaceChildren(button);
    }
    button.dataset.base = row.base;
    button.setAttribute("aria-pressed", String(row.base === picked));
    const word = row.state === "CLOSED" ? ", closed" : old ? ", older than 60 s" : "";
    setText(button.firstChild, `${row.base}${word}, mark `);
    setText(button.lastChild, row.mark_price ?? "–");
  }

  // ---- Keys --------------------------------------------------------------------------------------

  const buttons = () => [...by("chain-rows").querySelectorAll("button.pick")];

  function setStop(next) {
    if (next) here = next;
    const all = buttons();
    if (!all.length) return;
    const known = all.find((button) => button.dataset.base === here);
    const first = known ?? by("chain-rows").querySelector(".at-the-money button.pick") ?? all[0];
    here = first.dataset.base;
    for (const button of all) {
      const index = button === first ? 0 : -1;
      if (button.tabIndex !== index) button.tabIndex = index;
    }
  }

  // The button of the same side in the next row that has one.
  function neighbour(button, step) {
    const side = button.closest("td").classList.contains("call") ? "call" : "put";
    const column = buttons().filter((other) => other.closest("td").classList.contains(side));
    const at = column.indexOf(button);
    return step === "first" ? column[0] : step === "last" ? column.at(-1) : column[at + step];
  }

  const STEPS = { ArrowUp: -1, ArrowDown: 1, PageUp: -10, PageDown: 10, Home: "first", End: "last" };

  by("chain-rows").addEventListener("keydown", (event) => {
    const button = event.target.closest("button.pick");
    if (!button || event.altKey || event.ctrlKey || event.metaKey) return;
    const across = event.key === "ArrowLeft" ? "call" : event.key === "ArrowRight" ? "put" : null;
    const step = STEPS[event.key];
    if (!across && step === undefined) return;
    event.preventDefault();
    const next = across ? button.closest("tr").querySelector(`td.${across} button.pick`) : neighbour(button, step) ?? neighbour(button, step < 0 ? "first" : "last");
    if (!next) return;
    setStop(next.dataset.base);
    next.focus({ preventScroll: true });
    reveal(next.closest("tr"));
  });

  by("chain-rows").addEventListener("click", (event) => {
    const button = event.target.closest("button.pick");
    if (!button) return;
    setStop(button.dataset.base);
    pick(button.dataset.base);
  });

  // ---- Place -------------------------------------------------------------------------------------

  // The head of the table hides rows below it, so the browser's own scrolling is not enough.
  function reveal(row) {
    const region = by("chain-scroll"), box = region.getBoundingClientRect(), at = row.getBoundingClientRect();
    const top = box.top + by("chain-head").offsetHeight;
    if (at.top < top) region.scrollTop -= top - at.top; else if (at.bottom > box.bottom) region.scrollTop += at.bottom - box.bottom;
    row.scrollIntoView({ block: "nearest" });
  }

  // Once for each expiry: afterwards the place is the reader's.
  function centre() {
    const row = by("chain-rows").querySelector(".at-the-money");
    if (isCentred || !row || state === "waiting") return;
    isCentred = true;
    const region = by("chain-scroll"), box = region.getBoundingClientRect(), at = row.getBoundingClientRect();
    region.scrollTop += at.top + at.height / 2 - (box.top + by("chain-head").offsetHeight / 2 + box.height / 2);
  }

  function again() {
    layout = null;
    if (model) show(model, picked, state);
  }

  new ResizeObserver(([{ contentRect }]) => {
    const next = contentRect.width > 0 && contentRect.width < NARROW_PX;
    if (contentRect.width > 0 && next !== isNarrow) { isNarrow = next; again(); }
  }).observe(by("chain-scroll"));

  for (const button of document.querySelectorAll("[data-sides]")) {
    button.addEventListener("click", () => {
      sides = button.dataset.sides;
      for (const other of document.querySelectorAll("[data-sides]")) other.setAttribute("aria-pressed", String(other === button));
      again();
    });
  }

  return { show, another() { isCentred = false; here = null; } };
}
