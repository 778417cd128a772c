//! Seeded chains with reorganisations, a bad node and crashes: the aggregates equal a fold over the
//! canonical chain.
//!
//! The tasks are the real ones, behind the real repartition topics, in [`streams::Driver`]. A crash falls
//! before a commit, within it, after it, and between the commit of a pool's task and that of its tokens.
//!
//! `SIM_SEEDS` says how many chains (300), `SIM_SEED` replays one.

#![expect(clippy::unwrap_used, reason = "a test: a value that is missing is a failure")]

mod swap_world;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use processor::topology::{Named, topology_confirmed};
use schemas::topic::Topic;
use schemas::{
    Codec, PoolKey, PoolMinute, PoolMinuteKey, SwapState, SwapStatus, SwapStatusKey, TokenBucket,
    TokenBucketKey,
};
use streams::Driver;
use swap_world::{CHAIN, Dice, EPOCH, FINAL, Fold, Record, World, fold};

const SEEDS: u64 = 300;
/// Steps of a chain: more than FINAL blocks, so that minutes become final.
const STEPS: u64 = 110;

type Result<T = (), E = Box<dyn std::error::Error>> = std::result::Result<T, E>;

fn number(name: &str) -> Option<u64> {
    std::env::var(name).ok().and_then(|text| text.parse().ok())
}

struct Run {
    codec: Arc<Codec>,
    driver: Driver,
    clock: i64,
}

impl Run {
    fn new(confirmations: i64) -> Result<Self> {
        let codec = Arc::new(Codec::offline());
        let topology = topology_confirmed(&codec, "", "", Named::Swaps.into(), confirmations)?;
        Ok(Self { codec, driver: Driver::new(topology)?, clock: EPOCH })
    }

    fn add(&mut self, record: &Record) -> Result {
        let codec = &self.codec;
        let (key, value, at) = match record {
            Record::Swap(key, swap) => (key.clone(), codec.to_bytes(swap), swap.received_at),
            Record::Head(head) => {
                (PoolKey::of_chain(CHAIN), codec.to_bytes(head), head.received_at)
            }
            Record::Pool(key, pool) => (key.clone(), codec.to_bytes(pool), pool.received_at),
        };
        self.clock = self.clock.max(at.0);
        let key = codec.to_bytes(&key);
        self.driver.pipe(Topic::Swaps.base_name(), self.clock, &key, Some(&value))?;
        Ok(())
    }

    /// The last value of each key of a topic.
    fn rows<K: schemas::avro::Record + Ord, V: schemas::avro::Record>(
        &self,
        topic: Topic,
    ) -> Result<BTreeMap<K, V>> {
        let mut rows = BTreeMap::new();
        for record in self.driver.output(topic.base_name()) {
            let key = self.codec.decode::<K>(&record.key).map_err(|e| format!("{e:?}"))?;
            match &record.value {
                None => drop(rows.remove(&key)),
                Some(value) => {
                    let value = self.codec.decode(value).map_err(|e| format!("{e:?}"))?;
                    rows.insert(key, value);
                }
            }
        }
        Ok(rows)
    }
}

/// Something bad, or a commit.
fn disturb(run: &mut Run, dice: &mut Dice) -> Result {
    let driver = &mut run.driver;
    match dice.below(100) {
        0..12 => driver.commit()?,
        12..20 => drop(driver.commit_once()?),
        20..24 => driver.flush_stores()?,
        // Before a commit.
        24..27 => drop(driver.crash()?),
        // The transaction is written, and the process dies before it knows.
        27..30 => {
            driver.write_transaction()?;
            driver.crash()?;
        }
        // Between the commit of the pool's task and that of its tokens.
        30..34 => {
            driver.commit_once()?;
            driver.crash()?;
        }
        // The transaction is aborted.
        34..36 => {
            driver.prepare_commit()?;
            driver.discard();
            driver.process_all()?;
        }
        36 => drop(driver.lose_disk()?),
        _ => {}
    }
    Ok(())
}

fn equal<T: PartialEq + std::fmt::Debug>(what: &str, found: &T, expected: &T) -> Result {
    if found == expected {
        return Ok(());
    }
    Err(format!("{what}: {found:?}, not {expected:?}").into())
}

fn compare_minutes(run: &Run, expected: &Fold) -> Result {
    let rows: BTreeMap<PoolMinuteKey, PoolMinute> = run.rows(Topic::PoolMinutes)?;
    let found: BTreeSet<_> = rows.keys().map(|key| (key.pool_key(), key.open_time.0)).collect();
    equal("minutes", &found, &expected.minutes.keys().cloned().collect())?;
    for (key, row) in &rows {
        let minute = &expected.minutes[&(key.pool_key(), key.open_time.0)];
        let sums = [row.net_amount0, row.net_amount1, row.in_amount0, row.in_amount1];
        let sums = sums.map(|sum| sum.map(|sum| sum.to_string().parse::<i128>().unwrap()));
        let ticks = [row.open_tick, row.close_tick, row.high_tick, row.low_tick];
        let prices = [row.open_price, row.close_price, row.high_price, row.low_price];
        let (t, p) = (&minute.ticks, &minute.prices);
        let of_ticks =
            [t.first(), t.last(), t.iter().max(), t.iter().min()].map(Option::<&_>::copied);
        let of_prices =
            [p.first(), p.last(), p.iter().max(), p.iter().min()].map(Option::<&_>::copied);
        let places = [(row.open_block, row.open_log_index), (row.close_block, row.close_log_index)];
        let of_places = [minute.places[0], minute.places[minute.places.len() - 1]];
        let what = key.to_string();
        equal(&what, &(row.swaps, sums), &(minute.swaps, minute.amounts.map(Some)))?;
        equal(&what, &(ticks, row.liquidity), &(of_ticks, minute.liquidity))?;
        equal(&what, &(prices, places), &(of_prices, of_places))?;
    }
    Ok(())
}

fn compare_tokens(run: &Run, expected: &Fold) -> Result {
    for (topic, length) in [(Topic::Token5m, 300_000), (Topic::Token1h, 3_600_000)] {
        let rows: BTreeMap<TokenBucketKey, TokenBucket> = run.rows(topic)?;
        let of = expected.buckets.iter().filter(|((_, one, _), _)| *one == length);
        let of: BTreeMap<_, _> =
            of.map(|((token, _, at), one)| ((token.clone(), *at), one)).collect();
        let found: BTreeSet<_> =
            rows.keys().map(|key| (key.token_key(), key.open_time.0)).collect();
        equal("buckets", &found, &of.keys().cloned().collect())?;
        for (key, row) in &rows {
            let bucket = of[&(key.token_key(), key.open_time.0)];
            let volume = row.volume.map(|volume| volume.to_string().parse::<i128>().unwrap());
            let usd = row.volume_usd.map(schemas::Decimal::units);
            let of_usd = (bucket.unpriced < bucket.swaps).then_some(bucket.usd);
            let pools = i64::try_from(bucket.pools.len())?;
            equal(
                &format!("{} {key}", topic.base_name()),
                &(row.swaps, volume, row.pools, usd, row.unpriced_swaps),
                &(bucket.swaps, Some(bucket.volume), pools, of_usd, bucket.unpriced),
            )?;
        }
    }
    Ok(())
}

fn compare_statuses(run: &Run, world: &World, confirmations: i64) -> Result {
    let rows: BTreeMap<SwapStatusKey, SwapState> = run.rows(Topic::SwapStatus)?;
    let (head, highest) = world.heads();
    for (_, _, swap) in world.canonical() {
        let number = swap.block_number.unwrap();
        let status = if number <= highest - FINAL {
            SwapStatus::Final
        } else if number <= head - confirmations {
            SwapStatus::Confirmed
        } else {
            SwapStatus::Included
        };
        let log_index = swap.log_index.unwrap();
        let key = SwapStatusKey { chain: CHAIN, tx_hash: swap.tx_hash.clone(), log_index };
        let row = rows.get(&key).map(|row| (row.status, row.block_hash.clone()));
        equal(&key.to_string(), &row, &Some((status, swap.block_hash.clone())))?;
    }
    Ok(())
}

fn live(seed: u64) -> Result {
    let confirmations = i64::try_from(seed % 4)?;
    let world = World::live(seed, STEPS);
    let mut run = Run::new(confirmations)?;
    let mut dice = Dice(seed ^ 0xdead_beef);
    for record in &world.log {
        run.add(record)?;
        disturb(&mut run, &mut dice)?;
    }
    // The last commit may have left records in a repartition topic.
    run.driver.process_all()?;
    run.driver.commit()?;
    let (head, _) = world.heads();
    let canonical = world.canonical();
    let counted =
        canonical.iter().filter(|(_, _, swap)| swap.block_number.unwrap() <= head - confirmations);
    let expected = fold(counted);
    let letters: Vec<_> =
        run.driver.dead_letters().iter().map(|(_, letter)| letter.reason).collect();
    equal("dead letters", &letters, &Vec::new())?;
    compare_minutes(&run, &expected)?;
    compare_tokens(&run, &expected)?;
    compare_statuses(&run, &world, confirmations)
}

#[test]
fn aggregates_equal_the_fold_over_the_canonical_chain() {
    let seeds = match number("SIM_SEED") {
        Some(seed) => seed..seed + 1,
        None => 0..number("SIM_SEEDS").unwrap_or(SEEDS),
    };
    for seed in seeds {
        if let Err(error) = live(seed) {
            panic!(
                "seed {seed}: {error}\nreplay: SIM_SEED={seed} cargo test -p processor --test swap_simulation"
            );
        }
    }
}

/// Every topic that the tasks write, byte for byte.
fn outputs(seed: u64, crashes: bool) -> Result<Vec<Vec<streams::SinkRecord>>> {
    let world = World::live(seed, STEPS);
    let mut run = Run::new(1)?;
    for record in &world.log {
        run.add(record)?;
        run.driver.commit()?;
        if crashes {
            run.driver.crash()?;
        }
    }
    let topics = [
        Topic::Pools,
        Topic::PoolMinutes,
        Topic::Token5m,
        Topic::Token1h,
        Topic::SwapStatus,
        Topic::SwapInstances,
        Topic::ChainBlocks,
        Topic::TokenPools,
    ];
    Ok(topics.map(|topic| run.driver.output(topic.base_name()).to_vec()).into())
}

#[test]
fn a_crash_after_each_commit_changes_no_byte() {
    for seed in 0..number("SIM_SEEDS").unwrap_or(SEEDS).div_ceil(300) {
        assert_eq!(outputs(seed, false).unwrap(), outputs(seed, true).unwrap(), "seed {seed}");
    }
}

#[test]
fn the_chains_have_what_they_are_for() {
    let (mut removed, mut heads, mut timeless, mut pending) = (0, 0, 0, 0);
    for seed in 0..20 {
        for record in World::live(seed, STEPS).log {
            match record {
                Record::Swap(_, swap) => {
                    removed += i32::from(swap.status == SwapStatus::Removed);
                    timeless +=
                        i32::from(swap.status == SwapStatus::Removed && swap.block_time.is_none());
                    pending += i32::from(swap.status == SwapStatus::Pending);
                }
                Record::Head(head) => heads += i32::from(head.block_number > 100 + 64),
                Record::Pool(..) => {}
            }
        }
    }
    assert!(
        removed > 500 && heads > 100 && timeless > 100 && pending > 20,
        "{removed} {heads} {timeless} {pending}"
    );
}
