//! Numbers as Deribit writes them, and the conversions to whole units and back.

/// The largest magnitude that a float holds without a gap between whole numbers.
const EXACT: f64 = 9_007_199_254_740_992.0;
/// Numbers below 10⁻³ are written with an exponent.
const PLAIN_FROM: i32 = -3;

/// A whole number as a float.
#[expect(clippy::cast_precision_loss, reason = "prices, times and counts are far below 2⁵³")]
pub(crate) fn float(whole: i64) -> f64 {
    whole as f64
}

/// The nearest whole number; the largest that is exact for what lies beyond.
#[expect(clippy::cast_possible_truncation, reason = "it is clamped to what an i64 holds")]
pub(crate) fn whole(number: f64) -> i64 {
    number.round().clamp(-EXACT, EXACT) as i64
}

/// A number rounded to this many fraction digits.
pub(crate) fn rounded(number: f64, decimals: u8) -> f64 {
    let unit = 10f64.powi(i32::from(decimals));
    float(whole(number * unit)) / unit
}

/// A number with at most this many fraction digits, as the venue writes it.
pub(crate) fn written(number: f64, decimals: u8) -> String {
    units_written(whole(number * 10f64.powi(i32::from(decimals))), decimals)
}

/// A whole number of 10⁻ᵈᵉᶜⁱᵐᵃˡˢ: with one fraction digit at least and no zero at the end, and with
/// an exponent below a thousandth.
pub(crate) fn units_written(units: i64, decimals: u8) -> String {
    let digits = units.unsigned_abs().to_string();
    let kept = digits.trim_end_matches('0');
    if kept.is_empty() {
        return "0.0".into();
    }
    let sign = if units < 0 { "-" } else { "" };
    // The power of ten of the first digit.
    let length = i32::try_from(digits.len()).unwrap_or(i32::MAX);
    let first = length - 1 - i32::from(decimals);
    if first < PLAIN_FROM {
        let (head, tail) = kept.split_at(1);
        let tail = if tail.is_empty() { "0" } else { tail };
        return format!("{sign}{head}.{tail}e{first}");
    }
    let plain = crate::text::decimal(units, decimals);
    let plain = if decimals == 0 { plain + ".0" } else { plain };
    let trimmed = plain.trim_end_matches('0');
    if trimmed.ends_with('.') { format!("{trimmed}0") } else { trimmed.into() }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_have_a_fraction_and_small_ones_an_exponent() {
        for (number, decimals, text) in [
            (0.0, 8, "0.0"),
            (60_615.97, 2, "60615.97"),
            (300.0, 1, "300.0"),
            (300.0, 0, "300.0"),
            (-4.392_64, 5, "-4.39264"),
            (0.001, 8, "0.001"),
            (0.000_1, 4, "1.0e-4"),
            (0.000_029_03, 8, "2.903e-5"),
            (-0.000_81, 8, "-8.1e-4"),
            (0.000_000_001, 8, "0.0"),
        ] {
            assert_eq!(written(number, decimals), text);
        }
        assert!((rounded(1.005_1, 2) - 1.01).abs() < 1e-12);
    }
}
