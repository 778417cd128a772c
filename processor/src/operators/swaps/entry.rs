//! Decodes and checks records of `swaps`: bytes become entries, and invalid records become dead letters.
//!
//! | reason | condition |
//! |---|---|
//! | `corrupt`, `unknown_schema`, `tombstone` | as for `events` |
//! | `invalid_key` | the chain is not positive, the pool is no address, or a head's key has a pool |
//! | `bad_hash` | a hash or a token is not 0x and 64 or 40 lower-case hexadecimal digits |
//! | `bad_time` | as for `events`, of the block or of the facts |
//! | `bad_swap` | a number is negative, or the status does not fit the block |
//! | `bad_head` | the number is negative |
//! | `bad_pool` | both tokens are the same, decimals are not in 0..=255, or `usd_token` is neither 0 nor 1 |
//!
//! The operator refuses further records: `unknown_pool`, `pool_changed`, `late_swap`, `late_head`,
//! `too_many_swaps`, `too_many_chains`.

use schemas::{ChainHead, Codec, Kind, Pool, PoolKey, Swap, SwapStatus};
use streams::Failure;
use streams::record::SourceRecord;

use crate::operators::Result;
use crate::operators::entry::{check_time, failure};

/// A checked record of `swaps`.
#[derive(Clone, Debug)]
pub enum SwapEntry {
    /// A log of a pool.
    Swap(PoolKey, Box<Swap>),
    /// A block of a chain.
    Head(i64, ChainHead),
    /// The facts of a pool.
    Pool(PoolKey, Box<Pool>),
}

/// Decodes one record of `swaps`.
pub fn swap_entry(codec: &Codec, record: &SourceRecord<'_>) -> Result<SwapEntry, Failure> {
    let value = record.value.ok_or(Failure::Drop("tombstone"))?;
    let kind = codec.kind(value).map_err(failure)?;
    let key: PoolKey = codec.decode(record.key).map_err(failure)?;
    let is_head = kind == Some(Kind::ChainHead);
    let names_pool = is_hex(&key.pool, ADDRESS);
    if key.chain <= 0 || (is_head && !key.is_chain()) || (!is_head && !names_pool) {
        return Err(Failure::Drop("invalid_key"));
    }
    match kind {
        Some(Kind::Swap) => {
            let swap: Box<Swap> = Box::new(codec.decode(value).map_err(failure)?);
            check_swap(&swap, record)?;
            Ok(SwapEntry::Swap(key, swap))
        }
        Some(Kind::ChainHead) => {
            let head: ChainHead = codec.decode(value).map_err(failure)?;
            if head.block_number < 0 {
                return Err(Failure::Drop("bad_head"));
            }
            if !is_hex(&head.block_hash, HASH) || !is_hex(&head.parent_hash, HASH) {
                return Err(Failure::Drop("bad_hash"));
            }
            check_time(head.block_time, head.received_at, record)?;
            Ok(SwapEntry::Head(key.chain, head))
        }
        Some(Kind::Pool) => {
            let pool: Box<Pool> = Box::new(codec.decode(value).map_err(failure)?);
            check_pool(&pool, record)?;
            Ok(SwapEntry::Pool(key, pool))
        }
        _ => Err(Failure::Drop("corrupt")),
    }
}

/// Digits of an address.
const ADDRESS: usize = 40;
/// Digits of a hash.
const HASH: usize = 64;

fn is_hex(text: &str, digits: usize) -> bool {
    let is_digit = |byte: u8| matches!(byte, b'0'..=b'9' | b'a'..=b'f');
    text.strip_prefix("0x").is_some_and(|rest| rest.len() == digits && rest.bytes().all(is_digit))
}

fn check_swap(swap: &Swap, record: &SourceRecord<'_>) -> Result<(), Failure> {
    let hashes = [Some(&swap.tx_hash), swap.block_hash.as_ref()];
    if !hashes.into_iter().flatten().all(|hash| is_hex(hash, HASH)) {
        return Err(Failure::Drop("bad_hash"));
    }
    let places = [swap.block_number, swap.log_index];
    let is_in_block = places.iter().all(Option::is_some) && swap.block_hash.is_some();
    let is_sound = places.iter().flatten().all(|number| *number >= 0)
        && match swap.status {
            SwapStatus::Pending => swap.block_number.is_none(),
            SwapStatus::Included => is_in_block && swap.block_time.is_some(),
            SwapStatus::Removed => is_in_block,
            SwapStatus::Confirmed | SwapStatus::Final => false,
        };
    if !is_sound {
        return Err(Failure::Drop("bad_swap"));
    }
    check_time(swap.block_time.unwrap_or(swap.received_at), swap.received_at, record)
}

fn check_pool(pool: &Pool, record: &SourceRecord<'_>) -> Result<(), Failure> {
    if !is_hex(&pool.token0, ADDRESS) || !is_hex(&pool.token1, ADDRESS) {
        return Err(Failure::Drop("bad_hash"));
    }
    let mut decimals = [pool.decimals0, pool.decimals1].into_iter().flatten();
    let is_sound = pool.token0 != pool.token1
        && decimals.all(|digits| (0..=255).contains(&digits))
        && pool.usd_token.is_none_or(|token| matches!(token, 0 | 1));
    if !is_sound {
        return Err(Failure::Drop("bad_pool"));
    }
    check_time(pool.event_time, pool.received_at, record)
}
