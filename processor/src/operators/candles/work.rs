//! A mark over many windows, worked off in steps.
//!
//! ```text
//! mark of an exchange
//!   └─► Gap: each pair's windows over the gap are marked
//!         └─► the clock moves
//!               └─► CaughtUp: what a late connection covers is revised
//!                     └─► Close: each pair closes what the clock has passed
//! ```
//!
//! A stage goes through the pairs in the order of their keys. A step ends after [`STEP_WINDOWS`]
//! windows; what is left then stands in the exchange's state, and the engine asks for the next step
//! before it gives the next record. So the task can commit between two steps, a crash repeats one
//! step and not the mark, and no record ever sees a mark half done: the candles are those of one
//! step without an end.
//!
//! The windows of one pair are never split: within the horizon there are at most 1,441 minutes, 25
//! hours and 2 days of either basis, and only hours that exist are looked into.
//!
//! ```text
//! bytes  mark | clock? | stage | next pair        as Avro bytes and longs
//! ```

use std::ops::Bound;

use schemas::avro::{self, Malformed, Reader, Record};
use schemas::{Basis, FeedMark, Timestamp};
use streams::{Context, Failure};

use super::feed::{Feed, Gap};
use super::{Candles, Tick, closes_minute, exchange_of};
use crate::operators::Entry;
use crate::operators::pairs::NO_PAIR;

/// Windows looked at before a commit may come. One that is not cached is a read of the disk, 10 to
/// 100 µs, so a step takes no more than about the commit interval.
pub const STEP_WINDOWS: usize = 1024;
/// Pairs taken from the index at once.
const PAGE: usize = 256;
/// Above the store keys of all feeds, below those of pairs.
const AFTER_FEEDS: [u8; 2] = [0, 1];
/// In the order in which they are numbered in the state.
const STAGES: [Stage; 3] = [Stage::Gap, Stage::CaughtUp, Stage::Close];

/// A part of the work that a mark makes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Stage {
    Gap,
    CaughtUp,
    Close,
}

/// What is left to do of a mark of an exchange.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Work {
    mark: FeedMark,
    /// The exchange's clock before the mark; not known before the stage `Gap` is over.
    clock: Option<Timestamp>,
    stage: Stage,
    /// The first pair that is not done.
    next: Box<[u8]>,
}

/// An exchange as the last part of a key, and what is left there.
type Left = (Box<[u8]>, Work);

impl Work {
    fn new(mark: &FeedMark) -> Self {
        Self { mark: mark.clone(), clock: None, stage: Stage::Gap, next: Box::default() }
    }

    /// The mark does not move the exchange's clock.
    fn is_behind(&self) -> bool {
        self.clock.is_some_and(|clock| clock >= self.mark.healthy_until)
    }

    pub(super) fn write(&self, out: &mut Vec<u8>) {
        self.mark.write(out);
        avro::optional(out, self.clock, |out, clock| avro::long(out, clock.0));
        avro::long(out, self.stage as i64);
        avro::bytes(out, &self.next);
    }

    pub(super) fn read(reader: &mut Reader<'_>) -> Result<Self, Malformed> {
        Ok(Self {
            mark: FeedMark::read(reader)?,
            clock: reader.optional(|reader| reader.long().map(Timestamp))?,
            stage: reader.symbol(&STAGES)?,
            next: reader.bytes()?.into(),
        })
    }
}

impl Candles {
    /// Takes a mark, of an exchange or of a pair.
    pub(super) fn mark(
        &mut self,
        context: &mut Context<'_, Entry>,
        key: &[u8],
        mark: &FeedMark,
    ) -> Result<(), Failure> {
        let exchange = exchange_of(key);
        if !key.starts_with(&NO_PAIR) {
            return match mark.change {
                Some(change) => self.changed(context, key, mark, change),
                None => self.mark_of_pair(context, exchange, key, mark),
            };
        }
        // Before its clock: what that closes bears the gap from the start.
        let gap = Gap::of(mark, &[]);
        let is_new = gap.map_or(Ok(false), |gap| self.lost(context, exchange, mark, gap))?;
        let mut work = Work::new(mark);
        if is_new || self.next_stage(exchange, &mut work)? {
            self.work_off(context, exchange, work)?;
        }
        Ok(())
    }

    /// Goes on with the mark that is not done, if there is one.
    pub(super) fn go_on(&mut self, context: &mut Context<'_, Entry>) -> Result<(), Failure> {
        let known = self.at_work.take();
        let mut left = known.map_or(Ok(None), |exchange| self.left_of(exchange))?;
        if left.is_none() {
            // At the start, and after a discard: the state knows.
            left = self.find_left()?;
        }
        left.map_or(Ok(()), |(exchange, work)| self.work_off(context, &exchange, work))
    }

    fn left_of(&mut self, exchange: Box<[u8]>) -> Result<Option<Left>, Failure> {
        let work = self.feed(&exchange)?.as_ref().and_then(|feed| feed.work().cloned());
        Ok(work.map(|work| (exchange, work)))
    }

    fn find_left(&self) -> Result<Option<Left>, Failure> {
        let mut from = NO_PAIR.to_vec();
        loop {
            let feeds = self.stores.feeds.range(&from, &AFTER_FEEDS, PAGE)?;
            let Some((last, _)) = feeds.last() else {
                return Ok(None);
            };
            from.clone_from(last);
            from.push(0);
            let left = feeds.into_iter().find_map(|(key, feed)| {
                feed.work().map(|work| (exchange_of(&key).into(), work.clone()))
            });
            if left.is_some() {
                return Ok(left);
            }
        }
    }

    /// One step; what is left then is remembered, and the engine asked for another.
    fn work_off(
        &mut self,
        context: &mut Context<'_, Entry>,
        exchange: &[u8],
        mut work: Work,
    ) -> Result<(), Failure> {
        let mut looked_at = 0;
        loop {
            let pairs = self.pairs_from(exchange, &work.next, PAGE)?;
            for pair in &pairs {
                if looked_at >= self.step_windows {
                    work.next.clone_from(pair);
                    return self.leave(context, exchange, work);
                }
                looked_at += 1 + self.work_on(context, pair, &work)?;
            }
            if let Some(last) = pairs.last() {
                work.next = [last, &[0][..]].concat().into();
            } else if !self.next_stage(exchange, &mut work)? {
                return self.done(exchange);
            }
        }
    }

    fn leave(
        &mut self,
        context: &mut Context<'_, Entry>,
        exchange: &[u8],
        work: Work,
    ) -> Result<(), Failure> {
        self.feed(exchange)?.get_or_insert_with(|| Feed::new(&work.mark)).set_work(Some(work));
        self.at_work = Some(exchange.into());
        context.again();
        Ok(())
    }

    fn done(&mut self, exchange: &[u8]) -> Result<(), Failure> {
        let mut feed = self.feed(exchange)?;
        if feed.as_ref().is_some_and(|feed| feed.work().is_some()) {
            feed.iter_mut().for_each(|feed| feed.set_work(None));
        }
        Ok(())
    }

    /// What follows a stage, whose one-time part is done here; false when nothing does.
    fn next_stage(&mut self, exchange: &[u8], work: &mut Work) -> Result<bool, Failure> {
        work.next = Box::default();
        if work.stage == Stage::Gap {
            work.clock = self.feed(exchange)?.as_ref().and_then(Feed::clock);
            if work.is_behind() && work.mark.part.is_none() {
                return Ok(false);
            }
            self.feed(exchange)?.get_or_insert_with(|| Feed::new(&work.mark)).tick(&work.mark);
            work.stage = Stage::CaughtUp;
            if work.mark.part.is_some() && super::feed::carriers::tells_late(&work.mark, work.clock)
            {
                return Ok(true);
            }
        }
        let from = work.clock.unwrap_or(Timestamp(0));
        let closes = work.stage == Stage::CaughtUp
            && !work.is_behind()
            && closes_minute(from, work.mark.healthy_until);
        work.stage = Stage::Close;
        Ok(closes)
    }

    /// Does the stage's work on one pair; how many windows that looked at.
    fn work_on(
        &mut self,
        context: &mut Context<'_, Entry>,
        pair: &[u8],
        work: &Work,
    ) -> Result<usize, Failure> {
        let Some(newest) = self.newest(pair)? else {
            return Ok(0);
        };
        let mark = &work.mark;
        match work.stage {
            Stage::Gap => {
                let span = mark.gap_from.zip(mark.gap_until).unwrap_or_default();
                self.refresh(pair, span, &[Basis::Trade, Basis::Ticker], newest)
            }
            Stage::CaughtUp => self.caught_up(pair, mark, newest),
            Stage::Close => {
                let from = newest.max(work.clock.unwrap_or(Timestamp(0)));
                let tick = Tick { newest, from, to: newest.max(mark.healthy_until) };
                self.advance(context, pair, tick)
            }
        }
    }

    /// The next pairs of an exchange, in the order of their keys.
    fn pairs_from(
        &mut self,
        exchange: &[u8],
        next: &[u8],
        most: usize,
    ) -> Result<Vec<Box<[u8]>>, Failure> {
        let from = (Bound::Included(next), Bound::Unbounded);
        let Some(pairs) = self.pairs_of(exchange)? else {
            return Ok(Vec::new());
        };
        Ok(pairs.range::<[u8], _>(from).take(most).cloned().collect())
    }
}

#[cfg(test)]
#[path = "work_tests.rs"]
mod tests;
