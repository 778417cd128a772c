//! The lines of the truth: each block when it is made, with its swaps, and each change of the head.
//!
//! The canonical chain is the head of the last line that names one, and its parents.

use serde_json::{Value, json};

use super::chain::{Block, Log, LogBody, Transaction};
use super::pool::{Pool, Protocol};

/// A block with its swaps.
pub(super) fn block(block: &Block, pools: &[Pool]) -> String {
    let swaps: Vec<Value> = block.logs.iter().filter_map(|log| swap(log, pools)).collect();
    json!({"block": block.number, "hash": block.hash, "parent_hash": block.parent,
        "time_s": block.time_s, "swaps": swaps})
    .to_string()
}

/// The head is another block.
pub(super) fn head(block: &Block) -> String {
    json!({"head": block.hash, "number": block.number}).to_string()
}

/// A transaction was announced as pending.
pub(super) fn pending(transaction: &Transaction) -> String {
    json!({"pending": transaction.hash}).to_string()
}

fn swap(log: &Log, pools: &[Pool]) -> Option<Value> {
    let LogBody::Swap(swap) = &log.body else { return None };
    let pool = &pools[log.pool];
    let mut line = json!({"tx_hash": log.transaction, "log_index": log.index, "pool": pool.address,
        "amount0": swap.amounts[0], "amount1": swap.amounts[1]});
    if pool.protocol == Protocol::V3 {
        line["sqrt_price_x96"] = swap.sqrt_price_x96.to_string().into();
        line["liquidity"] = swap.liquidity.to_string().into();
        line["tick"] = swap.tick.into();
    }
    Some(line)
}
