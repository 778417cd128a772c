//! Exact sums of value × weight, which give a mean that is divided once.

use crate::Decimal;
use crate::avro::{self, Malformed, Reader};
use crate::decimal::{div_wide, wide_mul};

/// A sum of value × weight in units of 10⁻¹⁸.
///
/// It has 256 bits: 38 digits times a weight of 63 bits have 190, which leaves room for more terms
/// than a log can hold. So it is exact and never too large, and the order of its terms does not
/// matter.
///
/// ```text
/// bytes  the shortest big-endian two's complement, as an Avro decimal has it
/// ```
///
/// ```
/// use schemas::{Decimal, WeightedSum};
/// let mut sum = WeightedSum::default();
/// sum.add("0.01".parse()?, 59_000);
/// sum.add("0.07".parse()?, 1_000);
/// assert_eq!(sum.mean(60_000).map(|mean| mean.to_string()), Some("0.011".into()));
/// # Ok::<(), schemas::decimal::ParseDecimalError>(())
/// ```
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct WeightedSum {
    high: i128,
    low: u128,
}

impl WeightedSum {
    /// Bytes of the sum.
    const BYTES: usize = 32;

    /// Adds a value as often as its weight says.
    pub fn add(&mut self, value: Decimal, weight: u32) {
        let units = value.units();
        let (high, low) = wide_mul(units.unsigned_abs(), weight.into());
        let product = Self { high: high.cast_signed(), low };
        self.merge(if units < 0 { product.negated() } else { product });
    }

    /// Adds the terms of another sum.
    pub fn merge(&mut self, other: Self) {
        let (low, carry) = self.low.overflowing_add(other.low);
        self.low = low;
        self.high = self.high.wrapping_add(other.high).wrapping_add(i128::from(carry));
    }

    /// The sum divided by the weight of all terms, to the nearest 10⁻¹⁸ (ties to even). `None` when
    /// the weight is not positive.
    pub fn mean(self, weight: i64) -> Option<Decimal> {
        let weight = u128::try_from(weight).ok()?;
        let is_negative = self.high < 0;
        let magnitude = if is_negative { self.negated() } else { self };
        let quotient = div_wide((magnitude.high.cast_unsigned(), magnitude.low), weight)?;
        let units = i128::try_from(quotient).ok()?;
        Decimal::from_units(if is_negative { -units } else { units })
    }

    const fn negated(self) -> Self {
        let (low, borrow) = 0u128.overflowing_sub(self.low);
        Self { high: 0i128.wrapping_sub(self.high).wrapping_sub(borrow as i128), low }
    }

    fn to_be_bytes(self) -> [u8; Self::BYTES] {
        let mut all = [0; Self::BYTES];
        all[..16].copy_from_slice(&self.high.to_be_bytes());
        all[16..].copy_from_slice(&self.low.to_be_bytes());
        all
    }

    /// The bytes of the format.
    pub fn to_bytes(self) -> Vec<u8> {
        let all = self.to_be_bytes();
        let sign = if self.high < 0 { 0xff } else { 0 };
        // The first byte that is kept has the sign in its upper bit.
        let is_spare = |at: &usize| all[*at] == sign && all[*at + 1] & 0x80 == sign & 0x80;
        let dropped = (0..Self::BYTES - 1).take_while(is_spare).count();
        all[dropped..].to_vec()
    }

    /// Appends it as bytes.
    pub(crate) fn write(self, out: &mut Vec<u8>) {
        avro::bytes(out, &self.to_bytes());
    }

    /// Reads bytes.
    pub(crate) fn read(reader: &mut Reader<'_>) -> Result<Self, Malformed> {
        let bytes = reader.bytes()?;
        let first = *bytes.first().ok_or(Malformed)?;
        let sign = if first & 0x80 == 0 { 0 } else { 0xff };
        let mut all = [sign; Self::BYTES];
        let start = Self::BYTES.checked_sub(bytes.len()).ok_or(Malformed)?;
        all[start..].copy_from_slice(bytes);
        let (high, low) = all.split_at(16);
        let high = i128::from_be_bytes(high.try_into().map_err(|_| Malformed)?);
        let low = u128::from_be_bytes(low.try_into().map_err(|_| Malformed)?);
        Ok(Self { high, low })
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn terms() -> impl Strategy<Value = Vec<(i128, u32)>> {
        prop::collection::vec((-1_000_000_000_000i128..1_000_000_000_000, any::<u32>()), 0..12)
    }

    fn sum(terms: &[(i128, u32)]) -> Option<WeightedSum> {
        let mut sum = WeightedSum::default();
        for (units, weight) in terms {
            sum.add(Decimal::from_units(*units)?, *weight);
        }
        Some(sum)
    }

    fn same_after_bytes(sum: WeightedSum) -> Result<usize, TestCaseError> {
        let mut bytes = Vec::new();
        sum.write(&mut bytes);
        prop_assert_eq!(WeightedSum::read(&mut Reader::new(&bytes)), Ok(sum));
        Ok(bytes.len() - 1)
    }

    #[test]
    fn the_largest_values_stay_exact() -> Result<(), TestCaseError> {
        for sign in [1, -1] {
            let huge = Decimal::from_units(sign * (10i128.pow(38) - 1))
                .ok_or_else(|| TestCaseError::reject("38 digits"))?;
            let mut sum = WeightedSum::default();
            for _ in 0..1_000 {
                sum.add(huge, u32::MAX);
            }
            assert_eq!(sum.mean(1_000 * i64::from(u32::MAX)), Some(huge));
            assert_eq!(sum.mean(1), None, "more than 38 digits");
            assert_eq!(same_after_bytes(sum)?, 22);
        }
        Ok(())
    }

    #[test]
    fn a_mean_of_nothing_is_none_and_zero_has_one_byte() -> Result<(), TestCaseError> {
        assert_eq!(WeightedSum::default().mean(0), None);
        assert_eq!(WeightedSum::default().mean(-1), None);
        assert_eq!(same_after_bytes(WeightedSum::default())?, 1);
        assert_eq!(WeightedSum::read(&mut Reader::new(&[0])), Err(Malformed));
        assert_eq!(WeightedSum::read(&mut Reader::new(&[66; 34])), Err(Malformed), "33 bytes");
        Ok(())
    }

    proptest! {
        #[test]
        fn a_mean_is_the_nearest_of_the_exact_sum(terms in terms(), weight in 1i64..1_000_000_000) {
            let exact: i128 = terms.iter().map(|(units, weight)| units * i128::from(*weight)).sum();
            let mean = sum(&terms).and_then(|sum| sum.mean(weight)).map(Decimal::units);
            let all = i128::from(weight);
            let off = |units: i128| (units * all - exact).abs() * 2;
            prop_assert!(mean.is_some_and(|units| off(units) < all || (off(units) == all && units % 2 == 0)));
        }

        #[test]
        fn sums_of_parts_are_the_sum_of_all(terms in terms(), split in 0usize..12) {
            let (left, right) = terms.split_at(split.min(terms.len()));
            let (mut whole, all) = (sum(left), sum(&terms));
            if let (Some(whole), Some(rest)) = (&mut whole, sum(right)) {
                whole.merge(rest);
            }
            prop_assert_eq!(whole, all);
            same_after_bytes(all.unwrap_or_default())?;
        }

        #[test]
        fn small_sums_have_the_bytes_of_a_number(units in -1_000_000i128..1_000_000, weight in 1u32..100) {
            let sum = sum(&[(units, weight)]).unwrap_or_default();
            let exact = units * i128::from(weight);
            let length = sum.to_bytes().len();
            prop_assert_eq!(&sum.to_bytes()[..], &exact.to_be_bytes()[16 - length..]);
            prop_assert!(length == 1 || exact < -(1 << (8 * length - 9)) || exact >= 1 << (8 * length - 9));
        }
    }
}
