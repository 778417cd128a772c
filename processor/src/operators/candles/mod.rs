//! Candles of every pair: events reach the minute; hours and days are merged from closed minutes.
//!
//! ```text
//!            own event past end + grace,
//!  event     or the feed's clock              late event
//!    └─► OPEN ─────────────────► CLOSED ────────────────► REVISED ─► …
//!         minute                    │ whole minute           │ the event alone
//!                                   └─► hour, day            └─► hour, day
//! ```
//!
//! A pair's clock is the greater of its own latest event time and its exchange's feed clock. It
//! does not close another pair's windows: venues and instruments lag and replay at paces of their
//! own, and a window closed early turns ordinary trades into revisions. Only windows that would soon
//! expire are closed by the newest minute of the partition (`idle`).
//!
//! A parent takes each minute once, when it closes, and afterwards each late event alone. So it is
//! always the merge of its closed minutes. Readers merge it with the open minutes as well.
//!
//! ```text
//! mod (this file)  events ──┬─► tables    a clock closes windows; minutes reach their hour and day
//! pairs            marks  ──┤      ├─► windows   the three tables of windows
//! changes          resets ──┘      └─► feeds     the states of feeds, and their marks on windows
//! idle     silence    └─► index            └─► ../feed/   one state: clock, stretches, gaps, carriers
//! ```
//!
//! Invariants:
//! - A closed window changes only by a revision, which counts up.
//! - An id counts once in a window.
//! - The same log gives the same candles, byte for byte, in batches of any size.

mod changes;
mod feeds;
mod idle;
mod index;
mod merge;
mod pairs;
mod seen;
mod stores;
mod tables;
mod window;
mod windows;

pub use merge::{merge, single};
pub use seen::Seen;
pub use stores::CandleStores;
pub use window::Window;

use schemas::{FeedMark, MarketEvent, Timestamp};
use streams::punctuation::Schedule;
use streams::{Context, Processor};

use super::ended::SWEEP;
use super::feed::MarkSteps;
use super::pairs::NO_PAIR;
use super::rules::{REVISION_HORIZON_MS, is_closed};
use super::{Entry, Pair, Result};
use crate::interval::Interval;
use crate::store_keys;
use feeds::MarkCause;
use index::PairIndex;
use pairs::CandlePairs;
use seen::Seeing;
use tables::{ClockAdvance, Tables};
use windows::{Added, EventMinute};

/// Keeps `ohlc_1m`, `ohlc_1h` and `ohlc_1d`; forwards events that are too late.
pub struct Candles {
    tables: Tables,
    index: PairIndex,
    steps: MarkSteps,
}

impl Candles {
    /// Candles in these stores. A step of a mark looks up `step_windows` windows: this changes when
    /// a commit may come, and no candle.
    pub fn in_steps(stores: &CandleStores, step_windows: usize) -> Self {
        Self {
            tables: Tables::new(stores),
            index: PairIndex::new(stores),
            steps: MarkSteps::new(step_windows),
        }
    }

    /// Takes an event; false when it is too late for any candle.
    fn event(
        &mut self,
        context: &mut Context<'_, Entry>,
        pair: &Pair,
        event: &MarketEvent,
    ) -> Result<bool> {
        let Self { tables, index, .. } = self;
        let newest = tables.feeds.newest_near(pair)?;
        let start = Interval::Minute.start(event.event_time);
        let span = (start, Timestamp(start.0 + Interval::Minute.length_ms()));
        let (feed_clock, mut near) = tables.feeds.look_up(pair, event, span)?;
        let clock = newest.max(feed_clock);
        let late = clock.filter(|&clock| is_closed(Interval::Minute, start, clock));
        let too_late = late.is_some_and(|clock| clock.0 - event.event_time.0 > REVISION_HORIZON_MS);
        let minutes = tables.windows.clock()?;
        let segment = store_keys::segment(Interval::Minute, start);
        if too_late || segment < minutes.first_kept {
            context.count("too_late");
            return Ok(false);
        }
        if segment > minutes.newest {
            idle::close_silent(context, tables, (minutes.newest, segment), start)?;
        }
        if near.spilled {
            near = near.and(tables.feeds.look_up_own(pair.key(), event, span)?);
        }
        let part = single(event, context.offset().0);
        let minute = EventMinute { start, late: late.is_some(), newest };
        let Added { seeing, created, closed, fits } =
            tables.windows.add(pair, event, minute, &part)?;
        if !fits {
            context.count("volume_overflow");
        }
        match seeing {
            Seeing::Duplicate => {
                context.count("duplicate");
                return Ok(true);
            }
            Seeing::Overflow => context.count("seen_overflow"),
            Seeing::New => {}
        }
        if let Some(clock) = late {
            context.late(clock.0 - event.event_time.0);
        }
        if closed {
            let clock = clock.unwrap_or(event.event_time);
            tables.add_to_parents(context, pair.key(), event.basis, &part, start, clock)?;
        }
        if created {
            index.is_alive(pair);
        }
        if near.window || near.id || (near.marked && created && late.is_some()) {
            let id = event.trade_id.filter(|_| near.id && seeing == Seeing::New);
            let cause = if created { MarkCause::WindowCreated } else { MarkCause::WindowChanged };
            let Tables { windows, feeds } = tables;
            feeds.mark_after_event(context, windows, pair.key(), event, (id, cause))?;
        }
        if let (Some(newest), Some(from)) = (newest, clock) {
            let to = from.max(event.event_time);
            tables.advance(context, pair.key(), ClockAdvance { newest, from, to })?;
            return Ok(true);
        }
        // A feed's clock must find a new pair also before it is committed.
        index.add(pair.exchange(), pair.key());
        Ok(true)
    }

    /// Takes a mark whose key is an exchange or a pair.
    fn mark(
        &mut self,
        context: &mut Context<'_, Entry>,
        key: &[u8],
        mark: &FeedMark,
    ) -> Result<()> {
        let Self { tables, index, steps } = self;
        if key.starts_with(&NO_PAIR) {
            return steps.take_mark(context, &mut CandlePairs { tables, index }, key, mark);
        }
        match mark.change {
            Some(change) => changes::apply(context, tables, index, key, (mark, change)),
            None => tables.feeds.take_pair_mark(context, &mut tables.windows, key, mark),
        }
    }
}

impl Processor for Candles {
    type In = Entry;
    type Out = Entry;

    fn schedule(&self) -> Option<Schedule> {
        Some(SWEEP)
    }

    fn punctuate(
        &mut self,
        context: &mut Context<'_, Entry>,
        time: streams::record::Timestamp,
    ) -> Result<()> {
        let Self { tables, index, .. } = self;
        changes::sweep(context, &mut tables.feeds, index, Timestamp(time.0))
    }

    fn process(&mut self, context: &mut Context<'_, Entry>, entry: &Entry) -> Result<()> {
        match entry {
            Entry::Mark { feed, mark } => self.mark(context, feed, mark),
            Entry::Event { pair, event } => {
                if self.event(context, pair, event)? {
                    return Ok(());
                }
                context.forward(entry)
            }
        }
    }

    fn resume(&mut self, context: &mut Context<'_, Entry>) -> Result<()> {
        let Self { tables, index, steps } = self;
        steps.resume(context, &mut CandlePairs { tables, index })
    }
}
