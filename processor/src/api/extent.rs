//! The position and the age of the stores that an answer was read from.
//!
//! It is taken before the values are read: an answer may contain more than it states, and never
//! less.

use std::collections::BTreeMap;

use schemas::Timestamp;
use schemas::topic::Topic;
use streams::store::{Committed, Moment};

use crate::topology::store_name;

/// Positions of one answer. More are left out, because proxies refuse longer headers.
const MAX_POSITIONS: usize = 200;

/// The stores of an answer.
#[derive(Clone, Debug, Default)]
pub(super) struct Extent {
    /// By store and partition: the next offset, where known.
    positions: BTreeMap<(&'static str, i32), Option<i64>>,
    /// The oldest freshness of those stores whose freshness is known.
    oldest: Option<Moment>,
    /// Whether the freshness of some store is unknown.
    unknown: bool,
}

impl Extent {
    /// Records a store before it is read.
    pub(super) fn add(&mut self, topic: Topic, partition: i32, store: &Committed) {
        let freshness = store.freshness();
        let complete_at = freshness.complete_at();
        self.unknown |= complete_at.is_none();
        self.oldest = older(self.oldest, complete_at);
        let next = freshness.next().map(|next| next.0);
        self.positions.insert((store_name(topic), partition), next);
    }

    /// Adds the stores of another extent.
    pub(super) fn merge(&mut self, other: Self) {
        self.unknown |= other.unknown;
        self.oldest = older(self.oldest, other.oldest);
        self.positions.extend(other.positions);
    }

    /// The time before which every committed change is in the answer, by the wall clock of `now`.
    pub(super) fn as_of(&self, now: Moment) -> Option<Timestamp> {
        let lag = i64::try_from(self.lag_ms(now)?).unwrap_or(i64::MAX);
        Some(Timestamp(now.wall.0.saturating_sub(lag)))
    }

    /// The age of the answer.
    pub(super) fn lag_ms(&self, now: Moment) -> Option<u64> {
        let oldest = self.oldest.filter(|_| !self.unknown)?;
        Some(u64::try_from(now.ms_since(oldest)).unwrap_or(0))
    }

    /// The `positions` header: `a/0=1,b/2=3`.
    pub(super) fn positions(&self) -> Option<String> {
        let known = self.positions.iter().filter_map(|((store, partition), next)| {
            next.map(|next| format!("{store}/{partition}={next}"))
        });
        let fits = (1..=MAX_POSITIONS).contains(&self.positions.len());
        fits.then(|| known.collect::<Vec<_>>().join(","))
    }
}

fn older(one: Option<Moment>, other: Option<Moment>) -> Option<Moment> {
    one.into_iter().chain(other).reduce(Moment::older)
}

#[cfg(test)]
mod tests {
    use streams::record::{Offset, Timestamp as Time};
    use streams::store::MemoryStore;

    use super::*;

    const fn at(wall: i64, up_ms: i64) -> Moment {
        Moment { wall: Time(wall), up_ms }
    }

    fn store(next: i64, asked: Option<Moment>) -> Committed {
        let store = Committed::new(Box::new(MemoryStore::default()));
        store.freshness().claims(Offset(next));
        if let Some(asked) = asked {
            store.freshness().complete(asked);
        }
        store
    }

    #[test]
    fn an_answer_is_as_old_as_the_oldest_store_that_it_was_read_from() {
        let (one, two) = (store(7, Some(at(1_100, 100))), store(9, Some(at(1_090, 90))));
        let mut extent = Extent::default();
        assert_eq!(extent.as_of(at(1_095, 95)), None);
        extent.add(Topic::Latest, 0, &one);
        extent.add(Topic::Ohlc1m, 0, &two);
        assert_eq!(extent.as_of(at(1_095, 95)), Some(Timestamp(1_090)));
        assert_eq!(extent.lag_ms(at(1_095, 95)), Some(5));
        assert_eq!(extent.positions().as_deref(), Some("latest/0=7,ohlc_1m/0=9"));
        extent.add(Topic::Ohlc1h, 0, &store(1, None));
        assert_eq!(extent.as_of(at(1_095, 95)), None);
    }

    #[test]
    fn no_clock_that_is_set_back_or_stands_still_makes_an_answer_younger() {
        let mut extent = Extent::default();
        extent.add(Topic::Latest, 0, &store(7, Some(at(9_000, 1_000))));
        // An hour back, five seconds later: both values follow the clock of now.
        assert_eq!(extent.lag_ms(at(2_000, 6_000)), Some(5_000));
        assert_eq!(extent.as_of(at(2_000, 6_000)), Some(Timestamp(-3_000)));
        // Suspended for eight seconds, which only the wall clock has counted.
        assert_eq!(extent.lag_ms(at(17_000, 1_001)), Some(8_000));
        // After the clock was set back, the next answer of the broker counts.
        let mut extent = Extent::default();
        let asked_again = store(7, Some(at(9_000, 1_000)));
        asked_again.freshness().complete(at(2_000, 6_000));
        extent.add(Topic::Latest, 0, &asked_again);
        assert_eq!(extent.lag_ms(at(2_100, 6_100)), Some(100));
    }
}
