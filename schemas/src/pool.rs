//! Pools of a chain: their key and their facts.

use std::fmt;

use crate::Timestamp;
use crate::fields::{named_field, record};

crate::named! {
    /// The contract of a pool, which says how its swaps are read.
    #[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
    pub enum PoolProtocol {
        /// Reserves: a swap has amounts and no tick.
        UniswapV2 = "uniswap_v2",
        /// Concentrated liquidity: a swap has the price, the liquidity and the tick after it.
        #[default]
        UniswapV3 = "uniswap_v3",
    }
}
named_field!(PoolProtocol);

record! {
    /// One pool of a chain. With an empty pool it is the key of the chain's heads.
    #[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
    pub struct PoolKey {
        /// The chain id, as `eth_chainId` gives it.
        pub chain: i64,
        /// The address of the pool, lower-case 0x.
        pub pool: String,
    }
}

impl PoolKey {
    /// The pool of an address, which must be lower case already.
    pub fn new(chain: i64, pool: impl Into<String>) -> Self {
        Self { chain, pool: pool.into() }
    }

    /// The key of the heads of a chain.
    pub const fn of_chain(chain: i64) -> Self {
        Self { chain, pool: String::new() }
    }

    /// It is the key of heads.
    pub const fn is_chain(&self) -> bool {
        self.pool.is_empty()
    }
}

impl fmt::Display for PoolKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.chain, self.pool)
    }
}

record! {
    /// Facts of the pool in its key.
    #[derive(Clone, Debug, Default, PartialEq, Eq)]
    pub struct Pool {
        /// `uniswap_v2` or `uniswap_v3`.
        pub protocol: PoolProtocol,
        /// The address of the first token, lower-case 0x.
        pub token0: String,
        /// The address of the second token, lower-case 0x.
        pub token1: String,
        /// The fee of a swap, in millionths.
        pub fee: Option<i64>,
        /// The symbol of token0.
        pub symbol0: Option<String>,
        /// The symbol of token1.
        pub symbol1: Option<String>,
        /// Decimal digits of a whole token0.
        pub decimals0: Option<i64>,
        /// Decimal digits of a whole token1.
        pub decimals1: Option<i64>,
        /// 0 or 1: the token that is listed as a stablecoin in USD.
        pub usd_token: Option<i64>,
        /// When the facts were read.
        pub event_time: Timestamp,
        /// When we received them, by our clock.
        pub received_at: Timestamp,
    }
}
