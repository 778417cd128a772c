//! The pairs of each exchange, whose windows its feed's clock closes, and the pairs that have
//! ended.
//!
//! Both are derived from the stores and kept in memory. They are read from the stores when they are
//! first needed, and updated from then on. A deleted pair has no newest event, and is skipped.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::Bound;

use schemas::LatestPrice;
use streams::store::StoreHandle;

use crate::operators::ended::EndedPairs;
use crate::operators::feed::FeedState;
use crate::operators::pairs::{AFTER_ALL, exchange_of};
use crate::operators::{CandleStores, Pair, Result};

/// Keys per page when an index is first built.
const PAGE: usize = 4096;

/// See the module.
pub(super) struct PairIndex {
    latest: StoreHandle<LatestPrice>,
    feeds: StoreHandle<FeedState>,
    /// The pairs of each exchange, in key order. Built when a feed's clock first closes a window;
    /// new pairs are added from the start.
    pairs: BTreeMap<Box<[u8]>, BTreeSet<Box<[u8]>>>,
    has_pairs: bool,
    ended: EndedPairs,
}

impl PairIndex {
    /// The index of a task's pairs, not built yet.
    pub(super) fn new(stores: &CandleStores) -> Self {
        Self {
            latest: stores.latest.clone(),
            feeds: stores.feeds.clone(),
            pairs: BTreeMap::new(),
            has_pairs: false,
            ended: EndedPairs::default(),
        }
    }

    /// Adds a pair whose windows the feed's clock closes.
    pub(super) fn add(&mut self, exchange: &[u8], pair: &[u8]) {
        self.pairs.entry(exchange.into()).or_default().insert(pair.into());
    }

    /// Removes a pair that has no window to close.
    pub(super) fn remove(&mut self, exchange: &[u8], pair: &[u8]) {
        if let Some(pairs) = self.pairs.get_mut(exchange) {
            pairs.remove(pair);
        }
    }

    /// Adds an ended pair again that has a new window.
    #[inline]
    pub(super) fn is_alive(&mut self, pair: &Pair) {
        if self.ended.may_have(pair.key()) {
            self.add(pair.exchange(), pair.key());
        }
    }

    /// Adds a pair to those that have ended.
    pub(super) fn add_ended(&mut self, pair: &[u8]) {
        self.ended.add(pair);
    }

    /// Removes a pair from those that have ended.
    pub(super) fn remove_ended(&mut self, pair: &[u8]) {
        self.ended.remove(pair);
    }

    /// The next pairs of an exchange, in the order of their keys.
    pub(super) fn pairs_from(
        &mut self,
        exchange: &[u8],
        next: &[u8],
        limit: usize,
    ) -> Result<Vec<Box<[u8]>>> {
        self.find_pairs()?;
        let Some(pairs) = self.pairs.get(exchange) else {
            return Ok(Vec::new());
        };
        let from = (Bound::Included(next), Bound::Unbounded);
        Ok(pairs.range::<[u8], _>(from).take(limit).cloned().collect())
    }

    /// Finds the pairs of the store, once.
    fn find_pairs(&mut self) -> Result<()> {
        let mut from = Vec::new();
        while !self.has_pairs {
            let page = self.latest.range(&from, &AFTER_ALL, PAGE)?;
            self.has_pairs = page.len() < PAGE;
            for (pair, _) in page {
                from.clone_from(&pair);
                from.push(0);
                self.add(exchange_of(&pair), &pair);
            }
        }
        Ok(())
    }

    /// The pairs that may have ended. Finds those of the store, once.
    pub(super) fn ended(&mut self) -> Result<BTreeSet<Box<[u8]>>> {
        self.ended.all(&self.feeds)
    }
}
