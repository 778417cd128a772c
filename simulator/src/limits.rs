//! The rate limits of a venue: which handshakes and which requests it refuses.
//!
//! Values without a clock. All clients of an address share one budget; Deribit's sockets have a
//! budget of their own.

use std::collections::VecDeque;
use std::time::Duration;

use crate::bucket::TokenBucket;
use crate::faults::{Faults, hits};
use crate::http::Response;
use crate::session::limited;
use crate::venue::Venue;
use crate::{binance, deribit};

/// Microseconds in a second.
const SECOND: i64 = 1_000_000;
/// Seconds to wait for a token: every venue's bucket has room for a request after that.
const EMPTY_WAIT: u64 = 1;

/// The budget of requests that are no handshakes, from the venue's documents.
const fn bucket(venue: Venue, now_us: i64) -> TokenBucket {
    match venue {
        // Eight a second, twenty at once.
        Venue::Coinbase => TokenBucket::new(20, 1, 8, now_us),
        // 6,000 of weight a minute, 25 for each request.
        Venue::Binance => TokenBucket::new(6_000, 25, 100, now_us),
        // One a second, and two at once: a network does not keep the distance of a client.
        Venue::Kraken => TokenBucket::new(2, 1, 1, now_us),
        Venue::Deribit => deribit::requests(now_us),
        // 10,000 in ten minutes.
        Venue::Bitstamp => TokenBucket::new(10_000, 1, 16, now_us),
    }
}

/// The handshakes of one address, of which a window holds a limited number.
#[derive(Debug)]
pub(crate) struct Handshakes {
    most: usize,
    window: Duration,
    admitted: VecDeque<Duration>,
}

impl Handshakes {
    /// The limit of a venue; `None` where no limit is documented.
    pub(crate) fn of(venue: Venue) -> Option<Self> {
        let (most, window) = match venue {
            Venue::Binance => (300, Duration::from_mins(5)),
            Venue::Kraken => (150, Duration::from_mins(10)),
            Venue::Coinbase | Venue::Deribit | Venue::Bitstamp => return None,
        };
        Some(Self { most, window, admitted: VecDeque::new() })
    }

    /// Admits one more, or says how long to wait.
    pub(crate) fn admit(&mut self, now: Duration) -> Result<(), Duration> {
        while self.admitted.front().is_some_and(|at| *at + self.window <= now) {
            self.admitted.pop_front();
        }
        match self.admitted.front() {
            Some(oldest) if self.admitted.len() >= self.most => {
                Err((*oldest + self.window).saturating_sub(now))
            }
            _ => {
                self.admitted.push_back(now);
                Ok(())
            }
        }
    }
}

/// The HTTP requests of an address.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Requests {
    venue: Venue,
    bucket: TokenBucket,
    /// Requests so far.
    seen: u64,
    /// Requests over the limit.
    refused: u64,
    /// Requests before the time that a refusal named.
    impatient: u64,
    closed_until: i64,
}

impl Requests {
    pub(crate) fn new(venue: Venue, now_us: i64) -> Self {
        Self {
            venue,
            bucket: bucket(venue, now_us),
            seen: 0,
            refused: 0,
            impatient: 0,
            closed_until: now_us,
        }
    }

    /// The refusal of one more request, if it is over the limit.
    pub(crate) fn refusal(&mut self, faults: &Faults, now_us: i64) -> Option<Response> {
        self.seen += 1;
        let left = self.closed_until - now_us;
        if left > 0 {
            self.impatient += 1;
            let wait = left.cast_unsigned().div_ceil(SECOND.cast_unsigned());
            return Some(match self.venue {
                Venue::Binance => binance::banned(wait, self.closed_until),
                venue => limited(venue, wait),
            });
        }
        let wait = match (hits(faults.limit_requests_every, self.seen), self.bucket.pay(now_us)) {
            (true, _) => faults.retry_after.as_secs(),
            (false, false) => EMPTY_WAIT,
            (false, true) => return None,
        };
        self.refused += 1;
        let answer = limited(self.venue, wait);
        // A client that is not told how long to wait cannot be impatient.
        let told = answer.retry_after().and_then(|wait| i64::try_from(wait).ok()).unwrap_or(0);
        self.closed_until = now_us.saturating_add(told.saturating_mul(SECOND));
        Some(answer)
    }

    /// The requests over the limit, and those before the time that a refusal named.
    pub(crate) fn refused(&self) -> (u64, u64) {
        (self.refused, self.impatient)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_spent_comes_back_and_no_more_than_that() {
        let mut tokens = bucket(Venue::Kraken, 0);
        let paid = [0, 0, 0, 900_000, 1_000_000, 1_500_000, 2_000_000, 2_000_001];
        let paid = paid.map(|now| tokens.pay(now));
        assert_eq!(paid, [true, true, false, false, true, false, true, false]);
        assert!(tokens.pay(60_000_000) && tokens.pay(60_000_000) && !tokens.pay(60_000_000));
        let mut tokens = bucket(Venue::Binance, 0);
        assert_eq!((0..1_000).filter(|_| tokens.pay(0)).count(), 240);
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
            assert_eq!((at(0), at(0)), (None, Some(limited(venue, 2))), "{venue}");
            let told = [Venue::Coinbase, Venue::Binance, Venue::Bitstamp].contains(&venue);
            let early = at(1_500_000);
            assert_eq!(early.is_some(), told, "{venue}");
            if venue == Venue::Binance {
                assert_eq!(early, Some(binance::banned(1, 2_000_000)));
            }
            assert_eq!(requests.refused(), (1, u64::from(told)), "{venue}");
        }
    }
}
