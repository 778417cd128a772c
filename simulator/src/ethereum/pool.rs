//! The tokens and pools of the simulated chain.
//!
//! The first pools are always the same: the addresses of the tokens are those of the main chain, so a
//! client's list of stablecoins has two of them. `--pools` adds further ones with tokens of their own.

use serde_json::{Value, json};

use super::word;

schemas::named! {
    /// The contract of a pool.
    #[derive(Clone, Copy, Debug, PartialEq, Eq)]
    pub enum Protocol {
        /// Uniswap v2.
        V2 = "uniswap_v2",
        /// Uniswap v3.
        V3 = "uniswap_v3",
    }
}

/// A token.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Token {
    /// Its address, in lower case.
    pub address: String,
    /// Its symbol.
    pub symbol: String,
    /// Its decimals.
    pub decimals: u8,
    /// `symbol()` returns `bytes32` in place of a string.
    pub has_short_symbol: bool,
}

/// A pool.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Pool {
    /// Its address, in lower case.
    pub address: String,
    /// Its contract.
    pub protocol: Protocol,
    /// The token with the lower address.
    pub token0: Token,
    /// The other one.
    pub token1: Token,
    /// The fee in millionths; v2 has none to ask for.
    pub fee: u32,
    /// The tick at which the walk begins.
    pub tick: i32,
    /// Digits of the amounts of token 0, at most.
    pub digits: u32,
}

const USDC: (&str, &str, u8) = ("0xa0b86991c6218b36c1d19d4a2e9eb0ce3606eb48", "USDC", 6);
const WETH: (&str, &str, u8) = ("0xc02aaa39b223fe8d0a0e5c4f27ead9083c756cc2", "WETH", 18);
const USDT: (&str, &str, u8) = ("0xdac17f958d2ee523a2206206994597c13d831ec7", "USDT", 6);
/// A token whose symbol is `bytes32`.
const MKR: (&str, &str, u8) = ("0x9f8f72aa9304c8b593d555f12ef6589cc3a579a2", "MKR", 18);
/// A token of the simulator with amounts beyond 2^128.
const VAST: (&str, &str, u8) = ("0x1111111111111111111111111111111111111111", "VAST", 18);

/// Protocol, tokens, fee, first tick and digits of amounts of the pools that every chain has.
type Template =
    (Protocol, (&'static str, &'static str, u8), (&'static str, &'static str, u8), u32, i32, u32);

const TEMPLATES: [Template; 6] = [
    // 2,300 dollars for an ether.
    (Protocol::V3, USDC, WETH, 500, 198_900, 11),
    (Protocol::V3, USDC, WETH, 3000, 198_900, 11),
    (Protocol::V2, WETH, USDT, 3000, -198_900, 19),
    (Protocol::V3, MKR, WETH, 3000, -3_000, 20),
    (Protocol::V3, VAST, USDC, 10_000, -600_000, 42),
    (Protocol::V2, USDC, USDT, 3000, 0, 11),
];
/// The kinds of made-up addresses.
const POOL: u64 = 11;
const TOKEN: u64 = 12;

impl Token {
    fn of((address, symbol, decimals): (&str, &str, u8)) -> Self {
        let has_short_symbol = symbol == MKR.1;
        Self { address: address.into(), symbol: symbol.into(), decimals, has_short_symbol }
    }
}

impl Pool {
    /// The pools of a chain, so many of them.
    pub fn all(count: usize) -> Vec<Self> {
        (0..count).map(Self::numbered).collect()
    }

    fn numbered(index: usize) -> Self {
        let number = u64::try_from(index).unwrap_or_default();
        let address = word::account(POOL, number);
        if let Some((protocol, token0, token1, fee, tick, digits)) = TEMPLATES.get(index).copied() {
            let (token0, token1) = (Token::of(token0), Token::of(token1));
            return Self { address, protocol, token0, token1, fee, tick, digits };
        }
        let made = Token {
            address: word::account(TOKEN, number),
            symbol: format!("T{index}"),
            decimals: 18,
            has_short_symbol: false,
        };
        let other = Token::of(WETH);
        let (token0, token1) =
            if made.address < other.address { (made, other) } else { (other, made) };
        Self { address, protocol: Protocol::V3, token0, token1, fee: 3000, tick: 0, digits: 19 }
    }

    /// The line of the pool in a listing.
    pub fn listing(&self, chain: u64) -> Value {
        json!({"chain": chain, "pool": self.address, "protocol": self.protocol.as_str(),
            "token0": self.token0.address, "token1": self.token1.address, "fee": self.fee,
            "symbol0": self.token0.symbol, "symbol1": self.token1.symbol,
            "decimals0": self.token0.decimals, "decimals1": self.token1.decimals})
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tokens_are_in_the_order_of_their_addresses() {
        let pools = Pool::all(40);
        assert!(pools.iter().all(|pool| pool.token0.address < pool.token1.address));
        let addresses: std::collections::BTreeSet<_> =
            pools.iter().map(|pool| &pool.address).collect();
        assert_eq!(addresses.len(), 40);
        assert!(pools.iter().all(|pool| pool.address.len() == 42));
    }
}
