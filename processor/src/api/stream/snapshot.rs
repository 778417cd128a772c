//! Rows read from the stores: snapshots, the missed changes of a client that resumes, and live
//! hours.
//!
//! A snapshot has at most [`Channel::max_rows`] rows. A wider pattern gets so many, and a warning is
//! logged.

use std::collections::BTreeMap;
use std::sync::Arc;

use schemas::avro::{Reader, Record as _};
use schemas::{
    Basis, CandleKey, Codec, IndexKey, PairKey, SwapState, SwapStatusKey, Timestamp, TokenBucketKey,
};
use streams::runtime::Queries;
use streams::store::Committed;
use streams::{Error, Result};

use super::encode;
use super::pattern::{Channel, Pattern};
use super::recent_changes::Key;
use crate::api::budget::{Budget, SharedText};
use crate::api::pair_store::PairStore;
use crate::api::store_reader::{CandleRange, StoreReader};
use crate::api::swap_windows::{WindowName, WindowStore};
use crate::operators::Interval;
use crate::store_keys;

/// Bytes of one message, beyond which the next one begins, so that a client's other messages are
/// not delayed.
const MAX_PART: usize = 64 << 10;
/// Buckets of a token in a snapshot: the newest and the one before, as of candles.
const NEWEST_BUCKETS: usize = 2;
/// The time before the newest bucket of a partition of which a snapshot of tokens has rows.
const RECENT_MS: i64 = Interval::Hour.length_ms();

/// Rows as messages.
pub(super) type Parts = Vec<Arc<SharedText>>;

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

    /// Whether there is no row.
    pub(super) const fn is_empty(&self) -> bool {
        self.count == 0
    }

    /// Whether a snapshot of the channel holds no more rows.
    fn is_full(&self, channel: Channel) -> bool {
        self.count >= channel.max_rows()
    }

    /// The text of the only row.
    pub(super) fn into_row(self) -> Option<String> {
        self.parts.into_iter().next()
    }

    /// The parts, at least one.
    pub(super) fn into_parts(mut self, budget: &Budget) -> Parts {
        if self.parts.is_empty() {
            self.parts.push(String::new());
        }
        self.parts.into_iter().map(|part| SharedText::new(part, budget)).collect()
    }
}

/// The stores of this process at one moment, by partition.
pub(super) struct LocalStores {
    codec: Arc<Codec>,
    /// Prices and candles.
    here: Vec<(i32, StoreReader)>,
    /// The tops of books, whose partitions are those of `quotes`.
    tops: Vec<(i32, Arc<Committed>)>,
    /// Books: a table, of which each process has every partition.
    books: Vec<(i32, Arc<Committed>)>,
    /// Options, whose partitions are those of `option_tickers`.
    options: Vec<(i32, Arc<Committed>)>,
    /// Buckets of tokens, whose partitions are those of their legs.
    tokens: Vec<(i32, Arc<Committed>)>,
    /// Statuses of swaps, whose partitions are their own.
    swaps: Vec<(i32, Arc<Committed>)>,
    /// Consolidated prices, whose partitions are those of their legs.
    indexes: Vec<(i32, Arc<Committed>)>,
}

impl LocalStores {
    /// Takes the stores.
    pub(super) fn new(queries: &Queries, codec: &Arc<Codec>) -> Self {
        Self {
            codec: Arc::clone(codec),
            here: StoreReader::of_partitions(queries, codec),
            tops: queries.stores(Channel::Quotes.store()),
            books: queries.stores(Channel::Book.store()),
            options: queries.stores(Channel::Options.store()),
            tokens: queries.stores(Channel::Tokens.store()),
            swaps: queries.stores(Channel::Swaps.store()),
            indexes: queries.stores(Channel::Index.store()),
        }
    }

    fn reader(&self, partition: i32) -> Option<&StoreReader> {
        self.here.iter().find(|(known, _)| *known == partition).map(|(_, reader)| reader)
    }

    /// The partitions of a channel's store.
    pub(super) fn partitions(&self, channel: Channel) -> Vec<i32> {
        match channel {
            Channel::Latest | Channel::Candles(_) => {
                self.here.iter().map(|(partition, _)| *partition).collect()
            }
            other => self.others(other).iter().map(|(partition, _)| *partition).collect(),
        }
    }

    /// The partitions of the store of a channel; none of prices and candles.
    fn others(&self, channel: Channel) -> &[(i32, Arc<Committed>)] {
        match channel {
            Channel::Latest | Channel::Candles(_) => &[],
            Channel::Quotes => &self.tops,
            Channel::Book => &self.books,
            Channel::Options => &self.options,
            Channel::Tokens => &self.tokens,
            Channel::Swaps => &self.swaps,
            Channel::Index => &self.indexes,
        }
    }

    /// The store of a channel in a partition.
    fn store(&self, channel: Channel, partition: i32) -> Result<Option<&Committed>> {
        if matches!(channel, Channel::Latest | Channel::Candles(_)) {
            let reader = self.reader(partition);
            return reader.map(|reader| reader.store(channel.topic())).transpose();
        }
        let stores = self.others(channel);
        Ok(stores.iter().find(|(known, _)| *known == partition).map(|(_, store)| &**store))
    }

    /// Adds the rows that match a pattern. Returns the number of pairs read.
    pub(super) fn snapshot(&self, pattern: &Pattern, rows: &mut Rows) -> Result<usize> {
        let (looked_at, left_out) = match pattern.channel {
            Channel::Latest | Channel::Candles(_) => self.prices(pattern, rows)?,
            Channel::Tokens => self.buckets(pattern, rows)?,
            // The store is not in the order of time: subscribers get the changes from now on.
            Channel::Swaps => (0, 0),
            other => self.by_pair(pattern, self.others(other), rows)?,
        };
        if left_out > 0 {
            tracing::warn!(left_out, "a snapshot was cut short: the pattern is too wide");
        }
        Ok(looked_at)
    }

    /// Adds prices or candles. Returns the pairs read, and those that no longer fit.
    fn prices(&self, pattern: &Pattern, rows: &mut Rows) -> Result<(usize, usize)> {
        let (mut looked_at, mut left_out) = (0, 0);
        let prefix = prefix(pattern);
        for (_, reader) in &self.here {
            let pairs = match pattern.pair() {
                Some(pair) => vec![pair],
                None => reader.pairs(&prefix)?,
            };
            looked_at += pairs.len();
            for pair in pairs.iter().filter(|pair| pattern.matches(pair)) {
                if rows.is_full(pattern.channel) {
                    left_out += 1;
                } else {
                    Self::newest(reader, pattern.channel, pair, rows)?;
                }
            }
        }
        Ok((looked_at, left_out))
    }

    /// Adds the values of stores whose keys are pairs. Returns the pairs read, and those that no longer
    /// fit.
    fn by_pair(
        &self,
        pattern: &Pattern,
        stores: &[(i32, Arc<Committed>)],
        rows: &mut Rows,
    ) -> Result<(usize, usize)> {
        let (channel, prefix) = (pattern.channel, prefix(pattern));
        let (mut looked_at, mut left_out) = (0, 0);
        for (partition, store) in stores {
            let store = PairStore::new(&self.codec, store, channel.topic());
            let mut add = |pair: PairKey, value: &[u8]| {
                looked_at += 1;
                if !pattern.matches(&pair) {
                    return Ok(());
                }
                if rows.is_full(channel) {
                    left_out += 1;
                    return Ok(());
                }
                self.row(*partition, &ChangedKey::Pair(channel, pair), Some(value), rows)
            };
            match pattern.pair() {
                Some(pair) => {
                    if let Some(value) = store.bytes(&store_key(channel, &pair))? {
                        add(pair, &value)?;
                    }
                }
                None => store.visit_keys(&prefix, |key, value| {
                    let pair = read_pair(channel, key);
                    add(pair.ok_or_else(|| store.corrupt("a key is not a pair"))?, value)
                })?,
            }
        }
        Ok((looked_at, left_out))
    }

    /// Adds the newest buckets of each token that had a swap lately. Returns the buckets read, and those
    /// that no longer fit.
    fn buckets(&self, pattern: &Pattern, rows: &mut Rows) -> Result<(usize, usize)> {
        let (mut looked_at, mut left_out) = (0, 0);
        for (_, store) in &self.tokens {
            let windows = WindowStore::new(&self.codec, store, pattern.channel.topic());
            let Some(newest) = windows.newest()? else { continue };
            let from = Timestamp(newest.0.saturating_sub(RECENT_MS));
            let mut found = BTreeMap::<(i64, String), Vec<(Timestamp, Vec<u8>)>>::new();
            windows.visit(from, Timestamp(newest.0.saturating_add(1)), |name, value| {
                looked_at += 1;
                let WindowName { chain, address, open_time } = name;
                if pattern.matches(&chain_pair(chain, &address)) {
                    let newest = found.entry((chain, address)).or_default();
                    if newest.len() == NEWEST_BUCKETS {
                        newest.remove(0);
                    }
                    newest.push((open_time, value.to_vec()));
                }
                Ok(())
            })?;
            for ((chain, token), buckets) in found {
                for (open_time, value) in buckets {
                    if rows.is_full(pattern.channel) {
                        left_out += 1;
                        continue;
                    }
                    let key = TokenBucketKey { chain, token: token.clone(), open_time };
                    let bucket = windows.decode(&value)?;
                    rows.push(|out| encode::bucket(&key, bucket, out));
                }
            }
        }
        Ok((looked_at, left_out))
    }

    /// Adds the newest price of a pair, or its two newest candles.
    fn newest(
        reader: &StoreReader,
        channel: Channel,
        pair: &PairKey,
        rows: &mut Rows,
    ) -> Result<()> {
        let Some(latest) = reader.latest(pair)? else {
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
                CandleRange { basis, interval, from: Timestamp(from), to: Timestamp(to), limit: 2 };
            for (key, candle) in reader.candles(pair, range)? {
                rows.push(|out| encode::candle(interval, &key, &candle, out));
            }
        }
        Ok(())
    }

    /// Adds the current values of keys of a channel, where they match.
    pub(super) fn values(
        &self,
        pattern: &Pattern,
        keys: &[(i32, Key)],
        rows: &mut Rows,
    ) -> Result<()> {
        for (partition, key) in keys {
            let Some(store) = self.store(pattern.channel, *partition)? else { continue };
            let value = store.get(key)?;
            let changed = ChangedKey::read(pattern.channel, key, value.as_deref(), &self.codec);
            let Some(changed) = changed.filter(|key| pattern.matches(key.pair())) else { continue };
            self.row(*partition, &changed, value.as_deref(), rows)?;
        }
        Ok(())
    }

    /// Adds one row of a key whose value is known.
    pub(super) fn row(
        &self,
        partition: i32,
        key: &ChangedKey,
        value: Option<&[u8]>,
        rows: &mut Rows,
    ) -> Result<()> {
        let corrupt = |error: schemas::DecodeError| Error::Corrupt(error.to_string());
        match (key, value) {
            (ChangedKey::Pair(Channel::Quotes, pair), Some(value)) => {
                let top = self.codec.decode(value).map_err(corrupt)?;
                rows.push(|out| encode::quote(pair, &top, out));
            }
            (ChangedKey::Pair(Channel::Book, pair), Some(value)) => {
                let book = self.codec.decode(value).map_err(corrupt)?;
                rows.push(|out| encode::book(pair, &book, out));
            }
            (ChangedKey::Pair(Channel::Options, pair), Some(value)) => {
                let option = self.codec.decode(value).map_err(corrupt)?;
                rows.push(|out| encode::option(pair, &option, out));
            }
            (ChangedKey::Pair(Channel::Index, pair), Some(value)) => {
                let index = self.codec.decode(value).map_err(corrupt)?;
                rows.push(|out| encode::index(pair, &index, out));
            }
            (ChangedKey::Pair(_, pair), Some(value)) => {
                let latest = self.codec.decode(value).map_err(corrupt)?;
                rows.push(|out| encode::latest(pair, &latest, out));
            }
            (ChangedKey::Pair(_, pair), None) => rows.push(|out| encode::deleted(pair, None, out)),
            (ChangedKey::Bucket(key, _), Some(value)) => {
                let bucket = self.codec.decode(value).map_err(corrupt)?;
                rows.push(|out| encode::bucket(key, bucket, out));
            }
            (ChangedKey::Bucket(key, _), None) => {
                rows.push(|out| encode::deleted_bucket(key, out));
            }
            (ChangedKey::Swap(key, _), Some(value)) => {
                let state = self.codec.decode(value).map_err(corrupt)?;
                rows.push(|out| encode::swap(key, state, out));
            }
            (ChangedKey::Swap(key, _), None) => rows.push(|out| encode::deleted_swap(key, out)),
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

    /// Adds an hour or a day, merged with its open minutes.
    fn live(
        &self,
        partition: i32,
        interval: Interval,
        key: &CandleKey,
        rows: &mut Rows,
    ) -> Result<()> {
        let Some(reader) = self.reader(partition) else { return Ok(()) };
        let to = Timestamp(key.open_time.0.saturating_add(1));
        let range = CandleRange { basis: key.basis, interval, from: key.open_time, to, limit: 1 };
        match reader.candles(&key.pair, range)?.first() {
            Some((key, candle)) => rows.push(|out| encode::candle(interval, key, candle, out)),
            None => rows.push(|out| encode::deleted(&key.pair, Some(key), out)),
        }
        Ok(())
    }
}

/// The beginning of the store keys of the pairs that a pattern can match: keys begin with the base and
/// the quote.
fn prefix(pattern: &Pattern) -> Vec<u8> {
    let base = pattern.base.as_deref();
    let prefix = base.map(|base| store_keys::pair_prefix(base, pattern.quote.as_deref()));
    prefix.unwrap_or_default()
}

/// A chain and an address in the places that a pattern has for them.
fn chain_pair(chain: i64, address: &str) -> PairKey {
    PairKey::new(address, "", chain.to_string())
}

/// The pair of a store key; that of an index has no exchange.
fn read_pair(channel: Channel, key: &[u8]) -> Option<PairKey> {
    if channel != Channel::Index {
        return store_keys::read_pair(key);
    }
    let IndexKey { base, quote } = store_keys::typed_index_key(key)?;
    Some(PairKey::new(base, quote, ""))
}

/// The store key of a pair.
fn store_key(channel: Channel, pair: &PairKey) -> Vec<u8> {
    match channel {
        Channel::Index => store_keys::pair_prefix(&pair.base, Some(&pair.quote)),
        _ => store_keys::pair_key(pair),
    }
}

/// A store key, parsed.
pub(super) enum ChangedKey {
    /// The key of a channel that has one value for each pair.
    Pair(Channel, PairKey),
    /// The key of a candle.
    Candle(Interval, CandleKey),
    /// The key of a token's bucket, and its parts as patterns have them.
    Bucket(TokenBucketKey, PairKey),
    /// The key of a swap's status, and its chain and pool as patterns have them. The pool is in the
    /// value: it is empty when the value is deleted.
    Swap(SwapStatusKey, PairKey),
}

impl ChangedKey {
    /// Parses a key of a channel's store; the value says the pool of a swap.
    pub(super) fn read(
        channel: Channel,
        key: &[u8],
        value: Option<&[u8]>,
        codec: &Codec,
    ) -> Option<Self> {
        match channel {
            Channel::Latest
            | Channel::Quotes
            | Channel::Book
            | Channel::Options
            | Channel::Index => read_pair(channel, key).map(|pair| Self::Pair(channel, pair)),
            Channel::Candles(interval) => {
                store_keys::typed_candle_key(key).map(|key| Self::Candle(interval, key))
            }
            Channel::Tokens => {
                let WindowName { chain, address, open_time } = WindowName::read(key)?;
                let pair = chain_pair(chain, &address);
                Some(Self::Bucket(TokenBucketKey { chain, token: address, open_time }, pair))
            }
            Channel::Swaps => {
                let key = SwapStatusKey::read(&mut Reader::new(key)).ok()?;
                let state = value.map(|value| codec.decode::<SwapState>(value)).transpose();
                let pool = state.ok()?.map(|state| state.pool).unwrap_or_default();
                let pair = chain_pair(key.chain, &pool);
                Some(Self::Swap(key, pair))
            }
        }
    }

    /// Its pair.
    pub(super) const fn pair(&self) -> &PairKey {
        match self {
            Self::Pair(_, pair) | Self::Bucket(_, pair) | Self::Swap(_, pair) => pair,
            Self::Candle(_, key) => &key.pair,
        }
    }
}

/// The key of the hour or day that a minute's key falls into.
pub(super) fn parent_key(minute: &[u8], interval: Interval) -> Option<Vec<u8>> {
    let (pair, basis, time) = store_keys::read_candle_key(minute)?;
    let mut key = Vec::with_capacity(minute.len());
    store_keys::candle_key(interval, pair, basis, interval.start(time), &mut key);
    Some(key)
}
