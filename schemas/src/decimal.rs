//! Exact decimals: an `i128` of 10⁻¹⁸ units, checked, with no float anywhere near.
//!
//! The range is that of `decimal(38, 18)` in Avro and in SQL: less than 10²⁰ in magnitude.
//! Text with more than 18 fraction digits is refused rather than rounded, unless they are zeros:
//! a price that we cannot hold exactly is the sender's to explain.

use std::fmt;
use std::str::FromStr;

/// Digits in all.
pub const PRECISION: u32 = 38;
/// Digits after the point.
pub const SCALE: u32 = 18;
/// One whole unit.
const UNIT: i128 = 1_000_000_000_000_000_000;
/// The first magnitude that has more than 38 digits.
const LIMIT: u128 = 100_000_000_000_000_000_000_000_000_000_000_000_000;
/// Exponents beyond this cannot give a number in range; the bound keeps the scaling loop short.
const MAX_EXPONENT: i32 = 64;

/// A number with 18 exact fraction digits.
///
/// ```
/// use schemas::Decimal;
/// let price: Decimal = "61837.63".parse()?;
/// let size: Decimal = "2e-2".parse()?;
/// assert_eq!(price.checked_mul(size).map(|quote| quote.to_string()), Some("1236.7526".into()));
/// # Ok::<(), schemas::decimal::ParseDecimalError>(())
/// ```
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Decimal(i128);

/// Why a text is not a [`Decimal`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ParseDecimalError {
    /// It is not a decimal number.
    #[error("not a decimal number")]
    Malformed,
    /// It has 10²⁰ or more, or more than 18 fraction digits.
    #[error("outside decimal(38, 18)")]
    OutOfRange,
}

impl Decimal {
    /// Zero.
    pub const ZERO: Self = Self(0);
    /// One.
    pub const ONE: Self = Self(UNIT);

    /// From units of 10⁻¹⁸; `None` beyond 38 digits.
    pub const fn from_units(units: i128) -> Option<Self> {
        if units.unsigned_abs() < LIMIT { Some(Self(units)) } else { None }
    }

    /// In units of 10⁻¹⁸.
    pub const fn units(self) -> i128 {
        self.0
    }

    /// Greater than zero.
    pub const fn is_positive(self) -> bool {
        self.0 > 0
    }

    /// Less than zero.
    pub const fn is_negative(self) -> bool {
        self.0 < 0
    }

    /// The exact sum; `None` beyond 38 digits.
    pub fn checked_add(self, other: Self) -> Option<Self> {
        Self::from_units(self.0.checked_add(other.0)?)
    }

    /// The exact difference; `None` beyond 38 digits.
    pub fn checked_sub(self, other: Self) -> Option<Self> {
        Self::from_units(self.0.checked_sub(other.0)?)
    }

    /// The product, to the nearest 10⁻¹⁸ (ties to even); `None` beyond 38 digits.
    ///
    /// Prices and sizes with nine fraction digits or fewer, which is all that venues send, give
    /// an exact product.
    pub fn checked_mul(self, other: Self) -> Option<Self> {
        let (high, low) = wide_mul(self.0.unsigned_abs(), other.0.unsigned_abs());
        let magnitude = div_unit(high, low)?;
        let units = i128::try_from(magnitude).ok()?;
        Self::from_units(if (self.0 < 0) == (other.0 < 0) { units } else { -units })
    }

    /// The mean of two (value, weight), to the nearest 10⁻¹⁸ (ties to even): it is rounded once.
    /// `None` when both weights are zero or one is negative.
    ///
    /// ```
    /// use schemas::Decimal;
    /// let (bid, ask): (Decimal, Decimal) = ("10.1".parse()?, "10.2".parse()?);
    /// let mid = Decimal::weighted_mean([(bid, Decimal::ONE), (ask, Decimal::ONE)]);
    /// assert_eq!(mid.map(|mid| mid.to_string()), Some("10.15".into()));
    /// # Ok::<(), schemas::decimal::ParseDecimalError>(())
    /// ```
    pub fn weighted_mean(parts: [(Self, Self); 2]) -> Option<Self> {
        // Two products of 38 digits each have 77 digits at most together: 256 bits hold 77.
        let (mut positive, mut negative, mut weights) = ((0, 0), (0, 0), 0);
        for (value, weight) in parts {
            weights += u128::try_from(weight.0).ok()?;
            let product = wide_mul(value.0.unsigned_abs(), weight.0.unsigned_abs());
            let sum = if value.0 < 0 { &mut negative } else { &mut positive };
            *sum = wide_add(*sum, product);
        }
        let is_negative = negative > positive;
        let (more, less) = if is_negative { (negative, positive) } else { (positive, negative) };
        let units = i128::try_from(div_wide(wide_sub(more, less), weights)?).ok()?;
        Self::from_units(if is_negative { -units } else { units })
    }
}

/// The sum of two 256 bit numbers that fits into 256 bits.
fn wide_add((high, low): (u128, u128), (more_high, more_low): (u128, u128)) -> (u128, u128) {
    let (low, carry) = low.overflowing_add(more_low);
    (high + more_high + u128::from(carry), low)
}

/// The difference of two 256 bit numbers, the first of which is not the smaller one.
fn wide_sub((high, low): (u128, u128), (less_high, less_low): (u128, u128)) -> (u128, u128) {
    let (low, borrow) = low.overflowing_sub(less_low);
    (high - less_high - u128::from(borrow), low)
}

/// A 256 bit number divided by any other, rounded half to even; `None` when the divisor is zero or
/// the quotient needs more than 128 bits.
pub(crate) fn div_wide((high, low): (u128, u128), divisor: u128) -> Option<u128> {
    if high >= divisor {
        return None;
    }
    let (mut quotient, mut remainder) = (0u128, high);
    if high == 0 {
        (quotient, remainder) = (low / divisor, low % divisor);
    } else {
        for bit in (0..u128::BITS).rev() {
            let carry = remainder >> (u128::BITS - 1) != 0;
            remainder = (remainder << 1) | ((low >> bit) & 1);
            quotient <<= 1;
            if carry || remainder >= divisor {
                remainder = remainder.wrapping_sub(divisor);
                quotient |= 1;
            }
        }
    }
    let rest = divisor - remainder;
    let is_up = remainder > rest || (remainder == rest && quotient & 1 == 1);
    quotient.checked_add(u128::from(is_up))
}

/// The 256 bit product of two numbers, as its upper and lower half.
pub(crate) fn wide_mul(a: u128, b: u128) -> (u128, u128) {
    const LOW: u128 = u64::MAX as u128;
    let (a_high, a_low, b_high, b_low) = (a >> 64, a & LOW, b >> 64, b & LOW);
    let low = a_low * b_low;
    let (middle, carry) = (a_high * b_low).overflowing_add(a_low * b_high);
    let (low, low_carry) = low.overflowing_add(middle << 64);
    let high = a_high * b_high + (middle >> 64) + (u128::from(carry) << 64) + u128::from(low_carry);
    (high, low)
}

/// (`high`, `low`) divided by 10¹⁸, rounded half to even; `None` when it needs more than 128 bits.
fn div_unit(high: u128, low: u128) -> Option<u128> {
    const DIVISOR: u128 = UNIT.unsigned_abs();
    if high >= DIVISOR {
        return None;
    }
    let (quotient, remainder) = if high == 0 {
        (low / DIVISOR, low % DIVISOR)
    } else {
        // The divisor has 60 bits, so each remainder leaves room for the next 64.
        let upper = (high << 64) | (low >> 64);
        let (upper_quotient, rest) = (upper / DIVISOR, upper % DIVISOR);
        if upper_quotient >> 64 != 0 || high >> 64 != 0 {
            return None;
        }
        let lower = (rest << 64) | (low & u128::from(u64::MAX));
        ((upper_quotient << 64) | (lower / DIVISOR), lower % DIVISOR)
    };
    let half = DIVISOR / 2;
    let up = remainder > half || (remainder == half && quotient & 1 == 1);
    quotient.checked_add(u128::from(up))
}

impl FromStr for Decimal {
    type Err = ParseDecimalError;

    /// Reads JSON's number grammar and a leading `+`; digits alone on either side of the point
    /// are allowed too.
    fn from_str(text: &str) -> Result<Self, ParseDecimalError> {
        let (negative, rest) = match text.as_bytes() {
            [b'-', rest @ ..] => (true, rest),
            [b'+', rest @ ..] | rest => (false, rest),
        };
        let (digits, exponent) = split_exponent(rest)?;
        let (units, digits_after_point) = read_digits(digits)?;
        if exponent.unsigned_abs() > MAX_EXPONENT.unsigned_abs() {
            return Err(ParseDecimalError::OutOfRange);
        }
        let shift = SCALE.cast_signed() + exponent - digits_after_point;
        let magnitude = scale(units, shift).ok_or(ParseDecimalError::OutOfRange)?;
        let value = i128::try_from(magnitude).map_err(|_| ParseDecimalError::OutOfRange)?;
        Self::from_units(if negative { -value } else { value }).ok_or(ParseDecimalError::OutOfRange)
    }
}

fn split_exponent(text: &[u8]) -> Result<(&[u8], i32), ParseDecimalError> {
    let Some(at) = text.iter().position(|byte| matches!(byte, b'e' | b'E')) else {
        return Ok((text, 0));
    };
    let exponent = std::str::from_utf8(&text[at + 1..])
        .ok()
        .and_then(|exponent| exponent.parse::<i32>().ok())
        .ok_or(ParseDecimalError::Malformed)?;
    Ok((&text[..at], exponent))
}

/// The digits as one number, and how many of them stood after the point. Zeros at the end of the
/// fraction are left out: they would only use up the range.
fn read_digits(text: &[u8]) -> Result<(u128, i32), ParseDecimalError> {
    let point = text.iter().position(|&byte| byte == b'.');
    let (whole, fraction) = point.map_or((text, &[][..]), |at| (&text[..at], &text[at + 1..]));
    if whole.is_empty() && fraction.is_empty() {
        return Err(ParseDecimalError::Malformed);
    }
    let kept = fraction.iter().rposition(|&byte| byte != b'0').map_or(0, |last| last + 1);
    let mut units = 0u128;
    for byte in whole.iter().chain(fraction) {
        if !byte.is_ascii_digit() {
            return Err(ParseDecimalError::Malformed);
        }
    }
    for byte in whole.iter().chain(&fraction[..kept]) {
        units = units
            .checked_mul(10)
            .and_then(|units| units.checked_add(u128::from(byte - b'0')))
            .ok_or(ParseDecimalError::OutOfRange)?;
    }
    i32::try_from(kept).map(|kept| (units, kept)).map_err(|_| ParseDecimalError::OutOfRange)
}

fn scale(units: u128, shift: i32) -> Option<u128> {
    if units == 0 {
        return Some(0);
    }
    let power = 10u128.checked_pow(shift.unsigned_abs())?;
    if shift >= 0 {
        units.checked_mul(power)
    } else {
        units.is_multiple_of(power).then_some(units / power)
    }
}

impl fmt::Display for Decimal {
    /// The shortest exact text: no exponent, no zeros at the end of the fraction.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let magnitude = self.0.unsigned_abs();
        let (whole, fraction) = (magnitude / UNIT.unsigned_abs(), magnitude % UNIT.unsigned_abs());
        let sign = if self.0 < 0 { "-" } else { "" };
        if fraction == 0 {
            return write!(f, "{sign}{whole}");
        }
        let digits = format!("{fraction:018}");
        write!(f, "{sign}{whole}.{}", digits.trim_end_matches('0'))
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn decimal(text: &str) -> Result<Decimal, ParseDecimalError> {
        text.parse()
    }

    #[test]
    fn text_is_read_exactly_or_refused() {
        for (text, shown) in [
            ("100000.000000000000000001", "100000.000000000000000001"),
            ("-0.5", "-0.5"),
            ("+7.", "7"),
            (".25", "0.25"),
            ("1e-18", "0.000000000000000001"),
            ("1.50E+3", "1500"),
            ("0.00", "0"),
            ("0e-60", "0"),
            ("1.10000000000000000000000000", "1.1"),
            ("99999999999999999999.999999999999999999", "99999999999999999999.999999999999999999"),
        ] {
            assert_eq!(decimal(text).map(|d| d.to_string()), Ok(shown.to_owned()), "{text}");
        }
        for text in
            ["", ".", "-", "1..2", "1,5", "NaN", "0.-10000", "1e", "0x1", " 1", "١", "abce99"]
        {
            assert_eq!(decimal(text), Err(ParseDecimalError::Malformed), "{text}");
        }
        for text in
            ["100000000000000000000", "0.0000000000000000001", "1e99", "1e-99999", "1e-2147483648"]
        {
            assert_eq!(decimal(text), Err(ParseDecimalError::OutOfRange), "{text}");
        }
    }

    #[test]
    fn products_round_half_to_even_at_the_last_digit() -> Result<(), ParseDecimalError> {
        let smallest = Decimal(1);
        for (factor, units) in [("0.5", 0), ("1.5", 2), ("2.5", 2), ("-1.5", -2), ("0.51", 1)] {
            assert_eq!(smallest.checked_mul(decimal(factor)?), Some(Decimal(units)), "{factor}");
        }
        let large = decimal("99999999999999999999")?;
        assert_eq!(large.checked_mul(decimal("1.1")?), None);
        assert_eq!(large.checked_mul(large), None);
        assert_eq!(large.checked_mul(Decimal::ONE), Some(large));
        Ok(())
    }

    #[test]
    fn means_are_rounded_once_half_to_even() -> Result<(), ParseDecimalError> {
        let largest = decimal("99999999999999999999.999999999999999999")?;
        let mean = |parts: [(i128, i128); 2]| {
            let parts = parts.map(|(value, weight)| (Decimal(value), Decimal(weight)));
            Decimal::weighted_mean(parts).map(Decimal::units)
        };
        for (parts, units) in [
            ([(0, 1), (1, 1)], Some(0)),
            ([(1, 1), (2, 1)], Some(2)),
            ([(-1, 1), (-2, 1)], Some(-2)),
            ([(-1, 1), (0, 1)], Some(0)),
            ([(1, 2), (2, 1)], Some(1)),
            ([(1, 1), (2, 2)], Some(2)),
            ([(7, 0), (9, 3)], Some(9)),
            ([(7, 0), (9, 0)], None),
            ([(7, 2), (9, -1)], None),
            ([(largest.0, largest.0), (largest.0, largest.0)], Some(largest.0)),
            ([(largest.0, largest.0), (-largest.0, largest.0)], Some(0)),
            ([(largest.0, largest.0), (-largest.0, 1)], Some(largest.0 - 2)),
        ] {
            assert_eq!(mean(parts), units, "{parts:?}");
        }
        assert_eq!(largest.checked_sub(decimal("-1")?), None);
        assert_eq!(decimal("1")?.checked_sub(decimal("2.5")?), decimal("-1.5").ok());
        Ok(())
    }

    proptest! {
        #[test]
        fn a_mean_of_small_numbers_is_the_nearest(
            values in proptest::array::uniform2(-1_000_000_000i128..1_000_000_000),
            weights in proptest::array::uniform2(1i128..1_000_000_000),
        ) {
            let parts = [0, 1].map(|at| (Decimal(values[at]), Decimal(weights[at])));
            let (sum, all) = (values[0] * weights[0] + values[1] * weights[1], weights[0] + weights[1]);
            let units = Decimal::weighted_mean(parts).map(Decimal::units);
            let off = |units: i128| (units * all - sum).abs() * 2;
            prop_assert!(units.is_some_and(|units| off(units) < all || (off(units) == all && units % 2 == 0)));
        }

        #[test]
        fn a_mean_does_not_change_with_the_scale_of_its_weights(
            values in proptest::array::uniform2(-(LIMIT.cast_signed() - 1)..LIMIT.cast_signed()),
            weights in proptest::array::uniform2(1i128..1_000_000_000),
        ) {
            // The second way divides a number of more than 128 bits, the first one of less or more.
            let mean = |scale: i128| {
                Decimal::weighted_mean([0, 1].map(|at| (Decimal(values[at]), Decimal(weights[at] * scale))))
            };
            prop_assert!(mean(1).is_some());
            prop_assert_eq!(mean(1), mean(1_000_000_000_000_000_000_000_000));
        }

        #[test]
        fn any_value_survives_its_text(units in -(LIMIT.cast_signed() - 1)..LIMIT.cast_signed()) {
            let value = Decimal(units);
            prop_assert_eq!(value.to_string().parse(), Ok(value));
        }

        #[test]
        fn products_of_venue_sized_numbers_are_exact(
            price in 0i128..1_000_000_000_000_000_000,
            size in 0i128..1_000_000_000_000,
        ) {
            // Nine fraction digits each: 10⁻⁹ units scale up by 10⁹.
            let (a, b) = (Decimal(price * 1_000_000_000), Decimal(size * 1_000_000_000));
            prop_assert_eq!(a.checked_mul(b), Decimal::from_units(price * size));
        }

        #[test]
        fn arbitrary_text_never_panics(text in ".{0,40}") {
            let _ = decimal(&text);
        }
    }
}
