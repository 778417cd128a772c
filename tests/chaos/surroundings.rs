//! What a member stands on: its network, its disk, the registry.

use std::process::Command;
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use tests::support::down::Down;
use tests::support::proxy::{Network, Proxy};
use tests::support::stack::binary;
use tests::support::wait_until;

use super::world::{BOUND, World};

/// Records that show that the group works.
const SOME: i64 = 6_000;
/// The load goes on without the registry.
const WITHOUT: Duration = Duration::from_secs(5);

/// Connections break, and none can be made.
pub(crate) fn network_refuses(world: &mut World) -> Result<()> {
    network(world, Network::Refuses)
}

/// Connections stay and carry nothing: what was under way arrives when the network is back.
pub(crate) fn network_holds(world: &mut World) -> Result<()> {
    network(world, Network::Holds)
}

fn network(world: &mut World, breaks: Network) -> Result<()> {
    let proxy = Proxy::start(&world.installation.stack)?;
    let by = Command::new(binary("processor")?);
    world.join_by(by, "far", &["--kafka", &proxy.setting()])?;
    world.owns_something("far")?;
    world.processed(SOME)?;
    proxy.set(breaks);
    world.all_owned_by(&["one", "two"])?;
    world.processed(SOME)?;
    proxy.set(Network::Passes);
    world.all_owned_by(&["one", "two", "far"])?;
    world.owns_something("far")?;
    world.processed(SOME)?;
    // It goes before the network does.
    world.take("far")?.stop().map(|_| ())
}

/// A write past the limit is an error and not the end of the process; the log, which the limit
/// would end too, goes through another process.
const WITHOUT_SIGXFSZ: &str = r#"trap '' XFSZ; exec "$0" "$@" 2> >(exec cat >&2)"#;

/// What it says of a full disk.
const FULL: &str = "processor: state store: ";

/// Every write to the state directory fails: the member says so and ends, and others take over.
/// Started again with room on the disk, it goes on.
pub(crate) fn disk_full(world: &mut World) -> Result<()> {
    join_without_sigxfsz(world)?;
    world.owns_something("full")?;
    world.processed(SOME)?;
    let member = world.take("full")?;
    limit_files(member.process.id(), "0")?;
    // The other process may write the last line after the member has ended.
    wait_until("the member to say why it ends", BOUND, || {
        Ok((!member.process.lines(FULL)?.is_empty()).then_some(()))
    })?;
    let said = member.process.outcome()?;
    ensure!(said.code == Some(1), "the member ended with {:?}:\n{}", said.code, said.log);
    let last = said.log.lines().last().unwrap_or_default();
    ensure!(last.starts_with(FULL), "the last that it said:\n{last}");
    world.all_owned_by(&["one", "two"])?;
    world.processed(SOME)?;
    join_without_sigxfsz(world)?;
    world.owns_something("full")
}

fn join_without_sigxfsz(world: &mut World) -> Result<()> {
    let mut by = Command::new("/bin/bash");
    by.args(["-c", WITHOUT_SIGXFSZ]).arg(binary("processor")?);
    world.join_by(by, "full", &[])
}

/// The size that a file of the process may have.
fn limit_files(id: u32, size: &str) -> Result<()> {
    let limit = format!("--fsize={size}:unlimited");
    let set = Command::new("prlimit").args(["--pid", &id.to_string(), &limit]).status();
    let set = set.context("prlimit is not installed: it is part of util-linux")?;
    ensure!(set.success(), "prlimit --pid {id} {limit}: {set}");
    Ok(())
}

/// The registry stops, and a member is killed meanwhile: whoever runs does not need it.
pub(crate) fn registry_stopped(world: &mut World) -> Result<()> {
    let registry = Down::stop(&world.installation.stack.clone(), "registry")?;
    world.go_on_for(WITHOUT)?;
    world.processed(SOME)?;
    world.take("one")?.process.kill()?;
    world.all_owned_by(&["two"])?;
    world.processed(SOME)?;
    registry.start()?;
    // As a supervisor would: a registry that has just come back may be too slow for the first one.
    wait_until("a member to start", BOUND, || {
        world.join("one")?;
        if world.member("one")?.address().is_ok() {
            return Ok(Some(()));
        }
        world.take("one").map(|_| None)
    })?;
    world.owns_something("one")
}
