//! Rate limits by address: one bucket per address, in a bounded table.
//!
//! A bucket is one number, the time at which it is full again (the generic cell rate algorithm). A
//! request advances it by one interval, and is refused when it is too far ahead.

use std::collections::HashMap;
use std::net::IpAddr;

/// Addresses in the table, at some 50 bytes each. Further addresses share one bucket, so that a
/// client with many addresses does not get the rate of each.
const MAX_CLIENTS: usize = 10_000;
const SECOND_US: i64 = 1_000_000;

/// Rates by client.
#[derive(Debug)]
pub(super) struct Rates {
    /// Microseconds, as are the fields below.
    interval: i64,
    burst: i64,
    full_at: HashMap<IpAddr, i64>,
    others_full_at: i64,
}

impl Rates {
    /// Requests per second, and their burst.
    pub(super) fn new(per_second: u32, burst: u32) -> Self {
        let interval = (SECOND_US / i64::from(per_second.max(1))).max(1);
        Self {
            interval,
            burst: interval * i64::from(burst.max(1)),
            full_at: HashMap::new(),
            others_full_at: 0,
        }
    }

    /// Takes one request, or returns the seconds until the next is allowed.
    pub(super) fn take(&mut self, client: IpAddr, now_ms: i64) -> Result<(), u64> {
        let now_us = now_ms.saturating_mul(1000);
        let client = network(client);
        if !self.full_at.contains_key(&client) && self.full_at.len() >= MAX_CLIENTS {
            // A full bucket equals a new one.
            self.full_at.retain(|_, full_at| *full_at > now_us);
        }
        let known = self.full_at.contains_key(&client) || self.full_at.len() < MAX_CLIENTS;
        let full_at = if known {
            self.full_at.entry(client).or_insert(now_us)
        } else {
            &mut self.others_full_at
        };
        // A clock that was set back must not lock out a client.
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

/// The /64 network of an IPv6 address: a client that has one address has all of them.
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
