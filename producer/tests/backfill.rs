//! Trades that the socket never sends, fetched over REST: marked, found, and the mark taken back. The
//! real feed and the real fetching against the simulator; candles by the product's topology.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context;
use processor::topology::topology;
use producer::backfill::{self, BackfillConfig};
use producer::backoff::Backoff;
use producer::budget::{Budget, Gate};
use producer::connection::Patience;
use producer::exchange::Venue;
use producer::feed::{Breaker, Feed, FeedConfig, Rotation, Surroundings};
use producer::metrics::Metrics;
use producer::pipeline::Output;
use producer::plan::Line;
use producer::simulator::faults::Faults;
use producer::simulator::{Simulator, SimulatorConfig};
use rand::SeedableRng;
use rand::rngs::StdRng;
use schemas::topic::Topic;
use schemas::{Basis, Candle, CandleKey, Codec, PairKey, Status};
use streams::Driver;
use tokio::sync::{mpsc, watch};
use tokio::time::timeout;

/// A test that has not seen what it waits for by then has failed.
const PATIENCE: Duration = Duration::from_mins(1);
/// Gaps of a run.
const GAPS: usize = 6;

type Ids = BTreeSet<(PairKey, i64)>;

fn trade_id(output: &Output) -> Option<(PairKey, i64)> {
    match output {
        Output::Event { pair, event } if event.basis == Basis::Trade => {
            Some((pair.clone(), event.trade_id?))
        }
        _ => None,
    }
}

/// The ids that the marks say are missing.
fn lost(outputs: &[Output]) -> Ids {
    let mut lost = Ids::new();
    for output in outputs {
        if let Output::Gap { pair, mark } = output
            && let (Some(first), Some(count)) = (mark.first_missing_id, mark.missing)
        {
            lost.extend((first..first + count).map(|id| (pair.clone(), id)));
        }
    }
    lost
}

/// The ids that one output says are missing.
fn hidden(output: &Output) -> Ids {
    lost(std::slice::from_ref(output))
}

fn gaps(outputs: &[Output]) -> usize {
    outputs.iter().filter(|output| matches!(output, Output::Gap { .. })).count()
}

/// What feed and fetching give until `enough`.
async fn run(
    limit_every: Option<u64>,
    enough: impl Fn(&[Output], &Metrics) -> bool,
) -> anyhow::Result<(Vec<Output>, Arc<Metrics>)> {
    let products = vec!["BTC-USD".to_owned(), "ETH-USD".to_owned()];
    let retry_after = Duration::from_secs(1);
    let faults = Faults {
        skip_every: Some(40),
        limit_requests_every: limit_every,
        retry_after,
        ..Faults::default()
    };
    let of_venue = SimulatorConfig::of(Venue::Coinbase);
    let config =
        SimulatorConfig { seed: 11, products: products.clone(), rate: 40, faults, ..of_venue };
    let simulator = Simulator::bind("127.0.0.1:0", &config).await?;
    let url = simulator.url()?;
    let rest_url = url.replacen("ws", "http", 1);
    let venue = tokio::spawn(simulator.run());
    let metrics = Arc::new(Metrics::new()?);
    let (sender, mut outputs) = mpsc::channel(16);
    let (shutdown, watching) = watch::channel(false);
    let fetched =
        BackfillConfig { venue: Venue::Coinbase, rest_url, shutdown: watching.clone(), seed: 1 };
    let sender = backfill::between(fetched, Arc::clone(&metrics), sender)?;
    let config = FeedConfig {
        url,
        venue: Venue::Coinbase,
        line: Line { name: "coinbase-0".into(), streams: products, grows: false },
        max_streams: 10,
        patience: Patience { stale_after: PATIENCE, quiet_after: PATIENCE },
        backoff: Backoff::new(Duration::from_millis(5), Duration::from_millis(50))?,
        rotation: Rotation { after: None, overlap: PATIENCE },
        breaker: Breaker { after: 5, pause: PATIENCE },
    };
    let gate = Gate::new(Budget::of(Venue::Coinbase));
    let around = Surroundings::new(Arc::clone(&metrics), sender, watching, gate);
    let feed = Feed::new(config, around, StdRng::seed_from_u64(1));
    let feed = tokio::spawn(feed.run());
    let mut seen = Vec::new();
    while !enough(&seen, &metrics) {
        let next = timeout(PATIENCE, outputs.recv()).await;
        let next = next.with_context(|| format!("nothing more after {} outputs", seen.len()))?;
        seen.push(next.context("the feed ended")?);
    }
    shutdown.send_replace(true);
    while let Some(output) = timeout(PATIENCE, outputs.recv()).await? {
        seen.push(output);
    }
    feed.await?;
    venue.abort();
    Ok((seen, metrics))
}

/// The newest candles of each tier that a log gives, without the ids that they counted.
fn candles(outputs: &[Output]) -> anyhow::Result<BTreeMap<(Topic, CandleKey), Candle>> {
    let codec = Arc::new(Codec::offline());
    let mut driver = Driver::new(topology(&codec, ""))?;
    for output in outputs {
        let (key, value) = match output {
            Output::Event { pair, event } => (pair.clone(), codec.to_bytes(event)),
            Output::Gap { pair, mark } => (pair.clone(), codec.to_bytes(mark)),
            Output::Mark { exchange, mark } => (PairKey::feed(*exchange), codec.to_bytes(mark)),
            Output::DeadLetter(letter) => anyhow::bail!("{letter:?}"),
        };
        driver.pipe(&Topic::Events.name(""), 0, &codec.to_bytes(&key), Some(&value))?;
    }
    driver.commit()?;
    anyhow::ensure!(driver.dead_letters().is_empty(), "{:?}", driver.dead_letters());
    let mut newest = BTreeMap::new();
    for topic in [Topic::Ohlc1m, Topic::Ohlc1h, Topic::Ohlc1d] {
        for output in driver.output(&topic.name("")) {
            let candle: Candle = codec.decode(output.value.as_deref().context("a tombstone")?)?;
            let candle = Candle { seen: Vec::new(), ..candle };
            newest.insert((topic, codec.decode(&output.key)?), candle);
        }
    }
    Ok(newest)
}

#[tokio::test]
async fn hidden_trades_are_marked_then_fetched_and_the_candles_are_as_without_the_fault()
-> anyhow::Result<()> {
    // One request in four is answered with 429, and asked again after a second.
    let (seen, _) = run(Some(4), |seen, metrics| {
        let found: Ids = seen.iter().filter_map(trade_id).collect();
        let refused = metrics.recovery.backfilled.with_label_values(&["coinbase"]).get();
        gaps(seen) >= GAPS && refused >= GAPS as u64 && lost(seen).is_subset(&found)
    })
    .await?;
    // A gap that was marked at the very end was not filled any more.
    let found: Ids = seen.iter().filter_map(trade_id).collect();
    let seen: Vec<Output> =
        seen.into_iter().filter(|output| hidden(output).is_subset(&found)).collect();
    let (seen, lost) = (&seen[..], lost(&seen));
    // The same log without the fault: each hidden trade where its gap's mark is.
    let whole: BTreeMap<(PairKey, i64), &Output> =
        seen.iter().filter_map(|output| Some((trade_id(output)?, output))).collect();
    let mut clean = Vec::new();
    for output in seen {
        match output {
            Output::Gap { .. } => clean.extend(
                self::lost(std::slice::from_ref(output))
                    .iter()
                    .filter_map(|id| whole.get(id))
                    .map(|o| (*o).clone()),
            ),
            output if trade_id(output).is_some_and(|id| lost.contains(&id)) => {}
            output => clean.push(output.clone()),
        }
    }
    assert_eq!(clean.len(), seen.len() - gaps(seen));
    // Without what was fetched the marks stay.
    let unfilled: Vec<Output> = seen
        .iter()
        .filter(|output| trade_id(output).is_none_or(|id| !lost.contains(&id)))
        .cloned()
        .collect();
    let marked = candles(&unfilled)?;
    let missing = marked.values().filter_map(|candle| candle.missing_trades).max();
    assert!(marked.values().any(|candle| candle.gap) && missing >= Some(1), "{missing:?}");
    // With it they are gone, and the candles are those of the log without the fault.
    let plain = |candles: BTreeMap<(Topic, CandleKey), Candle>| -> Vec<_> {
        let same = |candle| Candle { status: Status::Open, revision: 0, ..candle };
        candles.into_iter().map(|(key, candle)| (key, same(candle))).collect()
    };
    assert_eq!(plain(candles(seen)?), plain(candles(&clean)?));
    Ok(())
}

#[tokio::test]
async fn what_the_venue_does_not_have_is_given_up_and_counted() -> anyhow::Result<()> {
    // Each request is one too many.
    let given_up = |metrics: &Metrics, why: &str| {
        metrics.recovery.backfill_given_up.with_label_values(&["coinbase", why]).get()
    };
    let (seen, metrics) = run(Some(1), |seen, _| gaps(seen) >= 2).await?;
    assert_eq!(metrics.recovery.backfilled.with_label_values(&["coinbase"]).get(), 0);
    let stopped = given_up(&metrics, "stopped") + given_up(&metrics, "failed");
    assert_eq!(stopped, gaps(&seen) as u64);
    Ok(())
}
