//! Order books of Coinbase Exchange: `level2_batch`, `level2_50` and `level2`.
//!
//! ```text
//! ← {"type":"snapshot","product_id":"BTC-USD","bids":[["10101.10","0.450541"], …],"asks":[…]}
//! ← {"type":"l2update","product_id":"BTC-USD","time":"2019-08-14T20:42:27.265Z",
//!    "changes":[["buy","10101.80000000","0.162567"],["sell","10102.05","0.00"]]}
//! ```
//!
//! Rules of the venue (Coinbase Exchange API, "WebSocket Channels", "Level2 Channel"):
//! - A size is absolute. Zero removes the level, and is written as `0`, `0.00` or `0.00000000`.
//! - There is no sequence and no checksum, so the book has no proof. Its cross-check is the ticker.
//! - A snapshot begins with the best price, and is one frame of up to 8 MB.
//! - `level2_batch` sends the changes of 50 ms at once. A price may come twice; the later one holds.
//! - `level2_50` has the best 50 levels.

use std::borrow::Cow;

use schemas::{PairKey, TakerSide};
use serde::Deserialize;
use serde_json::value::RawValue;

use super::protocol;
use crate::book::{BookFrame, BookMessage, FrameKind, Order, entries, level, levels};
use crate::channel::Follow;
use crate::fields::{scalar, side, time};
use crate::malformed::{Malformed, Result, not_json};
use crate::request::SocketRequest;

#[derive(Deserialize)]
struct Frame<'a> {
    #[serde(rename = "type", borrow)]
    kind: Option<Cow<'a, str>>,
    product_id: Option<Cow<'a, str>>,
    time: Option<&'a RawValue>,
    bids: Option<&'a RawValue>,
    asks: Option<&'a RawValue>,
    changes: Option<&'a RawValue>,
}

/// The depth that needs no authentication.
pub(super) const OPEN_DEPTH: usize = 50;

/// The channel of books: all levels, or the best 50.
pub(super) fn channel(follow: Follow) -> &'static str {
    if follow.depth == Some(OPEN_DEPTH) { "level2_50" } else { "level2_batch" }
}

/// The frames that subscribe the book of one pair again.
pub(super) fn resubscribe(pair: &PairKey, follow: Follow, first_id: u64) -> Vec<SocketRequest> {
    let product = format!("{}-{}", pair.base, pair.quote);
    let text = |method| protocol::request(method, &[&product], &[channel(follow)]);
    let texts = ["unsubscribe", "subscribe"].map(text).into_iter();
    texts.zip(first_id..).map(|(text, id)| SocketRequest { id, text }).collect()
}

/// Appends the book message of one text frame.
pub(super) fn parse(text: &str, out: &mut Vec<BookMessage>) -> Result<()> {
    let frame: Frame<'_> = serde_json::from_str(text).map_err(|error| not_json(&error))?;
    let read = match frame.kind.as_deref() {
        Some("snapshot") => snapshot,
        Some("l2update") => update,
        _ => return Ok(()),
    };
    let product = frame.product_id.as_deref().ok_or(Malformed::MissingField("product_id"))?;
    BookMessage::push(protocol::pair(product)?, read(&frame), out)
}

fn snapshot(frame: &Frame<'_>) -> Result<BookFrame> {
    let [bids, asks] = Order::SNAPSHOT;
    Ok(BookFrame {
        kind: FrameKind::Snapshot,
        bids: levels("bids", frame.bids, bids)?,
        asks: levels("asks", frame.asks, asks)?,
        span: None,
        checksum: None,
        event_time: scalar(frame.time).map(|text| time("time", Some(text))).transpose()?,
    })
}

fn update(frame: &Frame<'_>) -> Result<BookFrame> {
    let changes: Vec<[&RawValue; 3]> = entries("changes", frame.changes)?;
    let (mut bids, mut asks) = (Vec::new(), Vec::new());
    for [taker_side, price, size] in changes {
        let changed = match side("side", scalar(Some(taker_side)), ["buy", "sell"])? {
            TakerSide::Buy => &mut bids,
            TakerSide::Sell => &mut asks,
        };
        changed.push(level(scalar(Some(price)), scalar(Some(size)))?);
    }
    let event_time = Some(time("time", scalar(frame.time))?);
    let kind = FrameKind::Update;
    Ok(BookFrame { kind, bids, asks, span: None, checksum: None, event_time })
}

#[cfg(test)]
#[path = "book_tests.rs"]
mod tests;
