//! From the frames of one feed to records.
//!
//! ```text
//! frame ─→ adapter ─→ event ───────────→ Output::Event
//!             │         └─ id not dense ─→ Output::Gap
//!             ├─→ heartbeat ─ due ───────→ Output::Mark (clock)
//!             ├─→ malformed ────────────→ Output::DeadLetter
//!             ├─→ ignored
//!             └─→ acknowledgement, refusal, request → Control, for the owner of the socket
//! every message ─→ Count, for metrics
//! ```
//!
//! An exchange may need several connections. Then each connection marks its own clock, and marks
//! each pair before its first event: an outage of the connection is an outage of its pairs only.
//! A sole connection marks neither.
//!
//! Live feeds and replays use the same pipeline.
//!
//! Invariant: the mark of a gap precedes the event that proves the gap.

mod marks;
mod output;

use rustc_hash::FxHashMap;
use schemas::{Basis, FeedMark, MarketEvent, PairChange, PairKey, Part, Timestamp};

use marks::MAX_PAIRS;
pub use marks::{Continuity, FeedClock, Healthy, IdGap};
pub use output::{DeadLetter, Output};

use crate::instrument::{Class, ListingChange};
use crate::message::{Control, Ignored, Message, Parsed, Subscription};
use crate::venue::Venue;

/// The records and the counts of some frames.
#[derive(Debug, Default)]
pub struct Produced {
    /// The records, in order.
    pub outputs: Vec<Output>,
    /// The occurrences that metrics count.
    pub counts: Vec<Count>,
}

/// An occurrence that metrics count.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Count {
    /// A message of a kind.
    Received(&'static str),
    /// An event of a basis and a class of instruments, received at a time.
    Event(Basis, Class, Timestamp),
    /// A message that was ignored.
    Ignored(Ignored),
    /// A gap in dense trade ids.
    Gap,
}

/// The frames of one feed, in order.
pub struct Pipeline {
    venue: Venue,
    /// The feed's name within the exchange.
    feed: String,
    continuity: Continuity,
    clock: FeedClock,
    /// Aggregates are ignored: their trades come as well.
    skip_aggregates: bool,
    /// The pairs, by basis, that were marked as carried by this connection; `None` for a sole one.
    carried: Option<FxHashMap<PairKey, [bool; 2]>>,
    /// Reused for every frame.
    parsed: Vec<Parsed>,
}

impl Pipeline {
    /// The pipeline of the feed of that name.
    pub fn new(venue: Venue, feed: impl Into<String>) -> Self {
        Self {
            venue,
            feed: feed.into(),
            continuity: Continuity::default(),
            clock: FeedClock::default(),
            skip_aggregates: false,
            carried: None,
            parsed: Vec::new(),
        }
    }

    /// Ignores aggregates, because the same capture has their trades.
    #[must_use]
    pub fn without_aggregates(mut self) -> Self {
        self.skip_aggregates = true;
        self
    }

    /// Marks only its own pairs: the exchange needs other connections as well.
    #[must_use]
    pub fn one_of_several(mut self) -> Self {
        self.carried = Some(FxHashMap::default());
        self
    }

    /// The connection was lost. The ids of the next trades show the trades that were missed.
    pub fn disconnected(&mut self) {
        self.clock.reset();
    }

    /// Appends the records of a text frame; returns the messages that concern the connection.
    pub fn frame(
        &mut self,
        text: &str,
        received_at: Timestamp,
        out: &mut Produced,
    ) -> Vec<Control> {
        let mut parsed = std::mem::take(&mut self.parsed);
        let venue = self.venue.as_str();
        // Nearly always empty: no allocation.
        let mut controls = Vec::new();
        if let Err(malformed) = self.venue.parse(text, received_at, &mut parsed) {
            out.outputs.push(Output::DeadLetter(DeadLetter::new(venue, &malformed, text)));
        }
        for Parsed { kind, message } in parsed.drain(..) {
            if !matches!(message, Message::Clock(_)) {
                out.counts.push(Count::Received(kind));
            }
            controls.extend(self.message(kind, message, received_at, out));
        }
        self.parsed = parsed;
        controls
    }

    fn message(
        &mut self,
        kind: &'static str,
        message: Message,
        received_at: Timestamp,
        out: &mut Produced,
    ) -> Option<Control> {
        match message {
            Message::Event(..)
                if self.skip_aggregates && self.venue.adapter().aggregate == Some(kind) =>
            {
                out.counts.push(Count::Ignored(Ignored::AggregateOfTrades));
            }
            Message::Event(pair, event) => self.event(pair, event, out),
            Message::Heartbeat { pair, time } => {
                if let Some(healthy) = self.clock.heartbeat(pair, time) {
                    out.outputs.push(self.clock_mark(healthy, received_at));
                }
            }
            Message::Clock(time) => {
                if let Some(healthy) = self.clock.connection(time) {
                    out.outputs.push(self.clock_mark(healthy, received_at));
                }
            }
            Message::Alive => {}
            Message::Control(control) => {
                match &control {
                    Control::Subscribed(subscriptions) => self.expect_heartbeats(subscriptions),
                    Control::Listing(ListingChange::Ended(name)) => {
                        out.outputs.extend(self.ended(name, received_at));
                    }
                    _ => {}
                }
                return Some(control);
            }
            Message::Ignored(reason) => out.counts.push(Count::Ignored(reason)),
        }
        None
    }

    fn expect_heartbeats(&mut self, subscriptions: &[Subscription]) {
        let heartbeat = self.venue.adapter().liveness.heartbeat_channel;
        let beating = subscriptions.iter().filter(|s| heartbeat == Some(&s.channel));
        self.clock.expect(beating.map(|s| s.pair.clone()));
    }

    fn event(&mut self, pair: PairKey, event: MarketEvent, out: &mut Produced) {
        out.outputs.extend(self.carries(&pair, &event));
        if event.basis == Basis::Trade
            && self.venue.adapter().dense_trade_ids
            && let Some(id) = event.trade_id
            && let Some(gap) = self.continuity.observe(&pair, id, event.event_time)
        {
            out.counts.push(Count::Gap);
            out.outputs.push(self.gap_mark(pair.clone(), gap, event.received_at));
        }
        let class = self.venue.class(&pair);
        out.counts.push(Count::Event(event.basis, class, event.received_at));
        out.outputs.push(Output::Event { pair, event });
    }

    /// The mark that this connection carries the pair, once. At most [`MAX_PAIRS`] pairs.
    fn carries(&mut self, pair: &PairKey, event: &MarketEvent) -> Option<Output> {
        let carried = self.carried.as_mut()?;
        if !carried.contains_key(pair) {
            if carried.len() >= MAX_PAIRS {
                return None;
            }
            carried.insert(pair.clone(), [false; 2]);
        }
        let told = &mut carried.get_mut(pair)?[event.basis as usize];
        if std::mem::replace(told, true) {
            return None;
        }
        let since = self.clock.began().unwrap_or(event.event_time);
        let until = self.clock.told().unwrap_or(event.received_at);
        let part = if event.basis == Basis::Trade { Part::Trades } else { Part::Tickers };
        let mark = FeedMark {
            healthy_from: Some(since),
            part: Some(part),
            ..FeedMark::healthy(self.feed.clone(), until, event.received_at)
        };
        Some(Output::Gap { pair: pair.clone(), mark })
    }

    /// The mark that an instrument has ended: the processor cannot know it otherwise.
    fn ended(&self, name: &str, received_at: Timestamp) -> Option<Output> {
        // A name without a pair has no events either.
        let pair = self.venue.pair(name).ok()?;
        let feed = self.feed.clone();
        let mark = FeedMark::of_pair(PairChange::Ended, feed, received_at, received_at);
        Some(Output::Gap { pair, mark })
    }

    fn clock_mark(&self, healthy: Healthy, received_at: Timestamp) -> Output {
        let mark = FeedMark {
            healthy_from: Some(healthy.from),
            part: self.carried.as_ref().map(|_| Part::Connection),
            ..FeedMark::healthy(self.feed.clone(), healthy.until, received_at)
        };
        Output::Mark { exchange: self.venue.as_str(), mark }
    }

    fn gap_mark(&self, pair: PairKey, gap: IdGap, received_at: Timestamp) -> Output {
        let healthy_until = self.clock.told().unwrap_or(gap.from);
        let mark = FeedMark {
            gap_from: Some(gap.from),
            gap_until: Some(gap.until),
            reason: format!(
                "{}-{}: {} trades missing after id {}",
                pair.base, pair.quote, gap.missing, gap.after
            ),
            first_missing_id: gap.after.checked_add(1),
            missing: Some(gap.missing),
            ..FeedMark::healthy(self.feed.clone(), healthy_until, received_at)
        };
        Output::Gap { pair, mark }
    }
}

#[cfg(test)]
#[path = "tests.rs"]
mod tests;
