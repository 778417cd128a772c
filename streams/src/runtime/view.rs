//! A read view: every partition of the output topics, followed outside any group.
//!
//! Readers scale apart from writers and need no request to another member. They go on answering, with
//! older state, while the group rebalances or is gone.

use super::admin;
use super::app::follow;
use super::config::StoreConfig;
use super::context::RuntimeContext;
use super::follower::FollowerHandle;
use super::metrics::Metrics;
use super::queries::Queries;
use super::state_dir::StateDir;
use super::stop::Stop;
use crate::error::Result;
use crate::record::TaskId;
use crate::topology::Topology;

/// The stores of a topology as they are published, and the thread that follows them.
pub struct View {
    topology: Topology,
    config: StoreConfig,
    state_dir: StateDir,
    metrics: Metrics,
    queries: Queries,
    stop: Stop,
    tasks: Vec<TaskId>,
}

impl View {
    /// Checks everything that can be known before anything is followed.
    pub fn new(
        topology: Topology,
        config: StoreConfig,
        metrics: Metrics,
        queries: Queries,
        stop: Stop,
    ) -> Result<Self> {
        config.validate()?;
        let partitions = admin::check_stores(&config, &topology)?;
        let state_dir = StateDir::open(&config)?;
        let counted = topology.sub_topologies().iter().zip(&partitions);
        let topics =
            counted.filter_map(|(one, count)| Some((&*one.stores().first()?.topic, *count)));
        state_dir.check_partitions(topics)?;
        let tasks = admin::tasks(&partitions);
        state_dir.remove_earlier(&topology, &tasks)?;
        Ok(Self { topology, config, state_dir, metrics, queries, stop, tasks })
    }

    /// Runs until the stop signal. Blocks: call it on a thread of its own.
    pub fn run(&self) -> Result<()> {
        let Self { topology, config, state_dir, metrics, queries, stop, tasks } = self;
        // A view has no workers. The handle keeps the channel open.
        let (_handle, mut claims) = FollowerHandle::new();
        let context = RuntimeContext { topology, metrics, queries };
        follow(context, config, state_dir, tasks, &mut claims, stop)
    }
}
