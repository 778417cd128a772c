//! Kraken's proof: a CRC32 over the ten best levels of both sides.
//!
//! ```text
//! text of a level = digits(price) digits(size)
//! digits(0.05005, 5 decimals) = "5005"             without point and leading zeros
//! checksum = CRC32(ten best asks, low to high; then ten best bids, high to low)
//! ```
//!
//! Source: "Calculate Book Checksum (v2)" in Kraken's API documentation; its example is a test here.
//! A decimal is an integer of 10⁻¹⁸ units, so the digits are a quotient: the text of the frame is not
//! needed, and no float occurs.

use crc32fast::Hasher;
use schemas::{Decimal, decimal::SCALE};

use super::frame::Level;

/// Levels of a side that the checksum covers.
const COVERED: usize = 10;
/// The digits of the largest `u128`.
const MAX_DIGITS: usize = 39;

/// The decimals of a pair's prices and sizes, at most 18 each: `price_precision` and `qty_precision`
/// of Kraken's `instrument` channel.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Precision {
    price_unit: u128,
    size_unit: u128,
}

impl Precision {
    /// `None` for more decimals than a [`Decimal`] has.
    pub fn new(price_decimals: u32, size_decimals: u32) -> Option<Self> {
        let unit = |decimals| Some(10u128.pow(SCALE.checked_sub(decimals)?));
        Some(Self { price_unit: unit(price_decimals)?, size_unit: unit(size_decimals)? })
    }
}

/// The checksum of two sides, both from their best level on. `None` when a number is negative or has
/// more decimals than the precision.
pub(super) fn checksum(
    asks: impl Iterator<Item = Level>,
    bids: impl Iterator<Item = Level>,
    precision: Precision,
) -> Option<u32> {
    let mut hasher = Hasher::new();
    for level in asks.take(COVERED).chain(bids.take(COVERED)) {
        push_digits(level.price, precision.price_unit, &mut hasher)?;
        push_digits(level.size, precision.size_unit, &mut hasher)?;
    }
    Some(hasher.finalize())
}

fn push_digits(number: Decimal, unit: u128, hasher: &mut Hasher) -> Option<()> {
    let units = u128::try_from(number.units()).ok()?;
    let mut rest = units / unit;
    if rest * unit != units {
        return None;
    }
    let (mut digits, mut first) = ([0; MAX_DIGITS], MAX_DIGITS);
    let mut push = |digit| {
        first -= 1;
        digits[first] = b'0' + digit;
    };
    // A division of 128 bits costs ten times one of 64, and only very large numbers need it.
    let mut rest = loop {
        match u64::try_from(rest) {
            Ok(rest) => break rest,
            Err(_) => push((rest % 10) as u8),
        }
        rest /= 10;
    };
    while rest > 0 {
        push((rest % 10) as u8);
        rest /= 10;
    }
    hasher.update(&digits[first..]);
    Some(())
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The book in Kraken's documentation, from the best level on.
    const ASKS: &str = "45285.2 0.00100000 45286.4 1.54571953 45286.6 1.54571109 45289.6 1.54560911 \
        45290.2 0.15890660 45291.8 1.54553491 45294.7 0.04454749 45296.1 0.35380000 \
        45297.5 0.09945542 45299.5 0.18772827";
    const BIDS: &str = "45283.5 0.10000000 45283.4 1.54582015 45282.1 0.10000000 45281.0 0.10000000 \
        45280.3 1.54592586 45279.0 0.07990000 45277.6 0.03310103 45277.5 0.30000000 \
        45277.3 1.54602737 45276.6 0.15445238";

    fn side(text: &str) -> Vec<Level> {
        let numbers: Vec<Decimal> =
            text.split_whitespace().map(|number| number.parse().unwrap()).collect();
        numbers.chunks(2).map(|pair| Level { price: pair[0], size: pair[1] }).collect()
    }

    fn of(asks: &str, bids: &str, decimals: (u32, u32)) -> Option<u32> {
        let precision = Precision::new(decimals.0, decimals.1)?;
        checksum(side(asks).into_iter(), side(bids).into_iter(), precision)
    }

    #[test]
    fn the_documented_example_gives_the_documented_checksum() {
        assert_eq!(of(ASKS, BIDS, (1, 8)), Some(3_310_070_434));
        let eleventh = format!("{ASKS} 45299.6 1.0");
        assert_eq!(of(&eleventh, BIDS, (1, 8)), Some(3_310_070_434), "ten levels count");
        assert_ne!(of(BIDS, ASKS, (1, 8)), Some(3_310_070_434), "asks come first");
        assert_ne!(of(ASKS, BIDS, (2, 8)), Some(3_310_070_434), "precision matters");
    }

    #[test]
    fn a_number_beyond_the_precision_has_no_checksum() {
        assert_eq!(of("1.25 1", "1 1", (1, 8)), None);
        assert_eq!(of("1 1", "-1 1", (1, 8)), None);
        assert_eq!(of("", "", (1, 8)), Some(0));
        assert_eq!(Precision::new(19, 8), None);
        let large = "99999999999999999999.999999999999999999 1";
        let text = crc32fast::hash(b"999999999999999999999999999999999999991");
        assert_eq!(of(large, "", (18, 0)), Some(text));
    }
}
