//! Exact signed integers of token amounts: checked, with no float anywhere near.
//!
//! A `uint256` has at most 78 digits, and so has [`Integer`]: the range of `decimal(78, 0)` in Avro
//! and of `NUMERIC(78, 0)` in SQL.

use std::fmt;
use std::str::FromStr;

use alloy_primitives::{I256, Sign, Signed, U256, Uint};

use crate::avro::{self, Malformed, Reader};
use crate::fields::Field;

/// Digits in all.
pub const PRECISION: u32 = 78;
/// Digits after the point.
pub const SCALE: u32 = 0;

/// Bits of the type behind it: 78 digits have 260, and words have 64.
const BITS: usize = 320;
const LIMBS: usize = BITS / 64;
/// Bytes of the type behind it.
const BYTES: usize = BITS / 8;
/// Bytes of the longest number of 78 digits: 260 bits and the sign.
const MAX_BYTES: usize = 33;

type Wide = Signed<BITS, LIMBS>;
type Magnitude = Uint<BITS, LIMBS>;

/// An integer of at most 78 digits.
///
/// ```
/// use schemas::Integer;
/// let amount: Integer = "-57896044618658097711785492504343953926634992332820282019728792003956564819968".parse()?;
/// assert_eq!(amount.checked_add(Integer::from(1)).map(|sum| sum.to_string()),
///     Some("-57896044618658097711785492504343953926634992332820282019728792003956564819967".into()));
/// # Ok::<(), schemas::integer::ParseIntegerError>(())
/// ```
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Integer(Wide);

/// The text is not an [`Integer`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ParseIntegerError {
    /// It is not a sign and digits.
    #[error("not an integer")]
    Malformed,
    /// It has more than 78 digits.
    #[error("outside decimal(78, 0)")]
    OutOfRange,
}

impl Integer {
    /// Zero.
    pub const ZERO: Self = Self(Wide::ZERO);

    fn checked(value: Wide) -> Option<Self> {
        (value.unsigned_abs() < limit()).then_some(Self(value))
    }

    /// From a `uint256` of a chain.
    pub fn from_u256(value: U256) -> Self {
        Self(Wide::from_raw(Uint::from(value)))
    }

    /// From an `int256` of a chain.
    pub fn from_i256(value: I256) -> Self {
        let magnitude = Wide::from_raw(Uint::from(value.unsigned_abs()));
        Self(if value.is_negative() { -magnitude } else { magnitude })
    }

    /// Less than zero.
    pub const fn is_negative(self) -> bool {
        self.0.is_negative()
    }

    /// Greater than zero.
    pub const fn is_positive(self) -> bool {
        self.0.is_positive()
    }

    /// Zero.
    pub const fn is_zero(self) -> bool {
        self.0.is_zero()
    }

    /// The magnitude.
    #[must_use]
    pub fn abs(self) -> Self {
        if self.is_negative() { self.negated() } else { self }
    }

    /// The same magnitude with the other sign.
    #[must_use]
    pub fn negated(self) -> Self {
        Self(self.0.wrapping_neg())
    }

    /// The exact sum; `None` beyond 78 digits.
    pub fn checked_add(self, other: Self) -> Option<Self> {
        // Two numbers of 260 bits never overflow 320.
        Self::checked(self.0.wrapping_add(other.0))
    }

    /// The exact difference; `None` beyond 78 digits.
    pub fn checked_sub(self, other: Self) -> Option<Self> {
        self.checked_add(other.negated())
    }

    /// The magnitude as the library has it.
    pub(crate) fn magnitude(self) -> Magnitude {
        self.0.unsigned_abs()
    }
}

/// The first magnitude that has more than 78 digits.
fn limit() -> Magnitude {
    Magnitude::from(10).pow(Magnitude::from(PRECISION))
}

impl From<i64> for Integer {
    fn from(value: i64) -> Self {
        let magnitude = Wide::from_raw(Magnitude::from(value.unsigned_abs()));
        Self(if value < 0 { -magnitude } else { magnitude })
    }
}

impl FromStr for Integer {
    type Err = ParseIntegerError;

    /// Reads an optional `-` and decimal digits.
    fn from_str(text: &str) -> Result<Self, ParseIntegerError> {
        let digits = text.strip_prefix('-').unwrap_or(text);
        if digits.is_empty() || !digits.bytes().all(|byte| byte.is_ascii_digit()) {
            return Err(ParseIntegerError::Malformed);
        }
        let digits = digits.trim_start_matches('0');
        if digits.len() > PRECISION as usize {
            return Err(ParseIntegerError::OutOfRange);
        }
        let magnitude = if digits.is_empty() { "0" } else { digits };
        let magnitude = Magnitude::from_str_radix(magnitude, 10);
        let magnitude = magnitude.map_err(|_| ParseIntegerError::Malformed)?;
        let sign = if text.starts_with('-') { Sign::Negative } else { Sign::Positive };
        Wide::checked_from_sign_and_abs(sign, magnitude)
            .map(Self)
            .ok_or(ParseIntegerError::OutOfRange)
    }
}

impl fmt::Display for Integer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl Field for Integer {
    fn write(&self, out: &mut Vec<u8>) {
        let all = self.0.to_be_bytes::<BYTES>();
        let sign = if self.is_negative() { 0xff } else { 0 };
        // The first byte that is kept has the sign in its upper bit.
        let is_spare = |at: &usize| all[*at] == sign && all[*at + 1] & 0x80 == sign & 0x80;
        let dropped = (0..BYTES - 1).take_while(is_spare).count();
        avro::bytes(out, &all[dropped..]);
    }

    fn read(reader: &mut Reader<'_>) -> Result<Self, Malformed> {
        let bytes = reader.bytes()?;
        let first = *bytes.first().ok_or(Malformed)?;
        if bytes.len() > MAX_BYTES {
            return Err(Malformed);
        }
        let mut filled = if first & 0x80 == 0 { [0; BYTES] } else { [0xff; BYTES] };
        filled[BYTES - bytes.len()..].copy_from_slice(bytes);
        Self::checked(Wide::from_be_bytes(filled)).ok_or(Malformed)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const LARGEST: &str =
        "999999999999999999999999999999999999999999999999999999999999999999999999999999";

    fn integer(text: &str) -> Result<Integer, ParseIntegerError> {
        text.parse()
    }

    fn bytes(value: Integer) -> Vec<u8> {
        let mut out = Vec::new();
        value.write(&mut out);
        out
    }

    #[test]
    fn every_number_of_a_chain_fits() {
        assert_eq!(Integer::from_u256(U256::MAX).to_string(), U256::MAX.to_string());
        assert_eq!(Integer::from_i256(I256::MIN).to_string(), I256::MIN.to_string());
        assert_eq!(Integer::from_i256(I256::MAX).to_string(), I256::MAX.to_string());
        assert_eq!(Integer::from_i256(I256::MINUS_ONE), Integer::from(-1));
        assert_eq!(bytes(Integer::from_u256(U256::MAX)).len(), 34);
        assert_eq!(bytes(Integer::from_i256(I256::MIN)).len(), 33);
    }

    #[test]
    fn sums_beyond_78_digits_are_none() -> Result<(), ParseIntegerError> {
        let largest = integer(LARGEST)?;
        assert_eq!(largest.checked_add(Integer::from(1)), None);
        assert_eq!(largest.negated().checked_sub(Integer::from(1)), None);
        assert_eq!(largest.checked_sub(largest), Some(Integer::ZERO));
        assert_eq!(largest.negated().abs(), largest);
        assert_eq!(bytes(largest).len(), 1 + MAX_BYTES);
        Ok(())
    }

    #[test]
    fn text_is_a_sign_and_digits() {
        for (text, shown) in [("0", "0"), ("-0", "0"), ("007", "7"), ("-128", "-128")] {
            assert_eq!(integer(text).map(|value| value.to_string()), Ok(shown.into()), "{text}");
        }
        for text in ["", "-", "+1", "1.0", "1e3", "0x1", " 1", "1_0", "--1", "١"] {
            assert_eq!(integer(text), Err(ParseIntegerError::Malformed), "{text}");
        }
        assert_eq!(integer(&format!("1{LARGEST}")), Err(ParseIntegerError::OutOfRange));
    }

    #[test]
    fn bytes_beyond_the_range_are_malformed() {
        // 2^259 has 78 digits, 2^260 has 79.
        for (first, fits) in [(0x08, true), (0x10, false), (0xf8, true), (0xf7, false)] {
            let mut body = vec![66, first];
            body.extend([0; 32]);
            assert_eq!(Integer::read(&mut Reader::new(&body)).is_ok(), fits, "{first}");
        }
        assert_eq!(Integer::read(&mut Reader::new(&[0])), Err(Malformed), "no byte");
        assert_eq!(Integer::read(&mut Reader::new(&[68; 40])), Err(Malformed), "34 bytes");
    }

    proptest! {
        #[test]
        fn small_numbers_are_those_of_the_language(a: i64, b: i64) {
            let (x, y) = (Integer::from(a), Integer::from(b));
            let sum = (i128::from(a) + i128::from(b)).to_string();
            prop_assert_eq!(x.checked_add(y).map(|sum| sum.to_string()), Some(sum));
            let difference = (i128::from(a) - i128::from(b)).to_string();
            prop_assert_eq!(x.checked_sub(y).map(|rest| rest.to_string()), Some(difference));
            prop_assert_eq!((x.cmp(&y), x.is_negative()), (a.cmp(&b), a < 0));
            prop_assert_eq!(x.is_positive(), a > 0);
        }

        #[test]
        fn a_number_survives_its_text_and_its_bytes(words: [u64; 4], negative: bool) {
            let value = Integer::from_u256(U256::from_limbs(words));
            let value = if negative { value.negated() } else { value };
            prop_assert_eq!(value.to_string().parse(), Ok(value));
            prop_assert_eq!(Integer::read(&mut Reader::new(&bytes(value))), Ok(value));
        }

        #[test]
        fn arbitrary_text_and_bytes_never_panic(text in ".{0,90}", body: Vec<u8>) {
            let _ = integer(&text);
            let _ = Integer::read(&mut Reader::new(&body));
        }
    }
}
