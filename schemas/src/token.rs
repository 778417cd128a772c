//! The volume of a token over all pools: keys, buckets and the legs that they are made of.

use std::fmt;

use crate::fields::record;
use crate::{Decimal, Integer, Timestamp};

record! {
    /// One token of a chain.
    #[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
    pub struct TokenKey {
        /// The chain id, as `eth_chainId` gives it.
        pub chain: i64,
        /// The address of the token, lower-case 0x.
        pub token: String,
    }
}

impl TokenKey {
    /// The token of an address, which must be lower case already.
    pub fn new(chain: i64, token: impl Into<String>) -> Self {
        Self { chain, token: token.into() }
    }
}

impl fmt::Display for TokenKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.chain, self.token)
    }
}

record! {
    /// One window of one token: it covers [`open_time`, `open_time` + the topic's interval), UTC.
    #[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
    pub struct TokenBucketKey {
        /// The chain id, as `eth_chainId` gives it.
        pub chain: i64,
        /// The address of the token, lower-case 0x.
        pub token: String,
        /// The first instant of the window.
        pub open_time: Timestamp,
    }
}

impl TokenBucketKey {
    /// The window of a token that begins at `open_time`.
    pub fn new(token: &TokenKey, open_time: Timestamp) -> Self {
        Self { chain: token.chain, token: token.token.clone(), open_time }
    }

    /// The token.
    pub fn token_key(&self) -> TokenKey {
        TokenKey::new(self.chain, self.token.as_str())
    }
}

impl fmt::Display for TokenBucketKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}/{}", self.chain, self.token, self.open_time)
    }
}

record! {
    /// The swaps of a token in one window of block time, of the canonical chain.
    #[derive(Clone, Debug, Default, PartialEq, Eq)]
    pub struct TokenBucket {
        /// Swaps counted.
        pub swaps: i64,
        /// Sum of the magnitudes of the amounts, in raw units; null when it has more than 78
        /// digits.
        pub volume: Option<Integer>,
        /// Pools with such a swap.
        pub pools: i64,
        /// In USD, of the swaps against a listed stablecoin; null without one.
        pub volume_usd: Option<Decimal>,
        /// Swaps without a value in USD.
        pub unpriced_swaps: i64,
        /// The symbol of the token.
        pub symbol: Option<String>,
        /// Decimal digits of a whole token.
        pub decimals: Option<i64>,
        /// Block time of the last swap.
        pub event_time: Timestamp,
    }
}

record! {
    /// One side of a swap, added to or taken from the buckets of the token in its key.
    #[derive(Clone, Debug, Default, PartialEq, Eq)]
    pub struct TokenLeg {
        /// The address of the pool.
        pub pool: String,
        /// The block of the swap.
        pub block_hash: String,
        /// Place of the log in its block.
        pub log_index: i64,
        /// 1 adds, -1 takes back.
        pub sign: i64,
        /// The magnitude of the amount, in raw units.
        pub amount: Integer,
        /// Its value in USD, from a listed stablecoin.
        pub usd: Option<Decimal>,
        /// The symbol of the token.
        pub symbol: Option<String>,
        /// Decimal digits of a whole token.
        pub decimals: Option<i64>,
        /// Of the block.
        pub block_time: Timestamp,
    }
}
