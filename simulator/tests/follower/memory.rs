//! A chain and a follower without a socket: frames wait in a queue, and a seed decides what comes next.

use std::collections::{HashMap, VecDeque};

use anyhow::{Context as _, Result, ensure};
use rand::rngs::StdRng;
use rand::{Rng as _, SeedableRng as _};
use schemas::Timestamp;
use serde_json::{Value, json};
use simulator::ethereum::settings::ChainSettings;
use simulator::ethereum::{Block, Chain, Control, FIRST, Step, answer};
use venues::ethereum::{Follower, FollowerConfig, Notice, listing};
use venues::pipeline::Output;

use super::fold::{Fold, Truth, check};

/// The time of the first block, in seconds.
const TIME: u64 = 1_700_000_000;
/// The topics of swaps, of both protocols.
const TOPICS: [&str; 2] = [
    "0xd78ad95fa46c994b6551d0da85fc275fe613ce37657fb8d5e3d130840159d822",
    "0xc42079f94a6350d7e6235f29174924f928cc2ac818eb64fed8004e115fbcca67",
];
/// How often a node behind the others does not know a block: less often than the follower asks.
const UNKNOWN: u8 = 2;

/// One in so many of each; 0 is never.
#[derive(Clone, Copy, Default)]
pub(crate) struct Faults {
    /// Requests that fail.
    pub(crate) errors: u32,
    /// Requests of a block that the node does not know yet.
    pub(crate) unknown: u32,
    /// Events at which the connection is cut.
    pub(crate) cuts: u32,
    /// Cuts at which another follower takes its place.
    pub(crate) kills: u32,
    /// Logs that come twice, or after the next frame.
    pub(crate) repeats: u32,
}

/// See the module.
pub(crate) struct World {
    chain: Chain,
    rng: StdRng,
    faults: Faults,
    height: u64,
    /// Frames on their way to the follower.
    frames: VecDeque<String>,
    subscriptions: [Option<String>; 2],
    ids: u64,
    unknown: HashMap<String, u8>,
    config: FollowerConfig,
    follower: Follower,
    fold: Fold,
    truth: Truth,
}

impl World {
    pub(crate) fn new(seed: u64, settings: &ChainSettings, faults: Faults) -> Result<Self> {
        let mut chain = Chain::new(seed, settings, TIME);
        chain.keep_lines();
        let lines = chain.pools().iter().map(|pool| pool.listing(settings.chain_id).to_string());
        let pools = lines.map(|line| listing::parse(&line)).collect::<Result<Vec<_>, _>>()?;
        let from_block = Some(i64::try_from(FIRST)?);
        let config = FollowerConfig { chain: Some(1), pools, from_block, ..Default::default() };
        let mut world = Self {
            chain,
            rng: StdRng::seed_from_u64(seed),
            faults,
            height: 0,
            frames: VecDeque::new(),
            subscriptions: [None, None],
            ids: 0,
            unknown: HashMap::new(),
            follower: Follower::new(config.clone()),
            config,
            fold: Fold::default(),
            truth: Truth::default(),
        };
        world.connect();
        Ok(world)
    }

    /// So many events: a block, a frame, or a fault.
    pub(crate) fn run(&mut self, events: usize) -> Result<()> {
        for _ in 0..events {
            if self.hits(self.faults.cuts) {
                self.cut();
            } else if self.rng.random_ratio(1, 12) {
                self.grow(true);
            } else {
                self.deliver()?;
            }
        }
        Ok(())
    }

    /// The faults end, and swaps; all becomes final.
    pub(crate) fn settle(&mut self) -> Result<()> {
        self.faults = Faults::default();
        self.chain.settle();
        for _ in 0..80 {
            self.grow(false);
            // A block has fewer frames and answers than this.
            for _ in 0..100_000 {
                if self.frames.is_empty() {
                    break;
                }
                self.deliver()?;
            }
        }
        ensure!(self.frames.is_empty(), "the follower never stops to ask");
        ensure!(self.follower.is_live(), "the follower still waits");
        ensure!(self.fold.number() == self.truth.number(), "{} heads", self.fold.number());
        let letters = &self.fold.dead_letters;
        ensure!(letters.keys().all(|reason| *reason == "rpc"), "{letters:?}");
        check(&self.fold, &self.truth)
    }

    fn hits(&mut self, one_in: u32) -> bool {
        one_in > 0 && self.rng.random_ratio(1, one_in)
    }

    fn connect(&mut self) {
        let requests = self.follower.start();
        self.ask(requests);
    }

    /// The connection ends with all that is on its way; the chain may go on before the next one.
    fn cut(&mut self) {
        self.frames.clear();
        self.subscriptions = [None, None];
        if self.hits(self.faults.kills) {
            self.follower = Follower::new(self.config.clone());
        } else {
            self.follower.lost();
        }
        for _ in 0..self.rng.random_range(0..20) {
            self.grow(true);
        }
        self.connect();
    }

    fn grow(&mut self, trades: bool) {
        self.height += 1;
        let (count, is_last) = (self.rng.random_range(0..6), self.rng.random_ratio(3, 4));
        let mut steps = self.chain.trade(if trades { count } else { 0 });
        // Twelve seconds to a block.
        steps.extend(self.chain.advance(TIME + 12 * self.height, is_last || !trades));
        for line in self.chain.take_lines() {
            // A line of the chain is JSON.
            let _ = self.truth.take(&line);
        }
        for step in steps {
            self.announce(&step);
        }
    }

    fn announce(&mut self, step: &Step) {
        match step {
            Step::Pending(..) => {}
            Step::Removed(block) => {
                for mut log in self.logs(block).into_iter().rev() {
                    log["removed"] = true.into();
                    self.log(&log);
                }
            }
            Step::Added { block, has_head, logs_first } => {
                let head = self.result("eth_getBlockByHash", &json!([block.hash, false]));
                if *has_head && !logs_first {
                    self.notify(0, &head);
                }
                for log in self.logs(block) {
                    self.log(&log);
                }
                if *has_head && *logs_first {
                    self.notify(0, &head);
                }
            }
        }
    }

    fn logs(&self, block: &Block) -> Vec<Value> {
        let logs =
            self.result("eth_getLogs", &json!([{"blockHash": block.hash, "topics": [TOPICS]}]));
        logs.as_array().cloned().unwrap_or_default()
    }

    fn log(&mut self, log: &Value) {
        self.notify(1, log);
        if self.hits(self.faults.repeats) {
            self.notify(1, log);
        }
        let count = self.frames.len();
        if count > 1 && self.hits(self.faults.repeats) {
            self.frames.swap(count - 1, count - 2);
        }
    }

    fn notify(&mut self, which: usize, result: &Value) {
        if let Some(id) = &self.subscriptions[which] {
            let params = json!({"subscription": id, "result": result});
            let frame = json!({"jsonrpc": "2.0", "method": "eth_subscription", "params": params});
            self.frames.push_back(frame.to_string());
        }
    }

    fn result(&self, method: &str, params: &Value) -> Value {
        let request = json!({"jsonrpc": "2.0", "id": 1, "method": method, "params": params});
        let text = answer(&self.chain, &request.to_string(), &mut String::new, false, true).text;
        serde_json::from_str::<Value>(&text)
            .map(|mut answer| answer["result"].take())
            .unwrap_or_default()
    }

    /// The next frame.
    fn deliver(&mut self) -> Result<()> {
        let Some(frame) = self.frames.pop_front() else { return Ok(()) };
        let mut outputs = Vec::new();
        let requests = self.follower.take(&frame, Timestamp(1), &mut outputs);
        outputs.into_iter().try_for_each(|output: Output| self.fold.take(output))?;
        if self.follower.notices().any(|notice| matches!(notice, Notice::Reconnect(_))) {
            self.cut();
        } else {
            self.ask(requests);
        }
        Ok(())
    }

    /// Answers requests, each with its fault.
    fn ask(&mut self, requests: Vec<String>) {
        for request in requests {
            let is_limited = self.hits(self.faults.errors);
            let ids = &mut self.ids;
            let mut next_id = || {
                *ids += 1;
                format!("{ids:#x}")
            };
            let mut answer = answer(&self.chain, &request, &mut next_id, is_limited, true);
            for control in answer.controls {
                match control {
                    Control::Heads(id) => self.subscriptions[0] = Some(id),
                    Control::Logs(id, _) => self.subscriptions[1] = Some(id),
                    _ => {}
                }
            }
            if request.contains("eth_getBlockByHash") && self.hits(self.faults.unknown) {
                answer.text = self.unknown(&request).unwrap_or(answer.text);
            }
            self.frames.push_back(answer.text);
        }
    }

    fn unknown(&mut self, request: &str) -> Option<String> {
        let request: Value = serde_json::from_str(request).ok()?;
        let times = self.unknown.entry(request["params"][0].as_str()?.to_owned()).or_default();
        *times += 1;
        let answer = json!({"jsonrpc": "2.0", "id": request["id"], "result": null});
        (*times <= UNKNOWN).then(|| answer.to_string())
    }
}

/// Runs worlds of many seeds.
pub(crate) fn worlds(seeds: u64, settings: &ChainSettings, faults: Faults) -> Result<()> {
    for seed in 0..seeds {
        let mut world = World::new(seed, settings, faults)?;
        world.run(3_000).and_then(|()| world.settle()).with_context(|| format!("seed {seed}"))?;
    }
    Ok(())
}
