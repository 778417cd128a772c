//! An application: its worker threads and, with standby, the follower thread.
//!
//! A worker that fails is dropped whole, and after a pause another takes its place: it fences what
//! the first one left, rejoins the group, and restores the tail. [`Error::Invalid`] and
//! [`Error::Corrupt`] end the application instead: a person decides.

use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use super::config::{AppConfig, StoreConfig};
use super::context::RuntimeContext;
use super::dead_letter_limit::DeadLetterLimit;
use super::follower::{Claims, Follower, FollowerHandle};
use super::kafka::{KafkaGroup, KafkaTopics};
use super::metrics::Metrics;
use super::queries::Queries;
use super::state_dir::StateDir;
use super::stop::Stop;
use super::worker::Worker;
use super::{admin, clock};
use crate::error::{Error, Result};
use crate::topology::Topology;

/// The pause before a failed worker is replaced, doubled for each failure in a row.
const FIRST_PAUSE: Duration = Duration::from_millis(200);
/// Its bound.
const MAX_PAUSE: Duration = Duration::from_secs(10);
/// A worker that ran for so long had recovered: the next failure is the first one again.
const HEALTHY_AFTER: Duration = Duration::from_mins(1);
/// How finely a pause looks at the stop signal.
const PAUSE_STEP: Duration = Duration::from_millis(50);

/// What the workers of one application share.
struct Shared {
    topology: Topology,
    config: AppConfig,
    instance: String,
    state_dir: StateDir,
    metrics: Metrics,
    queries: Queries,
    stop: Stop,
    standby: FollowerHandle,
    letters: DeadLetterLimit,
}

impl Shared {
    const fn context(&self) -> RuntimeContext<'_> {
        RuntimeContext { topology: &self.topology, metrics: &self.metrics, queries: &self.queries }
    }
}

/// An application: a topology and the threads that run it.
pub struct App {
    shared: Shared,
    partitions: i32,
    /// What workers tell the follower, until it runs.
    claims: Mutex<Option<Claims>>,
}

impl App {
    /// Checks everything that can be known before the group is joined.
    pub fn new(
        topology: Topology,
        config: AppConfig,
        metrics: Metrics,
        queries: Queries,
        stop: Stop,
    ) -> Result<Self> {
        config.validate()?;
        let partitions = admin::check_app(&config, &topology)?;
        let state_dir = StateDir::open(&config.stores())?;
        state_dir.check_partitions(&topology.sources()[0], partitions)?;
        let instance = state_dir.instance()?;
        let (standby, claims) = if config.standby {
            let (standby, claims) = FollowerHandle::new();
            (standby, Some(claims))
        } else {
            (FollowerHandle::default(), None)
        };
        let letters = DeadLetterLimit::new(metrics.records.dead_letters_refused.clone());
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
        Ok(Self { shared, partitions, claims: Mutex::new(claims) })
    }

    /// Keeps warm what others own, until told to stop.
    fn follow(&self, claims: &mut Claims) -> Result<()> {
        let Shared { config, state_dir, stop, .. } = &self.shared;
        follow(self.shared.context(), &config.stores(), state_dir, self.partitions, claims, stop)
    }

    /// Runs until told to stop. Blocks: on a thread of its own.
    pub fn run(&self) -> Result<()> {
        let shared = &self.shared;
        let claims = self.claims.lock().unwrap_or_else(PoisonError::into_inner).take();
        // One thread that cannot go on ends them all: what it leaves would pile up unseen.
        let or_stop = |result: Result<()>| result.inspect_err(|_| shared.stop.set());
        std::thread::scope(|scope| {
            let workers = (0..shared.config.threads)
                .map(|index| scope.spawn(move || or_stop(run_worker(shared, index))));
            let follower =
                claims.map(|mut claims| scope.spawn(move || or_stop(self.follow(&mut claims))));
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
        let Shared { config, topology, state_dir, queries, stop, standby, letters, .. } = shared;
        // Each time anew: what looks like a broker that has just taken over may be a topic that is
        // no longer there.
        let ran = admin::check_app(config, topology)
            .and_then(|_| admin::check_identity(&config.stores(), topology, state_dir, queries))
            .and_then(|()| {
                let name = format!("{}-{}-{index}", config.application_id, shared.instance);
                let group = KafkaGroup::join(config, topology, letters, &name)?;
                // While the group answers.
                let topics = KafkaTopics::new(&config.stores(), topology.stores(), state_dir)?;
                let (context, settings) = (shared.context(), config.settings());
                Worker::new(context, settings, standby.clone(), index, group, topics).run(stop)
            });
        // However it ended, nothing is its own any more.
        standby.release_all(index);
        ran
    })
}

/// Follows every partition that no worker of this process owns, until told to stop. Blocks.
pub(super) fn follow(
    context: RuntimeContext<'_>,
    config: &StoreConfig,
    state_dir: &StateDir,
    partitions: i32,
    claims: &mut Claims,
    stop: &Stop,
) -> Result<()> {
    let RuntimeContext { topology, metrics, queries } = context;
    supervise(stop, metrics, "follower", || {
        admin::check_stores(config, topology)?;
        admin::check_identity(config, topology, state_dir, queries)?;
        let topics = KafkaTopics::new(config, topology.stores(), state_dir)?;
        Follower::new(context, config.disk_settings(), partitions, topics).run(claims, stop)
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
