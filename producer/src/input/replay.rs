//! Replays recorded files: what `venues::recording` makes of their lines, and its counts.
//!
//! Files may be compressed with zstd.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use anyhow::{Context, ensure};
use cli::lines::{self, Lines};
use schemas::Timestamp;
use venues::pipeline::{Output, Produced};
use venues::recording::{self, Recording};

use crate::metrics::Metrics;

/// Reads files and publishes their records, line by line.
pub struct Replay {
    metrics: Arc<Metrics>,
    produced: Produced,
}

impl Replay {
    /// Counts into `metrics`.
    pub fn new(metrics: Arc<Metrics>) -> Self {
        Self { metrics, produced: Produced::default() }
    }

    /// Reads one file; `publish` gets each output with the time at which it was received.
    pub fn file(
        &mut self,
        path: &Path,
        publish: &mut dyn FnMut(Timestamp, Output) -> anyhow::Result<()>,
    ) -> anyhow::Result<()> {
        let shown = path.display();
        let open = || lines::open(path).map(Lines::new);
        let mut recording = Recording::new(
            open()
                .and_then(|lines| lines.any(recording::is_single_trade))
                .with_context(|| format!("cannot open {shown}"))?,
        );
        let mut lines = open().with_context(|| format!("cannot open {shown}"))?;
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
            for output in self.produced.outputs.drain(..) {
                publish(receipt.at, output)?;
            }
        }
        Ok(())
    }
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
