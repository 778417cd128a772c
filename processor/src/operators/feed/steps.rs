//! The processing of an exchange's mark, in bounded steps over its pairs.
//!
//! ```text
//! mark of an exchange
//!   └─► Gap: each pair's windows over the gap are marked
//!         └─► the clock moves
//!               └─► CatchUp: the coverage by a late connection is revised
//!                     └─► Close: each pair closes the windows that the clock has passed
//! ```
//!
//! A stage goes through the pairs in the order of their keys. A step ends after [`STEP_WINDOWS`]
//! windows. Its rest is saved in the exchange's state, and the engine runs the next step before it
//! gives the next record. Therefore the task can commit between two steps, a crash repeats one step
//! and not the mark, and no record sees a mark half processed: the records equal those of one
//! unbounded step.
//!
//! The windows of one pair are never split. Within the horizon there are at most 1,441 minutes, 25
//! hours and 2 days per basis, and only minutes of existing hours are looked up.

use schemas::{FeedMark, Timestamp};
use streams::Context;

use super::{FeedState, FeedStates, Gap, Stage, Work};
use crate::operators::Result;
use crate::operators::pairs::exchange_of;
use crate::operators::rules::closes_minute;

/// Windows looked up before a commit may come. One that is not cached is a read of the disk, 10 to
/// 100 µs, so a step takes no more than about the commit interval.
pub const STEP_WINDOWS: usize = 1024;
/// Pairs taken from the index at once.
const PAGE: usize = 256;

/// The pairs of a sub-topology and their windows, as marks need them: those of candles and those of
/// quotes.
pub(crate) trait MarkedPairs {
    /// The records that the processor forwards.
    type Out;

    /// The states of the feeds.
    fn states(&mut self) -> &mut FeedStates;

    /// The next pairs of an exchange, in the order of their keys.
    fn pairs_from(&mut self, exchange: &[u8], next: &[u8], limit: usize) -> Result<Vec<Box<[u8]>>>;

    /// Records a gap of an exchange. Returns whether it is new.
    fn add_gap(
        &mut self,
        context: &mut Context<'_, Self::Out>,
        exchange: &[u8],
        mark: &FeedMark,
        gap: Gap,
    ) -> Result<bool>;

    /// Runs the stage on one pair. Returns the number of windows looked up.
    fn run_pair(
        &mut self,
        context: &mut Context<'_, Self::Out>,
        pair: &[u8],
        work: &Work,
    ) -> Result<usize>;
}

/// The steps of marks.
pub(crate) struct MarkSteps {
    /// The exchange with a saved rest, as far as this instance knows. The state is authoritative.
    unfinished: Option<Box<[u8]>>,
    step_windows: usize,
}

impl MarkSteps {
    /// Steps of so many windows.
    pub(crate) const fn new(step_windows: usize) -> Self {
        Self { unfinished: None, step_windows }
    }

    /// Takes a mark whose key is an exchange, and runs the first step.
    pub(crate) fn take_mark<P: MarkedPairs>(
        &mut self,
        context: &mut Context<'_, P::Out>,
        pairs: &mut P,
        key: &[u8],
        mark: &FeedMark,
    ) -> Result<()> {
        let exchange = exchange_of(key);
        // Before the clock moves, so that the windows which it closes have the gap from the start.
        let gap = Gap::of(mark, &[]);
        let is_new = gap.map_or(Ok(false), |gap| pairs.add_gap(context, exchange, mark, gap))?;
        let mut work = Work::new(mark);
        if is_new || next_stage(pairs.states(), exchange, &mut work)? {
            self.run(context, pairs, exchange, work)?;
        }
        Ok(())
    }

    /// Runs the next step of a mark that has a rest, if there is one.
    pub(crate) fn resume<P: MarkedPairs>(
        &mut self,
        context: &mut Context<'_, P::Out>,
        pairs: &mut P,
    ) -> Result<()> {
        let mut rest = None;
        if let Some(exchange) = self.unfinished.take() {
            let feed = pairs.states().exchange(&exchange)?;
            let work = feed.as_ref().and_then(|feed| feed.work().cloned());
            drop(feed);
            rest = work.map(|work| (exchange, work));
        }
        if rest.is_none() {
            // At the start and after a discard, only the state knows.
            rest = pairs.states().find_work()?;
        }
        match rest {
            Some((exchange, work)) => self.run(context, pairs, &exchange, work),
            None => Ok(()),
        }
    }

    /// Runs one step. If a rest remains, it is saved and the engine is asked for another step.
    fn run<P: MarkedPairs>(
        &mut self,
        context: &mut Context<'_, P::Out>,
        pairs: &mut P,
        exchange: &[u8],
        mut work: Work,
    ) -> Result<()> {
        let mut looked_at = 0;
        loop {
            let page = pairs.pairs_from(exchange, &work.next, PAGE)?;
            for pair in &page {
                if looked_at >= self.step_windows {
                    work.next.clone_from(pair);
                    let mut feed = pairs.states().exchange(exchange)?;
                    feed.get_or_insert_with(|| FeedState::new(&work.mark)).set_work(Some(work));
                    self.unfinished = Some(exchange.into());
                    context.again();
                    return Ok(());
                }
                looked_at += 1 + pairs.run_pair(context, pair, &work)?;
            }
            if let Some(last) = page.last() {
                work.next = [last, &[0][..]].concat().into();
            } else if !next_stage(pairs.states(), exchange, &mut work)? {
                return finish(pairs.states(), exchange);
            }
        }
    }
}

fn finish(states: &mut FeedStates, exchange: &[u8]) -> Result<()> {
    let mut feed = states.exchange(exchange)?;
    if feed.as_ref().is_some_and(|feed| feed.work().is_some()) {
        feed.iter_mut().for_each(|feed| feed.set_work(None));
    }
    Ok(())
}

/// Enters the next stage that has something to do; false when there is none. The clock moves here.
fn next_stage(states: &mut FeedStates, exchange: &[u8], work: &mut Work) -> Result<bool> {
    work.next = Box::default();
    if work.stage == Stage::Gap {
        let mut feed = states.exchange(exchange)?;
        work.clock = feed.as_ref().and_then(FeedState::clock);
        if work.is_behind() && work.mark.part.is_none() {
            return Ok(false);
        }
        feed.get_or_insert_with(|| FeedState::new(&work.mark)).tick(&work.mark);
        work.stage = Stage::CatchUp;
        if work.is_late_connection() {
            return Ok(true);
        }
    }
    let from = work.clock.unwrap_or(Timestamp(0));
    let closes = work.stage == Stage::CatchUp
        && !work.is_behind()
        && closes_minute(from, work.mark.healthy_until);
    work.stage = Stage::Close;
    Ok(closes)
}
