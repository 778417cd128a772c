//! Replays recorded files through the adapters of live feeds.
//!
//! | file | line | result |
//! |---|---|---|
//! | capture | `{"at_us","venue","kind","url","raw"}` | the records of `raw`, received at `at_us` |
//! | trades | `{"exchange","base","quote","trade_id","price","size","event_time_us"}` | a trade, received at its event time |
//!
//! Files may be compressed with zstd, and may hold both formats. A line of neither format becomes a
//! dead letter. The clock is not read here: the same files give the same outputs, byte for byte.

use std::borrow::Cow;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use anyhow::{Context, bail, ensure};
use rustc_hash::FxHashMap;
use schemas::{MarketEvent, PairKey, Timestamp};
use serde::Deserialize;
use serde_json::value::RawValue;
use venues::pipeline::{DeadLetter, Output, Pipeline, Produced};
use venues::{Malformed, Venue, decimal, integer, scalar};

use crate::input::lines::{self, Lines};
use crate::metrics::Metrics;

/// The name of this source in metrics and dead letters of lines that are not a venue's.
pub const SOURCE: &str = "replay";

/// Binance's stream of single trades, inside the escaped text of a capture's line.
const TRADE_STREAM: &str = "@trade\\\"";

/// A line of any of the formats.
#[derive(Deserialize)]
struct Line<'a> {
    at_us: Option<i64>,
    #[serde(borrow)]
    venue: Option<Cow<'a, str>>,
    kind: Option<Cow<'a, str>>,
    raw: Option<Cow<'a, str>>,
    exchange: Option<Cow<'a, str>>,
    base: Option<Cow<'a, str>>,
    quote: Option<Cow<'a, str>>,
    trade_id: Option<&'a RawValue>,
    price: Option<&'a RawValue>,
    size: Option<&'a RawValue>,
    event_time_us: Option<&'a RawValue>,
}

/// Reads files and publishes their records, line by line.
pub struct Replay {
    metrics: Arc<Metrics>,
    pipelines: FxHashMap<Venue, Pipeline>,
    produced: Produced,
}

impl Replay {
    /// Counts into `metrics`.
    pub fn new(metrics: Arc<Metrics>) -> Self {
        Self { metrics, pipelines: FxHashMap::default(), produced: Produced::default() }
    }

    /// Reads one file; `publish` gets each output with the time at which it was received.
    pub fn file(
        &mut self,
        path: &Path,
        publish: &mut dyn FnMut(Timestamp, Output) -> anyhow::Result<()>,
    ) -> anyhow::Result<()> {
        let shown = path.display();
        self.pipelines.clear();
        let without_aggregates = has_single_trades(path)?;
        let input = lines::open(path).with_context(|| format!("cannot open {shown}"))?;
        let mut lines = Lines::new(input);
        let mut number = 0u64;
        while let Some(line) =
            lines.next_line().with_context(|| format!("cannot read {shown} after line {number}"))?
        {
            number += 1;
            let at = self
                .line(line.trim(), without_aggregates)
                .with_context(|| format!("{shown}, line {number}"))?;
            for output in self.produced.outputs.drain(..) {
                publish(at, output)?;
            }
        }
        Ok(())
    }

    /// Puts the records of a line into `produced`; returns when it was received.
    fn line(&mut self, text: &str, without_aggregates: bool) -> anyhow::Result<Timestamp> {
        if text.is_empty() {
            return Ok(Timestamp::default());
        }
        let line: Line<'_> = match serde_json::from_str(text) {
            Ok(line) => line,
            Err(error) => {
                self.dead_letter(&Malformed::NotJson(error.to_string()), text);
                return Ok(Timestamp::default());
            }
        };
        if let (Some(at_us), Some(venue), Some(kind), Some(raw)) =
            (line.at_us, &line.venue, &line.kind, &line.raw)
        {
            let at = Timestamp::from_micros(at_us);
            self.capture(at, venue, kind, raw, without_aggregates)?;
            return Ok(at);
        }
        match trade(&line) {
            Ok((pair, event)) => {
                self.produced.outputs.push(Output::Event { pair, event });
                Ok(event.received_at)
            }
            Err(malformed) => {
                self.dead_letter(&malformed, text);
                Ok(Timestamp::default())
            }
        }
    }

    fn capture(
        &mut self,
        at: Timestamp,
        venue: &str,
        kind: &str,
        raw: &str,
        without_aggregates: bool,
    ) -> anyhow::Result<()> {
        let Some(venue) = Venue::from_name(venue) else {
            bail!(
                "captures of {venue} cannot be replayed yet: only those of {}",
                Venue::ALL.map(Venue::as_str).join(", ")
            );
        };
        let pipeline = self.pipelines.entry(venue).or_insert_with(|| {
            let pipeline = Pipeline::new(venue, format!("{venue}-0"));
            if without_aggregates { pipeline.without_aggregates() } else { pipeline }
        });
        match kind {
            "frame" => {
                pipeline.frame(raw, at, &mut self.produced);
                self.metrics.count(venue, &mut self.produced);
            }
            "open" => pipeline.disconnected(),
            // Requests of the recorder, and their answers.
            _ => {}
        }
        Ok(())
    }

    fn dead_letter(&mut self, malformed: &Malformed, text: &str) {
        self.produced.outputs.push(Output::DeadLetter(DeadLetter::new(SOURCE, malformed, text)));
    }
}

fn trade(line: &Line<'_>) -> Result<(PairKey, MarketEvent), Malformed> {
    let part = |name, field: &Option<Cow<'_, str>>| {
        field.as_deref().map(str::to_owned).ok_or(Malformed::MissingField(name))
    };
    let pair = PairKey::new(
        part("base", &line.base)?,
        part("quote", &line.quote)?,
        part("exchange", &line.exchange)?,
    )
    .checked()?;
    let micros = integer("event_time_us", scalar(line.event_time_us))?;
    let price = decimal("price", scalar(line.price))?;
    let size = decimal("size", scalar(line.size))?;
    let trade_id = scalar(line.trade_id).map(|text| integer("trade_id", Some(text))).transpose()?;
    let event =
        MarketEvent { trade_id, ..MarketEvent::trade(price, size, Timestamp::from_micros(micros)) };
    Ok((pair, event))
}

/// The file holds a stream of single trades of Binance, which makes its aggregates repetitions.
/// Files are read twice for it: the first trade may stand behind the first aggregate.
fn has_single_trades(path: &Path) -> anyhow::Result<bool> {
    let open = || format!("cannot open {}", path.display());
    let mut lines = Lines::new(lines::open(path).with_context(open)?);
    while let Some(line) = lines.next_line().with_context(open)? {
        if line.contains(TRADE_STREAM) {
            return Ok(true);
        }
    }
    Ok(false)
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
