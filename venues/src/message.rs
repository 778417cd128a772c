//! The messages that adapters parse text frames to.

use std::fmt;
use std::time::Duration;

use schemas::{MarketEvent, PairKey, Ticker, Timestamp};

use crate::book::Reason;
use crate::instrument::ListingChange;
use crate::malformed::Result;

/// A message and the venue's name of its kind.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Parsed {
    /// One of [`Adapter::kinds`](crate::Adapter::kinds), or [`UNKNOWN`].
    pub kind: &'static str,
    /// The content.
    pub message: Message,
}

/// The kind of a message that is not among the adapter's kinds.
pub const UNKNOWN: &str = "unknown";

/// The content of a message. A further topic is a further variant.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Message {
    /// A trade or a price sample.
    Event(PairKey, MarketEvent),
    /// All that the venue says of an option, a future or a perpetual. Its price sample, or
    /// [`Ignored::QuoteOnly`] for want of a price, follows.
    Ticker(PairKey, Box<Ticker>),
    /// A field of the message that follows was sent, and is null.
    Null(NullField),
    /// A heartbeat with the venue's clock.
    Heartbeat {
        /// The pair that it is for.
        pair: PairKey,
        /// The venue's clock.
        time: Timestamp,
    },
    /// The connection has sent everything up to this time.
    Clock(Timestamp),
    /// A heartbeat without a time.
    Alive,
    /// For the owner of the socket.
    Control(Control),
    /// Parsed and not used.
    Ignored(Ignored),
}

/// A message that concerns the connection.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Control {
    /// The venue acknowledged these subscriptions.
    Subscribed(Vec<Subscription>),
    /// The venue refused the request, with its reason.
    Refused(String),
    /// The venue refused one of several subscriptions; the others stand.
    Rejected {
        /// The venue's reason.
        reason: String,
        /// The refused pair, if the venue names it.
        pair: Option<PairKey>,
    },
    /// The venue is rate limiting or closed for maintenance.
    RetryAfter {
        /// The request to send again, if the venue names it.
        id: Option<u64>,
        /// The venue's reason.
        reason: String,
        /// The time to wait.
        wait: Duration,
    },
    /// The venue expects this text at once.
    Reply(&'static str),
    /// The venue is about to close this connection.
    Closing,
    /// The listing of an instrument changed.
    Listing(ListingChange),
    /// The venue refused the channel of books, and offers books of this depth in another channel. The
    /// owner subscribes the books again, followed with this depth; when they already are, the venue
    /// offers no book at all.
    OnlyDepth {
        /// Levels of a side, for [`Follow::depth`](crate::Follow::depth).
        depth: usize,
        /// The venue's reason.
        reason: String,
    },
    /// The book of a pair is out of sync. The owner brings it back: it subscribes the book of this
    /// pair again ([`Books::resubscribe`](crate::Books::resubscribe)), or fetches its snapshot
    /// ([`Books::snapshot_request`](crate::Books::snapshot_request)) and gives the answer to
    /// [`Pipeline::snapshot`](crate::pipeline::Pipeline::snapshot).
    Resync {
        /// The pair.
        pair: PairKey,
        /// The reason.
        reason: Reason,
    },
    /// The book of a pair needs a snapshot, and has not left the sync: it is new, or its best prices
    /// have left the range of its snapshot. The owner does the same as for [`Self::Resync`].
    Refresh(PairKey),
}

/// A channel of a product.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Subscription {
    /// The venue's name of the channel.
    pub channel: String,
    /// The pair, its aliases resolved; only the exchange where the channel's name is enough.
    pub pair: PairKey,
}

impl Subscription {
    /// The subscription of a stream that is identified by its name alone.
    pub(crate) fn stream(exchange: &'static str, name: impl Into<String>) -> Self {
        Self { channel: name.into(), pair: PairKey::feed(exchange) }
    }

    /// The subscriptions of such streams.
    pub(crate) fn streams(exchange: &'static str, names: &[String]) -> Vec<Self> {
        names.iter().map(|name| Self::stream(exchange, name)).collect()
    }
}

impl fmt::Display for Subscription {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.pair.base.is_empty() {
            return f.write_str(&self.channel);
        }
        write!(f, "{}:{}-{}", self.channel, self.pair.base, self.pair.quote)
    }
}

schemas::named! {
    /// The reason for ignoring a message.
    #[derive(Clone, Copy, Debug, PartialEq, Eq)]
    pub enum Ignored {
        /// An unknown type; venues add types without notice.
        UnknownType = "unknown_type",
        /// A known type that is not used.
        UnusedType = "unused_type",
        /// A ticker of a changed quote without a trade: it is no price sample.
        QuoteOnly = "quote_only",
        /// An aggregate of trades that the same capture has one by one.
        AggregateOfTrades = "aggregate_of_trades",
    }
}

schemas::named! {
    /// The reason for which a field that the venue sent is null.
    #[derive(Clone, Copy, Debug, PartialEq, Eq)]
    pub enum NullField {
        /// A number outside decimal(38, 18): more than 18 fraction digits, or 10²⁰ and more.
        OutOfRange = "out_of_range",
    }
}

/// Appends a message for each number of a message that does not fit.
pub(crate) fn push_nulls(count: usize, kind: &'static str, out: &mut Vec<Parsed>) {
    let null = Parsed { kind, message: Message::Null(NullField::OutOfRange) };
    out.extend(std::iter::repeat_n(null, count));
}

/// Parses every part: the good ones are appended, the first malformed one is the error.
pub(crate) fn each<T>(
    parts: &[T],
    out: &mut Vec<Parsed>,
    kind: &'static str,
    read: impl Fn(&T) -> Result<Message>,
) -> Result<()> {
    let mut result = Ok(());
    for part in parts {
        match read(part) {
            Ok(message) => out.push(Parsed { kind, message }),
            Err(malformed) => result = result.and(Err(malformed)),
        }
    }
    result
}
