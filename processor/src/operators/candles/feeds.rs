//! The state of the feeds, and the marks that it puts on windows.
//!
//! ```text
//! gap mark ──► known ──► every window over it: marked
//! an event in one of its minutes ──► a new window: marked
//! an event with one of its ids ──► counted down; at none ──► removed, every window over it: cleared
//! ```
//!
//! A closed window that only its marks change is revised. A window that an event changes as well is
//! revised once, for the event. An open window changes without a revision.
//!
//! Cost: none for an event while its exchange's feed has no gap. With gaps, one comparison for
//! each; for an event in a gap's minutes, one or two look-ups more, and one more when the pair's
//! own state may have the gap.

use std::collections::BTreeSet;

use schemas::{Basis, FeedMark, LatestPrice, MarketEvent, Status, Timestamp};
use streams::Context;
use streams::store::{StoreEntry, StoreHandle, ValueRef};

use super::windows::{BASES, WindowStart, Windows};
use crate::interval::Interval;
use crate::operators::feed::{Carrier, FeedState, FeedStates, Gap, GapLookup, Span, union};
use crate::operators::pairs::{AFTER_ALL, exchange_of};
use crate::operators::{CandleStores, Entry, Pair, Result};

/// The reason to update a window's marks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum MarkCause {
    /// The window itself has changed.
    WindowChanged,
    /// The window is new, and has no marks.
    WindowCreated,
    /// The feed's state has changed, which revises a closed window.
    FeedChanged,
}

/// The states of feeds and of pairs, and the newest prices, whose times are the pairs' clocks.
pub(super) struct Feeds {
    latest: StoreHandle<LatestPrice>,
    states: FeedStates,
}

impl Feeds {
    /// The tables of a task.
    pub(super) fn new(stores: &CandleStores) -> Self {
        Self { latest: stores.latest.clone(), states: FeedStates::new(stores.feeds.clone()) }
    }

    /// The state of an exchange's feed.
    pub(super) fn exchange(&mut self, exchange: &[u8]) -> Result<StoreEntry<'_, FeedState>> {
        self.states.exchange(exchange)
    }

    /// The states of all feeds and pairs.
    pub(super) const fn states(&mut self) -> &mut FeedStates {
        &mut self.states
    }

    /// The clock of an exchange's feed.
    pub(super) fn clock(&mut self, exchange: &[u8]) -> Result<Option<Timestamp>> {
        self.states.clock(exchange)
    }

    /// The own state of a pair.
    pub(super) fn pair(&self, pair: &[u8]) -> Result<StoreEntry<'_, FeedState>> {
        self.states.pair(pair)
    }

    /// The newest price of a pair.
    pub(super) fn latest(&self, pair: &[u8]) -> Result<StoreEntry<'_, LatestPrice>> {
        Ok(self.latest.entry(pair)?)
    }

    /// Deletes a pair's newest price and own state.
    pub(super) fn delete_pair(&self, pair: &[u8]) -> Result<()> {
        self.latest.remove(pair)?;
        Ok(self.states.store().remove(pair)?)
    }

    /// The time of the newest event of a pair.
    pub(super) fn newest(&self, pair: &[u8]) -> Result<Option<Timestamp>> {
        Ok(self.latest.get(pair)?.map(|latest| latest.event_time))
    }

    /// The first pairs from a key on, each with the time of its newest event.
    pub(super) fn newest_prices(
        &self,
        from: &[u8],
        limit: usize,
    ) -> Result<Vec<(Vec<u8>, Timestamp)>> {
        let page = self.latest.range(from, &AFTER_ALL, limit)?;
        Ok(page.into_iter().map(|(pair, latest)| (pair, latest.event_time)).collect())
    }

    /// [`Self::newest`], first looked for at the pair's hint.
    #[inline]
    pub(super) fn newest_near(&self, pair: &Pair) -> Result<Option<Timestamp>> {
        let latest = self.latest.get_near(&pair.in_latest, pair.key())?;
        Ok(latest.map(|latest| latest.event_time))
    }

    /// The clock of the pair's exchange, and the gaps of its feed near an event.
    #[inline]
    pub(super) fn look_up(
        &self,
        pair: &Pair,
        event: &MarketEvent,
        (start, end): Span,
    ) -> Result<(Option<Timestamp>, GapLookup)> {
        let feed = self.states.store().get_near(&pair.in_feeds, pair.feed())?;
        let look_up = |feed: ValueRef<'_, FeedState>| {
            (feed.clock(), feed.look_up(pair.key(), event, start, end))
        };
        Ok(feed.map(look_up).unwrap_or_default())
    }

    /// The gaps of a pair's own state near an event.
    pub(super) fn look_up_own(
        &self,
        pair: &[u8],
        event: &MarketEvent,
        (start, end): Span,
    ) -> Result<GapLookup> {
        let own = self.states.store().get(pair)?;
        Ok(own.map(|own| own.look_up(pair, event, start, end)).unwrap_or_default())
    }

    // Marks of feeds.

    /// Takes a mark whose key is a pair.
    pub(super) fn take_pair_mark(
        &mut self,
        context: &mut Context<'_, Entry>,
        windows: &mut Windows,
        pair: &[u8],
        mark: &FeedMark,
    ) -> Result<()> {
        if let Some(gap) = Gap::of(mark, pair)
            && self.add_gap(context, windows, exchange_of(pair), mark, gap.clone())?
            && let Some(newest) = self.newest(pair)?
        {
            self.mark_span(windows, pair, (gap.from, gap.until), bases(&gap), newest)?;
        }
        if let Some(carrier) = Carrier::of(mark) {
            context.count("carrier");
            self.pair(pair)?.get_or_insert_with(|| FeedState::new(mark)).carry(carrier);
        }
        Ok(())
    }

    /// Records a gap. Returns whether it is new, with something missing.
    pub(super) fn add_gap(
        &mut self,
        context: &mut Context<'_, Entry>,
        windows: &mut Windows,
        exchange: &[u8],
        mark: &FeedMark,
        mut gap: Gap,
    ) -> Result<bool> {
        if self.states.has_spilled(exchange, &gap)? {
            return Ok(false);
        }
        gap.missing -= self.count_seen(windows, &gap)?;
        let latest = &self.latest;
        let newest = |pair: &[u8]| Ok(latest.get(pair)?.map(|latest| latest.event_time));
        self.states.add_gap(context, exchange, mark, gap, newest)
    }

    /// The number of a gap's ids that have been counted, because they came before its mark.
    fn count_seen(&self, windows: &mut Windows, gap: &Gap) -> Result<i64> {
        let Some((first, count)) = gap.ids else {
            return Ok(0);
        };
        let Some(newest) = self.newest(&gap.pair)? else {
            return Ok(0);
        };
        let mut counted = 0i64;
        let span = (gap.from, gap.until);
        for (interval, start) in windows.over(&gap.pair, Basis::Trade, span, newest)?.0 {
            if interval == Interval::Minute {
                let window = windows.entry(&gap.pair, Basis::Trade, (interval, start))?;
                counted += window.as_ref().map_or(0, |known| known.seen.count_within(first, count));
            }
        }
        Ok(counted)
    }

    /// Counts an id that arrived. Returns the gaps that are now complete.
    fn fill_gaps(&mut self, pair: &[u8], event: &MarketEvent, id: i64) -> Result<Vec<Gap>> {
        let arrived = |mut feed: StoreEntry<'_, FeedState>, pair: &[u8]| {
            let lost = feed.as_ref().is_some_and(|feed| feed.has_lost(pair, id));
            let feed = if lost { feed.as_mut() } else { None };
            feed.map(|feed| feed.arrived(pair, id)).unwrap_or_default()
        };
        let feed = self.exchange(exchange_of(pair))?;
        let spilled = feed.as_ref().is_some_and(|feed| feed.has_spilled(event.event_time));
        let mut complete = arrived(feed, pair);
        if spilled {
            complete.extend(arrived(self.pair(pair)?, &[]));
        }
        Ok(complete)
    }

    /// Revises the coverage of windows that closed before a late connection marked their time.
    /// Returns the number of windows looked up.
    pub(super) fn catch_up(
        &mut self,
        windows: &mut Windows,
        pair: &[u8],
        mark: &FeedMark,
        newest: Timestamp,
    ) -> Result<usize> {
        let Some(from) = mark.healthy_from else {
            return Ok(0);
        };
        let carriers = self.states.pair_feed(pair, from)?.carriers;
        let own = carriers.iter().filter(|one| one.connection == mark.feed);
        let bases: BTreeSet<Basis> = own.filter_map(|one| one.content.basis()).collect();
        let bases: Vec<Basis> = bases.into_iter().collect();
        self.mark_span(windows, pair, (from, mark.healthy_until), &bases, newest)
    }

    // Marks of windows.

    /// Updates the marks of the windows that an event changed. `arrived` is its id if a gap had
    /// lost it.
    pub(super) fn mark_after_event(
        &mut self,
        context: &mut Context<'_, Entry>,
        windows: &mut Windows,
        pair: &[u8],
        event: &MarketEvent,
        (arrived, cause): (Option<i64>, MarkCause),
    ) -> Result<()> {
        let complete = arrived.map_or(Ok(Vec::new()), |id| self.fill_gaps(pair, event, id))?;
        let minute = (Interval::Minute, Interval::Minute.start(event.event_time));
        self.mark_window(windows, pair, event.basis, minute, cause)?;
        if arrived.is_some() {
            for interval in [Interval::Hour, Interval::Day] {
                let parent = (interval, interval.start(event.event_time));
                self.mark_window(windows, pair, event.basis, parent, MarkCause::WindowChanged)?;
            }
        }
        let newest = self.newest(pair)?.max(Some(event.event_time)).unwrap_or_default();
        let mut spans = Vec::with_capacity(complete.len());
        for gap in &complete {
            context.count("gap_filled");
            spans.push((gap.from, gap.until));
        }
        // Gaps that overlap share windows, which are updated once.
        for span in union(spans) {
            self.mark_span(windows, pair, span, &[Basis::Trade], newest)?;
        }
        Ok(())
    }

    /// Updates the marks of a pair's windows over a span. Returns the number of windows looked up.
    pub(super) fn mark_span(
        &mut self,
        windows: &mut Windows,
        pair: &[u8],
        span: Span,
        bases: &[Basis],
        newest: Timestamp,
    ) -> Result<usize> {
        let mut looked_at = 0;
        for &basis in bases {
            let (over, parents) = windows.over(pair, basis, span, newest)?;
            looked_at += over.len() + parents;
            for window in over {
                self.mark_window(windows, pair, basis, window, MarkCause::FeedChanged)?;
            }
        }
        Ok(looked_at)
    }

    /// Updates the marks of a window, if it exists.
    pub(super) fn mark_window(
        &mut self,
        windows: &mut Windows,
        pair: &[u8],
        basis: Basis,
        (interval, start): WindowStart,
        cause: MarkCause,
    ) -> Result<()> {
        let end = Timestamp(start.0 + interval.length_ms());
        let own = self.states.pair_feed(pair, start)?;
        let marks = |feed: &FeedState| feed.marks(pair, basis, &own, (start, end));
        let Some(marks) = self.exchange(exchange_of(pair))?.as_ref().map(marks) else {
            return Ok(());
        };
        let mut window = windows.entry(pair, basis, (interval, start))?;
        let is_new = cause == MarkCause::WindowCreated;
        if window.as_ref().is_some_and(|window| window.differs(&marks, is_new))
            && let Some(window) = window.as_mut()
        {
            window.mark(&marks, is_new);
            if cause == MarkCause::FeedChanged && window.candle.status != Status::Open {
                window.revise();
            }
        }
        Ok(())
    }
}

/// The bases that a gap concerns: dense ids are those of trades.
fn bases(gap: &Gap) -> &'static [Basis] {
    if gap.ids.is_some() { &[Basis::Trade] } else { &BASES }
}
