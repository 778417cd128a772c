//! The commit: all changes, outputs and offsets of the tasks in one transaction.

use std::time::Duration;

use super::{Group, Step, Topics, Worker};
use crate::error::{Error, Result};
use crate::record::TaskId;
use crate::runtime::config::Guarantee;
use crate::runtime::queries::Queries;
use crate::store::{Change, Moment};
use crate::task::{Commit, Consumed, State, Task};
use crate::topology::StoreChange;

/// Between two proofs of ownership while there is nothing to commit: an answer of an idle member is no
/// older. Each is a transaction without records: three requests, and a record of each partition in the
/// broker's own `__consumer_offsets`.
const PROOF_EVERY: Duration = Duration::from_secs(1);

/// The content of a transaction.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum CommitKind {
    /// The records of all prepared commits, and their offsets.
    Records,
    /// The offsets of all running tasks. The group takes them from the owner only: a worker that was
    /// paused past its session is fenced here, before its stores claim the next owner's records.
    Proof,
    /// The same while there is nothing to commit: it proves that the stores are complete.
    Idle,
}

/// The changes of a commit by store, when there are listeners.
fn changed(queries: &Queries, commit: Option<&Commit>) -> Vec<Vec<Change>> {
    let heard = commit.filter(|_| queries.changes().has_listeners());
    let stores = heard.iter().flat_map(|commit| &commit.changes);
    let change =
        |change: StoreChange<'_>| (change.store_key.to_vec(), change.value.map(<[u8]>::to_vec));
    stores.map(|drained| drained.iter().map(change).collect()).collect()
}

impl<G: Group, T: Topics> Worker<'_, G, T> {
    pub(super) fn commit_if_due(&mut self) {
        let due = self.since(self.last_commit) >= self.settings.commit_interval;
        if due || self.owned.values().any(|owned| owned.task.wants_commit()) {
            self.then([Step::Commit]);
        }
    }

    /// Commits all that the tasks have done since the last commit.
    pub(super) fn commit(&mut self) -> Result<()> {
        let now = self.topics.uptime();
        self.last_commit = now;
        let (mut empty, mut running) = (true, Vec::new());
        for (task, owned) in &mut self.owned {
            if owned.task.state() == State::Running {
                empty &= owned.task.prepare_commit()?.is_empty();
                running.push(*task);
            }
        }
        if empty {
            self.settle();
            if self.is_proof_due() {
                self.then([Step::Begin(CommitKind::Idle), Step::SendOffsets(CommitKind::Idle)]);
            }
            return Ok(());
        }
        self.committing = Some(now);
        self.then([Step::Flush, Step::SendOffsets(CommitKind::Records)]);
        self.then(running.into_iter().map(Step::Write));
        self.then([Step::Begin(CommitKind::Records)]);
        Ok(())
    }

    /// The last proof of ownership is too old, or a running task has none.
    fn is_proof_due(&self) -> bool {
        let is_known = |task: &Task| {
            task.stores().iter().all(|store| store.freshness().complete_at().is_some())
        };
        let is_due = self.since(self.last_proof) >= PROOF_EVERY || !self.running().all(is_known);
        is_due && self.running().next().is_some() && !self.group.is_lost()
    }

    pub(super) fn begin(&mut self, sent: CommitKind) -> Result<()> {
        // An idle member has nothing to lose: it learns of the loss by the group's answer.
        if sent != CommitKind::Idle && self.group.is_lost() {
            return Err(Error::Fenced(
                "the group has given the partitions to another member".into(),
            ));
        }
        self.group.begin()
    }

    pub(super) fn write(&mut self, task: TaskId) -> Result<()> {
        match self.owned.get(&task).and_then(|owned| owned.task.pending()) {
            Some(commit) => self.group.write(task, commit),
            None => Ok(()),
        }
    }

    pub(super) fn send_offsets(&mut self, sent: CommitKind) -> Result<()> {
        let consumed = |task: &Task| match sent {
            CommitKind::Records => Some((task.id(), task.pending()?.consumed?)),
            CommitKind::Proof | CommitKind::Idle => Some((task.id(), task.position()?)),
        };
        let offsets: Vec<(TaskId, Consumed)> = self.running().filter_map(consumed).collect();
        let asked = self.topics.moment();
        match (self.group.send_offsets(&offsets), sent, self.settings.guarantee) {
            // Without a transaction the producer can go on. The age of answers grows.
            (Err(error), CommitKind::Idle, Guarantee::AtLeastOnce) => {
                tracing::debug!(%error, "no proof of ownership");
                return Ok(());
            }
            (taken, ..) => taken?,
        }
        self.then([Step::EndCommit(sent, asked)]);
        Ok(())
    }

    /// Ends the commit whose offsets the group was asked to take at `asked`.
    pub(super) fn end_commit(&mut self, sent: CommitKind, asked: Moment) -> Result<()> {
        self.group.commit()?;
        if sent == CommitKind::Records {
            let metrics = &self.context.metrics;
            metrics.commits.with_label_values(&["committed"]).inc();
            if let Some(started) = self.committing.take() {
                metrics.commit_duration.observe(self.since(started).as_secs_f64());
            }
            self.count();
            self.settle();
        }
        self.prove(asked);
        Ok(())
    }

    /// No other member had committed anything by `asked`, so the stores are complete up to then.
    fn prove(&mut self, asked: Moment) {
        if self.group.is_lost() {
            return;
        }
        self.last_proof = self.topics.uptime();
        for store in self.running().flat_map(Task::stores) {
            store.freshness().complete(asked);
        }
    }

    /// Applies the written commits to the stores.
    fn settle(&mut self) {
        let queries = self.context.queries;
        for (id, owned) in &mut self.owned {
            let committed = changed(queries, owned.task.pending());
            owned.task.post_commit();
            // Published once they can be read.
            let specs = self.context.topology.sub_topology(id.sub_topology).stores();
            for (spec, changes) in specs.iter().zip(committed) {
                queries.changes().publish_changes(&spec.name, id.partition.0, None, changes);
            }
        }
    }

    /// Deletes records of repartition topics that are committed, at an interval.
    pub(super) fn purge(&mut self) -> Result<()> {
        if self.since(self.last_purge) < self.settings.purge_interval {
            return Ok(());
        }
        self.last_purge = self.topics.uptime();
        let topology = self.context.topology;
        let ours = self
            .running()
            .filter(|task| topology.sub_topology(task.id().sub_topology).is_repartition());
        let committed: Vec<_> =
            ours.filter_map(|task| Some((task.id(), task.committed()?))).collect();
        if committed.is_empty() { Ok(()) } else { self.group.purge(&committed) }
    }

    /// Counts the written commits.
    fn count(&mut self) {
        let metrics = &self.context.metrics;
        let topology = &self.context.topology;
        let now = self.topics.now();
        for (id, owned) in &mut self.owned {
            let Some(commit) = owned.task.pending() else {
                continue;
            };
            metrics.records.processed.with_label_values(&[&owned.label]).inc_by(commit.processed);
            for (reason, count) in &commit.dropped {
                metrics.records.dropped.with_label_values(&[reason]).inc_by(*count);
            }
            for (event, count) in &commit.counted {
                metrics.records.events.with_label_values(&[event]).inc_by(*count);
            }
            metrics.records.late.inc_by(commit.late.len() as u64);
            for late in &commit.late {
                let late = Duration::from_millis(u64::try_from(*late).unwrap_or(0));
                metrics.records.lateness.observe(late.as_secs_f64());
            }
            let shape = topology.sub_topology(id.sub_topology);
            let stores = shape.stores().iter().map(|spec| spec.topic.as_str());
            let changes = commit.changes.iter().map(crate::topology::StoreChanges::len);
            let sinks = shape.sinks().iter().map(String::as_str);
            let outputs = commit.outputs.iter().map(Vec::len);
            let targets = shape.repartitions().iter().map(|id| topology.sub_topology(*id).source());
            let repartitioned = commit.repartitioned.iter().map(Vec::len);
            let written = stores.zip(changes).chain(sinks.zip(outputs));
            for (topic, count) in written.chain(targets.zip(repartitioned)) {
                metrics.records.written.with_label_values(&[topic]).inc_by(count as u64);
            }
            if let Some(newest) = owned.newest.take() {
                let ms = u64::try_from(now.0 - newest.0).unwrap_or(0);
                metrics.end_to_end_latency.observe(Duration::from_millis(ms).as_secs_f64());
            }
        }
    }
}
