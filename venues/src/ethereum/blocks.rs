//! The blocks that a node has told, by hash: times of logs, and where a chain of parents ends. They
//! outlive a connection, so a walk that was cut off goes on with what it has.

use std::collections::BTreeMap;

use rustc_hash::FxHashMap;
use schemas::{ChainHead, Timestamp};

use super::FINAL;

/// Numbers kept behind the highest: four times what a reorganisation may reach, so that a walk from
/// anywhere within it finds its end.
const KEPT: i64 = 4 * FINAL;
/// Blocks in all. A chain has one or two at a number; the bound is for a node that invents more.
const MAX_BLOCKS: usize = 16 * 256;

struct Known {
    head: ChainHead,
    is_announced: bool,
}

/// The blocks of a chain.
#[derive(Default)]
pub(super) struct Blocks {
    by_hash: FxHashMap<String, Known>,
    by_number: BTreeMap<i64, Vec<String>>,
    /// The block that was announced last.
    last: Option<(i64, String)>,
}

impl Blocks {
    /// The time of a block.
    pub(super) fn time(&self, hash: &str) -> Option<Timestamp> {
        self.by_hash.get(hash).map(|known| known.head.block_time)
    }

    /// A block, announced or not.
    pub(super) fn get(&self, hash: &str) -> Option<&ChainHead> {
        self.by_hash.get(hash).map(|known| &known.head)
    }

    /// The block was announced as a head.
    pub(super) fn is_announced(&self, hash: &str) -> bool {
        self.by_hash.get(hash).is_some_and(|known| known.is_announced)
    }

    /// The number and the hash of the block that was announced last.
    pub(super) fn last(&self) -> Option<(i64, &str)> {
        self.last.as_ref().map(|(number, hash)| (*number, hash.as_str()))
    }

    /// Notes a block.
    pub(super) fn note(&mut self, head: &ChainHead) {
        if self.by_hash.contains_key(&head.block_hash) {
            return;
        }
        let known = Known { head: head.clone(), is_announced: false };
        self.by_hash.insert(head.block_hash.clone(), known);
        self.by_number.entry(head.block_number).or_default().push(head.block_hash.clone());
        self.forget_old();
    }

    /// Notes that a block is announced.
    pub(super) fn announce(&mut self, head: &ChainHead) {
        self.note(head);
        if let Some(known) = self.by_hash.get_mut(&head.block_hash) {
            known.is_announced = true;
        }
        self.last = Some((head.block_number, head.block_hash.clone()));
    }

    fn forget_old(&mut self) {
        while let Some(lowest) = self.by_number.first_entry() {
            let highest = self.last.as_ref().map_or(i64::MIN, |(number, _)| *number);
            let is_old = *lowest.key() < highest.saturating_sub(KEPT);
            if !is_old && self.by_hash.len() <= MAX_BLOCKS {
                return;
            }
            for hash in lowest.remove() {
                self.by_hash.remove(&hash);
            }
        }
    }
}
