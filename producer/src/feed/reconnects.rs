//! When a feed connects again, and when it pauses. A value: randomness is given.

use std::time::Duration;

use rand::Rng;

use super::backoff::Backoff;
use super::context::CircuitBreaker;
use crate::labels::Cause;

/// The waits between the connections of a feed.
pub(super) struct Reconnects<R> {
    backoff: Backoff,
    breaker: CircuitBreaker,
    rng: R,
    /// Consecutive refusals.
    refusals: u32,
}

impl<R: Rng> Reconnects<R> {
    pub(super) fn new(backoff: Backoff, breaker: CircuitBreaker, rng: R) -> Self {
        Self { backoff, breaker, rng, refusals: 0 }
    }

    /// A seed for the jitter of other waits.
    pub(super) fn seed(&mut self) -> u64 {
        self.rng.random()
    }

    /// The wait before the next attempt: longer each time, and long after too many refusals.
    pub(super) fn wait_after(&mut self, cause: Cause) -> Duration {
        let wait = self.backoff.next(&mut self.rng);
        if cause == Cause::Refused {
            self.refusals = self.refusals.saturating_add(1);
        }
        if self.is_open() { self.breaker.pause.max(wait) } else { wait }
    }

    /// The circuit breaker is open: the venue refused too often.
    pub(super) fn is_open(&self) -> bool {
        self.refusals >= self.breaker.after
    }

    /// The venue accepted a subscription.
    pub(super) fn accepted(&mut self) {
        self.refusals = 0;
    }

    /// A connection that was of use has ended at this age. Without the comparison, a connection
    /// that is cut at once would be remade without a wait.
    pub(super) fn ended(&mut self, age: Duration) {
        if age >= self.backoff.cap() {
            self.backoff.reset();
        }
    }

    /// The age at which to replace a connection: a random tenth earlier, because all at once would
    /// be as many handshakes in one moment.
    pub(super) fn rotate_after(&mut self, after: Duration) -> Duration {
        after.saturating_sub(self.rng.random_range(Duration::ZERO..=after / 10))
    }
}
