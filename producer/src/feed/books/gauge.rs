//! How many books of a feed are out of sync, and for how long, as metrics.

use std::time::Duration;

use prometheus::{Counter, IntGauge};
use venues::Venue;

use crate::metrics::Metrics;

/// The shortest time between two additions to the counter of seconds, while nothing changes.
const EVERY: Duration = Duration::from_secs(1);

/// The books of one feed in the metrics of its venue. It takes its books out when it is dropped.
#[derive(Debug)]
pub(crate) struct SyncGauge {
    followed: IntGauge,
    out_of_sync: IntGauge,
    seconds: Counter,
    /// The books, and those out of sync, as the gauges have them.
    told: (usize, usize),
    /// The time up to which the seconds are counted.
    since: Duration,
}

impl SyncGauge {
    /// A feed without books.
    pub(crate) fn new(venue: Venue, metrics: &Metrics, now: Duration) -> Self {
        let labels = &[venue.as_str()];
        Self {
            followed: metrics.books.followed.with_label_values(labels),
            out_of_sync: metrics.books.out_of_sync.with_label_values(labels),
            seconds: metrics.books.out_of_sync_seconds.with_label_values(labels),
            told: (0, 0),
            since: now,
        }
    }

    /// The feed has so many books, and so many of them are out of sync, from now on.
    pub(crate) fn set(&mut self, books: usize, out_of_sync: usize, now: Duration) {
        let span = now.saturating_sub(self.since);
        if self.told == (books, out_of_sync) && span < EVERY {
            return;
        }
        let times = u32::try_from(self.told.1).unwrap_or(u32::MAX);
        self.seconds.inc_by((span * times).as_secs_f64());
        self.since = now;
        let difference = |new: usize, old: usize| {
            let signed = |count: usize| i64::try_from(count).unwrap_or(i64::MAX);
            signed(new) - signed(old)
        };
        self.followed.add(difference(books, self.told.0));
        self.out_of_sync.add(difference(out_of_sync, self.told.1));
        self.told = (books, out_of_sync);
    }
}

impl Drop for SyncGauge {
    fn drop(&mut self) {
        self.set(0, 0, self.since);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn feeds_of_a_venue_are_added_up_and_each_second_counts_once_for_a_book() -> anyhow::Result<()>
    {
        let metrics = Metrics::new()?;
        let seconds = Duration::from_secs;
        let labels = &[Venue::Kraken.as_str()];
        let gauges = || {
            let of = &metrics.books;
            let gauges = [&of.followed, &of.out_of_sync];
            gauges.map(|gauge| gauge.with_label_values(labels).get())
        };
        let mut first = SyncGauge::new(Venue::Kraken, &metrics, seconds(0));
        let mut second = SyncGauge::new(Venue::Kraken, &metrics, seconds(0));
        first.set(3, 3, seconds(0));
        second.set(2, 1, seconds(0));
        assert_eq!(gauges(), [5, 4]);
        first.set(3, 1, seconds(10));
        first.set(3, 1, seconds(12));
        second.set(2, 0, seconds(4));
        drop(first);
        assert_eq!(gauges(), [2, 0]);
        let counted = metrics.books.out_of_sync_seconds.with_label_values(labels).get();
        assert!((counted - 36.0).abs() < 1e-9, "3 × 10 + 1 × 2 + 1 × 4, not {counted}");
        Ok(())
    }
}
