//! The rows of answers: the same fields as JSON objects and as lines of CSV.
//!
//! Decimals are strings and times are RFC 3339: a price never passes through a float.

use schemas::{Candle, Decimal, LatestPrice, PairKey, Timestamp};
use serde::{Serialize, Serializer};

use crate::operators::Interval;

/// A value that is serialized as its text.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct AsText<T>(pub(super) T);

impl<T: std::fmt::Display> Serialize for AsText<T> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(&self.0)
    }
}

pub(super) type Number = AsText<Decimal>;
pub(super) type Time = AsText<Timestamp>;

/// The newest price of a pair.
#[derive(Clone, Debug, Serialize)]
pub(super) struct LatestRow<'a> {
    base: &'a str,
    quote: &'a str,
    exchange: &'a str,
    price: Number,
    size: Option<Number>,
    trade_id: Option<i64>,
    basis: &'static str,
    base_volume_24h: Option<Number>,
    quote_volume_24h: Option<Number>,
    volume_source: &'static str,
    volume_time: Option<Time>,
    event_time: Time,
    received_at: Time,
}

impl<'a> LatestRow<'a> {
    pub(super) fn new(pair: &'a PairKey, latest: &LatestPrice) -> Self {
        Self {
            base: &pair.base,
            quote: &pair.quote,
            exchange: &pair.exchange,
            price: AsText(latest.price),
            size: latest.size.map(AsText),
            trade_id: latest.trade_id,
            basis: latest.basis.as_str(),
            base_volume_24h: latest.base_volume_24h.map(AsText),
            quote_volume_24h: latest.quote_volume_24h.map(AsText),
            volume_source: latest.volume_source.as_str(),
            volume_time: latest.volume_time.map(AsText),
            event_time: AsText(latest.event_time),
            received_at: AsText(latest.received_at),
        }
    }
}

/// The name of a pair.
#[derive(Serialize)]
pub(super) struct PairRow<'a> {
    base: &'a str,
    quote: &'a str,
    exchange: &'a str,
}

impl<'a> From<&'a PairKey> for PairRow<'a> {
    fn from(PairKey { base, quote, exchange }: &'a PairKey) -> Self {
        Self { base, quote, exchange }
    }
}

/// A pair, and the times of its newest event.
#[derive(Clone, Debug, Serialize)]
pub(super) struct SeenRow<'a> {
    base: &'a str,
    quote: &'a str,
    exchange: &'a str,
    basis: &'static str,
    last_event_time: Time,
    received_at: Time,
}

impl<'a> SeenRow<'a> {
    pub(super) fn new(pair: &'a PairKey, latest: &LatestPrice) -> Self {
        Self {
            base: &pair.base,
            quote: &pair.quote,
            exchange: &pair.exchange,
            basis: latest.basis.as_str(),
            last_event_time: AsText(latest.event_time),
            received_at: AsText(latest.received_at),
        }
    }
}

/// A window: a stored candle, or a filled one.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub(super) struct CandleRow {
    pub(super) open_time: Time,
    pub(super) open: Option<Number>,
    pub(super) high: Option<Number>,
    pub(super) low: Option<Number>,
    pub(super) close: Option<Number>,
    pub(super) base_volume: Option<Number>,
    pub(super) quote_volume: Option<Number>,
    pub(super) taker_buy_base: Option<Number>,
    pub(super) taker_buy_quote: Option<Number>,
    pub(super) trades: i64,
    pub(super) status: Option<&'static str>,
    pub(super) revision: Option<i32>,
    pub(super) gap: bool,
    pub(super) coverage_ms: Option<i64>,
    pub(super) partial_start: bool,
    pub(super) missing_trades: Option<i64>,
    pub(super) complete: bool,
    /// Whether the window is filled; `None` in updates, which have stored candles only.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) filled: Option<bool>,
}

impl CandleRow {
    pub(super) fn stored(interval: Interval, open_time: Timestamp, candle: &Candle) -> Self {
        Self {
            open_time: AsText(open_time),
            open: Some(AsText(candle.open)),
            high: Some(AsText(candle.high)),
            low: Some(AsText(candle.low)),
            close: Some(AsText(candle.close)),
            base_volume: candle.base_volume.map(AsText),
            quote_volume: candle.quote_volume.map(AsText),
            taker_buy_base: candle.taker_buy_base.map(AsText),
            taker_buy_quote: candle.taker_buy_quote.map(AsText),
            trades: candle.trades,
            status: Some(candle.status.as_str()),
            revision: Some(candle.revision),
            gap: candle.gap,
            coverage_ms: candle.coverage_ms,
            partial_start: candle.partial_start,
            missing_trades: candle.missing_trades,
            complete: candle.is_complete(interval.length_ms()),
            filled: Some(false),
        }
    }

    /// A window without trades. Its volumes are null and it is not complete, because neither volume
    /// nor coverage was measured.
    pub(super) fn filled(open_time: Timestamp, price: Option<Decimal>) -> Self {
        let price = price.map(AsText);
        Self {
            open_time: AsText(open_time),
            open: price,
            high: price,
            low: price,
            close: price,
            filled: Some(true),
            ..Self::default()
        }
    }
}
