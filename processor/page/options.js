// The options view: one expiry of one market, as a chain, a smile and the values of one option.
//
// A market is a currency with the currency of its prices: Deribit lists BTC in BTC and in USDC.
// Rows come from the channel `options`; the list of markets and expiries is fetched.
// Prices are shown as the text that came. Only the smile, which draws, makes numbers of them.

import { createChain } from "/page/chain.js";
import { by, element, setText } from "/page/dom.js";
import { createSmile } from "/page/smile.js";
import { compareDecimals, count, duration, minuteOf } from "/page/text.js";

const OLD_MS = 60_000; // As for prices. A ticker that changes comes every 2 s.
const LIST_MS = 15_000; // Options are listed and expire a few times a day.
const STATES = {
  waiting: ["connecting", "Waiting"],
  failed: ["gone", "Not readable"],
  empty: ["connecting", "No options"],
  missing: ["connecting", "Not found"],
  refused: ["gone", "Refused"],
  cut: ["gone", "Not connected"],
  live: ["live", "Live"],
  old: ["gone", "Old"],
  passed: ["connecting", "Past its expiry"],
  expired: ["ended", "Expired"],
};
const DETAILS = [
  ["Mark price", "mark_price"], ["Last price", "last_price"], ["Bid", "bid"], ["Bid size", "bid_size"], ["Ask", "ask"],
  ["Ask size", "ask_size"], ["Mark IV, %", "mark_iv"], ["Bid IV, %", "bid_iv"], ["Ask IV, %", "ask_iv"], ["Delta", "delta"],
  ["Gamma", "gamma"], ["Vega", "vega"], ["Theta", "theta"], ["Rho", "rho"], ["Open interest", "open_interest"],
  ["Volume 24 h", "volume"], ["Volume 24 h, USD", "volume_usd"], ["Price change 24 h, %", "price_change"], ["High 24 h", "high"],
  ["Low 24 h", "low"], ["Lowest price allowed", "min_price"], ["Highest price allowed", "max_price"],
  ["Settlement price", "settlement_price"], ["Underlying price", "underlying_price"], ["Underlying", "underlying_index"],
  ["Index price", "index_price"], ["Delivery price, estimated", "estimated_delivery_price"], ["Interest rate", "interest_rate"],
  ["Contract size", "contract_size"], ["Tick size", "tick_size"], ["Settled in", "settlement_currency"],
];

const timeOf = (row) => Date.parse(row.event_time);
const isClosed = (row) => row.state === "CLOSED";
// As Deribit names them: BTC, and BTC_USDC where the price is in another currency.
const marketOf = ({ currency, quote }) => quote === currency ? currency : `${currency}_${quote}`;
const dateOf = (expiry) => expiry.expiry ?? expiry.expiry_time.slice(0, 10);
const isSame = (a, b) => a && b && ["exchange", "currency", "quote", "expiry_time"].every((part) => a[part] === b[part]);

// `say` sends a message, `announce` reads one aloud, `tokens` has the resume tokens, `newId` numbers a
// subscription, `now` is the server's time, and `isConnected` tells whether updates come.
export function createOptions({ say, announce, tokens, newId, now, isConnected }) {
  const chain = createChain({ pick, isOld });
  const smile = createSmile();
  let isShown = false, wanted = "", listing = 0;
  let expiries = null, failure = ""; // Of the list; `null` before its first answer.
  let chosen = null, last = null, rows = new Map(), isComplete = false, refusal = "";
  let picked = null, isDrawing = false, lastState = "waiting";

  function isOld(row) {
    return !isClosed(row) && now() - timeOf(row) > OLD_MS;
  }

  // ---- Markets and expiries ----------------------------------------------------------------------

  // `place` is MARKET/EXPIRY, MARKET or nothing.
  function show(place) {
    isShown = true;
    wanted = place;
    if (expiries) arrange(); else list();
    draw();
  }

  function hide() {
    if (!isShown) return;
    isShown = false;
    last = chosen;
    follow(null);
  }

  async function list() {
    const ask = listing += 1;
    let found = null, trouble = "";
    try {
      const answer = await fetch("/v1/options?limit=1", { cache: "no-store" });
      const body = await answer.json();
      if (answer.ok) found = body.expiries; else trouble = body.error ?? `the answer is ${answer.status}`;
    } catch (error) { trouble = error.message; }
    if (ask !== listing) return; // It was read again meanwhile.
    failure = trouble;
    if (found) expiries = found;
    if (found && isShown) arrange();
    draw();
  }

  setInterval(() => { if (isShown && isConnected()) list(); }, LIST_MS);

  const nameOf = (expiry) => {
    const several = new Set(expiries.map((other) => other.exchange)).size > 1;
    return several ? `${marketOf(expiry)}@${expiry.exchange}` : marketOf(expiry);
  };

  // Takes the expiry of the address. Without one: the one before, else the next that is open.
  function arrange() {
    const [market, date] = wanted.split("/");
    const here = market ? expiries.filter((expiry) => nameOf(expiry) === market) : expiries;
    const before = here.find((expiry) => isSame(expiry, chosen ?? last));
    const next = here.find((expiry) => expiry.open > 0) ?? here.at(-1);
    const found = date ? here.find((expiry) => dateOf(expiry) === date) : before ?? next;
    follow(found ?? null);
    fill(found ? nameOf(found) : market);
  }

  function fill(market) {
    const names = [...new Set(expiries.map(nameOf))];
    setChoices(by("market"), names.map((name) => ({ value: name, text: name })), market);
    const here = expiries.filter((expiry) => nameOf(expiry) === market);
    const choices = here.map((expiry) => ({ value: dateOf(expiry), text: labelOf(expiry) }));
    setChoices(by("expiry"), choices, chosen ? dateOf(chosen) : "");
  }

  function labelOf(expiry) {
    const left = Date.parse(expiry.expiry_time) - now();
    return `${dateOf(expiry)} · ${expiry.open === 0 ? "expired" : left > 0 ? duration(left) : "past"}`;
  }

  function setChoices(select, choices, value) {
    const known = [...select.options].map((option) => `${option.value} ${option.text}`);
    if (known.join() !== choices.map((choice) => `${choice.value} ${choice.text}`).join()) {
      select.replaceChildren(...choices.map((choice) => {
        const option = element("option", choice.text);
        option.value = choice.value;
        return option;
      }));
    }
    select.value = value ?? "";
    select.disabled = !choices.length;
  }

  // The address is the choice, so that it can be kept and sent.
  by("market").addEventListener("change", () => { location.hash = `options/${by("market").value}`; });
  by("expiry").addEventListener("change", () => { location.hash = `options/${by("market").value}/${by("expiry").value}`; });

  // ---- Rows --------------------------------------------------------------------------------------

  let id = 0; // Of the subscription; 0 is none.

  function follow(expiry) {
    if (isSame(expiry, chosen)) { chosen = expiry; return; }
    if (id) say({ op: "unsubscribe", id });
    tokens.delete(id);
    chosen = expiry;
    id = expiry ? newId() : 0;
    rows = new Map();
    isComplete = false;
    refusal = "";
    picked = null;
    chain.another();
    smile.another();
    subscribe();
    draw();
  }

  // At each new connection, and for each new expiry.
  function subscribe() {
    if (isShown && !chosen) list();
    if (!chosen) return;
    const { exchange, currency, quote } = chosen, resume = tokens.get(id);
    say({ op: "subscribe", id, channel: "options", exchange, currency, quote, expiry: dateOf(chosen), ...(resume && { resume }) });
  }

  function take(message) {
    if (!id || message.id !== id) return;
    const { part = 1, parts = 1 } = message;
    if (message.type === "snapshot" && part === 1) rows = new Map();
    for (const row of message.rows) {
      if (row.deleted) rows.delete(row.base); else rows.set(row.base, row);
    }
    if (part === parts) isComplete = true;
    refusal = "";
    draw();
  }

  function refused(message) {
    if (!id || message.id !== id) return;
    refusal = message.error;
    draw();
  }

  // A token of a heartbeat replaces the one of a subscription that has its first rows.
  function heartbeat({ resume }) {
    if (id && tokens.has(id)) tokens.set(id, resume);
  }

  // ---- The picture -------------------------------------------------------------------------------

  // Strikes in order, each with its call and its put, and the newest values of the underlying.
  function modelOf() {
    const strikes = new Map();
    let newest = null, underlying = null;
    for (const row of rows.values()) {
      if (row.strike == null || row.right == null) continue;
      const line = strikes.get(row.strike) ?? { strike: row.strike, call: null, put: null };
      line[row.right === "CALL" ? "call" : "put"] = row;
      strikes.set(row.strike, line);
      if (!newest || timeOf(row) > timeOf(newest)) newest = row;
      if (row.underlying_price != null && (!underlying || timeOf(row) > timeOf(underlying))) underlying = row;
    }
    const lines = [...strikes.values()].sort((a, b) => compareDecimals(a.strike, b.strike));
    const forward = underlying?.underlying_price ?? null;
    return { lines, newest, underlying, forward, atm: nearest(lines, forward), chosen };
  }

  function nearest(lines, price) {
    if (price == null) return null;
    const distance = (line) => Math.abs(Number(line.strike) - Number(price));
    return lines.reduce((best, line) => best && distance(best) <= distance(line) ? best : line, null);
  }

  function stateOf(newest) {
    if (failure && !rows.size) return "failed";
    if (!expiries) return "waiting";
    if (!expiries.length) return "empty";
    if (!chosen) return "missing";
    if (refusal) return "refused";
    if (!isComplete) return "waiting";
    if (!newest) return "missing";
    if ([...rows.values()].every(isClosed)) return "expired";
    if (!isConnected()) return "cut";
    if (Date.parse(chosen.expiry_time) < now()) return "passed";
    return now() - timeOf(newest) > OLD_MS ? "old" : "live";
  }

  function noteOf(state, newest) {
    const [market, date] = wanted.split("/");
    switch (state) {
      case "failed": return `The list of options cannot be read: ${failure}. It is read again every ${LIST_MS / 1000} s.`;
      case "empty": return "No options are followed. producer run --venue deribit --currency BTC,ETH follows every option of both currencies.";
      case "missing": return `No option of ${[market, date].filter(Boolean).join(" that expires on ") || "this expiry"} is here. Choose from the lists.`;
      case "refused": return `The server refused to send this expiry: ${refusal}.`;
      case "cut": return "Not connected: these are the last values that came.";
      case "old": return `The newest ticker is ${duration(now() - timeOf(newest))} old. The feed is late, or the venue is silent.`;
      case "passed": return "The expiry has passed, and some of its options are not closed yet.";
      case "expired": return `An expired expiry: its options ended at ${minuteOf(chosen.expiry_time)}. These are their final values.`;
      default: return "";
    }
  }

  function draw() {
    if (isDrawing || !isShown) return;
    isDrawing = true;
    requestAnimationFrame(() => {
      isDrawing = false;
      const model = modelOf(), state = stateOf(model.newest);
      showState(state, noteOf(state, model.newest));
      showFacts(model, state);
      chain.show(model, picked, state);
      smile.show(model, picked, state);
      showOption(picked && rows.get(picked));
    });
  }

  function showState(state, note) {
    const [pill, text] = STATES[state];
    by("options-head").dataset.state = by("chain-card").dataset.state = state;
    by("options-state").dataset.state = pill;
    setText(by("options-state-text"), text);
    setText(by("options-note"), note);
    by("options-note").hidden = !note;
    const title = chosen ? `Options of ${nameOf(chosen)}, ${dateOf(chosen)}` : "Options";
    setText(by("options-title"), title);
    if (state !== lastState && state !== "waiting") announce(`${title}: ${text}.`);
    lastState = state;
  }

  function showFacts({ lines, newest, underlying, atm, forward }, state) {
    const facts = [];
    if (newest) {
      const iv = atm?.call?.mark_iv ?? atm?.put?.mark_iv;
      const old = [...rows.values()].filter(isOld).length;
      const left = Date.parse(chosen.expiry_time) - now();
      const index = underlying?.underlying_index;
      facts.push(["Underlying", forward ?? "–", index ?? ""], ["Index", newest.index_price ?? "–"]);
      facts.push(["At the money", iv == null ? "–" : `${iv} %`, atm ? `mark IV at ${atm.strike}` : ""]);
      facts.push([left > 0 ? "Expires" : "Expired", left > 0 ? `in ${duration(left)}` : `${duration(-left)} ago`, minuteOf(chosen.expiry_time)]);
      facts.push(["Options", count(rows.size), `${count(lines.length)} strikes`]);
      facts.push(["Newest ticker", `${duration(now() - timeOf(newest))} old`, old ? `${count(old)} of ${count(rows.size)} older than 60 s` : ""]);
      if (state === "expired" || state === "passed") facts.push(["Delivery price", newest.estimated_delivery_price ?? "–", "the venue's estimate"]);
    }
    setFacts(by("expiry-facts"), facts);
  }

  function showOption(row) {
    by("option-note").hidden = Boolean(row);
    setText(by("option-title"), row ? row.base : "Option");
    setText(by("option-state"), row ? (isClosed(row) ? "closed" : row.state.toLowerCase()) : "");
    const facts = row ? DETAILS.map(([label, name]) => [label, row[name] ?? "–"]) : [];
    if (row?.closed_at) facts.unshift(["Closed", minuteOf(row.closed_at)]);
    if (row) facts.unshift(["Ticker", `${duration(now() - timeOf(row))} old`]);
    setFacts(by("option-facts"), facts);
  }

  function pick(base) {
    picked = picked === base ? null : base;
    announce(picked ? `All values of ${picked} are below the smile.` : "No option is chosen.");
    draw();
  }

  return {
    show, hide, subscribe, take, refused, heartbeat,
    tick() { if (isShown && expiries && chosen) fill(nameOf(chosen)); draw(); },
    restyle() { smile.restyle(); },
  };
}

// Changes text in place: a list that is made anew each second loses what a reader has marked.
function setFacts(list, facts) {
  while (list.children.length > facts.length) list.lastElementChild.remove();
  facts.forEach(([label, value, more = ""], at) => {
    let fact = list.children[at];
    if (!fact) {
      fact = list.appendChild(element("div"));
      const data = element("dd");
      data.append(element("span"), element("span", "", "note"));
      fact.append(element("dt"), data);
    }
    const [name, data] = fact.children;
    setText(name, label);
    setText(data.children[0], value);
    setText(data.children[1], more ? ` ${more}` : "");
  });
}
