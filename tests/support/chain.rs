//! A simulated chain as a process of its own, a producer that follows it, and the canonical chain of its
//! truth.

use std::collections::HashMap;
use std::path::PathBuf;
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use serde::Deserialize;
use serde_json::{Value, json};

use super::socket::Socket;
use super::venue::Follower;
use super::{Installation, Process, wait_until};

/// The time in which a busy machine starts a program.
const START: Duration = Duration::from_mins(1);
/// Empty blocks after the last swap: more than the depth at which blocks are final.
const EMPTY: usize = 80;
/// The longest wait for those blocks.
const SETTLE: Duration = Duration::from_mins(2);

/// A pool of the chain.
#[derive(Clone, Debug, Deserialize)]
pub struct Pool {
    /// Its chain.
    pub chain: i64,
    /// Its address.
    pub pool: String,
    /// The name of its contract.
    pub protocol: String,
    /// The tokens.
    pub token0: String,
    /// The other one.
    pub token1: String,
    /// Their symbols.
    pub symbol0: String,
    /// Of the other one.
    pub symbol1: String,
    /// Their decimals.
    pub decimals0: u32,
    /// Of the other one.
    pub decimals1: u32,
}

/// A swap of the truth; numbers are text.
#[derive(Clone, Debug, Deserialize)]
pub struct Swap {
    /// The transaction.
    pub tx_hash: String,
    /// Its place in the block.
    pub log_index: i64,
    /// The address of the pool.
    pub pool: String,
    /// Of the first token: positive flows in.
    pub amount0: String,
    /// Of the second token.
    pub amount1: String,
    /// The square root of the price; v3 only.
    pub sqrt_price_x96: Option<String>,
    /// v3 only.
    pub liquidity: Option<String>,
    /// v3 only.
    pub tick: Option<i64>,
}

/// A block of the truth.
#[derive(Clone, Debug, Deserialize)]
pub struct Block {
    /// Its number.
    pub block: i64,
    /// Its hash.
    pub hash: String,
    /// The hash of the block before it.
    pub parent_hash: String,
    /// Its time, in seconds since the epoch.
    pub time_s: i64,
    /// Its swaps, by log index.
    pub swaps: Vec<Swap>,
}

/// A simulated chain.
pub struct SimulatedChain {
    /// Its program.
    pub process: Process,
    url: String,
    truth: PathBuf,
    listing: PathBuf,
    /// Its pools.
    pub pools: Vec<Pool>,
}

impl SimulatedChain {
    /// Starts one; `flags` say how much is swapped and what goes wrong.
    pub fn start(installation: &Installation, flags: &[&str]) -> Result<Self> {
        let [truth, listing] =
            ["chain.jsonl", "pools.jsonl"].map(|name| installation.folder().join(name));
        let file = truth.to_string_lossy().into_owned();
        let own = ["simulate", "--venue", "ethereum", "--listen", "127.0.0.1:0", "--truth", &file];
        let mut process = installation.command("producer", &[&own[..], flags].concat())?;
        let url = wait_until("a chain to listen", START, || {
            process.alive()?;
            let lines = process.lines("url=\"")?;
            let url = lines.first().and_then(|line| line.split("url=\"").nth(1));
            Ok(url.and_then(|url| url.split('"').next()).map(str::to_owned))
        })?;
        let http = format!("{}/pools", url.replace("ws://", "http://"));
        let lines: Vec<Value> = reqwest::blocking::get(http)?.error_for_status()?.json()?;
        let text = lines.iter().map(|line| format!("{line}\n")).collect::<Vec<_>>().concat();
        std::fs::write(&listing, text)?;
        let pools = lines.into_iter().map(|line| Ok(serde_json::from_value(line)?));
        let pools = pools.collect::<Result<_>>()?;
        Ok(Self { process, url, truth, listing, pools })
    }

    /// A producer that follows its pools from its first block, with further flags.
    pub fn follow(&self, installation: &Installation, flags: &[&str]) -> Result<Follower> {
        let (first, pools) =
            (simulator::ethereum::FIRST.to_string(), self.listing.to_string_lossy());
        let own = ["run", "--venue", "ethereum", "--url", &self.url, "--chain-id", "1"];
        let from = ["--pools", &pools, "--from-block", &first, "--metrics", "127.0.0.1:0"];
        // Waits in proportion to a test.
        let backoff = ["--backoff-first", "50ms", "--backoff-cap", "200ms"];
        let process = installation.producer(&[&own[..], &from, &backoff, flags].concat())?;
        Ok(Follower { process })
    }

    fn say(&self, method: &str, params: &Value) -> Result<()> {
        let mut socket = Socket::open(&self.url)?;
        socket.say(&json!({"jsonrpc": "2.0", "id": 1, "method": method, "params": params}))?;
        let answer = socket.hear()?;
        ensure!(answer["result"] == true, "{method}: {answer}");
        Ok(())
    }

    /// A reorganisation of this depth, now.
    pub fn reorganise(&self, depth: u32) -> Result<()> {
        self.say("simulator_reorganise", &json!([depth]))
    }

    /// The canonical chain so far, oldest first.
    pub fn canonical(&self) -> Result<Vec<Block>> {
        let text = std::fs::read_to_string(&self.truth)?;
        canonical(&text)
    }

    /// No more swaps; waits until the blocks of all of them are final. The canonical chain.
    pub fn settle(&mut self) -> Result<Vec<Block>> {
        self.say("simulator_halt", &json!([]))?;
        wait_until("empty blocks after the last swap", SETTLE, || {
            self.process.alive()?;
            let chain = self.canonical()?;
            let empty = chain.iter().rev().take_while(|block| block.swaps.is_empty()).count();
            Ok((empty >= EMPTY).then_some(chain))
        })
    }
}

/// The canonical chain of lines of the truth: the head that they name last, and its parents.
fn canonical(text: &str) -> Result<Vec<Block>> {
    let (mut blocks, mut head) = (HashMap::new(), None);
    // A line without its end is still being written.
    for line in text.split_inclusive('\n').filter(|line| line.ends_with('\n')) {
        let value: Value = serde_json::from_str(line).with_context(|| line.to_owned())?;
        if value["block"].is_i64() {
            let block: Block = serde_json::from_value(value).with_context(|| line.to_owned())?;
            blocks.insert(block.hash.clone(), block);
        } else if let Some(hash) = value["head"].as_str() {
            head = Some(hash.to_owned());
        }
    }
    let mut chain = Vec::new();
    while let Some(block) = head.and_then(|hash| blocks.remove(&hash)) {
        head = Some(block.parent_hash.clone());
        chain.push(block);
    }
    chain.reverse();
    Ok(chain)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_canonical_chain_is_the_last_head_and_its_parents() -> Result<()> {
        let block = |number: i64, hash: &str, parent: &str| json!({"block": number, "hash": hash, "parent_hash": parent, "time_s": 1, "swaps": []});
        let head = |hash: &str| json!({"head": hash, "number": 1});
        let lines = [
            block(1, "a", "_"),
            head("a"),
            block(2, "b", "a"),
            head("b"),
            block(2, "c", "a"),
            block(3, "d", "c"),
            head("d"),
            json!({"pending": "t"}),
        ];
        let text = lines.iter().map(|line| format!("{line}\n")).collect::<Vec<_>>().concat();
        let hashes = |text: &str| -> Result<String> {
            Ok(canonical(text)?.into_iter().map(|block| block.hash).collect())
        };
        ensure!(hashes(&text)? == "acd");
        // Back to the first fork, and a line that is being written.
        let text = format!("{text}{}\n{{\"head\":\"d", head("b"));
        ensure!(hashes(&text)? == "ab");
        Ok(())
    }
}
