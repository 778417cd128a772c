//! `processor candles FILE…`: the same topology over trade files, without a broker.
//!
//! The task is the real one, with stores in memory. The output at the end equals the content of the
//! topics, with hours and days as readers see them: merged with their open minutes.

use std::io::Write;
use std::path::PathBuf;
use std::sync::Arc;

use anyhow::{Context as _, Result};
use schemas::{Basis, Candle, CandleKey, Codec, Status};
use streams::record::{Batch, Offset, Partition, SourceId, Timestamp};
use streams::store::{Committed, MemoryStore};
use streams::{Task, Topology};

use crate::api::store_reader::{CandleRange, StoreReader};
use crate::operators::Interval;
use crate::{topology, trades};

/// Records between two commits.
const COMMIT_EVERY: usize = 100_000;
/// Decoded state between two commits.
const CACHE_MAX_BYTES: usize = 256 << 20;
/// Candles read at once.
const PAGE: usize = 10_000;

/// The options of the command.
#[derive(Clone, Copy, Debug)]
pub struct ComputeOptions {
    /// The interval of the candles.
    pub interval: Interval,
    /// Leave out open candles.
    pub closed: bool,
}

/// The topology over a task of its own.
struct ComputeTask {
    codec: Arc<Codec>,
    task: Task,
    batch: Batch,
    offset: Offset,
    dropped: u64,
}

impl ComputeTask {
    fn new() -> Result<Self> {
        let codec = Arc::new(Codec::offline());
        let topology: Topology = topology::topology(&codec, "");
        let stores = topology.stores().iter();
        let stores =
            stores.map(|_| Arc::new(Committed::new(Box::new(MemoryStore::default())))).collect();
        let mut task = Task::new(&topology, Partition(0), stores, CACHE_MAX_BYTES)?;
        task.run(&[]);
        Ok(Self { codec, task, batch: Batch::default(), offset: Offset(0), dropped: 0 })
    }

    fn add(&mut self, line: &str) -> Result<()> {
        let (pair, trade) = trades::parse(line)?;
        let (key, value) = (self.codec.to_bytes(&pair), self.codec.to_bytes(&trade));
        self.batch.push(self.offset, Timestamp(trade.event_time.0), &key, Some(&value));
        self.offset = self.offset.next();
        if self.batch.len() >= COMMIT_EVERY { self.commit() } else { Ok(()) }
    }

    fn commit(&mut self) -> Result<()> {
        self.task.add_records(SourceId(0), std::mem::take(&mut self.batch));
        while self.task.process()? {}
        let commit = self.task.prepare_commit()?;
        self.dropped += commit.dead_letters.len() as u64;
        self.dropped += commit.outputs.iter().map(Vec::len).sum::<usize>() as u64;
        self.task.post_commit();
        Ok(())
    }
}

/// Reads the files in order and writes candles of basis TRADE as JSON Lines, by pair and time.
pub fn run(files: &[PathBuf], options: ComputeOptions, out: &mut impl Write) -> Result<()> {
    let mut run = ComputeTask::new()?;
    for path in files {
        for (index, line) in std::io::BufRead::lines(trades::open(path)?).enumerate() {
            let place = || format!("{} line {}", path.display(), index + 1);
            let line = line.with_context(place)?;
            if !line.trim().is_empty() {
                run.add(&line).with_context(place)?;
            }
        }
    }
    run.commit()?;
    print(&run, options, out)?;
    if run.dropped > 0 {
        tracing::warn!(records = run.dropped, "trades were invalid or too late for any candle");
    }
    Ok(())
}

fn print(run: &ComputeTask, options: ComputeOptions, out: &mut impl Write) -> Result<()> {
    let reader = StoreReader::of_task(&run.task);
    for pair in reader.pairs(&[])? {
        let mut range = CandleRange {
            basis: Basis::Trade,
            interval: options.interval,
            from: schemas::Timestamp(i64::MIN),
            to: schemas::Timestamp(i64::MAX),
            limit: PAGE,
        };
        loop {
            let page = reader.candles(&pair, range)?;
            for (key, candle) in &page {
                if !options.closed || candle.status != Status::Open {
                    writeln!(out, "{}", line(key, candle))?;
                }
            }
            match page.last() {
                Some((key, _)) if page.len() == PAGE => {
                    range.from = schemas::Timestamp(key.open_time.0 + 1);
                }
                _ => break,
            }
        }
    }
    Ok(out.flush()?)
}

fn line(key: &CandleKey, candle: &Candle) -> String {
    let text = |volume: Option<schemas::Decimal>| volume.map(|volume| volume.to_string());
    serde_json::json!({
        "exchange": key.pair.exchange,
        "base": key.pair.base,
        "quote": key.pair.quote,
        "open_time_ms": key.open_time.0,
        "open": candle.open.to_string(),
        "high": candle.high.to_string(),
        "low": candle.low.to_string(),
        "close": candle.close.to_string(),
        "volume": text(candle.base_volume),
        "quote_volume": text(candle.quote_volume),
        "trades": candle.trades,
        "status": candle.status.as_str(),
        "revision": candle.revision,
    })
    .to_string()
}
