//! Admission of connection attempts and requests within a venue's limits. A value: time is an
//! argument.

use std::collections::VecDeque;
use std::time::Duration;
use venues::Limits;

/// Admits attempts and requests of all connections of one process, within a [`Limits`].
///
/// Invariant: within any window, no more attempts are admitted than the budget has, and none
/// while the venue is rate limiting.
///
/// ```
/// use std::time::Duration;
/// use producer::plan::budget::RateLimiter;
/// use venues::{Limits, Venue};
/// let mut limiter = RateLimiter::new(Limits { attempts: 1, ..Venue::Kraken.adapter().limits });
/// assert_eq!(limiter.attempt(Duration::ZERO), Ok(()));
/// assert_eq!(limiter.attempt(Duration::from_secs(500)), Err(Duration::from_secs(100)));
/// assert_eq!(limiter.attempt(Duration::from_secs(600)), Ok(()));
/// ```
#[derive(Debug)]
pub struct RateLimiter {
    limits: Limits,
    attempts: VecDeque<Duration>,
    closed_until: Duration,
    next_message: Duration,
}

impl RateLimiter {
    /// A limiter without attempts.
    pub fn new(limits: Limits) -> Self {
        let attempts = VecDeque::with_capacity(limits.attempts);
        Self { limits, attempts, closed_until: Duration::ZERO, next_message: Duration::ZERO }
    }

    /// Admits a connection attempt, or returns the time to wait.
    pub fn attempt(&mut self, now: Duration) -> Result<(), Duration> {
        if now < self.closed_until {
            return Err(self.closed_until.saturating_sub(now));
        }
        while self.attempts.front().is_some_and(|at| *at + self.limits.window <= now) {
            self.attempts.pop_front();
        }
        if self.attempts.len() >= self.limits.attempts
            && let Some(oldest) = self.attempts.front()
        {
            return Err((*oldest + self.limits.window).saturating_sub(now));
        }
        self.attempts.push_back(now);
        Ok(())
    }

    /// The time at which the next request may be sent, which is thereby taken.
    pub fn message(&mut self, now: Duration) -> Duration {
        let at = self.next_message.max(now);
        self.next_message = at + self.limits.pace();
        at
    }

    /// The venue is rate limiting: no connection is attempted for this time.
    pub fn close(&mut self, now: Duration, wait: Duration) {
        self.closed_until = self.closed_until.max(now + wait);
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use venues::Venue;

    use super::*;

    #[test]
    fn a_closed_limiter_admits_nothing_until_it_opens() {
        let mut limiter = RateLimiter::new(Venue::Binance.adapter().limits);
        let second = Duration::from_secs(1);
        limiter.close(second, 10 * second);
        limiter.close(second, 5 * second);
        assert_eq!(limiter.attempt(6 * second), Err(5 * second));
        assert_eq!(limiter.attempt(11 * second), Ok(()));
    }

    #[test]
    fn requests_keep_their_distance() {
        let mut limiter = RateLimiter::new(Venue::Binance.adapter().limits);
        let at: Vec<_> = (0..3).map(|_| limiter.message(Duration::ZERO).as_millis()).collect();
        assert_eq!(at, [0, 200, 400]);
        assert_eq!(limiter.message(Duration::from_secs(9)).as_millis(), 9000);
    }

    proptest! {
        #[test]
        fn no_window_has_more_attempts_than_the_budget(
            steps in proptest::collection::vec(0u64..40, 1..200), most in 1usize..8,
        ) {
            let window = Duration::from_millis(100);
            let limits = Limits { attempts: most, window, ..Venue::Deribit.adapter().limits };
            let mut limiter = RateLimiter::new(limits);
            let (mut now, mut admitted) = (Duration::ZERO, Vec::new());
            for step in steps {
                now += Duration::from_millis(step);
                match limiter.attempt(now) {
                    Ok(()) => admitted.push(now),
                    Err(wait) => prop_assert!(!wait.is_zero() && wait <= window),
                }
            }
            for one in &admitted {
                let within = admitted.iter().filter(|at| *at >= one && **at < *one + window);
                prop_assert!(within.count() <= most);
            }
        }
    }
}
