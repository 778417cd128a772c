//! The simulation: real tasks and stores in a world where everything fails, from one seed.
//!
//! `SIM_SEEDS` says how many worlds (300), `SIM_SEED` replays one and prints what happened in it.
//! Invariant: the same seed is the same world, byte for byte.

#[path = "simulation/broker.rs"]
mod broker;
#[path = "simulation/disk.rs"]
mod disk;
#[path = "simulation/log.rs"]
mod log;
#[path = "simulation/member.rs"]
mod member;
#[path = "simulation/replica.rs"]
mod replica;
#[path = "simulation/rules.rs"]
mod rules;
#[path = "simulation/sample.rs"]
mod sample;
#[path = "simulation/world.rs"]
mod world;

use anyhow::{Result, bail, ensure};

use rules::Rule;
use world::World;

/// Worlds that are lived through unless `SIM_SEEDS` says otherwise.
const SEEDS: u64 = 300;
/// Worlds in which a broken rule must show.
const WORLDS_TO_CATCH: u64 = 2_000;
/// Lines of the trace that are printed of a failed world.
const LAST_LINES: usize = 60;

fn number(name: &str) -> Result<Option<u64>> {
    Ok(std::env::var(name).ok().map(|text| text.parse()).transpose()?)
}

#[test]
fn outputs_equal_those_of_a_run_without_faults() -> Result<()> {
    let seeds = match number("SIM_SEED")? {
        Some(seed) => seed..seed + 1,
        None => 0..number("SIM_SEEDS")?.unwrap_or(SEEDS),
    };
    for seed in seeds {
        let mut world = World::new(seed, &[]);
        if let Err(what) = world.run() {
            let last = world.trace.len().saturating_sub(LAST_LINES);
            bail!(
                "seed {seed}: {what}\n{}\nreplay: SIM_SEED={seed} cargo test --release --workspace \
                 --test simulation",
                world.trace[last..].join("\n")
            );
        }
    }
    Ok(())
}

#[test]
fn a_seed_is_one_world_byte_for_byte() -> Result<()> {
    for seed in [1, 7, 42] {
        let traces = [(); 2].map(|()| {
            let mut world = World::new(seed, &[]);
            let outcome = world.run();
            (outcome, world.trace)
        });
        ensure!(traces[0] == traces[1], "seed {seed} has two traces");
        ensure!(!traces[0].1.is_empty(), "seed {seed} has no trace");
    }
    Ok(())
}

/// Every kind of fault and of recovery is met, or the seeds prove less than they say.
#[test]
fn every_fault_happens() -> Result<()> {
    let mut traces = Vec::new();
    for seed in 0..SEEDS {
        let mut world = World::new(seed, &[]);
        // The other test says which seed fails, and how.
        let _ = world.run();
        traces.append(&mut world.trace);
    }
    for what in [
        "is expelled",
        "gives",
        "warm",
        "cold",
        "falls back",
        "dies killed",
        "dies before the transaction",
        "dies after the records",
        "dies after the offsets",
        "dies while the commit was decided",
        "dies before the stores hear of the commit",
        "dies between freeze and write",
        "dies in the middle of writing a store",
        "dies in the middle of a restore",
        "stands still",
        "joins again: the commit was lost",
        "joins again: the commit was not answered",
        "joins again: epoch",
        "joins again: not in the group",
        "joins again: lost its partitions",
    ] {
        ensure!(traces.iter().any(|line| line.contains(what)), "no world in which one {what}");
    }
    Ok(())
}

/// A world that breaks a rule must be found out, or the auditor proves nothing.
fn is_caught(broken: &'static [Rule]) -> Result<()> {
    let fails = |seed, broken| World::new(seed, broken).run().is_err();
    let caught = (0..WORLDS_TO_CATCH).find(|seed| fails(*seed, broken) && !fails(*seed, &[]));
    ensure!(caught.is_some(), "no world shows that the rule is broken");
    Ok(())
}

#[test]
fn unstable_offsets_are_caught() -> Result<()> {
    is_caught(&[Rule::OffsetsAreStable])
}

#[test]
fn a_restore_that_ends_before_an_open_transaction_is_caught() -> Result<()> {
    is_caught(&[Rule::RestorePassesOpenTransactions])
}

#[test]
fn ends_that_are_not_proved_are_caught() -> Result<()> {
    is_caught(&[Rule::EndsAreProved])
}

#[test]
fn a_commit_without_offsets_is_caught() -> Result<()> {
    is_caught(&[Rule::PositionsAreKnown])
}

#[test]
fn writing_a_lost_task_to_disk_is_caught() -> Result<()> {
    is_caught(&[Rule::LostTasksAreNotWritten, Rule::EndsAreProved])
}

#[test]
fn stores_that_hear_before_the_write_are_caught() -> Result<()> {
    is_caught(&[Rule::StoresHearAfterTheWrite])
}
