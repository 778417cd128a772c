//! How long open transactions hold back the readers of a topic.
//!
//! A reader under `read_committed` stops at the last stable offset, where the first open transaction
//! begins. A worker that hangs or dies in a commit holds it back until the broker aborts its transaction
//! (`transaction.timeout.ms`). librdkafka's statistics have both offsets from each fetch, so they cost no
//! request.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use prometheus::IntGaugeVec;
use rdkafka::client::ClientContext;
use rdkafka::consumer::ConsumerContext;
use rdkafka::statistics::Statistics;

use super::clock;

/// Between two statistics of a client, in milliseconds.
pub(super) const STATISTICS_MS: &str = "5000";

/// Topic and partition.
type Place = (String, i32);

/// The last stable offsets of the topics that a client reads. Clones are the same.
#[derive(Clone)]
pub(super) struct StableOffsets(Arc<Shown>);

struct Shown {
    /// Seconds, by topic and partition.
    gauge: IntGaugeVec,
    /// Where a last stable offset was seen first, and when. Used by the client's own thread.
    seen: Mutex<BTreeMap<Place, (i64, Duration)>>,
}

/// Offsets of a partition.
struct Offsets {
    place: Place,
    stable: i64,
    end: i64,
}

impl StableOffsets {
    /// Shown by this gauge.
    pub(super) fn new(gauge: &IntGaugeVec) -> Self {
        Self(Arc::new(Shown { gauge: gauge.clone(), seen: Mutex::default() }))
    }

    /// Takes the statistics of a client that reads.
    pub(super) fn take(&self, statistics: &Statistics) {
        let partitions = statistics.topics.values().flat_map(|topic| {
            let fetched = topic.partitions.values().filter(|one| one.fetch_state == "active");
            // Before the first answer they are negative.
            let known = fetched.filter(|one| one.ls_offset >= 0 && one.hi_offset >= 0);
            known.map(|one| Offsets {
                place: (topic.topic.clone(), one.partition),
                stable: one.ls_offset,
                end: one.hi_offset,
            })
        });
        self.0.note(partitions, clock::uptime());
    }
}

impl Shown {
    fn note(&self, partitions: impl Iterator<Item = Offsets>, now: Duration) {
        let mut seen = self.seen.lock().unwrap_or_else(PoisonError::into_inner);
        let mut gone = std::mem::take(&mut *seen);
        for Offsets { place, stable, end } in partitions {
            let before = gone.remove(&place).filter(|(at, _)| *at == stable && stable < end);
            let since = before.map_or(now, |(_, since)| since);
            let seconds = now.saturating_sub(since).as_secs();
            let labels = [&place.0, &place.1.to_string()];
            self.gauge.with_label_values(&labels).set(i64::try_from(seconds).unwrap_or(i64::MAX));
            seen.insert(place, (stable, since));
        }
        for place in gone.into_keys() {
            self.hide(&place);
        }
    }

    fn hide(&self, (topic, partition): &Place) {
        // Another client of this process may have hidden it.
        let _ = self.gauge.remove_label_values(&[topic, &partition.to_string()]);
    }
}

impl Drop for Shown {
    fn drop(&mut self) {
        let seen = self.seen.get_mut().unwrap_or_else(PoisonError::into_inner);
        for place in std::mem::take(seen).into_keys() {
            self.hide(&place);
        }
    }
}

impl ClientContext for StableOffsets {
    fn stats(&self, statistics: Statistics) {
        self.take(&statistics);
    }
}

impl ConsumerContext for StableOffsets {}

#[cfg(test)]
mod tests {
    use prometheus::Opts;

    use super::*;

    #[test]
    fn only_an_offset_that_stands_still_before_the_end_is_held_back() -> prometheus::Result<()> {
        let gauge = IntGaugeVec::new(Opts::new("held", "held"), &["topic", "partition"])?;
        let offsets = StableOffsets::new(&gauge);
        let held =
            |partition: i32| gauge.with_label_values(&["latest", &partition.to_string()]).get();
        let note = |at: u64, all: &[(i32, i64, i64)]| {
            let all = all.iter().map(|(partition, stable, end)| Offsets {
                place: ("latest".into(), *partition),
                stable: *stable,
                end: *end,
            });
            offsets.0.note(all, Duration::from_secs(at));
        };
        note(100, &[(0, 7, 9), (1, 7, 9), (2, 7, 7)]);
        assert_eq!([0, 1, 2].map(held), [0, 0, 0]);
        // The first stands still, the second moves on, the third is at its end.
        note(105, &[(0, 7, 12), (1, 8, 12), (2, 7, 7)]);
        assert_eq!([0, 1, 2].map(held), [5, 0, 0]);
        note(112, &[(0, 7, 12), (1, 8, 12), (2, 7, 9)]);
        assert_eq!([0, 1, 2].map(held), [12, 7, 7]);
        note(117, &[(0, 12, 12), (1, 8, 12)]);
        assert_eq!([0, 1].map(held), [0, 12]);
        let shown = prometheus::core::Collector::collect(&gauge);
        assert_eq!(shown[0].get_metric().len(), 2, "a partition that is not read is not shown");
        drop(offsets);
        assert!(prometheus::core::Collector::collect(&gauge)[0].get_metric().is_empty());
        Ok(())
    }
}
