//! The books that one client follows.
//!
//! An update from before the client's snapshot is not sent. A slow snapshot comes in the place of the
//! first update that is late enough, so that other products of the connection do not wait.

use std::collections::BTreeMap;

use super::update::{State, Update};

/// A delay of the snapshot of one product.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct SlowSnapshot {
    /// The index of the product.
    pub product: usize,
    /// In microseconds; zero is none.
    pub by_us: i64,
}

/// The part of a book that is to be sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Part {
    /// All levels up to this depth.
    Snapshot(usize),
    /// The changed levels up to this depth.
    Changes(usize),
}

#[derive(Clone, Copy, Debug)]
struct Book {
    depth: usize,
    /// The number of the last update that the client knows of.
    seen: u64,
    /// The time at which its snapshot is due, while it has none.
    due_us: Option<i64>,
}

/// The followed books by product.
#[derive(Debug, Default)]
pub struct Followed {
    books: BTreeMap<usize, Book>,
    slow: SlowSnapshot,
}

impl Followed {
    /// No book as yet.
    pub fn new(slow: SlowSnapshot) -> Self {
        Self { books: BTreeMap::new(), slow }
    }

    /// No book is followed.
    pub fn is_empty(&self) -> bool {
        self.books.is_empty()
    }

    /// The indices of the followed products.
    pub fn products(&self) -> impl Iterator<Item = usize> {
        self.books.keys().copied()
    }

    /// The book of this product is followed.
    pub fn has(&self, product: usize) -> bool {
        self.books.contains_key(&product)
    }

    /// Follows a book from a state on; true when its snapshot is sent at once.
    pub fn follow(&mut self, product: usize, depth: usize, state: &State, now_us: i64) -> bool {
        let is_slow = self.slow.by_us > 0 && self.slow.product == product;
        let due_us = is_slow.then_some(now_us + self.slow.by_us);
        self.books.insert(product, Book { depth, seen: state.number, due_us });
        !is_slow
    }

    /// Follows it no longer; the depth at which it was followed.
    pub fn leave(&mut self, product: usize) -> Option<usize> {
        self.books.remove(&product).map(|book| book.depth)
    }

    /// The part of the book that the client receives of an update, if it receives any.
    pub fn part(&mut self, update: &Update) -> Option<Part> {
        let book = self.books.get_mut(&update.product)?;
        if update.after.number <= book.seen {
            return None;
        }
        if book.due_us.is_some_and(|due| update.after.time_us < due) {
            return None;
        }
        book.seen = update.after.number;
        if book.due_us.take().is_some() {
            return Some(Part::Snapshot(book.depth));
        }
        (!update.is_skipped).then_some(Part::Changes(book.depth))
    }
}
