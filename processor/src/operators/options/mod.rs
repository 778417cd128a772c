//! The newest ticker of every option, future and perpetual, and the last ticker of each minute of
//! an option.
//!
//! ```text
//! ticker      ──┬─► table    the newest by event time; options, or derivatives by class
//!               └─► minute   the last of its minute by event time; options only
//! instrument  ────► table    facts, the end, listed again
//! stream time ────► table    a sweep each minute closes what has expired, deletes what is closed
//!                     └─► row, due    one row, and the order in which rows are due
//! ```
//!
//! The facts of an instrument come from its listing, else from its name. The rules for every field
//! and every bad record are in `docs/design/options.md`.
//!
//! Invariants:
//! - A key has a row in one table at most.
//! - A row is never replaced by an older ticker.
//! - A closed row has its last prices, and changes by a listing or the clock, or by a ticker from
//!   before its end.
//! - Between two records no row is due before the minute of stream time.
//! - The same log gives the same records, byte for byte, in steps of any size.

mod due;
mod entry;
mod row;
mod table;

pub use entry::{OptionEntry, option_entry};

use schemas::instrument::{Class, InstrumentName};
use schemas::{Decimal, Derivative, Instrument, OptionMinute, OptionState, Ticker};
use streams::punctuation::{PunctuationType, Schedule};
use streams::store::StoreHandle;
use streams::{Context, Failure, Processor};

use super::{Pair, Result};
use crate::interval::Interval;
use crate::store_keys;
use table::Table;

/// How often due rows are looked for: readers see the end of a listing within a minute and an hour.
const SWEEP: Schedule = Schedule { clock: PunctuationType::StreamTime, interval_ms: 60_000 };

/// The stores of a task, all of which options need.
#[derive(Clone)]
pub struct OptionStores {
    /// The newest ticker of each option.
    pub options: StoreHandle<OptionState>,
    /// The last ticker of each option and minute.
    pub minutes: StoreHandle<OptionMinute>,
    /// The newest ticker of each future and perpetual.
    pub derivatives: StoreHandle<Derivative>,
}

/// Keeps `options`, `options_1m` and `derivatives`. It forwards nothing.
pub struct Options {
    chain: Table<OptionState>,
    derivatives: Table<Derivative>,
    minutes: StoreHandle<OptionMinute>,
    /// The key of the last look-up, kept to reuse its memory.
    key: Vec<u8>,
    step_rows: usize,
}

impl Options {
    /// Options in these stores. A step of the sweep closes or deletes `step_rows` rows: this changes
    /// when a commit may come, and no record.
    pub fn in_steps(stores: &OptionStores, step_rows: usize) -> Self {
        Self {
            chain: Table::new(stores.options.clone(), |pair| &pair.in_latest),
            derivatives: Table::new(stores.derivatives.clone(), |pair| &pair.in_feeds),
            minutes: stores.minutes.clone(),
            key: Vec::new(),
            step_rows,
        }
    }

    fn ticker(
        &mut self,
        context: &mut Context<'_, OptionEntry>,
        pair: &Pair,
        ticker: &Ticker,
    ) -> Result<()> {
        if self.chain.has(pair)? {
            check_prices(ticker)?;
            self.chain.take(context, pair, ticker)?;
            return self.minute(context, pair, ticker);
        }
        if self.derivatives.has(pair)? {
            return self.derivatives.take(context, pair, ticker);
        }
        let name = InstrumentName::parse(pair.base());
        let name = name.ok_or(Failure::Drop("unknown_instrument"))?;
        if name.class != Class::Option {
            return self.derivatives.take_first(context, pair, &name, ticker);
        }
        check_prices(ticker)?;
        self.chain.take_first(context, pair, &name, ticker)?;
        self.minute(context, pair, ticker)
    }

    /// Keeps the ticker if it is the last of its minute so far.
    fn minute(
        &mut self,
        context: &mut Context<'_, OptionEntry>,
        pair: &Pair,
        ticker: &Ticker,
    ) -> Result<()> {
        let start = Interval::Minute.start(ticker.event_time);
        if store_keys::segment(Interval::Minute, start) < self.minutes.clock()?.first_kept {
            context.count("too_late");
            return Ok(());
        }
        self.key.clear();
        store_keys::option_minute_key(pair.key(), start, &mut self.key);
        let mut minute = self.minutes.entry(&self.key)?;
        if minute.as_ref().is_none_or(|known| known.event_time <= ticker.event_time) {
            *minute = Some(OptionMinute::of(ticker));
        }
        Ok(())
    }

    fn instrument(
        &mut self,
        context: &mut Context<'_, OptionEntry>,
        pair: &Pair,
        instrument: &Instrument,
    ) -> Result<()> {
        let is_option = instrument.class == Class::Option;
        // A name that says no class may have been listed with another one.
        let is_elsewhere =
            if is_option { self.derivatives.has(pair)? } else { self.chain.has(pair)? };
        if is_elsewhere {
            return Err(Failure::Drop("bad_instrument"));
        }
        if is_option {
            self.chain.list(context, pair, instrument)
        } else {
            self.derivatives.list(context, pair, instrument)
        }
    }

    /// One step of the sweep. The rest needs no record of its own: it is what is still due.
    fn sweep(&mut self, context: &mut Context<'_, OptionEntry>) -> Result<()> {
        let left = self.chain.sweep(context, self.step_rows)?;
        if self.derivatives.sweep(context, left)? == 0 {
            context.again();
        }
        Ok(())
    }
}

/// An option cannot be worth less than nothing; a spread of futures can.
fn check_prices(ticker: &Ticker) -> Result<()> {
    let prices = [ticker.mark_price, ticker.last_price, ticker.bid, ticker.ask];
    let is_bad = prices.into_iter().flatten().any(Decimal::is_negative);
    if is_bad { Err(Failure::Drop("bad_price")) } else { Ok(()) }
}

impl Processor for Options {
    type In = OptionEntry;
    type Out = OptionEntry;

    fn schedule(&self) -> Option<Schedule> {
        Some(SWEEP)
    }

    fn process(
        &mut self,
        context: &mut Context<'_, OptionEntry>,
        entry: &OptionEntry,
    ) -> Result<()> {
        match entry {
            OptionEntry::Ticker { pair, ticker } => self.ticker(context, pair, ticker),
            OptionEntry::Instrument { pair, instrument } => {
                self.instrument(context, pair, instrument)
            }
            OptionEntry::Clock => Ok(()),
        }
    }

    fn punctuate(
        &mut self,
        context: &mut Context<'_, OptionEntry>,
        _: streams::record::Timestamp,
    ) -> Result<()> {
        self.sweep(context)
    }

    /// Goes on with a sweep that did not fit into its step.
    fn resume(&mut self, context: &mut Context<'_, OptionEntry>) -> Result<()> {
        // The task may have been discarded, and its rows are again those of the last commit.
        self.chain.forget();
        self.derivatives.forget();
        self.sweep(context)
    }
}
