//! `processor query tokens`, `token`, `pool` and `swap`: swaps of a chain as people read them.
//!
//! Volumes and amounts are exact integers in raw units, as the chain has them.

use std::io::Write;

use anyhow::Result;

use super::options::{asked, segment};
use super::pages::{PAGE, Pages};
use super::{rows, table};
use crate::config::{PoolQuery, SwapQuery, TokenQuery, TokensQuery};

/// The server's maximum of tokens per answer.
const MAX_TOKENS: u32 = 1_000;
/// The window that is one row and has no range.
const DAY: &str = "24h";
const TOKENS: [&str; 8] =
    ["symbol", "token", "chain", "volume_usd", "volume", "swaps", "unpriced_swaps", "pools"];
const BUCKETS: [&str; 6] =
    ["open_time", "swaps", "volume", "volume_usd", "unpriced_swaps", "pools"];
const MINUTES: [&str; 10] = [
    "open_time",
    "swaps",
    "net_amount0",
    "net_amount1",
    "open_price",
    "high_price",
    "low_price",
    "close_price",
    "status",
    "revision",
];
const SWAPS: [&str; 8] =
    ["chain", "log_index", "status", "pool", "amount0", "amount1", "block_number", "block_time"];

/// The parameters that are given.
fn given<const N: usize>(
    parameters: [(&'static str, &Option<String>); N],
) -> Vec<(&'static str, String)> {
    parameters.into_iter().filter_map(|(name, value)| Some((name, value.clone()?))).collect()
}

/// Prints tokens by volume.
pub(super) fn tokens(wanted: &TokensQuery, out: &mut impl Write) -> Result<()> {
    let mut parameters = given([("chain", &wanted.chain)]);
    parameters.push(("window", wanted.window.clone()));
    let (path, rows, columns) = ("/v1/tokens", "tokens", &TOKENS);
    let pages = Pages { path, rows, columns, parameters, page: MAX_TOKENS };
    pages.print(&wanted.source, wanted.limit, out)
}

/// Prints the buckets of a token.
pub(super) fn token(wanted: &TokenQuery, out: &mut impl Write) -> Result<()> {
    let path = format!("/v1/tokens/{}", segment(&wanted.token));
    let ranged = [("chain", &wanted.chain), ("from", &wanted.from), ("to", &wanted.to)];
    if wanted.window == DAY {
        let [chain, from, to] = ranged.map(|(name, value)| (name, value.as_deref()));
        let parameters = [("window", Some(DAY)), chain, from, to];
        let Some(answer) = asked(&wanted.source, &path, &parameters, out)? else { return Ok(()) };
        return Ok(table::write(&BUCKETS, rows(&answer, "buckets"), out)?);
    }
    let mut parameters = given(ranged);
    parameters.push(("window", wanted.window.clone()));
    let pages = Pages { path: &path, rows: "buckets", columns: &BUCKETS, parameters, page: PAGE };
    pages.print(&wanted.source, wanted.limit, out)
}

/// Prints the minutes of a pool.
pub(super) fn pool(wanted: &PoolQuery, out: &mut impl Write) -> Result<()> {
    let path = format!("/v1/pools/{}/candles", segment(&wanted.pool));
    let parameters = given([("chain", &wanted.chain), ("from", &wanted.from), ("to", &wanted.to)]);
    let pages = Pages { path: &path, rows: "candles", columns: &MINUTES, parameters, page: PAGE };
    pages.print(&wanted.source, wanted.limit, out)
}

/// Prints the swaps of a transaction.
pub(super) fn swap(wanted: &SwapQuery, out: &mut impl Write) -> Result<()> {
    let path = format!("/v1/swaps/{}", segment(&wanted.tx));
    let parameters = [("chain", wanted.chain.as_deref())];
    let Some(answer) = asked(&wanted.source, &path, &parameters, out)? else { return Ok(()) };
    Ok(table::write(&SWAPS, rows(&answer, "swaps"), out)?)
}
