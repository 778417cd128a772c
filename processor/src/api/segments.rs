//! A range of one pair's windows in a windowed store, read segment by segment.
//!
//! A store key begins with the number of its segment, so the windows of a pair are adjacent within a
//! segment only.

use std::collections::BTreeMap;

use schemas::Timestamp;
use schemas::topic::Topic;
use streams::store::Committed;
use streams::{Error, Result};

use crate::operators::Interval;
use crate::store_keys;
use crate::topology::store_name;

/// No store key is greater.
pub(super) const AFTER_ALL: [u8; 1] = [0xff];

/// The windows of a range: from, before, and the maximum number, the oldest first.
#[derive(Clone, Copy, Debug)]
pub(super) struct WindowRange {
    /// The first `open_time`.
    pub(super) from: Timestamp,
    /// Before this `open_time`.
    pub(super) to: Timestamp,
    /// The maximum number, the oldest first.
    pub(super) limit: usize,
}

/// The store of one interval, for reads of one pair.
pub(super) struct Segments<'a, K> {
    pub(super) store: &'a Committed,
    pub(super) interval: Interval,
    pub(super) topic: Topic,
    /// The store key of the pair's window at a time.
    pub(super) key: K,
    /// The time in a store key of any pair.
    pub(super) time: fn(&[u8]) -> Option<Timestamp>,
}

impl<K: Fn(Timestamp) -> Vec<u8>> Segments<'_, K> {
    /// The error of a store that holds what it should not.
    pub(super) fn corrupt(&self, reason: impl std::fmt::Display) -> Error {
        Error::Corrupt(format!("store {}: {reason}", store_name(self.topic)))
    }

    /// The windows of a range, as `decode` reads their values.
    pub(super) fn read<T>(
        &self,
        range: WindowRange,
        decode: impl Fn(&[u8]) -> Result<T>,
    ) -> Result<BTreeMap<Timestamp, T>> {
        let mut found = BTreeMap::new();
        let mut from = if self.is_open_ended(range) {
            self.next_segment(range, range.from)?
        } else {
            range.from
        };
        while from < range.to && found.len() < range.limit {
            let to = store_keys::segment_end(self.interval, from).min(range.to);
            let part = WindowRange { from, to, limit: range.limit - found.len() };
            let windows = self.segment(part, &decode)?;
            // Where the pair has no windows, years may pass until the next window of any pair.
            let go_on = !windows.is_empty() || to == range.to;
            from = if go_on { to } else { self.next_segment(range, to)? };
            found.extend(windows);
        }
        Ok(found)
    }

    /// Whether the range has more windows than `limit`. Such a range often begins before the first
    /// window.
    fn is_open_ended(&self, range: WindowRange) -> bool {
        let windows = range.to.0.saturating_sub(range.from.0) / self.interval.length_ms();
        usize::try_from(windows).is_ok_and(|windows| windows > range.limit)
    }

    /// Windows of the pair within one segment.
    fn segment<T>(
        &self,
        range: WindowRange,
        decode: impl Fn(&[u8]) -> Result<T>,
    ) -> Result<Vec<(Timestamp, T)>> {
        let mut to = (self.key)(Timestamp(range.to.0.saturating_sub(1)));
        // Just past the last instant, in the same segment.
        to.push(0);
        let pairs = self.store.range(&(self.key)(range.from), &to, range.limit)?;
        pairs.into_iter().map(|(key, value)| Ok((self.open_time(&key)?, decode(&value)?))).collect()
    }

    /// The start of the next segment that has windows of any pair, from `from` on; the end of the
    /// range if there is none.
    fn next_segment(&self, range: WindowRange, from: Timestamp) -> Result<Timestamp> {
        let prefix = store_keys::segment_prefix(self.interval, from);
        let first = self.store.range(&prefix, &AFTER_ALL, 1)?;
        let Some((key, _)) = first.first() else { return Ok(range.to) };
        Ok(store_keys::segment_start(self.interval, self.open_time(key)?).max(from))
    }

    fn open_time(&self, key: &[u8]) -> Result<Timestamp> {
        (self.time)(key).ok_or_else(|| self.corrupt("a key is not a window's"))
    }
}
