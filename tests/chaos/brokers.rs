//! Brokers are killed: the one that leads a partition, the one that keeps the group, the one that
//! keeps a member's transactions. Each is back before the run ends.

use std::time::Duration;

use anyhow::{Context as _, Result};
use schemas::topic::Topic;
use tests::support::cluster;
use tests::support::down::Down;

use super::world::World;

/// The load goes on without the broker, after another has taken its place.
const WITHOUT: Duration = Duration::from_secs(5);

/// The leader of the first partition of `events`.
pub(crate) fn leader_killed(world: &mut World) -> Result<()> {
    killed(world, |world| {
        let events = world.installation.topic(Topic::Events);
        cluster::leader(&world.installation.stack.bootstrap_servers, &events, 0)
    })
}

/// The coordinator of the group.
pub(crate) fn group_coordinator_killed(world: &mut World) -> Result<()> {
    killed(world, |world| {
        let group = world.installation.application_id();
        cluster::group_coordinator(&world.installation.stack.bootstrap_servers, &group)
    })
}

/// The coordinator of the first member's transactions.
pub(crate) fn transaction_coordinator_killed(world: &mut World) -> Result<()> {
    killed(world, |world| {
        let group = world.installation.application_id();
        // The member's name is in its state directory, and the first worker's index is 0.
        let name = world.installation.state("one").join(&group).join("instance");
        let name = std::fs::read_to_string(&name).with_context(|| name.display().to_string())?;
        let id = format!("{group}-{}-0", name.trim());
        cluster::transaction_coordinator(&world.installation.stack.bootstrap_servers, &id)
    })
}

fn killed(world: &mut World, who: impl Fn(&World) -> Result<i32>) -> Result<()> {
    let stack = world.installation.stack.clone();
    let broker = who(world)?;
    let down = Down::kill(&stack, &format!("kafka-{broker}"))?;
    world.wait("another broker to take its place", |world| {
        Ok(who(world).is_ok_and(|now| now != broker))
    })?;
    world.go_on_for(WITHOUT)?;
    down.start()?;
    let prefix = world.installation.prefix.clone();
    world.wait("every copy to be in sync", |_| {
        Ok(cluster::is_whole(&stack.bootstrap_servers, &prefix).unwrap_or(false))
    })
}
