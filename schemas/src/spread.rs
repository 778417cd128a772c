//! One window of the spreads and mids of a pair, and its key.

use std::fmt;

use crate::avro::{self, Malformed, Reader, Record};
use crate::candle::Status;
use crate::kind::Kind;
use crate::weighted_sum::WeightedSum;
use crate::{Decimal, PairKey, Timestamp};

/// The window of one pair that begins at `open_time`; the topic says how long it is.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct SpreadKey {
    /// The pair.
    pub pair: PairKey,
    /// The first instant of the window.
    pub open_time: Timestamp,
}

impl fmt::Display for SpreadKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.pair, self.open_time)
    }
}

impl Record for SpreadKey {
    const KIND: Kind = Kind::SpreadKey;

    fn write(&self, out: &mut Vec<u8>) {
        self.pair.write(out);
        avro::long(out, self.open_time.0);
    }

    fn read(reader: &mut Reader<'_>) -> Result<Self, Malformed> {
        Ok(Self { pair: PairKey::read(reader)?, open_time: Timestamp(reader.long()?) })
    }
}

/// Spreads and mids of one window, with all that is needed to go on from here.
///
/// A quote without bid or ask has neither spread nor mid: it counts in `updates` only. The means
/// are not fields but methods: they follow from the sums, and are divided when the record is
/// written. A reader of the bytes finds them there.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Spread {
    /// Quotes that came in the window.
    pub updates: i64,
    /// The smallest spread, in units of the quote.
    pub spread_min: Option<Decimal>,
    /// The largest spread.
    pub spread_max: Option<Decimal>,
    /// The largest absolute spread.
    pub spread_max_abs: Option<Decimal>,
    /// The mid in force at the beginning, else the first that came.
    pub mid_open: Option<Decimal>,
    /// The highest mid.
    pub mid_high: Option<Decimal>,
    /// The lowest mid.
    pub mid_low: Option<Decimal>,
    /// The last mid.
    pub mid_close: Option<Decimal>,
    /// The mean of the last ten mids, at the last quote of the window.
    pub mid_mean_10: Option<Decimal>,
    /// At the last quote of the window.
    pub microprice: Option<Decimal>,
    /// At the last quote of the window.
    pub imbalance: Option<Decimal>,
    /// Milliseconds in which the feed is known to have been healthy and the book in sync.
    pub coverage_ms: Option<i64>,
    /// The book is known to have been out of sync in part of the window.
    pub gap: bool,
    /// The window's place in its life.
    pub status: Status,
    /// Changes since it closed.
    pub revision: i32,
    /// The last spread.
    pub spread_last: Option<Decimal>,
    /// The sum of spread × milliseconds in force.
    pub spread_sum: WeightedSum,
    /// The sum of mid × milliseconds in force.
    pub mid_sum: WeightedSum,
    /// The milliseconds in both sums.
    pub counted_ms: i64,
}

impl Default for Spread {
    /// An open window without a quote.
    fn default() -> Self {
        Self {
            updates: 0,
            spread_min: None,
            spread_max: None,
            spread_max_abs: None,
            mid_open: None,
            mid_high: None,
            mid_low: None,
            mid_close: None,
            mid_mean_10: None,
            microprice: None,
            imbalance: None,
            coverage_ms: None,
            gap: false,
            status: Status::Open,
            revision: 0,
            spread_last: None,
            spread_sum: WeightedSum::default(),
            mid_sum: WeightedSum::default(),
            counted_ms: 0,
        }
    }
}

impl Spread {
    /// The spread's mean, weighted by the time in force; the last spread when no time has passed.
    pub fn spread_mean(&self) -> Option<Decimal> {
        self.spread_sum.mean(self.counted_ms).or(self.spread_last)
    }

    /// The mid's mean, weighted by the time in force; the last mid when no time has passed.
    pub fn mid_mean(&self) -> Option<Decimal> {
        self.mid_sum.mean(self.counted_ms).or(self.mid_close)
    }
}

impl Record for Spread {
    const KIND: Kind = Kind::Spread;

    fn write(&self, out: &mut Vec<u8>) {
        avro::long(out, self.updates);
        for value in [
            self.spread_min,
            self.spread_max,
            self.spread_max_abs,
            self.spread_mean(),
            self.mid_open,
            self.mid_high,
            self.mid_low,
            self.mid_close,
            self.mid_mean(),
            self.mid_mean_10,
            self.microprice,
            self.imbalance,
        ] {
            avro::optional(out, value, avro::decimal);
        }
        avro::optional(out, self.coverage_ms, avro::long);
        avro::boolean(out, self.gap);
        avro::string(out, self.status.as_str());
        avro::long(out, i64::from(self.revision));
        avro::optional(out, self.spread_last, avro::decimal);
        self.spread_sum.write(out);
        self.mid_sum.write(out);
        avro::long(out, self.counted_ms);
    }

    fn read(reader: &mut Reader<'_>) -> Result<Self, Malformed> {
        let updates = reader.long()?;
        let mut decimals = [None; 12];
        for value in &mut decimals {
            *value = reader.optional(Reader::decimal)?;
        }
        let [
            spread_min,
            spread_max,
            spread_max_abs,
            _spread_mean,
            mids @ ..,
            mid_mean_10,
            microprice,
            imbalance,
        ] = decimals;
        let [mid_open, mid_high, mid_low, mid_close, _mid_mean] = mids;
        Ok(Self {
            updates,
            spread_min,
            spread_max,
            spread_max_abs,
            mid_open,
            mid_high,
            mid_low,
            mid_close,
            mid_mean_10,
            microprice,
            imbalance,
            coverage_ms: reader.optional(Reader::long)?,
            gap: reader.boolean()?,
            status: reader.named(Status::parse)?,
            revision: i32::try_from(reader.long()?).map_err(|_| Malformed)?,
            spread_last: reader.optional(Reader::decimal)?,
            spread_sum: WeightedSum::read(reader)?,
            mid_sum: WeightedSum::read(reader)?,
            counted_ms: reader.long()?,
        })
    }
}
