//! Everything that can block, fail or be late; the only place that knows Kafka.
//!
//! ```text
//! App ─┬─ worker thread ─┬─ tasks            one for each partition it owns
//!      │                 ├─ Tail             restores stores from output topics
//!      │                 ├─ Group            KafkaGroup: GroupConsumer, OutputProducer
//!      │                 └─ Topics           KafkaTopics: a consumer, the Flusher, the state directory
//!      ├─ worker thread ─ …
//!      └─ follower       ─┬─ Tail             keeps warm what others own (standby)
//! View ── follower        └─ Topics           the same, outside any group
//! ```
//!
//! [`worker`] knows no Kafka: it calls two traits, which `kafka.rs` implements.
//!
//! A worker that fails is dropped whole, and after a pause another takes its place: it fences what
//! the first one left, rejoins the group, and restores the tail. [`Error::Invalid`] and
//! [`Error::Corrupt`] end the application instead: a person decides.

mod admin;
mod clock;
mod config;
mod consumer;
mod errors;
mod flusher;
mod kafka;
mod letters;
mod lost_offsets;
mod metrics;
mod native;
mod producer;
mod queries;
mod standby;
mod state_dir;
mod tail;
mod view;
pub mod worker;
mod write;

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use rdkafka::config::RDKafkaLogLevel;

pub use admin::{TopicSpec, create_topics};
pub use clock::moment;
pub use config::{Config, GroupProtocol, Guarantee, ResetOffsets, StoreConfig};
pub use metrics::Metrics;
pub use queries::{Member, Queries};
pub use view::View;
pub use write::{NewRecord, write_records};

use crate::error::{Error, Result};
use crate::topology::Topology;
use kafka::{KafkaGroup, KafkaTopics};
use letters::Letters;
use standby::{Asks, Follower, Standby};
use state_dir::StateDir;
use worker::{Scene, Worker};

/// The pause before a failed worker is replaced, doubled for each failure in a row.
const FIRST_PAUSE: Duration = Duration::from_millis(200);
/// Its bound.
const MAX_PAUSE: Duration = Duration::from_secs(10);
/// A worker that ran for so long had recovered: the next failure is the first one again.
const HEALTHY_AFTER: Duration = Duration::from_mins(1);
/// How finely a pause looks at the stop signal.
const PAUSE_STEP: Duration = Duration::from_millis(50);

/// Tells an application to stop. Clones are the same signal.
#[derive(Clone, Debug, Default)]
pub struct Stop(Arc<AtomicBool>);

impl Stop {
    /// Stop after the current turn: commit, give everything back, return.
    pub fn set(&self) {
        self.0.store(true, Ordering::SeqCst);
    }

    /// Whether it was told to.
    pub fn is_set(&self) -> bool {
        self.0.load(Ordering::SeqCst)
    }
}

/// What the workers of one application share.
struct Shared {
    topology: Topology,
    config: Config,
    instance: String,
    state_dir: StateDir,
    metrics: Metrics,
    queries: Queries,
    stop: Stop,
    standby: Standby,
    letters: Letters,
}

impl Shared {
    const fn scene(&self) -> Scene<'_> {
        Scene { topology: &self.topology, metrics: &self.metrics, queries: &self.queries }
    }
}

/// An application: a topology and the threads that run it.
pub struct App {
    shared: Shared,
    partitions: i32,
    /// What workers tell the follower, until it runs.
    asks: Mutex<Option<Asks>>,
}

impl App {
    /// Checks everything that can be known before the group is joined.
    pub fn new(
        topology: Topology,
        config: Config,
        metrics: Metrics,
        queries: Queries,
        stop: Stop,
    ) -> Result<Self> {
        config.validate()?;
        let partitions = admin::check_app(&config, &topology)?;
        let state_dir = StateDir::open(&config.stores())?;
        state_dir.check_partitions(&topology.sources()[0], partitions)?;
        let instance = state_dir.instance()?;
        let (standby, asks) = if config.standby {
            let (standby, asks) = Standby::new();
            (standby, Some(asks))
        } else {
            (Standby::default(), None)
        };
        let letters = Letters::new(metrics.records.dead_letters_refused.clone());
        let shared = Shared {
            topology,
            config,
            instance,
            state_dir,
            metrics,
            queries,
            stop,
            standby,
            letters,
        };
        Ok(Self { shared, partitions, asks: Mutex::new(asks) })
    }

    /// Keeps warm what others own, until told to stop.
    fn follow(&self, asks: &mut Asks) -> Result<()> {
        let Shared { config, state_dir, stop, .. } = &self.shared;
        follow(self.shared.scene(), &config.stores(), state_dir, self.partitions, asks, stop)
    }

    /// Runs until told to stop. Blocks: on a thread of its own.
    pub fn run(&self) -> Result<()> {
        let shared = &self.shared;
        let asks = self.asks.lock().unwrap_or_else(PoisonError::into_inner).take();
        // One thread that cannot go on ends them all: what it leaves would pile up unseen.
        let or_stop = |result: Result<()>| result.inspect_err(|_| shared.stop.set());
        std::thread::scope(|scope| {
            let workers = (0..shared.config.threads)
                .map(|index| scope.spawn(move || or_stop(run_worker(shared, index))));
            let follower =
                asks.map(|mut asks| scope.spawn(move || or_stop(self.follow(&mut asks))));
            // All are started before the first is waited for, and all are joined before the first
            // error is returned.
            let threads: Vec<_> = workers.chain(follower).collect();
            let results = threads.into_iter().map(|thread| {
                thread.join().unwrap_or_else(|_| Err(Error::Invalid("a thread panicked".into())))
            });
            results.collect::<Vec<_>>().into_iter().collect()
        })
    }
}

fn run_worker(shared: &Shared, index: usize) -> Result<()> {
    supervise(&shared.stop, &shared.metrics, "worker", || {
        let Shared { config, topology, state_dir, queries, stop, standby, .. } = shared;
        // Each time anew: what looks like a broker that has just taken over may be a topic that is
        // no longer there.
        let ran = admin::check_app(config, topology)
            .and_then(|_| admin::check_identity(&config.stores(), topology, state_dir, queries))
            .and_then(|()| {
                let group = KafkaGroup::join(shared, index)?;
                // While the group answers.
                let topics = KafkaTopics::new(&config.stores(), topology.stores(), state_dir)?;
                let (scene, settings) = (shared.scene(), config.settings());
                Worker::new(scene, settings, standby.clone(), index, group, topics).run(stop)
            });
        // However it ended, nothing is its own any more.
        standby.release_all(index);
        ran
    })
}

/// Follows every partition that no worker of this process owns, until told to stop. Blocks.
fn follow(
    scene: Scene<'_>,
    config: &StoreConfig,
    state_dir: &StateDir,
    partitions: i32,
    asks: &mut Asks,
    stop: &Stop,
) -> Result<()> {
    let Scene { topology, metrics, queries } = scene;
    supervise(stop, metrics, "follower", || {
        admin::check_stores(config, topology)?;
        admin::check_identity(config, topology, state_dir, queries)?;
        let topics = KafkaTopics::new(config, topology.stores(), state_dir)?;
        Follower::new(scene, config.disk_settings(), partitions, topics).run(asks, stop)
    })
}

/// Runs something, and again after each failure that may heal.
fn supervise(
    stop: &Stop,
    metrics: &Metrics,
    name: &str,
    mut run: impl FnMut() -> Result<()>,
) -> Result<()> {
    let mut pause = FIRST_PAUSE;
    while !stop.is_set() {
        let started = clock::instant();
        let Err(error) = run() else {
            return Ok(());
        };
        let kind = match &error {
            Error::Fenced(_) => "fenced",
            Error::Indeterminate(_) => "indeterminate",
            Error::Unavailable(_) => "unavailable",
            Error::Corrupt(_) | Error::Invalid(_) => return Err(error),
        };
        metrics.restarts.with_label_values(&[kind]).inc();
        if started.elapsed() > HEALTHY_AFTER {
            pause = FIRST_PAUSE;
        }
        tracing::warn!(name, %error, pause_ms = pause.as_millis(), "rejoining");
        wait(pause, stop);
        pause = (pause * 2).min(MAX_PAUSE);
    }
    Ok(())
}

fn wait(time: Duration, stop: &Stop) {
    let started = clock::instant();
    while started.elapsed() < time && !stop.is_set() {
        clock::wait(PAUSE_STEP);
    }
}

/// librdkafka's own log lines: its errors heal by themselves or come back as results.
fn client_log(level: RDKafkaLogLevel, facility: &str, message: &str) {
    match level {
        RDKafkaLogLevel::Emerg
        | RDKafkaLogLevel::Alert
        | RDKafkaLogLevel::Critical
        | RDKafkaLogLevel::Error => tracing::warn!(facility, message, "librdkafka"),
        _ => tracing::debug!(facility, message, "librdkafka"),
    }
}
