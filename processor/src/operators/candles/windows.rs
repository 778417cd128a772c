//! The tables of windows: minutes, hours and days, with one entry per pair, basis and start.
//!
//! Events reach the minute only. Hours and days are merged from closed minutes (`tables.rs`).

use schemas::{Basis, Candle, MarketEvent, Status, Timestamp};
use streams::retention::ExpiryClock;
use streams::store::{StoreEntry, StoreHandle};

use super::merge::{is_too_large, merge};
use super::seen::Seeing;
use super::window::Window;
use crate::interval::Interval;
use crate::operators::feed::Span;
pub(super) use crate::operators::windows_over::WindowStart;
use crate::operators::windows_over::{existing, keys_after};
use crate::operators::{CandleStores, Pair, Result};
use crate::store_keys;

/// The bases of a pair, which have windows of their own.
pub(super) const BASES: [Basis; 2] = [Basis::Trade, Basis::Ticker];

/// The three tables.
pub(super) struct Windows {
    minutes: StoreHandle<Window>,
    hours: StoreHandle<Window>,
    days: StoreHandle<Window>,
    /// The key of the last look-up, kept to reuse its memory.
    key: Vec<u8>,
}

/// The minute of an event.
#[derive(Clone, Copy)]
pub(super) struct EventMinute {
    pub(super) start: Timestamp,
    /// The minute has closed.
    pub(super) late: bool,
    /// The newest event that the pair had before.
    pub(super) newest: Option<Timestamp>,
}

/// The effect of an event on its minute.
pub(super) struct Added {
    pub(super) seeing: Seeing,
    /// The minute is new.
    pub(super) created: bool,
    /// The minute has closed, and its parents contain it.
    pub(super) closed: bool,
    /// Each sum fits, or was null before.
    pub(super) fits: bool,
}

impl Windows {
    /// The tables of a task.
    pub(super) fn new(stores: &CandleStores) -> Self {
        let (minutes, hours, days) =
            (stores.minutes.clone(), stores.hours.clone(), stores.days.clone());
        Self { minutes, hours, days, key: Vec::new() }
    }

    const fn table(&self, interval: Interval) -> &StoreHandle<Window> {
        match interval {
            Interval::Minute => &self.minutes,
            Interval::Hour => &self.hours,
            Interval::Day => &self.days,
        }
    }

    /// The entry of a window.
    pub(super) fn entry(
        &mut self,
        pair: &[u8],
        basis: Basis,
        (interval, start): WindowStart,
    ) -> Result<StoreEntry<'_, Window>> {
        self.key.clear();
        store_keys::candle_key(interval, pair, basis, start, &mut self.key);
        Ok(self.table(interval).entry(&self.key)?)
    }

    /// How far the minutes of all pairs have come, whatever the clocks of the pairs say.
    pub(super) fn clock(&self) -> Result<ExpiryClock> {
        Ok(self.minutes.clock()?)
    }

    /// The candle of a minute.
    pub(super) fn minute(
        &mut self,
        pair: &[u8],
        basis: Basis,
        start: Timestamp,
    ) -> Result<Option<Candle>> {
        let window = self.entry(pair, basis, (Interval::Minute, start))?;
        Ok(window.as_ref().map(|window| window.candle.clone()))
    }

    /// Counts an event into its minute.
    #[inline]
    pub(super) fn add(
        &mut self,
        pair: &Pair,
        event: &MarketEvent,
        minute: EventMinute,
        part: &Candle,
    ) -> Result<Added> {
        let EventMinute { start, late, newest } = minute;
        self.key.clear();
        store_keys::candle_key(Interval::Minute, pair.key(), event.basis, start, &mut self.key);
        let (hint, minutes) = (pair.in_minutes(event.basis), &self.minutes);
        // No window of a pair begins after that of its newest event, so one that does is new. A pair
        // without a newest event may have been deleted while its windows remain.
        let mut window = if newest.is_some_and(|newest| Interval::Minute.start(newest) < start) {
            minutes.new_entry_near(hint, &self.key)?
        } else {
            minutes.entry_near(hint, &self.key)?
        };
        let identity = event.identity();
        let seen = window.as_ref().zip(identity);
        let seeing = seen.map_or(Seeing::New, |(known, id)| known.seen.look(id));
        if seeing == Seeing::Duplicate {
            return Ok(Added { seeing, created: false, closed: late, fits: true });
        }
        let Some(known) = window.as_mut() else {
            let mut new = Window::new(part.clone());
            if late {
                new.candle.status = Status::Closed;
            }
            if let Some(id) = identity {
                new.seen.insert(id);
            }
            *window = Some(new);
            return Ok(Added { seeing, created: true, closed: late, fits: !is_too_large(part) });
        };
        // It may have been closed by a clock that was set back since.
        let closed = late || known.candle.status != Status::Open;
        let fits = merge(&mut known.candle, part) && !is_too_large(part);
        if let Some(id) = identity {
            known.seen.insert(id);
        }
        if closed {
            known.revise();
        }
        Ok(Added { seeing, created: false, closed, fits })
    }

    /// The windows of a pair over a span that may exist, and the number of parents looked up to
    /// find them.
    pub(super) fn over(
        &mut self,
        pair: &[u8],
        basis: Basis,
        span: Span,
        newest: Timestamp,
    ) -> Result<(Vec<WindowStart>, usize)> {
        existing(span, newest, |window| Ok(self.entry(pair, basis, window)?.is_some()))
    }

    /// Deletes a pair's windows that begin after a time; returns their number.
    pub(super) fn delete_after(
        &mut self,
        interval: Interval,
        pair: &[u8],
        at: Timestamp,
    ) -> Result<usize> {
        let table = self.table(interval);
        let key = |basis, time| {
            let mut key = Vec::new();
            store_keys::candle_key(interval, pair, basis, time, &mut key);
            key
        };
        let keys = |time| BASES.map(|basis| key(basis, time)).to_vec();
        let time = |key: &[u8]| store_keys::read_candle_key(key).map(|(_, _, time)| time);
        let found = keys_after(table, interval, at, keys, time)?;
        for key in &found {
            table.remove(key)?;
        }
        Ok(found.len())
    }
}
