//! What a feed lost, in the windows of the pairs that it concerns.
//!
//! ```text
//! gap mark ──► known ──► every window over it: marked
//! an event in one of its minutes ──► a window that is new: marked
//! an event with one of its ids ──► counted down; at none ──► forgotten, every window over it: cleared
//! ```
//!
//! A closed window that changes by this alone is revised. One that an event changed as well is
//! revised once, for the event. An open window changes without a revision.
//!
//! Cost: nothing for an event while no gap is known to its exchange's feed. While one is, a look at
//! each; for an event in a gap's minutes, one or two lookups more.

use schemas::{Basis, FeedMark, MarketEvent, Status, Timestamp};
use streams::{Context, Failure};

use super::candles::exchange_of;
use super::feed::{Gap, Marks};
use super::rules::{Interval, REVISION_HORIZON_MS};
use super::stretches::Span;
use super::{Candles, Entry};

/// Why a window's marks are looked at.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Change {
    /// The window has changed anyway.
    Ordinary,
    /// Something became known of the feed: if the window is closed, that is a revision.
    Knowledge,
}

impl Candles {
    /// Takes note of a gap.
    pub(super) fn lost(
        &mut self,
        context: &mut Context<'_, Entry>,
        exchange: &[u8],
        mark: &FeedMark,
        mut gap: Gap,
    ) -> Result<(), Failure> {
        gap.missing -= self.counted(&gap)?;
        let (added, forgot) = self.feed_of(exchange, mark, |feed| {
            let added = feed.add(gap.clone());
            (added, added && feed.overflow())
        })?;
        if forgot {
            context.count("gap_overflow");
        }
        if !added {
            return Ok(());
        }
        context.count("gap");
        if !gap.pair.is_empty() {
            let newest = self.newest(&gap.pair)?;
            return newest.map_or(Ok(()), |newest| self.mark_gap(&gap.pair.clone(), &gap, newest));
        }
        for pair in self.pairs_of(exchange)? {
            if let Some(newest) = self.newest(&pair)? {
                self.mark_gap(&pair, &gap, newest)?;
            }
        }
        Ok(())
    }

    /// How many of a gap's ids have been counted: they came before its mark.
    fn counted(&mut self, gap: &Gap) -> Result<i64, Failure> {
        let Some((first, count)) = gap.ids else {
            return Ok(0);
        };
        let Some(newest) = self.newest(&gap.pair)? else {
            return Ok(0);
        };
        let mut counted = 0;
        for start in starts(Interval::Minute, (gap.from, gap.until), newest) {
            let minute = (Interval::Minute, start);
            counted += self.update(&gap.pair, Basis::Trade, minute, |window| {
                let seen = window.as_ref().map(|window| window.seen.count_within(first, count));
                (false, seen.unwrap_or(0))
            })?;
        }
        Ok(counted)
    }

    /// Marks what an event has changed; `arrived` is its id when a gap had lost it.
    pub(super) fn mark_event(
        &mut self,
        context: &mut Context<'_, Entry>,
        pair: &[u8],
        event: &MarketEvent,
        arrived: Option<i64>,
    ) -> Result<(), Failure> {
        let mut complete = Vec::new();
        if let Some(id) = arrived {
            let exchange = exchange_of(pair);
            complete = self.found(exchange, pair, id)?;
        }
        let tiers = if arrived.is_some() { &Interval::ALL[..] } else { &[Interval::Minute] };
        for &interval in tiers {
            let window = (interval, interval.start(event.event_time));
            self.stamp(pair, event.basis, window, Change::Ordinary)?;
        }
        let newest = self.newest(pair)?.max(Some(event.event_time)).unwrap_or_default();
        for gap in complete {
            context.count("gap_filled");
            self.mark_gap(pair, &gap, newest)?;
        }
        Ok(())
    }

    /// Brings what is known into every window of a pair that a gap is over.
    fn mark_gap(&mut self, pair: &[u8], gap: &Gap, newest: Timestamp) -> Result<(), Failure> {
        let bases: &[Basis] =
            if gap.ids.is_some() { &[Basis::Trade] } else { &[Basis::Trade, Basis::Ticker] };
        self.refresh(pair, (gap.from, gap.until), bases, newest)
    }

    /// Brings what is known into every window of a pair over that time.
    pub(super) fn refresh(
        &mut self,
        pair: &[u8],
        span: Span,
        bases: &[Basis],
        newest: Timestamp,
    ) -> Result<(), Failure> {
        for interval in Interval::ALL {
            for start in starts(interval, span, newest) {
                for &basis in bases {
                    self.stamp(pair, basis, (interval, start), Change::Knowledge)?;
                }
            }
        }
        Ok(())
    }

    /// Brings what is known of the feed into a window, if there is one.
    pub(super) fn stamp(
        &mut self,
        pair: &[u8],
        basis: Basis,
        (interval, start): (Interval, Timestamp),
        change: Change,
    ) -> Result<(), Failure> {
        let end = Timestamp(start.0 + interval.length_ms());
        let carriers = self.carriers(pair)?;
        let look = |feed: &super::Feed| Some(feed.marks(pair, basis, &carriers, (start, end)));
        let Some(marks): Option<Marks> = self.feed(exchange_of(pair), look)? else {
            return Ok(());
        };
        self.update(pair, basis, (interval, start), |window| {
            let Some(window) = window else {
                return (false, ());
            };
            let changed = window.mark(&marks);
            if changed && change == Change::Knowledge && window.candle.status != Status::Open {
                window.revise();
            }
            (changed, ())
        })
    }
}

/// The windows over that time that there may be: up to the newest event, and within the horizon, which
/// bounds them to a day of minutes.
fn starts(
    interval: Interval,
    (from, until): Span,
    newest: Timestamp,
) -> impl Iterator<Item = Timestamp> {
    let from = from.max(Timestamp(newest.0.saturating_sub(REVISION_HORIZON_MS)));
    let first = interval.start(from);
    let until = until.min(Timestamp(newest.0.saturating_add(1)));
    let step = interval.length_ms();
    (0..).map(move |index: i64| Timestamp(first.0 + index * step)).take_while(move |s| *s < until)
}
