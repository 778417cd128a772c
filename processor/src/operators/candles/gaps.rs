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
//! each; for an event in a gap's minutes, one or two lookups more, and one more when its gap may
//! stand in the pair's own state.

use schemas::{Basis, FeedMark, MarketEvent, Status, Timestamp};
use streams::store::StoreEntry;
use streams::{Context, Failure};

use super::feed::stretches::{Span, union};
use super::feed::{Carrier, Feed, Gap, Near};
use super::{Candles, exchange_of};
use crate::operators::Entry;
use crate::operators::rules::{Interval, REVISION_HORIZON_MS};

/// Why a window's marks are looked at.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Change {
    /// The window has changed anyway.
    Ordinary,
    /// It was made, and bears no marks yet.
    Created,
    /// Something became known of the feed: if the window is closed, that is a revision.
    Knowledge,
}

impl Candles {
    /// Takes a mark whose key is a pair.
    pub(super) fn mark_of_pair(
        &mut self,
        context: &mut Context<'_, Entry>,
        exchange: &[u8],
        pair: &[u8],
        mark: &FeedMark,
    ) -> Result<(), Failure> {
        if let Some(gap) = Gap::of(mark, pair)
            && self.lost(context, exchange, mark, gap.clone())?
            && let Some(newest) = self.newest(pair)?
        {
            self.refresh(pair, (gap.from, gap.until), bases(&gap), newest)?;
        }
        let carrier = Carrier::of(mark);
        carrier.map_or(Ok(()), |carrier| self.carried(context, pair, mark, carrier))
    }

    /// Takes note of a gap; whether it is a new one, of which something is missing.
    pub(super) fn lost(
        &mut self,
        context: &mut Context<'_, Entry>,
        exchange: &[u8],
        mark: &FeedMark,
        mut gap: Gap,
    ) -> Result<bool, Failure> {
        let spilled = self.feed(exchange)?.as_ref().is_some_and(|feed| feed.has_spilled(gap.until));
        if spilled && !gap.pair.is_empty() && self.knows_itself(&gap)? {
            return Ok(false);
        }
        gap.missing -= self.counted(&gap)?;
        let mut feed = self.feed(exchange)?;
        let known = feed.get_or_insert_with(|| Feed::new(mark));
        let added = known.add(gap);
        let (spilled, forgot) = (known.spill(), known.overflow());
        drop(feed);
        let forgot_spilled = spilled.map_or(Ok(false), |gap| self.spill(exchange, mark, gap))?;
        if forgot || forgot_spilled {
            context.count("gap_overflow");
        }
        if added {
            context.count("gap");
        }
        Ok(added)
    }

    /// Whether the own state of a gap's pair has it.
    fn knows_itself(&self, gap: &Gap) -> Result<bool, Failure> {
        let own = Gap { pair: Box::default(), ..gap.clone() };
        Ok(self.stores.feeds.get(&gap.pair)?.is_some_and(|feed| feed.knows(&own)))
    }

    /// Puts a gap for which its exchange has no room into its pair's own state; whether that had to
    /// forget one.
    fn spill(&mut self, exchange: &[u8], mark: &FeedMark, mut gap: Gap) -> Result<bool, Failure> {
        let pair = std::mem::take(&mut gap.pair);
        let clock = self.newest(&pair)?.max(self.feed(exchange)?.as_ref().and_then(Feed::clock));
        let mut own = self.stores.feeds.entry(&pair)?;
        let own = own.get_or_insert_with(|| Feed::new(mark));
        own.forget_old(clock.unwrap_or_default());
        own.add(gap);
        Ok(own.overflow())
    }

    /// What an event has to know of the gaps in its pair's own state.
    pub(super) fn own_near(
        &self,
        pair: &[u8],
        event: &MarketEvent,
        (start, end): Span,
    ) -> Result<Near, Failure> {
        let own = self.stores.feeds.get(pair)?;
        Ok(own.map(|own| own.near(pair, event, start, end)).unwrap_or_default())
    }

    /// The id of a pair has arrived; the gaps that are now complete.
    fn found(&mut self, pair: &[u8], event: &MarketEvent, id: i64) -> Result<Vec<Gap>, Failure> {
        let arrived = |mut feed: StoreEntry<'_, Feed>, pair: &[u8]| {
            let lost = feed.as_ref().is_some_and(|feed| feed.has_lost(pair, id));
            let feed = if lost { feed.as_mut() } else { None };
            feed.map(|feed| feed.arrived(pair, id)).unwrap_or_default()
        };
        let feed = self.feed(exchange_of(pair))?;
        let spilled = feed.as_ref().is_some_and(|feed| feed.has_spilled(event.event_time));
        let mut complete = arrived(feed, pair);
        if spilled {
            complete.extend(arrived(self.stores.feeds.entry(pair)?, &[]));
        }
        Ok(complete)
    }

    /// How many of a gap's ids have been counted: they came before its mark.
    fn counted(&mut self, gap: &Gap) -> Result<i64, Failure> {
        let Some((first, count)) = gap.ids else {
            return Ok(0);
        };
        let Some(newest) = self.newest(&gap.pair)? else {
            return Ok(0);
        };
        let mut counted = 0i64;
        for (interval, start) in
            self.windows(&gap.pair, Basis::Trade, (gap.from, gap.until), newest)?.0
        {
            if interval == Interval::Minute {
                let window = self.window(&gap.pair, Basis::Trade, (interval, start))?;
                counted += window.as_ref().map_or(0, |known| known.seen.count_within(first, count));
            }
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
        change: Change,
    ) -> Result<(), Failure> {
        let complete = arrived.map_or(Ok(Vec::new()), |id| self.found(pair, event, id))?;
        let minute = (Interval::Minute, Interval::Minute.start(event.event_time));
        self.stamp(pair, event.basis, minute, change)?;
        if arrived.is_some() {
            for interval in [Interval::Hour, Interval::Day] {
                let parent = (interval, interval.start(event.event_time));
                self.stamp(pair, event.basis, parent, Change::Ordinary)?;
            }
        }
        let newest = self.newest(pair)?.max(Some(event.event_time)).unwrap_or_default();
        let mut spans = Vec::with_capacity(complete.len());
        for gap in &complete {
            context.count("gap_filled");
            spans.push((gap.from, gap.until));
        }
        // Gaps that overlap share windows, which are looked at once.
        for span in union(spans) {
            self.refresh(pair, span, &[Basis::Trade], newest)?;
        }
        Ok(())
    }

    /// Brings what is known into every window of a pair over that time; how many windows that looked
    /// at.
    pub(super) fn refresh(
        &mut self,
        pair: &[u8],
        span: Span,
        bases: &[Basis],
        newest: Timestamp,
    ) -> Result<usize, Failure> {
        let mut looked_at = 0;
        for &basis in bases {
            let (windows, parents) = self.windows(pair, basis, span, newest)?;
            looked_at += windows.len() + parents;
            for window in windows {
                self.stamp(pair, basis, window, Change::Knowledge)?;
            }
        }
        Ok(looked_at)
    }

    /// The windows of a pair over that time which there may be, and how many were looked at to find
    /// them. A parent that does not exist has no closed minute, so its minutes are left out, except the
    /// last two, which may be open.
    fn windows(
        &mut self,
        pair: &[u8],
        basis: Basis,
        span: Span,
        newest: Timestamp,
    ) -> Result<(Vec<(Interval, Timestamp)>, usize), Failure> {
        let (mut parents, mut found) = (0, Vec::new());
        for day in starts(Interval::Day, span, newest) {
            parents += 1;
            if self.window(pair, basis, (Interval::Day, day))?.is_some() {
                found.push((Interval::Day, day));
            }
        }
        let days = found.len();
        for hour in starts(Interval::Hour, span, newest) {
            let day = (Interval::Day, Interval::Day.start(hour));
            if found[..days].contains(&day) {
                parents += 1;
                if self.window(pair, basis, (Interval::Hour, hour))?.is_some() {
                    found.push((Interval::Hour, hour));
                }
            }
        }
        let hours: Vec<Timestamp> = found[days..].iter().map(|(_, start)| *start).collect();
        let last = Interval::Minute.start(newest);
        let may_be_open = Timestamp(last.0 - Interval::Minute.length_ms());
        let minutes = starts(Interval::Minute, span, newest)
            .filter(|&at| at >= may_be_open || hours.contains(&Interval::Hour.start(at)));
        found.extend(minutes.map(|start| (Interval::Minute, start)));
        Ok((found, parents))
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
        let own = self.own(pair, start)?;
        let marks = |feed: &Feed| feed.marks(pair, basis, &own, (start, end));
        let Some(marks) = self.feed(exchange_of(pair))?.as_ref().map(marks) else {
            return Ok(());
        };
        let mut window = self.window(pair, basis, (interval, start))?;
        let is_new = change == Change::Created;
        if window.as_ref().is_some_and(|window| window.differs(&marks, is_new))
            && let Some(window) = window.as_mut()
        {
            window.mark(&marks, is_new);
            if change == Change::Knowledge && window.candle.status != Status::Open {
                window.revise();
            }
        }
        Ok(())
    }
}

/// What a gap is of: dense ids are those of trades.
fn bases(gap: &Gap) -> &'static [Basis] {
    if gap.ids.is_some() { &[Basis::Trade] } else { &[Basis::Trade, Basis::Ticker] }
}

/// The windows over that time up to the newest event and within the horizon, which bounds them to a
/// day of minutes.
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
