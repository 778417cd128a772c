//! The list of venues.

use std::fmt;

use schemas::{PairKey, Timestamp};

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
