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
//! - A refused channel refuses the whole frame that asks for it, so books are asked for in their own.
//!   Their channel `level2_batch` may need authentication; then the error names it, and `level2_50`
//!   is subscribed instead ([`Control::OnlyDepth`]).
//! - A subscription to `-USDC` is acknowledged as `-USD`: both name the pair in USD.

use std::borrow::Cow;

use schemas::{MarketEvent, PairKey, Timestamp};
use serde::Deserialize;
use serde_json::json;
use serde_json::value::RawValue;

use super::{NAME, book};
use crate::channel::{Channel, Follow};
use crate::fields::{content, decimal, integer, optional, scalar, side, time};
use crate::instrument::{Class, Instrument};
use crate::malformed::{Malformed, Result, not_json};
use crate::message::{Control, Ignored, Message, Parsed, Subscription, UNKNOWN};
use crate::request::SocketRequest;

/// The channel with the feed's clock.
pub(super) const HEARTBEAT: &str = "heartbeat";
/// The stream of a product's book begins with this; the stream of its other channels is its name.
const BOOK_STREAM: &str = "level2:";

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
struct Granted {
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

/// The streams of products. The book is a stream of its own, because a connection has a limit.
pub(super) fn streams(products: &[String], follow: Follow) -> Vec<String> {
    let (has_events, has_book) = (channels(follow).len() > 1, follow.has(Channel::Book));
    let of = |product: &String| {
        let book = has_book.then(|| format!("{BOOK_STREAM}{product}"));
        has_events.then(|| product.clone()).into_iter().chain(book)
    };
    products.iter().flat_map(of).collect()
}

/// The channels of a product besides its book; the clock is always one of them.
fn channels(follow: Follow) -> Vec<&'static str> {
    let named = [(Channel::Trades, "matches"), (Channel::Ticker, "ticker")];
    let chosen = named.into_iter().filter(|(channel, _)| follow.has(*channel));
    chosen.map(|(_, name)| name).chain([HEARTBEAT]).collect()
}

/// The pair whose book comes over a stream.
pub(super) fn pair_of_stream(stream: &str) -> Option<PairKey> {
    pair(stream.strip_prefix(BOOK_STREAM)?).ok()
}

/// The products of streams: those with other channels than the book, and those with the book.
fn products(streams: &[String]) -> [Vec<&str>; 2] {
    let (mut others, mut books) = (Vec::new(), Vec::new());
    for stream in streams {
        match stream.strip_prefix(BOOK_STREAM) {
            Some(product) => books.push(product),
            None => others.push(stream.as_str()),
        }
    }
    [others, books]
}

/// The frames that subscribe; the venue drops a client that has not sent one within 5 s. Books have a
/// frame of their own: a refusal of their channel refuses no other.
pub(super) fn subscribe(streams: &[String], follow: Follow, first_id: u64) -> Vec<SocketRequest> {
    let [others, books] = products(streams);
    let alone: Vec<&str> = books.iter().copied().filter(|one| !others.contains(one)).collect();
    let frames = [
        (others, channels(follow)),
        (alone, vec![HEARTBEAT]),
        (books, vec![book::channel(follow)]),
    ];
    let frames = frames.into_iter().filter(|(products, _)| !products.is_empty());
    let frame = |((products, channels), id): ((Vec<&str>, Vec<&str>), u64)| SocketRequest {
        id,
        text: request("subscribe", &products, &channels),
    };
    frames.zip(first_id..).map(frame).collect()
}

/// The frame that subscribes channels, or ends their subscription.
pub(super) fn request(method: &str, products: &[&str], channels: &[&str]) -> String {
    json!({"type": method, "product_ids": products, "channels": channels}).to_string()
}

/// The products of the answer to `GET /products`.
pub(super) fn instruments(body: &str) -> Result<Vec<Instrument>> {
    let products: Vec<Product> = serde_json::from_str(body).map_err(|error| not_json(&error))?;
    Ok(products
        .into_iter()
        .map(|product| {
            let active = product.status == "online" && !product.trading_disabled;
            Instrument::new(product.id, product.base_currency, Class::Spot, active)
        })
        .collect())
}

/// Every channel of every product, under the names that the answer will have.
pub(super) fn expected(streams: &[String], follow: Follow) -> Vec<Subscription> {
    let [others, books] = products(streams);
    let of = |product: &str, channels: &[&str]| -> Vec<Subscription> {
        let Ok(pair) = pair(product) else { return Vec::new() };
        let one = |channel: &&str| Subscription { channel: (*channel).into(), pair: pair.clone() };
        channels.iter().map(one).collect()
    };
    let others = others.iter().flat_map(|product| of(product, &channels(follow)));
    let books = books.iter().flat_map(|product| of(product, &[HEARTBEAT, book::channel(follow)]));
    let mut expected: Vec<_> = others.chain(books).collect();
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
        "error" => Message::Control(self::refused(refusal(&frame))),
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
    let channels: Vec<Granted> = content("channels", frame.channels)?;
    let mut subscriptions = Vec::new();
    for channel in channels {
        for product in &channel.product_ids {
            subscriptions
                .push(Subscription { channel: channel.name.clone(), pair: pair(product)? });
        }
    }
    Ok(subscriptions)
}

/// A refusal. One that names authentication is of the channel with all levels of books.
fn refused(reason: String) -> Control {
    if reason.to_ascii_lowercase().contains("authenticat") {
        return Control::OnlyDepth { depth: book::OPEN_DEPTH, reason };
    }
    Control::Refused(reason)
}

fn refusal(frame: &Frame<'_>) -> String {
    let parts = [frame.message.as_deref(), frame.reason.as_deref()];
    let words: Vec<_> = parts.into_iter().flatten().filter(|part| !part.is_empty()).collect();
    if words.is_empty() { "no reason given".into() } else { words.join(": ") }
}

#[cfg(test)]
#[path = "protocol_tests.rs"]
mod tests;
