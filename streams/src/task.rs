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
use crate::record::{
    Batch, Offset, RepartitionRecord, SinkRecord, SourceRecord, TaskId, Timestamp,
};
use crate::store::Committed;
use crate::topology::{Graph, StoreChanges, Topology};

/// Counts writes to windows that their store has forgotten; they are dropped.
const EXPIRED_WINDOW: &str = "expired_window";

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
    /// Where it stands.
    pub offset: Offset,
    /// Why; a metric label.
    pub reason: &'static str,
    /// As it came.
    pub key: Vec<u8>,
    /// As it came.
    pub value: Option<Vec<u8>>,
}

/// How far the source of a task has been processed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Consumed {
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
    /// Records by repartition topic, in the topology's order.
    pub repartitioned: Vec<Vec<RepartitionRecord>>,
    /// Records that could not be processed.
    pub dead_letters: Vec<DeadLetter>,
    /// How far the source has been processed, when that is to be written.
    pub consumed: Option<Consumed>,
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
        self.consumed.is_none()
            && self.changes.iter().all(StoreChanges::is_empty)
            && self.outputs.iter().all(Vec::is_empty)
            && self.repartitioned.iter().all(Vec::is_empty)
    }
}

/// One partition of a sub-topology.
pub struct Task {
    id: TaskId,
    state: State,
    graph: Graph,
    committed: Vec<Arc<Committed>>,
    buffer: Buffer,
    scope: Scope,
    dead_letters: Vec<DeadLetter>,
    dropped: BTreeMap<&'static str, u64>,
    processed: u64,
    /// The next offset, once anything was processed.
    next: Option<Offset>,
    /// The next offset of the last commit.
    committed_next: Option<Offset>,
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
        id: TaskId,
        committed: Vec<Arc<Committed>>,
        cache_max_bytes: usize,
    ) -> Result<Self> {
        let graph = topology.build(id.sub_topology, &committed)?;
        let shape = topology.sub_topology(id.sub_topology);
        let scope = Scope {
            task: id,
            outputs: vec![Vec::new(); shape.sinks().len()],
            repartitioned: vec![Vec::new(); shape.repartitions().len()],
            stream_time: Timestamp::MIN,
            ..Scope::default()
        };
        Ok(Self {
            id,
            state: State::Created,
            graph,
            committed,
            buffer: Buffer::default(),
            scope,
            dead_letters: Vec::new(),
            dropped: BTreeMap::new(),
            processed: 0,
            next: None,
            committed_next: None,
            committed_stream_time: Timestamp::MIN,
            cache_max_bytes,
            pending: None,
        })
    }

    /// Its sub-topology and partition.
    pub const fn id(&self) -> TaskId {
        self.id
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
    /// offset says.
    pub fn run(&mut self, resume: Option<Consumed>) {
        debug_assert!(matches!(self.state, State::Created | State::Restoring), "it runs once");
        if let Some(consumed) = resume {
            self.committed_next = Some(consumed.next);
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

    /// Appends records of its source.
    pub fn add_records(&mut self, batch: Batch) {
        self.buffer.add(batch);
    }

    /// The next offset to process, with the stream time; `None` before anything was.
    pub fn position(&self) -> Option<Consumed> {
        let next = self.next.or(self.committed_next)?;
        Some(Consumed { next, stream_time: self.scope.stream_time })
    }

    /// The next offset of the last commit.
    pub const fn committed(&self) -> Option<Offset> {
        self.committed_next
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
        let taken = buffer.next(|row, stream_time| {
            scope.offset = row.offset;
            scope.timestamp = row.timestamp;
            scope.stream_time = stream_time;
            debug_assert!(*next <= Some(row.offset), "offsets never go back");
            *next = Some(row.offset.next());
            let record = SourceRecord {
                task: scope.task,
                offset: row.offset,
                timestamp: row.timestamp,
                key: row.key,
                value: row.value,
            };
            match (graph.source)(scope, &record) {
                Err(Failure::Drop(reason)) => {
                    *dropped.entry(reason).or_default() += 1;
                    dead_letters.push(DeadLetter {
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
        self.graph.resume(&mut self.scope).map_err(|failure| not_of_a_record(failure, "resume"))
    }

    /// Calls the processors whose wall-clock schedule is due.
    pub fn punctuate(&mut self, now: Timestamp) -> Result<()> {
        self.punctuate_clock(PunctuationType::WallClock, now)
    }

    fn punctuate_clock(&mut self, clock: PunctuationType, time: Timestamp) -> Result<()> {
        if self.graph.punctuations.is_empty() {
            return Ok(());
        }
        self.graph
            .punctuate(&mut self.scope, clock, time)
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
            repartitioned: self.scope.repartitioned.iter_mut().map(std::mem::take).collect(),
            dead_letters: std::mem::take(&mut self.dead_letters),
            consumed: None,
            dropped: std::mem::take(&mut self.dropped),
            counted: self.scope.take_counts(),
            late: std::mem::take(&mut self.scope.late),
            processed: std::mem::take(&mut self.processed),
        };
        for (store, changes) in self.graph.stores.iter().zip(&mut commit.changes) {
            let expired = (store.drain)(changes)?;
            if expired > 0 {
                *commit.counted.entry(EXPIRED_WINDOW).or_default() += expired;
            }
        }
        // A zombie is fenced by the offset that it sends, so a commit with records has one.
        let is_empty = commit.is_empty();
        let consumed = self.position();
        commit.consumed = consumed.filter(|one| !is_empty || Some(one.next) != self.committed_next);
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
        if let Some(consumed) = commit.consumed {
            self.committed_next = Some(consumed.next);
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
        self.scope.repartitioned.iter_mut().for_each(Vec::clear);
        self.scope.take_counts();
        self.scope.late.clear();
        self.dead_letters.clear();
        self.dropped.clear();
        self.processed = 0;
        self.buffer.restart(self.committed_stream_time);
        self.restart_clock();
        self.scope.again = true;
        self.next = None;
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
