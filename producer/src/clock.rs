//! The wall clock, read here and nowhere else.
//!
//! All other code takes the time as an argument, so a replay can pass the recorded time.

use std::thread;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use schemas::Timestamp;

/// Now, in microseconds since the epoch; 0 when the machine's clock stands before it.
#[expect(clippy::disallowed_methods, reason = "the edge where wall time enters")]
pub fn now_micros() -> i64 {
    let since_epoch = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    i64::try_from(since_epoch.as_micros()).unwrap_or(i64::MAX)
}

/// Now, as events carry it.
pub fn now() -> Timestamp {
    Timestamp::from_micros(now_micros())
}

/// The seconds between two times, none when they are out of order; 49 days at most.
pub fn seconds(from: Timestamp, to: Timestamp) -> f64 {
    f64::from(u32::try_from((to.0 - from.0).max(0)).unwrap_or(u32::MAX)) / 1000.0
}

/// Measures a span, and paces what must not run as fast as it could.
#[derive(Clone, Copy, Debug)]
pub struct Stopwatch(Instant);

impl Stopwatch {
    /// Begins now.
    #[expect(clippy::disallowed_methods, reason = "the edge where spans are measured")]
    pub fn start() -> Self {
        Self(Instant::now())
    }

    /// The time since the start.
    pub fn elapsed(self) -> Duration {
        self.0.elapsed()
    }

    /// Blocks until it has run for `span`; returns at once when it has.
    #[expect(clippy::disallowed_methods, reason = "pacing is waiting for the clock")]
    pub fn wait_until(self, span: Duration) {
        if let Some(rest) = span.checked_sub(self.elapsed()) {
            thread::sleep(rest);
        }
    }
}
