//! Order books as pure values: a frame in; a quote, nothing, or a reason to resync out.
//!
//! ```text
//! text frame ─ parse of the venue ─→ BookMessage ─→ Book ─→ Outcome
//!
//!            a snapshot that is sent, or fetched and reached by the updates
//!   waiting ───────────────────────────────────────────────→ in sync ─→ Quote, Unchanged
//!    ↑  ↑ │ a fetched snapshot ahead of the updates           ↑   │
//!    │  │ └──────────→ joining ── the update at its id ───────┘   │
//!    │  └─ Resync: stale, gap ─┘                                  │
//!    └───── Resync: checksum, gap, crossed, disconnected ─────────┘
//! ```
//!
//! | venue | rules | snapshot | proof |
//! |---|---|---|---|
//! | Coinbase | [`Rules::Plain`] | sent | none |
//! | Kraken | [`Rules::Checksummed`] | sent | CRC32 of the ten best levels |
//! | Deribit | [`Rules::Chained`] | sent | each frame names the one before it |
//! | Binance | [`Rules::Joined`] | fetched | each frame names the one before it |
//! | Bitstamp | [`Rules::Dated`] | fetched | none |
//!
//! A book reads no clock and does no I/O: the caller subscribes, fetches snapshots, and keeps a book
//! for each pair.
//!
//! # What this does not do
//!
//! A book does not repair itself: after a resync the caller asks for a snapshot. An update beyond the
//! range of a limited snapshot is taken, because it is true; levels between may be missing, which
//! [`Book::is_covered`] and [`Depth::is_complete`] tell.

mod buffer;
mod checksum;
mod frame;
mod ladder;
mod message;
mod quote;

use schemas::Timestamp;

use buffer::Buffer;
use checksum::checksum;
use ladder::{Ladder, Side};

pub use checksum::Precision;
pub use frame::{BookFrame, FrameKind, Level, Span};
pub(crate) use frame::{Order, entries, level, levels};
pub use ladder::MAX_LEVELS;
pub use message::BookMessage;
pub(crate) use quote::published;
pub use quote::{Depth, Proof, Quote, Reason};

/// Levels of a side in one frame at most. The largest snapshot, of Coinbase, has 8 MB: at 30 bytes a
/// level, some 250,000 on both sides.
pub const MAX_FRAME_LEVELS: usize = 250_000;
/// Levels of a side in the topic `books`.
pub const BOOK_LEVELS: usize = schemas::Book::MAX_LEVELS;

/// The terms of one book that a venue tells at run time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Terms {
    /// Levels of a side that the venue keeps, from its acknowledgement.
    pub depth: usize,
    /// The decimals of prices and sizes, from its listing.
    pub precision: Precision,
}

/// How a venue keeps and proves its books. The sources of the rules are in the venues' `book.rs`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Rules {
    /// The snapshot is sent, and frames prove nothing.
    Plain,
    /// The snapshot is sent, levels behind the depth are dropped, and each frame has a checksum.
    Checksummed(Terms),
    /// The snapshot is sent, and each frame names the id of the frame before it.
    Chained,
    /// The snapshot is fetched with at most `limit` levels a side, and each frame names the id of the
    /// frame before it.
    Joined {
        /// Levels of a side in a snapshot that the venue cut.
        limit: usize,
    },
    /// The snapshot is fetched, and ids only tell which frames are newer than it.
    Dated,
}

impl Rules {
    /// The evidence of a quote.
    pub const fn proof(self) -> Proof {
        match self {
            Self::Plain | Self::Dated => Proof::None,
            Self::Checksummed(_) => Proof::Checksum,
            Self::Chained | Self::Joined { .. } => Proof::Sequence,
        }
    }

    const fn is_chained(self) -> bool {
        matches!(self, Self::Chained | Self::Joined { .. })
    }

    const fn is_fetched(self) -> bool {
        matches!(self, Self::Joined { .. } | Self::Dated)
    }

    const fn limit(self) -> Option<usize> {
        if let Self::Joined { limit } = self { Some(limit) } else { None }
    }
}

/// The consequence of a frame.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// The best bid or ask changed, or the book is in sync again.
    Quote(Quote),
    /// There is nothing to publish.
    Unchanged,
    /// The book is out of sync. It publishes nothing until a snapshot brings it back.
    Resync(Reason),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    /// Without a snapshot.
    Waiting,
    /// With a fetched snapshot whose id no update has reached yet.
    Joining {
        has_update: bool,
    },
    InSync,
}

/// The order book of one pair.
///
/// Invariants:
/// - It publishes nothing while it is out of sync: no quote and no levels.
/// - It never publishes a bid above the ask; equal prices are a locked market and are published.
/// - Memory is bounded: [`MAX_LEVELS`] a side and a bounded buffer of updates, whatever arrives.
/// - The same frames give the same outcomes.
///
/// ```
/// use venues::book::{Book, BookFrame, FrameKind, Level, Outcome, Reason, Rules};
/// let level = |price: &str, size: &str| -> Result<Level, schemas::decimal::ParseDecimalError> {
///     Ok(Level { price: price.parse()?, size: size.parse()? })
/// };
/// let frame = |kind, bids: Vec<Level>, asks: Vec<Level>| BookFrame {
///     kind, bids, asks, span: None, checksum: None, event_time: None,
/// };
/// let mut book = Book::new(Rules::Plain);
/// let snapshot = frame(FrameKind::Snapshot, vec![level("99", "1")?], vec![level("101", "2")?]);
/// let Outcome::Quote(quote) = book.apply(snapshot) else { panic!("a snapshot brings it in sync") };
/// assert_eq!(quote.mid().map(|mid| mid.to_string()), Some("100".into()));
/// let worse = frame(FrameKind::Update, vec![level("98", "5")?], vec![]);
/// assert_eq!(book.apply(worse), Outcome::Unchanged);
/// let crossed = frame(FrameKind::Update, vec![level("102", "1")?], vec![]);
/// assert_eq!(book.apply(crossed), Outcome::Resync(Reason::Crossed));
/// assert_eq!(book.quote(), None);
/// # Ok::<(), schemas::decimal::ParseDecimalError>(())
/// ```
#[derive(Clone, Debug)]
pub struct Book {
    rules: Rules,
    state: State,
    bids: Ladder,
    asks: Ladder,
    /// The id of the state.
    sequence: Option<i64>,
    /// The id of the snapshot.
    snapshot: Option<i64>,
    event_time: Option<Timestamp>,
    /// Updates for the next snapshot, where it is fetched.
    buffer: Buffer,
    /// The best bid and ask of the last quote since the last resync.
    published: Option<(Option<Level>, Option<Level>)>,
}

impl Book {
    /// A book without a snapshot.
    pub const fn new(rules: Rules) -> Self {
        Self {
            rules,
            state: State::Waiting,
            bids: Ladder::new(Side::Bid),
            asks: Ladder::new(Side::Ask),
            sequence: None,
            snapshot: None,
            event_time: None,
            buffer: Buffer::new(),
            published: None,
        }
    }

    /// Takes a frame of this book's pair, in the order of its connection.
    ///
    /// A fetched snapshot that is newer than a book in sync is taken too: it renews the range. Until
    /// the updates reach it, the book has no quote.
    pub fn apply(&mut self, frame: BookFrame) -> Outcome {
        match (frame.kind, self.state) {
            (FrameKind::Snapshot, _) if self.rules.is_fetched() => self.join(&frame),
            (FrameKind::Snapshot, _) => self.start(&frame),
            (FrameKind::Update, State::InSync) => self.update(frame),
            (FrameKind::Update, State::Joining { has_update }) => self.reach(has_update, frame),
            (FrameKind::Update, State::Waiting) => {
                self.hold(frame);
                Outcome::Unchanged
            }
        }
    }

    /// Notes that frames are lost: the connection ended, or a frame could not be read. A book without
    /// a quote since its last resync gives [`Outcome::Unchanged`]: there is no second interval to mark.
    pub fn lose(&mut self, reason: Reason) -> Outcome {
        let has_quote = self.published.is_some();
        let outcome = self.fail(reason);
        if reason == Reason::Disconnected {
            self.buffer.restart(None);
        }
        if has_quote { outcome } else { Outcome::Unchanged }
    }

    /// The book is the venue's own, as far as its proof tells.
    pub fn is_in_sync(&self) -> bool {
        self.state == State::InSync
    }

    /// The evidence that its frames give.
    pub const fn proof(&self) -> Proof {
        self.rules.proof()
    }

    /// Updates come, and the book waits for a snapshot that is fetched.
    pub fn needs_snapshot(&self) -> bool {
        self.state == State::Waiting && self.rules.is_fetched()
    }

    /// The best bid and ask are within the range of the snapshot. Outside of it, a level that has not
    /// changed since the snapshot is missing; the caller should get a new snapshot.
    pub fn is_covered(&self) -> bool {
        self.bids.covers_best() && self.asks.covers_best()
    }

    /// The best bid and ask. `None` while the book is out of sync.
    pub fn quote(&self) -> Option<Quote> {
        self.is_in_sync().then(|| Quote {
            bid: self.bids.best(),
            ask: self.asks.best(),
            sequence: self.sequence,
            proof: self.rules.proof(),
            event_time: self.event_time,
        })
    }

    /// The best levels of both sides. `None` while the book is out of sync.
    pub fn depth(&self, levels: usize) -> Option<Depth> {
        let side = |side: &Ladder| side.levels().take(levels).collect::<Vec<_>>();
        let knows = |side: &Ladder, levels: &[Level]| {
            levels.last().is_none_or(|worst| side.covers(worst.price))
        };
        let (bids, asks) = (side(&self.bids), side(&self.asks));
        self.is_in_sync().then(|| Depth {
            is_complete: knows(&self.bids, &bids) && knows(&self.asks, &asks),
            bids,
            asks,
            sequence: self.sequence,
            proof: self.rules.proof(),
            event_time: self.event_time,
        })
    }

    /// A snapshot that the venue sends: the state of this place in the connection.
    fn start(&mut self, snapshot: &BookFrame) -> Outcome {
        if self.rules.is_chained() && snapshot.span.is_none() {
            return self.fail(Reason::SequenceGap);
        }
        self.load(snapshot);
        self.prove(snapshot)
    }

    /// A fetched snapshot: the updates that it lacks are in the buffer or still to come.
    fn join(&mut self, snapshot: &BookFrame) -> Outcome {
        let Some(id) = snapshot.span.map(|span| span.last) else {
            return self.fail(Reason::StaleSnapshot);
        };
        let current = self.sequence.filter(|_| self.is_in_sync());
        if current.is_some_and(|current| id < current) {
            // The updates between them are applied and gone: the book is the newer state.
            return Outcome::Unchanged;
        }
        if current.is_none() && self.buffer.start().is_some_and(|start| id < start) {
            // The updates stay: a newer snapshot joins them.
            self.forget();
            return Outcome::Resync(Reason::StaleSnapshot);
        }
        let has_update = current.is_some() || self.buffer.start().is_some();
        self.load(snapshot);
        let mut outcome = Outcome::Unchanged;
        if self.rules.is_chained() && current != Some(id) {
            self.state = State::Joining { has_update };
        } else {
            outcome = self.prove(snapshot);
        }
        let mut is_changed = matches!(outcome, Outcome::Quote(_));
        while !matches!(outcome, Outcome::Resync(_)) {
            let Some(update) = self.buffer.pop() else {
                // One quote for all of them: the last state.
                let quote = self.quote().filter(|_| is_changed);
                return quote.map_or(Outcome::Unchanged, Outcome::Quote);
            };
            outcome = self.apply(update);
            is_changed |= matches!(outcome, Outcome::Quote(_));
        }
        outcome
    }

    /// An update between a fetched snapshot and the sync. The first one that is applied must begin
    /// at the snapshot's state or before it, and end behind it.
    fn reach(&mut self, has_update: bool, update: BookFrame) -> Outcome {
        let (Some(span), Some(snapshot)) = (update.span, self.snapshot) else {
            return self.fail(Reason::SequenceGap);
        };
        if span.after > snapshot {
            // Updates that arrived before would have reached the snapshot, had none been lost.
            let gap = if has_update { Reason::SequenceGap } else { Reason::StaleSnapshot };
            let outcome = self.fail(gap);
            self.hold(update);
            return outcome;
        }
        if span.last < snapshot {
            self.state = State::Joining { has_update: true };
            return Outcome::Unchanged;
        }
        if span.last > snapshot {
            self.change(&update);
        } else {
            self.finish(&update);
        }
        self.state = State::InSync;
        self.prove(&update)
    }

    /// An update of a book in sync.
    fn update(&mut self, update: BookFrame) -> Outcome {
        let after = update.span.map(|span| span.after);
        if self.rules.is_chained() && (after.is_none() || after != self.sequence) {
            let outcome = self.fail(Reason::SequenceGap);
            self.hold(update);
            return outcome;
        }
        if self.rules == Rules::Dated && after.is_none_or(|id| Some(id) <= self.snapshot) {
            // The snapshot has it already.
            return Outcome::Unchanged;
        }
        self.change(&update);
        self.prove(&update)
    }

    /// Holds an update until a snapshot is fetched. A snapshot that is sent has all before it.
    fn hold(&mut self, update: BookFrame) {
        if let Some(span) = update.span.filter(|_| self.rules.is_fetched()) {
            self.buffer.push(span, update, self.rules.is_chained());
        }
    }

    fn load(&mut self, snapshot: &BookFrame) {
        self.bids.replace(&snapshot.bids, self.rules.limit());
        self.asks.replace(&snapshot.asks, self.rules.limit());
        self.snapshot = snapshot.span.map(|span| span.last);
        self.state = State::InSync;
        self.finish(snapshot);
    }

    fn change(&mut self, update: &BookFrame) {
        self.bids.update(&update.bids);
        self.asks.update(&update.asks);
        self.finish(update);
    }

    fn finish(&mut self, frame: &BookFrame) {
        if let Rules::Checksummed(terms) = self.rules {
            self.bids.truncate(terms.depth);
            self.asks.truncate(terms.depth);
        }
        self.sequence = frame.span.map(|span| span.last);
        self.event_time = frame.event_time;
    }

    /// Publishes the state after a whole frame, if its checksum holds and it is not crossed. A
    /// checksum that holds does not excuse a crossed book.
    fn prove(&mut self, frame: &BookFrame) -> Outcome {
        if let Rules::Checksummed(terms) = self.rules {
            let own = checksum(self.asks.levels(), self.bids.levels(), terms.precision);
            if own.is_none() || own != frame.checksum {
                return self.fail(Reason::Checksum);
            }
        }
        let best = (self.bids.best(), self.asks.best());
        if best.0.zip(best.1).is_some_and(|(bid, ask)| bid.price > ask.price) {
            return self.fail(Reason::Crossed);
        }
        if self.published == Some(best) {
            return Outcome::Unchanged;
        }
        self.published = Some(best);
        self.quote().map_or(Outcome::Unchanged, Outcome::Quote)
    }

    /// Leaves the sync. A snapshot must have every frame that came so far.
    fn fail(&mut self, reason: Reason) -> Outcome {
        self.buffer.restart(self.sequence);
        self.forget();
        Outcome::Resync(reason)
    }

    fn forget(&mut self) {
        self.state = State::Waiting;
        self.bids.clear();
        self.asks.clear();
        self.sequence = None;
        self.snapshot = None;
        self.event_time = None;
        self.published = None;
    }
}

#[cfg(test)]
#[path = "hostile_tests.rs"]
mod hostile;
#[cfg(test)]
#[path = "replay_tests.rs"]
pub(crate) mod replay;
#[cfg(test)]
#[path = "book_tests.rs"]
mod tests;
