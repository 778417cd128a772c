//! Order books of Deribit: `book.<instrument>.100ms`.
//!
//! ```text
//! ← {"jsonrpc":"2.0","method":"subscription","params":{"channel":"book.BTC-18APR21-59000-C.100ms",
//!    "data":{"type":"snapshot","timestamp":1618677846144,"instrument_name":"BTC-18APR21-59000-C",
//!    "change_id":29357176428,"bids":[["new",0.0275,0.4],["new",0.027,0.8]],"asks":[]}}}
//! ← … "data":{"type":"change","timestamp":1618677855349,"prev_change_id":29357176428,
//!    "change_id":29357199425,"bids":[["delete",0.027,0.0],["change",0.0275,1.2]],"asks":[], …}
//! ```
//!
//! Rules of the venue (Deribit API, `book.{instrument_name}.{interval}`):
//! - The first notification is the whole book. Each further one has `prev_change_id`, the `change_id`
//!   of the notification before it; another id means that one is missing.
//! - An amount is absolute; `delete` removes the level. A notification has each price once, and the
//!   first one begins with the best.
//! - An empty book has the `change_id` 0. Should the first change of such a book name another id, the
//!   book resyncs and gets the snapshot of a book that is not empty.
//! - The amount of an inverse future is USD. The size is in coins here, as sizes of its trades are.
//!
//! # What this does not do
//!
//! Grouped books (`book.<instrument>.<group>.<depth>.<interval>`) have no chain and are refused.

use std::borrow::Cow;

use schemas::{Decimal, PairKey, Timestamp};
use serde::Deserialize;
use serde_json::value::RawValue;

use super::{names, protocol};
use crate::book::{BookFrame, BookMessage, FrameKind, Level, Order, Span, entries, level};
use crate::fields::{content, integer, scalar};
use crate::malformed::{Malformed, Result, not_json};

#[derive(Deserialize)]
struct Frame<'a> {
    #[serde(borrow)]
    params: Option<Params<'a>>,
}

#[derive(Deserialize)]
struct Params<'a> {
    #[serde(borrow)]
    channel: Option<Cow<'a, str>>,
    data: Option<&'a RawValue>,
}

#[derive(Deserialize)]
struct Book<'a> {
    #[serde(rename = "type", borrow)]
    kind: Option<Cow<'a, str>>,
    timestamp: Option<&'a RawValue>,
    instrument_name: Option<Cow<'a, str>>,
    change_id: Option<&'a RawValue>,
    prev_change_id: Option<&'a RawValue>,
    bids: Option<&'a RawValue>,
    asks: Option<&'a RawValue>,
}

/// Appends the book message of one text frame.
pub(super) fn parse(text: &str, out: &mut Vec<BookMessage>) -> Result<()> {
    let frame: Frame<'_> = serde_json::from_str(text).map_err(|error| not_json(&error))?;
    let Some(Params { channel: Some(channel), data }) = frame.params else { return Ok(()) };
    if !channel.starts_with("book.") {
        return Ok(());
    }
    let book: Book<'_> = content("data", data)?;
    let name = book.instrument_name.as_deref().ok_or(Malformed::MissingField("instrument_name"))?;
    let pair = names::pair(name)?;
    let named = protocol::pair_of_stream(&channel).unwrap_or_else(|| pair.clone());
    let frame = if named == pair {
        self::frame(&book, &pair)
    } else {
        Err(Malformed::OtherProduct(name.into()))
    };
    BookMessage::push(named, frame, out)
}

fn frame(book: &Book<'_>, pair: &PairKey) -> Result<BookFrame> {
    let last = integer("change_id", scalar(book.change_id))?;
    let (kind, after, [bids, asks]) = match book.kind.as_deref() {
        None => return Err(Malformed::MissingField("type")),
        Some("snapshot") => (FrameKind::Snapshot, last, Order::SNAPSHOT),
        Some("change") => {
            let after = integer("prev_change_id", scalar(book.prev_change_id))?;
            (FrameKind::Update, after, [Order::Once; 2])
        }
        Some(_) => return Err(Malformed::BadField("type")),
    };
    Ok(BookFrame {
        kind,
        bids: levels("bids", book.bids, pair, bids)?,
        asks: levels("asks", book.asks, pair, asks)?,
        span: Some(Span { after, last }),
        checksum: None,
        event_time: Some(Timestamp(integer("timestamp", scalar(book.timestamp))?)),
    })
}

fn levels(
    field: &'static str,
    raw: Option<&RawValue>,
    pair: &PairKey,
    order: Order,
) -> Result<Vec<Level>> {
    let raw: Vec<[&RawValue; 3]> = entries(field, raw)?;
    let read = |[action, price, amount]: &[&RawValue; 3]| {
        let Level { price, size: amount } = level(scalar(Some(price)), scalar(Some(amount)))?;
        let size = match scalar(Some(action)) {
            Some("delete") => Decimal::ZERO,
            Some("new" | "change") if names::is_inverse(pair) => {
                protocol::quotient(amount, price).ok_or(Malformed::BadField("amount"))?
            }
            Some("new" | "change") => amount,
            _ => return Err(Malformed::BadField("action")),
        };
        Ok(Level { price, size })
    };
    order.check(field, raw.iter().map(read).collect::<Result<_>>()?)
}

#[cfg(test)]
#[path = "book_tests.rs"]
mod tests;
