//! The clock, read here and nowhere else in this crate.

use std::sync::OnceLock;
use std::time::{Instant, SystemTime, UNIX_EPOCH};

use crate::record::Timestamp;
use crate::store::Moment;

/// Wall-clock time.
#[expect(clippy::disallowed_methods, reason = "the edge at which time becomes an argument")]
pub(crate) fn now() -> Timestamp {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    Timestamp(i64::try_from(since.as_millis()).unwrap_or(i64::MAX))
}

/// Monotonic time, for intervals.
#[expect(clippy::disallowed_methods, reason = "the edge at which intervals are measured")]
pub(crate) fn instant() -> Instant {
    Instant::now()
}

/// The moment that it is: what an age is counted from, and to. Moments of one process compare.
pub fn moment() -> Moment {
    static BEGAN: OnceLock<Instant> = OnceLock::new();
    let up = BEGAN.get_or_init(instant).elapsed();
    Moment { wall: now(), up_ms: i64::try_from(up.as_millis()).unwrap_or(i64::MAX) }
}

/// Waits.
#[expect(clippy::disallowed_methods, reason = "back-off happens only in the runtime")]
pub(crate) fn wait(time: std::time::Duration) {
    std::thread::sleep(time);
}
