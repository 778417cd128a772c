//! A store of windows of pools or tokens: one partition, read by time or by name.
//!
//! A store key is the number of a segment, the chain and the address, and the time. So the windows of
//! all names in a range of time are adjacent segments, and those of one name are adjacent in each.

use std::collections::{BTreeMap, BTreeSet};

use schemas::avro::{self, Record};
use schemas::topic::Topic;
use schemas::{Codec, Timestamp};
use streams::store::Committed;
use streams::{Error, Result, Retention};

use super::segments::{AFTER_ALL, Segments, WindowRange};
use crate::operators::Interval;
use crate::store_keys;
use crate::topology::store_name;

/// Keys per page of a scan.
const PAGE: usize = 4096;
/// Bits of the number of a segment.
const SEGMENT_BITS: u32 = 48;

/// The body of the store key of a chain and an address.
pub(super) fn name_key(chain: i64, address: &str) -> Vec<u8> {
    let mut out = chain_key(chain);
    avro::string(&mut out, address);
    out
}

/// The beginning of the keys of a chain.
pub(super) fn chain_key(chain: i64) -> Vec<u8> {
    let mut out = Vec::new();
    avro::long(&mut out, chain);
    out
}

/// A key that begins with a chain.
pub(super) fn chain_of(body: &[u8]) -> Option<i64> {
    avro::Reader::new(body).long().ok()
}

/// One partition of a store of windows.
#[derive(Clone, Copy)]
pub(super) struct WindowStore<'a> {
    codec: &'a Codec,
    store: &'a Committed,
    topic: Topic,
    /// It says how many windows are adjacent.
    interval: Interval,
}

/// Chain, address and beginning of a window.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct WindowName {
    /// The chain.
    pub(super) chain: i64,
    /// The pool or the token.
    pub(super) address: String,
    /// The first instant of the window.
    pub(super) open_time: Timestamp,
}

impl WindowName {
    /// Parses a store key.
    pub(super) fn read(key: &[u8]) -> Option<Self> {
        let (body, open_time) = store_keys::read_spread_key(key)?;
        let mut reader = avro::Reader::new(body);
        let (chain, address) = (reader.long().ok()?, reader.string().ok()?.to_owned());
        Some(Self { chain, address, open_time })
    }
}

impl<'a> WindowStore<'a> {
    /// The store of `pool_1m`, `token_5m` or `token_1h`.
    pub(super) const fn new(codec: &'a Codec, store: &'a Committed, topic: Topic) -> Self {
        Self { codec, store, topic, interval: interval(topic) }
    }

    fn corrupt(&self, reason: impl std::fmt::Display) -> Error {
        Error::Corrupt(format!("store {}: {reason}", store_name(self.topic)))
    }

    fn name(&self, key: &[u8]) -> Result<WindowName> {
        WindowName::read(key).ok_or_else(|| self.corrupt("a key is not a window's"))
    }

    /// The number of the newest segment, by its keys.
    fn newest_segment(&self) -> Result<Option<u64>> {
        if self.store.range(&[], &AFTER_ALL, 1)?.is_empty() {
            return Ok(None);
        }
        let mut newest = 0;
        for bit in (0..SEGMENT_BITS).rev() {
            let segment = newest | 1 << bit;
            if !self.store.range(&Retention::first_key(segment), &AFTER_ALL, 1)?.is_empty() {
                newest = segment;
            }
        }
        Ok(Some(newest))
    }

    /// The beginning of the newest window.
    pub(super) fn newest(&self) -> Result<Option<Timestamp>> {
        let Some(segment) = self.newest_segment()? else { return Ok(None) };
        let mut newest = None;
        self.pages(Retention::first_key(segment).to_vec(), &AFTER_ALL, |key, _| {
            newest = newest.max(Some(self.name(key)?.open_time));
            Ok(())
        })?;
        Ok(newest)
    }

    fn pages(
        &self,
        mut from: Vec<u8>,
        to: &[u8],
        mut each: impl FnMut(&[u8], &[u8]) -> Result<()>,
    ) -> Result<()> {
        loop {
            let page = self.store.range(&from, to, PAGE)?;
            for (key, value) in &page {
                each(key, value)?;
            }
            match page.last() {
                Some((key, _)) if page.len() == PAGE => {
                    from.clone_from(key);
                    from.push(0);
                }
                _ => return Ok(()),
            }
        }
    }

    /// Gives each window that begins at `from` or later and before `to`, of every name, with its bytes.
    /// The windows of one name are in the order of time.
    pub(super) fn visit(
        &self,
        from: Timestamp,
        to: Timestamp,
        mut each: impl FnMut(WindowName, &[u8]) -> Result<()>,
    ) -> Result<()> {
        if from >= to {
            return Ok(());
        }
        let first = store_keys::segment_prefix(self.interval, from).to_vec();
        let last = store_keys::segment(self.interval, Timestamp(to.0.saturating_sub(1)));
        let after = Retention::first_key(last.saturating_add(1));
        self.pages(first, &after, |key, value| {
            let name = self.name(key)?;
            let is_within = from <= name.open_time && name.open_time < to;
            if is_within { each(name, value) } else { Ok(()) }
        })
    }

    /// The windows of one name within a range, oldest first.
    pub(super) fn of_name<V: Record>(
        &self,
        name: &[u8],
        range: WindowRange,
    ) -> Result<BTreeMap<Timestamp, V>> {
        let segments = Segments {
            store: self.store,
            interval: self.interval,
            topic: self.topic,
            key: |time| window_key(self.topic, name, time),
            time: |key| store_keys::read_spread_key(key).map(|(_, time)| time),
        };
        segments.read(range, |bytes| self.decode(bytes))
    }

    /// The value of a window.
    pub(super) fn decode<V: Record>(&self, bytes: &[u8]) -> Result<V> {
        self.codec.decode(bytes).map_err(|error| self.corrupt(error))
    }

    /// The newest window of a name that begins at `from` or later and before `to`.
    pub(super) fn last_of<V: Record>(
        &self,
        name: &[u8],
        from: Timestamp,
        to: Timestamp,
    ) -> Result<Option<(Timestamp, V)>> {
        let mut end = to;
        while from < end {
            let last = Timestamp(end.0 - 1);
            let start = store_keys::segment_start(self.interval, last).max(from);
            let range = WindowRange { from: start, to: end, limit: PAGE };
            if let Some(found) = self.of_name(name, range)?.pop_last() {
                return Ok(Some(found));
            }
            end = start;
        }
        Ok(None)
    }

    /// The chains that have windows. It looks up one key for each segment and chain.
    pub(super) fn chains(&self) -> Result<BTreeSet<i64>> {
        let (mut chains, mut from) = (BTreeSet::new(), Vec::new());
        while let Some((key, _)) = self.store.range(&from, &AFTER_ALL, 1)?.pop() {
            let WindowName { chain, .. } = self.name(&key)?;
            chains.insert(chain);
            let (segment, _) = key.split_at_checked(store_keys::PREFIX).unwrap_or_default();
            from = store_keys::after_prefix(&[segment, &chain_key(chain)].concat());
        }
        Ok(chains)
    }
}

/// The interval that says how many windows of a topic are adjacent.
const fn interval(topic: Topic) -> Interval {
    match topic {
        Topic::PoolMinutes => Interval::Minute,
        _ => store_keys::BUCKET_SEGMENTS,
    }
}

/// The store key of a window.
pub(super) fn window_key(topic: Topic, name: &[u8], time: Timestamp) -> Vec<u8> {
    let mut out = Vec::new();
    store_keys::spread_key(interval(topic), name, time, &mut out);
    out
}
