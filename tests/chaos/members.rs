//! What happens to members: they are killed, paused, and come and go.

use std::path::Path;
use std::process::Command;
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use schemas::topic::Topic;
use tests::support::{topics, wait_until};

use super::world::{BOUND, World};

/// Kills in search of one that leaves a transaction open, and how many must.
const KILLS: usize = 12;
const OPEN: usize = 2;
/// Between two kills: long enough to restore and commit again.
const BETWEEN: i64 = 6_000;
/// Comings and goings, and the time between them.
const CHANGES: usize = 10;
const EVERY: Duration = Duration::from_secs(3);

/// `kill -9`, until it has struck in the middle of a commit.
pub(crate) fn killed_during_commits(world: &mut World) -> Result<()> {
    let mut open = 0;
    for kill in 0..KILLS {
        let name = ["one", "two"][kill % 2];
        world.owns_something(name)?;
        let mut member = world.take(name)?;
        member.process.kill()?;
        open += usize::from(left_open(world, &member.owned()?)?);
        world.join(name)?;
        if open == OPEN {
            return world.owns_something(name);
        }
        world.processed(BETWEEN)?;
    }
    ensure!(open > 0, "none of {KILLS} kills left a transaction open");
    Ok(())
}

/// The dead member's partitions have an open transaction, which nobody else can have there yet.
fn left_open(world: &World, had: &std::collections::BTreeSet<i32>) -> Result<bool> {
    let (stack, latest) = (&world.installation.stack, world.installation.topic(Topic::Latest));
    let open = topics::undecided(&stack.bootstrap_servers, &latest)?;
    Ok(!open.is_disjoint(had))
}

/// SIGSTOP until another has everything, then SIGCONT: the zombie must not write.
pub(crate) fn paused_past_the_session(world: &mut World) -> Result<()> {
    world.owns_something("one")?;
    let mut zombie = world.take("one")?;
    zombie.process.signal("STOP")?;
    world.all_owned_by(&["two"])?;
    world.processed(BETWEEN)?;
    let fenced = |zombie: &tests::support::installation::Member| -> Result<usize> {
        Ok(zombie.process.lines(" rejoining ")?.len() + zombie.process.lines("lost=true")?.len())
    };
    let before = fenced(&zombie)?;
    zombie.process.signal("CONT")?;
    wait_until("the zombie to find out", BOUND, || {
        zombie.process.alive()?;
        Ok((fenced(&zombie)? > before).then_some(()))
    })?;
    world.members.insert("one", zombie);
    world.owns_something("one")
}

/// Members are added and removed every few seconds, in order and not.
pub(crate) fn come_and_go(world: &mut World) -> Result<()> {
    for change in 0..CHANGES {
        let name = ["three", "four"][change / 2 % 2];
        if change % 2 == 0 {
            world.join(name)?;
        } else if change % 4 == 1 {
            let mut member = world.take(name)?;
            // Until it serves it is no member that could say goodbye.
            member.address()?;
            member.stop()?;
        } else {
            world.take(name)?.process.kill()?;
        }
        world.go_on_for(EVERY)?;
    }
    world.all_owned_by(&["one", "two"])
}

/// Members of the previous version are replaced by the current one, one at a time, and back again. The
/// program of the previous version is in `PREVIOUS_BIN_DIR` (`make upgrade`).
pub(crate) fn version_replaced(world: &mut World) -> Result<()> {
    let folder = std::env::var("PREVIOUS_BIN_DIR").context("PREVIOUS_BIN_DIR: make upgrade")?;
    let previous = || Command::new(Path::new(&folder).join("processor"));
    let (old, new) = (["three", "four"], ["one", "two"]);
    for name in old {
        world.join_by(previous(), name, &[])?;
        world.owns_something(name)?;
    }
    for name in new {
        world.take(name)?.stop()?;
    }
    world.all_owned_by(&old)?;
    world.processed(BETWEEN)?;
    for name in old {
        world.take(name)?.stop()?;
        world.join(name)?;
        world.owns_something(name)?;
        world.processed(BETWEEN)?;
    }
    for name in old {
        world.take(name)?.stop()?;
        world.join_by(previous(), name, &[])?;
        world.owns_something(name)?;
        world.processed(BETWEEN)?;
    }
    Ok(())
}
