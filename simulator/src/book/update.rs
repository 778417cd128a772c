//! A state of a book that the venue shows, and the update from one to the next.
//!
//! A state is made when the first client asks for it, and is then the same for all of them.

use std::borrow::Cow;
use std::collections::BTreeSet;
use std::sync::{Arc, OnceLock};

use super::{Book, Side};
use crate::product::{Product, Trade};

/// A state of a book.
#[derive(Debug)]
pub struct State {
    /// The number of updates of this product up to the state.
    pub number: u64,
    /// The newest trade, of which the book is a function.
    pub trade: Trade,
    /// The venue's time of the state, in microseconds since the epoch.
    pub time_us: i64,
    /// The venue states another checksum than that of the book.
    pub wrong_checksum: bool,
    levels: usize,
    book: OnceLock<Book>,
}

impl State {
    pub(super) fn new(
        number: u64,
        trade: Trade,
        time_us: i64,
        wrong_checksum: bool,
        levels: usize,
    ) -> Self {
        Self { number, trade, time_us, wrong_checksum, levels, book: OnceLock::new() }
    }

    /// The id of the state, where the venue has ids: that of its newest trade's message.
    pub fn sequence(&self) -> u64 {
        self.trade.sequence
    }

    /// All levels.
    pub fn book(&self, product: &Product) -> &Book {
        self.book.get_or_init(|| Book::at(product, &self.trade, self.levels))
    }

    /// The book as it is sent: with a bid above the best ask while the fault lasts.
    fn sent(&self, product: &Product, is_crossed: bool) -> Cow<'_, Book> {
        let book = self.book(product);
        if !is_crossed {
            return Cow::Borrowed(book);
        }
        let mut crossed = book.clone();
        crossed.bids.insert(self.trade.best.ask.price + 1, self.trade.best.bid.size);
        Cow::Owned(crossed)
    }
}

/// The change from one state of a product's book to the next.
#[derive(Clone, Debug)]
pub struct Update {
    /// The index of the product.
    pub product: usize,
    /// The state before.
    pub before: Arc<State>,
    /// The state after.
    pub after: Arc<State>,
    /// A fault: no client receives it.
    pub is_skipped: bool,
    /// A fault: the book is crossed after it.
    pub is_crossed: bool,
    /// The update before it had that fault.
    pub(super) was_crossed: bool,
    /// The trades after the state before.
    pub(super) trades: Vec<Trade>,
}

impl Update {
    /// The book after it, as it is sent.
    pub fn book(&self, product: &Product) -> Cow<'_, Book> {
        self.after.sent(product, self.is_crossed)
    }

    /// The levels to send to a client that has the book of the last update, cut to the depth, and
    /// removes levels only when it is told to.
    pub fn changes(&self, product: &Product, depth: usize) -> Book {
        let before = self.before.sent(product, self.was_crossed);
        self.book(product).cut(depth).changes(&before.cut(depth))
    }

    /// The levels to send to a client that truncates its book to the depth, and that book.
    pub fn truncated(&self, product: &Product, depth: usize) -> (Book, Book) {
        let before = self.before.sent(product, self.was_crossed).cut(depth);
        let after = self.book(product).cut(depth);
        (after.since(&before, depth), after)
    }

    /// Every level that a trade since the last update touched, with its size now: for a client whose
    /// snapshot may be of any trade in between.
    pub fn touched(&self, product: &Product) -> Book {
        let (mut bids, mut asks) = (BTreeSet::new(), BTreeSet::new());
        let mut touch = |change: Book| {
            bids.extend(change.bids.into_keys());
            asks.extend(change.asks.into_keys());
        };
        let mut before = self.before.sent(product, self.was_crossed);
        for trade in &self.trades {
            let next = Book::at(product, trade, self.after.levels);
            touch(next.changes(&before));
            before = Cow::Owned(next);
        }
        let after = self.book(product);
        touch(after.changes(&before));
        let now = |prices: BTreeSet<i64>, side: &Side| {
            let size = |price: i64| (price, side.get(&price).copied().unwrap_or(0));
            prices.into_iter().map(size).collect()
        };
        Book { bids: now(bids, &after.bids), asks: now(asks, &after.asks) }
    }
}
