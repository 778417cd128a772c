//! The routes, their parameters and their answers.
//!
//! Decimals are strings and times are RFC 3339 in every answer. A bad parameter is a 400 that
//! names it.

use std::sync::Arc;

use axum::extract::{Query, State};
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::{Json, Router, routing::get};
use prometheus::{Encoder as _, Registry, TextEncoder};
use schemas::topic::Topic;
use schemas::{Basis, Candle, CandleKey, Codec, Decimal, LatestPrice, PairKey, Timestamp};
use serde::Deserialize;
use serde_json::{Value, json};
use streams::runtime::Queries;

use super::read::{Range, Reader};
use crate::operators::Interval;
use crate::topology::store_name;

/// Candles of one answer unless `limit` says otherwise.
const DEFAULT_LIMIT: usize = 500;
/// Candles of one answer.
const MAX_LIMIT: usize = 10_000;

/// What the routes read.
#[derive(Clone)]
pub struct Served {
    /// The stores that are here.
    pub queries: Queries,
    /// To read their values.
    pub codec: Arc<Codec>,
    /// The process's metrics.
    pub registry: Registry,
}

/// Every route.
pub fn router(served: Served) -> Router {
    Router::new()
        .route("/healthz", get(|| async { "ok\n" }))
        .route("/readyz", get(ready))
        .route("/metrics", get(metrics))
        .route("/v1/latest", get(latest))
        .route("/v1/candles", get(candles))
        .with_state(served)
}

async fn ready(State(served): State<Served>) -> Response {
    if served.queries.is_ready() {
        return "ready\n".into_response();
    }
    let restoring: usize = served.queries.members().iter().map(|member| member.restoring).sum();
    let answer = format!("not ready: {restoring} tasks restoring, or the group not joined\n");
    (StatusCode::SERVICE_UNAVAILABLE, answer).into_response()
}

async fn metrics(State(served): State<Served>) -> Response {
    let mut text = Vec::new();
    match TextEncoder::new().encode(&served.registry.gather(), &mut text) {
        Ok(()) => ([(header::CONTENT_TYPE, prometheus::TEXT_FORMAT)], text).into_response(),
        Err(error) => refused(StatusCode::INTERNAL_SERVER_ERROR, &error.to_string()),
    }
}

fn refused(status: StatusCode, reason: &str) -> Response {
    (status, Json(json!({ "error": reason }))).into_response()
}

impl Served {
    /// A reader for each partition that is here.
    fn readers(&self) -> Vec<(i32, Reader)> {
        let stores = |topic| self.queries.stores(store_name(topic));
        let tiers = [Topic::Ohlc1m, Topic::Ohlc1h, Topic::Ohlc1d].map(stores);
        let readers = stores(Topic::Latest).into_iter().filter_map(|(partition, latest)| {
            // A rebalance may have taken some of them away in between.
            let tier = |index: usize| {
                let found = tiers[index].iter().find(|(p, _)| *p == partition);
                found.map(|(_, store)| Arc::clone(store))
            };
            let tiers = [tier(0)?, tier(1)?, tier(2)?];
            Some((partition, Reader::new(Arc::clone(&self.codec), latest, tiers)))
        });
        readers.collect()
    }

    fn not_here(readers: &[(i32, Reader)], pair: &PairKey) -> Response {
        let partitions: Vec<i32> = readers.iter().map(|(partition, _)| *partition).collect();
        let answer = json!({
            "error": format!("{pair} is not in the partitions of this member"),
            "partitions": partitions,
        });
        (StatusCode::NOT_FOUND, Json(answer)).into_response()
    }
}

#[derive(Deserialize)]
struct LatestQuery {
    base: String,
    quote: String,
    exchange: String,
}

async fn latest(State(served): State<Served>, Query(query): Query<LatestQuery>) -> Response {
    let pair = PairKey::new(query.base, query.quote, query.exchange);
    blocking(move || {
        let readers = served.readers();
        for (_, reader) in &readers {
            match reader.latest(&pair) {
                Ok(Some(latest)) => return Json(latest_json(&pair, &latest)).into_response(),
                Ok(None) => {}
                Err(error) => {
                    return refused(StatusCode::SERVICE_UNAVAILABLE, &error.to_string());
                }
            }
        }
        Served::not_here(&readers, &pair)
    })
    .await
}

/// A store may have to read its disk, for which the async runtime's own threads must not wait.
async fn blocking(answer: impl FnOnce() -> Response + Send + 'static) -> Response {
    match tokio::task::spawn_blocking(answer).await {
        Ok(response) => response,
        Err(error) => refused(StatusCode::INTERNAL_SERVER_ERROR, &error.to_string()),
    }
}

#[derive(Deserialize)]
struct CandlesQuery {
    base: String,
    quote: String,
    exchange: String,
    interval: Option<String>,
    basis: Option<String>,
    from: Option<String>,
    to: Option<String>,
    limit: Option<usize>,
}

impl CandlesQuery {
    fn range(&self) -> Result<Range, String> {
        let interval = self.interval.as_deref().unwrap_or("1m");
        let basis = self.basis.as_deref().unwrap_or("TRADE");
        let time = |name: &str, text: Option<&String>, default: i64| match text {
            None => Ok(Timestamp(default)),
            Some(text) => parse_time(text)
                .ok_or_else(|| format!("{name}: {text:?} is neither RFC 3339 nor milliseconds")),
        };
        let limit = self.limit.unwrap_or(DEFAULT_LIMIT);
        if !(1..=MAX_LIMIT).contains(&limit) {
            return Err(format!("limit: {limit} is not 1 to {MAX_LIMIT}"));
        }
        Ok(Range {
            basis: Basis::parse(&basis.to_ascii_uppercase())
                .ok_or_else(|| format!("basis: {basis:?} is neither TRADE nor TICKER"))?,
            interval: Interval::parse(interval)
                .ok_or_else(|| format!("interval: {interval:?} is not 1m, 1h or 1d"))?,
            from: time("from", self.from.as_ref(), 0)?,
            to: time("to", self.to.as_ref(), i64::MAX)?,
            limit,
        })
    }
}

fn parse_time(text: &str) -> Option<Timestamp> {
    text.parse().ok().map(Timestamp).or_else(|| Timestamp::parse_rfc3339(text))
}

async fn candles(State(served): State<Served>, Query(query): Query<CandlesQuery>) -> Response {
    let range = match query.range() {
        Ok(range) => range,
        Err(reason) => return refused(StatusCode::BAD_REQUEST, &reason),
    };
    let pair = PairKey::new(query.base, query.quote, query.exchange);
    blocking(move || {
        let readers = served.readers();
        for (_, reader) in &readers {
            match reader.candles(&pair, range) {
                Ok(candles) if candles.is_empty() => {}
                Ok(candles) => return Json(candles_json(range.interval, &candles)).into_response(),
                Err(error) => {
                    return refused(StatusCode::SERVICE_UNAVAILABLE, &error.to_string());
                }
            }
        }
        Served::not_here(&readers, &pair)
    })
    .await
}

fn text(decimal: Option<Decimal>) -> Value {
    decimal.map_or(Value::Null, |decimal| Value::String(decimal.to_string()))
}

fn latest_json(pair: &PairKey, latest: &LatestPrice) -> Value {
    json!({
        "base": pair.base,
        "quote": pair.quote,
        "exchange": pair.exchange,
        "price": latest.price.to_string(),
        "size": text(latest.size),
        "trade_id": latest.trade_id,
        "basis": latest.basis.as_str(),
        "base_volume_24h": text(latest.base_volume_24h),
        "quote_volume_24h": text(latest.quote_volume_24h),
        "volume_source": latest.volume_source.as_str(),
        "volume_time": latest.volume_time.map(|time| time.to_string()),
        "event_time": latest.event_time.to_string(),
        "received_at": latest.received_at.to_string(),
    })
}

fn candles_json(interval: Interval, candles: &[(CandleKey, Candle)]) -> Value {
    let rows: Vec<Value> = candles.iter().map(|(key, candle)| candle_json(key, candle)).collect();
    json!({ "resolution": interval.as_str(), "candles": rows })
}

fn candle_json(key: &CandleKey, candle: &Candle) -> Value {
    json!({
        "open_time": key.open_time.to_string(),
        "open": candle.open.to_string(),
        "high": candle.high.to_string(),
        "low": candle.low.to_string(),
        "close": candle.close.to_string(),
        "base_volume": text(candle.base_volume),
        "quote_volume": text(candle.quote_volume),
        "taker_buy_base": text(candle.taker_buy_base),
        "taker_buy_quote": text(candle.taker_buy_quote),
        "trades": candle.trades,
        "status": candle.status.as_str(),
        "revision": candle.revision,
        "gap": candle.gap,
        "coverage_ms": candle.coverage_ms,
        "partial_start": candle.partial_start,
        "missing_trades": candle.missing_trades,
    })
}
