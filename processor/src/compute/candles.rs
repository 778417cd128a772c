//! `processor candles FILE…`: candles of basis TRADE, a short form of `processor compute`.
//!
//! Hours and days are as readers see them: merged with their open minutes.

use std::io::Write;
use std::path::PathBuf;

use anyhow::{Context as _, Result, ensure};
use schemas::{Basis, Candle, CandleKey, Status};
use venues::pipeline::Output;
use venues::recording;

use super::computation::Computation;
use super::{COMMIT_EVERY, feed};
use crate::api::store_reader::{CandleRange, StoreReader};
use crate::operators::Interval;

/// Candles read at once.
const PAGE: usize = 10_000;

/// The options of [`candles`].
#[derive(Clone, Copy, Debug)]
pub struct CandlesOptions {
    /// The interval of the candles.
    pub interval: Interval,
    /// Leave out open candles.
    pub closed: bool,
}

/// Computes the files in order and writes candles of trades as JSON Lines, by pair and time.
///
/// # Errors
/// Those of [`run`](super::run), and a line that cannot be read.
pub fn candles(files: &[PathBuf], options: CandlesOptions, out: &mut impl Write) -> Result<()> {
    let mut computation = Computation::new(COMMIT_EVERY, Vec::new())?;
    let mut check = |output: &Output| match output {
        Output::DeadLetter(letter) => {
            ensure!(
                letter.venue != recording::SOURCE,
                "{}; correct the line or leave it out",
                letter.detail
            );
            Ok(())
        }
        _ => Ok(()),
    };
    feed(files, &[], &mut computation, &mut check, &mut |_| Ok(()))?;
    let reader = computation.reader().context("the computation has no prices: this is a bug")?;
    print(&reader, options, out)?;
    computation.warn();
    Ok(())
}

fn print(reader: &StoreReader, options: CandlesOptions, out: &mut impl Write) -> Result<()> {
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
