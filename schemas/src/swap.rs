//! Swaps of pools and heads of chains, as a node announces them.
//!
//! The instance of a swap is its block hash and log index: after a reorganisation the same
//! transaction may stand in another block, with another log index, or nowhere.

use crate::fields::{named_field, record};
use crate::{Integer, Timestamp};

crate::named! {
    /// How far a swap can be relied on.
    #[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
    pub enum SwapStatus {
        /// In no block.
        #[default]
        Pending = "PENDING",
        /// In a block, with fewer confirmations than asked.
        Included = "INCLUDED",
        /// As many blocks on top as asked.
        Confirmed = "CONFIRMED",
        /// No reorganisation is expected to reach it: 64 blocks behind the head.
        Final = "FINAL",
        /// A reorganisation took its block away.
        Removed = "REMOVED",
    }
}
named_field!(SwapStatus);

record! {
    /// One log of a swap of the pool in its key. Amounts are in raw token units, in the view of the
    /// pool: positive flows in.
    #[derive(Clone, Debug, Default, PartialEq, Eq)]
    pub struct Swap {
        /// The transaction, lower-case 0x.
        pub tx_hash: String,
        /// Place of the log in its block; null while pending.
        pub log_index: Option<i64>,
        /// Null while pending.
        pub block_number: Option<i64>,
        /// Null while pending. With `log_index` it identifies the instance.
        pub block_hash: Option<String>,
        /// PENDING, INCLUDED or REMOVED.
        pub status: SwapStatus,
        /// The caller of the pool.
        pub sender: String,
        /// The receiver of the output.
        pub recipient: Option<String>,
        /// Of token0.
        pub amount0: Integer,
        /// Of token1.
        pub amount1: Integer,
        /// The square root of the price after the swap, times 2^96; null for `uniswap_v2`.
        pub sqrt_price_x96: Option<Integer>,
        /// In range after the swap; null for `uniswap_v2`.
        pub liquidity: Option<Integer>,
        /// After the swap; null for `uniswap_v2`.
        pub tick: Option<i64>,
        /// Of the block; null while pending.
        pub block_time: Option<Timestamp>,
        /// When we received it, by our clock.
        pub received_at: Timestamp,
    }
}

record! {
    /// A block that a node announced as the head of its chain. Its key is a `PoolKey` with an empty
    /// pool.
    #[derive(Clone, Debug, Default, PartialEq, Eq)]
    pub struct ChainHead {
        /// The number of the block.
        pub block_number: i64,
        /// Its hash, lower-case 0x.
        pub block_hash: String,
        /// The hash of the block before it.
        pub parent_hash: String,
        /// Its time, by the chain.
        pub block_time: Timestamp,
        /// When we received it, by our clock.
        pub received_at: Timestamp,
    }
}
