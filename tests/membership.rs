//! Static membership (KIP-345): a member that is back in time goes on, and no other member notices.

use anyhow::{Context as _, Result, ensure};
use tests::support::installation::Member;
use tests::support::{Installation, soon};

/// Longer than any restart of these tests: a member that is away for less keeps its partitions.
const SESSION: [&str; 4] = ["--session-timeout", "40s", "--transaction-timeout", "5s"];

/// Of the partitions that an installation has.
const HALF: usize = 2;
/// Events whose windows close, as fast as they go.
const LOAD: [&str; 7] = ["load", "--events", "6000", "--keys", "40", "--event-rate", "100"];
/// Event time begins at a fixed minute: the same input in every run.
const START: [&str; 2] = ["--start-ms", "1700000000000"];
/// The same hours later.
const LATER: [&str; 4] = ["--start-ms", "1700010000000", "--seed", "2"];

/// Rebalances that a member's log tells of.
fn moves(member: &Member) -> Result<usize> {
    Ok(member.process.lines("tasks assigned")?.len() + member.process.lines("tasks revoked")?.len())
}

/// One of two members is restarted by `end`. The other one keeps what it has, and hears of nothing.
fn restarts(name: &str, protocol: &str, end: impl FnOnce(&mut Member) -> Result<()>) -> Result<()> {
    let installation = Installation::new(name)?;
    let arguments =
        |id| [&["--group-protocol", protocol, "--group-instance-id", id][..], &SESSION].concat();
    let mut one = installation.ready_member("one", &arguments("one"))?;
    let mut two = installation.ready_member("two", &arguments("two"))?;
    // A worker that is fenced while the second member joins comes back without its id, and the group
    // settles when the session of that id has ended.
    soon("each member to have half", || {
        Ok(one.owned()?.len() == HALF && two.owned()?.len() == HALF)
    })
    .with_context(|| one.process.log().unwrap_or_default())?;
    let (first, second) = (one.owned()?, two.owned()?);
    installation.process(&[&LOAD[..], &START].concat(), &mut [&mut one, &mut two])?;
    let before = moves(&one)?;

    end(&mut two)?;
    let mut two = installation.ready_member("two", &arguments("two"))?;
    ensure!(two.given()? == second, "{:?}, not {second:?}", two.owned()?);
    installation.process(&[&LOAD[..], &LATER].concat(), &mut [&mut one, &mut two])?;
    installation.outputs_equal_the_fold()?;
    ensure!(one.owned()? == first && moves(&one)? == before, "{}", one.process.log()?);
    installation.finish_with([one, two])
}

#[test]
fn a_classic_member_that_was_killed_goes_on_without_a_rebalance() -> Result<()> {
    restarts("static-kill", "classic", |member| member.process.kill())
}

#[test]
fn a_classic_member_that_was_stopped_goes_on_without_a_rebalance() -> Result<()> {
    restarts("static-stop", "classic", |member| member.process.stop().map(|_| ()))
}

#[test]
fn a_member_that_the_broker_assigns_goes_on_without_a_rebalance() -> Result<()> {
    restarts("static-consumer", "consumer", |member| member.process.stop().map(|_| ()))
}

#[test]
fn an_instance_that_another_process_takes_ends_with_one_line() -> Result<()> {
    let installation = Installation::new("static-twice")?;
    let arguments = [&["--group-instance-id", "same"][..], &SESSION].concat();
    let one = installation.ready_member("one", &arguments)?;
    let two = installation.ready_member("two", &arguments)?;
    let said = one.process.outcome()?;
    ensure!(said.log.contains("give each member its own"), "{}", said.log);
    installation.finish_with([two])
}
