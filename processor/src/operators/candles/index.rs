//! The pairs of each exchange, whose windows its feed's clock closes, and the pairs that have ended.
//!
//! Both are what the stores say, gathered in memory: from the committed state when they are first asked
//! for, and added to as things happen. What has ended may stand here for longer than in its state, which
//! decides; a pair that is forgotten has no newest event, and is passed over.

use std::collections::{BTreeMap, BTreeSet};

use streams::Failure;

use super::{Candles, exchange_of};
use crate::operators::Pair;
use crate::operators::pairs::NO_PAIR;

/// Keys read at once when an index is first built.
const PAGE: usize = 4096;
/// No store key is greater.
pub(super) const AFTER_ALL: [u8; 1] = [0xff];

/// See the module.
#[derive(Default)]
pub(super) struct Index {
    /// By exchange: its pairs, in key order. Built when a feed's clock first closes something, from
    /// the committed pairs; from the start on, new pairs are added as they come.
    pairs: BTreeMap<Box<[u8]>, BTreeSet<Box<[u8]>>>,
    has_pairs: bool,
    /// Pairs that may have ended: their own state in `feeds` says whether they have.
    pub(super) ended: BTreeSet<Box<[u8]>>,
    has_ended: bool,
}

impl Index {
    /// The feed's clock closes windows of the pair.
    pub(super) fn add(&mut self, exchange: &[u8], pair: &[u8]) {
        self.pairs.entry(exchange.into()).or_default().insert(pair.into());
    }

    /// It has none to close.
    pub(super) fn remove(&mut self, exchange: &[u8], pair: &[u8]) {
        if let Some(pairs) = self.pairs.get_mut(exchange) {
            pairs.remove(pair);
        }
    }

    /// A pair has a new window: one that has ended may have left.
    pub(super) fn is_alive(&mut self, pair: &Pair) {
        if !self.ended.is_empty() && self.ended.contains(pair.key()) {
            self.add(pair.exchange(), pair.key());
        }
    }
}

impl Candles {
    /// The pairs of an exchange, in the order of their keys.
    pub(super) fn pairs_of(
        &mut self,
        exchange: &[u8],
    ) -> Result<Option<&BTreeSet<Box<[u8]>>>, Failure> {
        self.find_pairs()?;
        Ok(self.index.pairs.get(exchange))
    }

    /// Finds the committed pairs, once.
    fn find_pairs(&mut self) -> Result<(), Failure> {
        let mut from = Vec::new();
        while !self.index.has_pairs {
            let page = self.stores.latest.range(&from, &AFTER_ALL, PAGE)?;
            self.index.has_pairs = page.len() < PAGE;
            for (pair, _) in page {
                from.clone_from(&pair);
                from.push(0);
                self.index.add(exchange_of(&pair), &pair);
            }
        }
        Ok(())
    }

    /// Finds the pairs that have ended among those committed, once.
    pub(super) fn find_ended(&mut self) -> Result<(), Failure> {
        // Pairs come after exchanges, whose base is empty.
        let mut from = vec![NO_PAIR[0] + 1];
        while !self.index.has_ended {
            let page = self.stores.feeds.range(&from, &AFTER_ALL, PAGE)?;
            self.index.has_ended = page.len() < PAGE;
            for (pair, feed) in page {
                from.clone_from(&pair);
                from.push(0);
                if feed.ended().is_some() {
                    self.index.ended.insert(pair.into());
                }
            }
        }
        Ok(())
    }
}
