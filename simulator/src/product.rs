//! A product of the market, and its trades.
//!
//! All prices and sizes are whole ticks; text gets the decimal point.

use rand::Rng;
use rand::rngs::StdRng;

use crate::best::Best;
use crate::listings;
use crate::surface::quote::Quoted;
use crate::text::decimal;

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
    /// The best bid and ask as of this trade.
    pub best: Best,
    /// The best bid and ask that the venue shows at this trade: those of the newest book update.
    pub shown: Best,
    /// The market of the coin at this trade, where the venue has options.
    pub quoted: Quoted,
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

impl Product {
    pub(crate) fn new(index: usize, name: &str, time_us: i64, rng: &mut StdRng) -> Self {
        let (price, price_decimals, size_decimals, typical_size) = listings::ticks(name);
        // A market of 50,000 typical trades a day.
        let day = Day {
            open: price,
            high: price,
            low: price,
            volume: typical_size.saturating_mul(50_000),
        };
        // In this order: the seed decides what each is.
        let id = rng.random_range(1_000..100_000_000);
        let sequence = rng.random_range(1_000_000..10_000_000_000);
        let maker_buys = rng.random();
        let best = Best::at(index, id, price, maker_buys, typical_size);
        let last = Trade {
            product: index,
            id,
            sequence,
            price,
            size: typical_size,
            maker_buys,
            time_us,
            orders: (rng.random(), rng.random()),
            day,
            best,
            shown: best,
            quoted: Quoted::default(),
        };
        let floor = (price / 4).max(1);
        Self { name: name.into(), price_decimals, size_decimals, last, floor, typical_size }
    }

    pub(crate) fn advance(&mut self, time_us: i64, rng: &mut StdRng) {
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
        let (id, price, maker_buys) = (last.id, last.price, last.maker_buys);
        last.best = Best::at(last.product, id, price, maker_buys, self.typical_size);
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
