//! Updates as JSON: decimals and times are strings, as in every answer.

use std::fmt::Display;

use schemas::{Candle, CandleKey, LatestPrice, PairKey, Timestamp};
use serde::{Serialize, Serializer};

use crate::operators::Interval;

fn shown<S: Serializer>(value: &impl Display, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.collect_str(value)
}

#[expect(clippy::ref_option, reason = "serde passes fields by reference")]
fn shown_if<S: Serializer>(value: &Option<impl Display>, to: S) -> Result<S::Ok, S::Error> {
    match value {
        Some(value) => to.collect_str(value),
        None => to.serialize_none(),
    }
}

#[derive(Serialize)]
struct LatestUpdate<'a> {
    exchange: &'a str,
    base: &'a str,
    quote: &'a str,
    #[serde(serialize_with = "shown")]
    price: schemas::Decimal,
    #[serde(serialize_with = "shown_if")]
    size: Option<schemas::Decimal>,
    trade_id: Option<i64>,
    basis: &'a str,
    #[serde(serialize_with = "shown_if")]
    base_volume_24h: Option<schemas::Decimal>,
    #[serde(serialize_with = "shown_if")]
    quote_volume_24h: Option<schemas::Decimal>,
    volume_source: &'a str,
    #[serde(serialize_with = "shown_if")]
    volume_time: Option<Timestamp>,
    #[serde(serialize_with = "shown")]
    event_time: Timestamp,
    #[serde(serialize_with = "shown")]
    received_at: Timestamp,
}

/// Appends the newest price of a pair.
pub(super) fn latest(pair: &PairKey, latest: &LatestPrice, out: &mut String) {
    let row = LatestUpdate {
        exchange: &pair.exchange,
        base: &pair.base,
        quote: &pair.quote,
        price: latest.price,
        size: latest.size,
        trade_id: latest.trade_id,
        basis: latest.basis.as_str(),
        base_volume_24h: latest.base_volume_24h,
        quote_volume_24h: latest.quote_volume_24h,
        volume_source: latest.volume_source.as_str(),
        volume_time: latest.volume_time,
        event_time: latest.event_time,
        received_at: latest.received_at,
    };
    append(&row, out);
}

#[derive(Serialize)]
struct CandleUpdate<'a> {
    exchange: &'a str,
    base: &'a str,
    quote: &'a str,
    basis: &'a str,
    interval: &'a str,
    #[serde(serialize_with = "shown")]
    open_time: Timestamp,
    #[serde(serialize_with = "shown")]
    open: schemas::Decimal,
    #[serde(serialize_with = "shown")]
    high: schemas::Decimal,
    #[serde(serialize_with = "shown")]
    low: schemas::Decimal,
    #[serde(serialize_with = "shown")]
    close: schemas::Decimal,
    #[serde(serialize_with = "shown_if")]
    base_volume: Option<schemas::Decimal>,
    #[serde(serialize_with = "shown_if")]
    quote_volume: Option<schemas::Decimal>,
    #[serde(serialize_with = "shown_if")]
    taker_buy_base: Option<schemas::Decimal>,
    #[serde(serialize_with = "shown_if")]
    taker_buy_quote: Option<schemas::Decimal>,
    trades: i64,
    status: &'a str,
    revision: i32,
    gap: bool,
    coverage_ms: Option<i64>,
    partial_start: bool,
    missing_trades: Option<i64>,
    complete: bool,
}

/// Appends a candle.
pub(super) fn candle(interval: Interval, key: &CandleKey, candle: &Candle, out: &mut String) {
    let row = CandleUpdate {
        exchange: &key.pair.exchange,
        base: &key.pair.base,
        quote: &key.pair.quote,
        basis: key.basis.as_str(),
        interval: interval.as_str(),
        open_time: key.open_time,
        open: candle.open,
        high: candle.high,
        low: candle.low,
        close: candle.close,
        base_volume: candle.base_volume,
        quote_volume: candle.quote_volume,
        taker_buy_base: candle.taker_buy_base,
        taker_buy_quote: candle.taker_buy_quote,
        trades: candle.trades,
        status: candle.status.as_str(),
        revision: candle.revision,
        gap: candle.gap,
        coverage_ms: candle.coverage_ms,
        partial_start: candle.partial_start,
        missing_trades: candle.missing_trades,
        complete: candle.is_complete(interval.length_ms()),
    };
    append(&row, out);
}

#[derive(Serialize)]
struct DeletedUpdate<'a> {
    exchange: &'a str,
    base: &'a str,
    quote: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    basis: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none", serialize_with = "shown_if")]
    open_time: Option<Timestamp>,
    deleted: bool,
}

/// Appends the deletion of a key.
pub(super) fn deleted(pair: &PairKey, key: Option<&CandleKey>, out: &mut String) {
    let row = DeletedUpdate {
        exchange: &pair.exchange,
        base: &pair.base,
        quote: &pair.quote,
        basis: key.map(|key| key.basis.as_str()),
        open_time: key.map(|key| key.open_time),
        deleted: true,
    };
    append(&row, out);
}

fn append(row: &impl Serialize, out: &mut String) {
    // Strings, numbers and nulls: encoding cannot fail.
    out.push_str(&serde_json::to_string(row).unwrap_or_default());
}
