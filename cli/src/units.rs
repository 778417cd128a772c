//! Durations, sizes and shares as people write them: `10s`, `64MiB`, `5%`.
//!
//! Every flag of every program has this grammar: a whole number and its unit, without a space. A
//! refusal says why and what is valid; clap puts the flag and its value before it.

use std::time::Duration;

/// A whole number and one of these units.
struct Grammar {
    /// Names and factors.
    units: &'static [(&'static str, u64)],
    /// The end of every refusal.
    valid: &'static str,
}

const DURATION: Grammar = Grammar {
    units: &[("ms", 1), ("s", 1000), ("m", 60_000), ("h", 3_600_000), ("d", 86_400_000)],
    valid: "a duration is a whole number and ms, s, m, h or d, such as 250ms or 10s",
};
const SIZE: Grammar = Grammar {
    units: &[("B", 1), ("KiB", 1 << 10), ("MiB", 1 << 20), ("GiB", 1 << 30)],
    valid: "a size is a whole number and B, KiB, MiB or GiB, such as 64MiB",
};

impl Grammar {
    fn parse(&self, text: &str) -> Result<u64, String> {
        let digits = text.bytes().take_while(u8::is_ascii_digit).count();
        let (number, unit) = text.split_at(digits);
        let factor = self.units.iter().find(|(name, _)| *name == unit);
        let read = match (number, unit, factor) {
            ("", ..) => Err("it does not begin with a digit".into()),
            (_, "", _) => Err("it has no unit".into()),
            (_, _, None) => Err(format!("'{unit}' is not a unit")),
            (_, _, Some((_, factor))) => {
                let number = number.parse().ok();
                let product = number.and_then(|number: u64| number.checked_mul(*factor));
                product.ok_or_else(|| "it is too large".into())
            }
        };
        read.map_err(|why| self.refusal(&why))
    }

    fn parse_positive(&self, text: &str) -> Result<u64, String> {
        match self.parse(text)? {
            0 => Err(self.refusal("it is zero")),
            value => Ok(value),
        }
    }

    fn refusal(&self, why: &str) -> String {
        format!("{why}; {}", self.valid)
    }
}

/// Reads a duration: `250ms`, `10s`, `5m`, `1h`, `1d`.
///
/// ```
/// use std::time::Duration;
/// assert_eq!(cli::units::duration("5m"), Ok(Duration::from_secs(300)));
/// assert!(cli::units::duration("5").is_err());
/// ```
pub fn duration(text: &str) -> Result<Duration, String> {
    DURATION.parse(text).map(Duration::from_millis)
}

/// Reads a duration that is not zero.
pub fn positive_duration(text: &str) -> Result<Duration, String> {
    DURATION.parse_positive(text).map(Duration::from_millis)
}

/// Reads a size in bytes: `100B`, `512KiB`, `64MiB`, `1GiB`.
///
/// ```
/// assert_eq!(cli::units::bytes("64MiB"), Ok(64 << 20));
/// assert!(cli::units::bytes("64").is_err());
/// ```
pub fn bytes(text: &str) -> Result<u64, String> {
    SIZE.parse(text)
}

/// Reads a size of memory that is not zero.
pub fn positive_bytes(text: &str) -> Result<usize, String> {
    let bytes = SIZE.parse_positive(text)?;
    usize::try_from(bytes).map_err(|_| SIZE.refusal("it is too large"))
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
/// use cli::units::{Share, share};
/// assert_eq!(share("2.5%"), Ok(Share(250)));
/// assert!(share("5").is_err());
/// ```
pub fn share(text: &str) -> Result<Share, String> {
    let refused =
        || "it is not 0% to 100% with at most two fraction digits, such as 5% or 0.25%".to_owned();
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
    use clap::Parser;
    use proptest::prelude::*;

    use super::*;

    #[derive(Debug, Parser)]
    struct Flags {
        #[arg(long, value_parser = positive_duration)]
        every: Option<Duration>,
        #[arg(long, value_parser = positive_bytes)]
        cache: Option<usize>,
        #[arg(long, value_parser = share)]
        repeat: Option<Share>,
    }

    /// The shortest text of a value.
    fn format(grammar: &Grammar, value: u64) -> String {
        let fits = |(_, factor): &&(&str, u64)| value.is_multiple_of(*factor);
        let (name, factor) = grammar.units.iter().rfind(fits).unwrap();
        format!("{}{name}", value / factor)
    }

    proptest! {
        #[test]
        fn a_formatted_value_is_read_as_itself(value: u64, unit in 0..5_usize, count in 0..9_u64) {
            for grammar in [&DURATION, &SIZE] {
                for value in [value, count * grammar.units[unit % grammar.units.len()].1] {
                    prop_assert_eq!(grammar.parse(&format(grammar, value)), Ok(value));
                }
            }
        }

        #[test]
        fn a_value_is_its_number_times_its_unit_or_too_large(number: u64, unit in 0..5_usize) {
            for grammar in [&DURATION, &SIZE] {
                let (name, factor) = grammar.units[unit % grammar.units.len()];
                let read = grammar.parse(&format!("{number}{name}"));
                prop_assert_eq!(read.ok(), number.checked_mul(factor));
            }
        }

        #[test]
        fn no_text_panics(text: String) {
            let _ = (positive_duration(&text), positive_bytes(&text), share(&text));
        }
    }

    #[test]
    fn a_refusal_has_the_flag_its_value_the_reason_and_the_valid_form() {
        for (flag, value, why, valid) in [
            ("--every", "5", "it has no unit", "ms, s, m, h or d"),
            ("--every", "10S", "'S' is not a unit", "ms, s, m, h or d"),
            ("--every", "1.5s", "'.5s' is not a unit", "ms, s, m, h or d"),
            ("--every", "1 s", "' s' is not a unit", "ms, s, m, h or d"),
            ("--every", "s", "it does not begin with a digit", "ms, s, m, h or d"),
            ("--every", "-1s", "it does not begin with a digit", "ms, s, m, h or d"),
            ("--every", "0s", "it is zero", "ms, s, m, h or d"),
            ("--every", "99999999999999999999s", "it is too large", "ms, s, m, h or d"),
            ("--cache", "64", "it has no unit", "B, KiB, MiB or GiB"),
            ("--cache", "64MB", "'MB' is not a unit", "B, KiB, MiB or GiB"),
            ("--cache", "0KiB", "it is zero", "B, KiB, MiB or GiB"),
            ("--cache", "99999999999GiB", "it is too large", "B, KiB, MiB or GiB"),
            ("--repeat", "101%", "it is not 0% to 100%", "such as 5%"),
        ] {
            let refused = Flags::try_parse_from(["", &format!("{flag}={value}")]).unwrap_err();
            let text = refused.to_string();
            for part in [format!("'{value}' for '{flag}"), why.into(), valid.into()] {
                assert!(text.contains(&part), "no {part} in {text}");
            }
        }
    }

    #[test]
    fn each_unit_is_read() {
        assert_eq!(duration("250ms"), Ok(Duration::from_millis(250)));
        assert_eq!(duration("30d"), Ok(Duration::from_hours(720)));
        assert_eq!(duration("0ms"), Ok(Duration::ZERO));
        assert_eq!(bytes("100B"), Ok(100));
        assert_eq!(positive_bytes("1GiB"), Ok(1 << 30));
        assert!(duration("").is_err() && bytes("").is_err());
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
