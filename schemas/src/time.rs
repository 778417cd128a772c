//! Instants in milliseconds since the Unix epoch, the only clock reading that travels.
//!
//! Venues that stamp microseconds are truncated here, once; the ids beside an event order what
//! then shares a millisecond. Reading the clock is an argument of everybody who needs one: this
//! module only gives it a type.

use std::fmt;

/// Milliseconds since 1970-01-01T00:00:00Z; negative before.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Timestamp(pub i64);

impl Timestamp {
    /// From microseconds, rounded down.
    pub const fn from_micros(micros: i64) -> Self {
        Self(micros.div_euclid(1000))
    }

    /// Reads RFC 3339 text, rounded down to milliseconds; `None` when it is not one.
    ///
    /// ```
    /// use schemas::Timestamp;
    /// let time = Timestamp::parse_rfc3339("2021-04-17T16:43:30.244975Z");
    /// assert_eq!(time, Some(Timestamp(1_618_677_810_244)));
    /// ```
    pub fn parse_rfc3339(text: &str) -> Option<Self> {
        let time: jiff::Timestamp = text.parse().ok()?;
        Some(Self(time.as_microsecond().div_euclid(1000)))
    }
}

impl fmt::Display for Timestamp {
    /// RFC 3339 in UTC with milliseconds; the bare number when the calendar does not reach it.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match jiff::Timestamp::from_millisecond(self.0) {
            Ok(time) => write!(f, "{time:.3}"),
            Err(_) => write!(f, "{}", self.0),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_time_before_the_epoch_is_rounded_down_too() {
        for (micros, millis) in [(1_999, 1), (0, 0), (-1, -1), (-1_000, -1), (-1_001, -2)] {
            assert_eq!(Timestamp::from_micros(micros), Timestamp(millis));
        }
    }
}
