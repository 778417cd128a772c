//! The simulated node on a socket, and a follower on the other end: whatever the chain does and the node
//! leaves out, the fold of the records is the canonical chain of the truth.

mod client;
mod fold;

use std::path::PathBuf;
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use clap::Parser;
use simulator::ethereum::settings::ChainSettings;
use simulator::ethereum::{EthereumConfig, Node, NodeHandle};
use simulator::faults::Faults;

use client::Client;
use fold::{Truth, check};

/// Empty blocks after the last swap: all swaps are final.
const EMPTY: usize = 80;
/// A test that has not seen what it waits for by then has failed.
const PATIENCE: Duration = Duration::from_secs(60);
/// Between two looks at the file of the truth.
const PAUSE: Duration = Duration::from_millis(100);

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

/// Seeds of each test: more on demand.
fn seeds() -> u64 {
    std::env::var("FOLLOWER_SEEDS").ok().and_then(|text| text.parse().ok()).unwrap_or(2)
}
