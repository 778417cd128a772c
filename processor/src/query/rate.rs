//! How often an address may ask: a bucket for each, in a table that is bounded.
//!
//! A bucket is one number, the time at which it would be full again (the generic cell rate
//! algorithm): a request moves it on by one interval, and is refused when that is too far ahead.

use std::collections::HashMap;
use std::net::IpAddr;

/// Addresses remembered, at some 50 bytes each. Beyond it those that are unknown share one bucket:
/// whoever has so many addresses shall not have the rate of each.
const MAX_CLIENTS: usize = 10_000;
const SECOND_US: i64 = 1_000_000;

/// Rates by client.
#[derive(Debug)]
pub(super) struct Rates {
    /// Microseconds, as all of these are.
    interval: i64,
    burst: i64,
    full_at: HashMap<IpAddr, i64>,
    others_full_at: i64,
}

impl Rates {
    /// So many a second, and so many at once after a pause.
    pub(super) fn new(per_second: u32, burst: u32) -> Self {
        let interval = (SECOND_US / i64::from(per_second.max(1))).max(1);
        Self {
            interval,
            burst: interval * i64::from(burst.max(1)),
            full_at: HashMap::new(),
            others_full_at: 0,
        }
    }

    /// Takes one of the client's requests, or says in how many seconds there is one.
    pub(super) fn take(&mut self, client: IpAddr, now_ms: i64) -> Result<(), u64> {
        let now_us = now_ms.saturating_mul(1000);
        let client = network(client);
        if !self.full_at.contains_key(&client) && self.full_at.len() >= MAX_CLIENTS {
            // A full bucket is as good as none.
            self.full_at.retain(|_, full_at| *full_at > now_us);
        }
        let known = self.full_at.contains_key(&client) || self.full_at.len() < MAX_CLIENTS;
        let full_at = if known {
            self.full_at.entry(client).or_insert(now_us)
        } else {
            &mut self.others_full_at
        };
        // A clock that was set back must not lock anybody out.
        let ahead = full_at.saturating_sub(now_us);
        let start = if ahead > self.burst + self.interval { now_us } else { *full_at };
        let next = start.max(now_us) + self.interval;
        let over = next - now_us - self.burst;
        if over > 0 {
            let seconds = (over + SECOND_US - 1) / SECOND_US;
            return Err(seconds.unsigned_abs());
        }
        *full_at = next;
        Ok(())
    }
}

/// Whoever has one address of version 6 has the 2^64 beside it.
pub(super) fn network(client: IpAddr) -> IpAddr {
    match client.to_canonical() {
        IpAddr::V6(address) => {
            let mask = u128::MAX << 64;
            IpAddr::V6((u128::from(address) & mask).into())
        }
        version_4 @ IpAddr::V4(_) => version_4,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn address(last: u32) -> IpAddr {
        IpAddr::V4((0x0a00_0000 + last).into())
    }

    #[test]
    fn a_burst_is_allowed_and_then_the_rate() {
        let mut rates = Rates::new(10, 3);
        let mut take = |ms| rates.take(address(1), ms).is_ok();
        assert_eq!([0, 0, 0, 0].map(&mut take), [true, true, true, false]);
        assert_eq!([99, 100, 100, 1_000_000].map(&mut take), [false, true, false, true]);
    }

    #[test]
    fn another_client_has_a_bucket_of_its_own_and_a_network_one_in_all() {
        let mut rates = Rates::new(1, 1);
        assert_eq!(rates.take(address(1), 0), Ok(()));
        assert_eq!(rates.take(address(1), 0), Err(1));
        assert_eq!(rates.take(address(2), 0), Ok(()));
        let six = |last: u16| IpAddr::V6([1, 2, 3, 4, 5, 6, 7, last].into());
        assert_eq!(rates.take(six(1), 0), Ok(()));
        assert_eq!(rates.take(six(2), 0), Err(1));
    }

    #[test]
    fn the_table_is_bounded_and_the_idle_make_room() {
        let mut rates = Rates::new(1, 1);
        let many = u32::try_from(MAX_CLIENTS).unwrap();
        assert!((0..many).all(|client| rates.take(address(client), 0).is_ok()));
        assert_eq!(rates.take(address(many), 0), Ok(()));
        assert_eq!(rates.take(address(many + 1), 0), Err(1));
        assert_eq!(rates.full_at.len(), MAX_CLIENTS);
        assert_eq!(rates.take(address(many + 1), 2_000), Ok(()));
        assert_eq!(rates.full_at.len(), 1);
    }

    #[test]
    fn a_clock_that_is_set_back_locks_nobody_out() {
        let mut rates = Rates::new(1, 1);
        assert_eq!(rates.take(address(1), 1_000_000), Ok(()));
        assert_eq!(rates.take(address(1), 0), Ok(()));
    }
}
