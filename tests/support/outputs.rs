//! The content of the output topics, and how two of them differ.

use std::collections::BTreeMap;

use anyhow::{Context, Result, bail, ensure};
use schemas::topic::Topic;
use schemas::{Candle, CandleKey, Codec, LatestPrice, PairKey};

use super::topics::Record;

/// Candles by window, and the partition each is in.
type Candles = BTreeMap<CandleKey, (i32, Candle)>;

/// The content of the output topics: for each key its newest value, and the partition it is in.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Outputs {
    /// By pair.
    pub latest: BTreeMap<PairKey, (i32, LatestPrice)>,
    /// By window. The ids that a candle has counted are left out.
    pub minutes: Candles,
    /// By window.
    pub hours: Candles,
    /// By window.
    pub days: Candles,
    /// Records in `late`.
    pub late: usize,
    /// Records in `dead_letters`.
    pub dead_letters: usize,
}

impl Outputs {
    /// Adds the records of an output topic. A key in two partitions is an error.
    pub fn add(&mut self, codec: &Codec, topic: Topic, records: &[Record]) -> Result<()> {
        for record in records {
            let value = record.value.as_deref().context("a tombstone")?;
            if topic == Topic::Latest {
                let newest = (record.partition, codec.decode(value)?);
                put(&mut self.latest, codec.decode(&record.key)?, newest)?;
            } else {
                let mut candle: Candle = codec.decode(value)?;
                candle.seen.clear();
                let newest = (record.partition, candle);
                put(self.candles(topic)?, codec.decode(&record.key)?, newest)?;
            }
        }
        Ok(())
    }

    /// The candles of a topic.
    pub fn candles(&mut self, topic: Topic) -> Result<&mut Candles> {
        Ok(match topic {
            Topic::Ohlc1m => &mut self.minutes,
            Topic::Ohlc1h => &mut self.hours,
            Topic::Ohlc1d => &mut self.days,
            other => bail!("{other:?} holds no candles"),
        })
    }

    /// What is here beyond `other`: events in candles, pairs, and records that were set apart.
    pub fn beyond(&self, other: &Self) -> u64 {
        let pairs = self.latest.keys().filter(|pair| !other.latest.contains_key(pair)).count();
        let candles = |own: &Candles, theirs: &Candles| -> u64 {
            let trades = |candles: &Candles, key| candles.get(key).map_or(0, |(_, c)| c.trades);
            let beyond = own.keys().map(|key| trades(own, key) - trades(theirs, key));
            beyond.map(|count| u64::try_from(count).unwrap_or(0)).sum()
        };
        (pairs
            + self.late.saturating_sub(other.late)
            + self.dead_letters.saturating_sub(other.dead_letters)) as u64
            + candles(&self.minutes, &other.minutes)
            + candles(&self.hours, &other.hours)
            + candles(&self.days, &other.days)
    }

    /// An error that names the first differences.
    pub fn equals(&self, expected: &Self) -> Result<()> {
        let differences = [
            differences("latest", &self.latest, &expected.latest),
            differences("ohlc_1m", &self.minutes, &expected.minutes),
            differences("ohlc_1h", &self.hours, &expected.hours),
            differences("ohlc_1d", &self.days, &expected.days),
        ]
        .concat();
        ensure!(
            differences.is_empty(),
            "outputs differ from the fold:\n{}",
            differences.join("\n")
        );
        ensure!(self.late == expected.late, "late: {}, not {}", self.late, expected.late);
        let (found, wanted) = (self.dead_letters, expected.dead_letters);
        ensure!(found == wanted, "dead letters: {found}, not {wanted}");
        Ok(())
    }
}

/// Adds what is newest of a key. A key in two partitions is an error.
pub fn put<K: Ord + std::fmt::Debug, V>(
    map: &mut BTreeMap<K, (i32, V)>,
    key: K,
    newest: (i32, V),
) -> Result<()> {
    if let Some((before, _)) = map.get(&key) {
        ensure!(*before == newest.0, "{key:?} is in partitions {before} and {}", newest.0);
    }
    map.insert(key, newest);
    Ok(())
}

/// Differences that are shown of a topic.
const SHOWN: usize = 3;

fn differences<K: Ord + std::fmt::Debug, V: PartialEq + std::fmt::Debug>(
    topic: &str,
    actual: &BTreeMap<K, V>,
    expected: &BTreeMap<K, V>,
) -> Vec<String> {
    let keys = actual.keys().chain(expected.keys());
    let mut found: Vec<_> = keys.filter(|key| actual.get(key) != expected.get(key)).collect();
    found.sort();
    found.dedup();
    let mut shown: Vec<_> = found
        .iter()
        .take(SHOWN)
        .map(|key| format!("{key:?}\n  is  {:?}\n  not {:?}", actual.get(key), expected.get(key)))
        .collect();
    if !shown.is_empty() {
        let (is, wanted) = (actual.len(), expected.len());
        shown.push(format!("{topic}: {} keys differ; there are {is}, of {wanted}", found.len()));
    }
    shown
}
