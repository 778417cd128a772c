//! Monotonic time, read here and nowhere else in this crate.

use std::sync::LazyLock;
use std::time::{Duration, Instant};

/// The time since it was first asked.
#[expect(clippy::disallowed_methods, reason = "the edge at which intervals are measured")]
pub(crate) fn elapsed() -> Duration {
    static START: LazyLock<Instant> = LazyLock::new(Instant::now);
    START.elapsed()
}
