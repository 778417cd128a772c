//! Recorded swaps of Polygon and Ethereum: every minute of a pool and every five minutes of a token equal
//! those of an independent computation, also when a bad node announces the same chain.

#![expect(clippy::unwrap_used, reason = "a test: a value that is missing is a failure")]

#[path = "../../tests/support/recordings.rs"]
#[expect(dead_code, unreachable_pub, reason = "a library elsewhere")]
mod recordings;
#[expect(dead_code, reason = "the chains of the simulation")]
mod swap_world;

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;
use std::sync::Arc;

use anyhow::{Context as _, Result, ensure};
use processor::compute::{self, COMMIT_EVERY, ComputeOptions, Printed};
use processor::topology::{Named, topology};
use schemas::avro::Record;
use schemas::json::RecordJson;
use schemas::topic::Topic;
use schemas::{ChainHead, Codec, Pool, PoolKey, Swap, SwapStatus};
use serde_json::Value;
use streams::Driver;
use swap_world::{Dice, hex};
use venues::ethereum::listing;
use venues::pipeline::{Output, Produced};
use venues::recording::Recording;

const CAPTURES: [&str; 2] = ["polygon_20220105", "ethereum_20240105"];
const ORACLES: [(Topic, &str); 2] = [(Topic::PoolMinutes, "pool_1m"), (Topic::Token5m, "token_5m")];

type Rows = BTreeMap<String, Value>;

fn file(name: &str) -> String {
    format!("swaps/{name}.jsonl.zst")
}

/// Rows by their key.
fn rows(lines: impl Iterator<Item = Result<Value>>) -> Result<Rows> {
    let row = |line: Result<Value>| {
        let line = line?;
        Ok((line["key"].to_string(), line["value"].clone()))
    };
    let rows: Result<Rows> = lines.map(row).collect();
    Ok(rows?.into_iter().filter(|(_, value)| !value.is_null()).collect())
}

fn oracle(capture: &str, topic: &str) -> Result<Rows> {
    rows(recordings::json(&file(&format!("{capture}_{topic}")))?.into_iter().map(Ok))
}

/// Every field of the oracle has its value in the row, and there is no other row.
fn compare(what: &str, found: &Rows, oracle: &Rows) -> Result<()> {
    let [found_keys, keys] = [found, oracle].map(|rows| rows.keys().collect::<BTreeSet<_>>());
    let more = found_keys.difference(&keys).next();
    let fewer = keys.difference(&found_keys).next();
    ensure!(more.is_none() && fewer.is_none(), "{what}: more {more:?}, missing {fewer:?}");
    for (key, expected) in oracle {
        let fields = expected.as_object().context("a row")?;
        for (name, value) in fields {
            ensure!(
                found[key][name] == *value,
                "{what} {key} {name}: {}, not {value}",
                found[key][name]
            );
        }
    }
    Ok(())
}

fn printed(capture: &str, topic: Topic, changes: bool) -> Result<Vec<String>> {
    let options = ComputeOptions {
        print: Printed::Topic(topic),
        changes,
        listing: Some(recordings::path("swaps/pools.jsonl")?),
        commit_every: COMMIT_EVERY,
    };
    let files: Vec<PathBuf> = vec![recordings::path(&file(capture))?];
    let mut out = Vec::new();
    compute::run(&files, &options, &mut out)?;
    Ok(String::from_utf8(out)?.lines().map(str::to_owned).collect())
}

fn parsed(lines: Vec<String>) -> Result<Rows> {
    rows(lines.into_iter().map(|line| Ok(serde_json::from_str(&line)?)))
}

#[test]
fn every_minute_and_every_bucket_equals_the_oracle() -> Result<()> {
    for capture in CAPTURES {
        for (topic, name) in ORACLES {
            let found = parsed(printed(capture, topic, false)?)?;
            compare(&format!("{capture} {name}"), &found, &oracle(capture, name)?)?;
        }
    }
    Ok(())
}

#[test]
fn swaps_pools_hours_and_statuses_are_printed() -> Result<()> {
    let capture = CAPTURES[1];
    assert_eq!(printed(capture, Topic::Swaps, true)?.len(), 308, "each swap once");
    assert_eq!(printed(capture, Topic::Pools, false)?.len(), 2);
    let statuses = parsed(printed(capture, Topic::SwapStatus, false)?)?;
    assert_eq!(statuses.len(), 308);
    assert!(statuses.values().all(|row| row["status"] == "FINAL"), "heads follow the last swap");
    // Each hour is the sum of its five minutes.
    let volume = |row: &Value| row["volume"].as_str().and_then(|text| text.parse::<u128>().ok());
    let mut sums: BTreeMap<String, u128> = BTreeMap::new();
    for (key, row) in parsed(printed(capture, Topic::Token5m, false)?)? {
        let mut key: Value = serde_json::from_str(&key)?;
        let time = key["open_time"].as_i64().context("a time")?;
        key["open_time"] = (time - time.rem_euclid(3_600_000)).into();
        *sums.entry(key.to_string()).or_default() += volume(&row).context("a volume")?;
    }
    let hours = parsed(printed(capture, Topic::Token1h, false)?)?;
    let hours = hours.iter().map(|(key, row)| Some((key.clone(), volume(row)?)));
    assert_eq!(hours.collect::<Option<BTreeMap<_, _>>>().context("volumes")?, sums);
    assert!(parsed(printed(capture, Topic::DeadLetters, true)?)?.is_empty());
    Ok(())
}

/// A record of `swaps` with its key.
#[derive(Clone)]
enum Told {
    Swap(PoolKey, Swap),
    Head(i64, ChainHead),
    Pool(PoolKey, Pool),
}

fn told(capture: &str) -> Result<Vec<Told>> {
    let pools: Result<Vec<_>, _> =
        recordings::lines("swaps/pools.jsonl")?.iter().map(|line| listing::parse(line)).collect();
    let mut recording = Recording::new(false).with_pools(pools?);
    let (mut produced, mut told) = (Produced::default(), Vec::new());
    for line in recordings::lines(&file(capture))? {
        recording.line(&line, &mut produced)?;
    }
    recording.finish(&mut produced);
    for output in produced.outputs.drain(..) {
        match output {
            Output::Swap { key, swap } => told.push(Told::Swap(key, *swap)),
            Output::Head { chain, head } => told.push(Told::Head(chain, head)),
            Output::Pool { key, pool } => told.push(Told::Pool(key, *pool)),
            other => anyhow::bail!("{other:?}"),
        }
    }
    Ok(told)
}

/// The same chain from a bad node: forks of one to four blocks with swaps of their own, whose removals may
/// be left out, repeated and late logs, and heads that come after their child.
fn injected(chain: Vec<Told>, seed: u64) -> Vec<Told> {
    let (mut dice, mut out) = (Dice(seed), Vec::new());
    let mut late: Vec<(u64, Told)> = Vec::new();
    let (mut step, mut forks) = (0u64, 0u64);
    let mut sample: Option<(PoolKey, Swap)> = None;
    for one in chain {
        step += 1;
        match &one {
            Told::Head(chain, head) => {
                if dice.percent(8)
                    && let Some((pool, swap)) = &sample
                {
                    forks += 1;
                    fork(&mut dice, forks, (*chain, head), (pool, swap), &mut out);
                }
                // The child comes first, and says which block its parent is.
                if dice.percent(8) { late.push((step + 1, one)) } else { out.push(one) }
            }
            Told::Swap(pool, swap) => {
                sample = Some((pool.clone(), swap.clone()));
                if dice.percent(20) {
                    late.push((step + dice.below(20), one.clone()));
                }
                if dice.percent(20) {
                    late.push((step + dice.below(20), one));
                } else {
                    out.push(one);
                }
            }
            Told::Pool(..) => out.push(one),
        }
        let due = late.extract_if(.., |(at, _)| *at < step).map(|(_, one)| one);
        out.extend(due);
    }
    out.extend(late.into_iter().map(|(_, one)| one));
    out
}

/// A fork in place of `head` and of the blocks after it.
fn fork(
    dice: &mut Dice,
    number: u64,
    (chain, head): (i64, &ChainHead),
    (pool, swap): (&PoolKey, &Swap),
    out: &mut Vec<Told>,
) {
    let (mut parent, says) = (head.parent_hash.clone(), dice.percent(50));
    let mut removed = Vec::new();
    for index in 0..=dice.below(4) {
        let hash = hex(0xf000_0000 + number * 8 + index, 64);
        let block_number = head.block_number + i64::try_from(index).unwrap();
        let wrong = Swap {
            tx_hash: hash.clone(),
            block_number: Some(block_number),
            block_hash: Some(hash.clone()),
            block_time: Some(head.block_time),
            received_at: head.received_at,
            ..swap.clone()
        };
        out.push(Told::Swap(pool.clone(), wrong.clone()));
        removed.push(Swap { status: SwapStatus::Removed, ..wrong });
        let (block_hash, parent_hash) = (hash.clone(), std::mem::replace(&mut parent, hash));
        let head = ChainHead { block_number, block_hash, parent_hash, ..head.clone() };
        out.push(Told::Head(chain, head));
    }
    if says {
        out.extend(removed.into_iter().map(|swap| Told::Swap(pool.clone(), swap)));
    }
}

/// The rows of a topic as JSON.
fn output(driver: &Driver, codec: &Codec, topic: Topic) -> Result<Rows> {
    let json = RecordJson::new()?;
    let text = |bytes: &[u8]| -> Result<Value> {
        let (kind, body) = codec.own(bytes).context("a record of ours")?;
        let mut text = String::new();
        json.write_public(kind, body, &mut text)?;
        Ok(serde_json::from_str(&text)?)
    };
    let mut last: BTreeMap<&[u8], Option<&[u8]>> = BTreeMap::new();
    for record in driver.output(topic.base_name()) {
        last.insert(&record.key, record.value.as_deref());
    }
    rows(
        last.into_iter()
            .filter_map(|(key, value)| Some((key, value?)))
            .map(|(key, value)| Ok(serde_json::json!({"key": text(key)?, "value": text(value)?}))),
    )
}

#[test]
fn forks_repeats_late_logs_and_missed_heads_change_no_row() -> Result<()> {
    for (seed, capture) in (1..).zip(CAPTURES) {
        let codec = Arc::new(Codec::offline());
        let mut driver = Driver::new(topology(&codec, "", Named::Swaps.into())?)?;
        let mut now = 0;
        let all = injected(told(capture)?, seed);
        for (index, one) in all.iter().enumerate() {
            let (key, value, at) = match one {
                Told::Swap(key, swap) => (key.clone(), bytes(&codec, swap), swap.received_at),
                Told::Head(chain, head) => {
                    (PoolKey::of_chain(*chain), bytes(&codec, head), head.received_at)
                }
                Told::Pool(key, pool) => (key.clone(), bytes(&codec, pool), pool.received_at),
            };
            now = now.max(at.0);
            driver.pipe(Topic::Swaps.base_name(), now, &codec.to_bytes(&key), Some(&value))?;
            if index.is_multiple_of(500) {
                driver.commit()?;
            }
        }
        driver.commit()?;
        let reasons: BTreeSet<_> =
            driver.dead_letters().iter().map(|(_, one)| one.reason).collect();
        ensure!(reasons.is_empty(), "{capture}: {reasons:?}");
        ensure!(driver.counted()["reorganisation"] > 400, "{:?}", driver.counted());
        ensure!(driver.counted()["swap_retracted"] > 100, "{:?}", driver.counted());
        for (topic, name) in ORACLES {
            let found = output(&driver, &codec, topic)?;
            compare(&format!("{capture} {name}, injected"), &found, &oracle(capture, name)?)?;
        }
    }
    Ok(())
}

fn bytes<R: Record>(codec: &Codec, value: &R) -> Vec<u8> {
    codec.to_bytes(value)
}
