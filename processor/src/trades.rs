//! Trade files: JSON Lines of trades, plain or compressed with zstd.
//!
//! ```text
//! {"exchange","base","quote","trade_id","price","size","event_time_us"[,"taker_side"]}
//! ```
//!
//! Decimals are text, or numbers taken as text: none passes through a float.

use std::fs::File;
use std::io::{BufRead, BufReader, Read};
use std::path::Path;

use anyhow::{Context as _, Result};
use schemas::{Decimal, MarketEvent, PairKey, TakerSide, Timestamp};
use serde_json::Value;

/// The lines of a file; `-` is standard input.
pub fn open(path: &Path) -> Result<Box<dyn BufRead>> {
    if path.as_os_str() == "-" {
        return Ok(Box::new(BufReader::new(std::io::stdin())));
    }
    let file = File::open(path).with_context(|| format!("cannot read {}", path.display()))?;
    let reader: Box<dyn Read> = if path.extension().is_some_and(|extension| extension == "zst") {
        Box::new(zstd::Decoder::new(file).with_context(|| format!("{}", path.display()))?)
    } else {
        Box::new(file)
    };
    Ok(Box::new(BufReader::new(reader)))
}

/// One line of a trade file.
pub fn parse(line: &str) -> Result<(PairKey, MarketEvent)> {
    let line: Value = serde_json::from_str(line).context("not JSON")?;
    let text = |name: &str| -> Result<String> {
        match line.get(name) {
            Some(Value::String(text)) => Ok(text.clone()),
            Some(Value::Number(number)) => Ok(number.to_string()),
            Some(_) => anyhow::bail!("{name} is neither text nor a number"),
            None => anyhow::bail!("{name} is missing"),
        }
    };
    let decimal = |name: &str| -> Result<Decimal> {
        let text = text(name)?;
        text.parse().with_context(|| format!("{name} {text:?}"))
    };
    let micros = text("event_time_us")?.parse().context("event_time_us is not an integer")?;
    let trade =
        MarketEvent::trade(decimal("price")?, decimal("size")?, Timestamp::from_micros(micros));
    let trade_id = match line.get("trade_id") {
        None | Some(Value::Null) => None,
        Some(_) => Some(text("trade_id")?.parse().context("trade_id is not an integer")?),
    };
    let taker_side = match line.get("taker_side").and_then(Value::as_str) {
        Some("BUY") => Some(TakerSide::Buy),
        Some("SELL") => Some(TakerSide::Sell),
        Some(other) => anyhow::bail!("taker_side {other:?} is neither BUY nor SELL"),
        None => None,
    };
    let pair = PairKey::new(text("base")?, text("quote")?, text("exchange")?);
    Ok((pair.checked()?, MarketEvent { trade_id, taker_side, ..trade }))
}
