//! Numbers and times as the venues write them.

use jiff::Timestamp;

/// A whole number of 10⁻ᵈᵉᶜⁱᵐᵃˡˢ as decimal text.
///
/// ```
/// assert_eq!(simulator::text::decimal(1389, 8), "0.00001389");
/// assert_eq!(simulator::text::decimal(42, 0), "42");
/// ```
pub fn decimal(units: i64, decimals: u8) -> String {
    if decimals == 0 {
        return units.to_string();
    }
    let decimals = usize::from(decimals);
    let sign = if units < 0 { "-" } else { "" };
    let digits = format!("{:0>width$}", units.unsigned_abs(), width = decimals + 1);
    let (whole, fraction) = digits.split_at(digits.len() - decimals);
    format!("{sign}{whole}.{fraction}")
}

/// Microseconds since the epoch as RFC 3339 with six fraction digits.
pub(crate) fn rfc3339(micros: i64) -> String {
    Timestamp::from_microsecond(micros).map_or_else(|_| String::new(), |time| format!("{time:.6}"))
}
