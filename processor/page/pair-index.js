// The index of the chosen pair: one price over its exchanges, beside the price, the age and the distance of each.
//
// Prices are shown as the text that came. Only the distance, which is a share, makes numbers of them.

import { by, element, setText } from "/page/dom.js";
import { duration } from "/page/text.js";

const STATES = {
  waiting: ["connecting", "Waiting"],
  none: ["connecting", "Not computed"],
  live: ["live", "Live"],
  apart: ["gone", "Exchanges apart"],
  old: ["gone", "All prices old"],
  refused: ["gone", "Not readable"],
};
const APART = 0.05; // Of the price: the bound of an outlier, and of the alert VenuesDisagree.
const REASONS = { stale: "older than 60 s", outlier: "more than 5 % away" };

// `say` sends a message, `announce` reads one aloud, `tokens` has the resume tokens, `newId` numbers a
// subscription, `now` is the server's time.
export function createIndex({ say, announce, tokens, newId, now }) {
  let id = 0, pair = null, row = null, answered = false, refusal = "", drawing = false, lastState = "waiting";

  // Pairs of one base and quote share an index, so another exchange of it changes nothing.
  function choose({ base, quote }) {
    if (pair?.base === base && pair.quote === quote) return;
    if (id) say({ op: "unsubscribe", id });
    tokens.delete(id);
    pair = { base, quote };
    id = newId();
    row = null;
    answered = false;
    refusal = "";
    lastState = "waiting";
    subscribe();
    draw();
  }

  // At each new connection, and for each new pair.
  function subscribe() {
    if (!pair) return;
    const resume = tokens.get(id);
    say({ op: "subscribe", id, channel: "index", ...pair, ...(resume && { resume }) });
  }

  function take(message) {
    if (message.id !== id) return;
    const next = message.rows.at(-1);
    if (message.type !== "snapshot" && !next) return;
    row = next && !next.deleted ? next : null;
    answered = true;
    refusal = "";
    draw();
  }

  function refused(message) {
    if (message.id !== id) return;
    refusal = message.error;
    draw();
  }

  // A token of a heartbeat replaces the one of a subscription that has its first rows.
  function heartbeat({ resume }) {
    if (tokens.has(id)) tokens.set(id, resume);
  }

  const fresh = () => row.members.filter((one) => one.unused_because !== "stale").length;
  const isApart = () => fresh() > 1 && Number(row.spread_across_venues) > APART * Number(row.price);

  function stateOf() {
    if (refusal) return "refused";
    if (!row) return answered ? "none" : "waiting";
    if (row.price == null) return "old";
    return isApart() ? "apart" : "live";
  }

  function noteOf(state) {
    switch (state) {
      case "refused": return `The index cannot be read: ${refusal}.`;
      case "none": return `No index of ${pair.base}-${pair.quote} is here. processor run --topologies prices,index computes it.`;
      case "apart": return `The exchanges are more than 5 % of the price apart.${fresh() === 2 ? " Two alone do not tell which one is right." : ""}`;
      case "old": return "Every exchange has been silent for more than 60 s, so there is no price.";
      default: return "";
    }
  }

  function draw() {
    if (drawing) return;
    drawing = true;
    requestAnimationFrame(() => {
      drawing = false;
      const state = stateOf(), [pill, text] = STATES[state], note = noteOf(state);
      by("index-card").dataset.state = state;
      by("index-state").dataset.state = pill;
      setText(by("index-state-text"), text);
      setText(by("index-note"), note);
      by("index-note").hidden = !note;
      setText(by("index-title"), pair ? `Index of ${pair.base}-${pair.quote}` : "Index");
      showPrice();
      showMembers();
      if (state !== lastState && (lastState !== "waiting" || state === "apart")) announce(`Index of ${pair.base}-${pair.quote}: ${text}.`);
      lastState = state;
    });
  }

  function showPrice() {
    const line = by("index-price");
    line.replaceChildren();
    line.hidden = row?.price == null;
    if (line.hidden) return;
    line.append(element("b", row.price), ` lower median of ${row.used} of ${row.members.length} exchanges · spread across exchanges ${row.spread_across_venues ?? "unknown"}`);
  }

  function showMembers() {
    const members = row?.members ?? [], body = by("index-rows");
    by("index-table").hidden = !members.length;
    while (body.children.length > members.length) body.lastElementChild.remove();
    members.forEach((member, at) => {
      const line = body.children[at] ?? body.appendChild(makeLine());
      const [exchange, price, distance, age, counts] = line.children;
      line.classList.toggle("unused", !member.used);
      setText(exchange, member.exchange);
      setText(price, member.price);
      setText(distance, distanceOf(member));
      const ms = now() - Date.parse(member.event_time);
      setText(age, duration(ms));
      age.classList.toggle("old", member.unused_because === "stale");
      setText(counts, member.used ? "counts" : `left out: ${REASONS[member.unused_because] ?? member.unused_because}`);
    });
  }

  // Of a member's price from the index.
  function distanceOf(member) {
    if (row.price == null) return "–";
    const share = 100 * (Number(member.price) / Number(row.price) - 1);
    return Number.isFinite(share) ? `${share < 0 ? "−" : "+"}${Math.abs(share).toFixed(3)} %` : "–";
  }

  function makeLine() {
    const line = element("tr"), head = element("th");
    head.scope = "row";
    line.append(head, element("td", "", "number"), element("td", "", "number"), element("td", "", "number"), element("td"));
    return line;
  }

  return { choose, subscribe, take, refused, heartbeat, tick() { if (row) showMembers(); } };
}
