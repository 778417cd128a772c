//! The chains of a task in memory: blocks, and the swaps that a reorganisation can still change.
//!
//! Invariant: it is the content of the two private stores and nothing else. It is read when it is first
//! needed, updated with each write from then on, and forgotten when the task may have been discarded.

use std::collections::{BTreeMap, BTreeSet};

use schemas::avro::{self, Reader};
use schemas::{PoolKey, SwapStatus, Timestamp};
use streams::store::StoreHandle;
use streams::{Error, Failure};

use super::blocks::{Blocks, Height};
use super::instance::{Instance, InstanceKey, PENDING};
use crate::operators::Result;
use crate::operators::pairs::AFTER_ALL;

/// Rows per page when the stores are first read.
const PAGE: usize = 4096;
/// Chains of a task. One holds at most 65 heights, and an installation follows a few.
pub(super) const MAX_CHAINS: usize = 64;
/// Swaps of a task that a reorganisation can still change: 64 blocks of every pool, and those of a
/// backfill before its heads. About 700 bytes each.
pub(super) const MAX_INSTANCES: usize = 250_000;
/// Pending swaps of a task; the oldest is forgotten.
pub(super) const MAX_PENDING: usize = 10_000;

/// A minute of a pool that is not final.
pub(super) type MinuteOf = (Timestamp, PoolKey);

/// One chain.
#[derive(Default)]
pub(super) struct Chain {
    pub(super) blocks: Blocks,
    /// In the order of execution.
    pub(super) instances: BTreeMap<InstanceKey, Instance>,
    /// The instances of each minute.
    pub(super) minutes: BTreeMap<MinuteOf, BTreeSet<InstanceKey>>,
}

/// See the module.
#[derive(Default)]
pub(super) struct Memory {
    pub(super) chains: BTreeMap<i64, Chain>,
    /// Instances of all chains.
    pub(super) instances: usize,
    /// Swaps in no block by the time of receipt.
    pub(super) pending: BTreeSet<(Timestamp, InstanceKey)>,
    /// The same by key.
    pending_at: BTreeMap<InstanceKey, Timestamp>,
    /// The instances of each chain and transaction.
    transactions: BTreeMap<(i64, String), BTreeSet<InstanceKey>>,
    is_read: bool,
}

/// The key of a height's row.
pub(super) fn height_key(chain: i64, number: i64) -> Vec<u8> {
    let mut out = Vec::new();
    avro::long(&mut out, chain);
    avro::long(&mut out, number);
    out
}

fn corrupt(what: &str) -> Failure {
    Failure::Stop(Error::Corrupt(format!(
        "a private store of swaps has a key that is no {what}; move the state directory away and the \
         store is restored"
    )))
}

/// Every row of a store.
fn each<V: Clone>(
    store: &StoreHandle<V>,
    mut take: impl FnMut(&[u8], V) -> Result<()>,
) -> Result<()> {
    let mut from = Vec::new();
    loop {
        let page = store.range(&from, &AFTER_ALL, PAGE)?;
        let is_last = page.len() < PAGE;
        for (key, value) in page {
            take(&key, value)?;
            from = key;
            from.push(0);
        }
        if is_last {
            return Ok(());
        }
    }
}

impl Memory {
    /// The stores may no longer be what they were.
    pub(super) fn forget(&mut self) {
        *self = Self::default();
    }

    /// Reads the stores, once.
    pub(super) fn read(
        &mut self,
        instances: &StoreHandle<Instance>,
        heights: &StoreHandle<Height>,
    ) -> Result<()> {
        if self.is_read {
            return Ok(());
        }
        each(heights, |key, height| {
            let mut reader = Reader::new(key);
            let (Ok(chain), Ok(number)) = (reader.long(), reader.long()) else {
                return Err(corrupt("height"));
            };
            self.chains.entry(chain).or_default().blocks.add(number, height);
            Ok(())
        })?;
        each(instances, |key, instance| {
            let key = InstanceKey::read(key).map_err(|_| corrupt("instance"))?;
            self.set(key, instance);
            Ok(())
        })?;
        self.is_read = true;
        Ok(())
    }

    /// Whether a chain has room here.
    pub(super) fn has_room(&self, chain: i64) -> bool {
        self.chains.contains_key(&chain) || self.chains.len() < MAX_CHAINS
    }

    /// The instance of a key.
    pub(super) fn get(&self, key: &InstanceKey) -> Option<&Instance> {
        self.chains.get(&key.chain)?.instances.get(key)
    }

    /// Puts an instance, also one that is pending.
    pub(super) fn set(&mut self, key: InstanceKey, instance: Instance) {
        if key.number == PENDING {
            let at = instance.swap.received_at;
            self.pending_at.insert(key.clone(), at);
            self.pending.insert((at, key));
            return;
        }
        let chain = self.chains.entry(key.chain).or_default();
        if let Some(minute) = instance.minute() {
            chain.minutes.entry((minute, key.pool_key())).or_default().insert(key.clone());
        }
        let of = (key.chain, instance.swap.tx_hash.clone());
        if chain.instances.insert(key.clone(), instance).is_none() {
            self.instances += 1;
            self.transactions.entry(of).or_default().insert(key);
        }
    }

    /// Whether a swap in no block is known.
    pub(super) fn is_pending(&self, key: &InstanceKey) -> bool {
        self.pending_at.contains_key(key)
    }

    /// Whether a transaction has a swap of the pool in some block.
    pub(super) fn is_included(&self, pool: &PoolKey, tx_hash: &str) -> bool {
        let keys = self.transactions.get(&(pool.chain, tx_hash.to_owned()));
        keys.is_some_and(|keys| keys.iter().any(|key| key.pool == pool.pool))
    }

    /// The instance of the same log of a transaction that another block has, and that is there.
    pub(super) fn other(&self, key: &InstanceKey) -> Option<(&InstanceKey, &Instance)> {
        let tx_hash = &self.get(key)?.swap.tx_hash;
        let keys = self.transactions.get(&(key.chain, tx_hash.clone()))?;
        let same_log = keys.iter().filter(|one| *one != key && one.log_index == key.log_index);
        let mut others = same_log.filter_map(|one| Some((one, self.get(one)?)));
        others.find(|(_, other)| other.status != SwapStatus::Removed)
    }

    /// Removes a swap in no block.
    pub(super) fn remove_pending(&mut self, key: &InstanceKey) {
        if let Some(at) = self.pending_at.remove(key) {
            self.pending.remove(&(at, key.clone()));
        }
    }

    /// Removes an instance.
    pub(super) fn remove(&mut self, key: &InstanceKey) {
        let Some(chain) = self.chains.get_mut(&key.chain) else { return };
        let Some(instance) = chain.instances.remove(key) else { return };
        self.instances -= 1;
        let of = (key.chain, instance.swap.tx_hash.clone());
        if let Some(keys) = self.transactions.get_mut(&of) {
            keys.remove(key);
            if keys.is_empty() {
                self.transactions.remove(&of);
            }
        }
        if let Some(minute) = instance.minute() {
            let of = (minute, key.pool_key());
            if let Some(keys) = chain.minutes.get_mut(&of) {
                keys.remove(key);
                if keys.is_empty() {
                    chain.minutes.remove(&of);
                }
            }
        }
    }
}
