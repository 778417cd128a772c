//! An application: its worker threads and, with standby, the follower thread.
//!
//! A worker that fails is dropped. After a pause a new one takes its place: it fences the old
//! producer, rejoins the group and restores the end of its changelogs. [`Error::Invalid`] and
//! [`Error::Corrupt`] end the application instead: a person decides.

use std::cell::Cell;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use super::config::{AppConfig, GroupProtocol, StoreConfig};
use super::context::RuntimeContext;
use super::dead_letter_limit::DeadLetterLimit;
use super::follower::{Claims, Follower, FollowerHandle};
use super::kafka::{KafkaGroup, KafkaTopics, Membership};
use super::metrics::Metrics;
use super::queries::{Queries, WorkerStatus};
use super::state_dir::StateDir;
use super::stop::Stop;
use super::worker::Worker;
use super::{admin, clock, errors};
use crate::error::{Error, Result};
use crate::record::TaskId;
use crate::topology::{SubTopology, Topology};

/// The pause before a failed worker is replaced, doubled for each failure in a row.
const FIRST_PAUSE: Duration = Duration::from_millis(200);
/// The longest pause.
const MAX_PAUSE: Duration = Duration::from_secs(10);
/// After this time without a failure the pause begins at [`FIRST_PAUSE`] again.
const HEALTHY_AFTER: Duration = Duration::from_mins(1);
/// How long the group may keep the instance id of an earlier run: twice the longest session that a broker
/// allows by default (`group.consumer.max.session.timeout.ms`).
const INSTANCE_HELD_FOR: Duration = Duration::from_mins(2);
/// Between two looks at the stop signal during a pause.
const PAUSE_STEP: Duration = Duration::from_millis(50);

/// Shared by the workers of one application.
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
    /// Of the sources, by sub-topology.
    partitions: Vec<i32>,
    /// For the follower, until it runs.
    claims: Mutex<Option<Claims>>,
}

impl App {
    /// Checks everything that can be known before the group is joined.
    pub fn new(
        topology: &Topology,
        config: AppConfig,
        metrics: Metrics,
        queries: Queries,
        stop: Stop,
    ) -> Result<Self> {
        config.validate()?;
        let topology = topology.of_application(&config.application_id);
        let partitions = admin::check_app(&config, &topology)?;
        let state_dir = StateDir::open(&config.stores())?;
        let sources = topology.sub_topologies().iter().map(SubTopology::source);
        state_dir.check_partitions(sources.zip(partitions.iter().copied()))?;
        state_dir.remove_earlier(&topology, &admin::tasks(&partitions))?;
        let instance = state_dir.instance()?;
        let (handle, claims) = FollowerHandle::new();
        let has_tables = topology.sub_topologies().iter().any(SubTopology::is_table);
        let claims = (config.standby || has_tables).then_some(claims);
        let standby = if config.standby { handle } else { FollowerHandle::default() };
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

    /// Follows the tables and, with standby, the partitions of other members, until the stop signal.
    fn follow(&self, claims: &mut Claims) -> Result<()> {
        let Shared { config, state_dir, stop, topology, .. } = &self.shared;
        let is_followed = |task: &TaskId| {
            let shape = topology.sub_topology(task.sub_topology);
            shape.is_table() || (config.standby && !shape.stores().is_empty())
        };
        let tasks =
            admin::tasks(&self.partitions).into_iter().filter(is_followed).collect::<Vec<_>>();
        follow(self.shared.context(), &config.stores(), state_dir, &tasks, claims, stop)
    }

    /// Runs until the stop signal. Blocks: call it on a thread of its own.
    pub fn run(&self) -> Result<()> {
        let shared = &self.shared;
        let claims = self.claims.lock().unwrap_or_else(PoisonError::into_inner).take();
        // Before the follower can be ready alone.
        for worker in 0..shared.config.threads {
            shared.queries.set_member(worker, WorkerStatus::default());
        }
        // One thread that cannot go on ends them all: its partitions would fall behind unnoticed.
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
                thread.join().unwrap_or_else(|_| {
                    Err(Error::Invalid("a thread panicked: see the log, and report it".into()))
                })
            });
            results.collect::<Vec<_>>().into_iter().collect()
        })
    }
}

/// The name of a thread's member in the group (KIP-345). A classic group gives a static member that comes
/// back the assignment that it had, without a rebalance. A worker that replaces one which was fenced in
/// the middle of a rebalance would leave the partitions under way to no member, so it joins without.
fn instance_id(config: &AppConfig, index: usize, is_first: bool) -> Option<String> {
    let keeps = is_first || config.group_protocol == GroupProtocol::Consumer;
    config.group_instance_id.as_ref().filter(|_| keeps).map(|id| format!("{id}-{index}"))
}

fn run_worker(shared: &Shared, index: usize) -> Result<()> {
    let (mut is_first, mut held_since) = (true, None);
    let is_checked = Cell::new(false);
    supervise(&shared.stop, &shared.metrics, "worker", || {
        let Shared {
            config, topology, state_dir, metrics, queries, stop, standby, letters, ..
        } = shared;
        // Checked at each start: an error that looks like a new leader may be a topic that was deleted.
        let ran = admin::check_app(config, topology).and_then(|partitions| {
            admin::check_identity(&config.stores(), topology, state_dir, queries)?;
            let name = format!("{}-{}-{index}", config.application_id, shared.instance);
            let instance = instance_id(config, index, std::mem::take(&mut is_first));
            let instance = instance.as_deref();
            let member = Membership { name: &name, instance, is_checked: &is_checked };
            let group = KafkaGroup::join(config, topology, &partitions, letters, metrics, member)?;
            // While the group answers.
            let topics = KafkaTopics::new(&config.stores(), topology, state_dir, metrics)?;
            let (context, settings) = (shared.context(), config.settings());
            Worker::new(context, settings, standby.clone(), index, group, topics).run(stop)
        });
        // The worker is gone, so the follower takes over its partitions.
        standby.release_all(index);
        while_held(ran, &mut held_since, clock::uptime())
    })
}

/// An instance id that the group does not release belongs to another process, which a person has to find.
fn while_held(ran: Result<()>, since: &mut Option<Duration>, now: Duration) -> Result<()> {
    let Some(error) = ran.as_ref().err().filter(|error| errors::is_instance_held(error)) else {
        *since = None;
        return ran;
    };
    if now.saturating_sub(*since.get_or_insert(now)) < INSTANCE_HELD_FOR {
        return ran;
    }
    Err(Error::Invalid(format!(
        "{error}; it is held for {}s, longer than a session: give each process its own",
        INSTANCE_HELD_FOR.as_secs()
    )))
}

/// Follows every task that no worker of this process owns, until the stop signal. Blocks.
pub(super) fn follow(
    context: RuntimeContext<'_>,
    config: &StoreConfig,
    state_dir: &StateDir,
    tasks: &[TaskId],
    claims: &mut Claims,
    stop: &Stop,
) -> Result<()> {
    let RuntimeContext { topology, metrics, queries } = context;
    supervise(stop, metrics, "follower", || {
        admin::check_stores(config, topology)?;
        admin::check_identity(config, topology, state_dir, queries)?;
        let topics = KafkaTopics::new(config, topology, state_dir, metrics)?;
        Follower::new(context, config.disk_settings(), tasks.to_vec(), topics).run(claims, stop)
    })
}

/// Calls `run` again after each failure that may heal.
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_instance_id_is_waited_for_as_long_as_a_session_may_last() {
        let held = || Err(Error::Unavailable(errors::INSTANCE_HELD.into()));
        let (mut since, at) = (None, Duration::from_secs);
        let is_last = |ran: Result<()>| matches!(ran, Err(Error::Invalid(_)));
        assert!(!is_last(while_held(held(), &mut since, at(1_000))));
        assert!(!is_last(while_held(held(), &mut since, at(1_119))));
        // Another error in between: the group has released it.
        assert!(!is_last(while_held(Err(Error::Fenced("epoch".into())), &mut since, at(1_120))));
        assert!(!is_last(while_held(held(), &mut since, at(1_130))));
        assert!(!is_last(while_held(held(), &mut since, at(1_249))));
        assert!(is_last(while_held(held(), &mut since, at(1_250))));
    }
}
