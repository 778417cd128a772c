//! The simulation: the real worker, follower, tasks and stores in a world where everything fails,
//! from one seed.
//!
//! Only the outside of [`streams::runtime::worker`] is simulated: the group, the topics, the disk and
//! the time. A worker takes a step at a time, so a fault and the acts of other members fall between
//! any two of its calls.
//!
//! `SIM_SEEDS` says how many worlds (300), `SIM_SEED` replays one and prints what happened in it.
//! Invariant: the same seed is the same world, byte for byte.

#[path = "simulation/broker.rs"]
mod broker;
#[path = "simulation/disk.rs"]
mod disk;
#[path = "simulation/env.rs"]
mod env;
#[path = "simulation/group.rs"]
mod group;
#[path = "simulation/log.rs"]
mod log;
#[path = "simulation/member.rs"]
mod member;
#[path = "simulation/rules.rs"]
mod rules;
#[path = "simulation/sample.rs"]
mod sample;
#[path = "simulation/topics.rs"]
mod topics;
#[path = "simulation/world.rs"]
mod world;

use anyhow::{Result, bail, ensure};

use rules::Rule;
use world::{Life, live};

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
        let Life { outcome, trace } = live(seed, &[]);
        if let Err(what) = outcome {
            let last = trace.len().saturating_sub(LAST_LINES);
            bail!(
                "seed {seed}: {what}\n{}\nreplay: SIM_SEED={seed} cargo test --release --workspace \
                 --test simulation",
                trace[last..].join("\n")
            );
        }
    }
    Ok(())
}

#[test]
fn a_seed_is_one_world_byte_for_byte() -> Result<()> {
    for seed in [1, 7, 42] {
        let [one, other] = [(); 2].map(|()| live(seed, &[]));
        ensure!(one.outcome == other.outcome, "seed {seed} has two outcomes");
        ensure!(one.trace == other.trace, "seed {seed} has two traces");
        ensure!(!one.trace.is_empty(), "seed {seed} has no trace");
    }
    Ok(())
}

/// Every kind of fault and of recovery is met, or the seeds prove less than they say.
#[test]
fn every_fault_happens() -> Result<()> {
    let mut traces = Vec::new();
    for seed in 0..SEEDS {
        // The other test says which seed fails, and how.
        traces.append(&mut live(seed, &[]).trace);
    }
    for what in [
        "is expelled",
        "is killed",
        "is told to stop",
        "has stopped",
        "gives",
        "falls back",
        "stands still",
        "hears of its loss",
        "joins the group again",
        "waits for stable offsets",
        "pauses",
        "the worker of 1 dies before the positions",
        "dies before a restore",
        "dies in the middle of a restore",
        "dies before the transaction",
        "dies before it is decided where to begin",
        "dies after the records",
        "dies before the offsets",
        "dies after the offsets",
        "dies while the commit was decided",
        "dies before the stores receive the commit",
        "dies between freeze and write",
        "dies in the middle of writing a store",
        "joins again: commit outcome unknown: the commit was lost",
        "joins again: commit outcome unknown: the commit was not answered",
        "joins again: fenced: epoch",
        "joins again: fenced: not in the group",
        "joins again: unavailable: a fetch failed",
        "deletes records of 1_",
        "dies before it deletes records",
        "joins again: unavailable: the records are deleted",
        "follows all of it anew",
        "the follower of",
    ] {
        ensure!(traces.iter().any(|line| line.contains(what)), "no world in which one {what}");
    }
    Ok(())
}

/// A world that breaks a rule must be found out, or the auditor proves nothing.
fn is_caught(broken: &'static [Rule]) -> Result<()> {
    let fails = |seed, broken| live(seed, broken).outcome.is_err();
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
    is_caught(&[Rule::LossIsTold, Rule::EndsAreProved])
}
