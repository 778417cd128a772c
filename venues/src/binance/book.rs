//! Order books of Binance spot: `<symbol>@depth@100ms`, and the snapshot over REST.
//!
//! ```text
//! ← {"stream":"btcusdt@depth@100ms","data":{"e":"depthUpdate","E":1723161255408,"s":"BTCUSDT",
//!    "U":50093239208,"u":50093239224,"b":[["61837.63000000","3.78826000"], …],"a":[…]}}
//! → GET /api/v3/depth?symbol=BTCUSDT&limit=1000
//! ← {"lastUpdateId":50093239218,"bids":[["61837.63000000","3.78826000"], …],"asks":[…]}
//! ```
//!
//! Rules of the venue (Binance spot API, "How to manage a local order book correctly"):
//! - A quantity is absolute. Zero removes the level.
//! - An update covers the ids `U` to `u`. The next one begins at `u` + 1, or updates are missing.
//! - Updates are held until the snapshot is there. Those with `u` ≤ `lastUpdateId` are in it. The first
//!   applied one has `U` ≤ `lastUpdateId` + 1 ≤ `u`. A snapshot before the first `U` is too old.
//! - An update has each price once. A snapshot begins with the best price.
//! - A snapshot has at most `limit` levels a side. A level behind them is unknown until it changes.
//!
//! Here a book is also in sync when an update ends at `lastUpdateId`: no change is missing then.
//!
//! # What this does not do
//!
//! Futures have `pu`, and another rule for the first update. They are not subscribed.

use std::borrow::Cow;

use schemas::{PairKey, Timestamp};
use serde::Deserialize;
use serde_json::value::RawValue;

use super::protocol;
use crate::book::{BookFrame, BookMessage, FrameKind, Order, Span, levels};
use crate::channel::Follow;
use crate::fields::{integer, scalar};
use crate::malformed::{Malformed, Result, not_json};
use crate::request::HttpRequest;

/// Levels of a side in the snapshot. More cost more of the request budget: 1,000 weigh 50 of 6,000 a
/// minute, 5,000 weigh 250.
const SNAPSHOT_LIMIT: usize = 1_000;

/// Levels of a side in the snapshot of a followed book.
pub(super) fn limit(follow: Follow) -> usize {
    follow.depth.unwrap_or(SNAPSHOT_LIMIT)
}

/// The request for the snapshot of a pair's book.
pub(super) fn snapshot_request(pair: &PairKey, follow: Follow) -> HttpRequest {
    let (base, quote, limit) = (&pair.base, &pair.quote, limit(follow));
    HttpRequest { path: format!("{SNAPSHOT_PATH}symbol={base}{quote}&limit={limit}") }
}

/// The symbol in such a request.
pub(super) fn product_of_request(path: &str) -> Option<&str> {
    let (_, query) = path.split_once("/depth?")?;
    query.split('&').find_map(|part| part.strip_prefix("symbol="))
}

/// The snapshot's path.
const SNAPSHOT_PATH: &str = "/api/v3/depth?";

/// Either the wrapper of a combined stream or the update itself.
#[derive(Deserialize)]
struct Frame<'a> {
    #[serde(borrow)]
    stream: Option<Cow<'a, str>>,
    data: Option<&'a RawValue>,
}

#[derive(Deserialize)]
struct Update<'a> {
    #[serde(borrow)]
    e: Option<Cow<'a, str>>,
    #[serde(rename = "E")]
    sent: Option<&'a RawValue>,
    s: Option<Cow<'a, str>>,
    #[serde(rename = "U")]
    first: Option<&'a RawValue>,
    u: Option<&'a RawValue>,
    b: Option<&'a RawValue>,
    a: Option<&'a RawValue>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Snapshot<'a> {
    #[serde(borrow)]
    last_update_id: Option<&'a RawValue>,
    bids: Option<&'a RawValue>,
    asks: Option<&'a RawValue>,
}

/// Appends the book message of one text frame.
pub(super) fn parse(text: &str, out: &mut Vec<BookMessage>) -> Result<()> {
    let frame: Frame<'_> = serde_json::from_str(text).map_err(|error| not_json(&error))?;
    let body = frame.data.map_or(text, RawValue::get);
    if body.starts_with('[') {
        // The tickers of all symbols.
        return Ok(());
    }
    let update: Update<'_> = serde_json::from_str(body).map_err(|error| not_json(&error))?;
    if update.e.as_deref() != Some("depthUpdate") {
        return Ok(());
    }
    let symbol = update.s.as_deref().ok_or(Malformed::MissingField("s"))?;
    let pair = protocol::pair(symbol)?;
    let of_stream = frame.stream.as_deref().and_then(protocol::pair_of_stream);
    let named = of_stream.unwrap_or_else(|| pair.clone());
    let update = if named == pair {
        self::update(&update)
    } else {
        Err(Malformed::OtherProduct(symbol.into()))
    };
    BookMessage::push(named, update, out)
}

fn update(update: &Update<'_>) -> Result<BookFrame> {
    let first = integer("U", scalar(update.first))?;
    let after = first.checked_sub(1).ok_or(Malformed::BadField("U"))?;
    Ok(BookFrame {
        kind: FrameKind::Update,
        bids: levels("b", update.b, Order::Once)?,
        asks: levels("a", update.a, Order::Once)?,
        span: Some(Span { after, last: integer("u", scalar(update.u))? }),
        checksum: None,
        event_time: Some(Timestamp(integer("E", scalar(update.sent))?)),
    })
}

/// The snapshot in the answer to `/api/v3/depth`.
pub(super) fn snapshot(body: &str) -> Result<BookFrame> {
    let [bids, asks] = Order::SNAPSHOT;
    let snapshot: Snapshot<'_> = serde_json::from_str(body).map_err(|error| not_json(&error))?;
    Ok(BookFrame {
        kind: FrameKind::Snapshot,
        bids: levels("bids", snapshot.bids, bids)?,
        asks: levels("asks", snapshot.asks, asks)?,
        span: Some(Span::at(integer("lastUpdateId", scalar(snapshot.last_update_id))?)),
        checksum: None,
        event_time: None,
    })
}

#[cfg(test)]
#[path = "book_tests.rs"]
mod tests;
