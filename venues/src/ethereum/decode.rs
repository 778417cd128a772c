//! Logs become swaps.
//!
//! ```text
//! version 3  topics  Swap(…), sender, recipient   data  amount0, amount1, sqrtPriceX96, liquidity, tick
//! version 2  topics  Swap(…), sender, to          data  amount0In, amount1In, amount0Out, amount1Out
//! ```

use std::borrow::Cow;

use alloy_primitives::{Address, B256};
use alloy_sol_types::SolEvent;
use schemas::{Integer, PoolProtocol, Swap, SwapStatus, Timestamp};
use serde::Deserialize;

use super::abi::{V2, V3};
use super::protocol::{address, data, hash, quantity, time, word};
use crate::malformed::{Malformed, Result};

/// The first topics of swaps: those of version 3 and of version 2.
pub(super) const TOPICS: [B256; 2] = [V3::Swap::SIGNATURE_HASH, V2::Swap::SIGNATURE_HASH];

/// The event, the sender and the receiver.
const TOPICS_OF_SWAP: usize = 3;
/// Bytes of a word of data.
const WORD: usize = 32;

/// A log as a node sends it.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
#[expect(clippy::struct_field_names, reason = "the names of JSON-RPC")]
pub(super) struct Log<'a> {
    address: Option<Cow<'a, str>>,
    #[serde(borrow, default)]
    topics: Vec<Cow<'a, str>>,
    data: Option<Cow<'a, str>>,
    block_number: Option<Cow<'a, str>>,
    block_hash: Option<Cow<'a, str>>,
    block_timestamp: Option<Cow<'a, str>>,
    transaction_hash: Option<Cow<'a, str>>,
    log_index: Option<Cow<'a, str>>,
    #[serde(default)]
    removed: bool,
}

impl Log<'_> {
    /// The contract, in lower case.
    pub(super) fn address(&self) -> Result<String> {
        address("address", self.address.as_deref())
    }

    /// The protocol of the swap; `None` when the log is of another event.
    pub(super) fn protocol(&self) -> Result<Option<PoolProtocol>> {
        let Some(first) = self.topics.first() else { return Ok(None) };
        let first = word("topics", first)?;
        Ok([PoolProtocol::UniswapV3, PoolProtocol::UniswapV2]
            .into_iter()
            .zip(TOPICS)
            .find_map(|(protocol, topic)| (topic == first).then_some(protocol)))
    }

    /// The swap. Its time is that of the log, where the node sends it.
    pub(super) fn swap(&self, protocol: PoolProtocol, received_at: Timestamp) -> Result<Swap> {
        let swap = self.placed(received_at)?;
        let words = match protocol {
            PoolProtocol::UniswapV3 => 5,
            PoolProtocol::UniswapV2 => 4,
        };
        let data = data("data", self.data.as_deref())?;
        if self.topics.len() != TOPICS_OF_SWAP || data.len() != words * WORD {
            return Err(Malformed::BadLog { topics: self.topics.len(), bytes: data.len() });
        }
        let topics = self.topics.iter().map(|topic| word("topics", topic));
        let topics = topics.collect::<Result<Vec<_>>>()?;
        let bad = || Malformed::BadLog { topics: topics.len(), bytes: data.len() };
        Ok(match protocol {
            PoolProtocol::UniswapV3 => {
                let event = V3::Swap::decode_raw_log_validate(topics.iter().copied(), &data);
                of_version_3(&event.map_err(|_| bad())?, swap)
            }
            PoolProtocol::UniswapV2 => {
                let event = V2::Swap::decode_raw_log_validate(topics.iter().copied(), &data);
                of_version_2(&event.map_err(|_| bad())?, swap).ok_or_else(bad)?
            }
        })
    }

    /// A swap with its place in the chain and nothing else. A log without a block is pending.
    fn placed(&self, received_at: Timestamp) -> Result<Swap> {
        let tx_hash = hash("transactionHash", self.transaction_hash.as_deref())?;
        let pending = Swap { tx_hash, received_at, ..Swap::default() };
        let place = [&self.block_number, &self.block_hash, &self.log_index];
        if place.iter().all(|field| field.is_none()) && !self.removed {
            return Ok(pending);
        }
        let block_time = self.block_timestamp.as_deref();
        Ok(Swap {
            log_index: Some(quantity("logIndex", self.log_index.as_deref())?),
            block_number: Some(quantity("blockNumber", self.block_number.as_deref())?),
            block_hash: Some(hash("blockHash", self.block_hash.as_deref())?),
            block_time: block_time.map(|text| time("blockTimestamp", Some(text))).transpose()?,
            status: if self.removed { SwapStatus::Removed } else { SwapStatus::Included },
            ..pending
        })
    }
}

fn of_version_3(event: &V3::Swap, swap: Swap) -> Swap {
    Swap {
        sender: text(event.sender),
        recipient: Some(text(event.recipient)),
        amount0: Integer::from_i256(event.amount0),
        amount1: Integer::from_i256(event.amount1),
        sqrt_price_x96: Some(Integer::from_u256(event.sqrtPriceX96.to())),
        liquidity: Some(Integer::from_u256(alloy_primitives::U256::from(event.liquidity))),
        tick: Some(i64::from(event.tick.as_i32())),
        ..swap
    }
}

/// The pool's view: in less out. `None` beyond 78 digits, which two numbers of 256 bits never reach.
fn of_version_2(event: &V2::Swap, swap: Swap) -> Option<Swap> {
    let net = |[into, out]: [alloy_primitives::U256; 2]| {
        Integer::from_u256(into).checked_sub(Integer::from_u256(out))
    };
    Some(Swap {
        sender: text(event.sender),
        recipient: Some(text(event.to)),
        amount0: net([event.amount0In, event.amount0Out])?,
        amount1: net([event.amount1In, event.amount1Out])?,
        ..swap
    })
}

fn text(address: Address) -> String {
    format!("{address:#x}")
}
