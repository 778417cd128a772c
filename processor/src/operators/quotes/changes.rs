//! Changes of a pair by marks whose key it is: it has ended, or a person sets it back.
//!
//! ```text
//! ENDED                                                    `../ended.rs`; it leaves top_of_book
//!
//! RESET at T, when the pair or its exchange's feed is ahead of T
//!   feed      clock, stretches and gaps after T              cut, in the pair's partition
//!   minutes, hours, days that begin after T                  deleted
//!   hour, day around T                                       merged again from their minutes, open
//!   top       a quote from after T                           emptied and out of sync until the next one
//!             a quote whose force began after T              stays, in force from the next minute on
//! ```
//!
//! The minute of T stays as it is, because its quotes cannot be separated again, and the clock that was
//! ahead may have closed it. So the pair goes on with the minute after it, and so does each other pair of
//! an exchange whose feed is set back.
//!
//! All of it is a function of the log: a replay does the same at the same record.

use schemas::{FeedMark, PairChange, Status, Timestamp};
use streams::Context;
use streams::store::StoreEntry;

use super::tables::{MarkCause, Tables};
use super::top;
use super::window::add_to_parent;
use crate::interval::Interval;
use crate::operators::ended::{Fate, fate, is_back};
use crate::operators::feed::FeedState;
use crate::operators::pairs::exchange_of;
use crate::operators::{QuoteEntry, Result};

/// Applies a change of a pair.
pub(super) fn apply(
    context: &mut Context<'_, QuoteEntry>,
    tables: &mut Tables,
    pair: &[u8],
    (mark, change): (&FeedMark, PairChange),
) -> Result<()> {
    match change {
        PairChange::Ended => end(context, tables, pair, mark),
        PairChange::Reset => reset(context, tables, pair, mark.healthy_until),
    }
}

// Ends.

fn end(
    context: &mut Context<'_, QuoteEntry>,
    tables: &mut Tables,
    pair: &[u8],
    mark: &FeedMark,
) -> Result<()> {
    // A pair without a row has nothing to delete.
    let Some(newest) = tables.tops.get(pair)?.map(|top| top.since) else {
        return Ok(());
    };
    let mut own = tables.states.pair(pair)?;
    // A venue that lists its instruments again repeats the end, which is no later one.
    let known = own.as_ref().and_then(FeedState::ended);
    if known.is_some_and(|(end, _)| !is_back(end, Some(newest))) {
        return Ok(());
    }
    context.count("pair_ended");
    let told = Timestamp(context.stream_time().0);
    own.get_or_insert_with(|| FeedState::new(mark)).end(mark.healthy_until, told);
    drop(own);
    tables.index.ended.add(pair);
    Ok(())
}

/// Checks every pair that has ended: as many as the venues of a partition end in a week.
pub(super) fn sweep(
    context: &mut Context<'_, QuoteEntry>,
    tables: &mut Tables,
    time: Timestamp,
) -> Result<()> {
    for pair in tables.index.ended.all(tables.states.store())? {
        let Some(ended) = tables.states.pair(&pair)?.as_ref().and_then(FeedState::ended) else {
            tables.index.ended.remove(&pair);
            continue;
        };
        let exchange = exchange_of(&pair).to_vec();
        let (newest, own) = tables.tops.get(&pair)?.map(|top| (top.since, top.clock)).unzip();
        let clock = own.max(tables.states.clock(&exchange)?);
        match fate(ended, newest, clock, time) {
            Fate::Back => {
                context.count("pair_back");
                tables.states.pair(&pair)?.iter_mut().for_each(FeedState::begin_again);
                tables.index.ended.remove(&pair);
                tables.index.add(&exchange, &pair);
            }
            Fate::Open => tables.index.add(&exchange, &pair),
            Fate::Closed => tables.index.remove(&exchange, &pair),
            Fate::Forgotten => {
                context.count("pair_forgotten");
                tables.index.remove(&exchange, &pair);
                tables.tops.remove(&pair)?;
                tables.states.store().remove(&pair)?;
                tables.index.ended.remove(&pair);
            }
        }
    }
    Ok(())
}

// Resets.

fn reset(
    context: &mut Context<'_, QuoteEntry>,
    tables: &mut Tables,
    pair: &[u8],
    at: Timestamp,
) -> Result<()> {
    let exchange = exchange_of(pair);
    let feed_was_ahead = tables.states.clock(exchange)?.is_some_and(|clock| clock > at);
    let pair_was_ahead = tables.tops.get(pair)?.is_some_and(|top| top.clock > at);
    if !feed_was_ahead && !pair_was_ahead {
        context.count("pair_reset_unneeded");
        return Ok(());
    }
    context.count("pair_reset");
    set_back(tables.states.exchange(exchange)?, at);
    set_back(tables.states.pair(pair)?, at);
    for interval in Interval::ALL {
        for _ in 0..tables.delete_after(interval, pair, at)? {
            context.count("future_spread");
        }
    }
    for interval in [Interval::Hour, Interval::Day] {
        merge_again(tables, pair, (interval, at))?;
    }
    let next = Timestamp(Interval::Minute.start(at).0.saturating_add(Interval::Minute.length_ms()));
    if let Some(top) = &mut *tables.tops.entry(pair)? {
        *top = top::set_back(top.clone(), at, next);
    }
    // The feed's clock and coverage are cut, which concerns every pair of the exchange.
    let others = if feed_was_ahead {
        tables.index.pairs_from(&tables.tops, exchange, &[], usize::MAX)?
    } else {
        Vec::new()
    };
    for other in others.iter().filter(|other| ***other != *pair) {
        wait(tables, other, next)?;
    }
    for pair in std::iter::once(pair).chain(others.iter().map(|other| &**other)) {
        for interval in Interval::ALL {
            let window = (interval, interval.start(at));
            tables.mark_window(pair, window, MarkCause::FeedChanged)?;
        }
    }
    Ok(())
}

/// Sets back the state of a feed or of a pair, if that changes it.
fn set_back(mut state: StoreEntry<'_, FeedState>, at: Timestamp) {
    let mut back = state.clone();
    if let Some(back) = &mut back {
        back.set_back(at);
    }
    if *state != back {
        *state = back;
    }
}

/// Merges the window around a time again from its minutes as they are now, and opens it.
fn merge_again(
    tables: &mut Tables,
    pair: &[u8],
    (interval, at): (Interval, Timestamp),
) -> Result<()> {
    let (start, length) = (interval.start(at), Interval::Minute.length_ms());
    let mut whole = None;
    let minutes = (0..).map(|n: i64| Timestamp(start.0 + n * length));
    for minute in minutes.take_while(|minute| *minute <= at) {
        let window = tables.window(pair, (Interval::Minute, minute))?;
        if let Some(closed) = window.as_ref().filter(|known| known.status != Status::Open) {
            add_to_parent(&mut whole, closed);
        }
    }
    let mut window = tables.window(pair, (interval, start))?;
    if let (Some(known), Some(whole)) = (window.as_ref(), &mut whole) {
        // Its revisions have been published, so the count continues.
        whole.revision = known.revision;
    }
    if *window != whole {
        *window = whole;
    }
    Ok(())
}

/// The next quote of a pair waits for `next`, if the minute before it has closed.
fn wait(tables: &mut Tables, pair: &[u8], next: Timestamp) -> Result<()> {
    let minute = Interval::Minute.start(Timestamp(next.0 - 1));
    let window = tables.window(pair, (Interval::Minute, minute))?;
    let is_closed = window.as_ref().is_some_and(|known| known.status != Status::Open);
    drop(window);
    let mut top = tables.tops.entry(pair)?;
    let is_before = top.as_ref().is_some_and(|top| top.clock < next);
    if is_closed
        && is_before
        && let Some(top) = top.as_mut()
    {
        top.clock = next;
    }
    Ok(())
}
