//! Swaps of pools: each is counted once, in the block where the canonical chain has it.
//!
//! ```text
//! head ──► blocks ──► status of the instances at and above the change ─┬─► pool_1m   minute
//! swap ──► flag   ──► status of one instance                          ├─► legs      facts, Tokens
//! pool ──► facts                                                       └─► status    SwapStatuses
//! ```
//!
//! The rule of counting and its reasons are in `docs/design/swaps.md`.
//!
//! Invariants:
//! - An instance is counted when it is CONFIRMED or FINAL, and each change of that sends two legs and
//!   computes its minute again.
//! - What was added is taken back with the same amounts and the same value.
//! - A final instance does not change, and leaves memory and store with its minute.
//! - The memory is what the stores hold. The same log gives the same records, byte for byte.

mod blocks;
mod entry;
mod facts;
mod instance;
mod memory;
mod minute;
mod route;
mod status;
mod tokens;

pub use blocks::{FINAL, Height};
pub use entry::{SwapEntry, swap_entry};
pub use instance::{Flag, Instance};
pub use route::Route;
pub use status::{StatusEntry, SwapStatuses, status_entry};
pub use tokens::{LegEntry, TokenStores, Tokens, leg_entry};

use std::collections::{BTreeMap, BTreeSet};

use schemas::{
    ChainHead, MinuteStatus, Pool, PoolKey, PoolMinute, Swap, SwapState, SwapStatus, SwapStatusKey,
    Timestamp, TokenKey, TokenLeg,
};
use streams::store::StoreHandle;
use streams::{Context, Failure, Processor};

use super::Result;
use crate::interval::Interval;
use crate::store_keys;
use blocks::Blocks;
use instance::InstanceKey;
use memory::{MAX_INSTANCES, MAX_PENDING, Memory, MinuteOf, height_key};

/// How long a pending swap is kept, in stream time. Nodes drop a transaction that no block takes within
/// hours; readers have no use for one that waits for longer than this.
const PENDING_KEPT_MS: i64 = 60 * 60 * 1000;

/// The stores of a task of `swaps`.
#[derive(Clone)]
pub struct SwapStores {
    /// The facts of each pool.
    pub pools: StoreHandle<Pool>,
    /// The swaps of each pool in each minute.
    pub minutes: StoreHandle<PoolMinute>,
    /// The swaps that a reorganisation can still change.
    pub instances: StoreHandle<Instance>,
    /// The newest blocks of each chain.
    pub heights: StoreHandle<Height>,
}

/// A record for one of the repartition topics.
#[derive(Clone, Debug)]
pub enum SwapOutput {
    /// One side of a swap.
    Leg(LegEntry),
    /// The status of a swap; none when it is to be forgotten.
    Status(StatusEntry),
}

impl SwapOutput {
    /// The leg, if it is one.
    pub fn leg(&self) -> Option<&(TokenKey, TokenLeg)> {
        if let Self::Leg(leg) = self { Some(leg) } else { None }
    }

    /// The status, if it is one.
    pub fn status(&self) -> Option<&StatusEntry> {
        if let Self::Status(status) = self { Some(status) } else { None }
    }
}

/// Keeps `pools` and `pool_1m`, and forwards legs and statuses.
pub struct Swaps {
    stores: SwapStores,
    memory: Memory,
    /// Blocks on top of a block whose swaps are counted.
    confirmations: i64,
}

type Out<'a> = Context<'a, SwapOutput>;

impl Swaps {
    /// Swaps in these stores, counted with so many blocks on top, at most [`FINAL`].
    pub fn new(stores: SwapStores, confirmations: i64) -> Self {
        let confirmations = confirmations.clamp(0, FINAL);
        Self { stores, memory: Memory::default(), confirmations }
    }

    fn pool(&self, key: &PoolKey, told: &Pool) -> Result<()> {
        let mut entry = self.stores.pools.entry(&store_keys::body(key))?;
        let learnt = match &*entry {
            None => told.clone(),
            Some(known) => facts::learn(known, told).ok_or(Failure::Drop("pool_changed"))?,
        };
        if entry.as_ref() != Some(&learnt) {
            *entry = Some(learnt);
        }
        Ok(())
    }

    fn head(&mut self, context: &mut Out<'_>, id: i64, head: &ChainHead) -> Result<()> {
        if !self.memory.has_room(id) {
            return Err(Failure::Drop("too_many_chains"));
        }
        if self.memory.chains.get(&id).is_some_and(|chain| chain.blocks.check(head).is_err()) {
            return Err(Failure::Drop("late_head"));
        }
        let chain = self.memory.chains.entry(id).or_default();
        let effect = chain.blocks.announce(head);
        for (is_so, what) in [
            (effect.reorganised, "reorganisation"),
            (effect.gap, "head_gap"),
            (effect.forgotten, "fork_forgotten"),
            (effect.from.is_none(), "repeated_head"),
        ] {
            if is_so {
                context.count(what);
            }
        }
        // Final instances are settled, and what is above the change or above the old head's
        // confirmations may be counted or not.
        let first_open = effect.was_final.map_or(i64::MIN, |last| last + 1);
        let now_final = chain.blocks.last_final().unwrap_or(i64::MIN);
        let from = effect.from.map(|from| from.saturating_sub(self.confirmations).max(first_open));
        let is_affected =
            |number: i64| number <= now_final || from.is_some_and(|from| number >= from);
        let first = InstanceKey {
            chain: id,
            number: first_open.max(0),
            log_index: 0,
            hash: String::new(),
            pool: String::new(),
        };
        let open = chain.instances.range(first..).map(|(key, _)| key);
        let affected: Vec<_> = open.filter(|key| is_affected(key.number)).cloned().collect();
        self.settle(context, affected, head.block_time)?;
        let mut rows = effect.rows;
        if let Some(chain) = self.memory.chains.get_mut(&id) {
            rows.extend(chain.blocks.prune());
        }
        self.write_heights(id, rows)?;
        self.forget_final(context, id)?;
        self.forget_pending(context)
    }

    fn write_heights(&self, id: i64, rows: BTreeSet<i64>) -> Result<()> {
        let blocks = self.memory.chains.get(&id).map(|chain| &chain.blocks);
        for number in rows {
            let height = blocks.and_then(|blocks| blocks.height(number)).cloned();
            *self.stores.heights.entry(&height_key(id, number))? = height;
        }
        Ok(())
    }

    /// Gives instances of one chain the status that the rule gives them now: removals first, so that a
    /// swap that moved to another block has the status of that block at the end.
    fn settle(
        &mut self,
        context: &mut Out<'_>,
        keys: Vec<InstanceKey>,
        at: Timestamp,
    ) -> Result<()> {
        let mut removals: BTreeMap<MinuteOf, i64> = BTreeMap::new();
        let of = |key: InstanceKey| {
            let chain = self.memory.chains.get(&key.chain)?;
            let known = chain.instances.get(&key)?;
            // Its removal came first, and without the time that says where it counts.
            let status = known.minute().map_or(SwapStatus::Removed, |_| {
                instance::status(&key, known.flag, &chain.blocks, self.confirmations)
            });
            (status != known.status).then_some((key, status))
        };
        let changes: Vec<_> = keys.into_iter().filter_map(of).collect();
        let (gone, rest): (Vec<_>, Vec<_>) =
            changes.into_iter().partition(|(_, status)| *status == SwapStatus::Removed);
        for (key, status) in gone.into_iter().chain(rest) {
            let Some(known) = self.memory.get(&key) else { continue };
            let was_counted = known.is_counted();
            let instance = Instance { status, ..known.clone() };
            if was_counted != instance.is_counted() {
                let sign = if was_counted { -1 } else { 1 };
                self.forward_legs(context, &key, &instance, sign)?;
                if let Some(minute) = instance.minute() {
                    let removed = removals.entry((minute, key.pool_key())).or_default();
                    *removed += i64::from(was_counted);
                }
            }
            forward_status(context, &key, &instance, at)?;
            self.write(key.clone(), instance)?;
            // Its row may have replaced that of a block that is still there, as in a gap.
            if status == SwapStatus::Removed
                && let Some((key, other)) = self.memory.other(&key)
            {
                forward_status(context, key, other, at)?;
            }
        }
        removals.into_iter().try_for_each(|(of, removed)| self.write_minute(context, &of, removed))
    }

    fn forward_legs(
        &self,
        context: &mut Out<'_>,
        key: &InstanceKey,
        instance: &Instance,
        sign: i64,
    ) -> Result<()> {
        context.count(if sign < 0 { "swap_retracted" } else { "swap_counted" });
        let pool = self.stores.pools.get(&store_keys::body(&key.pool_key()))?;
        let legs = pool.map(|pool| facts::legs(&pool, key, instance, sign));
        legs.into_iter().flatten().try_for_each(|leg| context.forward(&SwapOutput::Leg(leg)))
    }

    fn write(&mut self, key: InstanceKey, instance: Instance) -> Result<()> {
        *self.stores.instances.entry(&key.bytes())? = Some(instance.clone());
        self.memory.set(key, instance);
        Ok(())
    }

    fn remove(&mut self, key: &InstanceKey) -> Result<()> {
        self.stores.instances.remove(&key.bytes())?;
        self.memory.remove(key);
        Ok(())
    }

    /// Computes a minute again, after so many removals.
    fn write_minute(&self, context: &mut Out<'_>, of: &MinuteOf, removed: i64) -> Result<()> {
        let (open_time, pool) = of;
        let Some(chain) = self.memory.chains.get(&pool.chain) else { return Ok(()) };
        let keys = chain.minutes.get(of).into_iter().flatten();
        let counted = keys.filter_map(|key| chain.instances.get_key_value(key));
        let mut minute = minute::minute(counted.filter(|(_, instance)| instance.is_counted()));
        if minute.as_ref().is_some_and(|minute| minute::overflows(minute) > 0) {
            context.count("amount_overflow");
        }
        let mut entry = self.stores.minutes.entry(&minute_key(pool, *open_time))?;
        if let Some(minute) = &mut minute {
            minute.revision = entry.as_ref().map_or(0, |known| known.revision) + removed;
        }
        if *entry != minute {
            *entry = minute;
        }
        Ok(())
    }

    /// Closes the minutes that are final, and forgets their instances.
    fn forget_final(&mut self, context: &mut Out<'_>, id: i64) -> Result<()> {
        let Some(chain) = self.memory.chains.get(&id) else { return Ok(()) };
        let last = chain.blocks.last_final().unwrap_or(i64::MIN);
        let by = chain.blocks.final_time().unwrap_or_default();
        let is_final = |keys: &BTreeSet<InstanceKey>| keys.iter().all(|key| key.number <= last);
        let ended = chain.minutes.iter().take_while(|((open_time, _), _)| is_over(*open_time, by));
        let ended: Vec<_> = ended
            .filter(|(_, keys)| is_final(keys))
            .map(|(of, keys)| (of.clone(), keys.iter().cloned().collect::<Vec<_>>()))
            .collect();
        // Without a time it is in no minute.
        let first = chain.instances.iter().take_while(|(key, _)| key.number <= last);
        let timeless = first.filter(|(_, instance)| instance.minute().is_none());
        let timeless: Vec<_> = timeless.map(|(key, _)| key.clone()).collect();
        for ((open_time, pool), keys) in ended {
            let mut entry = self.stores.minutes.entry(&minute_key(&pool, open_time))?;
            if entry.is_some() {
                context.count("minute_final");
            }
            if let Some(minute) = entry.as_ref().filter(|one| one.status != MinuteStatus::Final) {
                let status = MinuteStatus::Final;
                *entry = Some(PoolMinute { status, ..minute.clone() });
            }
            drop(entry);
            keys.iter().try_for_each(|key| self.remove(key))?;
        }
        timeless.iter().try_for_each(|key| self.remove(key))
    }

    fn swap(&mut self, context: &mut Out<'_>, of: &PoolKey, swap: &Swap) -> Result<()> {
        let pool = self.stores.pools.get(&store_keys::body(of))?.map(|pool| pool.clone());
        let pool = pool.ok_or(Failure::Drop("unknown_pool"))?;
        if !self.memory.has_room(of.chain) {
            return Err(Failure::Drop("too_many_chains"));
        }
        let Some(key) = InstanceKey::of(of, swap) else {
            return self.pending(context, of, swap);
        };
        let is_removal = swap.status == SwapStatus::Removed;
        let known = self.memory.get(&key);
        let blocks = self.memory.chains.get(&of.chain).map(|chain| &chain.blocks);
        let is_final = blocks.and_then(Blocks::last_final).is_some_and(|last| key.number <= last);
        if let Some(known) = known {
            let flag = Flag::after(Some(known.flag), is_removal);
            if is_final && flag != known.flag {
                return Err(Failure::Drop("late_swap"));
            }
            if flag == known.flag && (known.minute().is_some() || swap.block_time.is_none()) {
                context.count("repeated_swap");
                return Ok(());
            }
            let mut instance = Instance { flag, ..known.clone() };
            // The first removal may have come without its block's time.
            if instance.minute().is_none() && swap.block_time.is_some() {
                self.check_minute(of.chain, swap)?;
                instance.swap = swap.clone();
            }
            self.write(key.clone(), instance)?;
            return self.settle(context, vec![key], swap_time(swap));
        }
        if is_final {
            return Err(Failure::Drop("late_swap"));
        }
        self.check_minute(of.chain, swap)?;
        if self.memory.instances >= MAX_INSTANCES {
            return Err(Failure::Drop("too_many_swaps"));
        }
        let instance = Instance {
            flag: Flag::after(None, is_removal),
            // Of no status that the rule gives, so that the first one is published.
            status: SwapStatus::Pending,
            price: facts::price_after(&pool, swap),
            usd: facts::usd(&pool, swap),
            swap: swap.clone(),
        };
        self.write(key.clone(), instance)?;
        self.settle(context, vec![key], swap_time(swap))?;
        if is_removal { Ok(()) } else { self.included(context, of, &swap.tx_hash) }
    }

    /// Refuses a swap of a minute that is final, or that the topic no longer holds.
    fn check_minute(&self, chain: i64, swap: &Swap) -> Result<()> {
        let Some(time) = swap.block_time else { return Ok(()) };
        let minute = Interval::Minute.start(time);
        let by = self.memory.chains.get(&chain).and_then(|chain| chain.blocks.final_time());
        let is_final = by.is_some_and(|by| is_over(minute, by));
        let first_kept = self.stores.minutes.clock()?.first_kept;
        let is_expired = store_keys::segment(Interval::Minute, minute) < first_kept;
        if is_final || is_expired { Err(Failure::Drop("late_swap")) } else { Ok(()) }
    }

    /// A swap in no block has a status and counts nowhere.
    fn pending(&mut self, context: &mut Out<'_>, of: &PoolKey, swap: &Swap) -> Result<()> {
        let key = InstanceKey::pending(of, &swap.tx_hash);
        if self.memory.is_pending(&key) || self.memory.is_included(of, &swap.tx_hash) {
            context.count("repeated_swap");
            return Ok(());
        }
        if self.memory.pending.len() >= MAX_PENDING
            && let Some((_, oldest)) = self.memory.pending.first().cloned()
        {
            context.count("pending_forgotten");
            self.forget(context, &oldest)?;
        }
        let status = SwapStatus::Pending;
        let swap = swap.clone();
        let instance = Instance { flag: Flag::Added, status, price: None, usd: None, swap };
        forward_status(context, &key, &instance, instance.swap.received_at)?;
        self.write(key, instance)
    }

    /// The transaction is in a block.
    fn included(&mut self, context: &mut Out<'_>, of: &PoolKey, tx_hash: &str) -> Result<()> {
        let key = InstanceKey::pending(of, tx_hash);
        if self.memory.is_pending(&key) {
            self.forget(context, &key)?;
        }
        Ok(())
    }

    /// Forgets pending swaps that no block has taken.
    fn forget_pending(&mut self, context: &mut Out<'_>) -> Result<()> {
        let by = Timestamp(context.stream_time().0.saturating_sub(PENDING_KEPT_MS));
        while let Some((_, key)) = self.memory.pending.first().filter(|(at, _)| *at <= by).cloned()
        {
            context.count("pending_forgotten");
            self.forget(context, &key)?;
        }
        Ok(())
    }

    fn forget(&mut self, context: &mut Out<'_>, key: &InstanceKey) -> Result<()> {
        self.stores.instances.remove(&key.bytes())?;
        self.memory.remove_pending(key);
        let (chain, tx_hash) = (key.chain, key.hash.clone());
        let of = SwapStatusKey { chain, tx_hash, log_index: SwapStatusKey::PENDING };
        context.forward(&SwapOutput::Status((of, None)))
    }
}

/// The time of a log that changes a status.
fn swap_time(swap: &Swap) -> Timestamp {
    swap.block_time.unwrap_or(swap.received_at)
}

/// Whether a minute has ended by a time.
fn is_over(open_time: Timestamp, by: Timestamp) -> bool {
    open_time.0.saturating_add(Interval::Minute.length_ms()) <= by.0
}

fn minute_key(pool: &PoolKey, open_time: Timestamp) -> Vec<u8> {
    let mut key = Vec::new();
    store_keys::pool_minute_key(&store_keys::body(pool), open_time, &mut key);
    key
}

fn forward_status(
    context: &mut Out<'_>,
    key: &InstanceKey,
    instance: &Instance,
    at: Timestamp,
) -> Result<()> {
    let swap = &instance.swap;
    let of = SwapStatusKey {
        chain: key.chain,
        tx_hash: swap.tx_hash.clone(),
        log_index: swap.log_index.unwrap_or(SwapStatusKey::PENDING),
    };
    let state = SwapState {
        status: instance.status,
        pool: key.pool.clone(),
        block_number: swap.block_number,
        block_hash: swap.block_hash.clone(),
        amount0: swap.amount0,
        amount1: swap.amount1,
        block_time: swap.block_time,
        event_time: at,
    };
    context.forward(&SwapOutput::Status((of, Some(state))))
}

impl Processor for Swaps {
    type In = SwapEntry;
    type Out = SwapOutput;

    fn process(&mut self, context: &mut Out<'_>, entry: &SwapEntry) -> Result<()> {
        self.memory.read(&self.stores.instances, &self.stores.heights)?;
        match entry {
            SwapEntry::Swap(pool, swap) => self.swap(context, pool, swap),
            SwapEntry::Head(chain, head) => self.head(context, *chain, head),
            SwapEntry::Pool(key, pool) => self.pool(key, pool),
        }
    }

    /// The task has started or was discarded: its stores are again those of the last commit.
    fn resume(&mut self, _: &mut Out<'_>) -> Result<()> {
        self.memory.forget();
        Ok(())
    }
}
