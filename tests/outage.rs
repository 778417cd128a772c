//! The database goes away during load for longer than the sinks may be silent, and comes back:
//! nobody restarts anything, and the tables are what the topics are. No row becomes a dead letter.
//!
//! A target of its own: it stops the `PostgreSQL` that all others use. `OUTAGE_SECONDS` makes it
//! longer.

use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, ensure};
use schemas::topic::Topic;
use tests::support::connect::Sinks;
use tests::support::down::Down;
use tests::support::{Installation, soon, wait_until};

/// The outage unless `OUTAGE_SECONDS` says otherwise: almost three poll intervals of the sinks.
const SECONDS: u64 = 40;
/// The longest that a sink may go without asking for records, in this test.
const POLL_INTERVAL_MS: (&str, &str) = ("SINK_MAX_POLL_INTERVAL_MS", "15000");
/// Rows that show that the sinks were at work before.
const ROWS_BEFORE: usize = 50;

#[test]
fn the_tables_catch_up_after_an_outage_of_the_database() -> Result<()> {
    let seconds = std::env::var("OUTAGE_SECONDS").ok().map(|text| text.parse()).transpose();
    let seconds = seconds.context("OUTAGE_SECONDS is a whole number")?.unwrap_or(SECONDS);
    let installation = Installation::new("outage")?;
    let mut member = installation.ready_member("one", &[])?;
    let sinks = Sinks::register(&installation, &Topic::SUNK, &[POLL_INTERVAL_MS])?;
    // It goes on until it is told to end, after the outage.
    let load = ["load", "--events", "10000000", "--keys", "100", "--rate", "2000"];
    let mut load = installation.producer(&[&load[..], &["--event-rate", "100"]].concat())?;
    sinks.rows_at_least("ohlc_1m", ROWS_BEFORE)?;

    let postgres = Down::stop(&installation.stack, "postgres")?;
    let started = Instant::now();
    let outage = Duration::from_secs(seconds);
    wait_until("the outage to be over", outage * 2, || {
        member.process.alive()?;
        Ok((started.elapsed() >= outage).then_some(()))
    })?;
    load.alive().context("the load was to go on during the outage")?;
    postgres.start()?;

    load.told_to_end()?;
    installation.caught_up(&mut [&mut member])?;
    let mut outputs = installation.outputs_equal_the_fold()?;
    sinks.tables_equal(&mut outputs)?;
    soon("every sink to run", || sinks.are_running())?;
    let letters = installation.read(Topic::DeadLetters)?;
    ensure!(letters.is_empty(), "an outage of the database made dead letters: {letters:?}");
    drop(sinks);
    installation.finish_with([member])
}
