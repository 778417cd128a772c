//! From the frames of one feed to what is written to the log.
//!
//! ```text
//! frame ─→ adapter ─→ event ───────────→ Output::Event
//!             │         └─ id not dense ─→ Output::Gap
//!             ├─→ heartbeat ─ due ───────→ Output::Mark (clock)
//!             ├─→ malformed ────────────→ Output::DeadLetter
//!             ├─→ ignored: counted
//!             └─→ acknowledgement, refusal, question → Control, for whoever holds the socket
//! ```
//!
//! Where an exchange needs several connections, each tells its own clock, and of each pair, before
//! its first event, that it comes over this connection: nobody else can know whose outages are the
//! pair's. A sole connection tells neither.
//!
//! It has no socket and no clock: `run` feeds it from one, `replay` from a file.
//!
//! Invariant: a gap's mark stands before the event that proves it.

use std::sync::Arc;
use std::time::Duration;

use rustc_hash::FxHashMap;
use schemas::{Basis, FeedMark, MarketEvent, PairChange, PairKey, Part, Timestamp};

use crate::exchange::{Change, Ignored, Malformed, Message, Parsed, Subscription, Venue, coinbase};
use crate::marks::{Continuity, FeedClock, Gap, Healthy, MAX_PAIRS};
use crate::metrics::Metrics;

/// What goes to the log.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Output {
    /// To `events`, to the partition of its key.
    Event {
        /// The key.
        pair: PairKey,
        /// The value.
        event: MarketEvent,
    },
    /// To every partition of `events`.
    Mark {
        /// Whose mark.
        exchange: &'static str,
        /// The value.
        mark: FeedMark,
    },
    /// To `events`, to the partition of its key: a gap, which connection it comes over, and its end
    /// concern one pair.
    Gap {
        /// The key.
        pair: PairKey,
        /// The value.
        mark: FeedMark,
    },
    /// To `dead_letters`.
    DeadLetter(DeadLetter),
}

impl Output {
    /// When the feed read what it is made of; unknown of a dead letter.
    pub fn received_at(&self) -> Option<Timestamp> {
        match self {
            Self::Event { event, .. } => Some(event.received_at),
            Self::Mark { mark, .. } | Self::Gap { mark, .. } => Some(mark.received_at),
            Self::DeadLetter(_) => None,
        }
    }
}

/// A reason may quote its input, which may be long.
const MAX_DETAIL_CHARS: usize = 256;

/// Input that is not what its source promises.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DeadLetter {
    /// The venue, or the command that read it.
    pub venue: &'static str,
    /// A label of [`Malformed`].
    pub reason: &'static str,
    /// The reason in full.
    pub detail: String,
    /// As it came.
    pub raw: String,
}

impl DeadLetter {
    /// The dead letter of `raw`.
    pub fn new(venue: &'static str, malformed: &Malformed, raw: &str) -> Self {
        let detail = malformed.to_string().chars().take(MAX_DETAIL_CHARS).collect();
        Self { venue, reason: malformed.label(), detail, raw: raw.into() }
    }
}

/// What the holder of the socket has to know.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Control {
    /// These subscriptions stand.
    Subscribed(Vec<Subscription>),
    /// The venue refused, in its words.
    Refused(String),
    /// The venue refused one of several things.
    Rejected {
        /// In its words.
        reason: String,
        /// The pair that it does not have, when it says which.
        pair: Option<PairKey>,
    },
    /// The venue is to be left alone for a while.
    NotNow {
        /// The request that is to be sent again, when it says which.
        id: Option<u64>,
        /// In its words.
        reason: String,
        /// How long.
        wait: Duration,
    },
    /// The venue wants this text back at once.
    Reply(&'static str),
    /// The venue is about to close the connection.
    Leaving,
    /// An instrument came or went.
    Changed(Change),
}

impl Control {
    /// What of a message concerns the connection; `None` when it concerns the market alone.
    pub fn of(message: Message) -> Option<Self> {
        Some(match message {
            Message::Subscribed(subscriptions) => Self::Subscribed(subscriptions),
            Message::Refused(reason) => Self::Refused(reason),
            Message::Rejected { reason, pair } => Self::Rejected { reason, pair },
            Message::NotNow { id, reason, wait } => Self::NotNow { id, reason, wait },
            Message::Reply(text) => Self::Reply(text),
            Message::Leaving => Self::Leaving,
            Message::Instrument(change) => Self::Changed(change),
            Message::Event(..)
            | Message::Heartbeat { .. }
            | Message::Clock(_)
            | Message::Alive
            | Message::Ignored(_) => return None,
        })
    }
}

/// One feed's frames, in order.
pub struct Pipeline {
    venue: Venue,
    /// The feed's name within the exchange.
    feed: String,
    continuity: Continuity,
    clock: FeedClock,
    metrics: Arc<Metrics>,
    /// Aggregates are left out: their trades come as well.
    skip_aggregates: bool,
    /// Of which pairs it was told, by basis, that they come over this connection; `None` for a sole one.
    carried: Option<FxHashMap<PairKey, [bool; 2]>>,
    /// Reused for every frame.
    parsed: Vec<Parsed>,
}

impl Pipeline {
    /// The pipeline of the feed of that name.
    pub fn new(venue: Venue, feed: impl Into<String>, metrics: Arc<Metrics>) -> Self {
        Self {
            venue,
            feed: feed.into(),
            continuity: Continuity::default(),
            clock: FeedClock::default(),
            metrics,
            skip_aggregates: false,
            carried: None,
            parsed: Vec::new(),
        }
    }

    /// Leaves aggregates out, because the same capture has their trades.
    #[must_use]
    pub fn without_aggregates(mut self) -> Self {
        self.skip_aggregates = true;
        self
    }

    /// Speaks for its own pairs only: the exchange needs other connections as well.
    #[must_use]
    pub fn one_of_several(mut self) -> Self {
        self.carried = Some(FxHashMap::default());
        self
    }

    /// The connection was lost. What was missed shows in the ids of what comes next.
    pub fn disconnected(&mut self) {
        self.clock.reset();
    }

    /// Appends what a text frame gives; returns what concerns the connection.
    pub fn frame(
        &mut self,
        text: &str,
        received_at: Timestamp,
        out: &mut Vec<Output>,
    ) -> Vec<Control> {
        let mut parsed = std::mem::take(&mut self.parsed);
        let venue = self.venue.as_str();
        // Nearly always empty, and then it costs nothing.
        let mut controls = Vec::new();
        if let Err(malformed) = self.venue.parse(text, received_at, &mut parsed) {
            out.push(Output::DeadLetter(DeadLetter::new(venue, &malformed, text)));
        }
        for Parsed { kind, message } in parsed.drain(..) {
            if !matches!(message, Message::Clock(_)) {
                self.metrics.received.with_label_values(&[venue, kind]).inc();
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
        out: &mut Vec<Output>,
    ) -> Option<Control> {
        match message {
            Message::Event(..) if self.skip_aggregates && self.venue.is_aggregate(kind) => {
                self.ignore(Ignored::AggregateOfTrades);
            }
            Message::Event(pair, event) => self.event(pair, event, out),
            Message::Heartbeat { pair, time } => {
                if let Some(healthy) = self.clock.heartbeat(pair, time) {
                    out.push(self.clock_mark(healthy, received_at));
                }
            }
            Message::Clock(time) => {
                if let Some(healthy) = self.clock.connection(time) {
                    out.push(self.clock_mark(healthy, received_at));
                }
            }
            Message::Alive => {}
            Message::Subscribed(subscriptions) => {
                let beating = subscriptions.iter().filter(|s| s.channel == coinbase::HEARTBEAT);
                self.clock.expect(beating.map(|s| s.pair.clone()));
                return Some(Control::Subscribed(subscriptions));
            }
            Message::Ignored(reason) => self.ignore(reason),
            other => {
                if let Message::Instrument(Change::Ended(name)) = &other {
                    out.extend(self.ended(name, received_at));
                }
                return Control::of(other);
            }
        }
        None
    }

    fn event(&mut self, pair: PairKey, event: MarketEvent, out: &mut Vec<Output>) {
        out.extend(self.carries(&pair, &event));
        if event.basis == Basis::Trade
            && let Some(id) = event.trade_id
            && let Some(gap) = self.continuity.observe(&pair, id, event.event_time)
        {
            self.metrics.sequence_gaps.with_label_values(&[self.venue.as_str()]).inc();
            tracing::warn!(
                venue = self.venue.as_str(), pair = %pair, after = gap.after,
                missing = gap.missing, "trades are missing"
            );
            out.push(self.gap_mark(pair.clone(), gap, event.received_at));
        }
        let labels = [self.venue.as_str(), event.basis.as_str()];
        self.metrics.parsed.with_label_values(&labels).inc();
        self.metrics.event_of(self.venue.class(&pair), event.received_at);
        out.push(Output::Event { pair, event });
    }

    /// That the pair comes over this connection, the first time that it does. At most [`MAX_PAIRS`].
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

    /// That an instrument has ended, in the log: the processor cannot know it otherwise.
    fn ended(&self, name: &str, received_at: Timestamp) -> Option<Output> {
        // What names no pair has no events either.
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

    fn gap_mark(&self, pair: PairKey, gap: Gap, received_at: Timestamp) -> Output {
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

    fn ignore(&self, reason: Ignored) {
        self.metrics.ignored.with_label_values(&[self.venue.as_str(), reason.as_str()]).inc();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn frames(texts: &[&str]) -> anyhow::Result<(Vec<Output>, Vec<Control>)> {
        let metrics = Arc::new(Metrics::new()?);
        let mut pipeline = Pipeline::new(Venue::Coinbase, "coinbase-0", metrics);
        let mut out = Vec::new();
        let control = texts
            .iter()
            .flat_map(|text| pipeline.frame(text, Timestamp(1_618_677_817_000), &mut out))
            .collect();
        Ok((out, control))
    }

    #[test]
    fn the_end_of_an_instrument_is_a_mark_of_its_pair() -> anyhow::Result<()> {
        let metrics = Arc::new(Metrics::new()?);
        let mut pipeline = Pipeline::new(Venue::Deribit, "deribit-0", metrics);
        let state = |state: &str| {
            format!(
                r#"{{"jsonrpc":"2.0","method":"subscription","params":{{"channel":"instrument.state.option.BTC","data":{{"timestamp":1553080940000,"state":"{state}","instrument_name":"BTC-22MAR19-4000-C"}}}}}}"#
            )
        };
        let (at, mut out) = (Timestamp(1_553_080_940_500), Vec::new());
        assert_eq!(pipeline.frame(&state("created"), at, &mut out).len(), 1);
        assert!(out.is_empty(), "{out:?}");
        assert_eq!(pipeline.frame(&state("terminated"), at, &mut out).len(), 1);
        let pair = PairKey::new("BTC-22MAR19-4000-C", "BTC", "deribit");
        let mark = FeedMark::of_pair(PairChange::Ended, "deribit-0", at, at);
        assert_eq!(out, [Output::Gap { pair, mark }]);
        Ok(())
    }

    fn trade(id: i64) -> String {
        format!(
            r#"{{"type":"match","trade_id":{id},"side":"buy","size":"1","price":"2","product_id":"BTC-USD","time":"2021-04-17T16:43:30.24{id}Z"}}"#
        )
    }

    #[test]
    fn a_gap_is_marked_before_the_trade_that_proves_it() -> anyhow::Result<()> {
        let (out, _) = frames(&[&trade(1), &trade(4)])?;
        let [Output::Event { .. }, Output::Gap { pair, mark }, Output::Event { .. }] = &out[..]
        else {
            anyhow::bail!("{out:?}");
        };
        assert_eq!(*pair, PairKey::new("BTC", "USD", "coinbase"));
        assert_eq!((mark.first_missing_id, mark.missing), (Some(2), Some(2)));
        assert_eq!(mark.gap_from, Timestamp::parse_rfc3339("2021-04-17T16:43:30.241Z"));
        assert_eq!(mark.gap_until, Timestamp::parse_rfc3339("2021-04-17T16:43:30.245Z"));
        assert_eq!(mark.reason, "BTC-USD: 2 trades missing after id 1");
        Ok(())
    }

    #[test]
    fn heartbeats_tell_the_clock_once_they_are_acknowledged() -> anyhow::Result<()> {
        let beat = r#"{"type":"heartbeat","last_trade_id":0,"product_id":"BTC-USD","sequence":1,"time":"2021-04-17T16:43:30.5Z"}"#;
        let ack = r#"{"type":"subscriptions","channels":[{"name":"heartbeat","product_ids":["BTC-USD"],"account_ids":null}]}"#;
        let (out, control) = frames(&[beat, ack, beat, beat])?;
        assert_eq!(control.len(), 1);
        let [Output::Mark { exchange: "coinbase", mark }] = &out[..] else {
            anyhow::bail!("{out:?}");
        };
        assert_eq!(Some(mark.healthy_until), Timestamp::parse_rfc3339("2021-04-17T16:43:30.5Z"));
        assert_eq!((mark.gap_from, mark.feed.as_str()), (None, "coinbase-0"));
        assert_eq!(mark.healthy_from, Some(mark.healthy_until), "nothing is known of before");
        Ok(())
    }

    #[test]
    fn a_connections_clock_is_told_once_its_subscriptions_stand() -> anyhow::Result<()> {
        let metrics = Arc::new(Metrics::new()?);
        let mut pipeline = Pipeline::new(Venue::Kraken, "kraken-0", metrics);
        let pong = |second: u8| {
            format!(r#"{{"method":"pong","time_out":"2023-09-25T09:04:{second}.742648Z"}}"#)
        };
        let ack = r#"{"method":"subscribe","result":{"channel":"trade","symbol":"BTC/USD"},"success":true}"#;
        let mut out = Vec::new();
        for text in [pong(30), ack.to_owned(), pong(31), pong(31), pong(33)] {
            pipeline.frame(&text, Timestamp(1), &mut out);
        }
        pipeline.disconnected();
        pipeline.frame(&pong(40), Timestamp(1), &mut out);
        let told = out.iter().filter_map(|output| match output {
            Output::Mark { mark, .. } => Some(mark.healthy_until),
            _ => None,
        });
        let expected = ["2023-09-25T09:04:30.742Z", "2023-09-25T09:04:32.742Z"];
        assert!(told.eq(expected.iter().filter_map(|time| Timestamp::parse_rfc3339(time))));
        Ok(())
    }

    #[test]
    fn what_cannot_be_read_is_kept_as_it_came() -> anyhow::Result<()> {
        let (out, _) = frames(&["{\"type\":\"mat"])?;
        let [Output::DeadLetter(letter)] = &out[..] else { anyhow::bail!("{out:?}") };
        assert_eq!((letter.reason, letter.raw.as_str()), ("not_json", "{\"type\":\"mat"));
        Ok(())
    }

    fn coinbase(several: bool) -> anyhow::Result<Pipeline> {
        let pipeline = Pipeline::new(Venue::Coinbase, "coinbase-1", Arc::new(Metrics::new()?));
        Ok(if several { pipeline.one_of_several() } else { pipeline })
    }

    fn beat(second: u8) -> String {
        format!(
            r#"{{"type":"heartbeat","last_trade_id":0,"product_id":"BTC-USD","sequence":1,"time":"2021-04-17T16:43:{second}Z"}}"#
        )
    }

    /// Feed, part, from and until of each mark, through a loss of the connection.
    fn marks(pipeline: &mut Pipeline) -> Vec<(Option<PairKey>, FeedMark)> {
        let ack = r#"{"type":"subscriptions","channels":[{"name":"heartbeat","product_ids":["BTC-USD"],"account_ids":null}]}"#;
        let mut out = Vec::new();
        let mut read = |pipeline: &mut Pipeline, texts: &[String]| {
            for text in texts {
                pipeline.frame(text, Timestamp(1_618_677_817_000), &mut out);
            }
        };
        read(pipeline, &[ack.into(), beat(10), beat(20), trade(1), trade(2)]);
        pipeline.disconnected();
        read(pipeline, &[ack.into(), beat(40), trade(3), beat(50)]);
        out.into_iter()
            .filter_map(|output| match output {
                Output::Mark { mark, .. } => Some((None, mark)),
                Output::Gap { pair, mark } => Some((Some(pair), mark)),
                _ => None,
            })
            .collect()
    }

    #[test]
    fn one_of_several_tells_its_own_clock_and_once_whom_it_carries() -> anyhow::Result<()> {
        let at = |second| Timestamp::parse_rfc3339(&format!("2021-04-17T16:43:{second}Z"));
        let found = marks(&mut coinbase(true)?);
        let (carried, clocks): (Vec<_>, Vec<_>) =
            found.into_iter().partition(|(pair, _)| pair.is_some());
        let [(Some(pair), mark)] = &carried[..] else { anyhow::bail!("{carried:?}") };
        assert_eq!(*pair, PairKey::new("BTC", "USD", "coinbase"));
        assert_eq!((mark.part, mark.healthy_from), (Some(Part::Trades), at(10)));
        assert_eq!((mark.feed.as_str(), mark.gap_from), ("coinbase-1", None));
        assert!(clocks.iter().all(|(_, mark)| mark.part == Some(Part::Connection)));
        let stretches = clocks.iter().map(|(_, mark)| (mark.healthy_from, mark.healthy_until));
        let until = |second| at(second).unwrap();
        let expected = [(10, 10), (10, 20), (40, 40), (40, 50)];
        assert!(stretches.eq(expected.map(|(from, to)| (at(from), until(to)))), "{clocks:?}");
        Ok(())
    }

    #[test]
    fn a_sole_connection_speaks_for_all_of_its_exchange() -> anyhow::Result<()> {
        let found = marks(&mut coinbase(false)?);
        assert_eq!(found.len(), 4);
        assert!(found.iter().all(|(pair, mark)| pair.is_none() && mark.part.is_none()));
        Ok(())
    }
}
