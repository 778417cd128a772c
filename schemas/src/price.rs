//! Prices and values of tokens from their raw integers: exact quotients, rounded once.
//!
//! A result is rounded half to even at 10⁻¹⁸. It is `None` where [`Decimal`] does not hold it, where
//! the divisor is zero, and where a token has more digits than [`MAX_DECIMALS`].

use alloy_primitives::Uint;

use crate::{Decimal, Integer, decimal};

/// The most decimal digits of a whole token: 10⁷⁷ is the largest power of ten in a `uint256`. The
/// bound keeps every quotient within 256 bits.
pub const MAX_DECIMALS: i64 = 77;

/// Bits after the binary point of a square root of a price.
const ROOT_BITS: usize = 96;

/// The largest product: a square of 78 digits times 10⁹⁵, less than 835 bits.
type Wide = Uint<1024, 16>;

/// The price of one whole token0 in whole token1 of a pool of version 3.
///
/// ```
/// use schemas::price::of_root;
/// // USDC (6 digits) against WETH (18 digits), in a swap of 2022-01-05.
/// let root = "1288310281488395374949063263000000".parse()?;
/// let price = of_root(root, 6, 18).map(|price| price.to_string());
/// assert_eq!(price.as_deref(), Some("0.000264412375544598"));
/// # Ok::<(), schemas::integer::ParseIntegerError>(())
/// ```
pub fn of_root(sqrt_price_x96: Integer, decimals0: i64, decimals1: i64) -> Option<Decimal> {
    if sqrt_price_x96.is_negative() {
        return None;
    }
    let root: Wide = Wide::from(sqrt_price_x96.magnitude());
    let denominator = Wide::from(1) << (2 * ROOT_BITS);
    quotient(root * root, denominator, digits(decimals0)? - digits(decimals1)?)
}

/// The price of one whole token0 in whole token1 that two amounts of a swap give, by magnitude.
pub fn of_amounts(
    (amount0, decimals0): (Integer, i64),
    (amount1, decimals1): (Integer, i64),
) -> Option<Decimal> {
    let shift = digits(decimals0)? - digits(decimals1)?;
    quotient(Wide::from(amount1.magnitude()), Wide::from(amount0.magnitude()), shift)
}

/// The magnitude of a raw amount in whole tokens.
///
/// ```
/// let whole = schemas::price::whole((-3_788_519).into(), 6).map(|value| value.to_string());
/// assert_eq!(whole.as_deref(), Some("3.788519"));
/// ```
pub fn whole(amount: Integer, decimals: i64) -> Option<Decimal> {
    quotient(Wide::from(amount.magnitude()), Wide::from(1), -digits(decimals)?)
}

fn digits(decimals: i64) -> Option<i64> {
    (0..=MAX_DECIMALS).contains(&decimals).then_some(decimals)
}

/// `numerator / denominator · 10^shift`, in units of 10⁻¹⁸ to the nearest, ties to even.
fn quotient(numerator: Wide, denominator: Wide, shift: i64) -> Option<Decimal> {
    let shift = shift + i64::from(decimal::SCALE);
    let power = Wide::from(10).pow(Wide::from(shift.unsigned_abs()));
    let (numerator, denominator) =
        if shift < 0 { (numerator, denominator * power) } else { (numerator * power, denominator) };
    if denominator.is_zero() {
        return None;
    }
    let (quotient, remainder) = numerator.div_rem(denominator);
    let units = i128::try_from(quotient).ok()?;
    let rest = denominator - remainder;
    let is_up = remainder > rest || (remainder == rest && units & 1 == 1);
    Decimal::from_units(units.checked_add(i128::from(is_up))?)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn text(value: Option<Decimal>) -> Option<String> {
        value.map(|value| value.to_string())
    }

    #[test]
    fn a_root_of_one_is_a_price_of_one_and_digits_move_it() {
        let one: Integer = Integer::from(1 << 48);
        // 2^96 as a product, since the language has no such literal.
        let root = (0..48).try_fold(one, |root, _| root.checked_add(root)).unwrap_or_default();
        assert_eq!(text(of_root(root, 18, 18)).as_deref(), Some("1"));
        assert_eq!(text(of_root(root, 18, 6)).as_deref(), Some("1000000000000"));
        assert_eq!(text(of_root(root, 6, 18)).as_deref(), Some("0.000000000001"));
        assert_eq!(of_root(root, 77, 0), None, "77 digits");
        assert_eq!(text(of_root(root, 0, 77)).as_deref(), Some("0"));
        assert_eq!(of_root(root, 78, 18), None);
        assert_eq!(of_root(root, 18, -1), None);
        assert_eq!(of_root(root.negated(), 18, 18), None);
    }

    #[test]
    fn ties_are_rounded_to_even() {
        let value = |units: i64| whole(Integer::from(units), 19).map(Decimal::units);
        for (units, rounded) in [(5, 0), (15, 2), (25, 2), (26, 3), (-15, 2), (4, 0)] {
            assert_eq!(value(units), Some(rounded), "{units}");
        }
    }

    #[test]
    fn amounts_give_a_price_unless_one_is_nothing() {
        let price = |a: i64, b: i64| text(of_amounts((a.into(), 6), (b.into(), 18)));
        assert_eq!(
            price(-3_000_000, 1_000_000_000_000_000_000).as_deref(),
            Some("0.333333333333333333")
        );
        assert_eq!(price(0, 5), None);
        assert_eq!(price(5, 0).as_deref(), Some("0"));
    }

    proptest! {
        #[test]
        fn the_largest_numbers_never_panic(
            words: [u64; 4], more: [u64; 4], first in -1i64..80, second in -1i64..80,
        ) {
            let integer = |words| Integer::from_u256(alloy_primitives::U256::from_limbs(words));
            let (a, b) = (integer(words), integer(more));
            let _ = (of_root(a, first, second), whole(a, first));
            let _ = of_amounts((a, first), (b, second));
        }

        #[test]
        fn small_quotients_are_those_of_the_language(a in 1i64..1_000_000_000, b in 1i64..1_000_000_000) {
            let units = of_amounts((a.into(), 0), (b.into(), 0)).map(Decimal::units);
            let (numerator, divisor) = (i128::from(b) * 1_000_000_000_000_000_000, i128::from(a));
            let off = |units: i128| (units * divisor - numerator).abs() * 2;
            prop_assert!(units.is_some_and(|units| off(units) < divisor || (off(units) == divisor && units % 2 == 0)));
        }
    }
}
