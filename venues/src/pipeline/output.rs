//! The records that a feed produces.

use schemas::{
    Book, ChainHead, FeedMark, Instrument, MarketEvent, PairKey, Pool, PoolKey, Quote, Swap,
    Ticker, Timestamp,
};

use crate::malformed::Malformed;

/// A record to publish. A further topic is a further variant.
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
        /// The exchange of the feed.
        exchange: &'static str,
        /// The value.
        mark: FeedMark,
    },
    /// To `events`, to the partition of its key: a mark of one pair. It tells a gap, the connection
    /// that carries the pair, or the end of its instrument.
    Gap {
        /// The key.
        pair: PairKey,
        /// The value.
        mark: FeedMark,
    },
    /// To `quotes`, to the partition of its key.
    Quote {
        /// The key.
        pair: PairKey,
        /// The value.
        quote: Quote,
    },
    /// To `books`, to the partition of its key.
    Book {
        /// The key.
        pair: PairKey,
        /// The value.
        book: Book,
    },
    /// To `quotes`, to the partition of its key: a mark of the book of one pair. It tells the loss of
    /// its sync, a gap, or the connection that carries it.
    BookMark {
        /// The key.
        pair: PairKey,
        /// The value.
        mark: FeedMark,
    },
    /// To every partition of `quotes`.
    BookClock {
        /// The exchange of the feed.
        exchange: &'static str,
        /// The value.
        mark: FeedMark,
    },
    /// To `option_tickers`, to the partition of its key: of an option, a future or a perpetual.
    Ticker {
        /// The key.
        pair: PairKey,
        /// The value.
        ticker: Box<Ticker>,
    },
    /// To `option_tickers`, to the partition of its key: the facts of an instrument, or its end.
    Instrument {
        /// The key.
        pair: PairKey,
        /// The value.
        instrument: Instrument,
    },
    /// To every partition of `option_tickers`.
    TickerClock {
        /// The exchange of the feed.
        exchange: &'static str,
        /// The value.
        mark: FeedMark,
    },
    /// To `swaps`, to the partition of its key.
    Swap {
        /// The key.
        key: PoolKey,
        /// The value.
        swap: Box<Swap>,
    },
    /// To every partition of `swaps`, with the key of the chain.
    Head {
        /// The chain.
        chain: i64,
        /// The value.
        head: ChainHead,
    },
    /// To `swaps`, to the partition of its key: the facts of a pool.
    Pool {
        /// The key.
        key: PoolKey,
        /// The value.
        pool: Box<Pool>,
    },
    /// To `dead_letters`.
    DeadLetter(DeadLetter),
}

impl Output {
    /// When the feed received the message; unknown for a dead letter.
    pub fn received_at(&self) -> Option<Timestamp> {
        match self {
            Self::Event { event, .. } => Some(event.received_at),
            Self::Mark { mark, .. }
            | Self::Gap { mark, .. }
            | Self::BookMark { mark, .. }
            | Self::BookClock { mark, .. }
            | Self::TickerClock { mark, .. } => Some(mark.received_at),
            Self::Quote { quote, .. } => Some(quote.received_at),
            Self::Book { book, .. } => Some(book.received_at),
            Self::Ticker { ticker, .. } => Some(ticker.received_at),
            Self::Instrument { instrument, .. } => Some(instrument.received_at),
            Self::Swap { swap, .. } => Some(swap.received_at),
            Self::Head { head, .. } => Some(head.received_at),
            Self::Pool { pool, .. } => Some(pool.received_at),
            Self::DeadLetter(_) => None,
        }
    }
}

/// Characters of the reason: a reason may quote its input.
const MAX_DETAIL_CHARS: usize = 256;

/// Malformed input.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DeadLetter {
    /// The venue, or the command that read the input.
    pub venue: &'static str,
    /// A label of [`Malformed`].
    pub reason: &'static str,
    /// The reason in full.
    pub detail: String,
    /// The input.
    pub raw: String,
}

impl DeadLetter {
    /// The dead letter of `raw`.
    pub fn new(venue: &'static str, malformed: &Malformed, raw: &str) -> Self {
        let detail = malformed.to_string().chars().take(MAX_DETAIL_CHARS).collect();
        Self { venue, reason: malformed.label(), detail, raw: raw.into() }
    }

    /// The headers of its record. `length` is that of the whole value, of which less may be kept.
    pub fn headers<'a>(&'a self, length: &'a str) -> Vec<(&'a str, &'a str)> {
        vec![
            ("source", "producer"),
            ("venue", self.venue),
            ("reason", self.reason),
            ("detail", &self.detail),
            ("bytes", length),
        ]
    }
}
