//! The common form of the venues' book frames: what the parsers of the venue folders make.
//!
//! Invariant: a size is never negative. A price may be, because combos of Deribit have such.

use schemas::{Decimal, Timestamp};
use serde::Deserialize;
use serde_json::value::RawValue;

use super::MAX_FRAME_LEVELS;
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
pub(crate) fn levels(
    field: &'static str,
    raw: Option<&RawValue>,
    order: Order,
) -> Result<Vec<Level>> {
    let raw: Vec<[&RawValue; 2]> = entries(field, raw)?;
    let levels = raw.iter().map(|[price, size]| level(scalar(Some(price)), scalar(Some(size))));
    order.check(field, levels.collect::<Result<_>>()?)
}

/// The levels of a field as the venue writes them. More than [`MAX_FRAME_LEVELS`] are not read: what
/// they take in memory would depend on the venue.
pub(crate) fn entries<'a, T: Deserialize<'a>>(
    field: &'static str,
    raw: Option<&'a RawValue>,
) -> Result<Vec<T>> {
    let text = raw.map_or("", RawValue::get).as_bytes();
    let is_entry = |byte: &&u8| matches!(**byte, b'[' | b'{');
    // The list is one more. Texts that are too short for so many are not counted.
    if text.len() > MAX_FRAME_LEVELS && text.iter().filter(is_entry).count() > MAX_FRAME_LEVELS + 1
    {
        return Err(Malformed::TooManyLevels { field, max: MAX_FRAME_LEVELS });
    }
    content(field, raw)
}

/// The order in which a venue sends the levels of a side.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Order {
    /// Bids from the best on: each price lower than the one before it.
    Falling,
    /// Asks from the best on: each price higher than the one before it.
    Rising,
    /// Any, with each price once.
    Once,
    /// Any. A price may come again; the later one holds.
    Free,
}

impl Order {
    /// The orders of both sides of a snapshot, bids first: every venue sends it from the best on.
    pub(crate) const SNAPSHOT: [Self; 2] = [Self::Falling, Self::Rising];

    /// The levels, if they are in this order.
    pub(crate) fn check(self, field: &'static str, levels: Vec<Level>) -> Result<Vec<Level>> {
        let is_right = match self {
            Self::Falling => levels.is_sorted_by(|a, b| a.price > b.price),
            Self::Rising => levels.is_sorted_by(|a, b| a.price < b.price),
            Self::Once => is_distinct(&levels),
            Self::Free => true,
        };
        if is_right { Ok(levels) } else { Err(Malformed::BadOrder(field)) }
    }
}

fn is_distinct(levels: &[Level]) -> bool {
    // Nearly always sorted: no allocation.
    let is_sorted = levels.is_sorted_by(|a, b| a.price > b.price)
        || levels.is_sorted_by(|a, b| a.price < b.price);
    is_sorted || {
        let mut prices: Vec<Decimal> = levels.iter().map(|level| level.price).collect();
        prices.sort_unstable();
        prices.is_sorted_by(|a, b| a < b)
    }
}
