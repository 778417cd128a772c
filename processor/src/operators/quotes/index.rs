//! The pairs of each exchange that have a top of book, for the marks of its feed, and the pairs that have
//! ended.
//!
//! Derived from the stores and kept in memory: read when they are first needed, updated from then on.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::Bound;

use schemas::TopOfBook;
use streams::store::StoreHandle;

use crate::operators::Result;
use crate::operators::ended::EndedPairs;
use crate::operators::pairs::{AFTER_ALL, exchange_of};

/// Keys per page when the index is first built.
const PAGE: usize = 4096;

/// See the module.
#[derive(Default)]
pub(super) struct QuotedPairs {
    /// In key order.
    pairs: BTreeMap<Box<[u8]>, BTreeSet<Box<[u8]>>>,
    has_pairs: bool,
    pub(super) ended: EndedPairs,
}

impl QuotedPairs {
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

    /// The next pairs of an exchange, in the order of their keys.
    pub(super) fn pairs_from(
        &mut self,
        tops: &StoreHandle<TopOfBook>,
        exchange: &[u8],
        next: &[u8],
        limit: usize,
    ) -> Result<Vec<Box<[u8]>>> {
        self.find(tops)?;
        let Some(pairs) = self.pairs.get(exchange) else {
            return Ok(Vec::new());
        };
        let from = (Bound::Included(next), Bound::Unbounded);
        Ok(pairs.range::<[u8], _>(from).take(limit).cloned().collect())
    }

    /// Finds the pairs of the store, once.
    fn find(&mut self, tops: &StoreHandle<TopOfBook>) -> Result<()> {
        let mut from = Vec::new();
        while !self.has_pairs {
            let page = tops.range(&from, &AFTER_ALL, PAGE)?;
            self.has_pairs = page.len() < PAGE;
            for (pair, _) in page {
                from.clone_from(&pair);
                from.push(0);
                self.add(exchange_of(&pair), &pair);
            }
        }
        Ok(())
    }
}
