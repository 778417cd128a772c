//! The rows of the tables of swaps as a fold of the canonical chain gives them, by other means than the
//! product's: big integers of 512 bits, and prices by one division.

use std::collections::{BTreeMap, BTreeSet};

use alloy_primitives::{Signed, U512};
use anyhow::{Context as _, Result};
use schemas::Codec;

use super::chain::{Block, Pool, Swap};
use super::options::{Fields, fields};
use super::topics::Record;

/// Fraction digits of a price.
const DIGITS: u32 = 18;
/// A minute, five of them and an hour, in milliseconds.
const MINUTE: i64 = 60_000;
/// The tokens that are worth a dollar: USDC and USDT of the main chain.
const STABLECOINS: [&str; 2] =
    ["0xa0b86991c6218b36c1d19d4a2e9eb0ce3606eb48", "0xdac17f958d2ee523a2206206994597c13d831ec7"];

/// The columns of `pool_1m`, in the order of [`pool_minutes`].
pub const POOL_MINUTE: &str = "chain pool open_time swaps net_amount0 net_amount1 in_amount0 \
    in_amount1 open_tick high_tick low_tick close_tick open_price high_price low_price close_price \
    liquidity open_block open_log_index close_block close_log_index status event_time";
/// The columns of `token_5m` and `token_1h`, in the order of [`token_buckets`].
pub const TOKEN_BUCKET: &str =
    "chain token open_time swaps volume pools volume_usd unpriced_swaps symbol decimals";

/// An integer with room for any sum.
type I512 = Signed<512, 8>;

/// The query that prints these columns of a table: numbers as short as they are, times in milliseconds.
pub fn query(table: &str, columns: &str) -> String {
    let shown = columns.split_whitespace().map(|name| match name {
        "open_time" | "event_time" => format!("(extract(epoch FROM {name}) * 1000)::bigint"),
        "volume_usd" => "trim_scale(volume_usd)".into(),
        name if name.ends_with("_price") => format!("trim_scale({name})"),
        name => name.into(),
    });
    format!("SELECT {} FROM {table}", shown.collect::<Vec<_>>().join(", "))
}

/// The rows of a compacted topic with these columns, without those that vanished.
pub fn rows(codec: &Codec, records: &[Record], columns: &str) -> Result<Vec<String>> {
    let mut newest: BTreeMap<&[u8], &[u8]> = BTreeMap::new();
    for record in records {
        match &record.value {
            Some(value) => newest.insert(&record.key, value),
            None => newest.remove(record.key.as_slice()),
        };
    }
    let row = |(key, value): (&[u8], &[u8])| {
        let mut all: Fields = fields(codec, key)?.1;
        all.extend(fields(codec, value)?.1);
        let column = |name: &str| {
            let field = all.get(name).with_context(|| format!("there is no field {name}"))?;
            Ok(field.clone().unwrap_or_default())
        };
        let columns = columns.split_whitespace().map(column).collect::<Result<Vec<_>>>()?;
        Ok(columns.join("|"))
    };
    let mut rows = newest.into_iter().map(row).collect::<Result<Vec<_>>>()?;
    rows.sort();
    Ok(rows)
}

/// The bucket of a token.
#[derive(Clone, Debug, Default)]
pub struct Bucket {
    /// Swaps.
    pub swaps: u64,
    /// The sum of the magnitudes.
    pub volume: I512,
    pools: BTreeSet<String>,
    /// In units of 10^-18 dollars.
    usd: Option<U512>,
    unpriced: u64,
    symbol: String,
    decimals: u32,
}

impl Bucket {
    /// The value in dollars as decimal text; empty without one.
    pub fn usd(&self) -> String {
        self.usd.map(decimal).unwrap_or_default()
    }
}

/// A minute of a pool.
#[derive(Default)]
struct Minute {
    swaps: u64,
    net: [I512; 2],
    taken: [I512; 2],
    ticks: Vec<i64>,
    prices: Vec<U512>,
    liquidity: String,
    places: Vec<(i64, i64)>,
    time_ms: i64,
}

fn amounts(swap: &Swap) -> Result<[I512; 2]> {
    let read = |text: &str| I512::from_dec_str(text).ok().with_context(|| text.to_owned());
    Ok([read(&swap.amount0)?, read(&swap.amount1)?])
}

fn ten(digits: u32) -> U512 {
    U512::from(10).pow(U512::from(digits))
}

/// The quotient, half to even.
fn rounded(dividend: U512, divisor: U512) -> U512 {
    let (whole, rest) = dividend.div_rem(divisor);
    let twice = rest * U512::from(2);
    let is_odd = whole.bit(0);
    if twice > divisor || (twice == divisor && is_odd) { whole + U512::from(1) } else { whole }
}

/// Units of 10^-18 as decimal text without needless zeros.
fn decimal(units: U512) -> String {
    let digits = format!("{:0>19}", units.to_string());
    let (whole, fraction) = digits.split_at(digits.len() - 18);
    let fraction = fraction.trim_end_matches('0');
    if fraction.is_empty() { whole.to_owned() } else { format!("{whole}.{fraction}") }
}

/// The price after a swap: token 1 for one token 0, in whole tokens and units of 10^-18.
fn price(pool: &Pool, swap: &Swap) -> Result<U512> {
    let (up, down) = (ten(pool.decimals0 + DIGITS), ten(pool.decimals1));
    if let Some(root) = &swap.sqrt_price_x96 {
        let root = U512::from_str_radix(root, 10).ok().context("no root")?;
        return Ok(rounded(root * root * up, down << 192));
    }
    let [amount0, amount1] = amounts(swap)?.map(I512::unsigned_abs);
    Ok(rounded(amount1 * up, amount0 * down))
}

/// The value of a swap in dollars, of pools with a stablecoin.
fn usd(pool: &Pool, amounts: [I512; 2]) -> Option<U512> {
    let is_stable = |token: &str| STABLECOINS.contains(&token);
    let (amount, decimals) = if is_stable(&pool.token0) {
        (amounts[0], pool.decimals0)
    } else if is_stable(&pool.token1) {
        (amounts[1], pool.decimals1)
    } else {
        return None;
    };
    Some(amount.unsigned_abs() * ten(DIGITS - decimals))
}

fn window(block: &Block, length: i64) -> i64 {
    let time = block.time_s * 1000;
    time - time.rem_euclid(length)
}

/// Every swap of the chain with its pool.
fn each<'a>(
    chain: &'a [Block],
    pools: &'a [Pool],
    mut take: impl FnMut(&'a Block, &'a Pool, &'a Swap) -> Result<()>,
) -> Result<()> {
    let by_address: BTreeMap<&str, &Pool> =
        pools.iter().map(|pool| (pool.pool.as_str(), pool)).collect();
    for block in chain {
        for swap in &block.swaps {
            take(block, by_address.get(swap.pool.as_str()).context("an unknown pool")?, swap)?;
        }
    }
    Ok(())
}

/// The rows of `pool_1m`, all of them final.
pub fn pool_minutes(chain: &[Block], pools: &[Pool]) -> Result<Vec<String>> {
    let mut minutes: BTreeMap<(String, i64), (&Pool, Minute)> = BTreeMap::new();
    each(chain, pools, |block, pool, swap| {
        let key = (pool.pool.clone(), window(block, MINUTE));
        let (_, minute) = minutes.entry(key).or_insert_with(|| (pool, Minute::default()));
        minute.swaps += 1;
        for (place, amount) in amounts(swap)?.into_iter().enumerate() {
            minute.net[place] += amount;
            minute.taken[place] += amount.max(I512::ZERO);
        }
        minute.ticks.extend(swap.tick);
        minute.prices.push(price(pool, swap)?);
        minute.liquidity = swap.liquidity.clone().unwrap_or_default();
        minute.places.push((block.block, swap.log_index));
        minute.time_ms = block.time_s * 1000;
        Ok(())
    })?;
    let row = |((address, open), (pool, minute)): ((String, i64), (&Pool, Minute))| {
        let tick = |tick: Option<&i64>| tick.map(i64::to_string).unwrap_or_default();
        let price = |price: Option<&U512>| price.map(|price| decimal(*price)).unwrap_or_default();
        let (ticks, prices) = (&minute.ticks, &minute.prices);
        let [first, last] = [minute.places.first(), minute.places.last()].map(|place| {
            place.map(|(block, index)| format!("{block}|{index}")).unwrap_or_default()
        });
        [
            pool.chain.to_string(),
            address,
            open.to_string(),
            minute.swaps.to_string(),
            minute.net[0].to_string(),
            minute.net[1].to_string(),
            minute.taken[0].to_string(),
            minute.taken[1].to_string(),
            tick(ticks.first()),
            tick(ticks.iter().max()),
            tick(ticks.iter().min()),
            tick(ticks.last()),
            price(prices.first()),
            price(prices.iter().max()),
            price(prices.iter().min()),
            price(prices.last()),
            minute.liquidity.clone(),
            first,
            last,
            "FINAL".into(),
            minute.time_ms.to_string(),
        ]
        .join("|")
    };
    Ok(minutes.into_iter().map(row).collect())
}

/// The buckets of each token in windows of this length, in milliseconds.
pub fn buckets(
    chain: &[Block],
    pools: &[Pool],
    length: i64,
) -> Result<BTreeMap<(String, i64), Bucket>> {
    let mut buckets: BTreeMap<(String, i64), Bucket> = BTreeMap::new();
    each(chain, pools, |block, pool, swap| {
        let amounts = amounts(swap)?;
        let usd = usd(pool, amounts);
        let legs = [
            (&pool.token0, &pool.symbol0, pool.decimals0),
            (&pool.token1, &pool.symbol1, pool.decimals1),
        ];
        for ((token, symbol, decimals), amount) in legs.into_iter().zip(amounts) {
            let bucket = buckets.entry((token.clone(), window(block, length))).or_default();
            bucket.swaps += 1;
            bucket.volume += amount.abs();
            bucket.pools.insert(pool.pool.clone());
            match usd {
                Some(usd) => bucket.usd = Some(bucket.usd.unwrap_or_default() + usd),
                None => bucket.unpriced += 1,
            }
            bucket.symbol.clone_from(symbol);
            bucket.decimals = decimals;
        }
        Ok(())
    })?;
    Ok(buckets)
}

/// The rows of a table of tokens with windows of this length, in milliseconds.
pub fn token_buckets(chain: &[Block], pools: &[Pool], length: i64) -> Result<Vec<String>> {
    let id = pools.first().context("no pool")?.chain;
    let row = |((token, open), bucket): ((String, i64), Bucket)| {
        let usd = bucket.usd();
        let Bucket { swaps, volume, pools, unpriced, symbol, decimals, .. } = bucket;
        let pools = pools.len();
        format!("{id}|{token}|{open}|{swaps}|{volume}|{pools}|{usd}|{unpriced}|{symbol}|{decimals}")
    };
    Ok(buckets(chain, pools, length)?.into_iter().map(row).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_minute_and_a_bucket_are_sums_of_the_swaps() -> Result<()> {
        let pool = Pool {
            chain: 1,
            pool: "p".into(),
            protocol: "uniswap_v2".into(),
            token0: STABLECOINS[0].into(),
            token1: "t".into(),
            symbol0: "USDC".into(),
            symbol1: "T".into(),
            decimals0: 6,
            decimals1: 18,
        };
        let swap = |index, amount0: &str, amount1: &str| Swap {
            tx_hash: String::new(),
            log_index: index,
            pool: "p".into(),
            amount0: amount0.into(),
            amount1: amount1.into(),
            sqrt_price_x96: None,
            liquidity: None,
            tick: None,
        };
        let swaps = vec![
            swap(1, "3000000", "-1000000000000000000"),
            swap(4, "-1500000", "2000000000000000000"),
        ];
        let block =
            Block { block: 7, hash: "h".into(), parent_hash: "g".into(), time_s: 61, swaps };
        let rows = pool_minutes(std::slice::from_ref(&block), std::slice::from_ref(&pool))?;
        let expected = "1|p|60000|2|1500000|1000000000000000000|3000000|2000000000000000000|||||\
                        0.333333333333333333|1.333333333333333333|0.333333333333333333|\
                        1.333333333333333333||7|1|7|4|FINAL|61000";
        assert_eq!(rows, [expected]);
        let rows = token_buckets(&[block], &[pool], 300_000)?;
        let token = format!("1|{}|0|2|4500000|1|4.5|0|USDC|6", STABLECOINS[0]);
        assert_eq!(rows, [token, "1|t|0|2|3000000000000000000|1|4.5|0|T|18".into()]);
        Ok(())
    }
}
