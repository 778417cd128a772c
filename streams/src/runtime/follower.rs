//! Follows the partitions that no worker of this process owns: as a standby, or as a view.
//!
//! ```text
//! worker ──claim(partition)──► follower      its replicas move to the worker, as they are
//! worker ──release(partition)─► follower     opened again, from where the disk is
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
use crate::record::Partition;
use crate::replica::Replica;
use crate::store::Committed;

/// How long to wait for records when there are none.
const WAIT: Duration = Duration::from_millis(10);
/// Between two looks at the ends of the topics: an answer is no younger than the last that was reached.
/// Each claims each broker once.
const LOOK_EVERY: Duration = Duration::from_millis(250);
/// Between two readings of lag and sizes.
const METRICS_EVERY: Duration = Duration::from_secs(5);
/// How long a stopping follower waits at a time for what is being written.
const JOB_WAIT: Duration = Duration::from_millis(100);

/// Opens the stores of a partition, as they are on disk.
pub(super) fn open(
    context: &RuntimeContext<'_>,
    topics: &mut impl Topics,
    partition: Partition,
) -> Result<Vec<Replica>> {
    let replicas = context.topology.stores().iter().map(|spec| {
        let disk = topics.open(spec, partition)?;
        let replica = Replica::new(spec.clone(), Arc::new(Committed::new(disk)))?;
        Ok(replica.publishing_to(partition, context.queries.changes()))
    });
    replicas.collect()
}

enum Request {
    Claim { partition: Partition, worker: usize, reply: SyncSender<Vec<Replica>> },
    Release { partition: Partition, worker: usize },
    ReleaseAll { worker: usize },
}

/// The workers' side of the follower of their process, if there is one. Clones share it.
#[derive(Clone, Default)]
pub struct FollowerHandle(Option<Sender<Request>>);

/// The requests of workers to a follower, and the partitions that they own. It outlives a follower
/// that fails.
pub struct Claims {
    inbox: Receiver<Request>,
    /// By partition, the worker that owns what must not be followed.
    owners: BTreeMap<Partition, usize>,
    /// Claims of partitions whose stores are still written: one for each partition at most.
    deferred: Vec<Request>,
}

/// A partition that the follower is asked for.
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

    /// There is a follower: released partitions are followed.
    pub(super) const fn is_on(&self) -> bool {
        self.0.is_some()
    }

    fn tell(&self, request: Request) -> bool {
        self.0.as_ref().is_some_and(|follower| follower.send(request).is_ok())
    }

    /// Claims the follower for a partition, with the replicas that it keeps of it.
    pub(super) fn claim(&self, partition: Partition, worker: usize) -> Option<Claim> {
        let (reply, answer) = sync_channel(1);
        self.tell(Request::Claim { partition, worker, reply }).then_some(Claim(answer))
    }

    /// Releases a partition to the follower.
    pub(super) fn release(&self, partition: Partition, worker: usize) {
        self.tell(Request::Release { partition, worker });
    }

    /// Releases all partitions of a worker that is gone.
    pub fn release_all(&self, worker: usize) {
        self.tell(Request::ReleaseAll { worker });
    }
}

/// Follows every partition that no worker of this process owns.
pub struct Follower<'a, T> {
    topics: T,
    context: RuntimeContext<'a>,
    settings: DiskSettings,
    partitions: i32,
    tail: Tail,
    /// The partitions of the job under way.
    writing: Option<BTreeSet<Partition>>,
    followed: BTreeSet<Partition>,
    shown: BTreeSet<Partition>,
    last_flush: Duration,
    last_look: Duration,
    last_metrics: Duration,
}

impl<'a, T: Topics> Follower<'a, T> {
    /// A follower of so many partitions, which follows none yet.
    pub fn new(
        context: RuntimeContext<'a>,
        settings: DiskSettings,
        partitions: i32,
        topics: T,
    ) -> Self {
        let now = topics.uptime();
        Self {
            topics,
            context,
            settings,
            partitions,
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

    /// The replicas that it follows, with their partitions.
    pub fn replicas(&self) -> impl Iterator<Item = (Partition, &Replica)> {
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
                Request::Claim { partition, worker, reply } => {
                    claims.owners.insert(partition, worker);
                    // The worker would open a store that is being written.
                    if self.is_writing(partition) && !self.followed.contains(&partition) {
                        claims.deferred.push(Request::Claim { partition, worker, reply });
                        continue;
                    }
                    let replicas = self.give_away(partition)?;
                    // A worker that no longer waits has opened the stores itself.
                    let _ = reply.try_send(replicas);
                }
                Request::Release { partition, worker } => {
                    claims.owners.retain(|owned, owner| (*owned, *owner) != (partition, worker));
                }
                Request::ReleaseAll { worker } => claims.owners.retain(|_, owner| *owner != worker),
            }
        }
        Ok(())
    }

    fn is_writing(&self, partition: Partition) -> bool {
        self.writing.as_ref().is_some_and(|writing| writing.contains(&partition))
    }

    fn give_away(&mut self, partition: Partition) -> Result<Vec<Replica>> {
        self.followed.remove(&partition);
        self.shown.remove(&partition);
        let replicas = self.tail.remove(&mut self.topics, partition)?;
        self.show_progress(partition, 0);
        Ok(replicas)
    }

    fn show_progress(&self, partition: Partition, lag: i64) {
        let label = format!("0_{partition}");
        let taken: u64 = self.tail.replicas(partition).map(Replica::taken).sum();
        let metrics = self.context.metrics;
        metrics.standby_lag.with_label_values(&[&label]).set(lag);
        let taken = i64::try_from(taken).unwrap_or(i64::MAX);
        metrics.standby_records.with_label_values(&[&label]).set(taken);
    }

    /// Opens one partition a turn, so that a claim does not wait for all of them.
    fn take_up(&mut self, claims: &Claims) -> Result<()> {
        let free = |partition: &Partition| {
            let is_ours = self.followed.contains(partition) || self.is_writing(*partition);
            !is_ours && !claims.owners.contains_key(partition)
        };
        let Some(partition) = (0..self.partitions).map(Partition).find(free) else {
            return Ok(());
        };
        for replica in open(&self.context, &mut self.topics, partition)? {
            self.tail.add(&mut self.topics, partition, replica)?;
        }
        self.followed.insert(partition);
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
        for partition in ready.copied().collect::<Vec<_>>() {
            self.show(partition);
        }
        Ok(())
    }

    /// Its stores are readable.
    fn show(&mut self, partition: Partition) {
        for replica in self.tail.replicas(partition) {
            self.context.queries.add(
                &replica.spec().name,
                partition.0,
                Arc::clone(replica.store()),
            );
        }
        self.shown.insert(partition);
        let restored: u64 = self.tail.replicas(partition).map(Replica::taken).sum();
        tracing::info!(task = format!("0_{partition}"), restored, "following");
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
        self.writing = Some(frozen.iter().map(|changelog| changelog.partition).collect());
        self.topics.submit(StoreJob::Write(frozen))
    }

    fn since(&self, then: Duration) -> Duration {
        self.topics.uptime().saturating_sub(then)
    }

    fn report(&mut self, claims: &Claims) -> Result<()> {
        let running = self.shown.len();
        let missing = usize::try_from(self.partitions).unwrap_or(0) - claims.owners.len();
        let restoring = missing.saturating_sub(running);
        self.context.queries.set_follower(WorkerStatus { joined: true, restoring, running });
        if self.since(self.last_look) >= LOOK_EVERY {
            self.last_look = self.topics.uptime();
            self.tail.look_ahead(&mut self.topics)?;
        }
        if self.since(self.last_metrics) < METRICS_EVERY {
            return Ok(());
        }
        self.last_metrics = self.topics.uptime();
        for partition in &self.followed {
            self.show_progress(*partition, self.tail.remaining(*partition));
        }
        let bytes = i64::try_from(self.topics.disk_bytes()).unwrap_or(i64::MAX);
        self.context.metrics.store_size.with_label_values(&["all"]).set(bytes);
        Ok(())
    }
}
