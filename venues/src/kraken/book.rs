//! Order books of Kraken: the channel `book` of version 2, and the terms of a book.
//!
//! ```text
//! → {"method":"subscribe","params":{"channel":"book","symbol":["BTC/USD"],"depth":10,"snapshot":true}}
//! ← {"method":"subscribe","result":{"channel":"book","depth":10,"snapshot":true,"symbol":"BTC/USD"},
//!    "success":true, …}
//! ← {"channel":"instrument","type":"snapshot","data":{"pairs":[{"symbol":"BTC/USD",
//!    "price_precision":1,"qty_precision":8, …}], …}}
//! ← {"channel":"book","type":"snapshot","data":[{"symbol":"BTC/USD","bids":[{"price":45283.5,
//!    "qty":0.10000000}, …],"asks":[…],"checksum":3310070434,"timestamp":"…"}]}
//! ← {"channel":"book","type":"update","data":[{"symbol":"BTC/USD","bids":[{"price":45283.5,
//!    "qty":0.00000000}],"asks":[],"checksum":1611137690,"timestamp":"…"}]}
//! ```
//!
//! Rules of the venue (Kraken WebSocket API v2, "Book", "Instrument", "Calculate Book Checksum (v2)"):
//! - A quantity is absolute. Zero removes the level. A price may occur twice in one
//!   update. A snapshot begins with the best price.
//! - The depth is in the acknowledgement. After a frame, levels behind the depth are dropped; the venue
//!   sends them again when they return.
//! - Each frame has the CRC32 of the state after it; see `book/checksum.rs`. The digits come from
//!   the precision of the channel `instrument`.
//! - A snapshot may lack `timestamp`.

use std::borrow::Cow;

use schemas::PairKey;
use serde::Deserialize;
use serde_json::json;
use serde_json::value::RawValue;

use super::protocol;
use crate::book::{BookFrame, BookMessage, FrameKind, Level, Order, Precision, entries, level};
use crate::channel::Follow;
use crate::fields::{content, integer, scalar, time};
use crate::malformed::{Malformed, Result, not_json};
use crate::request::SocketRequest;

#[derive(Deserialize)]
struct Frame<'a> {
    #[serde(borrow)]
    channel: Option<Cow<'a, str>>,
    method: Option<Cow<'a, str>>,
    #[serde(rename = "type")]
    kind: Option<Cow<'a, str>>,
    data: Option<&'a RawValue>,
    result: Option<&'a RawValue>,
    success: Option<bool>,
}

#[derive(Deserialize)]
struct Book<'a> {
    #[serde(borrow)]
    symbol: Option<Cow<'a, str>>,
    bids: Option<&'a RawValue>,
    asks: Option<&'a RawValue>,
    checksum: Option<&'a RawValue>,
    timestamp: Option<&'a RawValue>,
}

#[derive(Deserialize)]
struct Entry<'a> {
    #[serde(borrow)]
    price: Option<&'a RawValue>,
    qty: Option<&'a RawValue>,
}

#[derive(Deserialize)]
struct Granted<'a> {
    #[serde(borrow)]
    channel: Option<Cow<'a, str>>,
    symbol: Option<Cow<'a, str>>,
    depth: Option<usize>,
}

#[derive(Deserialize)]
struct Listing<'a> {
    #[serde(borrow, default)]
    pairs: Vec<Listed<'a>>,
}

#[derive(Deserialize)]
struct Listed<'a> {
    #[serde(borrow)]
    symbol: Cow<'a, str>,
    price_precision: Option<u32>,
    qty_precision: Option<u32>,
}

/// The depths that the venue offers.
pub(super) const DEPTHS: [usize; 5] = [10, 25, 100, 500, 1_000];
/// The smallest depth that fills a record of the topic `books`.
pub(super) const DEFAULT_DEPTH: usize = 25;

/// The request that subscribes books, or ends their subscription.
pub(super) fn request(method: &str, symbols: &[&str], follow: Follow, id: u64) -> String {
    let depth = follow.depth.unwrap_or(DEFAULT_DEPTH);
    let mut params = json!({"channel": protocol::BOOK, "symbol": symbols, "depth": depth});
    if method == "subscribe" {
        params["snapshot"] = true.into();
    }
    json!({"method": method, "params": params, "req_id": id}).to_string()
}

/// The requests that subscribe the book of one pair again.
pub(super) fn resubscribe(pair: &PairKey, follow: Follow, first_id: u64) -> Vec<SocketRequest> {
    let symbol = format!("{}/{}", pair.base, pair.quote);
    let methods = ["unsubscribe", "subscribe"].into_iter().zip(first_id..);
    let text = |method, id| request(method, &[&symbol], follow, id);
    methods.map(|(method, id)| SocketRequest { id, text: text(method, id) }).collect()
}

/// Appends the book messages of one text frame.
pub(super) fn parse(text: &str, out: &mut Vec<BookMessage>) -> Result<()> {
    if text.trim_start().starts_with('[') {
        // Version 1.
        return Ok(());
    }
    let frame: Frame<'_> = serde_json::from_str(text).map_err(|error| not_json(&error))?;
    match (frame.channel.as_deref(), frame.method.as_deref()) {
        (Some("book"), _) => books(&frame, out),
        (Some(protocol::INSTRUMENT), _) => precisions(&frame, out),
        (None, Some("subscribe")) if frame.success == Some(true) => depth(&frame, out),
        _ => Ok(()),
    }
}

fn books(frame: &Frame<'_>, out: &mut Vec<BookMessage>) -> Result<()> {
    let kind = match frame.kind.as_deref().ok_or(Malformed::MissingField("type"))? {
        "snapshot" => FrameKind::Snapshot,
        "update" => FrameKind::Update,
        _ => return Err(Malformed::BadField("type")),
    };
    let books: Vec<Book<'_>> = content("data", frame.data)?;
    let mut result = Ok(());
    for book in &books {
        result = result.and(push(book, kind, out));
    }
    result
}

fn push(book: &Book<'_>, kind: FrameKind, out: &mut Vec<BookMessage>) -> Result<()> {
    let symbol = book.symbol.as_deref().ok_or(Malformed::MissingField("symbol"))?;
    BookMessage::push(protocol::pair(symbol)?, self::book(book, kind), out)
}

fn book(book: &Book<'_>, kind: FrameKind) -> Result<BookFrame> {
    let checksum = integer("checksum", scalar(book.checksum))?;
    let is_snapshot = kind == FrameKind::Snapshot;
    let [bids, asks] = if is_snapshot { Order::SNAPSHOT } else { [Order::Free; 2] };
    Ok(BookFrame {
        kind,
        bids: levels("bids", book.bids, bids)?,
        asks: levels("asks", book.asks, asks)?,
        span: None,
        checksum: Some(u32::try_from(checksum).map_err(|_| Malformed::BadField("checksum"))?),
        event_time: scalar(book.timestamp).map(|text| time("timestamp", Some(text))).transpose()?,
    })
}

fn levels(field: &'static str, raw: Option<&RawValue>, order: Order) -> Result<Vec<Level>> {
    let entries: Vec<Entry<'_>> = entries(field, raw)?;
    let levels = entries.iter().map(|entry| level(scalar(entry.price), scalar(entry.qty)));
    order.check(field, levels.collect::<Result<_>>()?)
}

fn precisions(frame: &Frame<'_>, out: &mut Vec<BookMessage>) -> Result<()> {
    let listing: Listing<'_> = content("data", frame.data)?;
    let mut result = Ok(());
    for listed in &listing.pairs {
        match precision(listed) {
            Ok(message) => out.push(message),
            Err(malformed) => result = result.and(Err(malformed)),
        }
    }
    result
}

fn precision(listed: &Listed<'_>) -> Result<BookMessage> {
    let price = listed.price_precision.ok_or(Malformed::MissingField("price_precision"))?;
    let size = listed.qty_precision.ok_or(Malformed::MissingField("qty_precision"))?;
    let precision = Precision::new(price, size).ok_or(Malformed::BadField("price_precision"))?;
    Ok(BookMessage::Precision(protocol::pair(&listed.symbol)?, precision))
}

fn depth(frame: &Frame<'_>, out: &mut Vec<BookMessage>) -> Result<()> {
    let granted: Granted<'_> = content("result", frame.result)?;
    if granted.channel.as_deref() == Some("book") {
        let symbol = granted.symbol.as_deref().ok_or(Malformed::MissingField("symbol"))?;
        let depth = granted.depth.ok_or(Malformed::MissingField("depth"))?;
        out.push(BookMessage::Depth(protocol::pair(symbol)?, depth));
    }
    Ok(())
}

#[cfg(test)]
#[path = "book_tests.rs"]
mod tests;
