//! Pairs that have ended: which they are, and what becomes of them as stream time goes on.
//!
//! ```text
//! ENDED ─► its day has closed ─► out of the index of pairs ─► 7 days of stream time ─► deleted
//!            └──────────── a record of an hour after the end: it is back ────────────┘
//! ```
//!
//! Prices and quotes have the same rule, each with the states of its own feeds.

use std::collections::BTreeSet;

use schemas::Timestamp;
use streams::punctuation::{PunctuationType, Schedule};
use streams::store::StoreHandle;

use super::Result;
use super::feed::FeedState;
use super::pairs::{AFTER_ALL, NO_PAIR};
use super::rules::{ENDED_KEPT_MS, LAST_WORDS_MS, is_closed};
use crate::interval::Interval;

/// How often ended pairs are checked. A day's windows close once a day.
pub(super) const SWEEP: Schedule =
    Schedule { clock: PunctuationType::StreamTime, interval_ms: 3_600_000 };
/// Keys per page when the pairs of the store are found.
const PAGE: usize = 4096;

/// Pairs that may have ended: their own state in the store is authoritative. Found in the store when
/// they are first needed, and updated from the start.
#[derive(Default)]
pub(super) struct EndedPairs {
    pairs: BTreeSet<Box<[u8]>>,
    is_found: bool,
}

impl EndedPairs {
    /// Adds a pair.
    pub(super) fn add(&mut self, pair: &[u8]) {
        self.pairs.insert(pair.into());
    }

    /// Removes a pair.
    pub(super) fn remove(&mut self, pair: &[u8]) {
        self.pairs.remove(pair);
    }

    /// Whether a pair may have ended, as far as is known without the store.
    #[inline]
    pub(super) fn may_have(&self, pair: &[u8]) -> bool {
        !self.pairs.is_empty() && self.pairs.contains(pair)
    }

    /// All of them. Finds those of the store, once.
    pub(super) fn all(&mut self, feeds: &StoreHandle<FeedState>) -> Result<BTreeSet<Box<[u8]>>> {
        // Pairs come after exchanges, whose base is empty.
        let mut from = vec![NO_PAIR[0] + 1];
        while !self.is_found {
            let page = feeds.range(&from, &AFTER_ALL, PAGE)?;
            self.is_found = page.len() < PAGE;
            for (pair, feed) in page {
                from.clone_from(&pair);
                from.push(0);
                if feed.ended().is_some() {
                    self.pairs.insert(pair.into());
                }
            }
        }
        Ok(self.pairs.clone())
    }
}

/// The state of an ended pair.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Fate {
    /// It has a record from after its end.
    Back,
    /// Its last windows are open.
    Open,
    /// Its last windows have closed.
    Closed,
    /// It has been kept for long enough.
    Forgotten,
}

/// The fate of a pair that ended at `ended.0`, by a mark at the stream time `ended.1`. `newest` is the
/// time of its newest record, `clock` the one by which its windows close, `now` the stream time.
pub(super) fn fate(
    ended: (Timestamp, Timestamp),
    newest: Option<Timestamp>,
    clock: Option<Timestamp>,
    now: Timestamp,
) -> Fate {
    if is_back(ended.0, newest) {
        return Fate::Back;
    }
    // Days close last.
    let closed = |newest| {
        let clock = clock.unwrap_or(newest);
        is_closed(Interval::Day, Interval::Day.start(newest), clock)
    };
    if !newest.is_none_or(closed) {
        return Fate::Open;
    }
    let is_over = now.0 >= ended.1.0.saturating_add(ENDED_KEPT_MS);
    if is_over { Fate::Forgotten } else { Fate::Closed }
}

/// Whether the newest record is from after the end, last words aside.
pub(super) fn is_back(end: Timestamp, newest: Option<Timestamp>) -> bool {
    newest.is_some_and(|newest| newest.0 > end.0.saturating_add(LAST_WORDS_MS))
}
