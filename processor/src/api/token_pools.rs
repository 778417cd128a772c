//! The distinct pools of tokens in a span of buckets.
//!
//! The processor counts the pools of each bucket with a private store of swaps by bucket and pool. A
//! pool with swaps in several buckets counts once in a span, so a span is counted from that store and
//! not from the numbers of its buckets.

use std::collections::{BTreeMap, BTreeSet, HashSet};

use schemas::avro::Reader;
use schemas::topic::Topic;
use schemas::{Timestamp, TokenKey};
use streams::Retention;

use super::error::{Refusal, Result};
use super::read_service::ReadContext;
use super::swap_params::FIVE_MINUTES_MS;
use super::swap_reads::Span;
use crate::store_keys::{self, BUCKET_SEGMENTS, PREFIX};

/// Keys per page of a scan.
const PAGE: usize = 4096;
/// Bytes of a time in a store key.
const TIME: usize = 8;

/// A bucket and a pool that had swaps in it, of a key of the private store.
struct PoolOfBucket {
    token: TokenKey,
    open_time: Timestamp,
    length_ms: i64,
    pool: String,
}

impl PoolOfBucket {
    fn read(key: &[u8]) -> Option<Self> {
        let body = key.get(PREFIX..)?;
        let mut reader = Reader::new(body);
        let token = TokenKey::new(reader.long().ok()?, reader.string().ok()?);
        let end = key.len() - reader.rest().len() + TIME;
        let (_, open_time) = store_keys::read_spread_key(key.get(..end)?)?;
        let mut rest = Reader::new(key.get(end..)?);
        let length_ms = rest.long().ok()?;
        Some(Self { token, open_time, length_ms, pool: rest.string().ok()?.to_owned() })
    }
}

impl ReadContext<'_> {
    /// The distinct pools of each of these tokens in a span of five-minute buckets; `None` when the
    /// private store is not here.
    pub(super) fn distinct_pools(
        &mut self,
        span: Span,
        tokens: &BTreeSet<&TokenKey>,
    ) -> Result<Option<BTreeMap<TokenKey, i64>>> {
        let stores = self.partitions_of(Topic::TokenPools);
        if stores.len() < self.service.queries.stores(Topic::Token5m.base_name()).len() {
            return Ok(None);
        }
        let last = store_keys::segment(BUCKET_SEGMENTS, Timestamp(span.until.0.saturating_sub(1)));
        let to = Retention::first_key(last.saturating_add(1));
        let mut pools = HashSet::new();
        for (_, store) in &stores {
            let mut from = store_keys::segment_prefix(BUCKET_SEGMENTS, span.from).to_vec();
            loop {
                let page = store.range(&from, &to, PAGE)?;
                for (key, _) in &page {
                    let one = PoolOfBucket::read(key)
                        .ok_or_else(|| Refusal::broken(&"a key of the pools of a bucket"))?;
                    let is_within = span.from <= one.open_time && one.open_time < span.until;
                    if is_within && one.length_ms == FIVE_MINUTES_MS && tokens.contains(&one.token)
                    {
                        pools.insert((one.token, one.pool));
                    }
                }
                let Some((key, _)) = page.last().filter(|_| page.len() == PAGE) else { break };
                from.clone_from(key);
                from.push(0);
            }
        }
        let mut counts: BTreeMap<TokenKey, i64> =
            tokens.iter().map(|token| ((*token).clone(), 0)).collect();
        for (token, _) in pools {
            *counts.entry(token).or_default() += 1;
        }
        Ok(Some(counts))
    }
}
