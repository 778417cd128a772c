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

use crate::operators::{Interval, Window, merge};
use crate::store_keys;
use crate::topology::store_name;

/// Minutes that may be open at once: that of the newest event and the one before.
const OPEN_MINUTES: usize = 2;
/// Pairs per page.
const PAGE: usize = 4096;
/// No store key is greater.
const AFTER_ALL: [u8; 1] = [0xff];

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

impl CandleRange {
    /// Whether the range has more windows than `limit`. Such a range often begins before the first
    /// candle.
    fn is_open_ended(&self) -> bool {
        let windows = self.to.0.saturating_sub(self.from.0) / self.interval.length_ms();
        usize::try_from(windows).is_ok_and(|windows| windows > self.limit)
    }
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

    fn corrupt(topic: Topic, reason: impl std::fmt::Display) -> Error {
        Error::Corrupt(format!("store {}: {reason}", store_name(topic)))
    }

    /// The pairs whose store keys begin with `prefix`, in key order.
    pub fn pairs(&self, prefix: &[u8]) -> Result<Vec<PairKey>> {
        self.each_price(prefix, |pair, _| Ok(pair))
    }

    /// The newest prices of the pairs whose store keys begin with `prefix`, in key order.
    pub fn prices(&self, prefix: &[u8]) -> Result<Vec<(PairKey, LatestPrice)>> {
        self.each_price(prefix, |pair, value| {
            let latest = self.codec.decode(value);
            Ok((pair, latest.map_err(|error| Self::corrupt(Topic::Latest, error))?))
        })
    }

    fn each_price<T>(
        &self,
        prefix: &[u8],
        read: impl Fn(PairKey, &[u8]) -> Result<T>,
    ) -> Result<Vec<T>> {
        let (mut found, mut from) = (Vec::new(), prefix.to_vec());
        let to = store_keys::after_prefix(prefix);
        loop {
            let page = self.latest.range(&from, &to, PAGE)?;
            for (key, value) in &page {
                let pair = store_keys::read_pair(key)
                    .ok_or_else(|| Self::corrupt(Topic::Latest, "a key is not a pair"))?;
                found.push(read(pair, value)?);
            }
            match page.last() {
                Some((key, _)) if page.len() == PAGE => {
                    from.clone_from(key);
                    from.push(0);
                }
                _ => return Ok(found),
            }
        }
    }

    /// The newest price of a pair.
    pub fn latest(&self, pair: &PairKey) -> Result<Option<LatestPrice>> {
        let bytes = self.latest.get(&store_keys::pair_key(pair))?;
        let decode = |bytes: Vec<u8>| self.codec.decode(&bytes);
        bytes.map(decode).transpose().map_err(|error| Self::corrupt(Topic::Latest, error))
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
        let mut found = BTreeMap::new();
        let mut from =
            if range.is_open_ended() { self.next_segment(range, range.from)? } else { range.from };
        while from < range.to && found.len() < range.limit {
            let to = store_keys::segment_end(range.interval, from).min(range.to);
            let part = CandleRange { from, to, limit: range.limit - found.len(), ..range };
            let candles = self.segment(&pair, part)?;
            // Where the pair has no candles, years may pass until the next candle of any pair.
            let go_on = !candles.is_empty() || to == range.to;
            from = if go_on { to } else { self.next_segment(range, to)? };
            found.extend(candles);
        }
        Ok(found)
    }

    /// Candles of a pair within one segment of its store.
    fn segment(&self, pair: &[u8], range: CandleRange) -> Result<Vec<(Timestamp, Candle)>> {
        let topic = range.interval.topic();
        let key = |time| {
            let mut key = Vec::new();
            store_keys::candle_key(range.interval, pair, range.basis, time, &mut key);
            key
        };
        let mut to = key(Timestamp(range.to.0.saturating_sub(1)));
        // Just past the last instant, in the same segment.
        to.push(0);
        let pairs = self.tier(range.interval).range(&key(range.from), &to, range.limit)?;
        let decoded = pairs.into_iter().map(|(key, value)| {
            let time = Self::open_time(topic, &key)?;
            let candle: Candle =
                self.codec.decode(&value).map_err(|error| Self::corrupt(topic, error))?;
            let window = Window::read(candle).map_err(|error| Self::corrupt(topic, error))?;
            Ok((time, window.candle))
        });
        decoded.collect()
    }

    /// The start of the next segment that has candles of any pair, from `from` on; the end of the
    /// range if there is none.
    fn next_segment(&self, range: CandleRange, from: Timestamp) -> Result<Timestamp> {
        let prefix = store_keys::segment_prefix(range.interval, from);
        let first = self.tier(range.interval).range(&prefix, &AFTER_ALL, 1)?;
        let Some((key, _)) = first.first() else { return Ok(range.to) };
        let time = Self::open_time(range.interval.topic(), key)?;
        Ok(store_keys::segment_start(range.interval, time).max(from))
    }

    fn open_time(topic: Topic, key: &[u8]) -> Result<Timestamp> {
        let (_, _, time) = store_keys::read_candle_key(key)
            .ok_or_else(|| Self::corrupt(topic, "a key is not a candle's"))?;
        Ok(time)
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
