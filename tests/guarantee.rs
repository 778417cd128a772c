//! The processing guarantee at the worst moment: a member dies when the broker has acknowledged its
//! outputs and does not have its offsets.
//!
//! A proxy stops the member there: it lets everything through but commits of offsets. Exactly once
//! then gives what the fold says. At least once counts what it processed a second time, and the same
//! comparison must show it: it is the proof that the comparison could find a doubled record at all.

use std::time::Duration;

use anyhow::{Result, ensure};
use tests::support::installation::IMPATIENT;
use tests::support::outputs::Outputs;
use tests::support::proxy::{Network, Proxy};
use tests::support::{Installation, wait_until};

/// Trades without ids count each time that they are processed.
const LOAD: [&str; 6] = ["--keys", "20", "--event-rate", "20", "--ids", "none"];
/// The first of them.
const FIRST: [&str; 3] = ["load", "--events", "2000"];
/// A hundred seconds of event time.
const BEFORE: [&str; 2] = ["--start-ms", "1700000000000"];
/// The next hours, at a pace that leaves no commit without records: a member without work would prove
/// that it is the owner instead, and wait for that answer.
const AFTER: [&str; 5] = ["load", "--events", "1000000", "--rate", "500"];
/// Behind the first.
const LATER: [&str; 4] = ["--start-ms", "1700000100000", "--seed", "2"];
/// A member joins its group, processes a few thousand records, and a dead one is given up.
const BOUND: Duration = Duration::from_mins(2);

/// What the outputs are, and what the fold says, after a member died between its outputs and its
/// offsets and another went on.
fn killed_before_its_offsets(
    installation: &Installation,
    guarantee: &str,
) -> Result<(Outputs, Outputs)> {
    let arguments = [&["--processing-guarantee", guarantee][..], &IMPATIENT].concat();
    let proxy = Proxy::start(&installation.stack)?;
    let far = proxy.setting();
    let mut one =
        installation.member("one", &[&arguments[..], &["--kafka", far.as_str()]].concat())?;
    installation.process(&[&FIRST[..], &LOAD, &BEFORE].concat(), &mut [&mut one])?;
    let before = installation.processed()?;
    let load = installation.producer(&[&AFTER[..], &LOAD, &LATER].concat())?;
    wait_until("the member to be at work", BOUND, || {
        Ok((installation.processed()? > before + 500).then_some(()))
    })?;

    // Outputs are acknowledged before their offsets are sent.
    proxy.set(Network::HoldsCommits);
    wait_until("offsets to be held", BOUND, || {
        one.process.alive()?;
        Ok((proxy.held() > 0).then_some(()))
    })?;
    let committed = installation.processed()?;
    one.process.kill()?;
    load.told_to_end()?;
    ensure!(installation.processed()? == committed, "offsets were committed past the proxy");
    // What it held goes with it.
    drop(proxy);

    let mut two = installation.member("two", &arguments)?;
    installation.caught_up(&mut [&mut two])?;
    two.stop()?;
    installation.actual_and_expected()
}

#[test]
fn exactly_once_doubles_nothing_when_outputs_are_written_and_offsets_are_not() -> Result<()> {
    let installation = Installation::new("guarantee-exactly-once")?;
    let (actual, expected) = killed_before_its_offsets(&installation, "exactly_once_v2")?;
    let (lost, doubled) = (expected.beyond(&actual), actual.beyond(&expected));
    ensure!((lost, doubled) == (0, 0), "{lost} lost, {doubled} doubled");
    actual.equals(&expected)?;
    installation.finish()
}

#[test]
fn at_least_once_doubles_what_was_written_without_its_offsets_and_the_comparison_shows_it()
-> Result<()> {
    let installation = Installation::new("guarantee-at-least-once")?;
    let (actual, expected) = killed_before_its_offsets(&installation, "at_least_once")?;
    let (lost, doubled) = (expected.beyond(&actual), actual.beyond(&expected));
    ensure!(lost == 0, "{lost} lost");
    ensure!(doubled > 0, "a record was processed twice, and the comparison does not show it");
    ensure!(actual.equals(&expected).is_err(), "{doubled} doubled, and the outputs are equal");
    installation.finish()
}
