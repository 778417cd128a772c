//! The newest quote and the spreads of every pair, from its quotes and the marks of its feed.
//!
//! ```text
//! quotes ──┬─► top       the newest quote, the largest spread of the day, the last ten mids
//!          └─► tables    windows close by the pair's own clock or that of its exchange
//! marks  ────► tables      └─► window   one window: extremes and sums over the quotes in force
//! changes ────► tables     index   in_force   ../feed/: clock, stretches, gaps, carriers
//! ```
//!
//! The log is in the order of the producer, so no quote is late within its pair. The time at which
//! a quote comes into force is the greatest of its event time, the pair's last time, and the
//! beginning of the first minute that the exchange's clock has not closed. It is in force until the
//! next quote of the pair, or until its book loses sync.
//!
//! Invariants:
//! - No quote counts into a closed window.
//! - Each millisecond in which a quote is in force counts once in its minute, if the minute exists.
//! - An hour or day is the merge of its closed minutes.
//! - The same log gives the same records, byte for byte, in batches of any size.

mod changes;
mod entry;
mod in_force;
mod index;
mod tables;
mod top;
mod window;

pub use entry::{QuoteEntry, quote_entry};
pub use window::merge_spreads;

use schemas::{FeedMark, Quote, Spread, Status, Timestamp, TopOfBook};
use streams::punctuation::Schedule;
use streams::store::StoreHandle;
use streams::{Context, Processor};

use super::ended::SWEEP;
use super::feed::MarkSteps;
use super::pairs::NO_PAIR;
use super::rules::first_open_minute;
use super::windows_over::WindowStart;
use super::{FeedState, Pair, Result};
use crate::interval::Interval;
use in_force::InForce;
use tables::{MarkCause, Tables, span};

/// The stores of a task, all of which quotes need.
#[derive(Clone)]
pub struct QuoteStores {
    /// The newest quote by pair: also the pair's clock.
    pub tops: StoreHandle<TopOfBook>,
    /// Spreads of one minute: the only tier that quotes reach.
    pub minutes: StoreHandle<Spread>,
    /// Merged from closed minutes.
    pub hours: StoreHandle<Spread>,
    /// Merged from closed minutes.
    pub days: StoreHandle<Spread>,
    /// The state of each exchange's feed of quotes, and the own states of pairs.
    pub feeds: StoreHandle<FeedState>,
}

/// Keeps `top_of_book`, `spreads_1m`, `spreads_1h` and `spreads_1d`. It forwards nothing.
pub struct Quotes {
    tables: Tables,
    steps: MarkSteps,
}

impl Quotes {
    /// Quotes in these stores. A step of a mark looks up `step_windows` windows: this changes when a
    /// commit may come, and no record.
    pub fn in_steps(stores: &QuoteStores, step_windows: usize) -> Self {
        Self { tables: Tables::new(stores), steps: MarkSteps::new(step_windows) }
    }

    fn quote(
        &mut self,
        context: &mut Context<'_, QuoteEntry>,
        pair: &Pair,
        quote: &Quote,
    ) -> Result<()> {
        let (tables, key) = (&mut self.tables, pair.key());
        let states = tables.states.store();
        let feed = states.get_near(&pair.in_feeds, pair.feed())?;
        let feed_clock = feed.and_then(|feed| feed.clock());
        let known = tables.tops.get_near(&pair.in_latest, key)?;
        let known = known.map(|top| (InForce::of(&top), top.clock));
        let clock = known.map(|(_, clock)| clock).max(feed_clock.map(first_open_minute));
        let at = clock.map_or(quote.event_time, |clock| clock.max(quote.event_time));
        if let Some((newest, clock)) = known {
            let passed = feed_clock.map_or((clock, at), |feed| (clock.max(feed), at.max(feed)));
            tables.advance(key, &newest, passed)?;
        } else {
            tables.index.add(pair.exchange(), key);
        }
        let mut top = tables.tops.entry_near(&pair.in_latest, key)?;
        let mid_mean_10 = top::take(&mut top, quote, at);
        drop(top);
        let minute = (Interval::Minute, Interval::Minute.start(at));
        if tables.is_expired(minute.1)? {
            context.count("too_late");
            return Ok(());
        }
        let before = known.map(|(newest, _)| newest.ended(at));
        if let Some(before) = before {
            let own = (Interval::Minute, Interval::Minute.start(before.since));
            weigh_in_own(tables, key, &before, own)?;
        }
        let mut window = tables.window(key, minute)?;
        let created = window.is_none();
        let spread = window.get_or_insert_with(Spread::default);
        if created && let Some(carried) = before {
            window::count_carried(spread, &carried, span(minute));
        }
        window::count(spread, quote, mid_mean_10);
        drop(window);
        if created {
            if tables.index.ended.may_have(key) {
                tables.index.add(pair.exchange(), key);
            }
            tables.mark_window(key, minute, MarkCause::WindowCreated)?;
        }
        Ok(())
    }

    fn mark(
        &mut self,
        context: &mut Context<'_, QuoteEntry>,
        key: &[u8],
        mark: &FeedMark,
    ) -> Result<()> {
        if key.starts_with(&NO_PAIR) {
            return self.steps.take_mark(context, &mut self.tables, key, mark);
        }
        match mark.change {
            Some(change) => changes::apply(context, &mut self.tables, key, (mark, change)),
            None => self.tables.take_pair_mark(context, key, mark),
        }
    }
}

/// Counts the time of a quote that is no longer in force into the minute in which it came, unless
/// that has closed: then it has counted up to the end.
fn weigh_in_own(
    tables: &mut Tables,
    pair: &[u8],
    quote: &InForce,
    minute: WindowStart,
) -> Result<()> {
    let mut window = tables.window(pair, minute)?;
    let is_open = window.as_ref().is_some_and(|known| known.status == Status::Open);
    if is_open && let Some(known) = window.as_mut() {
        window::weigh(known, quote, span(minute));
    }
    Ok(())
}

impl Processor for Quotes {
    type In = QuoteEntry;
    type Out = QuoteEntry;

    fn schedule(&self) -> Option<Schedule> {
        Some(SWEEP)
    }

    fn punctuate(
        &mut self,
        context: &mut Context<'_, QuoteEntry>,
        time: streams::record::Timestamp,
    ) -> Result<()> {
        changes::sweep(context, &mut self.tables, Timestamp(time.0))
    }

    fn process(&mut self, context: &mut Context<'_, QuoteEntry>, entry: &QuoteEntry) -> Result<()> {
        match entry {
            QuoteEntry::Mark { key, mark } => self.mark(context, key, mark),
            QuoteEntry::Quote { pair, quote } => self.quote(context, pair, quote),
        }
    }

    fn resume(&mut self, context: &mut Context<'_, QuoteEntry>) -> Result<()> {
        self.steps.resume(context, &mut self.tables)
    }
}
