//! The last ticker of an option in a minute, and its key.

use std::fmt;

use crate::avro::{self, Malformed, Reader, Record};
use crate::fields::{copy_fields, record};
use crate::kind::Kind;
use crate::{Decimal, PairKey, Ticker, Timestamp};

/// The minute of one option that begins at `open_time`.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct OptionMinuteKey {
    /// The option.
    pub pair: PairKey,
    /// The first instant of the minute.
    pub open_time: Timestamp,
}

impl fmt::Display for OptionMinuteKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.pair, self.open_time)
    }
}

impl Record for OptionMinuteKey {
    const KIND: Kind = Kind::OptionMinuteKey;

    fn write(&self, out: &mut Vec<u8>) {
        self.pair.write(out);
        avro::long(out, self.open_time.0);
    }

    fn read(reader: &mut Reader<'_>) -> Result<Self, Malformed> {
        Ok(Self { pair: PairKey::read(reader)?, open_time: Timestamp(reader.long()?) })
    }
}

record! {
    /// The last ticker of an option in a minute: what a history of the surface needs.
    ///
    /// Numbers are `None` as in [`Ticker`].
    #[derive(Clone, Debug, Default, PartialEq, Eq)]
    pub struct OptionMinute {
        /// The venue's own valuation.
        pub mark_price: Option<Decimal>,
        /// Implied volatility of the mark price, in percent.
        pub mark_iv: Option<Decimal>,
        /// The best bid; `None` for an empty side.
        pub bid: Option<Decimal>,
        /// The best ask; `None` for an empty side.
        pub ask: Option<Decimal>,
        /// Implied volatility of the bid, in percent. Zero beside a bid is the venue's value.
        pub bid_iv: Option<Decimal>,
        /// Implied volatility of the ask, in percent.
        pub ask_iv: Option<Decimal>,
        /// Change of the price with the underlying.
        pub delta: Option<Decimal>,
        /// Open interest, in the unit of `bid_size`.
        pub open_interest: Option<Decimal>,
        /// The forward for the option's expiry.
        pub underlying_price: Option<Decimal>,
        /// The venue's index of the currency.
        pub index_price: Option<Decimal>,
        /// The venue's time of that ticker.
        pub event_time: Timestamp,
    }
}

impl OptionMinute {
    /// The minute whose last ticker is this one.
    pub fn of(ticker: &Ticker) -> Self {
        let mut minute = Self::default();
        copy_fields! { ticker => minute;
            mark_price mark_iv bid ask bid_iv ask_iv delta open_interest underlying_price
            index_price event_time
        }
        minute
    }
}
