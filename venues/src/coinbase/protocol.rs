//! Coinbase Exchange: `matches`, `ticker` and `heartbeat` over one WebSocket.
//!
//! ```text
//! → {"type":"subscribe","product_ids":["BTC-USD"],"channels":["matches","ticker","heartbeat"]}
//! ← {"type":"subscriptions","channels":[{"name":"matches","product_ids":["BTC-USD"]}, …]}
//! ← {"type":"last_match","trade_id":10,"side":"sell","size":"0.04","price":"14.77",
//!    "product_id":"BTC-USD","sequence":7,"time":"2021-04-17T16:43:30.244075Z", …}
//! ← {"type":"ticker","sequence":7,"product_id":"BTC-USD","price":"14.77","volume_24h":"94381.28",
//!    "side":"buy","time":"…","trade_id":10,"last_size":"0.04", …}
//! ← {"type":"heartbeat","sequence":7,"last_trade_id":10,"product_id":"BTC-USD","time":"…"}
//! ← {"type":"error","message":"Failed to subscribe","reason":"FOO-USD is not a valid product"}
//! ```
//!
//! Rules of the venue:
//! - The side of a match is the *maker's*, the side of a ticker the *taker's*.
//! - `last_match` is the newest trade at the time of subscribing. It is an ordinary match: its id
//!   identifies a repetition, which is counted once downstream.
//! - `trade_id` is dense per product. A ticker repeats the id of its trade. As a price sample it is
//!   identified by `sequence` and carries no trade id.
//! - A ticker without `time` or `trade_id` is a quote without a trade, and is ignored. An absurd
//!   time (year 1 has been sent) is passed on like any other value.
//! - The venue has no quote volume of 24 hours; it is not estimated here.
//! - A subscription to `-USDC` is acknowledged as `-USD`: both name the pair in USD.

use std::borrow::Cow;

use schemas::{MarketEvent, PairKey, Timestamp};
use serde::Deserialize;
use serde_json::json;
use serde_json::value::RawValue;

use super::NAME;
use crate::fields::{content, decimal, integer, optional, scalar, side, time};
use crate::instrument::{Class, Instrument};
use crate::malformed::{Malformed, Result, not_json};
use crate::message::{Control, Ignored, Message, Parsed, Subscription, UNKNOWN};
use crate::request::SocketRequest;

/// The channels that are subscribed.
const CHANNELS: [&str; 3] = ["matches", "ticker", HEARTBEAT];
/// The channel with the feed's clock.
pub(super) const HEARTBEAT: &str = "heartbeat";

/// The kinds of message known.
pub(super) const KINDS: [&str; 9] = [
    "match",
    "last_match",
    "ticker",
    "heartbeat",
    "subscriptions",
    "error",
    "snapshot",
    "l2update",
    "status",
];

/// Every field that any of our messages has; the rest is skipped without being built.
#[derive(Deserialize)]
struct Frame<'a> {
    #[serde(borrow, rename = "type")]
    kind: Option<Cow<'a, str>>,
    product_id: Option<Cow<'a, str>>,
    trade_id: Option<&'a RawValue>,
    sequence: Option<&'a RawValue>,
    side: Option<Cow<'a, str>>,
    size: Option<&'a RawValue>,
    price: Option<&'a RawValue>,
    volume_24h: Option<&'a RawValue>,
    time: Option<Cow<'a, str>>,
    channels: Option<&'a RawValue>,
    message: Option<Cow<'a, str>>,
    reason: Option<Cow<'a, str>>,
}

#[derive(Deserialize)]
struct Channel {
    name: String,
    #[serde(default)]
    product_ids: Vec<String>,
}

#[derive(Deserialize)]
struct Product {
    id: String,
    base_currency: String,
    #[serde(default)]
    status: String,
    #[serde(default)]
    trading_disabled: bool,
}

/// The one frame that subscribes; the venue drops a client that has not sent it within 5 s.
pub(super) fn subscribe(products: &[String], id: u64) -> Vec<SocketRequest> {
    let request = json!({"type": "subscribe", "product_ids": products, "channels": CHANNELS});
    vec![SocketRequest { id, text: request.to_string() }]
}

/// The products of the answer to `GET /products`.
pub(super) fn instruments(body: &str) -> Result<Vec<Instrument>> {
    let products: Vec<Product> = serde_json::from_str(body).map_err(|error| not_json(&error))?;
    Ok(products
        .into_iter()
        .map(|product| Instrument {
            active: product.status == "online" && !product.trading_disabled,
            name: product.id,
            currency: product.base_currency,
            class: Class::Spot,
        })
        .collect())
}

/// Every channel of every product, under the names that the answer will have.
pub(super) fn expected(products: &[String]) -> Vec<Subscription> {
    let pairs = products.iter().filter_map(|product| pair(product).ok());
    let mut expected: Vec<_> = pairs
        .flat_map(|pair| {
            CHANNELS.map(|channel| Subscription { channel: channel.into(), pair: pair.clone() })
        })
        .collect();
    expected.sort();
    expected.dedup();
    expected
}

/// The pair that a product names.
pub(super) fn pair(product: &str) -> Result<PairKey> {
    let bad = || Malformed::BadProduct(product.into());
    let (base, quote) = product.split_once('-').ok_or_else(bad)?;
    let quote = if quote == "USDC" { "USD" } else { quote };
    Ok(PairKey::new(base, quote, NAME).checked()?)
}

/// Appends the message of one text frame.
pub(super) fn parse(text: &str, received_at: Timestamp, out: &mut Vec<Parsed>) -> Result<()> {
    out.push(message(text, received_at)?);
    Ok(())
}

fn message(text: &str, received_at: Timestamp) -> Result<Parsed> {
    let frame: Frame<'_> = serde_json::from_str(text).map_err(|error| not_json(&error))?;
    let sent = frame.kind.as_deref().ok_or(Malformed::MissingField("type"))?;
    let kind = KINDS.into_iter().find(|kind| *kind == sent).unwrap_or(UNKNOWN);
    let message = match kind {
        "match" | "last_match" => trade(&frame, received_at)?,
        "ticker" => ticker(&frame, received_at)?,
        "heartbeat" => Message::Heartbeat {
            pair: product(&frame)?,
            time: time("time", frame.time.as_deref())?,
        },
        "subscriptions" => Message::Control(Control::Subscribed(subscriptions(&frame)?)),
        "error" => Message::Control(Control::Refused(refusal(&frame))),
        UNKNOWN => Message::Ignored(Ignored::UnknownType),
        _ => Message::Ignored(Ignored::UnusedType),
    };
    Ok(Parsed { kind, message })
}

fn trade(frame: &Frame<'_>, received_at: Timestamp) -> Result<Message> {
    let price = decimal("price", scalar(frame.price))?;
    let size = decimal("size", scalar(frame.size))?;
    // The maker's: when it sells, the taker buys.
    let taker_side = side("side", frame.side.as_deref(), ["sell", "buy"])?;
    let event = MarketEvent {
        trade_id: Some(integer("trade_id", scalar(frame.trade_id))?),
        sequence: sequence(frame)?,
        taker_side: Some(taker_side),
        received_at,
        ..MarketEvent::trade(price, size, time("time", frame.time.as_deref())?)
    };
    Ok(Message::Event(product(frame)?, event))
}

fn ticker(frame: &Frame<'_>, received_at: Timestamp) -> Result<Message> {
    if frame.time.is_none() || scalar(frame.trade_id).is_none() {
        return Ok(Message::Ignored(Ignored::QuoteOnly));
    }
    let price = decimal("price", scalar(frame.price))?;
    let volume = optional("volume_24h", scalar(frame.volume_24h))?;
    let taker = frame.side.as_deref().map(|text| side("side", Some(text), ["buy", "sell"]));
    let event = MarketEvent {
        sequence: sequence(frame)?,
        taker_side: taker.transpose()?,
        received_at,
        ..MarketEvent::sample(price, time("time", frame.time.as_deref())?)
            .with_volumes(volume, None)
    };
    Ok(Message::Event(product(frame)?, event))
}

fn product(frame: &Frame<'_>) -> Result<PairKey> {
    pair(frame.product_id.as_deref().ok_or(Malformed::MissingField("product_id"))?)
}

fn sequence(frame: &Frame<'_>) -> Result<Option<i64>> {
    scalar(frame.sequence).map(|text| integer("sequence", Some(text))).transpose()
}

fn subscriptions(frame: &Frame<'_>) -> Result<Vec<Subscription>> {
    let channels: Vec<Channel> = content("channels", frame.channels)?;
    let mut subscriptions = Vec::new();
    for channel in channels {
        for product in &channel.product_ids {
            subscriptions
                .push(Subscription { channel: channel.name.clone(), pair: pair(product)? });
        }
    }
    Ok(subscriptions)
}

fn refusal(frame: &Frame<'_>) -> String {
    let parts = [frame.message.as_deref(), frame.reason.as_deref()];
    let words: Vec<_> = parts.into_iter().flatten().filter(|part| !part.is_empty()).collect();
    if words.is_empty() { "no reason given".into() } else { words.join(": ") }
}

#[cfg(test)]
#[path = "protocol_tests.rs"]
mod tests;
