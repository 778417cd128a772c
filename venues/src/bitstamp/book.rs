//! Order books of Bitstamp: `diff_order_book_<pair>`, and the snapshot over REST.
//!
//! ```text
//! ← {"data":{"timestamp":"1641343691","microtimestamp":"1641343691244908",
//!    "bids":[["1.15979","993.02588113"]],"asks":[["1.16601","0.00000000"]]},
//!    "channel":"diff_order_book_bateur","event":"data"}
//! → GET /api/v2/order_book/bateur/
//! ← {"timestamp":"1641343695","microtimestamp":"1641343695564720","bids":[["1.16134","3866.00000000"], …],
//!    "asks":[…]}
//! ```
//!
//! Rules of the venue (Bitstamp WebSocket API v2, "Live full order book" and "Order book"):
//! - An amount is absolute. Zero removes the level.
//! - An update has each price once. A snapshot begins with the best price.
//! - Updates are held until the snapshot is there; those with a `microtimestamp` up to the snapshot's
//!   are in it.
//! - There is no sequence and no checksum, so the book has no proof.

use std::borrow::Cow;

use schemas::{PairKey, Timestamp};
use serde::Deserialize;
use serde_json::value::RawValue;

use super::protocol;
use crate::book::{BookFrame, BookMessage, FrameKind, Order, Span, levels};
use crate::channel::Follow;
use crate::fields::{content, integer, scalar};
use crate::malformed::{Result, not_json};
use crate::request::HttpRequest;

/// The path of a snapshot, before its product.
const SNAPSHOT_PATH: &str = "/api/v2/order_book/";

#[derive(Deserialize)]
struct Frame<'a> {
    #[serde(borrow)]
    event: Option<Cow<'a, str>>,
    channel: Option<Cow<'a, str>>,
    data: Option<&'a RawValue>,
}

#[derive(Deserialize)]
struct Book<'a> {
    #[serde(borrow)]
    microtimestamp: Option<&'a RawValue>,
    bids: Option<&'a RawValue>,
    asks: Option<&'a RawValue>,
}

/// Appends the book message of one text frame.
pub(super) fn parse(text: &str, out: &mut Vec<BookMessage>) -> Result<()> {
    let frame: Frame<'_> = serde_json::from_str(text).map_err(|error| not_json(&error))?;
    let channel = frame.channel.as_deref().unwrap_or_default();
    let product =
        channel.strip_prefix(protocol::BOOK).filter(|_| frame.event.as_deref() == Some("data"));
    let Some(product) = product else { return Ok(()) };
    let read = |book: Book<'_>| self::frame(&book, FrameKind::Update, [Order::Once; 2]);
    let update = content("data", frame.data).and_then(read);
    BookMessage::push(protocol::pair(product)?, update, out)
}

/// The request for the snapshot of a pair's book.
pub(super) fn snapshot_request(pair: &PairKey, _: Follow) -> HttpRequest {
    let product = format!("{}{}", pair.base, pair.quote).to_lowercase();
    HttpRequest { path: format!("{SNAPSHOT_PATH}{product}/") }
}

/// The product in such a request.
pub(super) fn product_of_request(path: &str) -> Option<&str> {
    let (_, rest) = path.split_once(SNAPSHOT_PATH)?;
    rest.split(['/', '?']).next()
}

/// The snapshot in the answer to `order_book`.
pub(super) fn snapshot(body: &str) -> Result<BookFrame> {
    let book: Book<'_> = serde_json::from_str(body).map_err(|error| not_json(&error))?;
    frame(&book, FrameKind::Snapshot, Order::SNAPSHOT)
}

fn frame(book: &Book<'_>, kind: FrameKind, [bids, asks]: [Order; 2]) -> Result<BookFrame> {
    let micros = integer("microtimestamp", scalar(book.microtimestamp))?;
    Ok(BookFrame {
        kind,
        bids: levels("bids", book.bids, bids)?,
        asks: levels("asks", book.asks, asks)?,
        span: Some(Span::at(micros)),
        checksum: None,
        event_time: Some(Timestamp::from_micros(micros)),
    })
}

#[cfg(test)]
#[path = "book_tests.rs"]
mod tests;
