//! What is read, and the one way in which every route reads it.
//!
//! A store may have to read its disk, for which the async runtime's own threads must not wait: a
//! read runs on a thread of the blocking pool, and holds a permit for as long as it does, also
//! when whoever asked has gone.

use std::sync::Arc;

use axum::response::Response;
use prometheus::Registry;
use schemas::topic::Topic;
use schemas::{Codec, FeedMark, LatestPrice, PairKey, Timestamp};
use streams::runtime::Queries;
use streams::store::{Committed, Moment};
use tokio::sync::Semaphore;

use super::answer::{Ask, Found};
use super::budget::Budget;
use super::error::Refusal;
use super::exchanges::Gathered;
use super::extent::Extent;
use super::history::History;
use super::places::Places;
use super::read::Reader;
use super::{clock, params};
use crate::layout;
use crate::topology::store_name;

/// Reads at once unless the flags say otherwise: more than the cores of a machine can do at once,
/// and few enough that one waits milliseconds for the others.
pub(super) const DEFAULT_MAX_READS: usize = 256;
/// Greater than the store key of any feed, which has no base, and no greater than that of any pair.
pub(super) const AFTER_FEEDS: [u8; 1] = [1];

/// What the routes read.
#[derive(Clone)]
pub struct Served {
    /// The stores that are here.
    pub queries: Queries,
    /// To read their values.
    pub codec: Arc<Codec>,
    /// The process's metrics.
    pub registry: Registry,
    /// What is older than the stores, where it is kept.
    pub history: Option<Arc<History>>,
    /// The time, which only the edges read.
    pub now: fn() -> Timestamp,
    /// The same on two clocks, for ages.
    pub moment: fn() -> Moment,
    /// Reads that may still begin.
    pub reads: Arc<Semaphore>,
    /// The memory of what readers have not taken yet.
    pub budget: Budget,
    /// Where pairs were last found.
    pub(super) places: Arc<Places>,
    /// What the list of exchanges was made of last.
    pub(super) gathered: Arc<Gathered>,
}

impl Served {
    /// By the wall clock.
    pub fn new(queries: Queries, codec: Arc<Codec>, registry: Registry, budget: Budget) -> Self {
        let reads = Arc::new(Semaphore::new(DEFAULT_MAX_READS));
        let (places, gathered) = (Arc::default(), Arc::default());
        let (history, now, moment) = (None, clock::now, clock::moment);
        Self { queries, codec, registry, history, now, moment, reads, budget, places, gathered }
    }

    /// A reader for each partition that is here.
    pub fn readers(&self) -> Vec<(i32, Reader)> {
        let stores = |topic| self.queries.stores(store_name(topic));
        let tiers = [Topic::Ohlc1m, Topic::Ohlc1h, Topic::Ohlc1d].map(stores);
        let readers = stores(Topic::Latest).into_iter().filter_map(|(partition, latest)| {
            // A rebalance may have taken some of them away in between.
            let tier = |index: usize| {
                let found = tiers[index].iter().find(|(p, _)| *p == partition);
                found.map(|(_, store)| Arc::clone(store))
            };
            let tiers = [tier(0)?, tier(1)?, tier(2)?];
            Some((partition, Reader::new(Arc::clone(&self.codec), latest, tiers)))
        });
        readers.collect()
    }

    /// Answers what `route` finds.
    pub(super) async fn read(
        self,
        ask: Ask,
        route: impl FnOnce(&mut Reading<'_>) -> Result<Found, Refusal> + Send + 'static,
    ) -> Result<Response, Refusal> {
        let permit = Arc::clone(&self.reads).try_acquire_owned().map_err(|_| Refusal::busy())?;
        let max_lag = ask.max_lag_ms()?;
        let work = move || {
            let _permit = permit;
            let now = (self.now)();
            let readers = self.readers();
            let mut reading = Reading { served: &self, readers, now, extent: Extent::default() };
            let found = route(&mut reading);
            let extent = std::mem::take(&mut reading.extent);
            // Not when it began: a process that was stopped in between would say too little.
            let at = (self.moment)();
            // It is too old also when it is that there is nothing.
            within(max_lag, &extent, at)?;
            ask.answer(found?, &extent, at, &self.budget)
        };
        let joined = tokio::task::spawn_blocking(work).await;
        joined.unwrap_or_else(|error| Err(Refusal::broken(&error)))
    }
}

fn within(max_lag: Option<u64>, extent: &Extent, now: Moment) -> Result<(), Refusal> {
    let Some(max) = max_lag else {
        return Ok(());
    };
    let lag = extent.lag_ms(now);
    if lag.is_some_and(|lag| lag <= max) {
        return Ok(());
    }
    let shown = lag.map_or("of unknown age".into(), |lag| format!("{lag} ms old"));
    let reason =
        format!("{}: the answer would be {shown}, and {max} is asked for", params::MAX_LAG);
    Err(Refusal::unavailable(reason).with("lag_ms", lag))
}

/// One read: the stores as they are at its beginning.
pub(super) struct Reading<'a> {
    served: &'a Served,
    readers: Vec<(i32, Reader)>,
    /// When it began.
    pub(super) now: Timestamp,
    /// How old what it has read is.
    pub(super) extent: Extent,
}

impl Reading<'_> {
    /// The partition that knows the pair, and its newest price.
    pub(super) fn find(&mut self, pair: &PairKey) -> Result<Option<(usize, LatestPrice)>, Refusal> {
        let places = Arc::clone(&self.served.places);
        let first = places.recall(pair);
        let first = first.and_then(|first| self.readers.iter().position(|(p, _)| *p == first));
        let others = (0..self.readers.len()).filter(|index| Some(*index) != first);
        for index in first.into_iter().chain(others) {
            let (partition, reader) = &self.readers[index];
            let mut extent = Extent::default();
            extent.add(Topic::Latest, *partition, reader.store(Topic::Latest)?);
            if let Some(latest) = reader.latest(pair)? {
                places.remember(pair, *partition);
                self.extent.merge(extent);
                return Ok(Some((index, latest)));
            }
        }
        // That it is in none of them depends on all of them.
        let _every_one = self.all(Topic::Latest)?;
        Ok(None)
    }

    /// The reader of a partition, which is going to read these stores.
    pub(super) fn reader(&mut self, index: usize, topics: &[Topic]) -> Result<&Reader, Refusal> {
        let (partition, reader) = &self.readers[index];
        for topic in topics {
            self.extent.add(*topic, *partition, reader.store(*topic)?);
        }
        Ok(reader)
    }

    /// Every reader, each of which is going to read that store.
    pub(super) fn all(&mut self, topic: Topic) -> Result<impl Iterator<Item = &Reader>, Refusal> {
        for (partition, reader) in &self.readers {
            self.extent.add(topic, *partition, reader.store(topic)?);
        }
        Ok(self.readers.iter().map(|(_, reader)| reader))
    }

    /// The newest mark of each exchange's feed, in the partition of this reader or in all.
    pub(super) fn feeds(&mut self) -> Result<Vec<(String, FeedMark)>, Refusal> {
        let mut marks = Vec::new();
        for (partition, store) in self.served.queries.stores(store_name(Topic::Feeds)) {
            self.extent.add(Topic::Feeds, partition, &store);
            marks.extend(self.marks(&store)?);
        }
        Ok(marks)
    }

    /// The newest mark of an exchange's feed in one partition.
    pub(super) fn feed(
        &mut self,
        index: usize,
        exchange: &str,
    ) -> Result<Option<FeedMark>, Refusal> {
        let wanted = self.readers[index].0;
        let stores = self.served.queries.stores(store_name(Topic::Feeds));
        let Some((partition, store)) = stores.into_iter().find(|(p, _)| *p == wanted) else {
            return Ok(None);
        };
        self.extent.add(Topic::Feeds, partition, &store);
        let bytes = store.get(&layout::pair_key(&PairKey::feed(exchange)))?;
        let decode = |bytes: Vec<u8>| self.served.codec.decode(&bytes);
        bytes.map(decode).transpose().map_err(|error| Refusal::broken(&error))
    }

    fn marks(&self, store: &Committed) -> Result<Vec<(String, FeedMark)>, Refusal> {
        // As many as there are exchanges.
        let pairs = store.range(&[], &AFTER_FEEDS, usize::MAX)?;
        let decoded = pairs.into_iter().map(|(key, value)| {
            let feed = layout::read_pair(&key).ok_or_else(|| Refusal::broken(&"a feed's key"))?;
            let mark = self.served.codec.decode(&value).map_err(|e| Refusal::broken(&e))?;
            Ok((feed.exchange, mark))
        });
        decoded.collect()
    }

    /// What is older than the stores, where it is kept.
    pub(super) fn history(&self) -> Option<Arc<History>> {
        self.served.history.clone()
    }

    /// Every partition that will be here is here.
    pub(super) fn is_ready(&self) -> bool {
        self.served.queries.is_ready()
    }

    /// What to say of something that is in none of the partitions that are here.
    pub(super) fn not_here(&self, what: &str) -> Refusal {
        let partitions: Vec<i32> = self.readers.iter().map(|(partition, _)| *partition).collect();
        if !self.is_ready() {
            let reason = format!("{what} is not in the partitions that are restored so far");
            return Refusal::unavailable(reason).with("partitions", partitions);
        }
        let reason = format!("{what} is not in the partitions of this member");
        Refusal::not_found(reason).with("partitions", partitions)
    }
}
