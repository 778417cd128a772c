//! One window of prices and volumes, and its key.

use std::fmt;

use crate::avro::{self, Malformed, Reader, Record};
use crate::kind::Kind;
use crate::{Basis, Decimal, PairKey, Timestamp};

/// The window of one pair that begins at `open_time`; the topic says how long it is.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct CandleKey {
    /// The pair.
    pub pair: PairKey,
    /// The source of the prices.
    pub basis: Basis,
    /// The first instant of the window.
    pub open_time: Timestamp,
}

impl fmt::Display for CandleKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}/{}", self.pair, self.basis.as_str(), self.open_time)
    }
}

impl Record for CandleKey {
    const KIND: Kind = Kind::CandleKey;

    fn write(&self, out: &mut Vec<u8>) {
        self.pair.write(out);
        avro::string(out, self.basis.as_str());
        avro::long(out, self.open_time.0);
    }

    fn read(reader: &mut Reader<'_>) -> Result<Self, Malformed> {
        Ok(Self {
            pair: PairKey::read(reader)?,
            basis: reader.named(Basis::parse)?,
            open_time: Timestamp(reader.long()?),
        })
    }
}

crate::named! {
    /// Where a candle is in its life: `Open → Closed → Revised → Revised …`
    #[derive(Clone, Copy, Debug, PartialEq, Eq)]
    pub enum Status {
        /// Its window has not ended, or its grace has not.
        Open = "OPEN",
        /// Complete as far as the feed had it when grace ended.
        Closed = "CLOSED",
        /// Changed by late events after it closed.
        Revised = "REVISED",
    }
}

/// Prices and volumes of one window, with all that is needed to go on from here.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Candle {
    /// Price of the first event by (event time, tie).
    pub open: Decimal,
    /// Highest price.
    pub high: Decimal,
    /// Lowest price.
    pub low: Decimal,
    /// Price of the last event by (event time, tie).
    pub close: Decimal,
    /// Sum of sizes; null, not zero, for basis TICKER.
    pub base_volume: Option<Decimal>,
    /// Sum of price × size.
    pub quote_volume: Option<Decimal>,
    /// Sum of sizes that takers bought.
    pub taker_buy_base: Option<Decimal>,
    /// Sum of price × size that takers bought.
    pub taker_buy_quote: Option<Decimal>,
    /// Events counted.
    pub trades: i64,
    /// Where it is in its life.
    pub status: Status,
    /// Late events counted in since it closed.
    pub revision: i32,
    /// When the opening event happened.
    pub open_event_time: Timestamp,
    /// When the closing event happened.
    pub close_event_time: Timestamp,
    /// The feed is known to have lost part of the window.
    pub gap: bool,
    /// Milliseconds in which the feed is known to have been healthy.
    pub coverage_ms: Option<i64>,
    /// The feed began inside the window.
    pub partial_start: bool,
    /// Trades known to be missing, where ids are dense.
    pub missing_trades: Option<i64>,
    /// Orders the opening event among those of its event time.
    pub open_tie: i64,
    /// Orders the closing event among those of its event time.
    pub close_tie: i64,
    /// The ids counted, as ranges; opaque outside the processor.
    pub seen: Vec<u8>,
}

impl Candle {
    /// The open candle of one event, of which nothing but its price and time is known.
    pub const fn at(price: Decimal, time: Timestamp, tie: i64) -> Self {
        Self {
            open: price,
            high: price,
            low: price,
            close: price,
            base_volume: None,
            quote_volume: None,
            taker_buy_base: None,
            taker_buy_quote: None,
            trades: 1,
            status: Status::Open,
            revision: 0,
            open_event_time: time,
            close_event_time: time,
            gap: false,
            coverage_ms: None,
            partial_start: false,
            missing_trades: None,
            open_tie: tie,
            close_tie: tie,
            seen: Vec::new(),
        }
    }

    /// Whether the window of `length_ms` is known to hold all that happened in it: it is over, its feed
    /// was healthy for the whole of it, nothing of it is missing, and it did not begin in the middle.
    ///
    /// False, not unknown, while it is open and where the feed has told no clock: a reader who filters
    /// by it gets nothing that may lack a trade. Why it is false is in `status`, `gap`, `coverage_ms`
    /// (null: the feed has told no clock), `partial_start` and `missing_trades`.
    ///
    /// `infra/postgres/tables.sql` says the same in SQL.
    pub fn is_complete(&self, length_ms: i64) -> bool {
        self.status != Status::Open
            && !self.gap
            && !self.partial_start
            && self.missing_trades.is_none_or(|missing| missing == 0)
            && self.coverage_ms.is_some_and(|covered| covered >= length_ms)
    }

    /// Appends every field but the last, `seen`, for writers that keep it in another form.
    pub fn write_before_seen(&self, out: &mut Vec<u8>) {
        for price in [self.open, self.high, self.low, self.close] {
            avro::decimal(out, price);
        }
        for volume in
            [self.base_volume, self.quote_volume, self.taker_buy_base, self.taker_buy_quote]
        {
            avro::optional(out, volume, avro::decimal);
        }
        avro::long(out, self.trades);
        avro::string(out, self.status.as_str());
        avro::long(out, i64::from(self.revision));
        avro::long(out, self.open_event_time.0);
        avro::long(out, self.close_event_time.0);
        avro::boolean(out, self.gap);
        avro::optional(out, self.coverage_ms, avro::long);
        avro::boolean(out, self.partial_start);
        avro::optional(out, self.missing_trades, avro::long);
        avro::long(out, self.open_tie);
        avro::long(out, self.close_tie);
    }
}

impl Record for Candle {
    const KIND: Kind = Kind::Candle;

    fn write(&self, out: &mut Vec<u8>) {
        self.write_before_seen(out);
        avro::bytes(out, &self.seen);
    }

    fn read(reader: &mut Reader<'_>) -> Result<Self, Malformed> {
        Ok(Self {
            open: reader.decimal()?,
            high: reader.decimal()?,
            low: reader.decimal()?,
            close: reader.decimal()?,
            base_volume: reader.optional(Reader::decimal)?,
            quote_volume: reader.optional(Reader::decimal)?,
            taker_buy_base: reader.optional(Reader::decimal)?,
            taker_buy_quote: reader.optional(Reader::decimal)?,
            trades: reader.long()?,
            status: reader.named(Status::parse)?,
            revision: i32::try_from(reader.long()?).map_err(|_| Malformed)?,
            open_event_time: Timestamp(reader.long()?),
            close_event_time: Timestamp(reader.long()?),
            gap: reader.boolean()?,
            coverage_ms: reader.optional(Reader::long)?,
            partial_start: reader.boolean()?,
            missing_trades: reader.optional(Reader::long)?,
            open_tie: reader.long()?,
            close_tie: reader.long()?,
            seen: reader.bytes()?.to_vec(),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn whole() -> Candle {
        Candle {
            status: Status::Closed,
            coverage_ms: Some(60_000),
            ..Candle::at(Decimal::ONE, Timestamp(0), 0)
        }
    }

    #[test]
    fn a_candle_is_complete_when_nothing_speaks_against_it() {
        assert!(whole().is_complete(60_000));
        assert!(Candle { status: Status::Revised, ..whole() }.is_complete(60_000));
        assert!(Candle { missing_trades: Some(0), ..whole() }.is_complete(60_000));
        for (why, candle) in [
            ("its window is not over", Candle { status: Status::Open, ..whole() }),
            ("part of it was lost", Candle { gap: true, ..whole() }),
            ("its feed told no clock", Candle { coverage_ms: None, ..whole() }),
            ("its feed was up for 6 s", Candle { coverage_ms: Some(6_000), ..whole() }),
            ("a millisecond lacks", Candle { coverage_ms: Some(59_999), ..whole() }),
            ("its feed began in it", Candle { partial_start: true, ..whole() }),
            ("a trade is missing", Candle { missing_trades: Some(1), ..whole() }),
        ] {
            assert!(!candle.is_complete(60_000), "{why}");
        }
        assert!(!whole().is_complete(3_600_000), "a minute is no hour");
    }
}
