//! The expiries of options, as a person writes them and as the names of instruments have them.

use std::collections::BTreeSet;
use std::fmt;
use std::str::FromStr;

use jiff::civil::Date;
use jiff::tz::TimeZone;
use schemas::{Class, InstrumentName, Timestamp};

/// Length of a day in the form of ISO 8601: `2026-12-25`.
const ISO_LENGTH: usize = 10;

/// The day on which options expire.
///
/// ```
/// use producer::plan::expiry::Expiry;
/// let expiry: Expiry = "2026-12-25".parse()?;
/// assert_eq!(expiry, "25DEC26".parse()?);
/// assert_eq!(expiry.to_string(), "25DEC26");
/// assert_eq!(Expiry::of_option("BTC-25DEC26-50000-C"), Some(expiry));
/// assert_eq!(Expiry::of_option("BTC-25DEC26"), None, "a future");
/// # Ok::<(), producer::plan::expiry::NoExpiry>(())
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Expiry(Date);

/// A text that is no day.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("'{0}' is no expiry: name days as 25DEC26 or 2026-12-25, separated by commas")]
pub struct NoExpiry(String);

impl Expiry {
    /// The expiry of an option, by its name; `None` for every other instrument.
    pub fn of_option(name: &str) -> Option<Self> {
        let name = InstrumentName::parse(name).filter(|name| name.class == Class::Option)?;
        Self::of_time(name.expiry_time?)
    }

    /// The expiries of options, by their names.
    pub fn of_options<'a>(names: impl IntoIterator<Item = &'a String>) -> BTreeSet<Self> {
        names.into_iter().filter_map(|name| Self::of_option(name)).collect()
    }

    /// The day has begun, so its options may have ended.
    pub fn has_come(self, now: Timestamp) -> bool {
        Self::of_time(now).is_some_and(|today| self <= today)
    }

    /// The day of a time, in UTC.
    fn of_time(time: Timestamp) -> Option<Self> {
        let time = jiff::Timestamp::from_millisecond(time.0).ok()?;
        Some(Self(time.to_zoned(TimeZone::UTC).date()))
    }
}

impl FromStr for Expiry {
    type Err = NoExpiry;

    fn from_str(text: &str) -> Result<Self, NoExpiry> {
        let text = text.trim();
        let expiry = if text.len() == ISO_LENGTH {
            text.parse().ok().map(Self)
        } else {
            // A future of that day has it in its name.
            let future = InstrumentName::parse(&format!("BTC-{}", text.to_ascii_uppercase()));
            let future = future.filter(|name| name.class == Class::Future);
            future.and_then(|future| Self::of_time(future.expiry_time?))
        };
        expiry.ok_or_else(|| NoExpiry(text.into()))
    }
}

impl fmt::Display for Expiry {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        const MONTHS: [&str; 12] =
            ["JAN", "FEB", "MAR", "APR", "MAY", "JUN", "JUL", "AUG", "SEP", "OCT", "NOV", "DEC"];
        let month = usize::from(self.0.month().unsigned_abs()) - 1;
        write!(f, "{}{}{:02}", self.0.day(), MONTHS[month], self.0.year().rem_euclid(100))
    }
}

/// Expiries as a list in a message.
pub fn list(expiries: &BTreeSet<Expiry>) -> String {
    expiries.iter().map(ToString::to_string).collect::<Vec<_>>().join(", ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_day_is_read_in_both_forms_and_nothing_else_is() {
        for (text, shown) in [
            ("25DEC26", "25DEC26"),
            ("5jan24", "5JAN24"),
            (" 2024-01-05", "5JAN24"),
            ("2024-02-29", "29FEB24"),
        ] {
            let read = text.parse::<Expiry>().map(|expiry| expiry.to_string());
            assert_eq!(read.as_deref(), Ok(shown), "{text}");
        }
        for text in
            ["", "PERPETUAL", "30FEB24", "2023-02-29", "2024-1-5", "25DEC2026", "25DEC26-1-C"]
        {
            assert!(text.parse::<Expiry>().is_err(), "{text}");
        }
    }

    #[test]
    fn a_day_has_come_at_its_midnight() -> Result<(), NoExpiry> {
        let expiry: Expiry = "2024-01-05".parse()?;
        let midnight = 1_704_412_800_000;
        assert!(expiry.has_come(Timestamp(midnight)));
        assert!(!expiry.has_come(Timestamp(midnight - 1)));
        Ok(())
    }
}
