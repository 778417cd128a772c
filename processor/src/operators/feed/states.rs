//! The states of feeds and of pairs in their store.
//!
//! ```text
//! key of an exchange   its feed: clock, stretches, gaps
//! key of a pair        its carriers, and the gaps for which its exchange has no room
//! ```

use schemas::{FeedMark, Timestamp};
use streams::Context;
use streams::store::{StoreEntry, StoreHandle};

use super::{FeedState, Gap, PairFeed, Work};
use crate::operators::Result;
use crate::operators::pairs::{NO_PAIR, exchange_of};

/// Exchanges per page when an unfinished mark is searched.
const PAGE: usize = 256;
/// Above the store keys of all feeds, below those of pairs.
const AFTER_FEEDS: [u8; 2] = [0, 1];

/// An exchange, as the last part of a key, and the rest of its mark.
pub(crate) type Unfinished = (Box<[u8]>, Work);

/// The states of one task.
pub(crate) struct FeedStates {
    store: StoreHandle<FeedState>,
    /// The key of the last look-up, kept to reuse its memory.
    key: Vec<u8>,
}

impl FeedStates {
    /// The states in a store.
    pub(crate) const fn new(store: StoreHandle<FeedState>) -> Self {
        Self { store, key: Vec::new() }
    }

    /// Their store.
    pub(crate) const fn store(&self) -> &StoreHandle<FeedState> {
        &self.store
    }

    /// The state of an exchange's feed.
    pub(crate) fn exchange(&mut self, exchange: &[u8]) -> Result<StoreEntry<'_, FeedState>> {
        self.key.clear();
        self.key.extend_from_slice(&NO_PAIR);
        self.key.extend_from_slice(exchange);
        Ok(self.store.entry(&self.key)?)
    }

    /// The clock of an exchange's feed.
    pub(crate) fn clock(&mut self, exchange: &[u8]) -> Result<Option<Timestamp>> {
        Ok(self.exchange(exchange)?.as_ref().and_then(FeedState::clock))
    }

    /// The own state of a pair.
    pub(crate) fn pair(&self, pair: &[u8]) -> Result<StoreEntry<'_, FeedState>> {
        Ok(self.store.entry(pair)?)
    }

    /// The part of a pair's own state that concerns a window. It is looked up only if the exchange
    /// has several connections, or some pair's own state may have a gap.
    pub(crate) fn pair_feed(&mut self, pair: &[u8], start: Timestamp) -> Result<PairFeed> {
        let may_add = |feed: &FeedState| feed.has_connections() || feed.has_spilled(start);
        if !self.exchange(exchange_of(pair))?.as_ref().is_some_and(may_add) {
            return Ok(PairFeed::default());
        }
        Ok(self.store.get(pair)?.as_deref().map(FeedState::pair_feed).unwrap_or_default())
    }

    /// An exchange with an unfinished mark, and the rest of it.
    pub(crate) fn find_work(&self) -> Result<Option<Unfinished>> {
        let mut from = NO_PAIR.to_vec();
        loop {
            let feeds = self.store.range(&from, &AFTER_FEEDS, PAGE)?;
            let Some((last, _)) = feeds.last() else {
                return Ok(None);
            };
            from.clone_from(last);
            from.push(0);
            let rest = feeds.into_iter().find_map(|(key, feed)| {
                feed.work().map(|work| (exchange_of(&key).into(), work.clone()))
            });
            if rest.is_some() {
                return Ok(rest);
            }
        }
    }

    /// Whether a gap of a pair has been moved into the pair's own state and is there.
    pub(crate) fn has_spilled(&mut self, exchange: &[u8], gap: &Gap) -> Result<bool> {
        let may_have =
            self.exchange(exchange)?.as_ref().is_some_and(|feed| feed.has_spilled(gap.until));
        Ok(may_have && !gap.pair.is_empty() && self.pair_knows(gap)?)
    }

    /// Records a gap that is not in a pair's own state. Returns whether it is new, with something
    /// missing. `newest` is the time of a pair's newest event.
    pub(crate) fn add_gap<T>(
        &mut self,
        context: &mut Context<'_, T>,
        exchange: &[u8],
        mark: &FeedMark,
        gap: Gap,
        newest: impl FnOnce(&[u8]) -> Result<Option<Timestamp>>,
    ) -> Result<bool> {
        let mut feed = self.exchange(exchange)?;
        let known = feed.get_or_insert_with(|| FeedState::new(mark));
        let added = known.add(gap);
        let (spilled, forgot) = (known.spill(), known.overflow());
        drop(feed);
        let forgot_spilled = match spilled {
            Some(gap) => {
                let newest = newest(&gap.pair)?;
                self.spill(exchange, mark, gap, newest)?
            }
            None => false,
        };
        if forgot || forgot_spilled {
            context.count("gap_overflow");
        }
        if added {
            context.count("gap");
        }
        Ok(added)
    }

    /// Whether the own state of a gap's pair has it.
    fn pair_knows(&self, gap: &Gap) -> Result<bool> {
        let own = Gap { pair: Box::default(), ..gap.clone() };
        Ok(self.store.get(&gap.pair)?.is_some_and(|feed| feed.knows(&own)))
    }

    /// Moves a gap for which its exchange has no room into its pair's own state. Returns whether
    /// that state forgot one.
    fn spill(
        &mut self,
        exchange: &[u8],
        mark: &FeedMark,
        mut gap: Gap,
        newest: Option<Timestamp>,
    ) -> Result<bool> {
        let pair = std::mem::take(&mut gap.pair);
        let clock = newest.max(self.clock(exchange)?);
        let mut own = self.pair(&pair)?;
        let own = own.get_or_insert_with(|| FeedState::new(mark));
        own.forget_old(clock.unwrap_or_default());
        own.add(gap);
        Ok(own.overflow())
    }
}
