//! The list of venues.

use std::fmt;

use schemas::{InstrumentName, InstrumentState, PairKey, Timestamp};

use crate::adapter::Adapter;
use crate::channel::Follow;
use crate::instrument::{Class, Instrument};
use crate::malformed::Result;
use crate::message::Parsed;
use crate::{binance, bitstamp, coinbase, deribit, kraken};

/// A venue with an adapter.
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
    /// Bitstamp.
    Bitstamp,
}

impl Venue {
    /// Every venue.
    pub const ALL: [Self; 5] =
        [Self::Coinbase, Self::Binance, Self::Kraken, Self::Deribit, Self::Bitstamp];

    /// The table of the venue's protocol.
    pub const fn adapter(self) -> &'static Adapter {
        match self {
            Self::Coinbase => &coinbase::ADAPTER,
            Self::Binance => &binance::ADAPTER,
            Self::Kraken => &kraken::ADAPTER,
            Self::Deribit => &deribit::ADAPTER,
            Self::Bitstamp => &bitstamp::ADAPTER,
        }
    }

    /// The name in keys, captures and metrics.
    pub const fn as_str(self) -> &'static str {
        self.adapter().name
    }

    /// The venue of that name.
    pub fn from_name(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|venue| venue.as_str() == name)
    }

    /// The pair of a product in the venue's notation.
    pub fn pair(self, product: &str) -> Result<PairKey> {
        (self.adapter().pair)(product)
    }

    /// The class of a pair's instrument.
    pub fn class(self, pair: &PairKey) -> Class {
        (self.adapter().class)(&pair.base)
    }

    /// The streams of products: a connection subscribes them, and its limit counts them.
    pub fn streams(self, products: &[String], follow: Follow) -> Vec<String> {
        (self.adapter().subscriptions.streams)(products, follow)
    }

    /// The instruments of an answer to a request for the listing.
    pub fn instruments(self, body: &str) -> Result<Vec<Instrument>> {
        (self.adapter().listing.parse)(body)
    }

    /// The record of the facts of an instrument; `None` for spot, combos and names that state no facts. A
    /// fact that the listing lacks is that of the name.
    ///
    /// ```
    /// use schemas::{InstrumentState, Right, Timestamp};
    /// use venues::{Class, Instrument, Venue};
    /// let listed = Instrument::new("BTC-25DEC26-50000-C", "BTC", Class::Option, true);
    /// let record = Venue::Deribit.record(&listed, InstrumentState::Listed, Timestamp(5));
    /// let (pair, facts) = record.ok_or("an option")?;
    /// assert_eq!((pair.quote.as_str(), facts.right), ("BTC", Some(Right::Call)));
    /// # Ok::<(), &str>(())
    /// ```
    pub fn record(
        self,
        listed: &Instrument,
        state: InstrumentState,
        at: Timestamp,
    ) -> Option<(PairKey, schemas::Instrument)> {
        let pair = self.pair(&listed.name).ok()?;
        let name = InstrumentName::parse(&listed.name)?;
        // A venue may give a perpetual a far end.
        let is_perpetual = name.class == schemas::Class::Perpetual;
        let facts = schemas::Instrument {
            class: name.class,
            currency: name.currency,
            settlement_currency: listed.settlement_currency.clone(),
            expiry_time: listed.expiry_time.filter(|_| !is_perpetual).or(name.expiry_time),
            strike: listed.strike.or(name.strike),
            right: listed.right.or(name.right),
            contract_size: listed.contract_size,
            tick_size: listed.tick_size,
            state,
            event_time: at,
            received_at: at,
        };
        Some((pair, facts))
    }

    /// Appends the messages of one text frame. The parts that can be parsed are appended even if
    /// another part is malformed.
    pub fn parse(self, text: &str, received_at: Timestamp, out: &mut Vec<Parsed>) -> Result<()> {
        (self.adapter().parse)(text, received_at, out)
    }
}

impl fmt::Display for Venue {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// The name of chains of the Ethereum family in captures, dead letters and metrics.
pub(crate) const ETHEREUM: &str = "ethereum";

/// A venue of any protocol: an exchange with an [`Adapter`], or the nodes of a chain.
///
/// ```
/// use venues::{AnyVenue, Venue};
/// assert_eq!(AnyVenue::from_name("kraken"), Some(AnyVenue::Exchange(Venue::Kraken)));
/// assert_eq!(AnyVenue::from_name("ethereum"), Some(AnyVenue::Ethereum));
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum AnyVenue {
    /// An exchange.
    Exchange(Venue),
    /// A chain of the Ethereum family: see [`ethereum`](crate::ethereum).
    Ethereum,
}

impl AnyVenue {
    /// Every venue: the exchanges, then the chains.
    pub const ALL: [Self; Venue::ALL.len() + 1] = {
        let (mut all, mut index) = ([Self::Ethereum; Venue::ALL.len() + 1], 0);
        while index < Venue::ALL.len() {
            all[index] = Self::Exchange(Venue::ALL[index]);
            index += 1;
        }
        all
    };

    /// The name in keys, captures and metrics.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Exchange(venue) => venue.as_str(),
            Self::Ethereum => ETHEREUM,
        }
    }

    /// The venue of that name.
    pub fn from_name(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|venue| venue.as_str() == name)
    }

    /// The exchange; `None` of a chain.
    pub const fn exchange(self) -> Option<Venue> {
        match self {
            Self::Exchange(venue) => Some(venue),
            Self::Ethereum => None,
        }
    }
}

impl From<Venue> for AnyVenue {
    fn from(venue: Venue) -> Self {
        Self::Exchange(venue)
    }
}

impl fmt::Display for AnyVenue {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl clap::ValueEnum for AnyVenue {
    fn value_variants<'a>() -> &'a [Self] {
        &Self::ALL
    }

    fn to_possible_value(&self) -> Option<clap::builder::PossibleValue> {
        Some(clap::builder::PossibleValue::new(self.as_str()))
    }
}
