//! `bench-fixed`: a fixed run of the product's topology through the driver, for an instruction count.
//!
//! Nothing in it depends on time, threads, a network or chance: the same binary executes the same
//! instructions. Trades of many pairs over several minutes are piped and committed in batches, so
//! that minutes close, hours and days are merged, and the stores are written. What it prints is
//! checked, so that a run that did less would not count.

use std::io::Write as _;
use std::sync::Arc;

use anyhow::{Result, ensure};
use clap::Parser;
use processor::topology::{Named, topology};
use producer::input::load::{Ids, Load, Pick};
use schemas::topic::Topic;
use schemas::{Codec, Timestamp};
use streams::Driver;

/// Event time of the first trade: 2024-01-01, half a minute before a minute begins.
const START: Timestamp = Timestamp(1_704_067_230_000);
/// Commits between two writes of the stores, as at 100 ms and five seconds.
const COMMITS_A_FLUSH: u64 = 50;

#[derive(Debug, Parser)]
struct Options {
    /// Trades. With 0 only what comes before the first is executed.
    #[arg(long, default_value_t = 60_000)]
    events: u64,
    /// Pairs.
    #[arg(long, default_value_t = 500)]
    keys: u32,
    /// Trades in a second of event time.
    #[arg(long, default_value_t = 300)]
    event_rate: u32,
    /// Trades between two commits.
    #[arg(long, default_value_t = 600)]
    commit_every: u64,
}

fn main() -> Result<()> {
    let options = Options::parse();
    let codec = Arc::new(Codec::offline());
    let mut driver = Driver::new(topology(&codec, "", Named::Prices.into())?)?;
    let load = Load {
        events: options.events,
        keys: options.keys,
        ids: Ids::Dense,
        samples_percent: 0,
        seed: 1,
        event_rate: options.event_rate,
        pick: Pick::Uniform,
        disorder_percent: 5,
        disorder_ms: 2_000,
        start: START,
    };
    let keys: Vec<_> = load.pairs().iter().map(|pair| codec.to_bytes(pair)).collect();
    let source = Topic::Events.base_name();
    let mut value = Vec::new();
    for ((key, event), count) in load.events().zip(1..) {
        value.clear();
        codec.encode(&event, &mut value);
        driver.add(source, event.event_time.0, &keys[key], Some(&value))?;
        if count % options.commit_every == 0 {
            driver.process_all()?;
            driver.commit()?;
            if count / options.commit_every % COMMITS_A_FLUSH == 0 {
                driver.flush_stores()?;
            }
        }
    }
    driver.process_all()?;
    driver.commit()?;
    ensure!(driver.dead_letters().is_empty(), "a trade of the load was refused");
    let written = |topic: Topic| driver.output(topic.base_name()).len();
    let counts =
        [Topic::Latest, Topic::Ohlc1m, Topic::Ohlc1h, Topic::Ohlc1d, Topic::Late].map(written);
    writeln!(std::io::stdout(), "{counts:?}")?;
    Ok(())
}
