//! Swaps that wait for the time of their block: a log may come before its head.
//!
//! Invariant: the swaps of a block leave in the order in which they came.

use std::collections::VecDeque;

use rustc_hash::FxHashMap;
use schemas::{PoolKey, Swap};

/// Swaps that wait. A block of a busy chain has some hundred swaps of the followed pools; each takes
/// about 2 kB.
pub(super) const MAX_HELD: usize = 4096;

/// A swap that waits.
pub(super) struct HeldSwap {
    /// The pool.
    pub(super) key: PoolKey,
    /// Without a time.
    pub(super) swap: Box<Swap>,
    /// The log, for the dead letter.
    pub(super) raw: String,
}

#[derive(Default)]
struct OfBlock {
    number: i64,
    swaps: Vec<HeldSwap>,
    is_asked: bool,
}

/// The swaps that wait, by block.
#[derive(Default)]
pub(super) struct Held {
    by_block: FxHashMap<String, OfBlock>,
    /// Blocks, the oldest arrival first.
    order: VecDeque<String>,
    count: usize,
}

impl Held {
    /// Swaps of the block wait.
    pub(super) fn has(&self, hash: &str) -> bool {
        self.by_block.contains_key(hash)
    }

    /// Holds a swap of a block; the swaps that have to leave for it, of the block that waits longest.
    pub(super) fn hold(&mut self, hash: &str, held: HeldSwap) -> Vec<HeldSwap> {
        let mut gone = Vec::new();
        if self.count >= MAX_HELD
            && let Some(oldest) = self.order.front().cloned()
        {
            gone = self.take(&oldest);
        }
        self.count += 1;
        let of_block = self.by_block.entry(hash.to_owned()).or_default();
        if of_block.swaps.is_empty() {
            self.order.push_back(hash.to_owned());
        }
        of_block.number = held.swap.block_number.unwrap_or_default();
        of_block.swaps.push(held);
        gone
    }

    /// The swaps of a block, which no longer wait.
    pub(super) fn take(&mut self, hash: &str) -> Vec<HeldSwap> {
        let Some(of_block) = self.by_block.remove(hash) else { return Vec::new() };
        self.order.retain(|one| one != hash);
        self.count -= of_block.swaps.len();
        of_block.swaps
    }

    /// All that waits, the oldest block first.
    pub(super) fn take_all(&mut self) -> Vec<HeldSwap> {
        let blocks: Vec<String> = self.order.iter().cloned().collect();
        blocks.iter().flat_map(|hash| self.take(hash)).collect()
    }

    /// The blocks up to a number that have not been asked for; they are then.
    pub(super) fn take_unasked(&mut self, up_to: i64) -> Vec<String> {
        let mut hashes = Vec::new();
        for hash in &self.order {
            if let Some(of_block) = self.by_block.get_mut(hash)
                && of_block.number <= up_to
                && !std::mem::replace(&mut of_block.is_asked, true)
            {
                hashes.push(hash.clone());
            }
        }
        hashes
    }

    /// A block that was asked for still lacks its answer.
    pub(super) fn is_asking(&self) -> bool {
        self.by_block.values().any(|of_block| of_block.is_asked)
    }

    /// The answers will not come.
    pub(super) fn forget_asked(&mut self) {
        self.by_block.values_mut().for_each(|of_block| of_block.is_asked = false);
    }
}
