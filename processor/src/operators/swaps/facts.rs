//! The facts of a pool: what they make of a swap, and which of them may change.

use schemas::{Decimal, Pool, PoolProtocol, Swap, TokenKey, TokenLeg, price};

use super::instance::{Instance, InstanceKey};

/// The price of the pool after a swap; of version 2 that of the swap.
pub(super) fn price_after(pool: &Pool, swap: &Swap) -> Option<Decimal> {
    let (decimals0, decimals1) = (pool.decimals0?, pool.decimals1?);
    match pool.protocol {
        PoolProtocol::UniswapV3 => price::of_root(swap.sqrt_price_x96?, decimals0, decimals1),
        PoolProtocol::UniswapV2 => {
            price::of_amounts((swap.amount0, decimals0), (swap.amount1, decimals1))
        }
    }
}

/// The value of a swap in USD: the amount of the token that is a listed stablecoin.
pub(super) fn usd(pool: &Pool, swap: &Swap) -> Option<Decimal> {
    match pool.usd_token? {
        0 => price::whole(swap.amount0, pool.decimals0?),
        _ => price::whole(swap.amount1, pool.decimals1?),
    }
}

/// The facts with those of a new record: a fact that it does not state stays. `None` when it contradicts
/// what swaps have been computed with.
pub(super) fn learn(known: &Pool, told: &Pool) -> Option<Pool> {
    let differs = |known: Option<i64>, told: Option<i64>| {
        known.zip(told).is_some_and(|(known, told)| known != told)
    };
    let contradicts = known.protocol != told.protocol
        || known.token0 != told.token0
        || known.token1 != told.token1
        || differs(known.decimals0, told.decimals0)
        || differs(known.decimals1, told.decimals1);
    if contradicts {
        return None;
    }
    let mut pool = if told.event_time < known.event_time { known.clone() } else { told.clone() };
    let other = if told.event_time < known.event_time { told } else { known };
    pool.fee = pool.fee.or(other.fee);
    pool.symbol0 = pool.symbol0.or_else(|| other.symbol0.clone());
    pool.symbol1 = pool.symbol1.or_else(|| other.symbol1.clone());
    pool.decimals0 = pool.decimals0.or(other.decimals0);
    pool.decimals1 = pool.decimals1.or(other.decimals1);
    pool.usd_token = pool.usd_token.or(other.usd_token);
    Some(pool)
}

/// Both sides of a swap, added (1) or taken back (−1).
pub(super) fn legs(
    pool: &Pool,
    key: &InstanceKey,
    instance: &Instance,
    sign: i64,
) -> [(TokenKey, TokenLeg); 2] {
    let leg = |token: &str, amount: schemas::Integer, symbol: &Option<String>, decimals| {
        let leg = TokenLeg {
            pool: key.pool.clone(),
            block_hash: key.hash.clone(),
            log_index: key.log_index,
            sign,
            amount: amount.abs(),
            usd: instance.usd,
            symbol: symbol.clone(),
            decimals,
            block_time: instance.swap.block_time.unwrap_or_default(),
        };
        (TokenKey::new(key.chain, token), leg)
    };
    let swap = &instance.swap;
    [
        leg(&pool.token0, swap.amount0, &pool.symbol0, pool.decimals0),
        leg(&pool.token1, swap.amount1, &pool.symbol1, pool.decimals1),
    ]
}
