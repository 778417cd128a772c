//! The file of a simulator's truth (`--truth`): the best bids and asks that the venue showed, and the
//! faults of its books.

use std::collections::BTreeMap;
use std::path::Path;

use anyhow::{Context, Result};
use schemas::Decimal;
use serde_json::Value;

/// The best bid and ask of a product from a time on, each price and size.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Shown {
    /// The venue's time, in microseconds since the epoch.
    pub time_us: i64,
    /// The id of the state.
    pub id: u64,
    /// Price and size.
    pub bid: (Decimal, Decimal),
    /// Price and size.
    pub ask: (Decimal, Decimal),
}

/// The quotes and faults by the venue's name of the product, oldest first.
#[derive(Debug, Default)]
pub struct Truth {
    /// Each change of the best bid or ask.
    pub quotes: BTreeMap<String, Vec<Shown>>,
    /// The time in microseconds and the name of each fault.
    pub faults: BTreeMap<String, Vec<(i64, String)>>,
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

    fn take(&mut self, line: &str) -> Result<()> {
        let line: Value = serde_json::from_str(line)?;
        let product = line["product"].as_str().context("no product")?.to_owned();
        let time_us = line["time_us"].as_i64().context("no time")?;
        if let Some(fault) = line["fault"].as_str() {
            self.faults.entry(product).or_default().push((time_us, fault.to_owned()));
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
        std::fs::write(&path, format!("{quote}\n{fault}\n{{\"fault\":"))?;
        let truth = Truth::read(&path)?;
        let level = |price: &str, size: &str| anyhow::Ok((price.parse()?, size.parse()?));
        let shown = Shown { time_us: 6, id: 5, bid: level("1", "4")?, ask: level("2", "3")? };
        assert_eq!(truth.quotes["A"], [shown]);
        assert_eq!(truth.faults["A"], [(7, "crossed".to_owned())]);
        Ok(())
    }
}
