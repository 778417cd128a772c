//! Chains of the Ethereum family: swaps of Uniswap pools, over JSON-RPC on a WebSocket.
//!
//! ```text
//! eth_subscribe newHeads ─→ {number, hash, parentHash, timestamp} ─→ Output::Head
//! eth_subscribe logs ─────→ {address, topics, data, block…, removed} ─→ Output::Swap
//! eth_getLogs, eth_getBlockBy… ─→ what an outage or a gap of heads has hidden
//! eth_call ─→ tokens, fee, decimals, symbols of a pool ─→ Output::Pool
//! ```
//!
//! [`Follower`] is the state machine of one node: text frames in, records and requests out. It has no
//! socket and no clock, so a recording takes the same path.
//!
//! This venue is not a [`Venue`](crate::Venue): it has no products, no trades and no books, and so no
//! [`Adapter`](crate::Adapter).
//!
//! # Rules of bad input
//!
//! | input | effect |
//! |---|---|
//! | not JSON, no JSON-RPC | dead letter `not_json` |
//! | a field that is missing or cannot be read | dead letter `missing_field`, `bad_field` |
//! | a swap with other topics or another data length, or of the other protocol | dead letter `bad_log` |
//! | a swap of a pool that is not followed | dead letter `unknown_pool` |
//! | a head or a log before the chain is known | dead letter `unknown_chain` |
//! | a log whose block the node does not know, or too many logs that wait | dead letter `unknown_block` |
//! | an error as answer | dead letter `rpc`, [`Notice::Failed`] |
//! | a log of another event, a block before the start, the newest head again, an answer or a subscription that was not asked for | none, [`Notice::Ignored`] |
//! | a removal of a swap that never came, the same swap twice | published: the processor counts instances |
//! | another chain than asked | nothing is published, [`Notice::WrongChain`] |
//! | a pool whose tokens cannot be read | left out, [`Notice::PoolRefused`] |
//!
//! # What this does not do
//!
//! It proves no block: what the node says of its chain is taken as it is.

mod abi;
mod backfill;
mod blocks;
mod decode;
mod follower;
mod held;
pub mod listing;
mod notice;
mod pools;
mod protocol;
mod requests;
mod stablecoins;

#[cfg(test)]
mod follower_tests;
#[cfg(test)]
mod node_tests;
#[cfg(test)]
mod pools_tests;
#[cfg(test)]
mod recorded_tests;

pub use follower::{Follower, FollowerConfig};
pub use notice::{NoEffect, Notice};

/// The name in captures, dead letters and metrics.
pub const NAME: &str = crate::venue::ETHEREUM;

/// Blocks behind the highest head that no reorganisation is expected to reach: two epochs of
/// Ethereum.
const FINAL: i64 = 64;
