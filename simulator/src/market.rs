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

use crate::listings;
use crate::text::decimal;

/// Trades that can be looked back at, over all products: some 70 MB.
const HISTORY: usize = 400_000;
/// Trades of each product that can be looked back at whatever their number: a snapshot's.
const MIN_HISTORY: usize = 50;

/// One trade, in ticks.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Trade {
    /// The index of the product.
    pub product: usize,
    /// Dense per product.
    pub id: u64,
    /// Per product, with other messages of the book in between.
    pub sequence: u64,
    /// In price ticks.
    pub price: i64,
    /// In size units.
    pub size: i64,
    /// The maker bought.
    pub maker_buys: bool,
    /// Microseconds since the epoch.
    pub time_us: i64,
    /// Two order ids.
    pub orders: (u128, u128),
    /// The 24 hours as of this trade.
    pub day: Day,
}

/// Rolling statistics of a product, in ticks and size units.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Day {
    /// Price at its start.
    pub open: i64,
    /// Highest price.
    pub high: i64,
    /// Lowest price.
    pub low: i64,
    /// Sum of sizes.
    pub volume: i64,
}

/// A product and where its market stands.
#[derive(Clone, Debug)]
pub struct Product {
    /// The venue's name.
    pub name: String,
    /// Fraction digits of a price.
    pub price_decimals: u8,
    /// Fraction digits of a size.
    pub size_decimals: u8,
    /// The newest trade.
    pub last: Trade,
    /// In size units: half of the largest there is.
    pub typical_size: i64,
    floor: i64,
}

/// All products.
#[derive(Debug)]
pub struct Market {
    products: Vec<Product>,
    /// The newest trades of each product, the first of all included while it lasts.
    history: Vec<VecDeque<Trade>>,
    rng: StdRng,
    previous: usize,
    forget_every: Option<u64>,
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
        Ok(Self { products, history, rng, previous: 0, forget_every: None })
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

    /// The index of a product.
    pub fn find(&self, name: &str) -> Option<usize> {
        self.products.iter().position(|product| product.name == name)
    }

    /// Makes the next trade, at `time_us` or at the time of the trade that it shares.
    pub fn trade(&mut self, time_us: i64) -> Trade {
        let shared = self.rng.random_ratio(1, 4);
        let index =
            if shared { self.previous } else { self.rng.random_range(0..self.products.len()) };
        self.previous = index;
        let depth = (HISTORY / self.products.len()).max(MIN_HISTORY);
        let product = &mut self.products[index];
        let time_us = if shared { product.last.time_us } else { time_us };
        product.advance(time_us, &mut self.rng);
        let history = &mut self.history[index];
        if history.len() == depth {
            history.pop_front();
        }
        history.push_back(product.last.clone());
        product.last.clone()
    }
}

impl Product {
    fn new(index: usize, name: &str, time_us: i64, rng: &mut StdRng) -> Self {
        let (price, price_decimals, size_decimals, typical_size) = listings::ticks(name);
        // A market of 50,000 typical trades a day.
        let day = Day {
            open: price,
            high: price,
            low: price,
            volume: typical_size.saturating_mul(50_000),
        };
        let last = Trade {
            product: index,
            id: rng.random_range(1_000..100_000_000),
            sequence: rng.random_range(1_000_000..10_000_000_000),
            price,
            size: typical_size,
            maker_buys: rng.random(),
            time_us,
            orders: (rng.random(), rng.random()),
            day,
        };
        let floor = (price / 4).max(1);
        Self { name: name.into(), price_decimals, size_decimals, last, floor, typical_size }
    }

    fn advance(&mut self, time_us: i64, rng: &mut StdRng) {
        let last = &mut self.last;
        // Half a basis point either way, and one tick at least.
        let step = (last.price / 20_000).max(1);
        last.price = (last.price + rng.random_range(-step..=step)).max(self.floor);
        last.size = rng.random_range(1..=self.typical_size.saturating_mul(2));
        last.id += 1;
        last.sequence += rng.random_range(1..20);
        last.maker_buys = rng.random();
        last.time_us = last.time_us.max(time_us);
        last.orders = (rng.random(), rng.random());
        last.day.high = last.day.high.max(last.price);
        last.day.low = last.day.low.min(last.price);
        last.day.volume = last.day.volume.saturating_add(last.size);
    }

    /// Ticks of the price as text.
    pub fn price(&self, ticks: i64) -> String {
        decimal(ticks, self.price_decimals)
    }

    /// Units of the size as text.
    pub fn size(&self, units: i64) -> String {
        decimal(units, self.size_decimals)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names() -> Vec<String> {
        listings::names(crate::venue::Venue::Coinbase)
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
