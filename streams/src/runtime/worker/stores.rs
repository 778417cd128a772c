//! Writing the stores, a round every few seconds: ask for the changelogs' ends, close the commit that
//! may be open, make sure that we are still the owner, set the changes apart, write them.
//!
//! Why the end is a position: this worker is the only writer of the partition. Every record before
//! the end was committed (or aborted, and is invisible) by the next commit boundary, and is then
//! in the overlay or the store. A record after the end only makes the replay longer.

use std::sync::Arc;
use std::time::Duration;

use super::commit::CommitKind;
use super::{Changelog, Group, JobResult, Step, StoreJob, Topics, Worker};
use crate::error::Result;
use crate::record::{Offset, TaskId};

/// Writing stores takes at most one part in this many of the time, unless a store is full. A longer
/// pause lets the next round merge more changes.
const WRITE_SHARE: u32 = 4;
/// How long one step waits for a job that has to end before anything else.
const JOB_WAIT: Duration = Duration::from_millis(100);

impl<G: Group, T: Topics> Worker<'_, G, T> {
    /// The stores of these tasks that have changes in memory. Stores that are being restored are
    /// written elsewhere.
    fn changelogs(&self, tasks: &[TaskId]) -> Vec<Changelog> {
        let mut changelogs = Vec::new();
        for task in self.running().filter(|task| tasks.contains(&task.id())) {
            let specs = self.context.topology.sub_topology(task.id().sub_topology).stores();
            for (spec, store) in specs.iter().zip(task.stores()) {
                if store.overlay_bytes() > 0 {
                    let (topic, store) = (spec.topic.clone(), Arc::clone(store));
                    changelogs.push(Changelog { topic, task: task.id(), store });
                }
            }
        }
        changelogs
    }

    /// One step of writing the stores; called between two records, where nothing uncommitted is in
    /// any overlay.
    pub(super) fn write_stores(&mut self) -> Result<()> {
        if self.writing {
            if let Some(done) = self.done(Duration::ZERO)? {
                self.go_on(done);
            }
            return Ok(());
        }
        let limit = self.settings.disk.overlay_max_bytes;
        let stores = self.owned.values().flat_map(|owned| owned.task.stores());
        let full = stores.map(|store| store.overlay_bytes()).any(|bytes| bytes > limit);
        let pause = self.settings.disk.flush_interval.max(self.flush_took * WRITE_SHARE);
        if !full && self.since(self.last_flush) < pause {
            return Ok(());
        }
        self.last_flush = self.topics.uptime();
        let all: Vec<TaskId> = self.owned.keys().copied().collect();
        self.begin_round(&all)
    }

    /// The disk is behind by twice the bound: nothing more is processed until it has caught up.
    pub(super) fn is_ahead_of_disk(&self) -> bool {
        let limit = 2 * self.settings.disk.overlay_max_bytes;
        let mut stores = self.owned.values().flat_map(|owned| owned.task.stores());
        self.writing && stores.any(|store| store.live_bytes() > limit)
    }

    /// Asks for the ends of what has changed in these tasks.
    pub(super) fn begin_round(&mut self, tasks: &[TaskId]) -> Result<()> {
        let changed = self.changelogs(tasks);
        if changed.is_empty() { Ok(()) } else { self.submit(StoreJob::Ends(changed)) }
    }

    /// Waits for the round under way.
    pub(super) fn finish_round(&mut self) -> Result<()> {
        if !self.writing {
            return Ok(());
        }
        let done = self.done(JOB_WAIT)?;
        self.then([Step::FinishRound]);
        if let Some(done) = done {
            self.go_on(done);
        }
        Ok(())
    }

    /// Waits for the job under way and ends the round: the next owner in this process must be the only
    /// writer of the stores.
    pub(super) fn end_writing(&mut self) -> Result<()> {
        if self.writing && self.done(JOB_WAIT)?.is_none() {
            self.then([Step::EndWriting]);
        }
        Ok(())
    }

    fn go_on(&mut self, done: JobResult) {
        let JobResult::Ends(ends) = done else {
            self.flush_took = self.since(self.last_flush);
            self.context.metrics.store_writes.inc();
            return;
        };
        // The ends were asked while a commit may have been open; it has to be closed first.
        self.then([
            Step::Commit,
            Step::Begin(CommitKind::Proof),
            Step::SendOffsets(CommitKind::Proof),
            Step::Freeze(ends),
        ]);
    }

    /// Sets apart what the round writes. No task has left since it began: each waits for the
    /// round to end before its task is forgotten.
    pub(super) fn freeze(&mut self, ends: Vec<(Changelog, Offset)>) -> Result<()> {
        let frozen = ends.into_iter().filter(|(changelog, end)| changelog.store.freeze(*end));
        let frozen = frozen.map(|(changelog, _)| changelog).collect();
        self.write_frozen(frozen)
    }

    pub(super) fn write_frozen(&mut self, frozen: Vec<Changelog>) -> Result<()> {
        self.submit(StoreJob::Write(frozen))
    }

    fn submit(&mut self, job: StoreJob) -> Result<()> {
        self.writing = true;
        self.topics.submit(job)
    }

    fn done(&mut self, wait: Duration) -> Result<Option<JobResult>> {
        let done = self.topics.done(wait)?;
        self.writing &= done.is_none();
        Ok(done)
    }
}
