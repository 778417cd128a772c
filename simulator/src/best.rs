//! The best bid and ask of a book, as a function of a trade's id and price.

/// The widest spread, in ticks. The narrowest is one.
const WIDEST: u64 = 4;

/// A price in ticks and the size that rests at it, in size units.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Level {
    /// In price ticks.
    pub price: i64,
    /// In size units.
    pub size: i64,
}

/// The best bid and the best ask.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Best {
    /// The highest bid.
    pub bid: Level,
    /// The lowest ask, which is above the bid.
    pub ask: Level,
}

impl Best {
    /// The best bid and ask as of a trade: one of them is at the price of the trade.
    pub(crate) fn at(product: usize, id: u64, price: i64, maker_buys: bool, typical: i64) -> Self {
        let mixed = mixed(id ^ ((product as u64) << 48));
        let spread = (1 + mixed % WIDEST).cast_signed();
        // A bid is worth something, also of a product whose price is a tick or two.
        let bid = if maker_buys { price } else { (price - spread).max(1) };
        let ask = if maker_buys { price + spread } else { price.max(bid + 1) };
        let most = typical.saturating_mul(2).cast_unsigned().max(1);
        let size = |bits: u64| (1 + bits % most).cast_signed();
        Self {
            bid: Level { price: bid, size: size(mixed >> 8) },
            ask: Level { price: ask, size: size(self::mixed(mixed)) },
        }
    }
}

/// Spreads a number over all bits (splitmix64): neighbours have nothing in common.
pub(crate) fn mixed(number: u64) -> u64 {
    let number = number.wrapping_add(0x9e37_79b9_7f4a_7c15);
    let number = (number ^ (number >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let number = (number ^ (number >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    number ^ (number >> 31)
}
