//! The state machine of one node: text frames in, records and requests out.
//!
//! ```text
//! start ─→ chain ─→ facts of pools ─→ subscriptions ─→ backfill ─→ live ─ gap of heads ─→ backfill
//!            └─ another chain, no pool: refused
//! ```
//!
//! Invariants:
//! - An included swap is published with the time of its block; until that is known it waits.
//! - A head is published after the heads that the node did not announce, and after the logs that a
//!   backfill brings; logs of the subscription do not wait for heads.
//! - Whatever waits is bounded.

mod heads;
mod logs;

use std::collections::VecDeque;

use schemas::{ChainHead, Pool, PoolKey, Timestamp};

use super::NAME;
use super::backfill::Backfill;
use super::blocks::Blocks;
use super::held::Held;
use super::notice::{NoEffect, Notice};
use super::pools::{Learned, Pools};
use super::protocol::{self, Frame, RpcError, address, json, quantity};
use super::requests::{Request, Requests};
use crate::malformed::{Malformed, Result};
use crate::pipeline::{DeadLetter, Output};

/// Heads that wait behind a backfill: ten minutes of a chain with a block every two seconds. A node that
/// answers nothing for so long is left.
const MAX_WAITING: usize = 300;
/// How often a request is asked whose answer is an error, or a block that the node does not know: behind
/// one address there are several nodes, and some are behind the others.
const MAX_TRIES: u8 = 3;

/// The subject of a follower.
#[derive(Clone, Debug, Default)]
pub struct FollowerConfig {
    /// The chain that the node must be of; `None`: any.
    pub chain: Option<i64>,
    /// Pools whose facts are known. Those of other chains are left out.
    pub pools: Vec<(PoolKey, Pool)>,
    /// Addresses of pools whose facts the node tells.
    pub addresses: Vec<String>,
    /// Addresses of stablecoins in US dollars, beside the built-in list.
    pub stablecoins: Vec<String>,
    /// The first block whose swaps are wanted, asked for at the beginning; `None`: 63 before the
    /// newest, as far as a reorganisation may reach; in a recording that of the first head.
    pub from_block: Option<i64>,
}

/// The state of the connection.
enum Phase {
    /// There is none, or its chain is not known.
    Connecting,
    /// The facts of pools or the subscriptions lack an answer.
    Preparing,
    /// The events before the subscriptions, or in a gap of heads, are asked for.
    Backfilling(Box<Backfill>),
    /// Records are published as they come.
    Live,
    /// The node is of no use.
    Refused,
}

/// The records of a frame and their receipt.
struct To<'a> {
    at: Timestamp,
    out: &'a mut Vec<Output>,
}

impl To<'_> {
    fn bad(&mut self, malformed: &Malformed, raw: &str) {
        self.out.push(Output::DeadLetter(DeadLetter::new(NAME, malformed, raw)));
    }
}

/// Follows the swaps of pools over one node.
///
/// ```
/// use venues::ethereum::{Follower, FollowerConfig};
/// let mut follower = Follower::new(FollowerConfig { chain: Some(1), ..FollowerConfig::default() });
/// let requests = follower.start();
/// assert!(requests[0].contains("eth_chainId") && !follower.is_live());
/// ```
pub struct Follower {
    config: FollowerConfig,
    chain: Option<i64>,
    phase: Phase,
    pools: Pools,
    blocks: Blocks,
    held: Held,
    requests: Requests,
    /// Of heads and of logs.
    subscriptions: [Option<String>; 2],
    waiting: VecDeque<ChainHead>,
    /// The first block whose logs a backfill has left to the next one, as its connection ended.
    lacking: Option<i64>,
    notices: Vec<Notice>,
}

impl Follower {
    /// A follower without a connection.
    pub fn new(mut config: FollowerConfig) -> Self {
        let pools = Pools::new(
            std::mem::take(&mut config.pools),
            config.stablecoins.iter().map(|one| one.to_lowercase()).collect(),
        );
        Self {
            config,
            chain: None,
            phase: Phase::Connecting,
            pools,
            blocks: Blocks::default(),
            held: Held::default(),
            requests: Requests::default(),
            subscriptions: [None, None],
            waiting: VecDeque::new(),
            lacking: None,
            notices: Vec::new(),
        }
    }

    /// A follower of a recording: only what the recorder has asked for is answered.
    pub(crate) fn replay(config: FollowerConfig) -> Self {
        Self { requests: Requests::replay(), ..Self::new(config) }
    }

    /// A connection was made: the requests to send.
    pub fn start(&mut self) -> Vec<String> {
        self.lost();
        self.send(Request::Chain);
        self.requests.take_texts()
    }

    /// The connection has ended. The next one asks for what happened in between.
    pub fn lost(&mut self) {
        if let Phase::Backfilling(backfill) = &self.phase {
            self.lacking = backfill.lacking();
        }
        self.phase = Phase::Connecting;
        self.requests.forget();
        self.subscriptions = [None, None];
        self.held.forget_asked();
        // The next backfill finds them again: they were not announced.
        self.waiting.clear();
    }

    /// Everything up to the newest head is published.
    pub fn is_live(&self) -> bool {
        matches!(self.phase, Phase::Live)
    }

    /// The occurrences of the last frame, for the owner of the connection.
    pub fn notices(&mut self) -> std::vec::Drain<'_, Notice> {
        self.notices.drain(..)
    }

    /// Appends the records of a text frame; returns the requests to send.
    pub fn take(
        &mut self,
        frame: &str,
        received_at: Timestamp,
        out: &mut Vec<Output>,
    ) -> Vec<String> {
        self.notices.clear();
        let mut to = To { at: received_at, out };
        if self.requests.drop_unsent() {
            self.held.forget_asked();
            self.abandon(&mut to);
        }
        match protocol::read(frame) {
            Ok(_) if matches!(self.phase, Phase::Refused) => self.ignore(NoEffect::Refused),
            Ok(Frame::Answer(id, result)) => self.answer(id, result, frame, &mut to),
            Ok(Frame::Notification { subscription, result }) => {
                if self.is_other(&subscription) {
                    self.ignore(NoEffect::OtherSubscription);
                } else if let Err(malformed) = self.notified(result, &mut to) {
                    to.bad(&malformed, frame);
                }
            }
            Ok(Frame::Other) => self.ignore(NoEffect::OtherMessage),
            Err(malformed) => to.bad(&malformed, frame),
        }
        self.requests.take_texts()
    }

    /// A request of the recorder.
    pub(crate) fn sent(&mut self, text: &str) {
        if let Some(Request::Call(address, call)) = self.requests.sent(text)
            && matches!(call, super::requests::Call::Token0)
        {
            self.pools.ask(&address).into_iter().for_each(|call| self.send(call));
        }
    }

    /// Ends a recording: what waits for an answer gets none.
    pub(crate) fn finish(&mut self, received_at: Timestamp, out: &mut Vec<Output>) {
        let mut to = To { at: received_at, out };
        self.abandon(&mut to);
        let held = self.held.take_all();
        Self::give_up(held, &mut to);
    }

    fn ignore(&mut self, reason: NoEffect) {
        self.notices.push(Notice::Ignored(reason));
    }

    fn send(&mut self, request: Request) {
        self.send_again(request, 0);
    }

    fn send_again(&mut self, request: Request, tries: u8) {
        let asks_logs = matches!(request, Request::Logs | Request::Range(..));
        let addresses = if asks_logs { self.pools.addresses() } else { Vec::new() };
        self.requests.send(request, tries, &addresses);
    }

    /// Of a subscription that is not ours, as far as ours are known.
    fn is_other(&self, subscription: &str) -> bool {
        self.subscriptions.iter().all(|known| known.as_deref().is_some_and(|id| id != subscription))
    }

    fn notified(&mut self, result: &str, to: &mut To<'_>) -> Result<()> {
        // Each has a field that the other lacks, so it does not matter which subscription it is of.
        if result.contains("\"topics\"") {
            return self.log(result, to);
        }
        let head = protocol::head(result, to.at)?.ok_or(Malformed::MissingField("number"))?;
        if self.chain.is_none() {
            return Err(Malformed::UnknownChain);
        }
        self.blocks.note(&head);
        self.time_known(&head.block_hash, to);
        self.head(head, to);
        Ok(())
    }

    // Answers.

    fn answer(&mut self, id: u64, result: Result<&str, RpcError>, raw: &str, to: &mut To<'_>) {
        let asked = self.requests.answered(id);
        // A call that a contract refuses tells a fact of a pool.
        let is_call = matches!(asked, Some((Request::Call(..), _)));
        let is_fact = is_call && result.as_ref().is_err_and(RpcError::is_of_contract);
        let result = match result {
            Ok(result) => Some(result),
            Err(error) => {
                if !is_call {
                    to.bad(
                        &Malformed::Rpc { code: error.code, message: error.message.clone() },
                        raw,
                    );
                }
                let method = asked.as_ref().map_or("", |(request, _)| request.method());
                let (code, message) = (error.code, error.message);
                self.notices.push(Notice::Failed { method, code, message });
                None
            }
        };
        let Some((request, tries)) = asked else {
            if result.is_some() {
                self.ignore(NoEffect::NotAsked);
            }
            return;
        };
        let is_error = result.is_none() && !is_fact && request.is_asked_again();
        let is_unknown = result == Some("null") && matches!(request, Request::Block(_));
        if (is_error || is_unknown) && tries + 1 < MAX_TRIES {
            return self.send_again(request, tries + 1);
        }
        if is_error {
            return self.notices.push(Notice::Reconnect(Notice::NO_ANSWER));
        }
        let taken = match &request {
            Request::Chain => self.chain_known(result, to),
            Request::Heads => self.subscribed(0, result, to),
            Request::Logs => self.subscribed(1, result, to),
            Request::Latest | Request::Number(_) | Request::Block(_) => {
                self.block(&request, result, to)
            }
            Request::Range(..) => self.logs(&request, result, to),
            Request::Call(address, call) => {
                self.fact(address, *call, result, to);
                Ok(())
            }
        };
        if let Err(malformed) = taken {
            to.bad(&malformed, raw);
            if !matches!(request, Request::Block(_)) {
                self.notices.push(Notice::Reconnect(Notice::NO_ANSWER));
            }
        }
    }

    fn chain_known(&mut self, result: Option<&str>, to: &mut To<'_>) -> Result<()> {
        let Some(result) = result else {
            self.notices.push(Notice::Reconnect(Notice::NO_ANSWER));
            return Ok(());
        };
        let text: String = json(result)?;
        let found = quantity("result", Some(&text))?;
        let expected = self.config.chain.or(self.chain).unwrap_or(found);
        if expected != found {
            self.notices.push(Notice::WrongChain { expected, found });
            self.phase = Phase::Refused;
            return Ok(());
        }
        self.chain = Some(found);
        self.phase = Phase::Preparing;
        for (key, pool) in self.pools.follow(found, to.at) {
            to.out.push(Output::Pool { key, pool });
        }
        let mut calls = self.pools.ask_again();
        for pool in std::mem::take(&mut self.config.addresses) {
            match address("pool", Some(&pool)) {
                Ok(pool) => calls.extend(self.pools.ask(&pool)),
                Err(_) => {
                    self.notices.push(Notice::PoolRefused { pool, reason: Notice::NO_ADDRESS });
                }
            }
        }
        for call in calls {
            self.send(call);
        }
        if !self.pools.is_asking() {
            self.subscribe();
        }
        Ok(())
    }

    fn fact(
        &mut self,
        of: &str,
        call: super::requests::Call,
        result: Option<&str>,
        to: &mut To<'_>,
    ) {
        let Some(chain) = self.chain else { return };
        let mut calls = Vec::new();
        for learned in self.pools.answer((chain, to.at), (of, call), result, &mut calls) {
            match learned {
                Learned::Pool(key, pool) => to.out.push(Output::Pool { key, pool }),
                Learned::Refused(pool, reason) => {
                    self.notices.push(Notice::PoolRefused { pool, reason });
                }
            }
        }
        for call in calls {
            self.send(call);
        }
        if !self.pools.is_asking()
            && matches!(self.phase, Phase::Preparing)
            && self.subscriptions == [None, None]
        {
            self.subscribe();
        }
    }

    fn subscribe(&mut self) {
        if self.pools.addresses().is_empty() && !self.requests.is_replay() {
            self.notices.push(Notice::NoPools);
            self.phase = Phase::Refused;
            return;
        }
        self.send(Request::Heads);
        self.send(Request::Logs);
    }

    fn subscribed(&mut self, which: usize, result: Option<&str>, to: &mut To<'_>) -> Result<()> {
        let Some(result) = result else {
            self.notices.push(Notice::Reconnect(Notice::NOT_SUBSCRIBED));
            return Ok(());
        };
        self.subscriptions[which] = Some(json(result)?);
        if !matches!(self.phase, Phase::Preparing) || self.subscriptions.contains(&None) {
            return Ok(());
        }
        let (first, lacking) = (self.config.from_block, self.lacking.take());
        let (backfill, request) = match self.blocks.last() {
            Some((last, _)) => Backfill::after(last, lacking, first),
            None if first.is_none() && self.requests.is_replay() => {
                // A head may have come before the second answer.
                self.end_backfill(Vec::new(), to);
                return Ok(());
            }
            None => Backfill::begin(first, lacking),
        };
        self.phase = Phase::Backfilling(Box::new(backfill));
        self.send(request);
        Ok(())
    }
}
