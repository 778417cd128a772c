//! The clock, read here and nowhere else in this crate.

use std::sync::OnceLock;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

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

/// Monotonic time since this process first asked. It is the same for all threads.
pub(crate) fn uptime() -> Duration {
    static BEGAN: OnceLock<Instant> = OnceLock::new();
    BEGAN.get_or_init(instant).elapsed()
}

/// The moment that it is: what an age is counted from, and to. Moments of one process compare.
pub fn moment() -> Moment {
    Moment::new(now(), uptime())
}

/// Waits.
#[expect(clippy::disallowed_methods, reason = "back-off happens only in the runtime")]
pub(crate) fn wait(time: Duration) {
    std::thread::sleep(time);
}
