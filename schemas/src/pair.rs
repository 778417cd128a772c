//! The key of a market: what is priced, in what, where.

use std::fmt;

use crate::avro::{self, Malformed, Reader, Record};
use crate::codec::Kind;

/// Longest accepted base, quote or exchange, in bytes: the longest real instrument names are
/// under 40, and a bound keeps keys from becoming a way to fill memory.
pub const MAX_PART_BYTES: usize = 128;

/// One pair at one exchange, for example BTC, USD, coinbase.
///
/// A derivative's `base` is the exchange's instrument name (`BTC-27DEC24-50000-C`). The key of a
/// feed's marks has only the exchange.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct PairKey {
    /// What is priced.
    pub base: String,
    /// What the price counts.
    pub quote: String,
    /// Where, in lower case.
    pub exchange: String,
}

impl PairKey {
    /// A key of these three parts, as they are.
    pub fn new(
        base: impl Into<String>,
        quote: impl Into<String>,
        exchange: impl Into<String>,
    ) -> Self {
        Self { base: base.into(), quote: quote.into(), exchange: exchange.into() }
    }

    /// The key under which a feed of `exchange` writes its marks.
    pub fn feed(exchange: impl Into<String>) -> Self {
        Self::new("", "", exchange)
    }

    /// Every part is there and within [`MAX_PART_BYTES`].
    pub fn is_valid(&self) -> bool {
        [&self.base, &self.quote, &self.exchange]
            .iter()
            .all(|part| !part.is_empty() && part.len() <= MAX_PART_BYTES)
    }
}

impl fmt::Display for PairKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}-{}@{}", self.base, self.quote, self.exchange)
    }
}

impl Record for PairKey {
    const KIND: Kind = Kind::PairKey;

    fn write(&self, out: &mut Vec<u8>) {
        avro::string(out, &self.base);
        avro::string(out, &self.quote);
        avro::string(out, &self.exchange);
    }

    fn read(reader: &mut Reader<'_>) -> Result<Self, Malformed> {
        let base = reader.string()?.to_owned();
        let quote = reader.string()?.to_owned();
        let exchange = reader.string()?.to_owned();
        Ok(Self { base, quote, exchange })
    }
}
