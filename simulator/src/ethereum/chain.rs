//! The chain: blocks, the transactions that wait for one, and reorganisations. A value without a clock.
//!
//! ```text
//!            ┌─ a4 ─ a5                reorganisation of depth 2: a4 and a5 are removed,
//! ─ 2 ─ 3 ───┤                         b4, b5, b6 are added; most transactions come again,
//!            └─ b4 ─ b5 ─ b6           in other blocks, and some never
//!                                      back to the first fork: b4 to b6 are removed; a4 and a5, as
//!                                      they were, and new ones above them are added
//! ```

use std::collections::{BTreeMap, HashMap, HashSet, VecDeque};
use std::sync::Arc;

use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};

use super::pool::{Pool, Protocol};
use super::settings::{ChainSettings, MAX_DEPTH};
use super::walk::{self, Move};
use super::{truth, word};
use crate::faults::hits;

/// Blocks that can be asked for: some 100 MB at a thousand swaps a block.
const MAX_BLOCKS: usize = 20_000;
/// Transactions that wait for a block; more come only when blocks are too rare.
const MAX_WAITING: usize = 100_000;
/// Lines of the truth that wait to be written; a step makes fewer.
const MAX_LINES: usize = 100_000;
/// The number of the first block.
pub const FIRST: u64 = 19_000_000;
/// Blocks after a reorganisation until the chain goes back to the first fork.
const BACK_AFTER: u64 = 3;
/// Kinds of hashes.
const BLOCK: u64 = 1;
const TRANSACTION: u64 = 2;
const TRADER: u64 = 3;
/// Traders.
const TRADERS: u64 = 50;

/// A transaction that swaps in one pool or more.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Transaction {
    /// Its hash.
    pub hash: String,
    /// The account that sent it.
    pub sender: String,
    /// The pools, by their index, in which it swaps.
    pub pools: Vec<usize>,
    /// It is not included before the block of this number.
    from: u64,
    /// It was announced as pending and is never included.
    is_dropped: bool,
}

/// The content of a log.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum LogBody {
    /// A swap.
    Swap(Swap),
    /// `Sync` of a pool of v2 or `Mint` of one of v3, which count for nothing.
    Other,
}

/// The numbers of a swap.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Swap {
    /// Amounts of both tokens as decimal text: the pool's view, positive flows in.
    pub amounts: [String; 2],
    /// The square root of the price in 2^-96; v3 only.
    pub sqrt_price_x96: u128,
    /// Liquidity; v3 only.
    pub liquidity: u128,
    /// Tick; v3 only.
    pub tick: i32,
}

/// A log of a block.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Log {
    /// Its number, over all blocks that were ever made; the faults of logs go by it.
    pub number: u64,
    /// Its index in the block.
    pub index: u64,
    /// The index of its transaction in the block.
    pub transaction_index: u64,
    /// The transaction's hash.
    pub transaction: String,
    /// The account that swaps.
    pub sender: String,
    /// The index of the pool.
    pub pool: usize,
    /// The content.
    pub body: LogBody,
}

/// A block.
#[derive(Debug, PartialEq, Eq)]
pub struct Block {
    /// Its number.
    pub number: u64,
    /// Its hash.
    pub hash: String,
    /// The hash of the block before it.
    pub parent: String,
    /// Its timestamp, in seconds since the epoch.
    pub time_s: u64,
    /// Its logs, in the order of their indexes.
    pub logs: Vec<Log>,
    /// Its transactions.
    transactions: Vec<Transaction>,
    /// The tick of each pool after it.
    ticks: Vec<i32>,
}

/// Something that a node announces.
#[derive(Clone, Debug)]
pub enum Step {
    /// A transaction waits: its logs have no block. The number decides the faults.
    Pending(Transaction, u64),
    /// A block is not canonical any more: its logs are removed.
    Removed(Arc<Block>),
    /// A block is canonical: its head, unless it is kept silent, and its logs.
    Added {
        /// The block.
        block: Arc<Block>,
        /// The head is announced.
        has_head: bool,
        /// The logs come before the head.
        logs_first: bool,
    },
}

/// A fork that was left, to which the chain goes back.
#[derive(Debug)]
struct Left {
    tip: Arc<Block>,
    /// At the block of this number.
    at: u64,
}

/// The chain.
#[derive(Debug)]
pub struct Chain {
    seed: u64,
    settings: ChainSettings,
    pools: Vec<Pool>,
    rng: StdRng,
    blocks: HashMap<String, Arc<Block>>,
    /// Hashes of all blocks, oldest first.
    order: VecDeque<String>,
    canonical: BTreeMap<u64, Arc<Block>>,
    head: Arc<Block>,
    waiting: VecDeque<Transaction>,
    left: Option<Left>,
    /// Numbers of what was made so far.
    made: Made,
    /// Lines of the truth, where a file wants them.
    lines: Option<VecDeque<String>>,
}

#[derive(Debug, Default)]
struct Made {
    blocks: u64,
    transactions: u64,
    pending: u64,
    logs: u64,
    reorganisations: u64,
}

impl Chain {
    /// A chain with its first block, without swaps.
    pub fn new(seed: u64, settings: &ChainSettings, time_s: u64) -> Self {
        let pools = Pool::all(usize::try_from(settings.pools).unwrap_or(1));
        let first = Arc::new(Block {
            number: FIRST,
            hash: word::hash(seed, BLOCK, 0),
            parent: word::hash(seed, BLOCK, u64::MAX),
            time_s,
            logs: Vec::new(),
            transactions: Vec::new(),
            ticks: pools.iter().map(|pool| pool.tick).collect(),
        });
        Self {
            seed,
            settings: settings.clone(),
            pools,
            rng: StdRng::seed_from_u64(seed),
            blocks: HashMap::from([(first.hash.clone(), Arc::clone(&first))]),
            order: VecDeque::from([first.hash.clone()]),
            canonical: BTreeMap::from([(FIRST, Arc::clone(&first))]),
            head: first,
            waiting: VecDeque::new(),
            left: None,
            made: Made { blocks: 1, ..Made::default() },
            lines: None,
        }
    }

    /// Keeps lines of the truth from now on.
    pub fn keep_lines(&mut self) {
        self.lines = Some(VecDeque::new());
        let head = Arc::clone(&self.head);
        self.note(truth::block(&head, &self.pools));
        self.note(truth::head(&head));
    }

    /// Takes the lines that are to be written.
    pub fn take_lines(&mut self) -> Vec<String> {
        self.lines.as_mut().map(|lines| lines.drain(..).collect()).unwrap_or_default()
    }

    /// The settings.
    pub fn settings(&self) -> &ChainSettings {
        &self.settings
    }

    /// The pools.
    pub fn pools(&self) -> &[Pool] {
        &self.pools
    }

    /// The newest canonical block.
    pub fn head(&self) -> &Arc<Block> {
        &self.head
    }

    /// The canonical block of a number.
    pub fn block(&self, number: u64) -> Option<&Arc<Block>> {
        self.canonical.get(&number)
    }

    /// The number of the oldest block that can be asked for.
    pub fn oldest(&self) -> u64 {
        self.canonical.keys().next().copied().unwrap_or(FIRST)
    }

    /// The block of a hash, canonical or not.
    pub fn block_of(&self, hash: &str) -> Option<&Arc<Block>> {
        self.blocks.get(hash)
    }

    /// A swap as it could be in the next block, for a transaction that waits.
    pub fn guess(&self, pool: usize) -> Swap {
        let mut rng = StdRng::seed_from_u64(self.seed ^ self.head.number);
        let made = walk::step(&self.pools[pool], self.head.ticks[pool], &mut rng);
        let Move { amounts, sqrt_price_x96, liquidity, tick } = made;
        Swap { amounts, sqrt_price_x96, liquidity, tick }
    }

    /// No reorganisation comes by itself any more, also none that goes back.
    pub fn settle(&mut self) {
        self.settings.reorg_every = None;
        self.settings.skip_heads_every = None;
        self.left = None;
    }

    /// Transactions arrive; those that are announced as pending.
    pub fn trade(&mut self, count: u64) -> Vec<Step> {
        let mut steps = Vec::new();
        for _ in 0..count {
            if self.waiting.len() >= MAX_WAITING {
                break;
            }
            let number = self.made.transactions;
            self.made.transactions += 1;
            let hops = 1 + usize::from(number % 8 == 7);
            let pools = (0..hops).map(|_| self.rng.random_range(0..self.pools.len())).collect();
            let mut transaction = Transaction {
                hash: word::hash(self.seed, TRANSACTION, number),
                sender: word::account(TRADER, self.rng.random_range(0..TRADERS)),
                pools,
                from: self.head.number + 1,
                is_dropped: false,
            };
            if hits(self.settings.pending_every, number) {
                self.made.pending += 1;
                transaction.is_dropped = hits(self.settings.drop_pending_every, self.made.pending);
                transaction.from += self.rng.random_range(0..3);
                self.note(truth::pending(&transaction));
                steps.push(Step::Pending(transaction.clone(), self.made.pending));
            }
            if !transaction.is_dropped {
                self.waiting.push_back(transaction);
            }
        }
        steps
    }

    /// The next block, and the reorganisation that is due with it; `is_last` is false when further blocks
    /// follow at once.
    pub fn advance(&mut self, time_s: u64, is_last: bool) -> Vec<Step> {
        let number = self.head.number + 1;
        if self.left.as_ref().is_some_and(|left| left.at <= number) {
            return self.back(time_s);
        }
        if hits(self.settings.reorg_every, number) && number > FIRST + u64::from(MAX_DEPTH) {
            let depth = self.rng.random_range(1..=MAX_DEPTH);
            return self.reorganise(depth, time_s);
        }
        let parent = Arc::clone(&self.head);
        let block = self.mine(&parent, time_s);
        let has_head = is_last || self.settings.skip_heads_every.is_none();
        let steps = vec![self.add(block, has_head)];
        self.note(truth::head(&self.head));
        steps
    }

    /// Replaces the newest blocks, `depth` of them, by one more.
    pub fn reorganise(&mut self, depth: u32, time_s: u64) -> Vec<Step> {
        let depth = u64::from(depth.clamp(1, MAX_DEPTH)).min(self.head.number - self.oldest());
        let tip = Arc::clone(&self.head);
        let mut steps = self.remove_above(tip.number - depth);
        self.made.reorganisations += 1;
        for place in 0..=depth {
            let parent = Arc::clone(&self.head);
            let block = self.mine(&parent, time_s);
            let has_head = place == depth || self.settings.skip_heads_every.is_none();
            steps.push(self.add(block, has_head));
        }
        self.note(truth::head(&self.head));
        if hits(self.settings.reorg_back_every, self.made.reorganisations) {
            self.left = Some(Left { tip, at: self.head.number + BACK_AFTER });
        }
        steps
    }

    /// Goes back to the fork that was left, which is longer with new blocks above it.
    fn back(&mut self, time_s: u64) -> Vec<Step> {
        let Some(Left { tip, .. }) = self.left.take() else { return Vec::new() };
        let until = self.head.number + 1;
        let mut returning = vec![Arc::clone(&tip)];
        while let Some(last) = returning.last() {
            let is_canonical = |parent: &Arc<Block>| {
                self.canonical.get(&parent.number).is_some_and(|one| one.hash == parent.hash)
            };
            match self.blocks.get(&last.parent) {
                Some(parent) if !is_canonical(parent) => returning.push(Arc::clone(parent)),
                Some(_) => break,
                // Too old to go back to.
                None => return Vec::new(),
            }
        }
        let fork = returning.last().map_or(tip.number, |block| block.number) - 1;
        let mut steps = self.remove_above(fork);
        self.made.reorganisations += 1;
        let again: HashSet<&str> = returning
            .iter()
            .flat_map(|block| block.transactions.iter().map(|one| one.hash.as_str()))
            .collect();
        self.waiting.retain(|transaction| !again.contains(transaction.hash.as_str()));
        let shows_all = self.settings.skip_heads_every.is_none();
        for block in returning.iter().rev() {
            steps.push(self.add(Arc::clone(block), shows_all));
        }
        while self.head.number < until {
            let parent = Arc::clone(&self.head);
            let block = self.mine(&parent, time_s);
            let has_head = shows_all || block.number == until;
            steps.push(self.add(block, has_head));
        }
        self.note(truth::head(&self.head));
        steps
    }

    /// Removes the canonical blocks above a number, newest first. Most of their transactions wait again.
    fn remove_above(&mut self, number: u64) -> Vec<Step> {
        let removed: Vec<Arc<Block>> =
            self.canonical.split_off(&(number + 1)).into_values().collect();
        for block in &removed {
            for transaction in &block.transactions {
                if !self.rng.random_ratio(1, 5) {
                    let from = number + 1 + self.rng.random_range(0..4);
                    self.waiting.push_back(Transaction { from, ..transaction.clone() });
                }
            }
        }
        if let Some(parent) = self.canonical.values().next_back() {
            self.head = Arc::clone(parent);
        }
        removed.into_iter().rev().map(Step::Removed).collect()
    }

    /// A new block with the transactions whose time has come.
    fn mine(&mut self, parent: &Arc<Block>, time_s: u64) -> Arc<Block> {
        let number = parent.number + 1;
        let (mut transactions, mut later) = (Vec::new(), VecDeque::new());
        for transaction in self.waiting.drain(..) {
            if transaction.from <= number {
                transactions.push(transaction);
            } else {
                later.push_back(transaction);
            }
        }
        self.waiting = later;
        // A block that is made again has another order, and so other indexes of logs.
        if self.rng.random_ratio(1, 2) {
            transactions.reverse();
        }
        let mut ticks = parent.ticks.clone();
        let mut logs = Vec::new();
        for (place, transaction) in (0..).zip(&transactions) {
            for pool in &transaction.pools {
                self.swap(&mut ticks, &mut logs, (place, transaction), *pool);
            }
        }
        let block = Arc::new(Block {
            number,
            hash: word::hash(self.seed, BLOCK, self.made.blocks),
            parent: parent.hash.clone(),
            time_s: time_s.max(parent.time_s),
            logs,
            transactions,
            ticks,
        });
        self.made.blocks += 1;
        self.keep(&block);
        self.note(truth::block(&block, &self.pools));
        block
    }

    /// The logs of one swap.
    fn swap(
        &mut self,
        ticks: &mut [i32],
        logs: &mut Vec<Log>,
        (place, transaction): (u64, &Transaction),
        pool: usize,
    ) {
        let Move { amounts, sqrt_price_x96, liquidity, tick } =
            walk::step(&self.pools[pool], ticks[pool], &mut self.rng);
        ticks[pool] = tick;
        let is_v2 = self.pools[pool].protocol == Protocol::V2;
        let swap = LogBody::Swap(Swap { amounts, sqrt_price_x96, liquidity, tick });
        let other = (is_v2 || self.rng.random_ratio(1, 10)).then_some(LogBody::Other);
        for body in other.into_iter().chain([swap]) {
            let index = logs.len().try_into().unwrap_or(u64::MAX);
            self.made.logs += 1;
            logs.push(Log {
                number: self.made.logs,
                index,
                transaction_index: place,
                transaction: transaction.hash.clone(),
                sender: transaction.sender.clone(),
                pool,
                body,
            });
        }
    }

    /// Makes a block the head.
    fn add(&mut self, block: Arc<Block>, has_head: bool) -> Step {
        self.canonical.insert(block.number, Arc::clone(&block));
        self.head = Arc::clone(&block);
        let has_head = has_head && !hits(self.settings.skip_heads_every, block.number);
        let logs_first = hits(self.settings.logs_first_every, block.number);
        Step::Added { block, has_head, logs_first }
    }

    fn keep(&mut self, block: &Arc<Block>) {
        self.blocks.insert(block.hash.clone(), Arc::clone(block));
        self.order.push_back(block.hash.clone());
        while self.order.len() > MAX_BLOCKS {
            let old = self.order.pop_front().and_then(|hash| self.blocks.remove(&hash));
            if let Some(old) = old
                && self.canonical.get(&old.number).is_some_and(|one| one.hash == old.hash)
            {
                self.canonical.remove(&old.number);
            }
        }
    }

    fn note(&mut self, line: String) {
        if let Some(lines) = &mut self.lines {
            if lines.len() >= MAX_LINES {
                lines.pop_front();
            }
            lines.push_back(line);
        }
    }
}
