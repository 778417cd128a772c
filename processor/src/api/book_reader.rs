//! Reads of the committed stores of `quotes`: the top of a book, and spreads over a range of time.
//!
//! An hour or a day in its store is the merge of its *closed* minutes. Here it is merged with the
//! open minutes as well, so that readers see it live.

use std::collections::BTreeMap;
use std::sync::Arc;

use schemas::topic::Topic;
use schemas::{Codec, PairKey, Spread, Status, Timestamp, TopOfBook};
use streams::runtime::Queries;
use streams::store::Committed;
use streams::{Error, Result};

use super::pair_store::PairStore;
use super::segments::{Segments, WindowRange};
use crate::operators::{Interval, merge_spreads};
use crate::store_keys;
use crate::topology::store_name;

/// Minutes that may be open at once: that of the newest quote and the one before.
const OPEN_MINUTES: usize = 2;
/// The topics of the stores of spreads, from the shortest interval.
const TIERS: [Topic; 3] = [Topic::Spreads1m, Topic::Spreads1h, Topic::Spreads1d];

/// The stores of one partition of `quotes`.
pub(super) struct BookReader {
    codec: Arc<Codec>,
    tops: Arc<Committed>,
    tiers: [Arc<Committed>; 3],
}

impl BookReader {
    /// A reader for each partition of this process.
    pub(super) fn of_partitions(queries: &Queries, codec: &Arc<Codec>) -> Vec<(i32, Self)> {
        let stores = |topic| queries.stores(store_name(topic));
        let tiers = TIERS.map(stores);
        let readers = stores(Topic::TopOfBook).into_iter().filter_map(|(partition, tops)| {
            // A rebalance may have taken some of them in between.
            let tier = |index: usize| {
                let found = tiers[index].iter().find(|(p, _)| *p == partition);
                found.map(|(_, store)| Arc::clone(store))
            };
            let tiers = [tier(0)?, tier(1)?, tier(2)?];
            Some((partition, Self { codec: Arc::clone(codec), tops, tiers }))
        });
        readers.collect()
    }

    /// The store of `top_of_book` or of a tier.
    pub(super) fn store(&self, topic: Topic) -> Result<&Committed> {
        match topic {
            Topic::TopOfBook => Ok(&self.tops),
            Topic::Spreads1m => Ok(&self.tiers[0]),
            Topic::Spreads1h => Ok(&self.tiers[1]),
            Topic::Spreads1d => Ok(&self.tiers[2]),
            _ => Err(Error::Invalid(format!("{} is not read", store_name(topic)))),
        }
    }

    fn by_pair(&self) -> PairStore<'_> {
        PairStore::new(&self.codec, &self.tops, Topic::TopOfBook)
    }

    /// The top of a pair's book.
    pub(super) fn top(&self, pair: &PairKey) -> Result<Option<TopOfBook>> {
        self.by_pair().get(pair)
    }

    /// The tops of the books whose store keys begin with `prefix`, in key order.
    pub(super) fn tops(&self, prefix: &[u8]) -> Result<Vec<(PairKey, TopOfBook)>> {
        self.by_pair().values(prefix)
    }

    fn tier(&self, interval: Interval) -> &Committed {
        match interval {
            Interval::Minute => &self.tiers[0],
            Interval::Hour => &self.tiers[1],
            Interval::Day => &self.tiers[2],
        }
    }

    /// The spreads of a pair within a range, oldest first.
    pub(super) fn spreads(
        &self,
        pair: &PairKey,
        interval: Interval,
        range: WindowRange,
    ) -> Result<Vec<(Timestamp, Spread)>> {
        let mut found = self.stored(pair, interval, range)?;
        if interval != Interval::Minute {
            self.add_open_minutes(pair, interval, range, &mut found)?;
        }
        Ok(found.into_iter().take(range.limit).collect())
    }

    fn stored(
        &self,
        pair: &PairKey,
        interval: Interval,
        range: WindowRange,
    ) -> Result<BTreeMap<Timestamp, Spread>> {
        let pair = store_keys::pair_key(pair);
        let segments = Segments {
            store: self.tier(interval),
            interval,
            topic: interval.spreads_topic(),
            key: |time| {
                let mut key = Vec::new();
                store_keys::spread_key(interval, &pair, time, &mut key);
                key
            },
            time: |key| store_keys::read_spread_key(key).map(|(_, time)| time),
        };
        segments
            .read(range, |value| self.codec.decode(value).map_err(|error| segments.corrupt(error)))
    }

    /// Merges the minutes that are still open, which follow the closed ones in time.
    fn add_open_minutes(
        &self,
        pair: &PairKey,
        interval: Interval,
        range: WindowRange,
        found: &mut BTreeMap<Timestamp, Spread>,
    ) -> Result<()> {
        let Some(top) = self.top(pair)? else {
            return Ok(());
        };
        let minute = Interval::Minute;
        let newest = minute.start(top.since);
        let minutes = WindowRange {
            from: Timestamp(newest.0.saturating_sub(minute.length_ms())),
            to: Timestamp(newest.0.saturating_add(1)),
            limit: OPEN_MINUTES,
        };
        for (time, spread) in self.stored(pair, minute, minutes)? {
            let parent = interval.start(time);
            if spread.status != Status::Open || parent < range.from || parent >= range.to {
                continue;
            }
            match found.get_mut(&parent) {
                Some(known) => merge_spreads(known, &spread),
                None => {
                    found.insert(parent, spread);
                }
            }
        }
        Ok(())
    }
}
