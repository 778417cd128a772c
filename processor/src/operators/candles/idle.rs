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
use crate::operators::pairs::exchange_of;
use crate::operators::{Entry, Result};
use crate::store_keys;

/// Pairs that are read at a time.
const PAGE: usize = 4096;

/// Closes the windows of silent pairs when an event takes the minutes from one segment to another, past a
/// boundary. The store's clock moves with the event's minute, so a restart in between does the same.
pub(super) fn close_silent(
    context: &mut Context<'_, Entry>,
    tables: &mut Tables,
    (newest, segment): (u64, u64),
    start: Timestamp,
) -> Result<()> {
    let passed = boundary(segment);
    if passed > boundary(newest) { close(context, tables, passed, start) } else { Ok(()) }
}

/// The boundary that is passed when the newest minute is in this segment.
fn boundary(segment: u64) -> u64 {
    let kept = store_keys::kept_segments(Interval::Minute).unwrap_or(u64::MAX);
    let quarter = (kept / 4).max(1);
    segment.saturating_sub(kept / 2) / quarter * quarter
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
