//! Rows read from the stores: snapshots, what a client that comes back has missed, and live hours.

use std::sync::Arc;

use schemas::{Basis, CandleKey, Codec, PairKey, Timestamp};
use streams::runtime::Queries;
use streams::store::Committed;
use streams::{Error, Result};

use super::encode;
use super::lines::Key;
use super::pattern::{Channel, Pattern};
use crate::layout;
use crate::operators::Interval;
use crate::query::budget::{Budget, Text};
use crate::query::read::{Range, Reader};

/// Rows of one snapshot. A pattern that has more gets so many, and is told how many pairs it did
/// not get: it should be narrower.
pub(super) const MAX_ROWS: usize = 20_000;
/// Bytes of one message beyond which the next begins: the others of a client wait behind it.
const MAX_PART: usize = 64 << 10;

/// Rows as they are sent: a message each.
pub(super) type Parts = Vec<Arc<Text>>;

/// Rows in parts, each of JSON objects separated by commas.
#[derive(Debug, Default)]
pub(super) struct Rows {
    parts: Vec<String>,
    count: usize,
}

impl Rows {
    /// Appends what `write` writes, which is one row.
    pub(super) fn push(&mut self, write: impl FnOnce(&mut String)) {
        if self.parts.last().is_none_or(|part| part.len() > MAX_PART) {
            self.parts.push(String::new());
        }
        let Some(part) = self.parts.last_mut() else { return };
        if !part.is_empty() {
            part.push(',');
        }
        write(part);
        self.count += 1;
    }

    /// Nothing is in it.
    pub(super) const fn is_empty(&self) -> bool {
        self.count == 0
    }

    fn is_full(&self) -> bool {
        self.count >= MAX_ROWS
    }

    /// The text of the only row.
    pub(super) fn into_row(self) -> Option<String> {
        self.parts.into_iter().next()
    }

    /// The parts: at least one.
    pub(super) fn into_parts(mut self, budget: &Budget) -> Parts {
        if self.parts.is_empty() {
            self.parts.push(String::new());
        }
        self.parts.into_iter().map(|part| Text::new(part, budget)).collect()
    }
}

/// The stores of one partition.
struct Here {
    partition: i32,
    latest: Arc<Committed>,
    tiers: [Arc<Committed>; 3],
    reader: Reader,
}

impl Here {
    fn store(&self, channel: Channel) -> &Committed {
        match channel {
            Channel::Latest => &self.latest,
            Channel::Candles(_) => &self.tiers[channel.index() - 1],
        }
    }
}

/// The stores that are here at this moment.
pub(super) struct Stores {
    codec: Arc<Codec>,
    here: Vec<Here>,
}

impl Stores {
    /// Takes them.
    pub(super) fn new(queries: &Queries, codec: &Arc<Codec>) -> Self {
        let [latest, tiers @ ..] = Channel::ALL.map(|channel| queries.stores(channel.store()));
        let here = latest.into_iter().filter_map(|(partition, latest)| {
            // A rebalance may have taken some of them away in between.
            let tier = |index: usize| {
                let tiers: &[(i32, Arc<Committed>)] = &tiers[index];
                tiers.iter().find(|(p, _)| *p == partition).map(|(_, store)| Arc::clone(store))
            };
            let tiers = [tier(0)?, tier(1)?, tier(2)?];
            let reader = Reader::new(Arc::clone(codec), Arc::clone(&latest), tiers.clone());
            Some(Here { partition, latest, tiers, reader })
        });
        Self { codec: Arc::clone(codec), here: here.collect() }
    }

    /// The partitions.
    pub(super) fn partitions(&self) -> Vec<i32> {
        self.here.iter().map(|here| here.partition).collect()
    }

    /// What a pattern stands for now. Returns how many pairs were looked at for it.
    pub(super) fn snapshot(&self, pattern: &Pattern, rows: &mut Rows) -> Result<usize> {
        let (mut looked_at, mut left_out) = (0, 0);
        // The keys begin with the base, and go on with the quote.
        let base = pattern.base.as_deref();
        let prefix = base.map(|base| layout::pair_prefix(base, pattern.quote.as_deref()));
        for here in &self.here {
            let pairs = match pattern.pair() {
                Some(pair) => vec![pair],
                None => here.reader.pairs(prefix.as_deref().unwrap_or_default())?,
            };
            looked_at += pairs.len();
            for pair in pairs.iter().filter(|pair| pattern.matches(pair)) {
                if rows.is_full() {
                    left_out += 1;
                } else {
                    Self::newest(here, pattern.channel, pair, rows)?;
                }
            }
        }
        if left_out > 0 {
            tracing::warn!(left_out, "a snapshot was cut short: the pattern is too wide");
        }
        Ok(looked_at)
    }

    /// The newest price of a pair, or its newest candles: the one of the newest price and the one
    /// before it.
    fn newest(here: &Here, channel: Channel, pair: &PairKey, rows: &mut Rows) -> Result<()> {
        let Some(latest) = here.reader.latest(pair)? else {
            return Ok(());
        };
        let Channel::Candles(interval) = channel else {
            rows.push(|out| encode::latest(pair, &latest, out));
            return Ok(());
        };
        let start = interval.start(latest.event_time).0;
        let (from, to) = (start.saturating_sub(interval.length_ms()), start.saturating_add(1));
        for basis in [Basis::Trade, Basis::Ticker] {
            let range =
                Range { basis, interval, from: Timestamp(from), to: Timestamp(to), limit: 2 };
            for (key, candle) in here.reader.candles(pair, range)? {
                rows.push(|out| encode::candle(interval, &key, &candle, out));
            }
        }
        Ok(())
    }

    /// What these keys of a channel hold now, where they match.
    pub(super) fn values(
        &self,
        pattern: &Pattern,
        keys: &[(i32, Key)],
        rows: &mut Rows,
    ) -> Result<()> {
        for (partition, key) in keys {
            let Some(changed) = ChangedKey::read(pattern.channel, key) else { continue };
            let here = self.here.iter().find(|here| here.partition == *partition);
            let Some(here) = here.filter(|_| pattern.matches(changed.pair())) else { continue };
            let value = here.store(pattern.channel).get(key)?;
            self.row(*partition, &changed, value.as_deref(), rows)?;
        }
        Ok(())
    }

    /// One row of a key whose value is known.
    pub(super) fn row(
        &self,
        partition: i32,
        key: &ChangedKey,
        value: Option<&[u8]>,
        rows: &mut Rows,
    ) -> Result<()> {
        let corrupt = |error: schemas::DecodeError| Error::Corrupt(error.to_string());
        match (key, value) {
            (ChangedKey::Pair(pair), Some(value)) => {
                let latest = self.codec.decode(value).map_err(corrupt)?;
                rows.push(|out| encode::latest(pair, &latest, out));
            }
            (ChangedKey::Pair(pair), None) => rows.push(|out| encode::deleted(pair, None, out)),
            (ChangedKey::Candle(Interval::Minute, key), Some(value)) => {
                let candle = self.codec.decode(value).map_err(corrupt)?;
                rows.push(|out| encode::candle(Interval::Minute, key, &candle, out));
            }
            (ChangedKey::Candle(Interval::Minute, key), None) => {
                rows.push(|out| encode::deleted(&key.pair, Some(key), out));
            }
            (ChangedKey::Candle(interval, key), _) => {
                self.live(partition, *interval, key, rows)?;
            }
        }
        Ok(())
    }

    /// An hour or a day with the minutes that are still open, as it is read.
    fn live(
        &self,
        partition: i32,
        interval: Interval,
        key: &CandleKey,
        rows: &mut Rows,
    ) -> Result<()> {
        let Some(here) = self.here.iter().find(|here| here.partition == partition) else {
            return Ok(());
        };
        let to = Timestamp(key.open_time.0.saturating_add(1));
        let range = Range { basis: key.basis, interval, from: key.open_time, to, limit: 1 };
        match here.reader.candles(&key.pair, range)?.first() {
            Some((key, candle)) => rows.push(|out| encode::candle(interval, key, candle, out)),
            None => rows.push(|out| encode::deleted(&key.pair, Some(key), out)),
        }
        Ok(())
    }
}

/// A store key, typed.
pub(super) enum ChangedKey {
    /// Of the newest price.
    Pair(PairKey),
    /// Of a candle.
    Candle(Interval, CandleKey),
}

impl ChangedKey {
    /// Reads a key of a channel's store.
    pub(super) fn read(channel: Channel, key: &[u8]) -> Option<Self> {
        match channel {
            Channel::Latest => layout::read_pair(key).map(Self::Pair),
            Channel::Candles(interval) => {
                layout::typed_candle_key(key).map(|key| Self::Candle(interval, key))
            }
        }
    }

    /// Its pair.
    pub(super) const fn pair(&self) -> &PairKey {
        match self {
            Self::Pair(pair) => pair,
            Self::Candle(_, key) => &key.pair,
        }
    }
}

/// The key of the hour or day that a minute's key falls into.
pub(super) fn parent_key(minute: &[u8], interval: Interval) -> Option<Vec<u8>> {
    let (pair, basis, time) = layout::read_candle_key(minute)?;
    let mut key = Vec::with_capacity(minute.len());
    layout::candle_key(interval, pair, basis, interval.start(time), &mut key);
    Some(key)
}
