//! The part of a read that needs the stores of tokens, pools and swaps.
//!
//! `pools` and `pool_1m` have the partitions of `swaps`. Buckets of tokens and statuses of swaps are
//! behind repartition topics, so they have partitions of their own.
//!
//! Windows are counted back from the newest bucket in the stores, not from the wall clock: a replay of
//! an old day is answered as it was then.

use std::collections::BTreeSet;
use std::sync::Arc;

use schemas::avro::{self, Record};
use schemas::topic::Topic;
use schemas::{Integer, Pool, PoolKey, PoolMinute, SwapState, SwapStatusKey, Timestamp};
use schemas::{TokenBucket, TokenKey};
use streams::store::Committed;

use super::error::{Refusal, Result};
use super::extent::Extent;
use super::partition_hints::PartitionHints;
use super::read_service::ReadContext;
use super::segments::{AFTER_ALL, WindowRange};
use super::swap_params::TokenWindow;
use super::swap_windows::{WindowStore, chain_key, chain_of, name_key};
use crate::store_keys;
use crate::topology::store_name;

/// Keys per page of a scan.
const PAGE: usize = 4096;
/// Tokens, pools and chains that a refusal names: as many as a person reads.
pub(super) const MAX_NAMED: usize = 20;
/// The time in which the newest minute of a pool is searched.
const NEWEST_WITHIN_MS: i64 = 86_400_000;

type Stores = Vec<(i32, Arc<Committed>)>;

/// A range of windows that ends with the newest bucket.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Span {
    /// The first instant.
    pub(super) from: Timestamp,
    /// The first instant after it.
    pub(super) until: Timestamp,
}

/// Adds a later bucket of the same token to the sums of a window.
pub(super) fn add(sum: &mut TokenBucket, bucket: TokenBucket) {
    let did_not_fit = is_beyond(sum);
    sum.swaps = sum.swaps.saturating_add(bucket.swaps);
    // Of one bucket it is its number; distinct pools of several have no sum.
    sum.pools = bucket.pools;
    sum.unpriced_swaps = sum.unpriced_swaps.saturating_add(bucket.unpriced_swaps);
    sum.volume = sum.volume.zip(bucket.volume).and_then(|(one, more)| one.checked_add(more));
    sum.volume_usd = match (sum.volume_usd, bucket.volume_usd) {
        (Some(one), Some(more)) => one.checked_add(more),
        // Without a sum beside swaps that have a value, the sum did not fit.
        _ if did_not_fit || is_beyond(&bucket) => None,
        (one, more) => one.or(more),
    };
    if sum.event_time <= bucket.event_time {
        sum.event_time = bucket.event_time;
        sum.symbol = bucket.symbol.or(sum.symbol.take());
        sum.decimals = bucket.decimals.or(sum.decimals);
    }
}

/// Whether its volume in USD is out of range.
const fn is_beyond(bucket: &TokenBucket) -> bool {
    bucket.volume_usd.is_none() && bucket.unpriced_swaps < bucket.swaps
}

/// The sums of no bucket.
pub(super) fn none() -> TokenBucket {
    let volume = Some(Integer::ZERO);
    TokenBucket { volume, event_time: Timestamp(i64::MIN), ..TokenBucket::default() }
}

/// The chains of a store whose keys begin with the chain: one look-up for each.
fn chains_of(store: &Committed) -> Result<BTreeSet<i64>> {
    let (mut chains, mut from) = (BTreeSet::new(), Vec::new());
    while let Some((key, _)) = store.range(&from, &AFTER_ALL, 1)?.pop() {
        let chain = chain_of(&key).ok_or_else(|| Refusal::broken(&"a key without a chain"))?;
        chains.insert(chain);
        from = store_keys::after_prefix(&chain_key(chain));
    }
    Ok(chains)
}

/// Numbers as a sentence has them.
fn listed(chains: &BTreeSet<i64>) -> String {
    let named: Vec<String> = chains.iter().take(MAX_NAMED).map(i64::to_string).collect();
    named.join(", ")
}

impl ReadContext<'_> {
    fn windows<'a>(&'a self, store: &'a Committed, topic: Topic) -> WindowStore<'a> {
        WindowStore::new(&self.service.codec, store, topic)
    }

    /// The partitions of a store; 404 when this process has none of them.
    pub(super) fn swap_stores(&mut self, topic: Topic, what: &str) -> Result<Stores> {
        let stores = self.partitions_of(topic);
        if stores.is_empty() {
            let reason = format!(
                "{what}: no partition of this member has them: ask a view, or compute them with \
                 processor run --topologies prices,swaps,index"
            );
            return Err(self.without(what, Refusal::not_found(reason), &stores));
        }
        Ok(stores)
    }

    /// A refusal for want of data, with the partitions that were read; 503 while they are restored.
    pub(super) fn without(&self, what: &str, refusal: Refusal, stores: &Stores) -> Refusal {
        let partitions: Vec<i32> = stores.iter().map(|(partition, _)| *partition).collect();
        if self.is_ready() {
            return refusal.with("partitions", partitions);
        }
        let reason =
            format!("{what}: not in the partitions that are restored so far: try again later");
        Refusal::unavailable(reason).with("partitions", partitions)
    }

    /// The refusal of a chain that none of `chains` is.
    fn no_chain(&self, what: &str, chain: i64, chains: &BTreeSet<i64>, stores: &Stores) -> Refusal {
        let remedy = if chains.is_empty() {
            "none has been followed yet: follow one with producer run --venue ethereum".to_owned()
        } else {
            format!("choose one of {}, or ask a view", listed(chains))
        };
        let reason = format!("chain {chain}: no {what} here is of it: {remedy}");
        let named: Vec<i64> = chains.iter().copied().take(MAX_NAMED).collect();
        self.without(what, Refusal::not_found(reason).with("chains", named), stores)
    }

    /// The window that ends with the newest bucket of the partitions; `None` without a bucket.
    pub(super) fn span(&self, stores: &Stores, window: TokenWindow) -> Result<Option<Span>> {
        let mut newest = None;
        for (_, store) in stores {
            newest = newest.max(self.windows(store, window.topic()).newest()?);
        }
        let span = |newest: Timestamp| {
            let until = Timestamp(newest.0.saturating_add(window.bucket_ms()));
            Span { from: Timestamp(until.0.saturating_sub(window.length_ms())), until }
        };
        Ok(newest.map(span))
    }

    /// Gives each bucket of a span to `each`. Buckets of one token are in the order of time.
    pub(super) fn each_bucket(
        &self,
        stores: &Stores,
        topic: Topic,
        span: Span,
        mut each: impl FnMut(TokenKey, Timestamp, TokenBucket),
    ) -> Result<()> {
        for (_, store) in stores {
            let windows = self.windows(store, topic);
            windows.visit(span.from, span.until, |name, bytes| {
                let bucket = windows.decode(bytes)?;
                each(TokenKey::new(name.chain, name.address), name.open_time, bucket);
                Ok(())
            })?;
        }
        Ok(())
    }

    /// The chains of buckets of tokens.
    fn token_chains(&self, stores: &Stores, topic: Topic) -> Result<BTreeSet<i64>> {
        let mut chains = BTreeSet::new();
        for (_, store) in stores {
            chains.extend(self.windows(store, topic).chains()?);
        }
        Ok(chains)
    }

    /// 404 when no token of the chain is here; `seen` are the chains that the read has seen.
    pub(super) fn check_token_chain(
        &mut self,
        chain: Option<i64>,
        seen: &BTreeSet<i64>,
    ) -> Result<()> {
        let Some(chain) = chain.filter(|chain| !seen.contains(chain)) else { return Ok(()) };
        // Hours are kept for years: a chain that was quiet in the window has some.
        let stores = self.swap_stores(Topic::Token1h, "tokens")?;
        let chains = self.token_chains(&stores, Topic::Token1h)?;
        if chains.contains(&chain) {
            return Ok(());
        }
        Err(self.no_chain("token", chain, &chains, &stores))
    }

    /// The token of that address; a refusal that names chains to choose from, or tokens that are here.
    pub(super) fn only_token(&mut self, chain: Option<i64>, token: &str) -> Result<TokenKey> {
        let stores = self.swap_stores(Topic::Token1h, "tokens")?;
        let chains = self.token_chains(&stores, Topic::Token1h)?;
        if let Some(chain) = chain.filter(|chain| !chains.contains(chain)) {
            return Err(self.no_chain("token", chain, &chains, &stores));
        }
        let mut found = Vec::new();
        for candidate in chains.iter().filter(|known| chain.is_none_or(|chain| chain == **known)) {
            let key = TokenKey::new(*candidate, token);
            let all = WindowRange { from: Timestamp(0), to: Timestamp(i64::MAX), limit: 1 };
            if !self.token_buckets(&key, Topic::Token1h, all)?.is_empty() {
                found.push(key);
            }
        }
        let Some(last) = found.pop() else {
            return Err(self.no_token(chain, token, &stores)?);
        };
        if found.is_empty() {
            return Ok(last);
        }
        let on: BTreeSet<i64> = found.iter().chain([&last]).map(|key| key.chain).collect();
        let reason = format!("{token}: several chains have it: add chain, one of {}", listed(&on));
        Err(Refusal::bad(reason))
    }

    fn no_token(&self, chain: Option<i64>, token: &str, stores: &Stores) -> Result<Refusal> {
        let mut named = BTreeSet::new();
        if let Some(span) = self.span(stores, TokenWindow::Hour)? {
            self.each_bucket(stores, Topic::Token1h, span, |key, _, bucket| {
                if chain.is_none_or(|chain| chain == key.chain) && named.len() < MAX_NAMED {
                    let symbol = bucket.symbol.unwrap_or_else(|| "no symbol".into());
                    named.insert(format!("{} ({symbol}, chain {})", key.token, key.chain));
                }
            })?;
        }
        let hint = if named.is_empty() {
            "GET /v1/tokens lists what is here, and a view has every partition".to_owned()
        } else {
            let named: Vec<&str> = named.iter().map(String::as_str).collect();
            format!("of the newest hour are {}; GET /v1/tokens lists more", named.join(", "))
        };
        let reason = format!("{token}: no partition of this member has a swap of it: {hint}");
        Ok(self.without("tokens", Refusal::not_found(reason), stores))
    }

    /// Reads one name's windows from the partition that has it: the one of the hint first.
    fn of_name<V: Record>(
        &mut self,
        topic: Topic,
        hints: &PartitionHints,
        (chain, address): (i64, &str),
        read: impl Fn(WindowStore<'_>, &[u8]) -> streams::Result<Vec<(Timestamp, V)>>,
    ) -> Result<Vec<(Timestamp, V)>> {
        let hinted = (chain, address);
        let first = hints.recall(&hinted);
        let mut stores = self.service.queries.stores(store_name(topic));
        stores.sort_by_key(|(partition, _)| Some(*partition) != first);
        let name = name_key(chain, address);
        let mut searched = Extent::default();
        for (partition, store) in &stores {
            let mut extent = Extent::default();
            extent.add(topic, *partition, store);
            let found = read(self.windows(store, topic), &name)?;
            // A name is in one partition.
            if !found.is_empty() {
                hints.remember(&hinted, *partition);
                self.extent.merge(extent);
                return Ok(found);
            }
            searched.merge(extent);
        }
        // An answer without windows depends on every partition.
        self.extent.merge(searched);
        Ok(Vec::new())
    }

    /// The buckets of a token within a range, oldest first.
    pub(super) fn token_buckets(
        &mut self,
        key: &TokenKey,
        topic: Topic,
        range: WindowRange,
    ) -> Result<Vec<(Timestamp, TokenBucket)>> {
        let hints = Arc::clone(&self.service.token_hints);
        self.of_name(topic, &hints, (key.chain, &key.token), |windows, name| {
            Ok(windows.of_name(name, range)?.into_iter().collect())
        })
    }

    /// The minutes of a pool within a range, oldest first.
    pub(super) fn pool_minutes(
        &mut self,
        key: &PoolKey,
        range: WindowRange,
    ) -> Result<Vec<(Timestamp, PoolMinute)>> {
        let hints = Arc::clone(&self.service.pool_hints);
        self.of_name(Topic::PoolMinutes, &hints, (key.chain, &key.pool), |windows, name| {
            Ok(windows.of_name(name, range)?.into_iter().collect())
        })
    }

    /// The newest minute of each pool, of the 24 hours before the newest minute of the partitions.
    pub(super) fn newest_minutes(
        &mut self,
        pools: &[(PoolKey, Pool)],
    ) -> Result<Vec<Option<(Timestamp, PoolMinute)>>> {
        let stores = self.partitions_of(Topic::PoolMinutes);
        let mut newest = None;
        for (_, store) in &stores {
            newest = newest.max(self.windows(store, Topic::PoolMinutes).newest()?);
        }
        let Some(newest) = newest else { return Ok(pools.iter().map(|_| None).collect()) };
        let to = Timestamp(newest.0.saturating_add(1));
        let from = Timestamp(to.0.saturating_sub(NEWEST_WITHIN_MS));
        let hints = Arc::clone(&self.service.pool_hints);
        let mut found = Vec::new();
        for (key, _) in pools {
            let name = (key.chain, key.pool.as_str());
            let minutes = self.of_name(Topic::PoolMinutes, &hints, name, |windows, name| {
                Ok(windows.last_of(name, from, to)?.into_iter().collect())
            })?;
            found.push(minutes.into_iter().next());
        }
        Ok(found)
    }

    /// Gives each pool to `each`, in key order of each partition, until it returns false.
    pub(super) fn each_pool(
        &self,
        stores: &Stores,
        mut each: impl FnMut(PoolKey, Pool) -> bool,
    ) -> Result<()> {
        for (_, store) in stores {
            let mut start = Vec::new();
            'pages: loop {
                let page = store.range(&start, &AFTER_ALL, PAGE)?;
                for (key, value) in &page {
                    let key = PoolKey::read(&mut avro::Reader::new(key));
                    let key = key.map_err(|error| Refusal::broken(&error))?;
                    let pool = self.service.codec.decode(value);
                    if !each(key, pool.map_err(|error| Refusal::broken(&error))?) {
                        break 'pages;
                    }
                }
                let Some((key, _)) = page.last().filter(|_| page.len() == PAGE) else { break };
                start.clone_from(key);
                start.push(0);
            }
        }
        Ok(())
    }

    /// 404 when no pool of the chain is here.
    pub(super) fn check_pool_chain(&self, chain: Option<i64>, stores: &Stores) -> Result<()> {
        let Some(chain) = chain else { return Ok(()) };
        let mut chains = BTreeSet::new();
        for (_, store) in stores {
            chains.extend(chains_of(store)?);
        }
        if chains.contains(&chain) {
            return Ok(());
        }
        Err(self.no_chain("pool", chain, &chains, stores))
    }

    /// The pool of that address; a refusal that names chains to choose from, or pools that are here.
    pub(super) fn only_pool(&mut self, chain: Option<i64>, pool: &str) -> Result<PoolKey> {
        let stores = self.swap_stores(Topic::Pools, "pools")?;
        self.check_pool_chain(chain, &stores)?;
        let (mut found, mut named) = (BTreeSet::new(), BTreeSet::new());
        for (_, store) in &stores {
            for candidate in chains_of(store)? {
                let is_asked = chain.is_none_or(|chain| chain == candidate);
                if is_asked && store.get(&name_key(candidate, pool))?.is_some() {
                    found.insert(candidate);
                }
            }
        }
        match (found.pop_last(), found.is_empty()) {
            (Some(chain), true) => return Ok(PoolKey::new(chain, pool)),
            (Some(last), false) => {
                found.insert(last);
                let chains = listed(&found);
                let reason = format!("{pool}: several chains have it: add chain, one of {chains}");
                return Err(Refusal::bad(reason));
            }
            (None, _) => {}
        }
        self.each_pool(&stores, |key, facts| {
            let symbols = [facts.symbol0, facts.symbol1].map(|symbol| symbol.unwrap_or("?".into()));
            let [one, other] = symbols;
            named.insert(format!("{} ({one}/{other}, chain {})", key.pool, key.chain));
            named.len() < MAX_NAMED
        })?;
        let hint = if named.is_empty() {
            "none has been announced yet: follow one with producer run --venue ethereum".to_owned()
        } else {
            let named: Vec<String> = named.into_iter().take(MAX_NAMED).collect();
            format!("there are {}; GET /v1/pools lists all", named.join(", "))
        };
        let reason = format!("{pool}: no partition of this member has this pool: {hint}");
        Err(self.without("pools", Refusal::not_found(reason), &stores))
    }

    /// The swaps of a transaction, by chain and log.
    pub(super) fn swaps_of(
        &mut self,
        chain: Option<i64>,
        tx_hash: &str,
    ) -> Result<Vec<(SwapStatusKey, SwapState)>> {
        let stores = self.swap_stores(Topic::SwapStatus, "swaps")?;
        let (mut found, mut chains) = (Vec::new(), BTreeSet::new());
        for (_, store) in &stores {
            let here = chains_of(store)?;
            for candidate in here.iter().filter(|one| chain.is_none_or(|chain| chain == **one)) {
                let from = name_key(*candidate, tx_hash);
                let to = store_keys::after_prefix(&from);
                // A transaction has no more logs than fit in a block.
                for (key, value) in store.range(&from, &to, usize::MAX)? {
                    let key = SwapStatusKey::read(&mut avro::Reader::new(&key));
                    let key = key.map_err(|error| Refusal::broken(&error))?;
                    let state = self.service.codec.decode(&value);
                    found.push((key, state.map_err(|error| Refusal::broken(&error))?));
                }
            }
            chains.extend(here);
        }
        found.sort_by(|(one, _), (other, _)| one.cmp(other));
        if !found.is_empty() {
            return Ok(found);
        }
        if let Some(chain) = chain.filter(|chain| !chains.contains(chain)) {
            return Err(self.no_chain("swap", chain, &chains, &stores));
        }
        let here = if chains.is_empty() { "none".to_owned() } else { listed(&chains) };
        let reason = format!(
            "{tx_hash}: no partition of this member has a swap of this transaction: statuses are \
             kept for 7 days, of the pools that are followed on the chains {here}; ask a view"
        );
        Err(self.without("swaps", Refusal::not_found(reason), &stores))
    }
}
