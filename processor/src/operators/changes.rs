//! Changes of a pair itself, told by marks whose key it is: it has ended, or a person sets it back.
//!
//! ```text
//! ENDED ─► its day has closed ─► out of the index of pairs ─► 7 days of stream time ─► out of latest
//!            └──────────── an event of an hour after the end: it is back ────────────┘
//!
//! RESET at T, when the pair or its exchange's feed is ahead of T
//!   feed      clock, stretches and gaps after T              cut, in the pair's partition
//!   minutes   that begin after T                             deleted, with the ids that they counted
//!   hour, day after T                                        deleted
//!   hour, day around T                                       merged again from their minutes, open
//!   latest    newer than T                                   the close of the newest minute left
//! ```
//!
//! The minute of T stays as it is: what it counted cannot be taken apart. If the clock that was ahead
//! has closed it, what still comes for it revises it. A pair with no minute in the 24 hours before T
//! has no price until the next one comes.
//!
//! Other pairs of an exchange whose feed is set back keep candles that closed early, with the coverage
//! that is left; what comes for them revises them. Rows that `PostgreSQL` has stay: the sinks ignore tombstones.
//!
//! Everything here is a function of the log: a replay does the same at the same record.

use std::collections::BTreeSet;

use schemas::{Basis, Candle, FeedMark, LatestPrice, PairChange, Status, Timestamp};
use streams::punctuation::{PunctuationType, Schedule};
use streams::{Context, Failure};

use super::candles::{add_to_parent, exchange_of};
use super::gaps::Change;
use super::index::AFTER_ALL;
use super::rules::{ENDED_KEPT_MS, Interval, LAST_WORDS_MS, REVISION_HORIZON_MS, is_closed};
use super::{Candles, Entry, Feed, Window};
use crate::layout;

/// How often pairs that ended are looked at. A day's windows close once a day.
pub(super) const SWEEP: Schedule =
    Schedule { clock: PunctuationType::StreamTime, interval_ms: 3_600_000 };

const BASES: [Basis; 2] = [Basis::Trade, Basis::Ticker];

impl Candles {
    /// A mark says that a pair changes.
    pub(super) fn changed(
        &mut self,
        context: &mut Context<'_, Entry>,
        pair: &[u8],
        mark: &FeedMark,
        change: PairChange,
    ) -> Result<(), Failure> {
        match change {
            PairChange::Ended => self.end(context, pair, mark),
            PairChange::Reset => self.reset(context, pair, mark.healthy_until),
        }
    }

    // Ends.

    fn end(
        &mut self,
        context: &mut Context<'_, Entry>,
        pair: &[u8],
        mark: &FeedMark,
    ) -> Result<(), Failure> {
        // Of what never had a price there is nothing to forget.
        let Some(newest) = self.newest(pair)? else {
            return Ok(());
        };
        // A venue that lists its instruments anew says it again, and that is no later end.
        let known = self.has_ended(pair)?;
        if known.is_some_and(|(end, _)| newest.0 <= end.0.saturating_add(LAST_WORDS_MS)) {
            return Ok(());
        }
        context.count("pair_ended");
        let told = Timestamp(context.stream_time().0);
        let own = || Feed::new(mark);
        self.stores.feeds.entry(pair)?.get_or_insert_with(own).end(mark.healthy_until, told);
        self.index.ended.insert(pair.into());
        Ok(())
    }

    fn has_ended(&self, pair: &[u8]) -> Result<Option<(Timestamp, Timestamp)>, Failure> {
        Ok(self.stores.feeds.get(pair)?.and_then(|feed| feed.ended()))
    }

    /// Looks at every pair that has ended: as many as the venues of a partition end in a week.
    pub(super) fn sweep(
        &mut self,
        context: &mut Context<'_, Entry>,
        time: Timestamp,
    ) -> Result<(), Failure> {
        self.find_ended()?;
        for pair in self.index.ended.clone() {
            let Some((end, told)) = self.has_ended(&pair)? else {
                self.index.ended.remove(&pair);
                continue;
            };
            let exchange = exchange_of(&pair).to_vec();
            let newest = self.newest(&pair)?;
            if newest.is_some_and(|newest| newest.0 > end.0.saturating_add(LAST_WORDS_MS)) {
                context.count("pair_back");
                self.stores.feeds.entry(&pair)?.iter_mut().for_each(Feed::begin_again);
                self.index.ended.remove(&pair);
                self.index.add(&exchange, &pair);
                continue;
            }
            let clock = newest.max(self.feed(&exchange)?.as_ref().and_then(Feed::clock));
            let closed = |newest| {
                let clock = clock.unwrap_or(newest);
                is_closed(Interval::Day, Interval::Day.start(newest), clock)
            };
            // Days close last.
            if !newest.is_none_or(closed) {
                self.index.add(&exchange, &pair);
                continue;
            }
            self.index.remove(&exchange, &pair);
            if time.0 >= told.0.saturating_add(ENDED_KEPT_MS) {
                context.count("pair_forgotten");
                self.stores.latest.remove(&pair)?;
                self.stores.feeds.remove(&pair)?;
                self.index.ended.remove(&pair);
            }
        }
        Ok(())
    }

    // Resets.

    fn reset(
        &mut self,
        context: &mut Context<'_, Entry>,
        pair: &[u8],
        at: Timestamp,
    ) -> Result<(), Failure> {
        let mut feed = self.feed(exchange_of(pair))?;
        let feed_was_ahead = feed.as_ref().and_then(Feed::clock).is_some_and(|clock| clock > at);
        if feed_was_ahead && let Some(feed) = feed.as_mut() {
            feed.set_back(at);
        }
        drop(feed);
        if !feed_was_ahead && self.newest(pair)?.is_none_or(|newest| newest <= at) {
            // Nothing is ahead, so nothing is wrong.
            context.count("pair_reset_unneeded");
            return Ok(());
        }
        context.count("pair_reset");
        self.set_back_own(pair, at)?;
        for interval in Interval::ALL {
            for key in self.windows_after(interval, pair, at)? {
                context.count("future_candle");
                self.store(interval).remove(&key)?;
            }
        }
        for interval in [Interval::Hour, Interval::Day] {
            for basis in BASES {
                self.merge_again(context, pair, basis, (interval, at))?;
            }
        }
        self.set_back_latest(pair, at)?;
        // What a feed told of the future is no coverage: also where nothing else changes.
        let told = if feed_was_ahead { self.pairs_of(exchange_of(pair))? } else { None };
        let told: Vec<Box<[u8]>> = told.into_iter().flatten().cloned().collect();
        for pair in std::iter::once(pair.into()).chain(told) {
            for interval in Interval::ALL {
                for basis in BASES {
                    let window = (interval, interval.start(at));
                    self.stamp(&pair, basis, window, Change::Knowledge)?;
                }
            }
        }
        Ok(())
    }

    /// Takes the own state of a pair back, where that changes it.
    fn set_back_own(&self, pair: &[u8], at: Timestamp) -> Result<(), Failure> {
        let mut own = self.stores.feeds.entry(pair)?;
        let mut back = own.clone();
        if let Some(own) = &mut back {
            own.set_back(at);
        }
        if *own != back {
            *own = back;
        }
        Ok(())
    }

    /// The store keys of a pair's windows that begin after a time.
    fn windows_after(
        &self,
        interval: Interval,
        pair: &[u8],
        at: Timestamp,
    ) -> Result<BTreeSet<Vec<u8>>, Failure> {
        let store = self.store(interval);
        let limit = usize::try_from(layout::SEGMENT).unwrap_or_default();
        let key = |basis, time| {
            let mut key = Vec::new();
            layout::candle_key(interval, pair, basis, time, &mut key);
            key
        };
        let (mut found, mut from) = (BTreeSet::new(), at);
        // From one segment in which anybody has a candle to the next.
        while let Some(start) = self.segment_from(interval, from)? {
            let end = layout::segment_end(interval, start);
            let first = start.max(Timestamp(at.0.saturating_add(1)));
            for basis in BASES.into_iter().filter(|_| first < end) {
                let mut to = key(basis, Timestamp(end.0 - 1));
                to.push(0);
                let windows = store.range(&key(basis, first), &to, limit)?;
                found.extend(windows.into_iter().map(|(key, _)| key));
            }
            from = end;
        }
        Ok(found)
    }

    /// Where the first segment begins that has a candle of anybody and is not over at that time.
    fn segment_from(
        &self,
        interval: Interval,
        time: Timestamp,
    ) -> Result<Option<Timestamp>, Failure> {
        let prefix = layout::segment_prefix(interval, time);
        let first = self.store(interval).range(&prefix, &AFTER_ALL, 1)?;
        let time = first.first().and_then(|(key, _)| layout::read_candle_key(key));
        Ok(time.map(|(_, _, time)| layout::segment_start(interval, time)))
    }

    /// Merges the window around a time again from its minutes, as those stand now, and opens it.
    fn merge_again(
        &mut self,
        context: &mut Context<'_, Entry>,
        pair: &[u8],
        basis: Basis,
        (interval, at): (Interval, Timestamp),
    ) -> Result<(), Failure> {
        let start = interval.start(at);
        let mut whole = None;
        for minute in minutes_back(at, start) {
            let closed = self.minute(pair, basis, minute)?;
            let Some(minute) = closed.filter(|candle| candle.status != Status::Open) else {
                continue;
            };
            let part = Candle { missing_trades: None, ..minute };
            if !add_to_parent(&mut whole, &part, false) {
                context.count("volume_overflow");
            }
        }
        let mut window = self.window(pair, basis, (interval, start))?;
        // It was published so often: the count goes on.
        let revision = window.as_ref().map_or(0, |window| window.candle.revision);
        if let Some(Window { candle, .. }) = &mut whole {
            candle.revision = revision;
        }
        if *window != whole {
            *window = whole;
        }
        Ok(())
    }

    fn minute(
        &mut self,
        pair: &[u8],
        basis: Basis,
        start: Timestamp,
    ) -> Result<Option<Candle>, Failure> {
        let window = self.window(pair, basis, (Interval::Minute, start))?;
        Ok(window.as_ref().map(|window| window.candle.clone()))
    }

    /// Takes the newest price back to what the newest minute says that is left.
    fn set_back_latest(&mut self, pair: &[u8], at: Timestamp) -> Result<(), Failure> {
        let mut newest: Option<(Basis, Candle)> = None;
        let from = Timestamp(at.0.saturating_sub(REVISION_HORIZON_MS));
        for minute in minutes_back(at, from) {
            for basis in BASES {
                let Some(candle) = self.minute(pair, basis, minute)? else { continue };
                let order = |basis, candle: &Candle| {
                    (candle.close_event_time, basis == Basis::Trade, candle.close_tie)
                };
                let is_newer = newest
                    .as_ref()
                    .is_none_or(|(other, known)| order(basis, &candle) > order(*other, known));
                if is_newer {
                    newest = Some((basis, candle));
                }
            }
            if newest.is_some() {
                break;
            }
        }
        let mut latest = self.stores.latest.entry(pair)?;
        let Some(mut known) = latest.take() else {
            return Ok(());
        };
        if known.volume_time.is_some_and(|time| time > at) {
            (known.base_volume_24h, known.quote_volume_24h) = (None, None);
            (known.volume_source, known.volume_time) = (schemas::VolumeSource::None, None);
        }
        *latest = if known.event_time <= at {
            Some(known)
        } else {
            newest.map(|(basis, candle)| of_candle(known, basis, &candle))
        };
        Ok(())
    }
}

/// The price that a candle closed with; the candle does not have its size.
fn of_candle(known: LatestPrice, basis: Basis, candle: &Candle) -> LatestPrice {
    LatestPrice {
        price: candle.close,
        size: None,
        trade_id: None,
        basis,
        event_time: candle.close_event_time,
        received_at: candle.close_event_time,
        tie: candle.close_tie,
        ..known
    }
}

/// The minutes from that of `at` back to that of `from`: at most a day of them.
fn minutes_back(at: Timestamp, from: Timestamp) -> impl Iterator<Item = Timestamp> {
    let (newest, oldest) = (Interval::Minute.start(at), Interval::Minute.start(from));
    let length = Interval::Minute.length_ms();
    (0..).map(move |n: i64| Timestamp(newest.0 - n * length)).take_while(move |m| *m >= oldest)
}
