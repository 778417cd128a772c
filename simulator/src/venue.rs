//! The venues that are simulated, by name.
//!
//! This list is the simulator's own: a client whose adapters are wrong is not simulated wrong too.

use std::fmt;

schemas::named! {
    /// A venue whose side of the protocol is simulated.
    #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
    pub enum Venue {
        /// Coinbase Exchange.
        Coinbase = "coinbase",
        /// Binance spot.
        Binance = "binance",
        /// Kraken spot, version 2 of its feed.
        Kraken = "kraken",
        /// Deribit: futures, perpetuals, options.
        Deribit = "deribit",
        /// Bitstamp.
        Bitstamp = "bitstamp",
    }
}

impl Venue {
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
}

impl fmt::Display for Venue {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}
