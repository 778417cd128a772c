//! The tables of quotes: newest quotes, windows and the states of feeds, and what marks do to them.

use schemas::{BookState, FeedMark, Spread, Status, Timestamp, TopOfBook};
use streams::Context;
use streams::store::{StoreEntry, StoreHandle};

use super::QuoteStores;
use super::in_force::InForce;
use super::index::QuotedPairs;
use super::top;
use super::window::{add_to_parent, marked, revise, weigh};
use crate::interval::Interval;
use crate::operators::feed::{
    Carrier, Content, FeedState, FeedStates, Gap, MarkedPairs, Span, Stage, Work,
};
use crate::operators::pairs::exchange_of;
use crate::operators::rules::{closes_minute, is_closed};
use crate::operators::windows_over::{WindowStart, existing, keys_after};
use crate::operators::{QuoteEntry, Result};
use crate::store_keys;

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

/// The tables of one task.
pub(super) struct Tables {
    pub(super) tops: StoreHandle<TopOfBook>,
    pub(super) states: FeedStates,
    pub(super) index: QuotedPairs,
    minutes: StoreHandle<Spread>,
    hours: StoreHandle<Spread>,
    days: StoreHandle<Spread>,
    /// The key of the last look-up, kept to reuse its memory.
    key: Vec<u8>,
}

/// First and last instant of a window.
pub(super) const fn span((interval, start): WindowStart) -> Span {
    (start, Timestamp(start.0.saturating_add(interval.length_ms())))
}

impl Tables {
    pub(super) fn new(stores: &QuoteStores) -> Self {
        Self {
            tops: stores.tops.clone(),
            states: FeedStates::new(stores.feeds.clone()),
            index: QuotedPairs::default(),
            minutes: stores.minutes.clone(),
            hours: stores.hours.clone(),
            days: stores.days.clone(),
            key: Vec::new(),
        }
    }

    const fn table(&self, interval: Interval) -> &StoreHandle<Spread> {
        match interval {
            Interval::Minute => &self.minutes,
            Interval::Hour => &self.hours,
            Interval::Day => &self.days,
        }
    }

    /// The entry of a window.
    pub(super) fn window(
        &mut self,
        pair: &[u8],
        (interval, start): WindowStart,
    ) -> Result<StoreEntry<'_, Spread>> {
        self.key.clear();
        store_keys::spread_key(interval, pair, start, &mut self.key);
        Ok(self.table(interval).entry(&self.key)?)
    }

    /// Deletes a pair's windows that begin after a time; returns their number.
    pub(super) fn delete_after(
        &self,
        interval: Interval,
        pair: &[u8],
        at: Timestamp,
    ) -> Result<usize> {
        let table = self.table(interval);
        let key = |time| {
            let mut key = Vec::new();
            store_keys::spread_key(interval, pair, time, &mut key);
            vec![key]
        };
        let time = |key: &[u8]| store_keys::read_spread_key(key).map(|(_, time)| time);
        let found = keys_after(table, interval, at, key, time)?;
        for key in &found {
            table.remove(key)?;
        }
        Ok(found.len())
    }

    /// Whether a minute has expired: another pair's minute is newer by more than the retention.
    pub(super) fn is_expired(&self, minute: Timestamp) -> Result<bool> {
        let segment = store_keys::segment(Interval::Minute, minute);
        Ok(segment < self.minutes.clock()?.first_kept)
    }

    // The clock.

    /// Closes the windows that the pair's clock passes between two times: minutes first, so that
    /// their parents contain all of them. Returns the number of windows looked up.
    pub(super) fn advance(
        &mut self,
        pair: &[u8],
        newest: &InForce,
        (from, to): Span,
    ) -> Result<usize> {
        if !closes_minute(from, to) {
            return Ok(0);
        }
        let mut looked_at = 0;
        for interval in Interval::ALL {
            // Grace is shorter than any window: only the window of the newest quote and the one
            // before it can still be open.
            let last = interval.start(newest.since);
            for start in [Timestamp(last.0 - interval.length_ms()), last] {
                if is_closed(interval, start, from) || !is_closed(interval, start, to) {
                    continue;
                }
                looked_at += 1;
                let closed = self.close(pair, newest, (interval, start))?;
                if let (Some(minute), Interval::Minute) = (closed, interval) {
                    looked_at += 2;
                    self.add_to_parents(pair, &minute, start)?;
                }
            }
        }
        Ok(looked_at)
    }

    /// Closes an open window, and returns it. The newest quote counts up to the end of its minute.
    fn close(&mut self, pair: &[u8], newest: &InForce, at: WindowStart) -> Result<Option<Spread>> {
        let mut window = self.window(pair, at)?;
        if window.as_ref().is_none_or(|known| known.status != Status::Open) {
            return Ok(None);
        }
        let closed = window.as_mut().map(|known| {
            known.status = Status::Closed;
            if at.0 == Interval::Minute {
                weigh(known, newest, span(at));
            }
            known.clone()
        });
        drop(window);
        self.mark_window(pair, at, MarkCause::WindowChanged)?;
        Ok(closed)
    }

    /// Merges a closed minute into its hour and its day.
    fn add_to_parents(&mut self, pair: &[u8], minute: &Spread, start: Timestamp) -> Result<()> {
        for interval in [Interval::Hour, Interval::Day] {
            let parent = (interval, interval.start(start));
            let mut window = self.window(pair, parent)?;
            let created = window.is_none();
            add_to_parent(&mut window, minute);
            drop(window);
            if created {
                self.mark_window(pair, parent, MarkCause::WindowCreated)?;
            }
        }
        Ok(())
    }

    // Marks of pairs.

    /// Takes a mark whose key is a pair: the carrier of its book, a loss of sync, or a gap.
    pub(super) fn take_pair_mark(
        &mut self,
        context: &mut Context<'_, QuoteEntry>,
        pair: &[u8],
        mark: &FeedMark,
    ) -> Result<()> {
        let gap = Gap::of(mark, pair);
        if gap.is_none()
            && let Some(carrier) = Carrier::of(mark)
        {
            context.count("carrier");
            self.states.pair(pair)?.get_or_insert_with(|| FeedState::new(mark)).carry(carrier);
            return Ok(());
        }
        self.lose_sync(context, pair, mark)?;
        let Some(gap) = gap else {
            return Ok(());
        };
        let over = (gap.from, gap.until);
        let is_new = self.record_gap(context, exchange_of(pair), mark, gap)?;
        let newest = self.tops.get(pair)?.map(|top| top.clock);
        if let Some(newest) = newest.filter(|_| is_new) {
            self.mark_span(pair, over, newest)?;
        }
        Ok(())
    }

    /// Ends the force of the newest quote, unless the mark is of a gap that was over before it. A book
    /// without a quote gets its first row.
    fn lose_sync(
        &mut self,
        context: &mut Context<'_, QuoteEntry>,
        pair: &[u8],
        mark: &FeedMark,
    ) -> Result<()> {
        let lost = mark.gap_from.unwrap_or(mark.healthy_until);
        let clock = self.states.clock(exchange_of(pair))?;
        let mut entry = self.tops.entry(pair)?;
        if entry.is_none() {
            *entry = Some(top::never(lost, mark.received_at));
            drop(entry);
            self.index.add(exchange_of(pair), pair);
            context.count("out_of_sync");
            return Ok(());
        }
        let ends = |top: &TopOfBook| {
            let was_over = mark.gap_until.is_some_and(|until| until <= top.since);
            top.state == BookState::InSync && !was_over
        };
        // An entry that is not changed is not written.
        let known = if entry.as_ref().is_some_and(ends) { entry.as_mut() } else { None };
        let Some(top) = known else {
            return Ok(());
        };
        let before = top.clock;
        top.state = BookState::OutOfSync;
        top.clock = top.since.max(lost);
        let (newest, after) = (InForce::of(top), top.clock);
        drop(entry);
        context.count("out_of_sync");
        let passed = clock.map_or((before, after), |clock| (before.max(clock), after.max(clock)));
        self.advance(pair, &newest, passed)?;
        Ok(())
    }

    fn record_gap(
        &mut self,
        context: &mut Context<'_, QuoteEntry>,
        exchange: &[u8],
        mark: &FeedMark,
        gap: Gap,
    ) -> Result<bool> {
        if self.states.has_spilled(exchange, &gap)? {
            return Ok(false);
        }
        let tops = &self.tops;
        let newest = |pair: &[u8]| Ok(tops.get(pair)?.map(|top| top.clock));
        self.states.add_gap(context, exchange, mark, gap, newest)
    }

    // Marks of windows.

    /// Updates the marks of a pair's windows over a span, of which the last day counts. Returns the
    /// number of windows looked up.
    fn mark_span(&mut self, pair: &[u8], over: Span, newest: Timestamp) -> Result<usize> {
        let (windows, parents) =
            existing(over, newest, |window| Ok(self.window(pair, window)?.is_some()))?;
        let looked_at = windows.len() + parents;
        for window in windows {
            self.mark_window(pair, window, MarkCause::FeedChanged)?;
        }
        Ok(looked_at)
    }

    /// Updates the marks of a window, if it exists.
    pub(super) fn mark_window(
        &mut self,
        pair: &[u8],
        at: WindowStart,
        cause: MarkCause,
    ) -> Result<()> {
        let own = self.states.pair_feed(pair, at.1)?;
        let marks = |feed: &FeedState| feed.marks(pair, Content::Book, &own, span(at));
        let Some(marks) = self.states.exchange(exchange_of(pair))?.as_ref().map(marks) else {
            return Ok(());
        };
        let mut window = self.window(pair, at)?;
        let is_new = cause == MarkCause::WindowCreated;
        let changed = |known: &Spread| {
            let wanted = marked(known, &marks, is_new);
            (wanted != (known.gap, known.coverage_ms)).then_some(wanted)
        };
        // An entry that is not changed is not written.
        if let Some(wanted) = window.as_ref().and_then(changed)
            && let Some(known) = window.as_mut()
        {
            (known.gap, known.coverage_ms) = wanted;
            if cause == MarkCause::FeedChanged && known.status != Status::Open {
                revise(known);
            }
        }
        Ok(())
    }
}

impl MarkedPairs for Tables {
    type Out = QuoteEntry;

    fn states(&mut self) -> &mut FeedStates {
        &mut self.states
    }

    fn pairs_from(&mut self, exchange: &[u8], next: &[u8], limit: usize) -> Result<Vec<Box<[u8]>>> {
        self.index.pairs_from(&self.tops, exchange, next, limit)
    }

    fn add_gap(
        &mut self,
        context: &mut Context<'_, QuoteEntry>,
        exchange: &[u8],
        mark: &FeedMark,
        gap: Gap,
    ) -> Result<bool> {
        self.record_gap(context, exchange, mark, gap)
    }

    fn run_pair(
        &mut self,
        _: &mut Context<'_, QuoteEntry>,
        pair: &[u8],
        work: &Work,
    ) -> Result<usize> {
        let Some((newest, clock)) = self.tops.get(pair)?.map(|top| (InForce::of(&top), top.clock))
        else {
            return Ok(0);
        };
        let mark = &work.mark;
        match work.stage {
            Stage::Gap => {
                let over = mark.gap_from.zip(mark.gap_until).unwrap_or_default();
                self.mark_span(pair, over, clock)
            }
            Stage::CatchUp => {
                let Some(from) = mark.healthy_from else { return Ok(0) };
                let carriers = self.states.pair_feed(pair, from)?.carriers;
                let is_of_book =
                    |one: &Carrier| one.content == Content::Book && one.connection == mark.feed;
                if !carriers.iter().any(is_of_book) {
                    return Ok(0);
                }
                self.mark_span(pair, (from, mark.healthy_until), clock)
            }
            Stage::Close => {
                let from = clock.max(work.clock.unwrap_or(Timestamp(0)));
                self.advance(pair, &newest, (from, clock.max(mark.healthy_until)))
            }
        }
    }
}
