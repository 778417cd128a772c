//! What requests cost, and which of them are one too many.
//!
//! Values without a clock. One address is assumed, as everybody here has: what one client spends
//! another cannot. Deribit's sockets spend from a purse of their own.

use super::faults::Faults;
use super::http::Answer;
use super::{binance, session};
use crate::exchange::Venue;

/// Microseconds in a second.
const SECOND: i64 = 1_000_000;
/// Seconds to wait where the purse is empty: every venue's has room for a request again then.
const EMPTY_WAIT: u64 = 1;

/// What an address may spend on requests of one kind: so much at most, so much for each, and so
/// much comes back in a second.
#[derive(Clone, Copy, Debug)]
pub(super) struct Purse {
    most: i64,
    cost: i64,
    back: i64,
    left: i64,
    as_of: i64,
}

impl Purse {
    /// All of it.
    pub(super) const fn new(most: i64, cost: i64, back: i64, now_us: i64) -> Self {
        Self { most, cost, back, left: most, as_of: now_us }
    }

    /// For requests that are no handshakes, as the venue's documents have it: eight a second and
    /// twenty at once, 6,000 of weight a minute and 25 each, one a second, the venue's credits.
    pub(super) const fn of_requests(venue: Venue, now_us: i64) -> Self {
        match venue {
            Venue::Coinbase => Self::new(20, 1, 8, now_us),
            Venue::Binance => Self::new(6_000, 25, 100, now_us),
            // Two at once: a network does not keep the distance that a client keeps.
            Venue::Kraken => Self::new(2, 1, 1, now_us),
            Venue::Deribit => Self::new(50_000, 500, 10_000, now_us),
        }
    }

    /// Pays for a request, if there is enough.
    pub(super) fn pay(&mut self, now_us: i64) -> bool {
        let back = (now_us - self.as_of).max(0).saturating_mul(self.back) / SECOND;
        if back > 0 {
            self.left = self.left.saturating_add(back).min(self.most);
            // What is not a whole one yet is not lost.
            self.as_of += back.saturating_mul(SECOND) / self.back;
        }
        let paid = self.left >= self.cost;
        self.left -= if paid { self.cost } else { 0 };
        paid
    }
}

/// Requests that were no handshakes.
#[derive(Clone, Copy, Debug)]
pub(super) struct Requests {
    venue: Venue,
    purse: Purse,
    /// How many there were.
    seen: u64,
    /// How many were one too many.
    refused: u64,
    /// How many came before the time that a refusal had named.
    impatient: u64,
    closed_until: i64,
}

impl Requests {
    pub(super) fn new(venue: Venue, now_us: i64) -> Self {
        let purse = Purse::of_requests(venue, now_us);
        Self { venue, purse, seen: 0, refused: 0, impatient: 0, closed_until: now_us }
    }

    /// The refusal of one more request, when it is one too many.
    pub(super) fn refusal(&mut self, faults: &Faults, now_us: i64) -> Option<Answer> {
        self.seen += 1;
        let left = self.closed_until - now_us;
        if left > 0 {
            self.impatient += 1;
            let wait = left.cast_unsigned().div_ceil(SECOND.cast_unsigned());
            return Some(match self.venue {
                Venue::Binance => binance::banned(wait, self.closed_until),
                venue => session::limited(venue, wait),
            });
        }
        let wait = match (faults.limits(self.seen), self.purse.pay(now_us)) {
            (true, _) => faults.retry_after.as_secs(),
            (false, false) => EMPTY_WAIT,
            (false, true) => return None,
        };
        self.refused += 1;
        let answer = session::limited(self.venue, wait);
        // Whoever is not told for how long cannot be impatient.
        let told = answer.retry_after().and_then(|wait| i64::try_from(wait).ok()).unwrap_or(0);
        self.closed_until = now_us.saturating_add(told.saturating_mul(SECOND));
        Some(answer)
    }

    /// How many were refused, and how many came before the time that a refusal had named.
    pub(super) fn refused(&self) -> (u64, u64) {
        (self.refused, self.impatient)
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn what_is_spent_comes_back_and_no_more_than_that() {
        let mut purse = Purse::of_requests(Venue::Kraken, 0);
        let paid = [0, 0, 0, 900_000, 1_000_000, 1_500_000, 2_000_000, 2_000_001];
        let paid = paid.map(|now| purse.pay(now));
        assert_eq!(paid, [true, true, false, false, true, false, true, false]);
        assert!(purse.pay(60_000_000) && purse.pay(60_000_000) && !purse.pay(60_000_000));
        let mut purse = Purse::of_requests(Venue::Binance, 0);
        assert_eq!((0..1_000).filter(|_| purse.pay(0)).count(), 240);
    }

    #[test]
    fn who_does_not_wait_is_refused_again_and_banned_at_binance() {
        let faults = Faults {
            limit_requests_every: Some(2),
            retry_after: Duration::from_secs(2),
            ..Faults::default()
        };
        for venue in Venue::ALL {
            let mut requests = Requests::new(venue, 0);
            let mut at = |now| requests.refusal(&faults, now);
            assert_eq!((at(0), at(0)), (None, Some(session::limited(venue, 2))), "{venue}");
            let told = [Venue::Coinbase, Venue::Binance].contains(&venue);
            let early = at(1_500_000);
            assert_eq!(early.is_some(), told, "{venue}");
            if venue == Venue::Binance {
                assert_eq!(early, Some(binance::banned(1, 2_000_000)));
            }
            assert_eq!(requests.refused(), (1, u64::from(told)), "{venue}");
        }
    }
}
