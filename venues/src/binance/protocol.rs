//! Binance spot: `trade`, `aggTrade` and tickers, raw or inside a combined stream.
//!
//! ```text
//! → {"method":"SUBSCRIBE","params":["btcusdt@trade","btcusdt@miniTicker"],"id":1}
//! ← {"result":null,"id":1}
//! → {"method":"LIST_SUBSCRIPTIONS","id":2}
//! ← {"result":["btcusdt@trade","btcusdt@miniTicker"],"id":2}
//! ← {"stream":"btcusdt@trade","data":{"e":"trade","E":…,"s":"BTCUSDT","t":3735683259,
//!    "p":"61837.63","q":"0.02","T":1723161255342,"m":true,"M":true}}
//! ← {"stream":"btcusdt@aggTrade","data":{"e":"aggTrade","s":"BTCUSDT","a":665076760,"p":"58001.03",
//!    "q":"0.0862","f":745522877,"l":745522877,"T":1617566591314,"m":true, …}}
//! ← {"e":"24hrMiniTicker","E":1653812650349,"s":"ETHUSDT","c":"1792.84","v":"471703.5","q":"840180761.5", …}
//! ```
//!
//! Rules of the venue:
//! - `m` is "the buyer is the maker": the taker sold.
//! - `t` of trades and `a` of aggregates are dense per symbol. An aggregate is one taker order at
//!   one price; its id is its own, so trades and aggregates of one symbol must not be mixed.
//! - A symbol is base and quote without a separator: the quote is the longest known suffix.
//! - The acknowledgement names no stream, so the list of subscriptions is requested after it. A
//!   symbol that does not exist is acknowledged too, and stays silent.
//! - `<symbol>@miniTicker` has every field of a price sample, and both volumes. The venue retired
//!   `!ticker@arr`.
//! - The time of a mini ticker (`E`) is the connection's clock, less `CLOCK_MARGIN_MS`. Where no
//!   tickers are followed, every connection has the one of `CLOCK`.
//!
//! # What this does not do
//!
//! Klines are ignored, and books are read in `book.rs`; `aggTrade` is parsed but not subscribed.

use std::borrow::Cow;

use schemas::{MarketEvent, PairKey, Timestamp};
use serde::Deserialize;
use serde_json::json;
use serde_json::value::RawValue;

use super::NAME;
use crate::channel::{Channel, Follow};
use crate::fields::{content, decimal, integer, optional, scalar, side};
use crate::instrument::{Class, Instrument, split_product};
use crate::malformed::{Malformed, Result, not_json};
use crate::message::{Control, Ignored, Message, Parsed, Subscription, UNKNOWN, each};
use crate::request::{SocketRequest, chunked};

/// The streams of each symbol, by channel.
const STREAMS: [(Channel, &str); 3] =
    [(Channel::Trades, TRADE), (Channel::Ticker, TICKER), (Channel::Book, DEPTH)];
/// The stream of a symbol's ticker.
const TICKER: &str = "miniTicker";
/// The stream of a symbol's book.
const DEPTH: &str = "depth@100ms";
/// The stream whose time is the connection's clock where no tickers are followed.
const CLOCK: &str = "btcusdt@miniTicker";
/// Streams in one request: the venue closes a connection whose frame is too long, and says of no
/// length that it is not.
const STREAMS_A_REQUEST: usize = 200;
/// Milliseconds that a trade may be on its way inside the venue: streams of one connection are
/// not strictly in order, so a clock is told so much earlier.
const CLOCK_MARGIN_MS: i64 = 1000;

/// A trade's kind.
const TRADE: &str = "trade";
/// An aggregate's kind.
pub(super) const AGGREGATE: &str = "aggTrade";

/// The kinds of message known.
pub(super) const KINDS: [&str; 9] = [
    TRADE,
    AGGREGATE,
    "depthUpdate",
    "kline",
    "24hrTicker",
    "24hrMiniTicker",
    "bookTicker",
    "answer",
    "serverShutdown",
];

/// Quotes of the spot market. Where two end alike the longer stands first.
const QUOTES: [&str; 38] = [
    "FDUSD", "BFUSD", "USDT", "USDC", "USDS", "USDP", "USDE", "USD1", "XUSD", "TUSD", "BUSD",
    "BIDR", "BVND", "IDRT", "DAI", "PAX", "AEUR", "EURI", "EUR", "GBP", "AUD", "TRY", "BRL", "RUB",
    "UAH", "NGN", "ZAR", "PLN", "JPY", "MXN", "ARS", "COP", "CZK", "RON", "BTC", "ETH", "BNB",
    "TRX",
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
    #[serde(rename = "E")]
    sent: Option<&'a RawValue>,
    s: Option<Cow<'a, str>>,
    t: Option<&'a RawValue>,
    a: Option<&'a RawValue>,
    c: Option<&'a RawValue>,
    p: Option<&'a RawValue>,
    q: Option<&'a RawValue>,
    v: Option<&'a RawValue>,
    #[serde(rename = "T")]
    time: Option<&'a RawValue>,
    m: Option<&'a RawValue>,
    u: Option<&'a RawValue>,
    #[serde(rename = "lastUpdateId")]
    last_update_id: Option<&'a RawValue>,
    id: Option<&'a RawValue>,
    result: Option<&'a RawValue>,
    code: Option<&'a RawValue>,
    msg: Option<Cow<'a, str>>,
    error: Option<Failure<'a>>,
}

/// An error inside an answer.
#[derive(Deserialize)]
struct Failure<'a> {
    #[serde(borrow)]
    msg: Option<Cow<'a, str>>,
}

#[derive(Deserialize)]
struct Listing {
    symbols: Vec<Listed>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Listed {
    symbol: String,
    status: String,
    base_asset: String,
    quote_asset: String,
}

/// The streams of symbols.
pub(super) fn streams(products: &[String], follow: Follow) -> Vec<String> {
    let of = |product: &String| {
        let symbol = product.to_lowercase();
        let chosen = STREAMS.into_iter().filter(move |(channel, _)| follow.has(*channel));
        chosen.map(move |(_, stream)| format!("{symbol}@{stream}"))
    };
    products.iter().flat_map(of).collect()
}

/// The pair whose book comes over a stream.
pub(super) fn pair_of_stream(stream: &str) -> Option<PairKey> {
    let symbol = stream.strip_suffix(DEPTH)?.strip_suffix('@')?;
    pair(&symbol.to_uppercase()).ok()
}

/// Requests for chunks of streams, and at the end the request for the list of subscriptions. Ids begin
/// with 1 on every connection, and the first request has the clock.
pub(super) fn subscribe(streams: &[String], follow: Follow, first_id: u64) -> Vec<SocketRequest> {
    let clock = (first_id == 1 && !follow.has(Channel::Ticker)).then(|| CLOCK.to_owned());
    let streams: Vec<String> = clock.into_iter().chain(streams.iter().cloned()).collect();
    let mut all = chunked(&streams, STREAMS_A_REQUEST, first_id, |part, id| {
        json!({"method": "SUBSCRIBE", "params": part, "id": id}).to_string()
    });
    let id = first_id + all.len() as u64;
    all.push(SocketRequest {
        id,
        text: json!({"method": "LIST_SUBSCRIPTIONS", "id": id}).to_string(),
    });
    all
}

/// The symbols of the answer to the listing request. One that cannot be told apart into base and quote
/// is left out: its messages could not be read either.
pub(super) fn instruments(body: &str) -> Result<Vec<Instrument>> {
    let listing: Listing = serde_json::from_str(body).map_err(|error| not_json(&error))?;
    let readable = |symbol: &Listed| {
        pair(&symbol.symbol)
            .is_ok_and(|pair| pair.base == symbol.base_asset && pair.quote == symbol.quote_asset)
    };
    Ok(listing
        .symbols
        .into_iter()
        .filter(readable)
        .map(|symbol| {
            let active = symbol.status == "TRADING";
            Instrument::new(symbol.symbol, symbol.base_asset, Class::Spot, active)
        })
        .collect())
}

/// The pair that a symbol names.
pub(super) fn pair(symbol: &str) -> Result<PairKey> {
    let (base, quote) = split_product(symbol, &QUOTES)?;
    Ok(PairKey::new(base, quote, NAME).checked()?)
}

/// Appends the messages of one text frame.
pub(super) fn parse(text: &str, received_at: Timestamp, out: &mut Vec<Parsed>) -> Result<()> {
    let frame: Frame<'_> = serde_json::from_str(text).map_err(|error| not_json(&error))?;
    let body = frame.data.map_or(text, RawValue::get);
    if !body.starts_with('[') {
        return event(body, received_at, out);
    }
    // The tickers of all symbols.
    let bodies: Vec<&RawValue> = serde_json::from_str(body).map_err(|error| not_json(&error))?;
    let mut result = Ok(());
    for body in bodies {
        result = result.and(event(body.get(), received_at, out));
    }
    result
}

fn event(body: &str, received_at: Timestamp, out: &mut Vec<Parsed>) -> Result<()> {
    let event: Event<'_> = serde_json::from_str(body).map_err(|error| not_json(&error))?;
    let kind = kind(&event);
    let message = match kind {
        TRADE => trade(&event, "t", event.t, received_at)?,
        AGGREGATE => trade(&event, "a", event.a, received_at)?,
        "24hrTicker" | "24hrMiniTicker" => {
            each(&[&event], out, kind, |event| ticker(event, received_at))?;
            let sent = integer("E", scalar(event.sent))?;
            Message::Clock(Timestamp(sent.saturating_sub(CLOCK_MARGIN_MS)))
        }
        "serverShutdown" => Message::Control(Control::Closing),
        "answer" => answer(&event)?,
        UNKNOWN => Message::Ignored(Ignored::UnknownType),
        _ => Message::Ignored(Ignored::UnusedType),
    };
    out.push(Parsed { kind, message });
    Ok(())
}

fn answer(event: &Event<'_>) -> Result<Message> {
    let failure = event.error.as_ref().map(|failure| failure.msg.as_deref());
    if let Some(words) = failure.or(event.code.map(|_| event.msg.as_deref())) {
        return Ok(Message::Control(Control::Refused(words.unwrap_or("no reason given").into())));
    }
    let Some(result) = event.result else { return Ok(Message::Alive) };
    let streams: Vec<String> = content("result", Some(result))?;
    Ok(Message::Control(Control::Subscribed(Subscription::streams(NAME, &streams))))
}

/// Some messages carry no name and are known by their fields.
fn kind(event: &Event<'_>) -> &'static str {
    match event.e.as_deref() {
        Some(sent) => KINDS.into_iter().find(|kind| *kind == sent).unwrap_or(UNKNOWN),
        None if event.last_update_id.is_some() => "depthUpdate",
        None if event.u.is_some() => "bookTicker",
        None if event.id.is_some() || event.code.is_some() || event.error.is_some() => "answer",
        None => UNKNOWN,
    }
}

fn trade(
    event: &Event<'_>,
    id_field: &'static str,
    id: Option<&RawValue>,
    received_at: Timestamp,
) -> Result<Message> {
    let symbol = event.s.as_deref().ok_or(Malformed::MissingField("s"))?;
    let price = decimal("p", scalar(event.p))?;
    let size = decimal("q", scalar(event.q))?;
    let time = Timestamp(integer("T", scalar(event.time))?);
    // Whether the buyer is the maker.
    let taker_side = side("m", scalar(event.m), ["false", "true"])?;
    let market_event = MarketEvent {
        trade_id: Some(integer(id_field, scalar(id))?),
        taker_side: Some(taker_side),
        received_at,
        ..MarketEvent::trade(price, size, time)
    };
    Ok(Message::Event(pair(symbol)?, market_event))
}

fn ticker(event: &Event<'_>, received_at: Timestamp) -> Result<Message> {
    let symbol = event.s.as_deref().ok_or(Malformed::MissingField("s"))?;
    let price = decimal("c", scalar(event.c))?;
    let base = optional("v", scalar(event.v))?;
    let quote = optional("q", scalar(event.q))?;
    let time = Timestamp(integer("E", scalar(event.sent))?);
    let sample = MarketEvent::sample(price, time).with_volumes(base, quote);
    Ok(Message::Event(pair(symbol)?, MarketEvent { received_at, ..sample }))
}

#[cfg(test)]
#[path = "protocol_tests.rs"]
mod tests;
