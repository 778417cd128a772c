//! How far the stores have come that an answer was read from.
//!
//! It is taken before the values are: an answer may know more than it says, and never less.

use std::collections::BTreeMap;

use schemas::Timestamp;
use schemas::topic::Topic;
use streams::store::Committed;

use super::answer;
use crate::topology::store_name;

/// Positions of one answer. Beyond it they are left out: a header of more is refused by proxies.
const MAX_POSITIONS: usize = 200;

/// The stores of an answer.
#[derive(Clone, Debug, Default)]
pub(super) struct Extent {
    /// By store and partition: the next offset, where known.
    positions: BTreeMap<(&'static str, i32), Option<i64>>,
    /// The oldest that is known of them.
    oldest: Option<Timestamp>,
    /// Of some nothing is known.
    unknown: bool,
}

impl Extent {
    /// Takes note of a store that is going to be read.
    pub(super) fn add(&mut self, topic: Topic, partition: i32, store: &Committed) {
        let freshness = store.freshness();
        let as_of = freshness.as_of().map(|time| Timestamp(time.0));
        self.unknown |= as_of.is_none();
        self.oldest = older(self.oldest, as_of);
        let next = freshness.next().map(|next| next.0);
        self.positions.insert((store_name(topic), partition), next);
    }

    /// Both were read.
    pub(super) fn merge(&mut self, other: Self) {
        self.unknown |= other.unknown;
        self.oldest = older(self.oldest, other.oldest);
        self.positions.extend(other.positions);
    }

    /// Everything that was committed before is in the answer.
    pub(super) fn as_of(&self) -> Option<Timestamp> {
        self.oldest.filter(|_| !self.unknown)
    }

    /// How long ago that is.
    pub(super) fn lag_ms(&self, now: Timestamp) -> Option<u64> {
        self.as_of().map(|as_of| u64::try_from(now.0.saturating_sub(as_of.0)).unwrap_or(0))
    }

    /// As the header has them.
    pub(super) fn positions(&self) -> Option<String> {
        let known = self.positions.iter().filter_map(|((store, partition), next)| {
            Some((format!("{store}/{partition}"), (*next)?))
        });
        (1..=MAX_POSITIONS).contains(&self.positions.len()).then(|| answer::list(known))
    }
}

fn older(one: Option<Timestamp>, other: Option<Timestamp>) -> Option<Timestamp> {
    one.into_iter().chain(other).min()
}

#[cfg(test)]
mod tests {
    use streams::record::{Offset, Timestamp as Time};
    use streams::store::Memory;

    use super::*;

    #[test]
    fn an_answer_is_as_old_as_the_oldest_store_that_it_was_read_from() {
        let store = || Committed::new(Box::new(Memory::default()));
        let (one, two, unknown) = (store(), store(), store());
        one.freshness().reached(Offset(7), Time(100));
        two.freshness().reached(Offset(9), Time(90));
        let mut extent = Extent::default();
        assert_eq!(extent.as_of(), None);
        extent.add(Topic::Latest, 0, &one);
        extent.add(Topic::Ohlc1m, 0, &two);
        assert_eq!(extent.as_of(), Some(Timestamp(90)));
        assert_eq!(extent.lag_ms(Timestamp(95)), Some(5));
        assert_eq!(extent.positions().as_deref(), Some("latest/0=7,ohlc_1m/0=9"));
        extent.add(Topic::Ohlc1h, 0, &unknown);
        assert_eq!(extent.as_of(), None);
    }
}
