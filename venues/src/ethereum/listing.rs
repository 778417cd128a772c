//! Pools of a file: one JSON object on a line.
//!
//! ```text
//! {"chain":1,"pool":"0x…","token0":"0x…","token1":"0x…"[,"fee":3000][,"symbol0":"USDC"]
//!  [,"symbol1":"WETH"][,"decimals0":6][,"decimals1":18][,"protocol":"uniswap_v2"][,"usd_token":0]}
//! ```
//!
//! Without a protocol the pool is of version 3. Without `usd_token` the built-in list of stablecoins
//! decides.

use std::borrow::Cow;

use schemas::pair::check_name;
use schemas::{Pool, PoolKey, PoolProtocol, Timestamp};
use serde::Deserialize;

use super::protocol::{address, json};
use super::stablecoins;
use crate::malformed::{Malformed, Result};

/// Decimal digits that a token may state: it is a `uint8`.
const MAX_DECIMALS: i64 = 255;
/// A fee of everything, in millionths.
const MAX_FEE: i64 = 1_000_000;

#[derive(Deserialize)]
struct Line<'a> {
    chain: Option<i64>,
    pool: Option<Cow<'a, str>>,
    protocol: Option<Cow<'a, str>>,
    token0: Option<Cow<'a, str>>,
    token1: Option<Cow<'a, str>>,
    fee: Option<i64>,
    symbol0: Option<String>,
    symbol1: Option<String>,
    decimals0: Option<i64>,
    decimals1: Option<i64>,
    usd_token: Option<i64>,
}

/// The pool of a line. Its times are 0: the follower sets those of the first frame.
///
/// ```
/// let line = r#"{"chain":1,"pool":"0x8AD599c3a0ff1de082011efddc58f1908eb6e6d8",
///     "token0":"0xa0b86991c6218b36c1d19d4a2e9eb0ce3606eb48",
///     "token1":"0xc02aaa39b223fe8d0a0e5c4f27ead9083c756cc2","fee":3000}"#;
/// let (key, pool) = venues::ethereum::listing::parse(line)?;
/// assert_eq!(key.to_string(), "1/0x8ad599c3a0ff1de082011efddc58f1908eb6e6d8");
/// assert_eq!((pool.fee, pool.usd_token, pool.symbol0), (Some(3000), Some(0), None));
/// # Ok::<(), venues::Malformed>(())
/// ```
///
/// # Errors
/// The line is no pool: a field is missing or cannot be read.
pub fn parse(line: &str) -> Result<(PoolKey, Pool)> {
    let line: Line<'_> = json(line)?;
    let chain = line.chain.ok_or(Malformed::MissingField("chain"))?;
    let chain = within("chain", Some(chain), 1, i64::MAX)?.unwrap_or(chain);
    let token0 = address("token0", line.token0.as_deref())?;
    let token1 = address("token1", line.token1.as_deref())?;
    let protocol = match line.protocol.as_deref() {
        None => PoolProtocol::UniswapV3,
        Some(name) => PoolProtocol::parse(name).ok_or(Malformed::BadField("protocol"))?,
    };
    let usd_token = within("usd_token", line.usd_token, 0, 1)?;
    let usd_token = usd_token.or_else(|| stablecoins::usd_token(chain, [&token0, &token1], &[]));
    let pool = Pool {
        protocol,
        fee: within("fee", line.fee, 0, MAX_FEE)?,
        symbol0: symbol("symbol0", line.symbol0)?,
        symbol1: symbol("symbol1", line.symbol1)?,
        decimals0: within("decimals0", line.decimals0, 0, MAX_DECIMALS)?,
        decimals1: within("decimals1", line.decimals1, 0, MAX_DECIMALS)?,
        usd_token,
        token0,
        token1,
        event_time: Timestamp(0),
        received_at: Timestamp(0),
    };
    Ok((PoolKey::new(chain, address("pool", line.pool.as_deref())?), pool))
}

fn within(field: &'static str, value: Option<i64>, from: i64, to: i64) -> Result<Option<i64>> {
    match value {
        Some(value) if !(from..=to).contains(&value) => Err(Malformed::BadField(field)),
        value => Ok(value),
    }
}

fn symbol(field: &'static str, name: Option<String>) -> Result<Option<String>> {
    match name {
        Some(name) if check_name(name.as_bytes()).is_err() => Err(Malformed::BadField(field)),
        name => Ok(name),
    }
}
