//! The status of a transaction's swap, and its key.

use std::fmt;

use crate::fields::record;
use crate::{Integer, SwapStatus, Timestamp};

record! {
    /// One log of a transaction.
    #[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
    pub struct SwapStatusKey {
        /// The chain id, as `eth_chainId` gives it.
        pub chain: i64,
        /// The transaction, lower-case 0x.
        pub tx_hash: String,
        /// Place of the log in its block; -1 while pending.
        pub log_index: i64,
    }
}

impl SwapStatusKey {
    /// The log index of a swap that is in no block.
    pub const PENDING: i64 = -1;
}

impl fmt::Display for SwapStatusKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}/{}", self.chain, self.tx_hash, self.log_index)
    }
}

record! {
    /// The status of the swap in its key.
    #[derive(Clone, Debug, Default, PartialEq, Eq)]
    pub struct SwapState {
        /// PENDING, INCLUDED, CONFIRMED, FINAL or REMOVED.
        pub status: SwapStatus,
        /// The address of the pool.
        pub pool: String,
        /// Null while pending.
        pub block_number: Option<i64>,
        /// Null while pending.
        pub block_hash: Option<String>,
        /// Of token0, in raw units, in the view of the pool.
        pub amount0: Integer,
        /// Of token1, in raw units, in the view of the pool.
        pub amount1: Integer,
        /// Of the block; null while pending.
        pub block_time: Option<Timestamp>,
        /// Block time of the swap or of the head that changed the status; of a pending swap the
        /// time of receipt.
        pub event_time: Timestamp,
    }
}
