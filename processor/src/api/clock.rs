//! The clock of the HTTP server. No other file of `api` reads a clock: rules get the time as an
//! argument.

use std::time::{Instant, SystemTime, UNIX_EPOCH};

use schemas::Timestamp;
use streams::store::Moment;

/// Wall-clock time.
#[expect(clippy::disallowed_methods, reason = "the edge at which time becomes an argument")]
pub fn now() -> Timestamp {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    Timestamp(i64::try_from(since.as_millis()).unwrap_or(i64::MAX))
}

/// The moment to which the age of an answer is counted.
pub(super) fn moment() -> Moment {
    streams::runtime::moment()
}

/// Monotonic time, for intervals.
#[expect(clippy::disallowed_methods, reason = "the edge at which intervals are measured")]
pub(super) fn instant() -> Instant {
    Instant::now()
}
