//! The order books of every simulated venue: levels around the newest trade.
//!
//! A book is a function of one trade, so every connection sees the same book, and a test that knows
//! the seed can make it again.
//!
//! ```text
//! trade ─ Best::at ──→ best bid and ask ─→ tickers, truth
//!   └──── Book::at ──→ book ─ since(the book before) ─→ levels to send
//! trades of an interval ─ Publisher ─→ Update ─→ every connection
//! ```
//!
//! Invariants:
//! - The best bid is below the best ask, always.
//! - A client that applies the sent levels and removes empty ones has exactly the venue's book; one
//!   with a depth truncates to it.
//! - A level that truncation removes is never removed by a message, as at the venue.

use std::collections::BTreeMap;
use std::iter::once;

use crate::best::mixed;
use crate::product::{Product, Trade};

pub use crate::best::{Best, Level};

pub mod followed;
pub mod publisher;
pub mod settings;
pub mod truth;
pub(crate) mod truth_file;
pub mod update;

/// Trades for which a level keeps its size: one or two of ten are then another with each trade.
const RENEWED: u64 = 16;
/// One of this many places has no level, so that levels come and go.
const EMPTY: u64 = 8;
/// Levels are as far apart as a trade is from the one before, so that a trade moves the book by a
/// level or so and leaves the rest standing.
const SPACING: i64 = 20_000;
/// Price in ticks → size in size units.
pub type Side = BTreeMap<i64, i64>;

/// Both sides, or the levels of both sides that are sent.
///
/// ```
/// use simulator::book::{Book, Side};
///
/// let book = Book { bids: Side::from([(99, 5)]), asks: Side::from([(101, 7)]) };
/// let next = Book { bids: Side::from([(98, 2)]), asks: Side::from([(101, 8)]) };
/// let sent = next.since(&book, 10);
/// assert_eq!(sent.bids, Side::from([(98, 2), (99, 0)]));
/// assert_eq!(sent.asks, Side::from([(101, 8)]));
/// ```
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Book {
    /// The highest is the best.
    pub bids: Side,
    /// The lowest is the best.
    pub asks: Side,
}

impl Book {
    /// The best levels as of a trade, as many a side as the product's prices allow.
    pub fn at(product: &Product, trade: &Trade, levels: usize) -> Self {
        let Best { bid, ask } = trade.best;
        let spacing = (trade.day.open / SPACING).max(1);
        let middle = bid.price / spacing;
        let level = |place: i64| resting(product, trade, place, spacing);
        let below = (0..=middle).rev().filter_map(level);
        let above = (middle..).filter_map(level);
        let below = below.filter(|(price, _)| (1..bid.price).contains(price));
        let above = above.filter(|(price, _)| *price > ask.price);
        Self {
            bids: once((bid.price, bid.size)).chain(below).take(levels).collect(),
            asks: once((ask.price, ask.size)).chain(above).take(levels).collect(),
        }
    }

    /// The best levels of both sides.
    #[must_use]
    pub fn cut(&self, depth: usize) -> Self {
        let bids = self.bids.iter().rev().take(depth);
        Self {
            bids: bids.map(|(price, size)| (*price, *size)).collect(),
            asks: self.asks.iter().take(depth).map(|(price, size)| (*price, *size)).collect(),
        }
    }

    /// The levels that turn the book `before` into this one, both cut to `depth`, at a client that
    /// truncates to the depth; a size of zero removes.
    #[must_use]
    pub fn since(&self, before: &Self, depth: usize) -> Self {
        let worst_bid = worst(&self.bids, depth, |bids| bids.keys().next().copied());
        let worst_ask = worst(&self.asks, depth, |asks| asks.keys().next_back().copied());
        Self {
            bids: changes(&before.bids, &self.bids, |price| {
                worst_bid.is_none_or(|worst| price > worst)
            }),
            asks: changes(&before.asks, &self.asks, |price| {
                worst_ask.is_none_or(|worst| price < worst)
            }),
        }
    }

    /// The levels that turn the book `before` into this one at a client that keeps every level.
    #[must_use]
    pub fn changes(&self, before: &Self) -> Self {
        self.since(before, usize::MAX)
    }

    /// No level of either side.
    pub fn is_empty(&self) -> bool {
        self.bids.is_empty() && self.asks.is_empty()
    }
}

/// The worst price of a side that is full: a level beyond it is cut, not removed.
fn worst(side: &Side, depth: usize, last: impl Fn(&Side) -> Option<i64>) -> Option<i64> {
    if side.len() < depth { None } else { last(side) }
}

/// Levels that are new or of another size, and those that are gone from where they would be kept.
fn changes(before: &Side, after: &Side, kept: impl Fn(i64) -> bool) -> Side {
    let other = after.iter().filter(|(price, size)| before.get(price) != Some(size));
    let gone = before.keys().filter(|price| !after.contains_key(price) && kept(**price));
    other.map(|(price, size)| (*price, *size)).chain(gone.map(|price| (*price, 0))).collect()
}

/// The level that rests at a place as of a trade: its price and size, if there is one.
fn resting(product: &Product, trade: &Trade, place: i64, spacing: i64) -> Option<(i64, i64)> {
    let of_place = mixed(place.cast_unsigned() ^ ((trade.product as u64) << 48));
    // Each place has its own turn, so that a trade renews a few and not all.
    let turn = (trade.id + of_place % RENEWED) / RENEWED;
    let of_turn = mixed(of_place ^ turn);
    let off = (of_place >> 8) % spacing.cast_unsigned();
    let most = product.typical_size.saturating_mul(2).cast_unsigned().max(1);
    let size = 1 + (of_turn >> 8) % most;
    (!of_turn.is_multiple_of(EMPTY))
        .then_some((place * spacing + off.cast_signed(), size.cast_signed()))
}

#[cfg(test)]
#[path = "book_tests.rs"]
mod tests;
