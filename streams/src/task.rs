//! A task is a value: records and time go in, one commit comes out.
//!
//! ```text
//! Created ──restored──► Running ──suspend──► Suspended ──close──► Closed
//!    └── Restoring ──────►│   ▲                  │                  ▲
//!                         │   └─────resume───────┘                  │
//!                         └───────────────close─────────────────────┘
//! ```
//!
//! It does no I/O and reads no clock. The caller writes the commit in one transaction; `post_commit`
//! then applies it to the stores.
//!
//! Invariants:
//! - A commit takes effect completely or not at all: after `prepare_commit` nothing is processed
//!   until `post_commit` or `discard`.
//! - Consumed offsets and stream time never go back.
//! - A dropped record is counted and stands in the commit's dead letters.

use std::collections::BTreeMap;
use std::sync::Arc;

use crate::buffer::Buffer;
use crate::error::{Error, Failure, Result};
use crate::processor::Scope;
use crate::punctuation::PunctuationType;
use crate::record::{Batch, Offset, Partition, SinkRecord, SourceId, SourceRecord, Timestamp};
use crate::store::Committed;
use crate::topology::{self, Builder, StoreChanges, Topology};

/// Where a task is in its life.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum State {
    /// Its stores are open and may be behind.
    Created,
    /// Its stores are catching up with their changelogs.
    Restoring,
    /// It processes.
    Running,
    /// It is committed and processes nothing.
    Suspended,
    /// It is of no more use.
    Closed,
}

impl State {
    /// Every state.
    pub const ALL: [Self; 5] =
        [Self::Created, Self::Restoring, Self::Running, Self::Suspended, Self::Closed];

    /// The name, as a metric label.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Created => "created",
            Self::Restoring => "restoring",
            Self::Running => "running",
            Self::Suspended => "suspended",
            Self::Closed => "closed",
        }
    }
}

/// A record that could not be processed, as it came.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DeadLetter {
    /// Where it came from.
    pub source: SourceId,
    /// Where it stands.
    pub offset: Offset,
    /// Why; a metric label.
    pub reason: &'static str,
    /// As it came.
    pub key: Vec<u8>,
    /// As it came.
    pub value: Option<Vec<u8>>,
}

/// How far one source has been processed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Consumed {
    /// The source.
    pub source: SourceId,
    /// The next offset to process.
    pub next: Offset,
    /// The task's stream time, kept beside the offset.
    pub stream_time: Timestamp,
}

/// Everything that one commit writes, all or nothing.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Commit {
    /// Changes by store, in the topology's order; each store's topic gets its own.
    pub changes: Vec<StoreChanges>,
    /// Records by sink, in the topology's order.
    pub outputs: Vec<Vec<SinkRecord>>,
    /// Records that could not be processed.
    pub dead_letters: Vec<DeadLetter>,
    /// How far the sources have been processed.
    pub consumed: Vec<Consumed>,
    /// Records dropped since the last commit, by reason.
    pub dropped: BTreeMap<&'static str, u64>,
    /// Events that processors counted since the last commit.
    pub counted: BTreeMap<&'static str, u64>,
    /// How late the late records were, in milliseconds, since the last commit.
    pub late: Vec<i64>,
    /// Records processed since the last commit.
    pub processed: u64,
}

impl Commit {
    /// No record was consumed, and no store has changed.
    pub fn is_empty(&self) -> bool {
        self.consumed.is_empty()
            && self.changes.iter().all(StoreChanges::is_empty)
            && self.outputs.iter().all(Vec::is_empty)
    }
}

/// One partition of a topology.
pub struct Task {
    partition: Partition,
    state: State,
    graph: Builder,
    committed: Vec<Arc<Committed>>,
    buffer: Buffer,
    scope: Scope,
    dead_letters: Vec<DeadLetter>,
    dropped: BTreeMap<&'static str, u64>,
    processed: u64,
    /// By source: the next offset, once anything was processed.
    next: Vec<Option<Offset>>,
    /// By source: the next offset of the last commit.
    committed_next: Vec<Option<Offset>>,
    /// Stream time of the last commit.
    committed_stream_time: Timestamp,
    cache_max_bytes: usize,
    pending: Option<Commit>,
}

impl Task {
    /// A task over these stores, in the topology's order. It commits early when its caches hold
    /// more than `cache_max_bytes`.
    pub fn new(
        topology: &Topology,
        partition: Partition,
        committed: Vec<Arc<Committed>>,
        cache_max_bytes: usize,
    ) -> Result<Self> {
        let graph = topology.build(committed.clone())?;
        let sources = topology.sources().len();
        let outputs = vec![Vec::new(); topology.sinks().len()];
        Ok(Self {
            partition,
            state: State::Created,
            graph,
            committed,
            buffer: Buffer::new(sources),
            scope: Scope { partition, outputs, stream_time: Timestamp::MIN, ..Scope::default() },
            dead_letters: Vec::new(),
            dropped: BTreeMap::new(),
            processed: 0,
            next: vec![None; sources],
            committed_next: vec![None; sources],
            committed_stream_time: Timestamp::MIN,
            cache_max_bytes,
            pending: None,
        })
    }

    /// The partition of all its sources and outputs.
    pub const fn partition(&self) -> Partition {
        self.partition
    }

    /// Where it is in its life.
    pub const fn state(&self) -> State {
        self.state
    }

    /// The committed state of its stores, in the topology's order.
    pub fn stores(&self) -> &[Arc<Committed>] {
        &self.committed
    }

    /// Its stores are catching up.
    pub fn begin_restore(&mut self) {
        debug_assert_eq!(self.state, State::Created, "only a new task restores");
        self.state = State::Restoring;
    }

    /// Its stores are at the ends of their changelogs; it goes on where the group's committed
    /// offsets say.
    pub fn run(&mut self, resume: &[Consumed]) {
        debug_assert!(matches!(self.state, State::Created | State::Restoring), "it runs once");
        for consumed in resume {
            self.committed_next[consumed.source.0] = Some(consumed.next);
            self.committed_stream_time = self.committed_stream_time.max(consumed.stream_time);
        }
        self.buffer.raise_stream_time(self.committed_stream_time);
        self.restart_clock();
        self.scope.again = true;
        self.state = State::Running;
    }

    /// Stream time, and what follows it, goes on from the last commit.
    fn restart_clock(&mut self) {
        let time = self.committed_stream_time;
        self.scope.stream_time = time;
        let time = Some(time).filter(|time| *time != Timestamp::MIN);
        let punctuations = self.graph.punctuations.iter_mut().map(|(punctuation, _)| punctuation);
        punctuations
            .filter(|punctuation| punctuation.clock() == PunctuationType::StreamTime)
            .for_each(|punctuation| punctuation.restart(time));
    }

    /// Appends records of one source.
    pub fn add_records(&mut self, source: SourceId, batch: Batch) {
        self.buffer.add(source, batch);
    }

    /// The next offset to process of one source; `None` before anything was.
    pub fn position(&self, source: SourceId) -> Option<Offset> {
        let processed = self.next.get(source.0).copied().flatten();
        processed.or_else(|| self.committed_next.get(source.0).copied().flatten())
    }

    /// [`Self::position`] of every source that has one, with the stream time.
    pub fn positions(&self) -> Vec<Consumed> {
        let sources = (0..self.next.len()).map(SourceId);
        let stream_time = self.scope.stream_time;
        let known = sources.filter_map(|source| Some((source, self.position(source)?)));
        known.map(|(source, next)| Consumed { source, next, stream_time }).collect()
    }

    /// Bytes that wait to be processed.
    pub const fn buffered_bytes(&self) -> usize {
        self.buffer.bytes()
    }

    /// Processes the next record, or the next step of the last one; false when none waits.
    ///
    /// # Errors
    /// A record that cannot be processed is no error: it is dropped, counted and kept.
    pub fn process(&mut self) -> Result<bool> {
        debug_assert_eq!(self.state, State::Running, "only a running task processes");
        debug_assert!(self.pending.is_none(), "a prepared commit is not settled");
        if self.scope.again && !self.resume()? {
            return Ok(true);
        }
        let Self { buffer, graph, scope, dead_letters, dropped, next, .. } = self;
        let taken = buffer.next(|source, row, stream_time| {
            scope.offset = row.offset;
            scope.timestamp = row.timestamp;
            scope.stream_time = stream_time;
            debug_assert!(next[source.0] <= Some(row.offset), "offsets never go back");
            next[source.0] = Some(row.offset.next());
            let record = SourceRecord {
                source,
                partition: scope.partition,
                offset: row.offset,
                timestamp: row.timestamp,
                key: row.key,
                value: row.value,
            };
            match graph.sources[source.0].1(scope, &record) {
                Err(Failure::Drop(reason)) => {
                    *dropped.entry(reason).or_default() += 1;
                    dead_letters.push(DeadLetter {
                        source,
                        offset: row.offset,
                        reason,
                        key: row.key.to_vec(),
                        value: row.value.map(<[u8]>::to_vec),
                    });
                    Ok(())
                }
                Err(Failure::Stop(error)) => Err(error),
                Ok(()) => Ok(()),
            }
        });
        let Some(result) = taken else {
            return Ok(false);
        };
        result?;
        self.processed += 1;
        let stream_time = self.scope.stream_time;
        self.punctuate_clock(PunctuationType::StreamTime, stream_time)?;
        Ok(true)
    }

    /// The last record is not done: the next call of [`Self::process`] is another step of it.
    pub fn is_unfinished(&self) -> bool {
        self.state == State::Running && self.scope.again
    }

    /// One more step of the record that is not done; whether it is done now.
    fn resume(&mut self) -> Result<bool> {
        topology::resume(&self.graph, &mut self.scope)
            .map_err(|failure| not_of_a_record(failure, "resume"))
    }

    /// Calls the processors whose wall-clock schedule is due.
    pub fn punctuate(&mut self, now: Timestamp) -> Result<()> {
        self.punctuate_clock(PunctuationType::WallClock, now)
    }

    fn punctuate_clock(&mut self, clock: PunctuationType, time: Timestamp) -> Result<()> {
        if self.graph.punctuations.is_empty() {
            return Ok(());
        }
        topology::punctuate(&mut self.graph.punctuations, &mut self.scope, clock, time)
            .map_err(|failure| not_of_a_record(failure, "punctuate"))
    }

    /// The caches hold more than their bound: commit now.
    pub fn wants_commit(&self) -> bool {
        self.cache_bytes() > self.cache_max_bytes
    }

    /// Bytes of decoded state, an upper estimate.
    pub fn cache_bytes(&self) -> usize {
        self.graph.stores.iter().map(|store| (store.bytes)()).sum()
    }

    /// Everything since the last commit. The task waits until it is settled by
    /// [`Self::post_commit`] or [`Self::discard`].
    pub fn prepare_commit(&mut self) -> Result<&Commit> {
        debug_assert!(self.pending.is_none(), "a prepared commit is not settled");
        let mut commit = Commit {
            changes: vec![StoreChanges::default(); self.graph.stores.len()],
            outputs: self.scope.outputs.iter_mut().map(std::mem::take).collect(),
            dead_letters: std::mem::take(&mut self.dead_letters),
            consumed: Vec::new(),
            dropped: std::mem::take(&mut self.dropped),
            counted: self.scope.take_counts(),
            late: std::mem::take(&mut self.scope.late),
            processed: std::mem::take(&mut self.processed),
        };
        for (store, changes) in self.graph.stores.iter().zip(&mut commit.changes) {
            (store.drain)(changes)?;
        }
        let mut consumed = self.positions();
        // A zombie is fenced by the offsets that it sends, so a commit with records has some.
        if commit.is_empty() {
            consumed.retain(|one| Some(one.next) != self.committed_next[one.source.0]);
        }
        commit.consumed = consumed;
        Ok(self.pending.insert(commit))
    }

    /// The prepared commit, while it is not settled.
    pub const fn pending(&self) -> Option<&Commit> {
        self.pending.as_ref()
    }

    /// The prepared commit is written: applies it to the stores.
    pub fn post_commit(&mut self) {
        let Some(mut commit) = self.pending.take() else {
            return;
        };
        for (store, changes) in self.committed.iter().zip(&mut commit.changes) {
            store.commit(changes.iter().map(|change| (change.store_key, change.value)));
            changes.clear();
        }
        for consumed in &commit.consumed {
            self.committed_next[consumed.source.0] = Some(consumed.next);
            self.committed_stream_time = self.committed_stream_time.max(consumed.stream_time);
        }
        self.trim();
    }

    /// Clean entries may hold half of the bound; the other half is for changes until the next commit.
    /// Above that, each cache evicts the same share of its entries.
    fn trim(&self) {
        let (held, kept) = (self.cache_bytes(), self.cache_max_bytes / 2);
        for store in &self.graph.stores {
            let bytes = (store.bytes)();
            // Of bytes in memory: the product fits into 128 bits, and what comes out is smaller.
            let share = bytes as u128 * kept as u128 / held.max(kept).max(1) as u128;
            (store.trim)(usize::try_from(share).unwrap_or(kept));
        }
    }

    /// Drops the prepared commit and all that was processed since the last one. The caller adds the
    /// records from the committed offsets again.
    pub fn discard(&mut self) {
        self.pending = None;
        self.graph.stores.iter().for_each(|store| (store.discard)());
        self.scope.outputs.iter_mut().for_each(Vec::clear);
        self.scope.take_counts();
        self.scope.late.clear();
        self.dead_letters.clear();
        self.dropped.clear();
        self.processed = 0;
        self.buffer.restart(self.committed_stream_time);
        self.restart_clock();
        self.scope.again = true;
        self.next.fill(None);
    }

    /// Stops processing; what is committed stays.
    pub fn suspend(&mut self) {
        debug_assert!(self.pending.is_none(), "a prepared commit is not settled");
        self.discard();
        self.state = State::Suspended;
    }

    /// Ends its life.
    pub fn close(&mut self) {
        self.state = State::Closed;
    }
}

/// The error of a call that has no record at hand.
fn not_of_a_record(failure: Failure, call: &str) -> Error {
    match failure {
        Failure::Stop(error) => error,
        Failure::Drop(reason) => Error::Invalid(format!(
            "{call} returned Failure::Drop ({reason}), but there is no record to drop: return Failure::Stop"
        )),
    }
}
