//! What people write on a command line: `10s`, `5m`, `5%`.

use std::time::Duration;

/// Units of time and their milliseconds, the longer suffix of two before the shorter.
const UNITS: [(&str, u64); 5] =
    [("ms", 1), ("s", 1000), ("m", 60_000), ("h", 3_600_000), ("d", 86_400_000)];

/// Reads a whole number with a unit: `250ms`, `10s`, `5m`, `1h`, `1d`.
///
/// ```
/// use std::time::Duration;
/// assert_eq!(producer::units::duration("5m"), Ok(Duration::from_secs(300)));
/// assert!(producer::units::duration("5").is_err());
/// ```
pub fn duration(text: &str) -> Result<Duration, String> {
    let refused = || format!("'{text}' is not a duration such as 250ms, 10s, 5m or 1h");
    let digits = text.bytes().take_while(u8::is_ascii_digit).count();
    let (number, unit) = text.split_at(digits);
    let (_, millis) = UNITS.iter().find(|(name, _)| *name == unit).ok_or_else(refused)?;
    let number: u64 = number.parse().map_err(|_| refused())?;
    number.checked_mul(*millis).map(Duration::from_millis).ok_or_else(refused)
}

/// Units of size and their bytes.
const SIZES: [(&str, u64); 4] = [("KiB", 1 << 10), ("MiB", 1 << 20), ("GiB", 1 << 30), ("B", 1)];

/// Reads a whole number with a unit: `512KiB`, `64MiB`, `1GiB`.
///
/// ```
/// assert_eq!(producer::units::bytes("64MiB"), Ok(64 << 20));
/// assert!(producer::units::bytes("64").is_err());
/// ```
pub fn bytes(text: &str) -> Result<u64, String> {
    let refused = || format!("'{text}' is not a size such as 512KiB, 64MiB or 1GiB");
    let digits = text.bytes().take_while(u8::is_ascii_digit).count();
    let (number, unit) = text.split_at(digits);
    let (_, size) = SIZES.iter().find(|(name, _)| *name == unit).ok_or_else(refused)?;
    let number: u64 = number.parse().map_err(|_| refused())?;
    number.checked_mul(*size).ok_or_else(refused)
}

/// A share between nothing and everything, in parts of ten thousand.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Share(pub u32);

impl Share {
    /// Parts that make everything.
    pub const WHOLE: u32 = 10_000;
}

/// Reads `0%` to `100%`, with up to two fraction digits.
///
/// ```
/// use producer::units::{Share, share};
/// assert_eq!(share("2.5%"), Ok(Share(250)));
/// assert!(share("5").is_err());
/// ```
pub fn share(text: &str) -> Result<Share, String> {
    let refused = || format!("'{text}' is not a percentage such as 5% or 0.25%");
    let number = text.strip_suffix('%').ok_or_else(refused)?;
    let (whole, fraction) = number.split_once('.').unwrap_or((number, ""));
    if whole.is_empty()
        || fraction.len() > 2
        || number.bytes().any(|byte| !byte.is_ascii_digit() && byte != b'.')
    {
        return Err(refused());
    }
    let parts: u32 = format!("{whole}{fraction:0<2}").parse().map_err(|_| refused())?;
    if parts <= Share::WHOLE { Ok(Share(parts)) } else { Err(refused()) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn units_are_required_and_overflow_is_refused() {
        for text in ["", "s", "1.5s", "-1s", "1 s", "10S", "99999999999999999999s", "1e3s"] {
            assert!(duration(text).is_err(), "{text}");
        }
        assert_eq!(duration("250ms"), Ok(Duration::from_millis(250)));
        assert_eq!(duration("1d"), Ok(Duration::from_hours(24)));
    }

    #[test]
    fn shares_stay_between_nothing_and_everything() {
        for text in ["", "%", "5", "101%", "-1%", "1.234%", "1.2.3%", "1e2%"] {
            assert!(share(text).is_err(), "{text}");
        }
        assert_eq!(share("100%"), Ok(Share(Share::WHOLE)));
        assert_eq!(share("0%"), Ok(Share(0)));
    }
}
