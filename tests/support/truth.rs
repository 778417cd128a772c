//! The file of a simulator's truth (`--truth`): the best bids and asks that the venue showed, the
//! faults of its books, the tickers that it sent, and what it listed and ended while it ran.

use std::collections::{BTreeMap, HashMap};
use std::path::Path;

use anyhow::{Context, Result};
use schemas::Decimal;
use serde_json::Value;

pub use super::book_truth::Shown;

/// The fields of a ticker as text; those of a group have its name in front: `greeks.delta`.
pub type Ticker = BTreeMap<String, Option<String>>;

/// The quotes, faults and tickers by the venue's name of the product, oldest first.
#[derive(Debug, Default)]
pub struct Truth {
    /// Each change of the best bid or ask.
    pub quotes: BTreeMap<String, Vec<Shown>>,
    /// The time in microseconds and the name of each fault.
    pub faults: BTreeMap<String, Vec<(i64, String)>>,
    /// The time in microseconds, the product, and whether it was listed, not ended.
    pub listings: Vec<(i64, String, bool)>,
    /// The lines of the tickers that were sent, by product and time in milliseconds.
    tickers: HashMap<(String, i64), Vec<String>>,
}

impl Truth {
    /// The file so far, also while the simulator writes it.
    pub fn read(path: &Path) -> Result<Self> {
        let text = std::fs::read_to_string(path).with_context(|| path.display().to_string())?;
        let mut truth = Self::default();
        // A line without its end is still being written.
        let whole = text.split_inclusive('\n').filter(|line| line.ends_with('\n'));
        for line in whole {
            truth.take(line).with_context(|| line.to_owned())?;
        }
        Ok(truth)
    }

    /// The tickers of a product at a time in milliseconds.
    pub fn tickers(&self, product: &str, time_ms: i64) -> Result<Vec<Ticker>> {
        let ticker = |line: &String| {
            let line: Value = serde_json::from_str(line)?;
            let fields = line["ticker"].as_object().context("no ticker")?.iter();
            Ok(fields
                .map(|(name, text)| (name.clone(), text.as_str().map(str::to_owned)))
                .collect())
        };
        let lines = self.tickers.get(&(product.to_owned(), time_ms)).into_iter().flatten();
        lines.map(ticker).collect()
    }

    /// The number of tickers that were sent.
    pub fn ticker_count(&self) -> usize {
        self.tickers.values().map(Vec::len).sum()
    }

    fn take(&mut self, line: &str) -> Result<()> {
        let text = line;
        let line: Value = serde_json::from_str(line)?;
        let product = line["product"].as_str().context("no product")?.to_owned();
        let time_us = line["time_us"].as_i64().context("no time")?;
        if let Some(fault) = line["fault"].as_str() {
            self.faults.entry(product).or_default().push((time_us, fault.to_owned()));
            return Ok(());
        }
        if line["ticker"].is_object() {
            self.tickers.entry((product, time_us / 1000)).or_default().push(text.to_owned());
            return Ok(());
        }
        if let Some(listing) = line["listing"].as_str() {
            self.listings.push((time_us, product, listing == "listed"));
            return Ok(());
        }
        let number = |name: &str| -> Result<Decimal> {
            let text = line[name].as_str().with_context(|| format!("no {name}"))?;
            Ok(text.parse()?)
        };
        self.quotes.entry(product).or_default().push(Shown {
            time_us,
            id: line["id"].as_u64().context("no id")?,
            bid: (number("bid")?, number("bid_size")?),
            ask: (number("ask")?, number("ask_size")?),
        });
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn whole_lines_are_read_and_a_beginning_is_not() -> Result<()> {
        let folder = tempfile::tempdir()?;
        let path = folder.path().join("truth.jsonl");
        let quote = r#"{"ask":"2","ask_size":"3","bid":"1","bid_size":"4","id":5,"product":"A","time_us":6}"#;
        let fault = r#"{"fault":"crossed","product":"A","time_us":7}"#;
        let ticker =
            r#"{"product":"B","time_us":6001,"ticker":{"bid_iv":"0.0","last_price":null}}"#;
        let ended = r#"{"listing":"ended","product":"B","time_us":7}"#;
        let lines = [quote, fault, ticker, ended, "{\"fault\":"];
        std::fs::write(&path, lines.join("\n"))?;
        let truth = Truth::read(&path)?;
        let level = |price: &str, size: &str| anyhow::Ok((price.parse()?, size.parse()?));
        let shown = Shown { time_us: 6, id: 5, bid: level("1", "4")?, ask: level("2", "3")? };
        assert_eq!(truth.quotes["A"], [shown]);
        assert_eq!(truth.faults["A"], [(7, "crossed".to_owned())]);
        let [ticker] = &truth.tickers("B", 6)?[..] else { anyhow::bail!("{truth:?}") };
        assert_eq!((&ticker["bid_iv"], &ticker["last_price"]), (&Some("0.0".to_owned()), &None));
        assert_eq!(
            (&truth.listings[..], truth.ticker_count()),
            (&[(7, "B".to_owned(), false)][..], 1)
        );
        Ok(())
    }
}
