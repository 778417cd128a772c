//! One of the two tables: its rows, and what tickers, listings and the clock do to them.

use schemas::instrument::{InstrumentName, InstrumentState};
use schemas::{Instrument, Ticker, Timestamp};
use streams::store::{Hint, StoreHandle};
use streams::{Context, Failure};

use super::due::DueRows;
use super::row::{self, Life, Row};
use crate::interval::Interval;
use crate::operators::rules::LAST_WORDS_MS;
use crate::operators::{OptionEntry, Pair, Result};

/// The time up to which due rows have closed: the beginning of the minute of stream time, because
/// the sweep comes once a minute.
pub(super) fn swept(context: &Context<'_, OptionEntry>) -> Timestamp {
    Interval::Minute.start(now(context))
}

/// Stream time.
fn now(context: &Context<'_, OptionEntry>) -> Timestamp {
    Timestamp(context.stream_time().0)
}

/// See the module.
pub(super) struct Table<R> {
    rows: StoreHandle<R>,
    due: DueRows,
    /// The slot of a pair in the store's cache.
    hint: fn(&Pair) -> &Hint,
}

impl<R: Row> Table<R> {
    /// The table in a store.
    pub(super) fn new(rows: StoreHandle<R>, hint: fn(&Pair) -> &Hint) -> Self {
        Self { rows, due: DueRows::default(), hint }
    }

    /// The store may no longer be what it was.
    pub(super) fn forget(&mut self) {
        self.due.forget();
    }

    /// Whether the pair has a row.
    pub(super) fn has(&self, pair: &Pair) -> Result<bool> {
        Ok(self.rows.get_near((self.hint)(pair), pair.key())?.is_some())
    }

    /// Takes a ticker of a pair that has a row.
    pub(super) fn take(
        &mut self,
        context: &mut Context<'_, OptionEntry>,
        pair: &Pair,
        ticker: &Ticker,
    ) -> Result<()> {
        let mut entry = self.rows.entry_near((self.hint)(pair), pair.key())?;
        let Some(life) = entry.as_ref().map(Row::life) else {
            return Ok(());
        };
        if life.closed_at.is_some_and(|at| ticker.event_time > at) {
            return Err(Failure::Drop("closed"));
        }
        if life.newest.is_some_and(|newest| ticker.event_time < newest) {
            context.count("older_ticker");
            return Ok(());
        }
        let mut after = None;
        if let Some(known) = entry.as_mut() {
            row::take(known, ticker, now(context));
            after = known.life().due();
        }
        drop(entry);
        self.due.change(pair.key(), life.due(), after);
        Ok(())
    }

    /// Takes the first ticker of a pair.
    pub(super) fn take_first(
        &mut self,
        context: &Context<'_, OptionEntry>,
        pair: &Pair,
        name: &InstrumentName,
        ticker: &Ticker,
    ) -> Result<()> {
        let mut row = R::named(name).ok_or(Failure::Drop("unknown_instrument"))?;
        // Also a ticker from after the expiry: the row may have been closed and deleted.
        if is_over(row.life(), context) {
            return Err(Failure::Drop("expired"));
        }
        row.take(ticker);
        self.write(pair, None, row)
    }

    /// Takes the facts of a listed instrument, or its end.
    pub(super) fn list(
        &mut self,
        context: &mut Context<'_, OptionEntry>,
        pair: &Pair,
        listed: &Instrument,
    ) -> Result<()> {
        let known = self.rows.get_near((self.hint)(pair), pair.key())?.map(|row| row.clone());
        let changed = match (&known, listed.state) {
            (None, InstrumentState::Listed) => begin(context, pair, listed),
            (None, InstrumentState::Ended) => {
                // It never had a row, or that has been deleted.
                context.count("unknown_end");
                None
            }
            (Some(row), InstrumentState::Listed) => Some(learn(context, row, listed)),
            (Some(row), InstrumentState::Ended) => end(context, row, listed),
        };
        match changed {
            Some(row) if known.as_ref() != Some(&row) => {
                self.write(pair, known.map(|row| row.life()), row)
            }
            _ => Ok(()),
        }
    }

    /// Closes or deletes at most so many rows that are due. Returns how many it may still.
    pub(super) fn sweep(
        &mut self,
        context: &mut Context<'_, OptionEntry>,
        mut left: usize,
    ) -> Result<usize> {
        let by = swept(context);
        while left > 0
            && let Some(key) = self.due.first(&self.rows, by)?
        {
            left -= 1;
            let mut entry = self.rows.entry(&key)?;
            let before = entry.as_ref().map(Row::life);
            let after = before.and_then(|life| {
                if life.closed_at.is_some() {
                    context.count("instrument_forgotten");
                    *entry = None;
                    return None;
                }
                let row = entry.as_mut()?;
                expire(context, row, life);
                row.life().due()
            });
            drop(entry);
            self.due.change(&key, before.and_then(Life::due), after);
        }
        Ok(left)
    }

    fn write(&mut self, pair: &Pair, before: Option<Life>, row: R) -> Result<()> {
        let after = row.life();
        *self.rows.entry_near((self.hint)(pair), pair.key())? = Some(row);
        self.due.change(pair.key(), before.and_then(Life::due), after.due());
        Ok(())
    }
}

/// Whether the sweep would have closed it.
fn is_over(life: Life, context: &Context<'_, OptionEntry>) -> bool {
    life.due().is_some_and(|due| due <= swept(context))
}

/// The row of an instrument that is listed and has none.
fn begin<R: Row>(
    context: &mut Context<'_, OptionEntry>,
    pair: &Pair,
    listed: &Instrument,
) -> Option<R> {
    let row: R = row::listed(InstrumentName::parse(pair.base()).as_ref(), listed)?;
    if is_over(row.life(), context) {
        context.count("expired_listing");
        return None;
    }
    Some(row)
}

/// A row with the facts of a listing. One that had ended is open again if it was listed after its
/// end and has not expired: a venue may still list what has expired.
fn learn<R: Row>(context: &mut Context<'_, OptionEntry>, row: &R, listed: &Instrument) -> R {
    let mut row = row.clone();
    row.learn(listed);
    let Life { expiry, closed_at, .. } = row.life();
    let is_back = closed_at.is_some_and(|at| listed.event_time > at)
        && expiry.is_none_or(|expiry| listed.event_time < expiry);
    if is_back {
        context.count("instrument_back");
        row::reopen(&mut row, listed);
    }
    let life = row.life();
    if life.closed_at.is_none() && is_over(life, context) {
        expire(context, &mut row, life);
    }
    row
}

/// The row of an instrument that has ended. A venue that lists its instruments again repeats an end,
/// and one that is older than the newest ticker by an hour is not of this listing.
fn end<R: Row>(context: &mut Context<'_, OptionEntry>, row: &R, ended: &Instrument) -> Option<R> {
    let life = row.life();
    let is_back = |newest: Timestamp| newest.0 > ended.event_time.0.saturating_add(LAST_WORDS_MS);
    if life.closed_at.is_some() || life.newest.is_some_and(is_back) {
        context.count("repeated_end");
        return None;
    }
    context.count("instrument_ended");
    let mut row = row.clone();
    row::close(&mut row, ended.event_time, now(context));
    Some(row)
}

/// Closes a row whose instrument has expired.
fn expire<R: Row>(context: &mut Context<'_, OptionEntry>, row: &mut R, life: Life) {
    if let Some(end) = life.end() {
        context.count("instrument_expired");
        row::close(row, end, now(context));
    }
}
