//! The swaps of a pool in a minute, and its key.

use std::fmt;

use crate::fields::{named_field, record};
use crate::{Decimal, Integer, PoolKey, Timestamp};

crate::named! {
    /// Whether a reorganisation may still change the minute.
    #[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
    pub enum MinuteStatus {
        /// It may.
        #[default]
        Open = "OPEN",
        /// All of the minute is behind the final block.
        Final = "FINAL",
    }
}
named_field!(MinuteStatus);

record! {
    /// One minute of one pool: it covers [`open_time`, `open_time` + 1 minute), UTC.
    #[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
    pub struct PoolMinuteKey {
        /// The chain id, as `eth_chainId` gives it.
        pub chain: i64,
        /// The address of the pool, lower-case 0x.
        pub pool: String,
        /// The first instant of the minute.
        pub open_time: Timestamp,
    }
}

impl PoolMinuteKey {
    /// The minute of a pool that begins at `open_time`.
    pub fn new(pool: &PoolKey, open_time: Timestamp) -> Self {
        Self { chain: pool.chain, pool: pool.pool.clone(), open_time }
    }

    /// The pool.
    pub fn pool_key(&self) -> PoolKey {
        PoolKey::new(self.chain, self.pool.as_str())
    }
}

impl fmt::Display for PoolMinuteKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}/{}", self.chain, self.pool, self.open_time)
    }
}

record! {
    /// The swaps of a pool in one minute of block time, of the canonical chain. Amounts are in raw
    /// token units, in the view of the pool.
    #[derive(Clone, Debug, Default, PartialEq, Eq)]
    pub struct PoolMinute {
        /// Swaps counted.
        pub swaps: i64,
        /// Sum of amount0; null when it has more than 78 digits.
        pub net_amount0: Option<Integer>,
        /// Sum of amount1; null when it has more than 78 digits.
        pub net_amount1: Option<Integer>,
        /// Sum of the positive amount0; null when it has more than 78 digits.
        pub in_amount0: Option<Integer>,
        /// Sum of the positive amount1; null when it has more than 78 digits.
        pub in_amount1: Option<Integer>,
        /// After the first swap by block and log index; null for `uniswap_v2`.
        pub open_tick: Option<i64>,
        /// The highest.
        pub high_tick: Option<i64>,
        /// The lowest.
        pub low_tick: Option<i64>,
        /// After the last swap.
        pub close_tick: Option<i64>,
        /// Of one whole token0 in whole token1, after the first swap; of `uniswap_v2` the price of
        /// the swap. Null when decimals are unknown or it is out of range.
        pub open_price: Option<Decimal>,
        /// The highest.
        pub high_price: Option<Decimal>,
        /// The lowest.
        pub low_price: Option<Decimal>,
        /// After the last swap.
        pub close_price: Option<Decimal>,
        /// In range after the last swap; null for `uniswap_v2`.
        pub liquidity: Option<Integer>,
        /// Block of the first swap.
        pub open_block: i64,
        /// Log index of the first swap.
        pub open_log_index: i64,
        /// Block of the last swap.
        pub close_block: i64,
        /// Log index of the last swap.
        pub close_log_index: i64,
        /// OPEN, or FINAL when no reorganisation can change it.
        pub status: MinuteStatus,
        /// Removals that changed it.
        pub revision: i64,
        /// Block time of the last swap.
        pub event_time: Timestamp,
    }
}
