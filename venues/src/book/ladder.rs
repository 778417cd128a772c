//! One side of a book: its levels, sorted and bounded.
//!
//! The levels are a vector from the worst to the best, because changes are near the best: there an
//! insertion moves few levels. A long frame is merged by one sort, so its cost is bounded too.

use std::cmp::Ordering;

use schemas::Decimal;

use super::frame::Level;

/// Levels of a side that are held at most: Binance's largest snapshot has as many, and full books of
/// large pairs have more. 32 bytes each are 160 KB.
pub const MAX_LEVELS: usize = 5_000;
/// Levels that remain of a side that has more than [`MAX_LEVELS`]. The difference makes cuts rare.
const KEPT_LEVELS: usize = 4_000;
/// Changes that are applied one by one; more are merged at once.
const FEW: usize = 64;
/// Capacity of a side after a frame. A vector doubles when it is full, so this is twice the bound.
const MAX_CAPACITY: usize = 2 * (MAX_LEVELS + FEW);

/// The side of a ladder.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Side {
    Bid,
    Ask,
}

/// One side of a book.
///
/// Invariants:
/// - Prices are strictly ordered, from the worst to the best; no size is zero.
/// - There are at most [`MAX_LEVELS`] after each call.
#[derive(Clone, Debug)]
pub(super) struct Ladder {
    side: Side,
    levels: Vec<Level>,
    /// The worst price up to which every level is known. `None`: all of them are.
    range: Option<Decimal>,
}

impl Ladder {
    /// A side without levels.
    pub(super) const fn new(side: Side) -> Self {
        Self { side, levels: Vec::new(), range: None }
    }

    pub(super) fn clear(&mut self) {
        self.levels.clear();
        self.range = None;
    }

    /// Takes the levels of a snapshot. One with as many levels as its limit was cut there by the
    /// venue: the levels behind it are unknown.
    pub(super) fn replace(&mut self, levels: &[Level], limit: Option<usize>) {
        self.clear();
        self.merge(levels);
        if limit.is_some_and(|limit| self.levels.len() >= limit) {
            self.range = self.levels.first().map(|worst| worst.price);
        }
        self.bound();
    }

    /// Takes the levels of an update.
    pub(super) fn update(&mut self, changes: &[Level]) {
        if changes.len() <= FEW {
            for change in changes {
                self.set(*change);
            }
        } else {
            self.merge(changes);
        }
        self.bound();
        debug_assert!(self.levels.is_sorted_by(|a, b| self.order(a.price, b.price).is_lt()));
    }

    /// Drops the levels behind a depth that the venue keeps: it sends them again when they return.
    pub(super) fn truncate(&mut self, depth: usize) {
        self.levels.drain(..self.levels.len().saturating_sub(depth));
    }

    pub(super) fn best(&self) -> Option<Level> {
        self.levels.last().copied()
    }

    /// The levels from the best to the worst.
    pub(super) fn levels(&self) -> impl Iterator<Item = Level> {
        self.levels.iter().rev().copied()
    }

    /// Every level from the best to this price is known.
    pub(super) fn covers(&self, price: Decimal) -> bool {
        self.range.is_none_or(|range| self.order(range, price).is_le())
    }

    /// The best level is known. It is not when a side that was cut is empty.
    pub(super) fn covers_best(&self) -> bool {
        self.best().map_or(self.range.is_none(), |best| self.covers(best.price))
    }

    /// Less: worse.
    fn order(&self, a: Decimal, b: Decimal) -> Ordering {
        match self.side {
            Side::Bid => a.cmp(&b),
            Side::Ask => b.cmp(&a),
        }
    }

    fn set(&mut self, change: Level) {
        let found = self.levels.binary_search_by(|held| self.order(held.price, change.price));
        match found {
            Ok(at) if is_removal(change) => drop(self.levels.remove(at)),
            Ok(at) => self.levels[at] = change,
            Err(_) if is_removal(change) => {}
            Err(at) => self.levels.insert(at, change),
        }
    }

    fn merge(&mut self, changes: &[Level]) {
        self.levels.extend_from_slice(changes);
        let side = self.side;
        // The sort is stable: of equal prices, the last one is the newest.
        self.levels.sort_by(|a, b| match side {
            Side::Bid => a.price.cmp(&b.price),
            Side::Ask => b.price.cmp(&a.price),
        });
        let mut kept = 0;
        for at in 0..self.levels.len() {
            let level = self.levels[at];
            let is_newest = self.levels.get(at + 1).is_none_or(|next| next.price != level.price);
            if is_newest && !is_removal(level) {
                self.levels[kept] = level;
                kept += 1;
            }
        }
        self.levels.truncate(kept);
    }

    fn bound(&mut self) {
        if self.levels.len() > MAX_LEVELS {
            self.truncate(KEPT_LEVELS);
            let worst = self.levels[0].price;
            if self.covers(worst) {
                self.range = Some(worst);
            }
        }
        if self.levels.capacity() > MAX_CAPACITY {
            self.levels.shrink_to(MAX_LEVELS);
        }
    }
}

/// The size removes its level, however many zeros it was written with.
fn is_removal(level: Level) -> bool {
    level.size == Decimal::ZERO
}

#[cfg(test)]
#[path = "ladder_tests.rs"]
mod tests;
