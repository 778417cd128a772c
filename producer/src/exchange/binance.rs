//! Binance spot: `trade` and `aggTrade`, raw or inside a combined stream.
//!
//! ```text
//! ← {"stream":"btcusdt@trade","data":{"e":"trade","E":…,"s":"BTCUSDT","t":3735683259,
//!    "p":"61837.63","q":"0.02","T":1723161255342,"m":true,"M":true}}
//! ← {"stream":"btcusdt@aggTrade","data":{"e":"aggTrade","s":"BTCUSDT","a":665076760,"p":"58001.03",
//!    "q":"0.0862","f":745522877,"l":745522877,"T":1617566591314,"m":true, …}}
//! ```
//!
//! Rules of the venue that this file knows:
//! - `m` is "the buyer is the maker": the taker sold.
//! - `t` of trades and `a` of aggregates are dense per symbol. An aggregate is one taker order at
//!   one price; its id is its own, so trades and aggregates of one symbol must not be mixed.
//! - A symbol is base and quote without a separator: the quote is the longest known suffix.
//!
//! # What this does not do
//!
//! Tickers, books and klines are left out, and no live feed uses this adapter yet.

use std::borrow::Cow;

use schemas::{MarketEvent, PairKey, TakerSide, Timestamp};
use serde::Deserialize;
use serde_json::json;
use serde_json::value::RawValue;

use super::json::scalar;
use super::{Ignored, Malformed, Message, Parsed, UNKNOWN, Venue, decimal, integer};

/// The public market-data feed.
pub const URL: &str = "wss://data-stream.binance.vision/ws";

/// A trade's kind.
pub const TRADE: &str = "trade";
/// An aggregate's kind.
pub const AGGREGATE: &str = "aggTrade";

/// The kinds of message known.
pub(super) const KINDS: [&str; 8] = [
    TRADE,
    AGGREGATE,
    "depthUpdate",
    "kline",
    "24hrTicker",
    "24hrMiniTicker",
    "bookTicker",
    "answer",
];

/// Quotes of the spot market. Where two end alike the longer stands first.
const QUOTES: [&str; 28] = [
    "FDUSD", "USDT", "USDC", "USDS", "USDP", "TUSD", "BUSD", "BIDR", "BVND", "IDRT", "DAI", "PAX",
    "AEUR", "EURI", "EUR", "GBP", "AUD", "TRY", "BRL", "RUB", "UAH", "NGN", "ZAR", "PLN", "BTC",
    "ETH", "BNB", "TRX",
];

/// Either the wrapper of a combined stream or the event itself.
#[derive(Deserialize)]
struct Frame<'a> {
    #[serde(borrow)]
    data: Option<&'a RawValue>,
}

#[derive(Deserialize)]
struct Event<'a> {
    #[serde(borrow)]
    e: Option<Cow<'a, str>>,
    #[serde(borrow)]
    s: Option<Cow<'a, str>>,
    #[serde(borrow)]
    t: Option<&'a RawValue>,
    #[serde(borrow)]
    a: Option<&'a RawValue>,
    #[serde(borrow)]
    p: Option<&'a RawValue>,
    #[serde(borrow)]
    q: Option<&'a RawValue>,
    #[serde(borrow, rename = "T")]
    time: Option<&'a RawValue>,
    #[serde(borrow)]
    m: Option<&'a RawValue>,
    #[serde(borrow)]
    u: Option<&'a RawValue>,
    #[serde(borrow, rename = "lastUpdateId")]
    last_update_id: Option<&'a RawValue>,
    #[serde(borrow)]
    id: Option<&'a RawValue>,
    #[serde(borrow)]
    code: Option<&'a RawValue>,
    #[serde(borrow)]
    msg: Option<Cow<'a, str>>,
}

/// The one frame that subscribes.
pub(super) fn subscribe(products: &[String]) -> Vec<String> {
    let streams: Vec<_> =
        products.iter().map(|product| format!("{}@{TRADE}", product.to_lowercase())).collect();
    vec![json!({"method": "SUBSCRIBE", "params": streams, "id": 1}).to_string()]
}

/// The pair that a symbol names.
pub fn pair(symbol: &str) -> Result<PairKey, Malformed> {
    QUOTES
        .into_iter()
        .find_map(|quote| {
            let base = symbol.strip_suffix(quote)?;
            Some(PairKey::new(base, quote, Venue::Binance.as_str()))
        })
        .filter(PairKey::is_valid)
        .ok_or_else(|| Malformed::BadProduct(symbol.into()))
}

/// What one text frame says.
pub fn parse(text: &str, received_at: Timestamp) -> Result<Parsed, Malformed> {
    let unreadable = |error: serde_json::Error| Malformed::NotJson(error.to_string());
    let frame: Frame<'_> = serde_json::from_str(text).map_err(unreadable)?;
    let body = frame.data.map_or(text, RawValue::get);
    if body.starts_with('[') {
        // The tickers of all symbols.
        return Ok(Parsed { kind: UNKNOWN, message: Message::Ignored(Ignored::UnusedType) });
    }
    let event: Event<'_> = serde_json::from_str(body).map_err(unreadable)?;
    let kind = kind(&event);
    let message = match kind {
        TRADE => trade(&event, "t", event.t, received_at)?,
        AGGREGATE => trade(&event, "a", event.a, received_at)?,
        UNKNOWN => Message::Ignored(Ignored::UnknownType),
        "answer" if event.code.is_some() => {
            Message::Refused(event.msg.as_deref().unwrap_or("no reason given").into())
        }
        _ => Message::Ignored(Ignored::UnusedType),
    };
    Ok(Parsed { kind, message })
}

/// Some messages carry no name and are known by their fields.
fn kind(event: &Event<'_>) -> &'static str {
    match event.e.as_deref() {
        Some(sent) => KINDS.into_iter().find(|kind| *kind == sent).unwrap_or(UNKNOWN),
        None if event.last_update_id.is_some() => "depthUpdate",
        None if event.u.is_some() => "bookTicker",
        None if event.id.is_some() || event.code.is_some() => "answer",
        None => UNKNOWN,
    }
}

fn trade(
    event: &Event<'_>,
    id_field: &'static str,
    id: Option<&RawValue>,
    received_at: Timestamp,
) -> Result<Message, Malformed> {
    let symbol = event.s.as_deref().ok_or(Malformed::MissingField("s"))?;
    let price = decimal("p", scalar(event.p))?;
    let size = decimal("q", scalar(event.q))?;
    let time = Timestamp(integer("T", scalar(event.time))?);
    let taker_side = match scalar(event.m).ok_or(Malformed::MissingField("m"))? {
        "true" => TakerSide::Sell,
        "false" => TakerSide::Buy,
        _ => return Err(Malformed::BadField("m")),
    };
    let market_event = MarketEvent {
        trade_id: Some(integer(id_field, scalar(id))?),
        taker_side: Some(taker_side),
        received_at,
        ..MarketEvent::trade(price, size, time)
    };
    Ok(Message::Event(pair(symbol)?, market_event))
}

#[cfg(test)]
#[path = "binance_tests.rs"]
mod tests;
