//! A seeded chain with forks, the announcements of a bad node, and the fold over the canonical chain.
//!
//! The node repeats and reorders logs, announces only the last of several heads, leaves removals out,
//! returns to a fork that it had left, and has pending swaps that no block takes. Each log comes before
//! its block is final, and each head that was left out comes as a producer fetches it.

#![expect(clippy::unwrap_used, reason = "a test: a value that is missing is a failure")]

use std::collections::{BTreeMap, BTreeSet};

use schemas::{
    ChainHead, Decimal, Integer, Pool, PoolKey, PoolProtocol, Swap, SwapStatus, Timestamp,
    TokenKey, price,
};

pub(crate) const CHAIN: i64 = 137;
pub(crate) const EPOCH: i64 = 1_704_067_200_000;
/// Blocks behind the highest head that are final.
pub(crate) const FINAL: i64 = 64;
/// Steps after which a delayed record has come.
const MAX_DELAY: u64 = 12;

/// Splitmix64.
pub(crate) struct Dice(pub(crate) u64);

impl Dice {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    pub(crate) fn below(&mut self, bound: u64) -> u64 {
        self.next() % bound.max(1)
    }

    pub(crate) fn percent(&mut self, percent: u64) -> bool {
        self.below(100) < percent
    }
}

pub(crate) fn hex(number: u64, digits: usize) -> String {
    format!("0x{number:0digits$x}")
}

/// The pools: two share a token, one of them has a stablecoin, one is of version 2.
pub(crate) fn pools() -> Vec<(PoolKey, Pool)> {
    let pool = |id, protocol, token0, token1, decimals0, usd_token| {
        let pool = Pool {
            protocol,
            token0: hex(token0, 40),
            token1: hex(token1, 40),
            symbol0: Some(format!("T{token0}")),
            symbol1: None,
            decimals0: Some(decimals0),
            decimals1: Some(18),
            usd_token,
            event_time: Timestamp(EPOCH),
            received_at: Timestamp(EPOCH),
            ..Pool::default()
        };
        (PoolKey::new(CHAIN, hex(id, 40)), pool)
    };
    vec![
        pool(0xa, PoolProtocol::UniswapV3, 1, 2, 6, Some(0)),
        pool(0xb, PoolProtocol::UniswapV3, 2, 3, 18, None),
        pool(0xc, PoolProtocol::UniswapV2, 1, 3, 6, None),
    ]
}

/// A record of `swaps`.
#[derive(Clone, Debug)]
pub(crate) enum Record {
    Swap(PoolKey, Swap),
    Head(ChainHead),
    Pool(PoolKey, Pool),
}

#[derive(Clone)]
struct Block {
    head: ChainHead,
    parent: Option<usize>,
    swaps: Vec<(usize, Swap)>,
}

/// See the module.
pub(crate) struct World {
    dice: Dice,
    pools: Vec<(PoolKey, Pool)>,
    blocks: Vec<Block>,
    tip: usize,
    next: u64,
    step: u64,
    /// The frames of later steps.
    delayed: Vec<(u64, Record)>,
    highest: i64,
    /// Every record so far.
    pub(crate) log: Vec<Record>,
    /// No head was announced for these, until they are fetched.
    hidden: BTreeSet<usize>,
}

impl World {
    /// The records of a seed, and what is canonical at the end.
    pub(crate) fn live(seed: u64, steps: u64) -> Self {
        let pools = pools();
        let mut world = Self {
            dice: Dice(seed),
            blocks: Vec::new(),
            tip: 0,
            next: 0x1000,
            step: 0,
            delayed: Vec::new(),
            highest: 0,
            log: pools.iter().map(|(key, pool)| Record::Pool(key.clone(), pool.clone())).collect(),
            pools,
            hidden: BTreeSet::new(),
        };
        world.tip = world.mine(None, &[]);
        world.announce(world.tip);
        for _ in 0..steps {
            world.step();
        }
        // The last heads come one by one, and all that is delayed before the last of them.
        world.fetch();
        world.flush(u64::MAX);
        for _ in 0..2 {
            let tip = world.mine(Some(world.tip), &[]);
            world.tip = tip;
            world.announce(tip);
            world.flush(u64::MAX);
        }
        world
    }

    fn id(&mut self) -> u64 {
        self.next += 1;
        self.next
    }

    fn mine(&mut self, parent: Option<usize>, moved: &[Swap]) -> usize {
        let id = self.id();
        let before = parent.map(|parent| self.blocks[parent].head.clone());
        let number = before.as_ref().map_or(100, |head| head.block_number + 1);
        let gap = 1_000 * (1 + i64::try_from(self.dice.below(25)).unwrap());
        let time = before.as_ref().map_or(EPOCH, |head| head.block_time.0 + gap);
        let block_hash = hex(id, 64);
        let head = ChainHead {
            block_number: number,
            block_hash: block_hash.clone(),
            parent_hash: before.map_or_else(|| hex(1, 64), |head| head.block_hash),
            block_time: Timestamp(time),
            received_at: Timestamp(time),
        };
        let mut transactions: Vec<String> = moved.iter().map(|swap| swap.tx_hash.clone()).collect();
        for _ in 0..self.dice.below(4) {
            let id = self.id();
            transactions.push(hex(id, 64));
        }
        let mut log_index = i64::try_from(self.dice.below(3)).unwrap();
        let mut swaps = Vec::new();
        for tx_hash in transactions {
            let pool = usize::try_from(self.dice.below(3)).unwrap();
            log_index += 1 + i64::try_from(self.dice.below(2)).unwrap();
            let amount = i64::try_from(self.dice.below(2_000_000)).unwrap() - 1_000_000;
            let is_v3 = self.pools[pool].1.protocol == PoolProtocol::UniswapV3;
            let root: Integer = "1288310281488395374949063263000000".parse().unwrap();
            let root = root.checked_add((amount * 1_000_000_000_000).into());
            let swap = Swap {
                tx_hash,
                log_index: Some(log_index),
                block_number: Some(number),
                block_hash: Some(block_hash.clone()),
                status: SwapStatus::Included,
                sender: hex(7, 40),
                recipient: None,
                amount0: amount.into(),
                amount1: (-amount * 3).into(),
                sqrt_price_x96: root.filter(|_| is_v3),
                liquidity: is_v3.then(|| id_of(log_index)),
                tick: is_v3.then_some(amount / 1000),
                block_time: Some(Timestamp(time)),
                received_at: Timestamp(time),
            };
            swaps.push((pool, swap));
        }
        self.blocks.push(Block { head, parent, swaps });
        self.blocks.len() - 1
    }

    fn step(&mut self) {
        self.step += 1;
        match self.dice.below(100) {
            0..70 => {
                let tip = self.mine(Some(self.tip), &[]);
                self.tip = tip;
                self.announce(tip);
            }
            70..88 => self.reorganise(),
            88..92 => self.go_back(),
            92..96 => self.pending(),
            _ => {
                // A repeated head is that of the tip: an older one says that the chain got shorter.
                let head = self.blocks[self.tip].head.clone();
                self.send(Record::Head(head));
            }
        }
        if self.dice.percent(40) {
            self.fetch();
        }
        self.flush(self.step);
    }

    fn ancestor(&self, mut block: usize, depth: u64) -> usize {
        for _ in 0..depth {
            block = self.blocks[block].parent.unwrap_or(block);
        }
        block
    }

    fn chain(&self, mut block: usize) -> Vec<usize> {
        let mut chain = vec![block];
        while let Some(parent) = self.blocks[block].parent {
            chain.push(parent);
            block = parent;
        }
        chain
    }

    /// Another fork becomes the chain; it may be shorter.
    fn reorganise(&mut self) {
        let depth =
            if self.dice.percent(10) { 6 + self.dice.below(20) } else { 1 + self.dice.below(5) };
        let base = self.ancestor(self.tip, depth);
        if self.blocks[base].head.block_number <= self.highest - 40 {
            return;
        }
        let gone: Vec<usize> =
            self.chain(self.tip).into_iter().take_while(|block| *block != base).collect();
        let mut moved: Vec<Swap> = Vec::new();
        for block in gone.iter().rev() {
            moved.extend(self.blocks[*block].swaps.iter().map(|(_, swap)| swap.clone()));
        }
        moved.retain(|_| self.dice.percent(70));
        let length = match self.dice.below(4) {
            0 => depth.max(2) - 1,
            1 => depth,
            _ => depth + 1,
        };
        let mut tip = base;
        let mut fork = Vec::new();
        for _ in 0..length.max(1) {
            let share = moved.len().min(usize::try_from(self.dice.below(3)).unwrap());
            let taken: Vec<Swap> = moved.drain(..share).collect();
            tip = self.mine(Some(tip), &taken);
            fork.push(tip);
        }
        self.switch(&gone, &fork);
    }

    /// A fork that was left becomes the chain again, with one more block.
    fn go_back(&mut self) {
        let other = usize::try_from(self.dice.below(self.blocks.len() as u64)).unwrap();
        let canonical: BTreeSet<usize> = self.chain(self.tip).into_iter().collect();
        let fork: Vec<usize> =
            self.chain(other).into_iter().take_while(|block| !canonical.contains(block)).collect();
        let Some(first) = fork.last() else { return };
        let base = self.blocks[*first].parent;
        let is_recent = |block: &usize| self.blocks[*block].head.block_number > self.highest - 40;
        if !fork.iter().all(is_recent) {
            return;
        }
        let gone: Vec<usize> =
            self.chain(self.tip).into_iter().take_while(|block| Some(*block) != base).collect();
        if !gone.iter().all(is_recent) {
            return;
        }
        let fork: Vec<usize> = fork.into_iter().rev().collect();
        self.switch(&gone, &fork);
    }

    fn switch(&mut self, gone: &[usize], fork: &[usize]) {
        let says_removals = self.dice.percent(70);
        for block in gone {
            for (pool, swap) in self.blocks[*block].swaps.clone() {
                if says_removals || self.dice.percent(20) {
                    let mut removed = Swap { status: SwapStatus::Removed, ..swap };
                    if self.dice.percent(30) {
                        removed.block_time = None;
                    }
                    self.send_log(pool, removed);
                }
            }
        }
        let Some((tip, before)) = fork.split_last() else { return };
        let hides = self.dice.percent(40);
        for block in before {
            if hides {
                self.logs(*block);
                self.hidden.insert(*block);
            } else {
                self.announce(*block);
            }
        }
        self.tip = *tip;
        self.announce(*tip);
    }

    fn pending(&mut self) {
        let id = self.id();
        let time = self.blocks[self.tip].head.block_time;
        let swap = Swap {
            tx_hash: hex(id, 64),
            status: SwapStatus::Pending,
            sender: hex(7, 40),
            amount0: 5.into(),
            received_at: time,
            ..Swap::default()
        };
        self.send_log(0, swap);
    }

    fn announce(&mut self, block: usize) {
        let is_first = self.dice.percent(50);
        if is_first {
            self.logs(block);
        }
        let head = self.blocks[block].head.clone();
        self.highest = self.highest.max(head.block_number);
        self.hidden.remove(&block);
        self.send(Record::Head(head));
        if !is_first {
            self.logs(block);
        }
    }

    fn logs(&mut self, block: usize) {
        for (pool, swap) in self.blocks[block].swaps.clone() {
            self.send_log(pool, swap);
        }
    }

    /// Fetches the heads of the canonical chain that were left out, from the top down.
    fn fetch(&mut self) {
        for block in self.chain(self.tip) {
            if self.hidden.remove(&block) {
                let head = self.blocks[block].head.clone();
                self.send(Record::Head(head));
            }
        }
    }

    fn send(&mut self, record: Record) {
        self.log.push(record);
    }

    /// At once, later, or twice.
    fn send_log(&mut self, pool: usize, swap: Swap) {
        let record = Record::Swap(self.pools[pool].0.clone(), swap);
        if self.dice.percent(20) {
            let at = self.step + self.dice.below(MAX_DELAY);
            self.delayed.push((at, record.clone()));
        } else {
            self.send(record.clone());
        }
        if self.dice.percent(10) {
            let at = self.step + self.dice.below(MAX_DELAY);
            self.delayed.push((at, record));
        }
    }

    fn flush(&mut self, by: u64) {
        let delayed = std::mem::take(&mut self.delayed);
        for (at, record) in delayed {
            if at <= by { self.send(record) } else { self.delayed.push((at, record)) }
        }
    }

    /// The number of the head, and the highest.
    pub(crate) fn heads(&self) -> (i64, i64) {
        (self.blocks[self.tip].head.block_number, self.highest)
    }

    /// The canonical swaps in order, with their pools.
    pub(crate) fn canonical(&self) -> Vec<(PoolKey, Pool, Swap)> {
        let mut chain = self.chain(self.tip);
        chain.reverse();
        let swaps = chain.into_iter().flat_map(|block| self.blocks[block].swaps.clone());
        swaps
            .map(|(pool, swap)| {
                let (key, pool) = self.pools[pool].clone();
                (key, pool, swap)
            })
            .collect()
    }
}

fn id_of(log_index: i64) -> Integer {
    (log_index * 1_000_003).into()
}

/// The expected minute: swaps, net and in amounts, ticks, prices, liquidity and places.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Minute {
    pub(crate) swaps: i64,
    pub(crate) amounts: [i128; 4],
    pub(crate) ticks: Vec<i64>,
    pub(crate) prices: Vec<Decimal>,
    pub(crate) liquidity: Option<Integer>,
    pub(crate) places: Vec<(i64, i64)>,
}

/// The same of a bucket: swaps, volume, pools, USD, unpriced.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Bucket {
    pub(crate) swaps: i64,
    pub(crate) volume: i128,
    pub(crate) pools: BTreeSet<String>,
    pub(crate) usd: i128,
    pub(crate) unpriced: i64,
}

fn number(amount: Integer) -> i128 {
    amount.to_string().parse().unwrap()
}

/// The fold over counted swaps.
#[derive(Default)]
pub(crate) struct Fold {
    pub(crate) minutes: BTreeMap<(PoolKey, i64), Minute>,
    /// By token, length of the window and its beginning.
    pub(crate) buckets: BTreeMap<(TokenKey, i64, i64), Bucket>,
}

pub(crate) fn fold<'a>(swaps: impl Iterator<Item = &'a (PoolKey, Pool, Swap)>) -> Fold {
    let mut fold = Fold::default();
    for (key, pool, swap) in swaps {
        let time = swap.block_time.unwrap().0;
        let minute = fold.minutes.entry((key.clone(), time / 60_000 * 60_000)).or_default();
        let (a, b) = (number(swap.amount0), number(swap.amount1));
        minute.swaps += 1;
        for (sum, amount) in minute.amounts.iter_mut().zip([a, b, a.max(0), b.max(0)]) {
            *sum += amount;
        }
        minute.ticks.extend(swap.tick);
        let decimals = (pool.decimals0.unwrap(), pool.decimals1.unwrap());
        minute.prices.extend(match swap.sqrt_price_x96 {
            Some(root) => price::of_root(root, decimals.0, decimals.1),
            None => price::of_amounts((swap.amount0, decimals.0), (swap.amount1, decimals.1)),
        });
        minute.liquidity = swap.liquidity;
        minute.places.push((swap.block_number.unwrap(), swap.log_index.unwrap()));
        // Token0 of the one pool with a stablecoin has six decimals.
        let usd = pool.usd_token.map(|_| a.abs() * 1_000_000_000_000);
        for (token, amount) in [(&pool.token0, a), (&pool.token1, b)] {
            for length in [300_000, 3_600_000] {
                let of = (TokenKey::new(CHAIN, token.as_str()), length, time / length * length);
                let bucket = fold.buckets.entry(of).or_default();
                bucket.swaps += 1;
                bucket.volume += amount.abs();
                bucket.pools.insert(key.pool.clone());
                bucket.usd += usd.unwrap_or(0);
                bucket.unpriced += i64::from(usd.is_none());
            }
        }
    }
    fold
}
