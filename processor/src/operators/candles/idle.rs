//! Closes the windows of pairs that are silent for long, before their minutes expire.
//!
//! ```text
//!        expired     kept: 30 days of minutes                        newest minute of the partition
//! ─────────────────┃──────────────┬──────────────┬──────────────────●
//!                                 └ a quarter ───┴─── half ─────────┘
//!                  pairs without an event since the quarter are closed when it is passed
//! ```
//!
//! A pair's own clock closes its windows, and the clock of its feed. Where neither moves, a minute would stay
//! open until it expires, and its hour and day would never contain it. Boundaries are fixed multiples of a
//! quarter of the retention, so that the closes depend on the log alone.
//!
//! Cost: the newest prices of the partition are read once in a quarter, seven days and a half of event time.

use schemas::Timestamp;
use streams::Context;

use super::tables::{ClockAdvance, Tables};
use crate::interval::Interval;
use crate::layouts;
use crate::operators::pairs::exchange_of;
use crate::operators::{Entry, Result};
use crate::store_keys;

/// Pairs that are read at a time.
const PAGE: usize = 4096;

/// See the module.
pub(super) struct IdlePairs {
    /// Segments that are kept.
    kept: u64,
    /// The largest segment of an event so far.
    seen: u64,
    /// Pairs without an event since this boundary are closed.
    closed: u64,
}

impl IdlePairs {
    /// Nothing is known of the stores yet.
    pub(super) fn new() -> Self {
        let kept = layouts::kept_segments(Interval::Minute).unwrap_or(u64::MAX);
        Self { kept, seen: 0, closed: 0 }
    }

    /// The boundary that is passed when the newest minute is in this segment.
    const fn boundary(&self, segment: u64) -> u64 {
        let quarter = if self.kept < 4 { 1 } else { self.kept / 4 };
        segment.saturating_sub(self.kept / 2) / quarter * quarter
    }

    /// Closes pairs that are silent when an event of this minute passes a boundary.
    #[inline]
    pub(super) fn advance(
        &mut self,
        context: &mut Context<'_, Entry>,
        tables: &mut Tables,
        start: Timestamp,
    ) -> Result<()> {
        let segment = store_keys::segment(Interval::Minute, start);
        if segment <= self.seen {
            return Ok(());
        }
        self.seen = segment;
        let boundary = self.boundary(segment);
        // What the store has seen, its last owner has closed.
        if boundary > self.closed.max(self.boundary(tables.windows.newest_segment()?)) {
            close(context, tables, boundary, start)?;
        }
        self.closed = self.closed.max(boundary);
        Ok(())
    }
}

fn close(
    context: &mut Context<'_, Entry>,
    tables: &mut Tables,
    boundary: u64,
    now: Timestamp,
) -> Result<()> {
    let mut from = Vec::new();
    loop {
        let page = tables.feeds.newest_prices(&from, PAGE)?;
        let is_last = page.len() < PAGE;
        for (pair, newest) in page {
            if store_keys::segment(Interval::Minute, newest) < boundary {
                let clock = tables.feeds.clock(exchange_of(&pair))?;
                let from = clock.map_or(newest, |clock| clock.max(newest));
                tables.advance(context, &pair, ClockAdvance { newest, from, to: now })?;
            }
            from = pair;
            from.push(0);
        }
        if is_last {
            return Ok(());
        }
    }
}
