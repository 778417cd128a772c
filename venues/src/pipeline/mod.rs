//! From the frames of one feed to records.
//!
//! ```text
//! frame ─→ adapter ─→ event ───────────→ Output::Event
//!             │         └─ id not dense ─→ Output::Gap
//!             ├─→ whole ticker ─────────→ Output::Ticker
//!             ├─→ heartbeat ─ due ───────→ Output::Mark (clock)
//!             ├─→ malformed ────────────→ Output::DeadLetter
//!             ├─→ ignored
//!             └─→ acknowledgement, refusal, request → Control, for the owner of the socket
//! frame of a book ─→ Books ─┬─→ Output::Quote, Output::Book, Output::BookMark
//!                           └─→ Control: a snapshot is needed
//! every message ─→ Count, for metrics
//! ```
//!
//! An exchange may need several connections. Then each connection marks its own clock, and marks
//! each pair before its first event: an outage of the connection is an outage of its pairs only.
//! A sole connection marks neither. The clock is marked in `quotes` too, if the feed has books.
//!
//! Live feeds and replays use the same pipeline.
//!
//! Invariant: the mark of a gap precedes the event that proves the gap, or the quote that ends it.

mod awaited;
mod books;
mod instruments;
mod marks;
mod output;
mod quotes;

use rustc_hash::FxHashMap;
use schemas::{
    Basis, FeedMark, InstrumentState, MarketEvent, PairChange, PairKey, Part, Ticker, Timestamp,
};

pub use books::{Books, MAX_BOOKS};
use instruments::Instruments;
use marks::MAX_PAIRS;
pub use marks::{Continuity, FeedClock, Healthy, IdGap};
pub use output::{DeadLetter, Output};
use quotes::Quotes;

use crate::book::Reason;
use crate::channel::{Channel, Follow};
use crate::instrument::{Class, Instrument, ListingChange};
use crate::malformed::Malformed;
use crate::message::{Control, Ignored, Message, NullField, Parsed, Subscription};
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
    /// A whole ticker of a class of instruments.
    Ticker(Class),
    /// A record of the facts or of the end of an instrument.
    Instrument(InstrumentState),
    /// A field that the venue sent and that is null.
    NullField(NullField),
    /// A message that was ignored.
    Ignored(Ignored),
    /// A gap in dense trade ids.
    Gap,
    /// A frame of a book.
    BookFrame,
    /// A frame of a book whose checksum holds.
    Checksum,
    /// A frame after which a book is out of sync.
    Resync(Reason),
}

/// A frame that was read for everything but books.
struct Read {
    controls: Vec<Control>,
    /// Its kind is one that books use.
    has_book: bool,
    /// It is a dead letter.
    is_malformed: bool,
}

/// The frames of one feed, in order.
pub struct Pipeline {
    venue: Venue,
    follow: Follow,
    /// The feed's name within the exchange.
    feed: String,
    continuity: Continuity,
    clock: FeedClock,
    /// Aggregates are ignored: their trades come as well.
    skip_aggregates: bool,
    /// The pairs, by basis, that were marked as carried by this connection; `None` for a sole one.
    carried: Option<FxHashMap<PairKey, [bool; 2]>>,
    books: Books,
    quotes: Quotes,
    instruments: Instruments,
    /// A record of tickers or of facts has come: the clock is marked in their topic too.
    has_tickers: bool,
    /// Reused for every frame.
    parsed: Vec<Parsed>,
}

impl Pipeline {
    /// The pipeline of the feed of that name. It follows the books of all pairs that come, if books are
    /// followed at all.
    pub fn new(venue: Venue, feed: impl Into<String>, follow: Follow) -> Self {
        let feed = feed.into();
        Self {
            venue,
            follow,
            books: Books::new(venue, follow),
            quotes: Quotes::new(feed.clone()),
            instruments: Instruments::default(),
            feed,
            continuity: Continuity::default(),
            clock: FeedClock::default(),
            skip_aggregates: false,
            carried: None,
            has_tickers: false,
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
        self.quotes.one_of_several();
        self
    }

    /// Follows the books of these streams and tells the facts of their instruments, and of no others.
    #[must_use]
    pub fn carrying(mut self, streams: &[String]) -> Self {
        self.carry(streams);
        self
    }

    /// Follows further streams, as [`Self::carrying`].
    pub fn carry(&mut self, streams: &[String]) {
        self.books.carry(streams);
        self.instruments.carry(self.venue, streams);
        if self.follow.has(Channel::Book) {
            let pair_of = self.venue.adapter().books.pair_of_stream;
            self.quotes.follow(streams.iter().filter_map(|stream| pair_of(stream)));
        }
    }

    /// Appends the records of a listing: the facts of each instrument whose ticker is followed, once for
    /// each connection, and the end of those that have expired and are no longer listed.
    pub fn listing(&mut self, listed: &[Instrument], received_at: Timestamp, out: &mut Produced) {
        if self.follow.has(Channel::Ticker) {
            let before = out.outputs.len();
            for name in self.instruments.listing(self.venue, listed, received_at, out) {
                self.ended(&name, received_at, out);
            }
            self.has_tickers |= out.outputs.len() > before;
        }
    }

    /// Forgets the facts of an instrument whose end another feed has told.
    pub fn forget_facts(&mut self, name: &str) {
        self.instruments.forget(name);
    }

    /// The connection was lost. The ids of the next trades show the trades that were missed; each book
    /// is out of sync.
    pub fn disconnected(&mut self, received_at: Timestamp, out: &mut Produced) {
        self.clock.reset();
        self.instruments.disconnect();
        let Self { books, quotes, clock, .. } = self;
        books.disconnect(&mut |step| quotes.step(step, clock, received_at, out));
    }

    /// Appends the records of a fetched snapshot of a pair's book; returns the messages that concern the
    /// connection. An answer that is no snapshot is a dead letter, and the snapshot is asked for again.
    pub fn snapshot(
        &mut self,
        pair: &PairKey,
        body: &str,
        received_at: Timestamp,
        out: &mut Produced,
    ) -> Vec<Control> {
        let mut controls = Vec::new();
        let Self { books, quotes, clock, .. } = self;
        let taken = books.take_snapshot(pair, body, &mut controls, &mut |step| {
            out.counts.push(Count::BookFrame);
            quotes.step(step, clock, received_at, out);
        });
        self.quotes.flush(&self.books, received_at, out);
        if let Err(malformed) = taken {
            out.outputs.push(self.dead_letter(&malformed, body));
        }
        controls
    }

    /// The pair of the only book that has come.
    pub(crate) fn only_book(&self) -> Option<PairKey> {
        self.books.only_pair()
    }

    /// Books without a frame, of the same pairs: for a connection that will replace this one.
    pub fn fresh_books(&self) -> Books {
        self.books.fresh()
    }

    /// Publishes the books of a replacement from here on: a quote for each whose best bid or ask is
    /// another one, and the loss of each that is not in sync.
    pub fn take_over(&mut self, books: Books, received_at: Timestamp, out: &mut Produced) {
        self.books = books;
        let Self { books, quotes, clock, .. } = self;
        quotes.take_over(books, clock, received_at, out);
    }

    /// Ends the input: levels that wait are published, and a book that is out of sync has a gap up to the
    /// last receipt.
    pub fn finish(&mut self, out: &mut Produced) {
        self.quotes.finish(&self.books, out);
    }

    /// Appends the records of a text frame; returns the messages that concern the connection.
    pub fn frame(
        &mut self,
        text: &str,
        received_at: Timestamp,
        out: &mut Produced,
    ) -> Vec<Control> {
        let Read { mut controls, has_book, is_malformed } = self.read(text, received_at, out);
        if has_book {
            let Self { books, quotes, clock, .. } = self;
            let taken = books.take(text, &mut controls, &mut |step| {
                out.counts.push(Count::BookFrame);
                quotes.step(step, clock, received_at, out);
            });
            if let Err(malformed) = taken
                && !is_malformed
            {
                out.outputs.push(self.dead_letter(&malformed, text));
            }
        }
        self.quotes.flush(&self.books, received_at, out);
        controls
    }

    /// The same without the books: a frame that [`Books::frame`] has taken.
    pub fn events(
        &mut self,
        text: &str,
        received_at: Timestamp,
        out: &mut Produced,
    ) -> Vec<Control> {
        self.read(text, received_at, out).controls
    }

    /// Appends the records of a frame that are not of books.
    fn read(&mut self, text: &str, received_at: Timestamp, out: &mut Produced) -> Read {
        let mut parsed = std::mem::take(&mut self.parsed);
        // Nearly always empty: no allocation.
        let mut controls = Vec::new();
        let (mut has_book, mut is_malformed) = (false, false);
        if let Err(malformed) = self.venue.parse(text, received_at, &mut parsed) {
            is_malformed = true;
            out.outputs.push(self.dead_letter(&malformed, text));
        }
        for Parsed { kind, message } in parsed.drain(..) {
            has_book |= self.is_of_book(kind);
            // A ticker is counted with the sample that follows it.
            if !matches!(message, Message::Clock(_) | Message::Ticker(..) | Message::Null(_)) {
                out.counts.push(Count::Received(kind));
            }
            controls.extend(self.message(kind, message, received_at, out));
        }
        self.parsed = parsed;
        Read { controls, has_book, is_malformed }
    }

    fn is_of_book(&self, kind: &'static str) -> bool {
        self.follow.has(Channel::Book) && self.venue.adapter().books.kinds.contains(&kind)
    }

    fn dead_letter(&self, malformed: &Malformed, text: &str) -> Output {
        Output::DeadLetter(DeadLetter::new(self.venue.as_str(), malformed, text))
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
            Message::Event(_, event) if !self.follows(event.basis) => {
                out.counts.push(Count::Ignored(Ignored::UnusedType));
            }
            Message::Event(pair, event) => self.event(pair, event, out),
            Message::Ticker(pair, ticker) => self.ticker(pair, ticker, out),
            Message::Null(reason) => out.counts.push(Count::NullField(reason)),
            Message::Heartbeat { pair, time } => {
                let healthy = self.clock.heartbeat(pair, time);
                self.clock_marks(healthy, received_at, out);
            }
            Message::Clock(time) => {
                let healthy = self.clock.connection(time);
                self.clock_marks(healthy, received_at, out);
            }
            Message::Alive => {}
            Message::Control(Control::OnlyDepth { reason, .. })
                if !self.follow.has(Channel::Book) =>
            {
                return Some(Control::Refused(reason));
            }
            Message::Control(mut control) => {
                match &mut control {
                    Control::Subscribed(subscriptions) => {
                        if !self.are_asked(subscriptions) {
                            return None;
                        }
                        self.expect_heartbeats(subscriptions);
                    }
                    Control::Listing(ListingChange::Ended(name)) => {
                        self.ended(name, received_at, out);
                    }
                    _ => {}
                }
                return Some(control);
            }
            Message::Ignored(_) if self.is_of_book(kind) => {}
            Message::Ignored(reason) => out.counts.push(Count::Ignored(reason)),
        }
        None
    }

    const fn follows(&self, basis: Basis) -> bool {
        self.follow.has(match basis {
            Basis::Trade => Channel::Trades,
            Basis::Ticker => Channel::Ticker,
        })
    }

    /// False for the acknowledgement of a book that is the clock and is not followed.
    fn are_asked(&self, subscriptions: &[Subscription]) -> bool {
        let pair_of = self.venue.adapter().books.pair_of_stream;
        let is_asked =
            |one: &Subscription| pair_of(&one.channel).is_none_or(|pair| self.books.follows(&pair));
        subscriptions.is_empty() || subscriptions.iter().any(is_asked)
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

    /// A ticker that is not followed is counted with its sample.
    fn ticker(&mut self, pair: PairKey, ticker: Box<Ticker>, out: &mut Produced) {
        if self.follow.has(Channel::Ticker) {
            self.has_tickers = true;
            out.counts.push(Count::Ticker(self.venue.class(&pair)));
            out.outputs.push(Output::Ticker { pair, ticker });
        }
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

    /// The marks that an instrument has ended, of its events and of its book: the processor cannot know
    /// it otherwise.
    fn ended(&mut self, name: &str, received_at: Timestamp, out: &mut Produced) {
        // A name without a pair has no events either.
        let Ok(pair) = self.venue.pair(name) else { return };
        let feed = self.feed.clone();
        let mark = FeedMark::of_pair(PairChange::Ended, feed, received_at, received_at);
        let is_of_book = self.quotes.knows(&pair);
        self.books.forget(&pair);
        let gap = self.quotes.forget(&pair, received_at);
        for mark in gap.into_iter().chain(is_of_book.then(|| mark.clone())) {
            out.outputs.push(Output::BookMark { pair: pair.clone(), mark });
        }
        out.outputs.push(Output::Gap { pair, mark });
        if self.follow.has(Channel::Ticker) {
            self.instruments.ended(self.venue, name, received_at, out);
        }
    }

    /// The marks of the clock, when one is due: to `events`, to `quotes` if it has books, and to
    /// `option_tickers` if it has tickers.
    fn clock_marks(&self, due: Option<Healthy>, received_at: Timestamp, out: &mut Produced) {
        let Some(healthy) = due else { return };
        let mark = FeedMark {
            healthy_from: Some(healthy.from),
            part: self.carried.as_ref().map(|_| Part::Connection),
            ..FeedMark::healthy(self.feed.clone(), healthy.until, received_at)
        };
        let exchange = self.venue.as_str();
        if !self.books.is_empty() {
            out.outputs.push(Output::BookClock { exchange, mark: mark.clone() });
        }
        if self.has_tickers {
            out.outputs.push(Output::TickerClock { exchange, mark: mark.clone() });
        }
        out.outputs.push(Output::Mark { exchange, mark });
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
#[cfg(test)]
#[path = "tickers_tests.rs"]
mod tickers_tests;
