//! The venues: what to say to each, and what each of their messages means.
//!
//! An adapter is pure: text and its arrival time in, [`Parsed`] messages out. It holds no socket,
//! reads no clock and remembers nothing, so a recorded capture and a live feed take the same path.
//!
//! Invariants:
//! - A number is text until it is an exact [`Decimal`]; no float exists here.
//! - Every message comes out as exactly one of: events, a heartbeat, an acknowledgement, a
//!   refusal, ignored with a reason, [`Malformed`] with a reason. Nothing vanishes.
//! - Labels (`kind`, reasons) are constants, so metrics stay bounded whatever a venue sends.
//!
//! # What this does not do
//!
//! It does not judge values. A price of zero or a trade in year 1 is passed on as it came: the
//! processor is the one place that decides what is dirty, with the record's position at hand.

pub mod binance;
pub mod coinbase;
mod json;

pub(crate) use json::scalar;

use std::fmt;

use schemas::{Decimal, MarketEvent, PairKey, Timestamp};

/// The venues whose protocol is known here.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, clap::ValueEnum)]
pub enum Venue {
    /// Coinbase Exchange.
    Coinbase,
    /// Binance spot; recorded captures only.
    Binance,
}

impl Venue {
    /// Every venue.
    pub const ALL: [Self; 2] = [Self::Coinbase, Self::Binance];

    /// As it stands in keys, captures and metrics.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Coinbase => "coinbase",
            Self::Binance => "binance",
        }
    }

    /// The venue of that name.
    pub fn from_name(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|venue| venue.as_str() == name)
    }

    /// Where its public feed is.
    pub const fn url(self) -> &'static str {
        match self {
            Self::Coinbase => coinbase::URL,
            Self::Binance => binance::URL,
        }
    }

    /// The kinds of message that it sends, as [`Parsed::kind`] has them.
    pub const fn kinds(self) -> &'static [&'static str] {
        match self {
            Self::Coinbase => &coinbase::KINDS,
            Self::Binance => &binance::KINDS,
        }
    }

    /// The text frames that subscribe to everything of `products` that is read here.
    pub fn subscribe(self, products: &[String]) -> Vec<String> {
        match self {
            Self::Coinbase => coinbase::subscribe(products),
            Self::Binance => binance::subscribe(products),
        }
    }

    /// The subscriptions that a venue should acknowledge after [`Self::subscribe`].
    pub fn asked(self, products: &[String]) -> Vec<Subscription> {
        match self {
            Self::Coinbase => coinbase::asked(products),
            // Its acknowledgement names nothing.
            Self::Binance => Vec::new(),
        }
    }

    /// The message is an aggregate of trades that the venue also sends one by one.
    pub fn is_aggregate(self, kind: &str) -> bool {
        self == Self::Binance && kind == binance::AGGREGATE
    }

    /// Appends what one text frame says.
    pub fn parse(
        self,
        text: &str,
        received_at: Timestamp,
        out: &mut Vec<Parsed>,
    ) -> Result<(), Malformed> {
        out.push(match self {
            Self::Coinbase => coinbase::parse(text, received_at)?,
            Self::Binance => binance::parse(text, received_at)?,
        });
        Ok(())
    }
}

impl fmt::Display for Venue {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// One message and the venue's name for its kind.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Parsed {
    /// One of [`Venue::kinds`], or `unknown`.
    pub kind: &'static str,
    /// What it means.
    pub message: Message,
}

/// The kind of a message that the venue's list does not have.
pub const UNKNOWN: &str = "unknown";

/// What a message means.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Message {
    /// A trade or a price sample.
    Event(PairKey, MarketEvent),
    /// The venue says that it is alive, and what its clock shows.
    Heartbeat {
        /// The pair that it speaks for.
        pair: PairKey,
        /// The venue's clock.
        time: Timestamp,
    },
    /// The subscriptions that now stand.
    Subscribed(Vec<Subscription>),
    /// The venue refused what was asked, in its words.
    Refused(String),
    /// Understood and of no use here.
    Ignored(Ignored),
}

/// A channel of a product.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Subscription {
    /// The venue's name of the channel.
    pub channel: String,
    /// The pair, its aliases resolved.
    pub pair: PairKey,
}

/// Why a message was left out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ignored {
    /// A type that nobody here has heard of; venues add some without notice.
    UnknownType,
    /// A known type that nothing here needs.
    UnusedType,
    /// A ticker of a changed quote: it has no trade, so it is no price sample.
    QuoteOnly,
    /// An aggregate of trades that come one by one in the same capture.
    AggregateOfTrades,
}

impl Ignored {
    /// Every reason.
    pub const ALL: [Self; 4] =
        [Self::UnknownType, Self::UnusedType, Self::QuoteOnly, Self::AggregateOfTrades];

    /// As metrics have it.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::UnknownType => "unknown_type",
            Self::UnusedType => "unused_type",
            Self::QuoteOnly => "quote_only",
            Self::AggregateOfTrades => "aggregate_of_trades",
        }
    }
}

/// Why text is not a message of its venue.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Malformed {
    /// Not JSON, or not the shape that the field names promise.
    #[error("not a JSON message: {0}")]
    NotJson(String),
    /// A field that the type always has is not there.
    #[error("field {0} is missing")]
    MissingField(&'static str),
    /// A number, time, side or name that is none.
    #[error("field {0} cannot be read")]
    BadField(&'static str),
    /// A product that does not name a base and a quote.
    #[error("product {0} does not name a base and a quote")]
    BadProduct(String),
}

impl Malformed {
    /// Every label.
    pub const LABELS: [&'static str; 4] = ["not_json", "missing_field", "bad_field", "bad_product"];

    /// As metrics and the dead letter's reason have it.
    pub const fn label(&self) -> &'static str {
        match self {
            Self::NotJson(_) => Self::LABELS[0],
            Self::MissingField(_) => Self::LABELS[1],
            Self::BadField(_) => Self::LABELS[2],
            Self::BadProduct(_) => Self::LABELS[3],
        }
    }
}

/// A decimal of a field that must be there.
pub(crate) fn decimal(field: &'static str, text: Option<&str>) -> Result<Decimal, Malformed> {
    let text = text.ok_or(Malformed::MissingField(field))?;
    text.parse().map_err(|_| Malformed::BadField(field))
}

/// A whole number of a field that must be there.
pub(crate) fn integer(field: &'static str, text: Option<&str>) -> Result<i64, Malformed> {
    let text = text.ok_or(Malformed::MissingField(field))?;
    text.parse().map_err(|_| Malformed::BadField(field))
}
