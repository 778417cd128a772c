//! The pairs with their candles, as the steps of an exchange's mark need them.

use schemas::{FeedMark, Timestamp};
use streams::Context;

use super::index::PairIndex;
use super::tables::{ClockAdvance, Tables};
use super::windows::BASES;
use crate::operators::feed::{FeedStates, Gap, MarkedPairs, Stage, Work};
use crate::operators::{Entry, Result};

/// The tables and the index of a task.
pub(super) struct CandlePairs<'a> {
    pub(super) tables: &'a mut Tables,
    pub(super) index: &'a mut PairIndex,
}

impl MarkedPairs for CandlePairs<'_> {
    type Out = Entry;

    fn states(&mut self) -> &mut FeedStates {
        self.tables.feeds.states()
    }

    fn pairs_from(&mut self, exchange: &[u8], next: &[u8], limit: usize) -> Result<Vec<Box<[u8]>>> {
        self.index.pairs_from(exchange, next, limit)
    }

    fn add_gap(
        &mut self,
        context: &mut Context<'_, Entry>,
        exchange: &[u8],
        mark: &FeedMark,
        gap: Gap,
    ) -> Result<bool> {
        let Tables { windows, feeds } = &mut *self.tables;
        feeds.add_gap(context, windows, exchange, mark, gap)
    }

    fn run_pair(
        &mut self,
        context: &mut Context<'_, Entry>,
        pair: &[u8],
        work: &Work,
    ) -> Result<usize> {
        let Tables { windows, feeds } = &mut *self.tables;
        let Some(newest) = feeds.newest(pair)? else {
            return Ok(0);
        };
        let mark = &work.mark;
        match work.stage {
            Stage::Gap => {
                let span = mark.gap_from.zip(mark.gap_until).unwrap_or_default();
                feeds.mark_span(windows, pair, span, &BASES, newest)
            }
            Stage::CatchUp => feeds.catch_up(windows, pair, mark, newest),
            Stage::Close => {
                let from = newest.max(work.clock.unwrap_or(Timestamp(0)));
                let to = newest.max(mark.healthy_until);
                self.tables.advance(context, pair, ClockAdvance { newest, from, to })
            }
        }
    }
}
