//! Tumbling windows: `[start, end)`, aligned to the epoch.
//!
//! Every instant is in exactly one window, also before the epoch.

use crate::record::Timestamp;

/// Windows of one length that follow each other without gap or overlap.
///
/// ```
/// use streams::{record::Timestamp, window::TumblingWindows};
/// let minutes = TumblingWindows::new(60_000).ok_or("a length of zero")?;
/// assert_eq!(minutes.start(Timestamp(61_000)), Timestamp(60_000));
/// assert_eq!(minutes.end(Timestamp(60_000)), Timestamp(120_000));
/// assert_eq!(minutes.start(Timestamp(-1)), Timestamp(-60_000));
/// # Ok::<(), &str>(())
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TumblingWindows {
    length_ms: i64,
}

impl TumblingWindows {
    /// Windows of that many milliseconds; `None` unless it is positive.
    pub const fn new(length_ms: i64) -> Option<Self> {
        if length_ms > 0 { Some(Self { length_ms }) } else { None }
    }

    /// Milliseconds from start to end.
    pub const fn length_ms(self) -> i64 {
        self.length_ms
    }

    /// The first instant of the window that holds `time`.
    #[must_use]
    pub const fn start(self, time: Timestamp) -> Timestamp {
        Timestamp(time.0.saturating_sub(time.0.rem_euclid(self.length_ms)))
    }

    /// The first instant after the window that starts at `start`.
    #[must_use]
    pub const fn end(self, start: Timestamp) -> Timestamp {
        Timestamp(start.0.saturating_add(self.length_ms))
    }

    /// A window closes when time has reached its end plus grace, and not before.
    pub const fn is_closed(self, start: Timestamp, grace_ms: i64, time: Timestamp) -> bool {
        self.end(start).0.saturating_add(grace_ms) <= time.0
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// Far enough from the ends of time for an end and a grace.
    const FAR: i64 = i64::MAX / 4;

    proptest! {
        #[test]
        fn windows_partition_time(time in -FAR..FAR, length in 1..FAR) {
            let Some(windows) = TumblingWindows::new(length) else {
                return Err(TestCaseError::fail("a positive length"));
            };
            let start = windows.start(Timestamp(time));
            let end = windows.end(start);
            prop_assert!(start.0 <= time && time < end.0);
            // Neither a gap nor an overlap: every instant of it, and the next one.
            prop_assert_eq!(windows.start(start), start);
            prop_assert_eq!(windows.start(Timestamp(end.0 - 1)), start);
            prop_assert_eq!(windows.start(end), end);
            prop_assert_eq!(end.0 - start.0, length);
        }

        #[test]
        fn a_window_closes_at_its_end_plus_grace_and_not_before(
            time in -FAR..FAR, length in 1..FAR, grace in 0..FAR,
        ) {
            let Some(windows) = TumblingWindows::new(length) else {
                return Err(TestCaseError::fail("a positive length"));
            };
            let start = windows.start(Timestamp(time));
            let close = windows.end(start).0.saturating_add(grace);
            prop_assert!(!windows.is_closed(start, grace, Timestamp(close - 1)));
            prop_assert!(windows.is_closed(start, grace, Timestamp(close)));
        }

        #[test]
        fn the_ends_of_time_do_not_panic(time: i64, length: i64, grace: i64, now: i64) {
            if let Some(windows) = TumblingWindows::new(length) {
                let start = windows.start(Timestamp(time));
                prop_assert!(start.0 <= time);
                windows.is_closed(start, grace, Timestamp(now));
            }
        }
    }
}
