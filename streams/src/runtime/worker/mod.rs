//! The worker loop: one thread, one member of the group, one producer, the tasks it owns.
//!
//! ```text
//! loop: answer the group ► restore ► take records ► process ► commit when due ► write stores
//! ```
//!
//! Any error ends the loop: the worker is dropped with everything it had not committed, and a new
//! one joins the group and restores the tail. There is no second, special way back.

mod commit;
mod ownership;
mod report;
mod stores;

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use super::config::Config;
use super::consumer::{GroupConsumer, Rebalance};
use super::flusher::Flusher;
use super::native::Taken;
use super::producer::OutputProducer;
use super::queries::Member;
use super::tail::Tail;
use super::{Shared, clock, errors};
use crate::error::Result;
use crate::record::{Batch, Offset, SourceId, Timestamp};
use crate::task::{Consumed, State, Task};

/// How long to wait for records when there are none; bounds how late a commit may be.
const MAX_WAIT: Duration = Duration::from_millis(10);
/// A restoring task's waiting records, in bytes, beyond which its partition is paused.
const MAX_BUFFERED: usize = 4 << 20;
/// Records between two looks at what the caches hold: each look asks every store, and so few records
/// cannot overshoot the bound by more than their own size.
const LOOK_EVERY: usize = 64;
/// Between two readings of lag and sizes.
const METRICS_EVERY: Duration = Duration::from_secs(5);

/// A task and what the runtime knows of it.
struct Owned {
    task: Task,
    resume: Vec<Consumed>,
    /// Records since the last hand-over.
    incoming: Batch,
    /// The newest timestamp taken since the last commit.
    newest: Option<Timestamp>,
    paused: bool,
    label: String,
    started: Instant,
    restored: u64,
}

/// A member of the group.
pub(super) struct Worker<'a> {
    shared: &'a Shared,
    index: usize,
    joined: bool,
    consumer: GroupConsumer,
    producer: OutputProducer,
    tail: Tail,
    flusher: Flusher,
    owned: BTreeMap<i32, Owned>,
    last_commit: Instant,
    /// When the group last took offsets.
    last_proof: Instant,
    last_flush: Instant,
    /// How long the last writing of the stores took.
    flush_took: Duration,
    last_metrics: Instant,
}

impl<'a> Worker<'a> {
    /// Fences the worker's earlier incarnation and joins the group.
    pub(super) fn start(shared: &'a Shared, index: usize) -> Result<Self> {
        let config = &shared.config;
        let name = format!("{}-{}-{index}", config.application_id, shared.instance);
        let producer = OutputProducer::new(config, &shared.topology, &shared.letters, &name)?;
        let consumer = GroupConsumer::new(config, &shared.topology.sources()[0], &name)?;
        // While the group answers.
        let tail = Tail::new(&config.stores(), shared.topology.stores())?;
        let now = clock::instant();
        shared.queries.set_member(index, Member::default());
        Ok(Self {
            shared,
            index,
            joined: false,
            consumer,
            producer,
            tail,
            flusher: Flusher::start(&config.stores())?,
            owned: BTreeMap::new(),
            last_commit: now,
            last_proof: now,
            last_flush: now,
            flush_took: Duration::ZERO,
            last_metrics: now,
        })
    }

    fn config(&self) -> &'a Config {
        &self.shared.config
    }

    /// Runs until it is told to stop, then gives everything back.
    pub(super) fn run(&mut self) -> Result<()> {
        let ran = self.run_until_stopped();
        if ran.is_err() && !self.owned.is_empty() {
            // The log tells of every partition where it went, whoever reads it at night.
            let partitions: Vec<i32> = self.owned.keys().copied().collect();
            tracing::info!(?partitions, lost = true, "partitions revoked");
        }
        ran
    }

    fn run_until_stopped(&mut self) -> Result<()> {
        while !self.shared.stop.is_set() {
            self.turn()?;
        }
        self.commit()?;
        let all: Vec<i32> = self.owned.keys().copied().collect();
        self.give_back(&all)
    }

    fn turn(&mut self) -> Result<()> {
        for rebalance in self.consumer.poll()? {
            self.shared.metrics.rebalances.inc();
            match rebalance {
                Rebalance::Assign(partitions) => self.take_over(&partitions)?,
                Rebalance::Revoke { partitions, lost } => self.revoke(&partitions, lost)?,
            }
            // Not before: a member that has only begun to open its partitions is not ready.
            self.joined = true;
            self.show_member();
        }
        self.restore()?;
        if self.is_ahead_of_disk() {
            clock::wait(MAX_WAIT);
        } else {
            // Else what waits behind a record of many steps would grow.
            if !self.owned.values().any(|owned| owned.task.is_unfinished()) {
                self.take_records()?;
            }
            self.process()?;
        }
        let due = self.last_commit.elapsed() >= self.config().commit_interval;
        if due || self.owned.values().any(|owned| owned.task.wants_commit()) {
            self.commit()?;
        }
        self.write_stores()?;
        self.report();
        Ok(())
    }

    fn take_records(&mut self) -> Result<()> {
        let left = self.config().commit_interval.saturating_sub(self.last_commit.elapsed());
        let restoring = !self.tail.is_empty();
        let wait = if restoring { Duration::ZERO } else { left.min(MAX_WAIT) };
        let Self { consumer, owned, .. } = self;
        let mut failed = Ok(());
        consumer.take(wait, |taken| match taken {
            Taken::Record { partition, offset, timestamp, key, value, .. } => {
                // A partition that was given back may still have records under way.
                if let Some(owned) = owned.get_mut(&partition) {
                    owned.incoming.push(Offset(offset), Timestamp(timestamp), key, value);
                }
            }
            Taken::End { .. } => {}
            Taken::Failed { topic, partition, code } => {
                let topic = String::from_utf8_lossy(topic);
                if let Err(error) = errors::partition(&topic, partition, code) {
                    failed = Err(error);
                }
            }
        });
        failed?;
        for (partition, owned) in &mut self.owned {
            if owned.incoming.is_empty() {
                continue;
            }
            let newest = owned.incoming.iter().map(|row| row.timestamp).max();
            owned.newest = owned.newest.max(newest);
            owned.task.add_records(SourceId(0), std::mem::take(&mut owned.incoming));
            let full = owned.task.buffered_bytes() > MAX_BUFFERED;
            if full && owned.task.state() == State::Restoring && !owned.paused {
                owned.paused = true;
                self.consumer.pause(*partition)?;
            }
        }
        Ok(())
    }

    fn process(&mut self) -> Result<()> {
        let now = clock::now();
        let (last_commit, interval) = (self.last_commit, self.config().commit_interval);
        for owned in self.owned.values_mut() {
            if owned.task.state() != State::Running {
                continue;
            }
            owned.task.punctuate(now)?;
            while !owned.task.wants_commit() && process_some(&mut owned.task)? {
                if owned.task.is_unfinished() && last_commit.elapsed() >= interval {
                    break;
                }
            }
        }
        Ok(())
    }
}

/// Processes up to [`LOOK_EVERY`] records, or one step of a record of many; false when none waits any
/// more.
fn process_some(task: &mut Task) -> Result<bool> {
    for _ in 0..LOOK_EVERY {
        if !task.process()? {
            return Ok(false);
        }
        if task.is_unfinished() {
            break;
        }
    }
    Ok(true)
}
