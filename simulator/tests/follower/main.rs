//! The simulated node on a socket, and a follower on the other end: whatever the chain does and the node
//! leaves out, the fold of the records is the canonical chain of the truth.

mod client;
mod fold;
mod memory;

use std::path::PathBuf;
use std::time::Duration;

use anyhow::{Context as _, Result, bail, ensure};
use clap::Parser;
use simulator::ethereum::settings::ChainSettings;
use simulator::ethereum::{EthereumConfig, Node, NodeHandle};
use simulator::faults::Faults;
use tokio::time::interval;

use client::Client;
use fold::{Truth, check};
use memory::worlds;

/// Empty blocks after the last swap: all swaps are final.
const EMPTY: usize = 80;
/// A test that has not seen what it waits for by then has failed.
const PATIENCE: Duration = Duration::from_mins(1);
/// Between two looks at the file of the truth.
const PAUSE: Duration = Duration::from_millis(100);
/// Looks until [`PATIENCE`] has passed.
const LOOKS: u32 = 600;
/// Blocks of an outage.
const OUTAGE: i64 = 5;

/// The faults of `tests/swaps.rs`.
const FAULTS: &str = "--reorg-every 9 --reorg-back-every 3 --pending-every 5 --drop-pending-every 2 \
    --skip-heads-every 6 --logs-first-every 4 --repeat-every 7 --reorder-every 5 --disconnect-every 600";

/// Flags of a simulated chain.
#[derive(Parser)]
struct Flags {
    #[command(flatten)]
    faults: Faults,
    #[command(flatten)]
    chain: ChainSettings,
}

/// A running chain and a client of it.
struct Scene {
    client: Client,
    node: NodeHandle,
    truth: PathBuf,
}

impl Scene {
    async fn start(name: &str, seed: u64, rate: u32, flags: &str) -> Result<Self> {
        let own = "--block-every 20ms --block-time 12s --chain-age 48h";
        let words =
            ["simulate"].into_iter().chain(own.split_whitespace()).chain(flags.split_whitespace());
        let Flags { faults, chain } = Flags::try_parse_from(words)?;
        let truth = PathBuf::from(env!("CARGO_TARGET_TMPDIR")).join(format!("{name}-{seed}.jsonl"));
        let config = EthereumConfig {
            rate,
            faults,
            chain,
            truth: Some(truth.clone()),
            ..EthereumConfig::new(seed)
        };
        let node = Node::bind("127.0.0.1:0", &config).await?;
        let (url, handle) = (node.url()?, node.handle());
        tokio::spawn(node.run());
        let client = Client::new(url, &handle)?;
        Ok(Self { client, node: handle, truth })
    }

    fn told(&self) -> Result<Truth> {
        let text = std::fs::read_to_string(&self.truth)?;
        let mut truth = Truth::default();
        // A line without its end is still being written.
        for line in text.split_inclusive('\n').filter(|line| line.ends_with('\n')) {
            truth.take(line)?;
        }
        Ok(truth)
    }

    /// Follows until so many further heads are published.
    async fn follow(&mut self, heads: usize) -> Result<()> {
        let until = self.client.heads + heads;
        self.client.run(PATIENCE, |client| client.heads >= until).await?;
        ensure!(self.client.heads >= until, "{} heads of {until}", self.client.heads);
        Ok(())
    }

    /// Waits until the chain has so many further blocks, and follows none of them.
    async fn mines(&self, blocks: i64) -> Result<()> {
        let (until, mut looks) = (self.told()?.number() + blocks, interval(PAUSE));
        for _ in 0..LOOKS {
            if self.told()?.number() >= until {
                return Ok(());
            }
            looks.tick().await;
        }
        bail!("the chain has not reached block {until}")
    }

    /// No more swaps; follows until all are final, and compares.
    async fn settle(&mut self) -> Result<()> {
        self.node.halt();
        let mut waited = Duration::ZERO;
        let truth = loop {
            self.client.run(PAUSE, |_| false).await?;
            let truth = self.told()?;
            if truth.empty() >= EMPTY {
                break truth;
            }
            waited += PAUSE;
            ensure!(waited < PATIENCE, "no empty blocks");
        };
        let number = truth.number();
        self.client.run(PATIENCE, |client| client.fold.number() >= number).await?;
        ensure!(self.client.fold.number() >= number, "{} of {number}", self.client.fold.number());
        check(&self.client.fold, &truth)?;
        ensure!(truth.swaps().len() > 100, "{} swaps", truth.swaps().len());
        std::fs::remove_file(&self.truth).context("the truth")
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_new_follower_tells_the_reorganisation_that_the_last_one_missed() -> Result<()> {
    for seed in 0..seeds() {
        let mut scene = Scene::start("restart", seed, 200, FAULTS).await?;
        scene.follow(150).await?;
        scene.client.kill();
        scene.node.reorganise(5);
        scene.follow(100).await?;
        scene.settle().await.with_context(|| format!("seed {seed}"))?;
    }
    Ok(())
}

/// Reorganisations forth and back, missed heads, logs before heads, repeats and another order.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn reorganisations_and_missed_heads_leave_the_canonical_chain() -> Result<()> {
    for seed in 0..seeds() {
        let flags = FAULTS.split(" --disconnect-every").next().unwrap_or_default();
        let mut scene = Scene::start("reorganisations", seed, 200, flags).await?;
        for depth in 1..=5 {
            scene.follow(40).await?;
            scene.node.reorganise(depth);
        }
        scene.settle().await.with_context(|| format!("seed {seed}"))?;
        ensure!(scene.client.connections == 1 && scene.client.fold.dead_letters.is_empty());
    }
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_connection_that_is_cut_often_loses_nothing() -> Result<()> {
    for seed in 0..seeds() {
        let flags = FAULTS.replace("600", "60");
        let mut scene = Scene::start("cut", seed, 200, &flags).await?;
        scene.follow(300).await?;
        scene.settle().await.with_context(|| format!("seed {seed}"))?;
        ensure!(scene.client.connections > 5, "{} connections", scene.client.connections);
    }
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn refused_requests_and_a_reorganisation_during_an_outage_lose_nothing() -> Result<()> {
    for seed in 0..seeds() {
        let flags = FAULTS.replace("600", "60 --limit-requests-every 40");
        let mut scene = Scene::start("refused", seed, 200, &flags).await?;
        for _ in 0..3 {
            scene.follow(100).await?;
            scene.client.cut();
            scene.node.reorganise(5);
            scene.mines(OUTAGE).await?;
        }
        scene.settle().await.with_context(|| format!("seed {seed}"))?;
        ensure!(scene.client.fold.dead_letters.keys().all(|reason| *reason == "rpc"));
    }
    Ok(())
}

/// Every fault of a chain.
fn unruly() -> ChainSettings {
    ChainSettings {
        reorg_every: Some(9),
        reorg_back_every: Some(3),
        skip_heads_every: Some(6),
        logs_first_every: Some(4),
        ..ChainSettings::default()
    }
}

#[test]
fn every_seed_gives_the_canonical_chain_with_repeats() -> Result<()> {
    worlds(20 * seeds(), &unruly(), memory::Faults { repeats: 5, ..Default::default() })
}

#[test]
fn every_seed_gives_the_canonical_chain_with_cuts_and_kills() -> Result<()> {
    let faults = memory::Faults { repeats: 9, cuts: 200, kills: 4, ..Default::default() };
    worlds(20 * seeds(), &unruly(), faults)
}

#[test]
fn every_seed_gives_the_canonical_chain_with_errors() -> Result<()> {
    let faults = memory::Faults { errors: 8, cuts: 400, kills: 8, ..Default::default() };
    worlds(20 * seeds(), &unruly(), faults)
}

#[test]
fn every_seed_gives_the_canonical_chain_with_a_node_that_is_behind() -> Result<()> {
    let faults = memory::Faults { unknown: 3, cuts: 400, kills: 8, ..Default::default() };
    worlds(20 * seeds(), &unruly(), faults)
}

/// Seeds of each test: more on demand.
fn seeds() -> u64 {
    std::env::var("FOLLOWER_SEEDS").ok().and_then(|text| text.parse().ok()).unwrap_or(2)
}
