//! The venues that are simulated, by name.
//!
//! This list is the simulator's own: a client whose adapters are wrong is not simulated wrong too.

use std::fmt;

/// A venue whose side of the protocol is simulated.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
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

    /// The venue's name, in lower case.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Coinbase => "coinbase",
            Self::Binance => "binance",
            Self::Kraken => "kraken",
            Self::Deribit => "deribit",
            Self::Bitstamp => "bitstamp",
        }
    }

    /// A product of BTC and a product of ETH.
    pub const fn majors(self) -> [&'static str; 2] {
        match self {
            Self::Coinbase => ["BTC-USD", "ETH-USD"],
            Self::Binance => ["BTCUSDT", "ETHUSDT"],
            Self::Kraken => ["BTC/USD", "ETH/USD"],
            Self::Deribit => ["BTC-PERPETUAL", "ETH-PERPETUAL"],
            Self::Bitstamp => ["btcusd", "ethusd"],
        }
    }

    /// The venue of that name.
    pub fn from_name(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|venue| venue.as_str() == name)
    }
}

impl fmt::Display for Venue {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}
