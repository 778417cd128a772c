//! Things break under load, one at a time, and every output topic is still what an independent fold
//! of `events` says: nothing is lost, nothing is doubled, and for how long nothing moved is printed.
//!
//! `CHAOS=all` is every fault under both group protocols, on three brokers: `make chaos` starts them.
//! Without it the faults are those that one broker allows and no other test causes, each under one
//! protocol. A target of its own: all of it stops what others use.

#[path = "chaos/broken.rs"]
mod broken;
#[path = "chaos/brokers.rs"]
mod brokers;
#[path = "chaos/history.rs"]
mod history;
#[path = "chaos/members.rs"]
mod members;
#[path = "chaos/progress.rs"]
mod progress;
#[path = "chaos/surroundings.rs"]
mod surroundings;
#[path = "chaos/swaps.rs"]
mod swaps;
#[path = "chaos/words.rs"]
mod words;
#[path = "chaos/world.rs"]
mod world;

use std::io::Write as _;

use anyhow::{Result, bail, ensure};
use tests::support::Stack;

use swaps::SwapsWorld;
use words::WordsWorld;
use world::{Cost, World};

/// What breaks, and under which protocol when there is no time for both.
struct Fault {
    name: &'static str,
    inject: Inject,
    brief: Option<&'static str>,
}

/// The group that breaks: the product's, one whose load flows through a repartition topic, or the
/// product's with a chain that reorganises.
#[derive(Clone, Copy)]
enum Inject {
    Product(fn(&mut World) -> Result<()>),
    Words(fn(&mut WordsWorld) -> Result<()>),
    Swaps(fn(&mut SwapsWorld) -> Result<()>),
}

/// The fault that needs the programs of the previous version: only when it is asked for.
const VERSION: &str = "version replaced";

/// In the order of the table.
const FAULTS: [Fault; 16] = [
    fault("member killed in a commit", members::killed_during_commits, None),
    fault("member paused past session", members::paused_past_the_session, Some("classic")),
    fault("members come and go", members::come_and_go, None),
    fault("network refuses", surroundings::network_refuses, None),
    fault("network holds", surroundings::network_holds, Some("consumer")),
    fault("state disk full", surroundings::disk_full, Some("classic")),
    fault("registry stopped", surroundings::registry_stopped, None),
    fault("partition leader killed", brokers::leader_killed, None),
    fault("group coordinator killed", brokers::group_coordinator_killed, None),
    fault("tx coordinator killed", brokers::transaction_coordinator_killed, None),
    fault(VERSION, members::version_replaced, None),
    words("words: member killed", words::killed_during_commits, Some("consumer")),
    words("words: leader killed", words::leader_killed, None),
    words("words: tx coordinator killed", words::transaction_coordinator_killed, None),
    swaps("swaps: member killed", swaps::killed_during_reorganisations, Some("consumer")),
    swaps("swaps: leader killed", swaps::leader_killed, None),
];

const PROTOCOLS: [&str; 2] = ["classic", "consumer"];
/// Any one of them may be killed.
const BROKERS: usize = 3;

const fn fault(
    name: &'static str,
    inject: fn(&mut World) -> Result<()>,
    brief: Option<&'static str>,
) -> Fault {
    Fault { name, inject: Inject::Product(inject), brief }
}

const fn words(
    name: &'static str,
    inject: fn(&mut WordsWorld) -> Result<()>,
    brief: Option<&'static str>,
) -> Fault {
    Fault { name, inject: Inject::Words(inject), brief }
}

const fn swaps(
    name: &'static str,
    inject: fn(&mut SwapsWorld) -> Result<()>,
    brief: Option<&'static str>,
) -> Fault {
    Fault { name, inject: Inject::Swaps(inject), brief }
}

impl Fault {
    fn cause(&self, protocol: &'static str) -> Result<Cost> {
        let name = self.name.replace(": ", "-").replace(' ', "-");
        match self.inject {
            Inject::Product(inject) => {
                let mut world = World::start(&name, protocol)?;
                inject(&mut world)?;
                world.finish()
            }
            Inject::Swaps(inject) => {
                let mut world = SwapsWorld::start(&name, protocol)?;
                inject(&mut world)?;
                world.finish()
            }
            Inject::Words(inject) => {
                let mut world = WordsWorld::start(&name, protocol)?;
                inject(&mut world)?;
                world.finish()
            }
        }
    }
}

/// The faults of this run, with their protocols.
fn chosen() -> Result<Vec<(&'static Fault, &'static str)>> {
    let all = match std::env::var("CHAOS").ok().filter(|text| !text.is_empty()).as_deref() {
        None => return Ok(FAULTS.iter().filter_map(|f| Some((f, f.brief?))).collect()),
        Some("all") => "",
        // A part of a fault's name, for whoever looks into it.
        Some(part) => part,
    }
    .to_owned();
    let brokers = Stack::up()?.brokers();
    ensure!(brokers >= BROKERS, "CHAOS needs {BROKERS} brokers, there is {brokers}: make chaos");
    let asked =
        |fault: &&Fault| fault.name.contains(&all) && (fault.name != VERSION || all == VERSION);
    let faults = FAULTS.iter().filter(asked);
    Ok(faults.flat_map(|fault| PROTOCOLS.map(|protocol| (fault, protocol))).collect())
}

#[test]
fn whatever_breaks_nothing_is_lost_and_nothing_doubled() -> Result<()> {
    // As it happens, not only when something fails.
    let mut out = std::io::stdout().lock();
    writeln!(
        out,
        "\n{:<28} {:<9} {:>5} {:>8} {:>18}",
        "fault", "protocol", "lost", "doubled", "s without progress"
    )?;
    let mut failed = Vec::new();
    for (fault, protocol) in chosen()? {
        write!(out, "{:<28} {protocol:<9} ", fault.name)?;
        out.flush()?;
        match fault.cause(protocol) {
            Ok(Cost { lost, doubled, still }) => {
                writeln!(out, "{lost:>5} {doubled:>8} {:>18.1}", still.as_secs_f64())?;
                if lost + doubled > 0 {
                    failed.push(format!(
                        "{} ({protocol}): {lost} lost, {doubled} doubled",
                        fault.name
                    ));
                }
            }
            Err(error) => {
                writeln!(out, "failed")?;
                failed.push(format!("{} ({protocol}): {error:#}", fault.name));
            }
        }
    }
    if failed.is_empty() { Ok(()) } else { bail!("\n{}", failed.join("\n")) }
}
