//! Exponential back-off with full jitter and a cap.
//!
//! Full jitter is uniform between zero and the ceiling. It spreads the reconnects of many clients
//! after a common outage best; only the ceiling grows.

use std::time::Duration;

use rand::Rng;

/// Doublings after which the ceiling no longer grows: 2³⁰ × 1 ms is past any cap in use.
const MAX_DOUBLINGS: u32 = 30;

/// The reason for which a [`Backoff`] is invalid.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum InvalidBackoff {
    /// The first wait is zero.
    #[error("the first back-off must be longer than nothing")]
    Zero,
    /// The cap is below the start.
    #[error("the longest back-off must not be shorter than the first")]
    CapBelowFirst,
}

/// Waits between attempts.
///
/// Invariants:
/// - `0 < first ≤ cap`.
/// - A wait is never longer than `min(cap, first × 2^attempts)`.
///
/// ```
/// use std::time::Duration;
/// use producer::feed::backoff::Backoff;
/// use rand::SeedableRng;
/// let mut rng = rand::rngs::StdRng::seed_from_u64(1);
/// let mut backoff = Backoff::new(Duration::from_millis(100), Duration::from_secs(5))?;
/// assert!(backoff.next(&mut rng) <= Duration::from_millis(100));
/// assert!(backoff.next(&mut rng) <= Duration::from_millis(200));
/// # Ok::<(), producer::feed::backoff::InvalidBackoff>(())
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Backoff {
    first: Duration,
    cap: Duration,
    attempts: u32,
}

impl Backoff {
    /// From the ceiling of the first wait to the cap of all.
    pub fn new(first: Duration, cap: Duration) -> Result<Self, InvalidBackoff> {
        if first.is_zero() {
            return Err(InvalidBackoff::Zero);
        }
        if cap < first {
            return Err(InvalidBackoff::CapBelowFirst);
        }
        Ok(Self { first, cap, attempts: 0 })
    }

    /// The next wait.
    pub fn next<R: Rng>(&mut self, rng: &mut R) -> Duration {
        let ceiling = self.ceiling();
        self.attempts = (self.attempts + 1).min(MAX_DOUBLINGS);
        rng.random_range(Duration::ZERO..=ceiling)
    }

    /// The longest wait.
    pub fn cap(&self) -> Duration {
        self.cap
    }

    /// The attempt succeeded: the next failure starts over.
    pub fn reset(&mut self) {
        self.attempts = 0;
    }

    fn ceiling(&self) -> Duration {
        self.first.saturating_mul(1 << self.attempts).min(self.cap)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use rand::SeedableRng;
    use rand::rngs::StdRng;

    use super::*;

    proptest! {
        #[test]
        fn every_wait_is_within_its_ceiling_and_the_cap(
            first in 1u64..10_000, more in 0u64..1_000_000, seed: u64, attempts in 1usize..80,
        ) {
            let (first, cap) = (Duration::from_millis(first), Duration::from_millis(first + more));
            let mut backoff = Backoff::new(first, cap)?;
            let mut rng = StdRng::seed_from_u64(seed);
            let mut ceiling = Duration::ZERO;
            for _ in 0..attempts {
                prop_assert!(backoff.ceiling() >= ceiling, "the ceiling never shrinks");
                ceiling = backoff.ceiling();
                prop_assert!(backoff.next(&mut rng) <= ceiling);
                prop_assert!(ceiling <= cap);
            }
            backoff.reset();
            prop_assert_eq!(backoff.ceiling(), first);
        }
    }

    #[test]
    fn the_same_seed_gives_the_same_waits() -> Result<(), InvalidBackoff> {
        let backoff = Backoff::new(Duration::from_millis(1), Duration::from_mins(1))?;
        let waits = |seed| {
            let (mut backoff, mut rng) = (backoff, StdRng::seed_from_u64(seed));
            (0..20).map(|_| backoff.next(&mut rng)).collect::<Vec<_>>()
        };
        assert_eq!(waits(7), waits(7));
        assert_ne!(waits(7), waits(8));
        Ok(())
    }

    #[test]
    fn a_backoff_that_cannot_wait_or_grow_is_refused() {
        let second = Duration::from_secs(1);
        assert_eq!(Backoff::new(Duration::ZERO, second), Err(InvalidBackoff::Zero));
        assert_eq!(Backoff::new(second, second / 2), Err(InvalidBackoff::CapBelowFirst));
    }
}
