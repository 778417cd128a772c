//! The shared state of the reads, and the one function by which every route reads.
//!
//! A store may read from disk, so a read runs on the blocking pool. It holds a permit until it is
//! done, also after the client has disconnected.

use std::sync::Arc;

use axum::response::Response;
use prometheus::Registry;
use schemas::topic::Topic;
use schemas::{Codec, FeedMark, LatestPrice, PairKey, Timestamp};
use streams::runtime::Queries;
use streams::store::{Committed, Moment};
use tokio::sync::Semaphore;

use super::answer::{ReadRequest, Representation};
use super::book_reader::BookReader;
use super::budget::Budget;
use super::error::{Refusal, Result};
use super::exchange_cache::ExchangeCache;
use super::extent::Extent;
use super::history::History;
use super::partition_hints::PartitionHints;
use super::store_reader::StoreReader;
use super::{clock, params};
use crate::store_keys;
use crate::topology::store_name;

/// The default limit of concurrent reads: more than a machine's cores run at once, and few enough
/// that each waits milliseconds.
pub(super) const DEFAULT_MAX_READS: usize = 256;
/// Greater than the store key of any feed, which has no base, and no greater than that of any pair.
pub(super) const AFTER_FEEDS: [u8; 1] = [1];

/// The state that the reads share. Clones share it.
#[derive(Clone)]
pub struct ReadService {
    /// The stores of this process.
    pub queries: Queries,
    /// Decodes their values.
    pub codec: Arc<Codec>,
    /// The process's metrics.
    pub registry: Registry,
    /// Candles older than the stores, if a database is configured.
    pub history: Option<Arc<History>>,
    /// The wall clock.
    pub now: fn() -> Timestamp,
    /// The wall clock and the monotonic clock, for ages.
    pub moment: fn() -> Moment,
    /// Permits for reads.
    pub reads: Arc<Semaphore>,
    /// The bound on the memory that readers hold.
    pub budget: Budget,
    /// The partitions in which pairs were last found.
    pub(super) partition_hints: Arc<PartitionHints>,
    /// The partitions in which the quotes of pairs were last found.
    pub(super) quote_hints: Arc<PartitionHints>,
    /// The partitions in which pools were last found.
    pub(super) pool_hints: Arc<PartitionHints>,
    /// The partitions in which tokens were last found.
    pub(super) token_hints: Arc<PartitionHints>,
    /// The exchanges that were gathered last.
    pub(super) exchange_cache: Arc<ExchangeCache>,
}

impl ReadService {
    /// A service on the process's clocks.
    pub fn new(queries: Queries, codec: Arc<Codec>, registry: Registry, budget: Budget) -> Self {
        let reads = Arc::new(Semaphore::new(DEFAULT_MAX_READS));
        let (partition_hints, quote_hints, exchange_cache) = Default::default();
        let (pool_hints, token_hints) = Default::default();
        let (history, now, moment) = (None, clock::now, clock::moment);
        Self {
            queries,
            codec,
            registry,
            history,
            now,
            moment,
            reads,
            budget,
            partition_hints,
            quote_hints,
            pool_hints,
            token_hints,
            exchange_cache,
        }
    }

    /// A reader for each partition of this process.
    pub fn readers(&self) -> Vec<(i32, StoreReader)> {
        StoreReader::of_partitions(&self.queries, &self.codec)
    }

    /// Runs `route` on the blocking pool and answers what it returns.
    pub(super) async fn read(
        self,
        ask: ReadRequest,
        route: impl FnOnce(&mut ReadContext<'_>) -> Result<Representation> + Send + 'static,
    ) -> Result<Response> {
        let permit = Arc::clone(&self.reads).try_acquire_owned().map_err(|_| Refusal::busy())?;
        let max_lag = ask.max_lag_ms()?;
        let work = move || {
            let _permit = permit;
            let now = (self.now)();
            let readers = self.readers();
            let mut reading = ReadContext {
                service: &self,
                readers,
                books: None,
                now,
                extent: Extent::default(),
            };
            let found = route(&mut reading);
            let extent = std::mem::take(&mut reading.extent);
            // Taken at the end: after a pause of the process, a time from the beginning would be
            // too young.
            let at = (self.moment)();
            // The age limit applies to a 404 as well.
            within(max_lag, &extent, at)?;
            ask.answer(found?, &extent, at, &self.budget)
        };
        let joined = tokio::task::spawn_blocking(work).await;
        joined.unwrap_or_else(|error| Err(Refusal::broken(&error)))
    }
}

fn within(max_lag: Option<u64>, extent: &Extent, now: Moment) -> Result<()> {
    let Some(max) = max_lag else {
        return Ok(());
    };
    let lag = extent.lag_ms(now);
    if lag.is_some_and(|lag| lag <= max) {
        return Ok(());
    }
    let shown = lag.map_or("of unknown age".into(), |lag| format!("{lag} ms old"));
    let reason = format!(
        "{}: the answer would be {shown}, and at most {max} ms is accepted",
        params::MAX_LAG
    );
    Err(Refusal::unavailable(reason).with("lag_ms", lag))
}

/// One read: the stores at its beginning.
pub(super) struct ReadContext<'a> {
    pub(super) service: &'a ReadService,
    readers: Vec<(i32, StoreReader)>,
    /// The stores of `quotes`, once the read has used them.
    pub(super) books: Option<Vec<(i32, BookReader)>>,
    /// The time at its beginning.
    pub(super) now: Timestamp,
    /// The extent of what it has read.
    pub(super) extent: Extent,
}

impl ReadContext<'_> {
    /// The partition that has the pair, and its newest price.
    pub(super) fn find(&mut self, pair: &PairKey) -> Result<Option<(usize, LatestPrice)>> {
        let partition_hints = Arc::clone(&self.service.partition_hints);
        let first = partition_hints.recall(pair);
        let first = first.and_then(|first| self.readers.iter().position(|(p, _)| *p == first));
        let others = (0..self.readers.len()).filter(|index| Some(*index) != first);
        for index in first.into_iter().chain(others) {
            let (partition, reader) = &self.readers[index];
            let mut extent = Extent::default();
            extent.add(Topic::Latest, *partition, reader.store(Topic::Latest)?);
            if let Some(latest) = reader.latest(pair)? {
                partition_hints.remember(pair, *partition);
                self.extent.merge(extent);
                return Ok(Some((index, latest)));
            }
        }
        // A pair that is missing everywhere depends on every partition.
        let _every_one = self.all(Topic::Latest)?;
        Ok(None)
    }

    /// The reader of a partition, for a read of these stores.
    pub(super) fn reader(&mut self, index: usize, topics: &[Topic]) -> Result<&StoreReader> {
        let (partition, reader) = &self.readers[index];
        for topic in topics {
            self.extent.add(*topic, *partition, reader.store(*topic)?);
        }
        Ok(reader)
    }

    /// Every reader, for a read of that store.
    pub(super) fn all(&mut self, topic: Topic) -> Result<impl Iterator<Item = &StoreReader>> {
        for (partition, reader) in &self.readers {
            self.extent.add(topic, *partition, reader.store(topic)?);
        }
        Ok(self.readers.iter().map(|(_, reader)| reader))
    }

    /// The newest mark of each exchange's feed, in every partition.
    pub(super) fn feeds(&mut self) -> Result<Vec<(String, FeedMark)>> {
        let mut marks = Vec::new();
        for (partition, store) in self.service.queries.stores(store_name(Topic::Feeds)) {
            self.extent.add(Topic::Feeds, partition, &store);
            marks.extend(self.marks(&store)?);
        }
        Ok(marks)
    }

    /// The newest mark of an exchange's feed in one partition.
    pub(super) fn feed(&mut self, index: usize, exchange: &str) -> Result<Option<FeedMark>> {
        let wanted = self.readers[index].0;
        let stores = self.service.queries.stores(store_name(Topic::Feeds));
        let Some((partition, store)) = stores.into_iter().find(|(p, _)| *p == wanted) else {
            return Ok(None);
        };
        self.extent.add(Topic::Feeds, partition, &store);
        let bytes = store.get(&store_keys::pair_key(&PairKey::feed(exchange)))?;
        let decode = |bytes: Vec<u8>| self.service.codec.decode(&bytes);
        bytes.map(decode).transpose().map_err(|error| Refusal::broken(&error))
    }

    fn marks(&self, store: &Committed) -> Result<Vec<(String, FeedMark)>> {
        // There is one mark per exchange.
        let pairs = store.range(&[], &AFTER_FEEDS, usize::MAX)?;
        let decoded = pairs.into_iter().map(|(key, value)| {
            let feed =
                store_keys::read_pair(&key).ok_or_else(|| Refusal::broken(&"a feed's key"))?;
            let mark = self.service.codec.decode(&value).map_err(|e| Refusal::broken(&e))?;
            Ok((feed.exchange, mark))
        });
        decoded.collect()
    }

    /// Candles older than the stores, if a database is configured.
    pub(super) fn history(&self) -> Option<Arc<History>> {
        self.service.history.clone()
    }

    /// Whether every partition of this process is restored.
    pub(super) fn is_ready(&self) -> bool {
        self.service.queries.is_ready()
    }

    /// The refusal when no partition of this process has the resource.
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
