//! The worker: one member of the group, the tasks that it owns, and a plan of the next steps.
//!
//! A step does at most one call that another member can notice. A composite step calls nothing: it
//! puts its parts on the plan, so a fault can be placed between any two calls. This grammar is the
//! whole machine; [`Worker::step`] takes the next step, and [`Worker::run`] takes all of them.
//!
//! ```text
//! turn      = Poll · assign* · revoke* · Restore · Take · Process · CommitIfDue · WriteStores · Purge · Report
//! assign    = Positions · Open (a task: Follow a store*, Create)* · Decide · Assign
//! revoke    = commit · give back · Unassign        lost: EndWriting · Forget · Unassign
//! commit    = Commit · Begin · Write (a task)* · Flush · SendOffsets · EndCommit
//!             Commit              nothing new
//!             Commit · prove      nothing new, and no proof for a while
//! prove     = Begin · SendOffsets · EndCommit               offsets only
//! round     = BeginRound ···(ends)··· commit · prove · Freeze ···(on disk)···
//! give back = FinishRound · round · FinishRound · Forget
//! stop      = commit · give back · Leave
//! ```
//!
//! Invariants:
//! - Between two turns no commit is prepared and nothing uncommitted is in an overlay.
//! - A store receives a commit only after [`Group::commit`] has returned.
//! - A store is written up to an end that was asked before a commit of this member: a member that was
//!   replaced since then could not have made that commit.
//!
//! Any error ends the worker. It is dropped with everything that is not committed; a new one joins the
//! group and restores the end of its changelogs. There is no other way of recovery.

mod commit;
mod ownership;
mod report;
mod stores;

use std::collections::BTreeMap;
use std::time::Duration;

pub use super::client::{
    Changelog, Fetched, Group, JobResult, MissingOffset, OffsetRange, Rebalance, StartPosition,
    StoreJob, Topics,
};

pub use super::config::{DiskSettings, WorkerSettings};
pub use super::context::RuntimeContext;
pub use super::follower::{Claims, Follower, FollowerHandle};
use super::queries::WorkerStatus;
use super::stop::Stop;
use super::tail::Tail;
use crate::error::Result;
use crate::record::{Batch, SourceRecord, TaskId, Timestamp};
use crate::store::Moment;
use crate::task::{State, Task};
use commit::CommitKind;
use ownership::{Opening, labels};

/// How long to wait for records when there are none; bounds how late a commit may be.
const MAX_WAIT: Duration = Duration::from_millis(10);
/// Records between two looks at what the caches hold: each look asks every store, and so few records
/// cannot overshoot the bound by more than their own size.
const LOOK_EVERY: usize = 64;
/// Between two readings of lag and sizes.
const METRICS_EVERY: Duration = Duration::from_secs(5);

/// A task that the worker owns.
struct Owned {
    task: Task,
    resume: StartPosition,
    /// Records since the last hand-over.
    incoming: Batch,
    /// The newest timestamp taken since the last commit.
    newest: Option<Timestamp>,
    paused: bool,
    label: String,
    started: Duration,
    restored: u64,
}

/// One step of the plan. The grammar above gives its successors.
enum Step {
    Poll,
    Positions(Vec<TaskId>),
    Open(Opening),
    Follow(Opening),
    Decide(Vec<TaskId>),
    Assign(Vec<TaskId>),
    Revoke { tasks: Vec<TaskId>, lost: bool },
    Unassign { tasks: Vec<TaskId>, lost: bool },
    Joined,
    Restore,
    Take,
    Process,
    CommitIfDue,
    Commit,
    Begin(CommitKind),
    Write(TaskId),
    Flush,
    SendOffsets(CommitKind),
    EndCommit(CommitKind, Moment),
    WriteStores,
    Purge,
    BeginRound(Vec<TaskId>),
    FinishRound,
    EndWriting,
    Freeze(Vec<(Changelog, crate::record::Offset)>),
    GiveBack(Vec<TaskId>),
    Forget(Vec<TaskId>),
    Report,
    Leave,
}

/// Whether a worker goes on.
#[derive(Clone, Copy, PartialEq, Eq)]
enum End {
    Open,
    /// The stop signal is set.
    Asked,
    /// It has given everything back.
    Reached,
}

/// A member of the group, and its tasks.
pub struct Worker<'a, G, T> {
    // Dropped first: a member leaves its group before its stores are written.
    group: G,
    topics: T,
    context: RuntimeContext<'a>,
    settings: WorkerSettings,
    standby: FollowerHandle,
    index: usize,
    /// The next step is the last.
    plan: Vec<Step>,
    joined: bool,
    end: End,
    tail: Tail,
    owned: BTreeMap<TaskId, Owned>,
    /// When the commit under way began.
    committing: Option<Duration>,
    last_commit: Duration,
    /// When the group last took offsets.
    last_proof: Duration,
    /// A job is under way.
    writing: bool,
    last_flush: Duration,
    /// How long the last writing of the stores took.
    flush_took: Duration,
    last_purge: Duration,
    last_metrics: Duration,
}

impl<'a, G: Group, T: Topics> Worker<'a, G, T> {
    /// A member that owns nothing yet; `index` is its number among the workers of its process.
    pub fn new(
        context: RuntimeContext<'a>,
        settings: WorkerSettings,
        standby: FollowerHandle,
        index: usize,
        group: G,
        topics: T,
    ) -> Self {
        let now = topics.uptime();
        context.queries.set_member(index, WorkerStatus::default());
        Self {
            group,
            topics,
            context,
            settings,
            standby,
            index,
            plan: Vec::new(),
            joined: false,
            end: End::Open,
            tail: Tail::default(),
            owned: BTreeMap::new(),
            committing: None,
            last_commit: now,
            last_proof: now,
            writing: false,
            last_flush: now,
            flush_took: Duration::ZERO,
            last_purge: now,
            last_metrics: now,
        }
    }

    /// Runs until the stop signal, then gives everything back.
    pub fn run(&mut self, stop: &Stop) -> Result<()> {
        let ran = self.run_until_stopped(stop);
        if ran.is_err() && !self.owned.is_empty() {
            // The log has each task's way, also for a worker that ends.
            let tasks: Vec<TaskId> = self.owned.keys().copied().collect();
            tracing::info!(tasks = labels(&tasks), lost = true, "tasks revoked");
        }
        ran
    }

    fn run_until_stopped(&mut self, stop: &Stop) -> Result<()> {
        while !self.has_stopped() {
            if stop.is_set() {
                self.stop();
            }
            self.step()?;
        }
        Ok(())
    }

    /// After the turn under way it commits, gives everything back, and has stopped.
    pub const fn stop(&mut self) {
        if matches!(self.end, End::Open) {
            self.end = End::Asked;
        }
    }

    /// It has given everything back.
    pub const fn has_stopped(&self) -> bool {
        matches!(self.end, End::Reached)
    }

    /// The turn under way is complete.
    pub const fn is_between_turns(&self) -> bool {
        self.plan.is_empty()
    }

    /// The tasks that it owns.
    pub fn tasks(&self) -> impl Iterator<Item = &Task> {
        self.owned.values().map(|owned| &owned.task)
    }

    /// Takes the next step.
    ///
    /// # Errors
    /// After an error the worker is of no more use: drop it.
    pub fn step(&mut self) -> Result<()> {
        if self.plan.is_empty() {
            self.begin_turn();
        }
        let Some(step) = self.plan.pop() else {
            return Ok(());
        };
        let taken = self.take_step(step);
        if taken.is_err() && self.committing.take().is_some() {
            self.context.metrics.commits.with_label_values(&["failed"]).inc();
        }
        taken
    }

    /// Puts steps in front of the plan.
    fn then(&mut self, steps: impl IntoIterator<Item = Step, IntoIter: DoubleEndedIterator>) {
        self.plan.extend(steps.into_iter().rev());
    }

    fn begin_turn(&mut self) {
        if self.end == End::Asked {
            let all = self.owned.keys().copied().collect();
            self.then([Step::Commit, Step::GiveBack(all), Step::Leave]);
            return;
        }
        self.then([
            Step::Poll,
            Step::Restore,
            Step::Take,
            Step::Process,
            Step::CommitIfDue,
            Step::WriteStores,
            Step::Purge,
            Step::Report,
        ]);
    }

    fn take_step(&mut self, step: Step) -> Result<()> {
        match step {
            Step::Poll => self.poll(),
            Step::Positions(tasks) => self.ask_positions(tasks),
            Step::Open(opening) => self.open(opening),
            Step::Follow(opening) => self.follow(opening),
            Step::Decide(tasks) => self.decide(&tasks),
            Step::Assign(tasks) => self.assign(&tasks),
            Step::Revoke { tasks, lost } => {
                self.revoke(tasks, lost);
                Ok(())
            }
            Step::Unassign { tasks, lost } => self.unassign(&tasks, lost),
            Step::Joined => {
                // Not before: a member that has only begun to open its partitions is not ready.
                self.joined = true;
                self.show_member();
                Ok(())
            }
            Step::Restore => self.restore(),
            Step::Take => self.take_records(),
            Step::Process => self.process(),
            Step::CommitIfDue => {
                self.commit_if_due();
                Ok(())
            }
            Step::Commit => self.commit(),
            Step::Begin(sent) => self.begin(sent),
            Step::Write(task) => self.write(task),
            Step::Flush => self.group.flush(),
            Step::SendOffsets(sent) => self.send_offsets(sent),
            Step::EndCommit(sent, asked) => self.end_commit(sent, asked),
            Step::WriteStores => self.write_stores(),
            Step::Purge => self.purge(),
            Step::BeginRound(tasks) => self.begin_round(&tasks),
            Step::FinishRound => self.finish_round(),
            Step::EndWriting => self.end_writing(),
            Step::Freeze(ends) => self.freeze(ends),
            Step::GiveBack(tasks) => {
                self.give_back(tasks);
                Ok(())
            }
            Step::Forget(tasks) => self.forget(&tasks),
            Step::Report => {
                self.report();
                Ok(())
            }
            Step::Leave => {
                self.end = End::Reached;
                Ok(())
            }
        }
    }

    /// The tasks that process.
    fn running(&self) -> impl Iterator<Item = &Task> {
        let all = self.owned.values().map(|owned| &owned.task);
        all.filter(|task| task.state() == State::Running)
    }

    fn since(&self, then: Duration) -> Duration {
        self.topics.uptime().saturating_sub(then)
    }

    fn take_records(&mut self) -> Result<()> {
        if self.is_ahead_of_disk() {
            self.topics.wait(MAX_WAIT);
            return Ok(());
        }
        // Else what waits behind a record of many steps would grow.
        if self.owned.values().any(|owned| owned.task.is_unfinished()) {
            return Ok(());
        }
        let left = self.settings.commit_interval.saturating_sub(self.since(self.last_commit));
        let wait = if self.tail.is_empty() { left.min(MAX_WAIT) } else { Duration::ZERO };
        let Self { group, owned, .. } = self;
        group.take(wait, |record| {
            // A task that was given back may still have records under way.
            let SourceRecord { task, offset, timestamp, key, value } = record;
            if let Some(owned) = owned.get_mut(&task) {
                owned.incoming.push(offset, timestamp, key, value);
            }
        })?;
        let limit = self.settings.buffer_max_bytes;
        for (task, owned) in &mut self.owned {
            if !owned.hand_over() {
                continue;
            }
            let full = owned.task.buffered_bytes() > limit;
            if full && owned.task.state() == State::Restoring && !owned.paused {
                owned.paused = true;
                self.group.pause(*task)?;
            }
        }
        Ok(())
    }

    fn process(&mut self) -> Result<()> {
        if self.is_ahead_of_disk() {
            return Ok(());
        }
        let now = self.topics.now();
        let Self { topics, owned, last_commit, settings, .. } = self;
        let is_due = || topics.uptime().saturating_sub(*last_commit) >= settings.commit_interval;
        for owned in owned.values_mut() {
            if owned.task.state() != State::Running {
                continue;
            }
            owned.task.punctuate(now)?;
            while !owned.task.wants_commit() && process_some(&mut owned.task)? {
                if owned.task.is_unfinished() && is_due() {
                    break;
                }
            }
        }
        Ok(())
    }
}

impl Owned {
    /// Gives the task what has come for it. False when that is nothing.
    fn hand_over(&mut self) -> bool {
        if self.incoming.is_empty() {
            return false;
        }
        let incoming = std::mem::take(&mut self.incoming);
        self.newest = self.newest.max(incoming.iter().map(|row| row.timestamp).max());
        self.task.add_records(incoming);
        true
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
