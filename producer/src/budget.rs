//! What a venue lets one address do: how many connections, streams, messages and attempts.
//!
//! | venue | streams a connection | connections | messages | attempts |
//! |---|---|---|---|---|
//! | Coinbase | 50: "spread products over sockets" | 20: their handshakes take 3 s at 8 requests/s | 100/s documented; 10 | 8/s: 480 a minute |
//! | Binance | 1024, documented | 300: as many as may be opened in 5 minutes | 5/s, documented | 300 in 5 minutes, documented |
//! | Kraken | 400: nothing is documented | 20: well below what an address may open | "dynamic"; 2/s | 150 in 10 minutes, documented (Cloudflare) |
//! | Deribit | 500: nothing is documented | 32 an address, HTTP included: 30 | 3.3/s, documented | 60 a minute: nothing is documented |
//!
//! Where the venue's documents say nothing, the number is one with which a lost connection costs
//! little and a plan stays small. Every one of them can be set by a flag.
//!
//! Both types are values: time is an argument.

use std::collections::VecDeque;
use std::time::Duration;

use crate::exchange::Venue;

/// What one address may do at a venue.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Budget {
    /// Streams over one connection.
    pub streams: usize,
    /// Connections at a time.
    pub connections: usize,
    /// Requests in ten seconds, over all connections.
    pub messages_in_10s: u32,
    /// Attempts to connect in [`Self::window`].
    pub attempts: usize,
    /// The time in which attempts are counted.
    pub window: Duration,
}

impl Budget {
    /// The venue's, from the table above.
    pub const fn of(venue: Venue) -> Self {
        let (streams, connections, messages_in_10s, attempts, seconds) = match venue {
            Venue::Coinbase => (50, 20, 100, 480, 60),
            Venue::Binance => (1024, 300, 50, 300, 300),
            Venue::Kraken => (400, 20, 20, 150, 600),
            Venue::Deribit => (500, 30, 33, 60, 60),
        };
        let window = Duration::from_secs(seconds);
        Self { streams, connections, messages_in_10s, attempts, window }
    }

    /// The time from one request to the next.
    pub fn pace(&self) -> Duration {
        Duration::from_secs(10) / self.messages_in_10s.max(1)
    }
}

/// Admits attempts and requests of all connections of one process, within a [`Budget`].
///
/// Invariant: within any window, no more attempts are admitted than the budget has, and none
/// while the venue wants to be left alone.
///
/// ```
/// use std::time::Duration;
/// use producer::budget::{Budget, Gate};
/// use producer::exchange::Venue;
/// let mut gate = Gate::new(Budget { attempts: 1, ..Budget::of(Venue::Kraken) });
/// assert_eq!(gate.attempt(Duration::ZERO), Ok(()));
/// assert_eq!(gate.attempt(Duration::from_secs(500)), Err(Duration::from_secs(100)));
/// assert_eq!(gate.attempt(Duration::from_secs(600)), Ok(()));
/// ```
#[derive(Debug)]
pub struct Gate {
    budget: Budget,
    attempts: VecDeque<Duration>,
    closed_until: Duration,
    next_message: Duration,
}

impl Gate {
    /// Nothing has been attempted.
    pub fn new(budget: Budget) -> Self {
        let attempts = VecDeque::with_capacity(budget.attempts);
        Self { budget, attempts, closed_until: Duration::ZERO, next_message: Duration::ZERO }
    }

    /// Admits an attempt to connect, or says how long to wait before asking again.
    pub fn attempt(&mut self, now: Duration) -> Result<(), Duration> {
        if now < self.closed_until {
            return Err(self.closed_until.saturating_sub(now));
        }
        while self.attempts.front().is_some_and(|at| *at + self.budget.window <= now) {
            self.attempts.pop_front();
        }
        if self.attempts.len() >= self.budget.attempts
            && let Some(oldest) = self.attempts.front()
        {
            return Err((*oldest + self.budget.window).saturating_sub(now));
        }
        self.attempts.push_back(now);
        Ok(())
    }

    /// The time at which the next request may be sent, which is thereby taken.
    pub fn message(&mut self, now: Duration) -> Duration {
        let at = self.next_message.max(now);
        self.next_message = at + self.budget.pace();
        at
    }

    /// The venue wants to be left alone: nobody connects for so long.
    pub fn close(&mut self, now: Duration, wait: Duration) {
        self.closed_until = self.closed_until.max(now + wait);
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn a_closed_gate_admits_nobody_until_it_opens() {
        let mut gate = Gate::new(Budget::of(Venue::Binance));
        let second = Duration::from_secs(1);
        gate.close(second, 10 * second);
        gate.close(second, 5 * second);
        assert_eq!(gate.attempt(6 * second), Err(5 * second));
        assert_eq!(gate.attempt(11 * second), Ok(()));
    }

    #[test]
    fn requests_keep_their_distance() {
        let mut gate = Gate::new(Budget::of(Venue::Binance));
        let at: Vec<_> = (0..3).map(|_| gate.message(Duration::ZERO).as_millis()).collect();
        assert_eq!(at, [0, 200, 400]);
        assert_eq!(gate.message(Duration::from_secs(9)).as_millis(), 9000);
    }

    proptest! {
        #[test]
        fn no_window_has_more_attempts_than_the_budget(
            steps in proptest::collection::vec(0u64..40, 1..200), most in 1usize..8,
        ) {
            let window = Duration::from_millis(100);
            let budget = Budget { attempts: most, window, ..Budget::of(Venue::Deribit) };
            let mut gate = Gate::new(budget);
            let (mut now, mut admitted) = (Duration::ZERO, Vec::new());
            for step in steps {
                now += Duration::from_millis(step);
                match gate.attempt(now) {
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
