//! The recorded swaps: each one is decoded, and a fold of them gives the oracle's minutes.

use std::collections::BTreeMap;

use anyhow::{Context as _, Result};
use schemas::{Integer, Swap, SwapStatus};
use serde_json::json;

use super::listing;
use crate::pipeline::{Output, Produced};
use crate::recording::Recording;
use crate::test_data;

fn played(name: &str) -> Result<Vec<Output>> {
    let pools = test_data::lines("swaps/pools.jsonl")?;
    let pools = pools.iter().map(|line| listing::parse(line)).collect::<Result<_, _>>()?;
    let mut recording = Recording::new(false).with_pools(pools);
    let mut produced = Produced::default();
    for line in test_data::lines(&format!("swaps/{name}.jsonl.zst"))? {
        recording.line(&line, &mut produced)?;
    }
    recording.finish(&mut produced);
    Ok(produced.outputs)
}

fn minute(swaps: &mut [&Swap]) -> Result<serde_json::Value> {
    swaps.sort_by_key(|swap| (swap.block_number, swap.log_index));
    let sum = |amount: fn(&Swap) -> Integer, only_in: bool| {
        let counted = swaps.iter().map(|swap| amount(swap));
        let mut counted = counted.filter(|amount| !only_in || amount.is_positive());
        counted.try_fold(Integer::ZERO, Integer::checked_add).context("78 digits")
    };
    let ticks: Vec<i64> = swaps.iter().filter_map(|swap| swap.tick).collect();
    Ok(json!({
        "swaps": swaps.len(),
        "net_amount0": sum(|swap| swap.amount0, false)?.to_string(),
        "net_amount1": sum(|swap| swap.amount1, false)?.to_string(),
        "in_amount0": sum(|swap| swap.amount0, true)?.to_string(),
        "in_amount1": sum(|swap| swap.amount1, true)?.to_string(),
        "open_tick": ticks.first(), "high_tick": ticks.iter().max(),
        "low_tick": ticks.iter().min(), "close_tick": ticks.last(),
    }))
}

#[test]
fn every_recorded_swap_is_decoded_and_their_minutes_are_those_of_the_oracle() -> Result<()> {
    for (name, swaps, heads, pools) in
        [("polygon_20220105", 3_972, 32_222, 1), ("ethereum_20240105", 308, 6_946, 2)]
    {
        let outputs = played(name)?;
        let mut counts = [0; 4];
        let mut minutes: BTreeMap<(i64, String, i64), Vec<&Swap>> = BTreeMap::new();
        for output in &outputs {
            match output {
                Output::Swap { key, swap } => {
                    counts[0] += 1;
                    assert_eq!(swap.status, SwapStatus::Included);
                    let time = swap.block_time.context("every swap has a block time")?.0;
                    let open_time = time - time.rem_euclid(60_000);
                    let key = (key.chain, key.pool.clone(), open_time);
                    minutes.entry(key).or_default().push(swap);
                }
                Output::Head { .. } => counts[1] += 1,
                Output::Pool { .. } => counts[2] += 1,
                _ => counts[3] += 1,
            }
        }
        assert_eq!(counts, [swaps, heads, pools, 0], "{name}");
        let oracle = test_data::lines(&format!("swaps/{name}_pool_1m.jsonl.zst"))?;
        assert_eq!(minutes.len(), oracle.len(), "{name}");
        for row in oracle {
            let row: serde_json::Value = serde_json::from_str(&row)?;
            let key = &row["key"];
            let number = |field: &str| key[field].as_i64().unwrap_or_default();
            let pool = key["pool"].as_str().unwrap_or_default().to_owned();
            let swaps = minutes.get_mut(&(number("chain"), pool, number("open_time")));
            let ours = minute(swaps.context("a minute of the oracle")?)?;
            assert_eq!(ours, row["value"], "{name} {key}");
        }
    }
    Ok(())
}
