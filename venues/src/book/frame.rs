//! The common form of the venues' book frames: what the parsers of the venue folders make.
//!
//! Invariant: a size is never negative. A price may be, because combos of Deribit have such.

use schemas::{Decimal, Timestamp};
use serde_json::value::RawValue;

use crate::fields::{content, decimal, scalar};
use crate::malformed::{Malformed, Result};

/// A price and the size that rests at it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Level {
    /// In units of the quote.
    pub price: Decimal,
    /// In units of the base. Sizes of all venues are absolute; in a frame, zero removes the level.
    pub size: Decimal,
}

/// The part of a book that a frame describes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FrameKind {
    /// All levels, or all up to a depth.
    Snapshot,
    /// The levels that changed.
    Update,
}

/// The ids of the changes that a frame covers.
///
/// | venue | `after` | `last` |
/// |---|---|---|
/// | Binance | `U` − 1 | `u`; `lastUpdateId` of a snapshot |
/// | Deribit | `prev_change_id` | `change_id` |
/// | Bitstamp | `microtimestamp` | `microtimestamp` |
///
/// In a snapshot both are the id of its state.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Span {
    /// The id of the state that the frame changes.
    pub after: i64,
    /// The id of the state after the frame.
    pub last: i64,
}

impl Span {
    /// The span of a state.
    pub const fn at(id: i64) -> Self {
        Self { after: id, last: id }
    }
}

/// A snapshot or an update of one book. Its pair stands beside it in the message.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BookFrame {
    /// Snapshot or update.
    pub kind: FrameKind,
    /// In the frame's order. A price may occur twice; the later one holds.
    pub bids: Vec<Level>,
    /// In the frame's order, as the bids.
    pub asks: Vec<Level>,
    /// The covered ids. `None` where the venue has none.
    pub span: Option<Span>,
    /// The venue's CRC32 of the state after the frame. `None` where the venue has none.
    pub checksum: Option<u32>,
    /// The venue's time. `None` where the frame has none.
    pub event_time: Option<Timestamp>,
}

impl BookFrame {
    /// The levels of both sides.
    pub(super) fn len(&self) -> usize {
        self.bids.len() + self.asks.len()
    }
}

/// A level of a price and a size as text.
pub(crate) fn level(price: Option<&str>, size: Option<&str>) -> Result<Level> {
    let level = Level { price: decimal("price", price)?, size: decimal("size", size)? };
    if level.size.is_negative() {
        return Err(Malformed::BadField("size"));
    }
    Ok(level)
}

/// The levels of a field that must be there: arrays of price and size.
pub(crate) fn levels(field: &'static str, raw: Option<&RawValue>) -> Result<Vec<Level>> {
    let raw: Vec<[&RawValue; 2]> = content(field, raw)?;
    raw.iter().map(|[price, size]| level(scalar(Some(price)), scalar(Some(size)))).collect()
}
