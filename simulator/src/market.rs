//! A seeded market of many products: random walks of prices, sizes, dense trade ids.
//!
//! All prices and sizes are whole ticks; text gets the decimal point. A quarter of the trades share
//! product and time with the trade before, as partial fills do.
//!
//! Invariants:
//! - The same seed gives the same trades in the same order; only their times are arguments.
//! - Trade ids of a product have no gap; sequences and times never decrease.

use std::collections::VecDeque;

use anyhow::ensure;
use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};

use crate::book::publisher::{Publisher, Terms};
use crate::book::update::Update;
use crate::surface::Surface;
use crate::surface::settings::SurfaceSettings;

pub use crate::product::{Day, Product, Trade};

/// Trades that can be looked back at, over all products: some 80 MB.
const HISTORY: usize = 400_000;
/// Trades of each product that can be looked back at whatever their number: a snapshot's.
const MIN_HISTORY: usize = 50;

/// All products.
#[derive(Debug)]
pub struct Market {
    products: Vec<Product>,
    /// The newest trades of each product, the first of all included while it lasts.
    history: Vec<VecDeque<Trade>>,
    rng: StdRng,
    previous: usize,
    forget_every: Option<u64>,
    books: Publisher,
    surface: Surface,
    seed: u64,
}

impl Market {
    /// The market of these products. Each has one trade.
    pub fn new(seed: u64, names: &[String], time_us: i64) -> anyhow::Result<Self> {
        let mut rng = StdRng::seed_from_u64(seed);
        let mut products: Vec<Product> = Vec::new();
        for (index, name) in names.iter().enumerate() {
            ensure!(products.iter().all(|known| known.name != *name), "{name} is named twice");
            products.push(Product::new(index, name, time_us, &mut rng));
        }
        ensure!(!products.is_empty(), "a market needs a product");
        let history = products.iter().map(|product| [product.last.clone()].into()).collect();
        let books = Publisher::new(Terms::default(), products.iter().map(|one| &one.last));
        let market = Self {
            products,
            history,
            rng,
            previous: 0,
            forget_every: None,
            books,
            surface: Surface::new(seed, &[], time_us, &SurfaceSettings::default()),
            seed,
        };
        Ok(market.quoting(&SurfaceSettings::default(), time_us))
    }

    /// A market whose options are quoted by these settings, from a time on.
    #[must_use]
    pub fn quoting(mut self, settings: &SurfaceSettings, time_us: i64) -> Self {
        let names: Vec<&str> = self.products.iter().map(|one| one.name.as_str()).collect();
        self.surface = Surface::new(self.seed, &names, time_us, settings);
        self
    }

    /// The volatility surface, where the venue has options.
    pub fn surface(&self) -> &Surface {
        &self.surface
    }

    /// The surface, to let time pass for it.
    pub fn surface_mut(&mut self) -> &mut Surface {
        &mut self.surface
    }

    /// A market that shows its books by these terms.
    #[must_use]
    pub fn showing(mut self, terms: Terms) -> Self {
        self.books = Publisher::new(terms, self.products.iter().map(|one| &one.last));
        self
    }

    /// The books.
    pub fn books(&self) -> &Publisher {
        &self.books
    }

    /// The books, to let time pass for them.
    pub fn books_mut(&mut self) -> &mut Publisher {
        &mut self.books
    }

    /// A market whose past lacks the trades whose ids are multiples of this.
    #[must_use]
    pub fn forgetting(mut self, every: Option<u64>) -> Self {
        self.forget_every = every;
        self
    }

    /// The newest trades of a product that the venue can be asked for, oldest first.
    pub fn past(&self, product: usize) -> impl DoubleEndedIterator<Item = &Trade> {
        let forgets = |id: u64| self.forget_every.is_some_and(|every| id.is_multiple_of(every));
        self.history(product).filter(move |trade| !forgets(trade.id))
    }

    /// The newest trades of a product, oldest first.
    pub fn history(&self, product: usize) -> impl DoubleEndedIterator<Item = &Trade> {
        self.history.get(product).into_iter().flatten()
    }

    /// The products, by index.
    pub fn products(&self) -> &[Product] {
        &self.products
    }

    /// The index of a product that can be traded.
    pub fn find_open(&self, name: &str) -> Option<usize> {
        self.find(name).filter(|index| self.surface.is_open(*index))
    }

    /// The index of a product.
    pub fn find(&self, name: &str) -> Option<usize> {
        self.products.iter().position(|product| product.name == name)
    }

    /// Makes the next trade, at `time_us` or at the time of the trade that it shares.
    pub fn trade(&mut self, time_us: i64) -> Trade {
        self.step(time_us).1
    }

    /// Makes the next trade; before it stands the update of the book, where it comes with the trade.
    pub fn step(&mut self, time_us: i64) -> (Option<Update>, Trade) {
        let shared = self.rng.random_ratio(1, 4);
        let index =
            if shared { self.previous } else { self.rng.random_range(0..self.products.len()) };
        self.previous = index;
        let depth = (HISTORY / self.products.len()).max(MIN_HISTORY);
        let product = &mut self.products[index];
        let time_us = if shared { product.last.time_us } else { time_us };
        product.advance(time_us, &mut self.rng);
        product.last.quoted = self.surface.quoted(index, product.last.price, time_us);
        let best = product.last.best;
        product.last.shown =
            if self.books.shows_at_once() { best } else { self.books.shown(index).trade.best };
        let history = &mut self.history[index];
        if history.len() == depth {
            history.pop_front();
        }
        history.push_back(product.last.clone());
        let trade = product.last.clone();
        let is_due = self.books.note(&trade);
        let update = is_due.then(|| self.books.update(index, time_us)).flatten();
        (update, trade)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::listings;

    fn names() -> Vec<String> {
        listings::names_at(crate::venue::Venue::Coinbase, 0, &SurfaceSettings::default())
    }

    #[test]
    fn ids_are_dense_and_time_never_goes_back() -> anyhow::Result<()> {
        let mut market = Market::new(1, &names(), 1_000)?;
        let mut last: Vec<Trade> = market.products().iter().map(|p| p.last.clone()).collect();
        let mut shared = 0;
        for step in 0..20_000 {
            let trade = market.trade(2_000 + step);
            let before = &last[trade.product];
            assert_eq!(trade.id, before.id + 1);
            assert!(trade.sequence > before.sequence && trade.time_us >= before.time_us);
            assert!(trade.price > 0 && trade.size > 0);
            shared += u32::from(trade.time_us == before.time_us);
            last[trade.product] = trade.clone();
        }
        assert!((4_000..6_000).contains(&shared), "{shared} of 20000 share a microsecond");
        Ok(())
    }

    #[test]
    fn the_seed_decides_the_market() -> anyhow::Result<()> {
        let trades = |seed| -> anyhow::Result<Vec<Trade>> {
            let mut market = Market::new(seed, &names(), 0)?;
            Ok((0..100).map(|time| market.trade(time)).collect())
        };
        assert_eq!(trades(1)?, trades(1)?);
        assert_ne!(trades(1)?, trades(2)?);
        Ok(())
    }

    #[test]
    fn a_market_has_products_and_each_is_named_once() {
        for names in [vec![], vec!["A-USD".to_owned(), "A-USD".to_owned()]] {
            assert!(Market::new(1, &names, 0).is_err(), "{names:?}");
        }
    }

    #[test]
    fn what_was_traded_can_be_looked_back_at() -> anyhow::Result<()> {
        let mut market = Market::new(1, &["A-USD".into()], 0)?;
        let mut made = vec![market.products()[0].last.clone()];
        made.extend((0..50).map(|time| market.trade(time)));
        assert!(market.history(0).eq(&made));
        Ok(())
    }
}
