//! A live feed with a capture, and the capture replayed: the same outputs, byte for byte.

#[expect(dead_code, reason = "venues.rs uses all of it")]
mod support;

use std::sync::Arc;

use anyhow::Context;
use producer::feed::capture::Capture;
use producer::input::replay::Replay;
use producer::metrics::Metrics;
use simulator::faults::Faults;
use support::{Bench, Setup};
use venues::Venue;
use venues::pipeline::Output;

/// Everything that a feed gave, over cut connections and bad frames.
async fn live(capture: Capture, enough: usize) -> anyhow::Result<Vec<Output>> {
    let faults = Faults {
        disconnect_every: Some(400),
        malformed_every: Some(31),
        skip_every: Some(50),
        repeat_every: Some(7),
        ..Faults::default()
    };
    let capture = Some(capture);
    let setup = Setup { faults, capture, rate: 2_000, ..Setup::of(Venue::Coinbase)? };
    let mut live = Bench::start(setup).await?;
    let mut seen = live.until(|seen| seen.len() >= enough).await?;
    seen.extend(live.stop().await?);
    Ok(seen)
}

#[tokio::test]
async fn a_capture_replays_to_the_outputs_of_the_live_feed() -> anyhow::Result<()> {
    let dir = tempfile::tempdir()?;
    let (capture, thread) = Capture::start(dir.path(), "coinbase", u64::MAX)?;
    let seen = live(capture, 3_000).await?;
    thread.join().ok().context("the capture panicked")??;
    let mut files: Vec<_> = std::fs::read_dir(dir.path())?
        .map(|entry| entry.map(|entry| entry.path()))
        .collect::<Result<_, _>>()?;
    files.sort();
    let mut replayed = Vec::new();
    let mut replay = Replay::new(Arc::new(Metrics::new()?));
    let mut publish = |_, output| {
        replayed.push(output);
        Ok(())
    };
    for file in &files {
        replay.file(file, &mut publish)?;
    }
    replay.finish(&mut publish)?;
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
