//! The content of the output topics, and how two of them differ.

use std::collections::BTreeMap;

use anyhow::{Context, Result, bail, ensure};
use schemas::topic::Topic;
use schemas::{Candle, CandleKey, Codec, LatestPrice, MarketEvent, PairKey};

use super::books::Books;
use super::options::Options;
use super::topics::Record;

/// Records that were set apart, and how often each: it must be once.
pub type SetApart = BTreeMap<String, usize>;
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
    /// Events in `late`.
    pub late: SetApart,
    /// Records in `dead_letters`, by where they come from.
    pub dead_letters: SetApart,
    /// The outputs of `quotes`, which the fold of `events` does not have.
    pub books: Books,
    /// The outputs of `options`, which the fold of `events` does not have.
    pub options: Options,
}

impl Outputs {
    /// Adds the records of an output topic. A key in two partitions is an error.
    pub fn add(&mut self, codec: &Codec, topic: Topic, records: &[Record]) -> Result<()> {
        for record in records {
            if topic == Topic::DeadLetters {
                set_apart(&mut self.dead_letters, origin(record));
                continue;
            }
            if self.options.add(codec, topic, record)? {
                continue;
            }
            let value = record.value.as_deref().context("a tombstone")?;
            if self.books.add(codec, topic, record)? {
                continue;
            }
            if topic == Topic::Latest {
                let newest = (record.partition, codec.decode(value)?);
                put(&mut self.latest, codec.decode(&record.key)?, newest)?;
            } else if topic == Topic::Late {
                let (pair, event) = (codec.decode(&record.key)?, codec.decode(value)?);
                set_apart(&mut self.late, late(record.partition, &pair, &event));
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
        let apart = |own: &SetApart, theirs: &SetApart| -> usize {
            let known = |record| theirs.get(record).copied().unwrap_or(0);
            own.iter().map(|(record, count)| count.saturating_sub(known(record))).sum()
        };
        (pairs + apart(&self.late, &other.late) + apart(&self.dead_letters, &other.dead_letters))
            as u64
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
            differences("late", &self.late, &expected.late),
            differences("dead_letters", &self.dead_letters, &expected.dead_letters),
        ]
        .concat();
        ensure!(
            differences.is_empty(),
            "outputs differ from the fold:\n{}",
            differences.join("\n")
        );
        Ok(())
    }
}

/// Adds a record that was set apart.
pub fn set_apart(records: &mut SetApart, record: String) {
    *records.entry(record).or_default() += 1;
}

/// A late event, as it stands in the partition of its pair.
pub fn late(partition: i32, pair: &PairKey, event: &MarketEvent) -> String {
    format!("{pair} in partition {partition}: {event:?}")
}

/// A record of `events` that could not be used.
pub fn unusable(partition: i64, offset: i64) -> String {
    format!("events, partition {partition}, offset {offset}")
}

/// Where a dead letter comes from. A producer's has no place in `events`, and counts as itself.
pub fn origin(letter: &Record) -> String {
    let place = |name: &str| letter.headers.get(name).and_then(|text| text.parse().ok());
    match (place("partition"), place("offset")) {
        (Some(partition), Some(offset)) => unusable(partition, offset),
        _ => format!("dead letter {} of partition {}", letter.offset, letter.partition),
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
