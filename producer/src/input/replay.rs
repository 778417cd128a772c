//! Replays recorded files: what `venues::recording` makes of their lines, and its counts.
//!
//! Files may be compressed with zstd.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use anyhow::{Context, ensure};
use cli::lines::{self, Lines};
use schemas::{Pool, PoolKey, Timestamp};
use venues::pipeline::{Output, Produced};
use venues::recording::{self, Recording};

use crate::feed::capture;
use crate::metrics::Metrics;

/// Gets each output with the time at which it was received.
pub type Publish<'a> = dyn FnMut(Timestamp, Output) -> anyhow::Result<()> + 'a;

/// Reads files and publishes their records, line by line.
///
/// The files of one capture, one after another, are one recording: a book goes on from file to file.
/// Any other file is a recording of its own.
pub struct Replay {
    metrics: Arc<Metrics>,
    /// The pools of a capture of a chain; empty to read those of the capture.
    pools: Vec<(PoolKey, Pool)>,
    produced: Produced,
    /// The capture of the last file, and its recording.
    open: Option<(String, Recording)>,
    /// The receipt of the last line.
    at: Timestamp,
}

impl Replay {
    /// Counts into `metrics`.
    pub fn new(metrics: Arc<Metrics>) -> Self {
        let (produced, at) = (Produced::default(), Timestamp::default());
        Self { metrics, pools: Vec::new(), produced, open: None, at }
    }

    /// Reads captures of chains with the facts of these pools.
    #[must_use]
    pub fn with_pools(self, pools: Vec<(PoolKey, Pool)>) -> Self {
        Self { pools, ..self }
    }

    /// Reads one file.
    pub fn file(&mut self, path: &Path, publish: &mut Publish<'_>) -> anyhow::Result<()> {
        let capture = capture(path);
        if self.open.as_ref().map(|(open, _)| open) != capture.as_ref() {
            self.finish(publish)?;
        }
        let mut recording = match self.open.take() {
            Some((_, recording)) => recording,
            None => begin(path)?.with_pools(self.pools.clone()),
        };
        self.lines(path, &mut recording, publish)?;
        match capture {
            Some(capture) => {
                self.open = Some((capture, recording));
                Ok(())
            }
            None => self.end(recording, publish),
        }
    }

    /// Ends the last recording: publishes what was still waiting.
    pub fn finish(&mut self, publish: &mut Publish<'_>) -> anyhow::Result<()> {
        match self.open.take() {
            Some((_, recording)) => self.end(recording, publish),
            None => Ok(()),
        }
    }

    fn lines(
        &mut self,
        path: &Path,
        recording: &mut Recording,
        publish: &mut Publish<'_>,
    ) -> anyhow::Result<()> {
        let shown = path.display();
        let mut lines =
            lines::open(path).map(Lines::new).with_context(|| format!("cannot open {shown}"))?;
        let mut number = 0u64;
        while let Some(line) =
            lines.next_line().with_context(|| format!("cannot read {shown} after line {number}"))?
        {
            number += 1;
            let receipt = recording
                .line(&line, &mut self.produced)
                .with_context(|| format!("{shown}, line {number}"))?;
            if let Some(venue) = receipt.venue {
                self.metrics.count(venue, &mut self.produced);
            }
            self.at = receipt.at;
            self.publish(publish)?;
        }
        Ok(())
    }

    fn end(&mut self, mut recording: Recording, publish: &mut Publish<'_>) -> anyhow::Result<()> {
        self.at = recording.finish(&mut self.produced).at;
        self.produced.counts.clear();
        self.publish(publish)
    }

    fn publish(&mut self, publish: &mut Publish<'_>) -> anyhow::Result<()> {
        self.produced.outputs.drain(..).try_for_each(|output| publish(self.at, output))
    }
}

/// A recording that begins with a file.
fn begin(path: &Path) -> anyhow::Result<Recording> {
    let lines = lines::open(path).map(Lines::new);
    let has_trades = lines.and_then(|lines| lines.any(recording::is_single_trade));
    Ok(Recording::new(has_trades.with_context(|| format!("cannot open {}", path.display()))?))
}

/// The capture that a file belongs to: its directory and its venue. `None` for a file of another name.
fn capture(path: &Path) -> Option<String> {
    let venue = capture::venue_of_file(path.file_name()?.to_str()?)?;
    Some(format!("{}/{venue}", path.parent()?.display()))
}

/// Checks that every file can be opened, before anything is published.
pub fn check(files: &[PathBuf]) -> anyhow::Result<()> {
    for file in files {
        let shown = file.display();
        ensure!(!file.is_dir(), "{shown} is a directory: name its files");
        lines::open(file).with_context(|| format!("cannot open {shown}"))?;
    }
    Ok(())
}

#[cfg(test)]
#[path = "replay_tests.rs"]
mod tests;
