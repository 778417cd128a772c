//! Follows the tasks that no worker of this process owns: as a standby, or as a view.
//!
//! ```text
//! worker ──claim(task)──► follower      its replicas move to the worker, as they are
//! worker ──release(task)─► follower     opened again, from where the disk is
//! ```
//!
//! A replica is in one place at a time, so a store has one writer. A write that the follower has begun
//! continues when the replica moves, so the store is opened again only after it has ended. Readers keep
//! the store meanwhile: their answers become older and do not fail.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::sync::mpsc::{Receiver, Sender, SyncSender, TryRecvError, channel, sync_channel};
use std::time::Duration;

use super::client::{StoreJob, Topics};
use super::config::DiskSettings;
use super::context::RuntimeContext;
use super::queries::WorkerStatus;
use super::stop::Stop;
use super::tail::Tail;
use crate::error::Result;
use crate::record::TaskId;
use crate::replica::Replica;

/// How long to wait for records when there are none.
const WAIT: Duration = Duration::from_millis(10);
/// Between two looks at the ends of the topics: an answer is no younger than the last that was reached.
/// Each claims each broker once.
const LOOK_EVERY: Duration = Duration::from_millis(250);
/// Between two readings of lag and sizes.
const METRICS_EVERY: Duration = Duration::from_secs(5);
/// How long a stopping follower waits at a time for what is being written.
const JOB_WAIT: Duration = Duration::from_millis(100);

/// Opens the stores of a task, as they are on disk.
pub(super) fn open(
    context: &RuntimeContext<'_>,
    topics: &mut impl Topics,
    task: TaskId,
) -> Result<Vec<Replica>> {
    let specs = context.topology.sub_topology(task.sub_topology).stores();
    let replicas = specs.iter().map(|spec| {
        let disk = topics.open(spec, task.partition)?;
        let replica = Replica::new(spec.clone(), Arc::new(spec.committed(disk)?))?;
        Ok(replica.publishing_to(task.partition, context.queries.changes()))
    });
    replicas.collect()
}

enum Request {
    Claim { task: TaskId, worker: usize, reply: SyncSender<Vec<Replica>> },
    Release { task: TaskId, worker: usize },
    ReleaseAll { worker: usize },
}

/// The workers' side of the follower of their process, if there is one. Clones share it.
#[derive(Clone, Default)]
pub struct FollowerHandle(Option<Sender<Request>>);

/// The requests of workers to a follower, and the tasks that they own. It outlives a follower
/// that fails.
pub struct Claims {
    inbox: Receiver<Request>,
    /// By task, the worker that owns what must not be followed.
    owners: BTreeMap<TaskId, usize>,
    /// Claims of tasks whose stores are still written: one for each task at most.
    deferred: Vec<Request>,
}

/// A task that the follower is asked for.
pub(super) struct Claim(Receiver<Vec<Replica>>);

/// The follower's answer to a claim.
pub(super) enum ClaimReply {
    /// The replicas that it kept warm.
    Replicas(Vec<Replica>),
    /// It has not answered yet.
    Waits,
    /// It keeps none.
    None,
}

impl Claim {
    /// The answer so far.
    pub(super) fn answer(&self) -> ClaimReply {
        match self.0.try_recv() {
            Ok(replicas) if !replicas.is_empty() => ClaimReply::Replicas(replicas),
            Err(TryRecvError::Empty) => ClaimReply::Waits,
            Ok(_) | Err(TryRecvError::Disconnected) => ClaimReply::None,
        }
    }
}

impl FollowerHandle {
    /// A handle of a follower that is still to be started, and its claims.
    pub fn new() -> (Self, Claims) {
        let (sender, inbox) = channel();
        (Self(Some(sender)), Claims { inbox, owners: BTreeMap::new(), deferred: Vec::new() })
    }

    /// There is a follower: released tasks are followed.
    pub(super) const fn is_on(&self) -> bool {
        self.0.is_some()
    }

    fn tell(&self, request: Request) -> bool {
        self.0.as_ref().is_some_and(|follower| follower.send(request).is_ok())
    }

    /// Asks the follower for a task, with the replicas that it keeps of it.
    pub(super) fn claim(&self, task: TaskId, worker: usize) -> Option<Claim> {
        let (reply, answer) = sync_channel(1);
        self.tell(Request::Claim { task, worker, reply }).then_some(Claim(answer))
    }

    /// Releases a task to the follower.
    pub(super) fn release(&self, task: TaskId, worker: usize) {
        self.tell(Request::Release { task, worker });
    }

    /// Releases all tasks of a worker that is gone.
    pub fn release_all(&self, worker: usize) {
        self.tell(Request::ReleaseAll { worker });
    }
}

/// Follows every task that no worker of this process owns.
pub struct Follower<'a, T> {
    topics: T,
    context: RuntimeContext<'a>,
    settings: DiskSettings,
    tasks: Vec<TaskId>,
    tail: Tail,
    /// The tasks of the job under way.
    writing: Option<BTreeSet<TaskId>>,
    followed: BTreeSet<TaskId>,
    shown: BTreeSet<TaskId>,
    last_flush: Duration,
    last_look: Duration,
    last_metrics: Duration,
}

impl<'a, T: Topics> Follower<'a, T> {
    /// A follower of these tasks, which follows none yet.
    pub fn new(
        context: RuntimeContext<'a>,
        settings: DiskSettings,
        tasks: Vec<TaskId>,
        topics: T,
    ) -> Self {
        let now = topics.uptime();
        Self {
            topics,
            context,
            settings,
            tasks,
            tail: Tail::default(),
            writing: None,
            followed: BTreeSet::new(),
            shown: BTreeSet::new(),
            last_flush: now,
            last_look: now,
            last_metrics: now,
        }
    }

    /// Follows until the stop signal. Blocks.
    pub fn run(&mut self, claims: &mut Claims, stop: &Stop) -> Result<()> {
        while !stop.is_set() {
            self.turn(claims)?;
        }
        self.finish()?;
        self.write()?;
        self.finish()
    }

    fn finish(&mut self) -> Result<()> {
        while self.writing.is_some() {
            if self.topics.done(JOB_WAIT)?.is_some() {
                self.writing = None;
            }
        }
        Ok(())
    }

    /// The replicas that it follows, with their tasks.
    pub fn replicas(&self) -> impl Iterator<Item = (TaskId, &Replica)> {
        self.tail.all()
    }

    /// Answers the workers, follows, and writes when it is due.
    pub fn turn(&mut self, claims: &mut Claims) -> Result<()> {
        self.answer(claims)?;
        self.take_up(claims)?;
        self.follow()?;
        self.flush()?;
        self.report(claims)
    }

    fn answer(&mut self, claims: &mut Claims) -> Result<()> {
        let deferred = std::mem::take(&mut claims.deferred);
        for request in deferred.into_iter().chain(claims.inbox.try_iter()) {
            match request {
                Request::Claim { task, worker, reply } => {
                    claims.owners.insert(task, worker);
                    // The worker would open a store that is being written.
                    if self.is_writing(task) && !self.followed.contains(&task) {
                        claims.deferred.push(Request::Claim { task, worker, reply });
                        continue;
                    }
                    let replicas = self.give_away(task)?;
                    // A worker that no longer waits has opened the stores itself.
                    let _ = reply.try_send(replicas);
                }
                Request::Release { task, worker } => {
                    claims.owners.retain(|owned, owner| (*owned, *owner) != (task, worker));
                }
                Request::ReleaseAll { worker } => claims.owners.retain(|_, owner| *owner != worker),
            }
        }
        Ok(())
    }

    fn is_writing(&self, task: TaskId) -> bool {
        self.writing.as_ref().is_some_and(|writing| writing.contains(&task))
    }

    fn give_away(&mut self, task: TaskId) -> Result<Vec<Replica>> {
        self.followed.remove(&task);
        self.shown.remove(&task);
        let replicas = self.tail.remove(&mut self.topics, task)?;
        self.show_progress(task, 0);
        Ok(replicas)
    }

    fn show_progress(&self, task: TaskId, lag: i64) {
        let label = task.to_string();
        let taken: u64 = self.tail.replicas(task).map(Replica::taken).sum();
        let metrics = self.context.metrics;
        metrics.standby_lag.with_label_values(&[&label]).set(lag);
        let taken = i64::try_from(taken).unwrap_or(i64::MAX);
        metrics.standby_records.with_label_values(&[&label]).set(taken);
    }

    /// Opens one task a turn, so that a claim does not wait for all of them.
    fn take_up(&mut self, claims: &Claims) -> Result<()> {
        let free = |task: &TaskId| {
            let is_ours = self.followed.contains(task) || self.is_writing(*task);
            !is_ours && !claims.owners.contains_key(task)
        };
        let Some(task) = self.tasks.iter().copied().find(free) else {
            return Ok(());
        };
        for replica in open(&self.context, &mut self.topics, task)? {
            self.tail.add(&mut self.topics, task, replica)?;
        }
        self.followed.insert(task);
        Ok(())
    }

    fn follow(&mut self) -> Result<()> {
        // Twice the bound waits for a disk that is slow: nothing more is taken until it is written.
        let settings = self.settings;
        if self.tail.overlay_bytes() > 2 * settings.overlay_max_bytes
            || self.tail.restoring_bytes() > settings.restore_max_bytes
        {
            self.topics.wait(WAIT);
            return Ok(());
        }
        for restored in self.tail.poll(&mut self.topics, WAIT)? {
            self.context.metrics.restore_records.inc_by(restored.records);
        }
        let Self { tail, followed, shown, .. } = self;
        let ready = followed.iter().filter(|p| !shown.contains(p) && tail.is_caught_up(**p));
        for task in ready.copied().collect::<Vec<_>>() {
            self.show(task);
        }
        Ok(())
    }

    /// Its stores are readable.
    fn show(&mut self, task: TaskId) {
        for replica in self.tail.replicas(task) {
            let store = Arc::clone(replica.store());
            self.context.queries.add(&replica.spec().name, task.partition.0, store);
        }
        self.shown.insert(task);
        let restored: u64 = self.tail.replicas(task).map(Replica::taken).sum();
        tracing::info!(%task, restored, "following");
    }

    fn flush(&mut self) -> Result<()> {
        if self.writing.is_some() && self.topics.done(Duration::ZERO)?.is_some() {
            self.writing = None;
            self.context.metrics.store_writes.inc();
        }
        let settings = self.settings;
        let full = self.tail.overlay_bytes() > settings.overlay_max_bytes
            || self.tail.restoring_bytes() > settings.restore_max_bytes / 2;
        let due = full || self.since(self.last_flush) >= settings.flush_interval;
        if self.writing.is_some() || !due {
            return Ok(());
        }
        self.last_flush = self.topics.uptime();
        self.write()
    }

    fn write(&mut self) -> Result<()> {
        let frozen = self.tail.freeze()?;
        self.writing = Some(frozen.iter().map(|changelog| changelog.task).collect());
        self.topics.submit(StoreJob::Write(frozen))
    }

    fn since(&self, then: Duration) -> Duration {
        self.topics.uptime().saturating_sub(then)
    }

    fn report(&mut self, claims: &Claims) -> Result<()> {
        let running = self.shown.len();
        let owned = self.tasks.iter().filter(|task| claims.owners.contains_key(task)).count();
        let restoring = (self.tasks.len() - owned).saturating_sub(running);
        self.context.queries.set_follower(WorkerStatus { joined: true, restoring, running });
        if self.since(self.last_look) >= LOOK_EVERY {
            self.last_look = self.topics.uptime();
            self.tail.look_ahead(&mut self.topics)?;
        }
        if self.since(self.last_metrics) < METRICS_EVERY {
            return Ok(());
        }
        self.last_metrics = self.topics.uptime();
        for task in &self.followed {
            self.show_progress(*task, self.tail.remaining(*task));
        }
        let bytes = i64::try_from(self.topics.disk_bytes()).unwrap_or(i64::MAX);
        self.context.metrics.store_size.with_label_values(&["all"]).set(bytes);
        Ok(())
    }
}
