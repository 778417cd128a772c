//! Reads of committed stores: the newest price, and candles over a range of time.
//!
//! An hour or a day in its store is the merge of its *closed* minutes. Here it is merged with the
//! open minutes as well, so that readers see it live.

use std::collections::BTreeMap;
use std::sync::Arc;

use schemas::topic::Topic;
use schemas::{Basis, Candle, CandleKey, Codec, LatestPrice, PairKey, Status, Timestamp};
use streams::runtime::Queries;
use streams::store::Committed;
use streams::{Error, Result, Task};

use super::pair_store::PairStore;
use super::segments::{Segments, WindowRange};
use crate::operators::{Interval, Window, merge};
use crate::store_keys;
use crate::topology::store_name;

/// Minutes that may be open at once: that of the newest event and the one before.
const OPEN_MINUTES: usize = 2;

/// A range of candles of one pair.
#[derive(Clone, Copy, Debug)]
pub struct CandleRange {
    /// Trades or samples.
    pub basis: Basis,
    /// The length of the windows.
    pub interval: Interval,
    /// The first `open_time`.
    pub from: Timestamp,
    /// Before this `open_time`.
    pub to: Timestamp,
    /// The maximum number, the oldest first.
    pub limit: usize,
}

/// The stores of one partition.
pub struct StoreReader {
    codec: Arc<Codec>,
    latest: Arc<Committed>,
    tiers: [Arc<Committed>; 3],
}

impl StoreReader {
    /// A reader of these stores: `latest`, then the tiers from the shortest.
    pub fn new(codec: Arc<Codec>, latest: Arc<Committed>, tiers: [Arc<Committed>; 3]) -> Self {
        Self { codec, latest, tiers }
    }

    /// A reader of a task that runs without a registry.
    pub fn of_task(task: &Task) -> Self {
        let store = |index: usize| Arc::clone(&task.stores()[index]);
        Self::new(Arc::new(Codec::offline()), store(0), [store(1), store(2), store(3)])
    }

    /// The store of `latest` or of a tier.
    pub fn store(&self, topic: Topic) -> Result<&Committed> {
        match topic {
            Topic::Latest => Ok(&self.latest),
            Topic::Ohlc1m => Ok(&self.tiers[0]),
            Topic::Ohlc1h => Ok(&self.tiers[1]),
            Topic::Ohlc1d => Ok(&self.tiers[2]),
            _ => Err(Error::Invalid(format!("{} is not read", store_name(topic)))),
        }
    }

    /// A reader for each partition of this process.
    pub(super) fn of_partitions(queries: &Queries, codec: &Arc<Codec>) -> Vec<(i32, Self)> {
        let stores = |topic| queries.stores(store_name(topic));
        let tiers = [Topic::Ohlc1m, Topic::Ohlc1h, Topic::Ohlc1d].map(stores);
        let readers = stores(Topic::Latest).into_iter().filter_map(|(partition, latest)| {
            // A rebalance may have taken some of them in between.
            let tier = |index: usize| {
                let found = tiers[index].iter().find(|(p, _)| *p == partition);
                found.map(|(_, store)| Arc::clone(store))
            };
            let tiers = [tier(0)?, tier(1)?, tier(2)?];
            Some((partition, Self::new(Arc::clone(codec), latest, tiers)))
        });
        readers.collect()
    }

    fn tier(&self, interval: Interval) -> &Committed {
        match interval {
            Interval::Minute => &self.tiers[0],
            Interval::Hour => &self.tiers[1],
            Interval::Day => &self.tiers[2],
        }
    }

    fn by_pair(&self) -> PairStore<'_> {
        PairStore::new(&self.codec, &self.latest, Topic::Latest)
    }

    /// The pairs whose store keys begin with `prefix`, in key order.
    pub fn pairs(&self, prefix: &[u8]) -> Result<Vec<PairKey>> {
        self.by_pair().pairs(prefix)
    }

    /// The newest prices of the pairs whose store keys begin with `prefix`, in key order.
    pub fn prices(&self, prefix: &[u8]) -> Result<Vec<(PairKey, LatestPrice)>> {
        self.by_pair().values(prefix)
    }

    /// The newest price of a pair.
    pub fn latest(&self, pair: &PairKey) -> Result<Option<LatestPrice>> {
        self.by_pair().get(pair)
    }

    /// The candles of a pair within a range, oldest first.
    pub fn candles(&self, pair: &PairKey, range: CandleRange) -> Result<Vec<(CandleKey, Candle)>> {
        let mut found = self.stored(pair, range)?;
        if range.interval != Interval::Minute {
            self.add_open_minutes(pair, range, &mut found)?;
        }
        let keyed = found.into_iter().take(range.limit).map(|(open_time, candle)| {
            (CandleKey { pair: pair.clone(), basis: range.basis, open_time }, candle)
        });
        Ok(keyed.collect())
    }

    fn stored(&self, pair: &PairKey, range: CandleRange) -> Result<BTreeMap<Timestamp, Candle>> {
        let pair = store_keys::pair_key(pair);
        let segments = Segments {
            store: self.tier(range.interval),
            interval: range.interval,
            topic: range.interval.topic(),
            key: |time| {
                let mut key = Vec::new();
                store_keys::candle_key(range.interval, &pair, range.basis, time, &mut key);
                key
            },
            time: |key| store_keys::read_candle_key(key).map(|(_, _, time)| time),
        };
        let windows = WindowRange { from: range.from, to: range.to, limit: range.limit };
        segments.read(windows, |value| {
            let candle: Candle =
                self.codec.decode(value).map_err(|error| segments.corrupt(error))?;
            Ok(Window::read(candle).map_err(|error| segments.corrupt(error))?.candle)
        })
    }

    fn add_open_minutes(
        &self,
        pair: &PairKey,
        range: CandleRange,
        found: &mut BTreeMap<Timestamp, Candle>,
    ) -> Result<()> {
        let Some(latest) = self.latest(pair)? else {
            return Ok(());
        };
        let minute = Interval::Minute;
        let newest = minute.start(latest.event_time);
        let minutes = CandleRange {
            interval: minute,
            from: Timestamp(newest.0 - minute.length_ms()),
            to: Timestamp(newest.0 + 1),
            limit: OPEN_MINUTES,
            ..range
        };
        for (time, candle) in self.stored(pair, minutes)? {
            let parent = range.interval.start(time);
            if candle.status != Status::Open || parent < range.from || parent >= range.to {
                continue;
            }
            match found.get_mut(&parent) {
                Some(known) => {
                    merge(known, &candle);
                }
                None => {
                    found.insert(parent, candle);
                }
            }
        }
        Ok(())
    }
}
