//! The windows and the feeds together: a pair's clock closes windows, and closed minutes reach
//! their hour and their day.

use schemas::{Basis, Candle, Status, Timestamp};
use streams::Context;

use super::feeds::{Feeds, MarkCause};
use super::window::add_to_parent;
use super::windows::{BASES, WindowStart, Windows};
use crate::interval::Interval;
use crate::operators::rules::{closes_minute, is_closed};
use crate::operators::{CandleStores, Entry, Result};

/// The tables that candles are made from.
pub(super) struct Tables {
    pub(super) windows: Windows,
    pub(super) feeds: Feeds,
}

/// A move of a pair's clock, and the newest event that the pair had before.
#[derive(Clone, Copy)]
pub(super) struct ClockAdvance {
    pub(super) newest: Timestamp,
    pub(super) from: Timestamp,
    pub(super) to: Timestamp,
}

impl Tables {
    /// The tables of a task.
    pub(super) fn new(stores: &CandleStores) -> Self {
        Self { windows: Windows::new(stores), feeds: Feeds::new(stores) }
    }

    /// Updates the marks of a window, if it exists.
    pub(super) fn mark_window(
        &mut self,
        pair: &[u8],
        basis: Basis,
        window: WindowStart,
        cause: MarkCause,
    ) -> Result<()> {
        self.feeds.mark_window(&mut self.windows, pair, basis, window, cause)
    }

    /// Merges a late event, or a minute that closes at `clock`, into its hour and its day.
    pub(super) fn add_to_parents(
        &mut self,
        context: &mut Context<'_, Entry>,
        pair: &[u8],
        basis: Basis,
        part: &Candle,
        start: Timestamp,
        clock: Timestamp,
    ) -> Result<()> {
        for interval in [Interval::Hour, Interval::Day] {
            let parent = interval.start(start);
            let closed = is_closed(interval, parent, clock);
            let mut window = self.windows.entry(pair, basis, (interval, parent))?;
            let (created, fits) = (window.is_none(), add_to_parent(&mut window, part, closed));
            drop(window);
            if !fits {
                context.count("volume_overflow");
            }
            if created {
                self.mark_window(pair, basis, (interval, parent), MarkCause::WindowCreated)?;
            }
        }
        Ok(())
    }

    /// Closes the windows that the pair's clock has passed: minutes first, so that their parents
    /// contain all of them. Returns the number of windows looked up.
    #[inline]
    pub(super) fn advance(
        &mut self,
        context: &mut Context<'_, Entry>,
        pair: &[u8],
        clock: ClockAdvance,
    ) -> Result<usize> {
        // Hours and days end where a minute does, with the same grace.
        if closes_minute(clock.from, clock.to) {
            return self.close_passed(context, pair, clock);
        }
        Ok(0)
    }

    fn close_passed(
        &mut self,
        context: &mut Context<'_, Entry>,
        pair: &[u8],
        clock: ClockAdvance,
    ) -> Result<usize> {
        let mut looked_at = 0;
        for interval in Interval::ALL {
            // Grace is shorter than any window: only the window of the newest event and the one
            // before it can still be open.
            let last = interval.start(clock.newest);
            for start in [Timestamp(last.0 - interval.length_ms()), last] {
                let closes =
                    !is_closed(interval, start, clock.from) && is_closed(interval, start, clock.to);
                if !closes {
                    continue;
                }
                for basis in BASES {
                    looked_at += 1;
                    let candle = self.close(pair, basis, (interval, start))?;
                    if let (Some(candle), Interval::Minute) = (candle, interval) {
                        // The parent closes later in this loop, so it is as open as before.
                        self.add_to_parents(context, pair, basis, &candle, start, clock.from)?;
                    }
                }
            }
        }
        Ok(looked_at)
    }

    /// Closes an open window, and returns its candle.
    fn close(&mut self, pair: &[u8], basis: Basis, window: WindowStart) -> Result<Option<Candle>> {
        let mut known = self.windows.entry(pair, basis, window)?;
        if known.as_ref().is_none_or(|known| known.candle.status != Status::Open) {
            return Ok(None);
        }
        let closed = known.as_mut().map(|known| {
            known.candle.status = Status::Closed;
            // A gap's count may have decreased since it was copied into this minute. The parent takes
            // it from the feed.
            Candle { missing_trades: None, ..known.candle.clone() }
        });
        drop(known);
        self.mark_window(pair, basis, window, MarkCause::WindowChanged)?;
        Ok(closed)
    }
}
