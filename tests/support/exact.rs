//! Exact arithmetic on units of 10⁻¹⁸, by other means than the product's: on `i128` after common
//! zeros are taken off.

use anyhow::{Context, Result, ensure};
use schemas::Decimal;

/// One, in units.
pub const UNIT: i128 = 1_000_000_000_000_000_000;

/// A decimal of so many units.
pub fn decimal(units: i128) -> Result<Decimal> {
    Decimal::from_units(units).context("more than 38 digits")
}

/// The product of two numbers of 18 fraction digits; half to even where it has more, as those of an
/// inverse future do, whose size is a quotient.
pub fn product(a: i128, b: i128) -> Result<i128> {
    let (a, a_zeros) = without_zeros(a);
    let (b, b_zeros) = without_zeros(b);
    let digits = a.checked_mul(b).context("a product beyond i128")?;
    match 18 - (a_zeros + b_zeros) {
        missing if missing > 0 => {
            let cut = 10i128.pow(missing.unsigned_abs());
            Ok(half_to_even(digits, cut))
        }
        spare => digits.checked_mul(10i128.pow(spare.unsigned_abs())).context("beyond i128"),
    }
}

/// Whether the product certainly needs more than 38 digits: that of the parts above 10⁻⁹ does.
pub fn is_beyond(a: i128, b: i128) -> bool {
    let cut = 1_000_000_000;
    (a / cut).checked_mul(b / cut).is_none_or(|product| product.unsigned_abs() >= 10u128.pow(38))
}

/// The quotient, half to even.
pub fn half_to_even(digits: i128, cut: i128) -> i128 {
    let (whole, twice) = (digits.div_euclid(cut), 2 * digits.rem_euclid(cut));
    whole + i128::from(twice > cut || (twice == cut && whole % 2 != 0))
}

fn without_zeros(mut units: i128) -> (i128, i32) {
    let mut zeros = 0;
    while units != 0 && units % 10 == 0 {
        units /= 10;
        zeros += 1;
    }
    (units, zeros)
}

/// Decimal text as units of 10⁻¹⁸.
pub fn units(text: &str) -> Result<i128> {
    let (whole, fraction) = text.split_once('.').unwrap_or((text, ""));
    ensure!(fraction.len() <= 18, "{text} has more than 18 fraction digits");
    let padded = format!("{fraction:0<18}");
    let whole: i128 = whole.parse().with_context(|| format!("{text} is not a decimal"))?;
    Ok(whole * UNIT + padded.parse::<i128>()?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn decimals_and_products_are_exact() -> Result<()> {
        ensure!(units("61837.63")? == 61_837_630_000_000_000_000_000);
        ensure!(units("0.000000000000000001")? == 1);
        ensure!(product(units("61837.63")?, units("0.02")?)? == units("1236.7526")?);
        ensure!(product(units("0.000020208")?, units("24.50")?)? == units("0.000495096")?);
        Ok(())
    }

    #[test]
    fn a_product_of_more_digits_is_rounded_half_to_even() -> Result<()> {
        let half = units("0.5")?;
        ensure!(product(1, half)? == 0);
        ensure!(product(3, half)? == 2);
        ensure!(product(5, half)? == 2);
        ensure!(product(-1, half)? == 0);
        ensure!(product(-3, half)? == -2);
        ensure!(product(units("0.0000000001")?, units("0.0000000001")?)? == 0);
        ensure!(product(7, units("0.9")?)? == 6);
        Ok(())
    }
}
