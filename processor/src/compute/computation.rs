//! The topology as one task of each sub-topology with stores in memory: outputs of feeds in, records of
//! topics out.
//!
//! Time is that of the recording: a record has the time at which its frame was received. The same
//! outputs in the same order give the same records, byte for byte.

use std::sync::Arc;

use anyhow::Result;
use schemas::avro::Record;
use schemas::topic::Topic;
use schemas::{Codec, Instrument, PairKey, PoolKey};
use streams::dead_letter::{self, cut};
use streams::record::{Batch, Offset, RepartitionRecord, SubTopologyId, TaskId, Timestamp};
use streams::store::{Committed, MemoryStore};
use streams::task::DeadLetter;
use streams::topology::SubTopology;
use streams::{Task, Topology};
use venues::pipeline::{self, Output};

use crate::api::store_reader::StoreReader;
use crate::topology::{self, Topologies};

/// Bytes of decoded state between two commits.
const CACHE_MAX_BYTES: usize = 256 << 20;
/// Every topic has one partition here.
const PARTITION: i32 = 0;

/// A record as a topic would hold it.
pub(super) struct Written<'a> {
    pub(super) topic: &'a str,
    /// Empty when there is none.
    pub(super) key: &'a [u8],
    /// The key of the store that the topic is the changelog of, whose order is that of reads; the
    /// key itself for other topics.
    pub(super) order: &'a [u8],
    /// `None` is a tombstone.
    pub(super) value: Option<&'a [u8]>,
    pub(super) headers: Vec<(&'a str, &'a str)>,
}

impl<'a> Written<'a> {
    fn new(topic: &'a str, key: &'a [u8], value: Option<&'a [u8]>) -> Self {
        Self { topic, key, order: key, value, headers: Vec::new() }
    }
}

/// Gets each record in the order written.
pub(super) type Take<'a> = dyn FnMut(&Written<'_>) -> Result<()> + 'a;

/// Records for the task of another sub-topology.
type Repartitioned = (SubTopologyId, Vec<RepartitionRecord>);

/// The task of one sub-topology.
struct Part {
    task: Task,
    batch: Batch,
    next: Offset,
}

impl Part {
    /// Appends a record of its source.
    fn push(&mut self, time: Timestamp, key: &[u8], value: Option<&[u8]>) {
        self.batch.push(self.next, time, key, value);
        self.next = self.next.next();
    }

    fn new(topology: &Topology, id: usize) -> Result<Self> {
        let of = TaskId::new(id, PARTITION);
        let store = |_| Arc::new(Committed::new(Box::new(MemoryStore::default())));
        let stores = topology.sub_topology(of.sub_topology).stores().iter().map(store).collect();
        let mut task = Task::new(topology, of, stores, CACHE_MAX_BYTES)?;
        task.run(None);
        Ok(Self { task, batch: Batch::default(), next: Offset(0) })
    }
}

/// The tasks and what they have set apart.
pub(super) struct Computation {
    codec: Arc<Codec>,
    topology: Topology,
    /// In the order of the sub-topologies; a table has no task that computes.
    parts: Vec<Option<Part>>,
    commit_every: usize,
    /// The listed instruments, until the first output tells the time.
    listed: Vec<(PairKey, Instrument)>,
    /// Lines and frames that could not be read.
    malformed: u64,
    /// Records that the task refused.
    invalid: usize,
    /// Events that were too late for any candle.
    late: usize,
}

impl Computation {
    /// A computation that begins with the facts of these instruments.
    pub(super) fn new(commit_every: usize, listed: Vec<(PairKey, Instrument)>) -> Result<Self> {
        let codec = Arc::new(Codec::offline());
        let topology = topology::topology(&codec, "", Topologies::ALL)?;
        let part = |(id, one): (usize, &SubTopology)| {
            (!one.is_table()).then(|| Part::new(&topology, id)).transpose()
        };
        let parts =
            topology.sub_topologies().iter().enumerate().map(part).collect::<Result<_>>()?;
        Ok(Self { codec, topology, parts, commit_every, listed, malformed: 0, invalid: 0, late: 0 })
    }

    /// Adds an output that was received at a time; commits when enough records wait.
    pub(super) fn add(
        &mut self,
        at: schemas::Timestamp,
        output: &Output,
        take: &mut Take<'_>,
    ) -> Result<()> {
        // A line that cannot be read has no time.
        if at.0 > 0 {
            self.list(at, take)?;
        }
        match output {
            Output::Event { pair, event } => self.record(Topic::Events, at, pair, event, take),
            Output::Mark { exchange, mark } => {
                self.record(Topic::Events, at, &PairKey::feed(*exchange), mark, take)
            }
            Output::Gap { pair, mark } => self.record(Topic::Events, at, pair, mark, take),
            Output::Quote { pair, quote } => self.record(Topic::Quotes, at, pair, quote, take),
            Output::BookMark { pair, mark } => self.record(Topic::Quotes, at, pair, mark, take),
            Output::BookClock { exchange, mark } => {
                self.record(Topic::Quotes, at, &PairKey::feed(*exchange), mark, take)
            }
            Output::Book { pair, book } => self.record(Topic::Books, at, pair, book, take),
            Output::Ticker { pair, ticker } => {
                self.record(Topic::OptionTickers, at, pair, &**ticker, take)
            }
            Output::Instrument { pair, instrument } => {
                self.record(Topic::OptionTickers, at, pair, instrument, take)
            }
            Output::TickerClock { exchange, mark } => {
                self.record(Topic::OptionTickers, at, &PairKey::feed(*exchange), mark, take)
            }
            Output::Swap { key, swap } => self.record(Topic::Swaps, at, key, &**swap, take),
            Output::Pool { key, pool } => self.record(Topic::Swaps, at, key, &**pool, take),
            Output::Head { chain, head } => {
                self.record(Topic::Swaps, at, &PoolKey::of_chain(*chain), head, take)
            }
            Output::DeadLetter(letter) => {
                self.malformed += 1;
                refused(letter, take)
            }
        }
    }

    /// Writes the facts of the listed instruments, as a producer does when it begins: as of the first
    /// output, because the listing may be of another time.
    fn list(&mut self, at: schemas::Timestamp, take: &mut Take<'_>) -> Result<()> {
        for (pair, listed) in std::mem::take(&mut self.listed) {
            let listed = Instrument { event_time: at, received_at: at, ..listed };
            self.record(Topic::OptionTickers, at, &pair, &listed, take)?;
        }
        Ok(())
    }

    /// Writes a record of an input topic, and gives it to the task that reads the topic, if one does.
    fn record<K: Record, R: Record>(
        &mut self,
        topic: Topic,
        at: schemas::Timestamp,
        key: &K,
        value: &R,
        take: &mut Take<'_>,
    ) -> Result<()> {
        let (key, value) = (self.codec.to_bytes(key), self.codec.to_bytes(value));
        take(&Written::new(topic.base_name(), &key, Some(&value)))?;
        let of = self.topology.of_source(topic.base_name());
        let Some(part) = of.and_then(|id| self.parts[id.0].as_mut()) else {
            return Ok(());
        };
        part.push(Timestamp(at.0), &key, Some(&value));
        if part.batch.len() < self.commit_every { Ok(()) } else { self.commit(take) }
    }

    /// Processes all that waits and commits it: a task after those that write its source, so that the
    /// records of a repartition topic come in the order of their commits.
    pub(super) fn commit(&mut self, take: &mut Take<'_>) -> Result<()> {
        for id in 0..self.parts.len() {
            for (target, records) in self.commit_part(id, take)? {
                // A repartition topic's task comes after the one that writes it.
                let Some(part) = self.parts[target.0].as_mut() else { continue };
                for RepartitionRecord { timestamp, record } in records {
                    part.push(timestamp, &record.key, record.value.as_deref());
                }
            }
        }
        Ok(())
    }

    /// Commits one task. Returns its records for other tasks.
    fn commit_part(&mut self, id: usize, take: &mut Take<'_>) -> Result<Vec<Repartitioned>> {
        let Some(Part { task, batch, .. }) = self.parts[id].as_mut() else {
            return Ok(Vec::new());
        };
        task.add_records(std::mem::take(batch));
        while task.process()? {}
        let shape = self.topology.sub_topology(task.id().sub_topology);
        let commit = task.prepare_commit()?;
        for (store, changes) in shape.stores().iter().zip(&commit.changes) {
            for change in changes.iter() {
                let record = Written::new(&store.topic, change.topic_key, change.value);
                take(&Written { order: change.store_key, ..record })?;
            }
        }
        for (topic, records) in shape.sinks().iter().zip(&commit.outputs) {
            self.late += records.len();
            for record in records {
                take(&Written::new(topic, &record.key, record.value.as_deref()))?;
            }
        }
        self.invalid += commit.dead_letters.len();
        for letter in &commit.dead_letters {
            dropped(shape.source(), letter, take)?;
        }
        let targets = shape.repartitions().iter().copied();
        let repartitioned = targets.zip(commit.repartitioned.iter().cloned()).collect();
        task.post_commit();
        Ok(repartitioned)
    }

    /// A reader of candles and prices; `None` when prices are not computed.
    pub(super) fn reader(&self) -> Option<StoreReader> {
        let prices = self.topology.of_source(Topic::Events.base_name())?;
        self.parts[prices.0].as_ref().map(|part| StoreReader::of_task(&part.task))
    }

    /// Logs how many records are in no candle, if there are any.
    pub(super) fn warn(&self) {
        let Self { malformed, invalid, late, .. } = *self;
        if malformed > 0 || invalid > 0 || late > 0 {
            tracing::warn!(
                malformed,
                invalid,
                late,
                "records are in no candle and no spread: print dead_letters (malformed, invalid) and late"
            );
        }
    }
}

/// Input that could not be read, as the producer publishes it.
fn refused(letter: &pipeline::DeadLetter, take: &mut Take<'_>) -> Result<()> {
    let cut = cut(&[], Some(letter.raw.as_bytes()), dead_letter::MAX_BYTES);
    let length = letter.raw.len().to_string();
    let mut headers = letter.headers(&length);
    headers.extend(cut.headers.iter().map(|(name, text)| (*name, &text[..])));
    take(&Written { headers, ..Written::new(Topic::DeadLetters.base_name(), cut.key, cut.value) })
}

/// A record that the task dropped, as the processor publishes it.
fn dropped(source: &str, letter: &DeadLetter, take: &mut Take<'_>) -> Result<()> {
    let cut = cut(&letter.key, letter.value.as_deref(), dead_letter::MAX_BYTES);
    let [partition, offset] = [PARTITION.to_string(), letter.offset.to_string()];
    let mut headers = vec![
        ("topic", source),
        ("partition", &partition),
        ("offset", &offset),
        ("reason", letter.reason),
    ];
    headers.extend(cut.headers.iter().map(|(name, text)| (*name, &text[..])));
    take(&Written { headers, ..Written::new(Topic::DeadLetters.base_name(), cut.key, cut.value) })
}
