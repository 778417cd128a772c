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
pub mod deribit;
mod json;
pub mod kraken;

pub(crate) use json::scalar;

use std::fmt;
use std::time::Duration;

use schemas::{Decimal, MarketEvent, PairKey, Timestamp};

/// The venues whose protocol is known here.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, clap::ValueEnum)]
pub enum Venue {
    /// Coinbase Exchange.
    Coinbase,
    /// Binance spot.
    Binance,
    /// Kraken spot, version 2 of its feed.
    Kraken,
    /// Deribit: futures, perpetuals, options.
    Deribit,
}

impl Venue {
    /// Every venue.
    pub const ALL: [Self; 4] = [Self::Coinbase, Self::Binance, Self::Kraken, Self::Deribit];

    /// As it stands in keys, captures and metrics.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Coinbase => "coinbase",
            Self::Binance => "binance",
            Self::Kraken => "kraken",
            Self::Deribit => "deribit",
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
            Self::Kraken => kraken::URL,
            Self::Deribit => deribit::URL,
        }
    }

    /// Where its public requests go.
    pub const fn rest_url(self) -> &'static str {
        match self {
            Self::Coinbase => coinbase::REST_URL,
            Self::Binance => binance::REST_URL,
            Self::Kraken => kraken::REST_URL,
            Self::Deribit => deribit::REST_URL,
        }
    }

    /// Where it is asked for trades of the past.
    pub const fn past_url(self) -> &'static str {
        match self {
            Self::Binance => binance::PAST_URL,
            Self::Coinbase | Self::Kraken | Self::Deribit => self.rest_url(),
        }
    }

    /// What is asked for to see the time: the cheapest request there is.
    pub const fn time_path(self) -> &'static str {
        match self {
            Self::Coinbase => "/time",
            Self::Binance => "/api/v3/time",
            Self::Kraken => "/0/public/Time",
            Self::Deribit => "/public/get_time",
        }
    }

    /// The kinds of message that it sends, as [`Parsed::kind`] has them.
    pub const fn kinds(self) -> &'static [&'static str] {
        match self {
            Self::Coinbase => &coinbase::KINDS,
            Self::Binance => &binance::KINDS,
            Self::Kraken => &kraken::KINDS,
            Self::Deribit => &deribit::KINDS,
        }
    }

    /// The pair of a product in the venue's own name.
    pub fn pair(self, product: &str) -> Result<PairKey, Malformed> {
        match self {
            Self::Coinbase => coinbase::pair(product),
            Self::Binance => binance::pair(product),
            Self::Kraken => kraken::pair(product),
            Self::Deribit => deribit::pair(product),
        }
    }

    /// The class of a pair's instrument.
    pub fn class(self, pair: &PairKey) -> Class {
        match self {
            Self::Deribit => deribit::class(&pair.base),
            _ => Class::Spot,
        }
    }

    /// The streams of these products, in the venue's own names: what is subscribed and what a
    /// connection's budget counts.
    pub fn streams(self, products: &[String]) -> Vec<String> {
        match self {
            Self::Coinbase => products.to_vec(),
            Self::Binance => binance::streams(products),
            Self::Kraken => kraken::streams(products),
            Self::Deribit => deribit::streams(products),
        }
    }

    /// The streams by which a newly listed instrument is followed.
    pub fn streams_of_listed(self, name: &str) -> Vec<String> {
        match self {
            // Its trades come with those of its kind.
            Self::Deribit if deribit::class(name) == Class::Combo => Vec::new(),
            Self::Deribit => vec![deribit::ticker_stream(name)],
            _ => self.streams(&[name.to_owned()]),
        }
    }

    /// The class whose instruments speak over a stream; `None` where it may be silent for ever.
    pub fn class_of_stream(self, stream: &str) -> Option<Class> {
        match self {
            Self::Deribit => {
                let name = stream.strip_prefix("ticker.")?.split('.').next()?;
                Some(deribit::class(name))
            }
            Self::Kraken if stream == kraken::INSTRUMENT => None,
            _ => Some(Class::Spot),
        }
    }

    /// The text frames that subscribe to `streams`, with ids from `first_id` on.
    pub fn subscribe(self, streams: &[String], first_id: u64) -> Vec<Ask> {
        match self {
            Self::Coinbase => coinbase::subscribe(streams, first_id),
            Self::Binance => binance::subscribe(streams, first_id),
            Self::Kraken => kraken::subscribe(streams, first_id),
            Self::Deribit => deribit::subscribe(streams, first_id),
        }
    }

    /// What is sent over and over while a connection stands, and how often: it makes the venue
    /// say what its clock shows.
    pub fn keepalive(self) -> Option<(Duration, &'static str)> {
        match self {
            Self::Coinbase | Self::Binance => None,
            Self::Kraken => Some(kraken::KEEPALIVE),
            Self::Deribit => Some(deribit::KEEPALIVE),
        }
    }

    /// The age before which a connection is replaced: the venue ends it an hour later.
    pub const fn lifetime(self) -> Option<Duration> {
        match self {
            Self::Binance => Some(Duration::from_hours(23)),
            Self::Coinbase | Self::Kraken | Self::Deribit => None,
        }
    }

    /// The subscriptions that a venue should acknowledge after [`Self::subscribe`].
    pub fn asked(self, streams: &[String]) -> Vec<Subscription> {
        match self {
            Self::Coinbase => coinbase::asked(streams),
            Self::Kraken => kraken::asked(streams),
            Self::Binance | Self::Deribit => {
                streams.iter().map(|stream| Subscription::stream(self, stream)).collect()
            }
        }
    }

    /// The instruments that an answer to the venue's listing request names.
    pub fn instruments(self, body: &str) -> Result<Vec<Instrument>, Malformed> {
        match self {
            Self::Coinbase => coinbase::instruments(body),
            Self::Binance => binance::instruments(body),
            Self::Kraken => kraken::instruments(body),
            Self::Deribit => deribit::instruments(body),
        }
    }

    /// The message is an aggregate of trades that the venue also sends one by one.
    pub fn is_aggregate(self, kind: &str) -> bool {
        self == Self::Binance && kind == binance::AGGREGATE
    }

    /// Appends what one text frame says. When a part of it cannot be read, the rest is appended
    /// all the same.
    pub fn parse(
        self,
        text: &str,
        received_at: Timestamp,
        out: &mut Vec<Parsed>,
    ) -> Result<(), Malformed> {
        match self {
            Self::Coinbase => out.push(coinbase::parse(text, received_at)?),
            Self::Binance => return binance::parse(text, received_at, out),
            Self::Kraken => return kraken::parse(text, received_at, out),
            Self::Deribit => return deribit::parse(text, received_at, out),
        }
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
    /// Everything of this connection up to here has been sent.
    Clock(Timestamp),
    /// The venue says that it is alive, and no more.
    Alive,
    /// The venue wants this text back at once.
    Reply(&'static str),
    /// The subscriptions that now stand.
    Subscribed(Vec<Subscription>),
    /// The venue refused what was asked, in its words.
    Refused(String),
    /// The venue refused one of several things; the rest stands.
    Rejected {
        /// In its words.
        reason: String,
        /// The pair that it does not have, when it says which.
        pair: Option<PairKey>,
    },
    /// The venue cannot answer for now: asked too often, or closed for repair.
    NotNow {
        /// The request that is to be sent again, when it says which.
        id: Option<u64>,
        /// In its words.
        reason: String,
        /// How long to leave it alone.
        wait: Duration,
    },
    /// The venue is about to close this connection.
    Leaving,
    /// An instrument came or went.
    Instrument(Change),
    /// Understood and of no use here.
    Ignored(Ignored),
}

/// A text frame to send.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Ask {
    /// The id that the answer will have, where the venue has ids.
    pub id: u64,
    /// As it is sent.
    pub text: String,
}

/// What happened to an instrument.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Change {
    /// It can be traded from now on.
    Listed(String),
    /// It is gone: expired, or taken off.
    Ended(String),
}

/// An instrument as a venue lists it.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Instrument {
    /// In the venue's own words, as [`Venue::pair`] takes it.
    pub name: String,
    /// The currency under which the venue lists it: the base.
    pub currency: String,
    /// Its class.
    pub class: Class,
    /// It can be traded.
    pub active: bool,
}

/// A class of instruments: how lively they are differs by it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Class {
    /// Delivered at once.
    Spot,
    /// A future without end.
    Perpetual,
    /// A future with an end.
    Future,
    /// An option.
    Option,
    /// Several of them traded as one.
    Combo,
}

impl Class {
    /// Every class.
    pub const ALL: [Self; 5] =
        [Self::Spot, Self::Perpetual, Self::Future, Self::Option, Self::Combo];

    /// As metrics have it.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Spot => "spot",
            Self::Perpetual => "perpetual",
            Self::Future => "future",
            Self::Option => "option",
            Self::Combo => "combo",
        }
    }
}

/// A channel of a product.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Subscription {
    /// The venue's name of the channel.
    pub channel: String,
    /// The pair, its aliases resolved; where the channel's name says it all, only the exchange.
    pub pair: PairKey,
}

impl Subscription {
    /// A stream whose name says it all.
    pub fn stream(venue: Venue, name: impl Into<String>) -> Self {
        Self { channel: name.into(), pair: PairKey::feed(venue.as_str()) }
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
    /// A base, quote or exchange that breaks the rule of names.
    #[error("{0}: see the rule of names in schemas/src/pair.rs")]
    BadName(#[from] schemas::pair::PairError),
}

impl Malformed {
    /// Every label.
    pub const LABELS: [&'static str; 5] =
        ["not_json", "missing_field", "bad_field", "bad_product", "bad_name"];

    /// As metrics and the dead letter's reason have it.
    pub const fn label(&self) -> &'static str {
        match self {
            Self::NotJson(_) => Self::LABELS[0],
            Self::MissingField(_) => Self::LABELS[1],
            Self::BadField(_) => Self::LABELS[2],
            Self::BadProduct(_) => Self::LABELS[3],
            Self::BadName(_) => Self::LABELS[4],
        }
    }
}

/// Asks of at most `chunk` streams each, numbered from `first_id` on.
fn asks(
    streams: &[String],
    chunk: usize,
    first_id: u64,
    text: impl Fn(&[String], u64) -> String,
) -> Vec<Ask> {
    let ids = first_id..;
    streams.chunks(chunk).zip(ids).map(|(part, id)| Ask { id, text: text(part, id) }).collect()
}

/// Reads every part; those that can be read are appended, and the first that cannot is the error.
fn each<T>(
    parts: &[T],
    out: &mut Vec<Parsed>,
    kind: &'static str,
    read: impl Fn(&T) -> Result<Message, Malformed>,
) -> Result<(), Malformed> {
    let mut result = Ok(());
    for part in parts {
        match read(part) {
            Ok(message) => out.push(Parsed { kind, message }),
            Err(malformed) => result = result.and(Err(malformed)),
        }
    }
    result
}

/// A decimal of a field that must be there.
pub(crate) fn decimal(field: &'static str, text: Option<&str>) -> Result<Decimal, Malformed> {
    let text = text.ok_or(Malformed::MissingField(field))?;
    text.parse().map_err(|_| Malformed::BadField(field))
}

/// A decimal of a field that may be absent or null.
fn optional(field: &'static str, text: Option<&str>) -> Result<Option<Decimal>, Malformed> {
    text.map(|text| decimal(field, Some(text))).transpose()
}

/// Why text is no JSON of the expected shape.
pub(crate) fn not_json(error: &serde_json::Error) -> Malformed {
    Malformed::NotJson(error.to_string())
}

/// A whole number of a field that must be there.
pub(crate) fn integer(field: &'static str, text: Option<&str>) -> Result<i64, Malformed> {
    let text = text.ok_or(Malformed::MissingField(field))?;
    text.parse().map_err(|_| Malformed::BadField(field))
}
