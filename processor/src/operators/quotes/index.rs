//! The pairs of each exchange that have quotes, for the marks of its feed.
//!
//! Derived from the store and kept in memory: read when it is first needed, updated from then on.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::Bound;

use schemas::TopOfBook;
use streams::store::StoreHandle;

use crate::operators::Result;
use crate::operators::pairs::{AFTER_ALL, exchange_of};

/// Keys per page when the index is first built.
const PAGE: usize = 4096;

/// See the module.
#[derive(Default)]
pub(super) struct QuotedPairs {
    /// In key order.
    pairs: BTreeMap<Box<[u8]>, BTreeSet<Box<[u8]>>>,
    has_pairs: bool,
}

impl QuotedPairs {
    /// Adds a pair with its first quote.
    pub(super) fn add(&mut self, exchange: &[u8], pair: &[u8]) {
        self.pairs.entry(exchange.into()).or_default().insert(pair.into());
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
