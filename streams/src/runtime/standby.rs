//! Follows the partitions that nobody in this process owns: a standby of other members, or a view.
//!
//! ```text
//! worker ──claim(partition)──► follower      its replicas move to the worker, as they are
//! worker ──release(partition)─► follower     opened again, from where the disk is
//! ```
//!
//! A replica is in one place at a time, so a store has one writer. Its readers keep what they hold
//! all the while: an answer becomes older, and does not fail.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::sync::mpsc::{Receiver, Sender, SyncSender, channel, sync_channel};
use std::time::{Duration, Instant};

use super::clock;
use super::config::StoreConfig;
use super::flusher::Flusher;
use super::metrics::Metrics;
use super::queries::{Member, Queries};
use super::state_dir::StateDir;
use super::tail::Tail;
use super::{Stop, admin, supervise};
use crate::error::Result;
use crate::replica::Replica;
use crate::store::Committed;
use crate::topology::Topology;

/// How long to wait for records when there are none.
const WAIT: Duration = Duration::from_millis(10);
/// A worker that gets no answer in this time opens the stores itself, which fences the follower.
const HAND_OVER: Duration = Duration::from_secs(10);
/// Between two looks at the ends of the topics: an answer is no younger than the last that was reached.
/// Each asks each broker once.
const LOOK_EVERY: Duration = Duration::from_millis(250);
/// Between two readings of lag and sizes.
const METRICS_EVERY: Duration = Duration::from_secs(5);

/// What a follower needs of its process.
#[derive(Clone, Copy)]
pub(super) struct Scene<'a> {
    pub(super) topology: &'a Topology,
    pub(super) config: &'a StoreConfig,
    pub(super) state_dir: &'a StateDir,
    pub(super) metrics: &'a Metrics,
    pub(super) queries: &'a Queries,
    pub(super) stop: &'a Stop,
    pub(super) partitions: i32,
}

/// Opens the stores of a partition, as they are on disk.
pub(super) fn open(
    topology: &Topology,
    state_dir: &StateDir,
    queries: &Queries,
    partition: i32,
) -> Result<Vec<Replica>> {
    let replicas = topology.stores().iter().map(|spec| {
        let disk = state_dir.database().store(&spec.name_on_disk(partition))?;
        let replica = Replica::new(spec.clone(), Arc::new(Committed::new(disk)))?;
        Ok(replica.telling(partition, queries.changes()))
    });
    replicas.collect()
}

enum Ask {
    Claim { partition: i32, worker: usize, reply: SyncSender<Vec<Replica>> },
    Release { partition: i32, worker: usize },
    ReleaseAll { worker: usize },
}

/// How workers talk to the follower of their process, if there is one.
#[derive(Default)]
pub(super) struct Standby(Option<Sender<Ask>>);

/// What a follower hears.
pub(super) struct Asks(Receiver<Ask>);

impl Standby {
    /// A line to a follower that is still to be started.
    pub(super) fn new() -> (Self, Asks) {
        let (sender, receiver) = channel();
        (Self(Some(sender)), Asks(receiver))
    }

    /// Partitions that are given away are followed.
    pub(super) const fn is_on(&self) -> bool {
        self.0.is_some()
    }

    fn tell(&self, ask: Ask) -> bool {
        self.0.as_ref().is_some_and(|follower| follower.send(ask).is_ok())
    }

    /// Takes a partition from the follower, with the replicas that it keeps of it.
    pub(super) fn claim(&self, partition: i32, worker: usize) -> Option<Vec<Replica>> {
        let (reply, answer) = sync_channel(1);
        if !self.tell(Ask::Claim { partition, worker, reply }) {
            return None;
        }
        answer.recv_timeout(HAND_OVER).ok().filter(|replicas| !replicas.is_empty())
    }

    /// Leaves a partition to the follower.
    pub(super) fn release(&self, partition: i32, worker: usize) {
        self.tell(Ask::Release { partition, worker });
    }

    /// Leaves everything that a worker had.
    pub(super) fn release_all(&self, worker: usize) {
        self.tell(Ask::ReleaseAll { worker });
    }
}

/// Follows every partition that no worker of this process owns, until told to stop. Blocks.
pub(super) fn follow(scene: Scene<'_>, asks: &Asks) -> Result<()> {
    let mut owners = BTreeMap::new();
    supervise(scene.stop, scene.metrics, "follower", || {
        let Scene { config, topology, state_dir, queries, .. } = scene;
        admin::check_stores(config, topology)?;
        admin::check_identity(config, topology, state_dir, queries)?;
        Follower::start(scene, asks, &mut owners)?.run()
    })
}

struct Follower<'a> {
    scene: Scene<'a>,
    asks: &'a Asks,
    /// Which worker owns what it must not follow.
    owners: &'a mut BTreeMap<i32, usize>,
    tail: Tail,
    flusher: Flusher,
    followed: BTreeSet<i32>,
    shown: BTreeSet<i32>,
    last_flush: Instant,
    last_look: Instant,
    last_metrics: Instant,
}

impl<'a> Follower<'a> {
    fn start(
        scene: Scene<'a>,
        asks: &'a Asks,
        owners: &'a mut BTreeMap<i32, usize>,
    ) -> Result<Self> {
        let now = clock::instant();
        Ok(Self {
            scene,
            asks,
            owners,
            tail: Tail::new(scene.config, scene.topology.stores())?,
            flusher: Flusher::start(scene.config)?,
            followed: BTreeSet::new(),
            shown: BTreeSet::new(),
            last_flush: now,
            last_look: now,
            last_metrics: now,
        })
    }

    fn run(&mut self) -> Result<()> {
        while !self.scene.stop.is_set() {
            self.turn()?;
        }
        self.flusher.wait()?;
        self.flusher.write(self.tail.freeze()?)?;
        self.flusher.wait().map(|_| ())
    }

    fn turn(&mut self) -> Result<()> {
        self.answer()?;
        self.take_up()?;
        self.follow()?;
        self.flush()?;
        self.report()
    }

    fn answer(&mut self) -> Result<()> {
        while let Ok(ask) = self.asks.0.try_recv() {
            match ask {
                Ask::Claim { partition, worker, reply } => {
                    self.owners.insert(partition, worker);
                    let replicas = self.give_away(partition)?;
                    // A worker that waits no longer has opened them itself.
                    let _ = reply.try_send(replicas);
                }
                Ask::Release { partition, worker } => {
                    self.owners.retain(|owned, owner| (*owned, *owner) != (partition, worker));
                }
                Ask::ReleaseAll { worker } => self.owners.retain(|_, owner| *owner != worker),
            }
        }
        Ok(())
    }

    fn give_away(&mut self, partition: i32) -> Result<Vec<Replica>> {
        self.followed.remove(&partition);
        self.shown.remove(&partition);
        let replicas = self.tail.remove(partition)?;
        self.show_progress(partition, 0);
        Ok(replicas)
    }

    fn show_progress(&self, partition: i32, lag: i64) {
        let label = format!("0_{partition}");
        let taken: u64 = self.tail.replicas(partition).map(Replica::taken).sum();
        let metrics = self.scene.metrics;
        metrics.standby_lag.with_label_values(&[&label]).set(lag);
        let taken = i64::try_from(taken).unwrap_or(i64::MAX);
        metrics.standby_records.with_label_values(&[&label]).set(taken);
    }

    /// Opens one partition a turn, so that a claim does not wait for all of them.
    fn take_up(&mut self) -> Result<()> {
        let free = |partition: &i32| {
            !self.followed.contains(partition) && !self.owners.contains_key(partition)
        };
        let Some(partition) = (0..self.scene.partitions).find(free) else {
            return Ok(());
        };
        let Scene { topology, state_dir, queries, .. } = self.scene;
        for replica in open(topology, state_dir, queries, partition)? {
            self.tail.add(partition, replica)?;
        }
        self.followed.insert(partition);
        Ok(())
    }

    fn follow(&mut self) -> Result<()> {
        // Twice the bound waits for a disk that is slow: nothing more is taken until it is written.
        let config = self.scene.config;
        if self.tail.overlay_bytes() > 2 * config.overlay_max_bytes
            || self.tail.restoring_bytes() > config.restore_max_bytes
        {
            clock::wait(WAIT);
            return Ok(());
        }
        for restored in self.tail.poll(WAIT)? {
            self.scene.metrics.restore_records.inc_by(restored.records);
        }
        let Self { tail, followed, shown, .. } = self;
        let ready = followed.iter().filter(|p| !shown.contains(p) && tail.is_caught_up(**p));
        for partition in ready.copied().collect::<Vec<_>>() {
            self.show(partition);
        }
        Ok(())
    }

    /// Its stores are readable.
    fn show(&mut self, partition: i32) {
        for replica in self.tail.replicas(partition) {
            self.scene.queries.add(&replica.spec().name, partition, Arc::clone(replica.store()));
        }
        self.shown.insert(partition);
        let restored: u64 = self.tail.replicas(partition).map(Replica::taken).sum();
        tracing::info!(task = format!("0_{partition}"), restored, "following");
    }

    fn flush(&mut self) -> Result<()> {
        if self.flusher.poll()?.is_some() {
            self.scene.metrics.store_writes.inc();
        }
        let config = self.scene.config;
        let full = self.tail.overlay_bytes() > config.overlay_max_bytes
            || self.tail.restoring_bytes() > config.restore_max_bytes / 2;
        let due = full || self.last_flush.elapsed() >= self.scene.config.flush_interval;
        if self.flusher.is_busy() || !due {
            return Ok(());
        }
        self.last_flush = clock::instant();
        self.flusher.write(self.tail.freeze()?)
    }

    fn report(&mut self) -> Result<()> {
        let running = self.shown.len();
        let missing = usize::try_from(self.scene.partitions).unwrap_or(0) - self.owners.len();
        let restoring = missing.saturating_sub(running);
        self.scene.queries.set_follower(Member { joined: true, restoring, running });
        if self.last_look.elapsed() >= LOOK_EVERY {
            self.last_look = clock::instant();
            self.tail.look_ahead()?;
        }
        if self.last_metrics.elapsed() < METRICS_EVERY {
            return Ok(());
        }
        self.last_metrics = clock::instant();
        for partition in &self.followed {
            self.show_progress(*partition, self.tail.remaining(*partition));
        }
        let bytes = self.scene.state_dir.database().size_bytes();
        let bytes = i64::try_from(bytes).unwrap_or(i64::MAX);
        self.scene.metrics.store_size.with_label_values(&["all"]).set(bytes);
        Ok(())
    }
}
