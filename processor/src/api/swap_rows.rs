//! The columns of answers about tokens, pools and swaps.
//!
//! They are the fields of the records under their own names. Amounts are exact integers in raw units.

use schemas::{
    Pool, PoolKey, PoolMinute, SwapState, SwapStatusKey, Timestamp, TokenBucket, TokenKey,
};

use super::columns::{Column, exact, number, text, time, whole};

/// A token with its swaps of one window.
pub(super) struct TokenRow {
    /// The token.
    pub(super) key: TokenKey,
    /// The sums of the window.
    pub(super) bucket: TokenBucket,
    /// Distinct pools; `None` where they cannot be counted.
    pub(super) pools: Option<i64>,
}

/// The fields of a token in a list.
pub(super) static TOKEN: &[Column<TokenRow>] = &[
    whole("chain", |row| Some(row.key.chain)),
    text("token", |row| Some(&row.key.token)),
    text("symbol", |row| row.bucket.symbol.as_deref()),
    whole("decimals", |row| row.bucket.decimals),
    whole("swaps", |row| Some(row.bucket.swaps)),
    exact("volume", |row| row.bucket.volume),
    number("volume_usd", |row| row.bucket.volume_usd),
    whole("unpriced_swaps", |row| Some(row.bucket.unpriced_swaps)),
    whole("pools", |row| row.pools),
    time("event_time", |row| Some(row.bucket.event_time)),
];

/// A bucket of a token.
pub(super) struct BucketRow {
    /// The first instant of the window.
    pub(super) open_time: Timestamp,
    /// Its sums.
    pub(super) bucket: TokenBucket,
    /// Distinct pools; `None` where they cannot be counted.
    pub(super) pools: Option<i64>,
}

/// The fields of a bucket.
pub(super) static BUCKET: &[Column<BucketRow>] = &[
    time("open_time", |row| Some(row.open_time)),
    whole("swaps", |row| Some(row.bucket.swaps)),
    exact("volume", |row| row.bucket.volume),
    number("volume_usd", |row| row.bucket.volume_usd),
    whole("unpriced_swaps", |row| Some(row.bucket.unpriced_swaps)),
    whole("pools", |row| row.pools),
    time("event_time", |row| Some(row.bucket.event_time)),
];

/// The name and the facts of a pool.
pub(super) struct PoolRow {
    /// The pool.
    pub(super) key: PoolKey,
    /// Its facts.
    pub(super) pool: Pool,
    /// Its newest minute, if it is of the last 24 hours.
    pub(super) minute: Option<PoolMinuteRow>,
}

/// The fields of a pool.
pub(super) static POOL: &[Column<PoolRow>] = &[
    whole("chain", |row| Some(row.key.chain)),
    text("pool", |row| Some(&row.key.pool)),
    text("protocol", |row| Some(row.pool.protocol.as_str())),
    text("token0", |row| Some(&row.pool.token0)),
    text("token1", |row| Some(&row.pool.token1)),
    whole("fee", |row| row.pool.fee),
    text("symbol0", |row| row.pool.symbol0.as_deref()),
    text("symbol1", |row| row.pool.symbol1.as_deref()),
    whole("decimals0", |row| row.pool.decimals0),
    whole("decimals1", |row| row.pool.decimals1),
    whole("usd_token", |row| row.pool.usd_token),
    time("event_time", |row| Some(row.pool.event_time)),
    time("received_at", |row| Some(row.pool.received_at)),
];

/// A minute of a pool.
pub(super) struct PoolMinuteRow {
    /// The first instant of the minute.
    pub(super) open_time: Timestamp,
    /// Its swaps.
    pub(super) minute: PoolMinute,
}

/// The fields of a pool's minute.
pub(super) static POOL_MINUTE: &[Column<PoolMinuteRow>] = &[
    time("open_time", |row| Some(row.open_time)),
    whole("swaps", |row| Some(row.minute.swaps)),
    exact("net_amount0", |row| row.minute.net_amount0),
    exact("net_amount1", |row| row.minute.net_amount1),
    exact("in_amount0", |row| row.minute.in_amount0),
    exact("in_amount1", |row| row.minute.in_amount1),
    whole("open_tick", |row| row.minute.open_tick),
    whole("high_tick", |row| row.minute.high_tick),
    whole("low_tick", |row| row.minute.low_tick),
    whole("close_tick", |row| row.minute.close_tick),
    number("open_price", |row| row.minute.open_price),
    number("high_price", |row| row.minute.high_price),
    number("low_price", |row| row.minute.low_price),
    number("close_price", |row| row.minute.close_price),
    exact("liquidity", |row| row.minute.liquidity),
    whole("open_block", |row| Some(row.minute.open_block)),
    whole("open_log_index", |row| Some(row.minute.open_log_index)),
    whole("close_block", |row| Some(row.minute.close_block)),
    whole("close_log_index", |row| Some(row.minute.close_log_index)),
    text("status", |row| Some(row.minute.status.as_str())),
    whole("revision", |row| Some(row.minute.revision)),
    time("event_time", |row| Some(row.minute.event_time)),
];

/// A swap of a transaction.
pub(super) struct SwapRow {
    /// Chain, transaction and log.
    pub(super) key: SwapStatusKey,
    /// Its status.
    pub(super) state: SwapState,
}

/// The fields of a swap. The log index of a pending swap is null.
pub(super) static SWAP: &[Column<SwapRow>] = &[
    whole("chain", |row| Some(row.key.chain)),
    text("tx_hash", |row| Some(&row.key.tx_hash)),
    whole("log_index", |row| log_index(&row.key)),
    text("status", |row| Some(row.state.status.as_str())),
    text("pool", |row| Some(&row.state.pool)),
    whole("block_number", |row| row.state.block_number),
    text("block_hash", |row| row.state.block_hash.as_deref()),
    exact("amount0", |row| Some(row.state.amount0)),
    exact("amount1", |row| Some(row.state.amount1)),
    time("block_time", |row| row.state.block_time),
    time("event_time", |row| Some(row.state.event_time)),
];

/// The place of a swap's log in its block; `None` while it is in no block.
pub(super) const fn log_index(key: &SwapStatusKey) -> Option<i64> {
    if key.log_index == SwapStatusKey::PENDING { None } else { Some(key.log_index) }
}
