//! When a venue shows the state of its books: with each trade, or at an interval.
//!
//! A value without a clock. All connections see the same updates, so that a book over one connection
//! is that over another, and the truth is one sequence.

use std::collections::BTreeSet;
use std::sync::Arc;

use super::settings::LEVELS;
use super::truth::{Fault, Truth};
use super::update::{State, Update};
use crate::faults::{Faults, hits};
use crate::product::Trade;
use crate::venue::Venue;

/// Trades of a product between two of its updates; then an update comes before its time.
const MAX_PENDING: usize = 4_096;

/// The terms by which a venue shows its books.
#[derive(Clone, Copy, Debug)]
pub struct Terms {
    /// Levels of a side.
    pub levels: usize,
    /// The interval of updates, in microseconds; zero is with each trade.
    pub every_us: i64,
    /// The index of the product whose book has the faults.
    pub faulty: usize,
    /// Updates to skip: the multiples of this.
    pub skip_every: Option<u64>,
    /// Updates that cross the book: the multiples of this.
    pub cross_every: Option<u64>,
    /// The faults of trades, some of which concern checksums.
    pub faults: Faults,
}

impl Default for Terms {
    fn default() -> Self {
        Self {
            levels: usize::from(LEVELS),
            every_us: 0,
            faulty: 0,
            skip_every: None,
            cross_every: None,
            faults: Faults::default(),
        }
    }
}

/// The interval of a venue's updates, in microseconds; zero is with each trade.
pub const fn interval_us(venue: Venue) -> i64 {
    match venue {
        Venue::Coinbase => 50_000,
        Venue::Kraken => 0,
        Venue::Binance | Venue::Deribit | Venue::Bitstamp => 100_000,
    }
}

/// The newest shown state of one product's book, and what has happened since.
#[derive(Debug)]
struct ProductBook {
    first: Arc<State>,
    shown: Arc<State>,
    pending: Vec<Trade>,
    was_crossed: bool,
}

/// The books of all products.
#[derive(Debug)]
pub struct Publisher {
    terms: Terms,
    products: Vec<ProductBook>,
    /// Products with trades since their last update.
    waiting: BTreeSet<usize>,
    /// The time of the next update.
    due_us: i64,
    truth: Truth,
}

impl Publisher {
    /// The books as of the first trade of each product.
    pub fn new<'a>(terms: Terms, first: impl Iterator<Item = &'a Trade>) -> Self {
        let book = |(product, trade): (usize, &Trade)| {
            let is_wrong = product == terms.faulty && terms.faults.breaks_checksum(trade.id);
            let state = State::new(0, trade.clone(), trade.time_us, is_wrong, terms.levels);
            let state = Arc::new(state);
            ProductBook {
                first: Arc::clone(&state),
                shown: state,
                pending: Vec::new(),
                was_crossed: false,
            }
        };
        let products: Vec<ProductBook> = first.enumerate().map(book).collect();
        let mut truth = Truth::new(products.len());
        for book in &products {
            truth.quote(&book.shown);
        }
        Self { terms, products, waiting: BTreeSet::new(), due_us: 0, truth }
    }

    /// Notes a trade; true when its update is due at once.
    pub fn note(&mut self, trade: &Trade) -> bool {
        let pending = &mut self.products[trade.product].pending;
        pending.push(trade.clone());
        self.waiting.insert(trade.product);
        self.terms.every_us == 0 || pending.len() >= MAX_PENDING
    }

    /// The best bid and ask that the venue shows after this trade are those of the trade.
    pub fn shows_at_once(&self) -> bool {
        self.terms.every_us == 0
    }

    /// The newest state that the venue has shown.
    pub fn shown(&self, product: usize) -> &Arc<State> {
        &self.products[product].shown
    }

    /// The state as of the newest trade, shown or not.
    pub fn newest(&self, product: usize) -> Arc<State> {
        let book = &self.products[product];
        let Some(trade) = book.pending.last() else { return Arc::clone(&book.shown) };
        let levels = self.terms.levels;
        Arc::new(State::new(book.shown.number, trade.clone(), trade.time_us, false, levels))
    }

    /// The state in which the market began.
    pub fn first(&self, product: usize) -> &Arc<State> {
        &self.products[product].first
    }

    /// The updates that are due at this time, where they come at an interval.
    pub fn due(&mut self, now_us: i64) -> Vec<Update> {
        if now_us < self.due_us {
            return Vec::new();
        }
        self.due_us = now_us.saturating_add(self.terms.every_us);
        let waiting = std::mem::take(&mut self.waiting);
        waiting.into_iter().filter_map(|product| self.update(product, now_us)).collect()
    }

    /// The update of a product by the trades since the last one.
    pub fn update(&mut self, product: usize, now_us: i64) -> Option<Update> {
        self.waiting.remove(&product);
        let book = &mut self.products[product];
        let trades = std::mem::take(&mut book.pending);
        let newest = trades.last()?.clone();
        let number = book.shown.number + 1;
        let time_us = if self.terms.every_us == 0 {
            newest.time_us
        } else {
            // Later than the one before: the time is the id of a state at Bitstamp.
            now_us.max(book.shown.time_us + 1)
        };
        let is_faulty = product == self.terms.faulty;
        let wrong_checksum = is_faulty && self.terms.faults.breaks_checksum(newest.id);
        let state = State::new(number, newest, time_us, wrong_checksum, self.terms.levels);
        let before = std::mem::replace(&mut book.shown, Arc::new(state));
        let update = Update {
            product,
            before,
            after: Arc::clone(&book.shown),
            is_skipped: is_faulty && hits(self.terms.skip_every, number),
            is_crossed: is_faulty && hits(self.terms.cross_every, number),
            was_crossed: book.was_crossed,
            trades,
        };
        book.was_crossed = update.is_crossed;
        self.truth.quote(&update.after);
        for (fault, happens) in [
            (Fault::Checksum, wrong_checksum),
            (Fault::Skipped, update.is_skipped),
            (Fault::Crossed, update.is_crossed),
        ] {
            if happens {
                self.truth.fault(product, time_us, fault);
            }
        }
        Some(update)
    }

    /// The quotes that the venue has shown, and the faults that it made.
    pub fn truth(&self) -> &Truth {
        &self.truth
    }

    /// The truth, to note a fault of an answer.
    pub fn truth_mut(&mut self) -> &mut Truth {
        &mut self.truth
    }
}
