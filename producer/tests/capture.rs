//! A live feed with a capture, and the capture replayed: the same outputs, byte for byte.

use std::sync::Arc;
use std::time::Duration;

use anyhow::Context;
use producer::backoff::Backoff;
use producer::capture::Capture;
use producer::exchange::Venue;
use producer::feed::{Feed, FeedConfig};
use producer::metrics::Metrics;
use producer::pipeline::Output;
use producer::replay::Replay;
use producer::simulator::faults::Faults;
use producer::simulator::{Simulator, SimulatorConfig};
use rand::SeedableRng;
use rand::rngs::StdRng;
use tokio::sync::{mpsc, watch};
use tokio::time::timeout;

/// A test that has not seen what it waits for by then has failed.
const PATIENCE: Duration = Duration::from_secs(30);

/// Everything that a feed gave until it had given so much, over cut connections and bad frames.
async fn live(capture: Capture, enough: usize) -> anyhow::Result<Vec<Output>> {
    let products = vec!["BTC-USD".to_owned(), "ETH-USD".to_owned()];
    let faults = Faults {
        disconnect_every: Some(400),
        malformed_every: Some(31),
        skip_every: Some(50),
        repeat_every: Some(7),
        ..Faults::default()
    };
    let config = SimulatorConfig { seed: 3, products: products.clone(), rate: 2_000, faults };
    let simulator = Simulator::bind("127.0.0.1:0", &config).await?;
    let url = simulator.url()?;
    let simulator = tokio::spawn(simulator.run());
    let (sender, mut outputs) = mpsc::channel(16);
    let (shutdown, watching) = watch::channel(false);
    let backoff = Backoff::new(Duration::from_millis(5), Duration::from_millis(50))?;
    let stale_after = Duration::from_mins(1);
    let config = FeedConfig { url, venue: Venue::Coinbase, products, stale_after, backoff };
    let rng = StdRng::seed_from_u64(1);
    let feed = Feed::new(config, Arc::new(Metrics::new()?), sender, watching, rng);
    let feed = tokio::spawn(feed.captured(Some(capture)).run());
    let mut seen = Vec::new();
    while let Some(output) = timeout(PATIENCE, outputs.recv()).await? {
        seen.push(output);
        if seen.len() == enough {
            shutdown.send_replace(true);
        }
    }
    feed.await?;
    simulator.abort();
    Ok(seen)
}

#[tokio::test]
async fn a_capture_replays_to_the_outputs_of_the_live_feed() -> anyhow::Result<()> {
    let dir = tempfile::tempdir()?;
    let (capture, thread) = Capture::start(dir.path(), Venue::Coinbase, u64::MAX)?;
    let seen = live(capture, 3_000).await?;
    thread.join().ok().context("the capture panicked")??;
    let mut files: Vec<_> = std::fs::read_dir(dir.path())?
        .map(|entry| entry.map(|entry| entry.path()))
        .collect::<Result<_, _>>()?;
    files.sort();
    let mut replayed = Vec::new();
    let mut replay = Replay::new(Arc::new(Metrics::new()?));
    for file in &files {
        replay.file(file, &mut |_, output| {
            replayed.push(output);
            Ok(())
        })?;
    }
    assert_eq!(files.len(), 1);
    let kinds = |outputs: &[Output]| {
        let count = |kind: fn(&Output) -> bool| outputs.iter().filter(|one| kind(one)).count();
        [
            count(|one| matches!(one, Output::Event { .. })),
            count(|one| matches!(one, Output::Gap { .. })),
            count(|one| matches!(one, Output::DeadLetter(_))),
        ]
    };
    assert!(kinds(&seen).iter().all(|count| *count > 10), "{:?}", kinds(&seen));
    assert!(seen == replayed, "live {:?}, replayed {:?}", kinds(&seen), kinds(&replayed));
    Ok(())
}
