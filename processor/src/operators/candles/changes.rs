//! Changes of a pair by marks whose key it is: it has ended, or a person sets it back.
//!
//! ```text
//! ENDED                                                    `../ended.rs`; it leaves latest
//!
//! RESET at T, when the pair or its exchange's feed is ahead of T
//!   feed      clock, stretches and gaps after T              cut, in the pair's partition
//!   minutes   that begin after T                             deleted, with the ids that they counted
//!   hour, day after T                                        deleted
//!   hour, day around T                                       merged again from their minutes, open
//!   latest    newer than T                                   the close of the newest minute left
//! ```
//!
//! The minute of T stays as it is, because its events cannot be separated again. If the clock that
//! was ahead has closed it, later events revise it. A pair with no minute in the 24 hours before T
//! has no price until the next one comes.
//!
//! Other pairs of an exchange whose feed is set back keep candles that closed early, with the
//! remaining coverage; later events revise them. Rows in `PostgreSQL` stay: the sinks ignore
//! tombstones.
//!
//! All of it is a function of the log: a replay does the same at the same record.

use schemas::{Basis, Candle, FeedMark, LatestPrice, PairChange, Status, Timestamp};
use streams::Context;

use super::feeds::{Feeds, MarkCause};
use super::index::PairIndex;
use super::tables::Tables;
use super::window::{Window, add_to_parent};
use super::windows::{BASES, Windows};
use crate::interval::Interval;
use crate::operators::ended::{Fate, fate, is_back};
use crate::operators::feed::FeedState;
use crate::operators::pairs::exchange_of;
use crate::operators::rules::REVISION_HORIZON_MS;
use crate::operators::{Entry, Result};

/// Applies a change of a pair.
pub(super) fn apply(
    context: &mut Context<'_, Entry>,
    tables: &mut Tables,
    index: &mut PairIndex,
    pair: &[u8],
    (mark, change): (&FeedMark, PairChange),
) -> Result<()> {
    match change {
        PairChange::Ended => end(context, &tables.feeds, index, pair, mark),
        PairChange::Reset => reset(context, tables, index, pair, mark.healthy_until),
    }
}

// Ends.

fn end(
    context: &mut Context<'_, Entry>,
    feeds: &Feeds,
    index: &mut PairIndex,
    pair: &[u8],
    mark: &FeedMark,
) -> Result<()> {
    // A pair that never had a price has nothing to delete.
    let Some(newest) = feeds.newest(pair)? else {
        return Ok(());
    };
    let mut own = feeds.pair(pair)?;
    // A venue that lists its instruments again repeats the end, which is no later one.
    let known = own.as_ref().and_then(FeedState::ended);
    if known.is_some_and(|(end, _)| !is_back(end, Some(newest))) {
        return Ok(());
    }
    context.count("pair_ended");
    let told = Timestamp(context.stream_time().0);
    own.get_or_insert_with(|| FeedState::new(mark)).end(mark.healthy_until, told);
    index.add_ended(pair);
    Ok(())
}

/// Checks every pair that has ended: as many as the venues of a partition end in a week.
pub(super) fn sweep(
    context: &mut Context<'_, Entry>,
    feeds: &mut Feeds,
    index: &mut PairIndex,
    time: Timestamp,
) -> Result<()> {
    for pair in index.ended()? {
        let Some(ended) = feeds.pair(&pair)?.as_ref().and_then(FeedState::ended) else {
            index.remove_ended(&pair);
            continue;
        };
        let exchange = exchange_of(&pair).to_vec();
        let newest = feeds.newest(&pair)?;
        let clock = newest.max(feeds.clock(&exchange)?);
        match fate(ended, newest, clock, time) {
            Fate::Back => {
                context.count("pair_back");
                feeds.pair(&pair)?.iter_mut().for_each(FeedState::begin_again);
                index.remove_ended(&pair);
                index.add(&exchange, &pair);
            }
            Fate::Open => index.add(&exchange, &pair),
            Fate::Closed => index.remove(&exchange, &pair),
            Fate::Forgotten => {
                context.count("pair_forgotten");
                index.remove(&exchange, &pair);
                feeds.delete_pair(&pair)?;
                index.remove_ended(&pair);
            }
        }
    }
    Ok(())
}

// Resets.

fn reset(
    context: &mut Context<'_, Entry>,
    tables: &mut Tables,
    index: &mut PairIndex,
    pair: &[u8],
    at: Timestamp,
) -> Result<()> {
    let Tables { windows, feeds } = tables;
    let exchange = exchange_of(pair);
    let mut feed = feeds.exchange(exchange)?;
    let feed_was_ahead = feed.as_ref().and_then(FeedState::clock).is_some_and(|clock| clock > at);
    if feed_was_ahead {
        feed.iter_mut().for_each(|feed| feed.set_back(at));
    }
    drop(feed);
    if !feed_was_ahead && feeds.newest(pair)?.is_none_or(|newest| newest <= at) {
        // No clock is ahead.
        context.count("pair_reset_unneeded");
        return Ok(());
    }
    context.count("pair_reset");
    set_back_own(feeds, pair, at)?;
    for interval in Interval::ALL {
        for _ in 0..windows.delete_after(interval, pair, at)? {
            context.count("future_candle");
        }
    }
    for interval in [Interval::Hour, Interval::Day] {
        for basis in BASES {
            merge_again(context, windows, pair, basis, (interval, at))?;
        }
    }
    set_back_latest(windows, feeds, pair, at)?;
    // The feed's coverage of the future is cut, which concerns every pair of the exchange.
    let others =
        if feed_was_ahead { index.pairs_from(exchange, &[], usize::MAX)? } else { Vec::new() };
    for pair in std::iter::once(pair.into()).chain(others) {
        for interval in Interval::ALL {
            for basis in BASES {
                let window = (interval, interval.start(at));
                feeds.mark_window(windows, &pair, basis, window, MarkCause::FeedChanged)?;
            }
        }
    }
    Ok(())
}

/// Sets back the own state of a pair, if that changes it.
fn set_back_own(feeds: &Feeds, pair: &[u8], at: Timestamp) -> Result<()> {
    let mut own = feeds.pair(pair)?;
    let mut back = own.clone();
    if let Some(own) = &mut back {
        own.set_back(at);
    }
    if *own != back {
        *own = back;
    }
    Ok(())
}

/// Merges the window around a time again from its minutes as they are now, and opens it.
fn merge_again(
    context: &mut Context<'_, Entry>,
    windows: &mut Windows,
    pair: &[u8],
    basis: Basis,
    (interval, at): (Interval, Timestamp),
) -> Result<()> {
    let start = interval.start(at);
    let mut whole = None;
    for minute in minutes_back(at, start) {
        let closed = windows.minute(pair, basis, minute)?;
        let Some(minute) = closed.filter(|candle| candle.status != Status::Open) else {
            continue;
        };
        let part = Candle { missing_trades: None, ..minute };
        if !add_to_parent(&mut whole, &part, false) {
            context.count("volume_overflow");
        }
    }
    let mut window = windows.entry(pair, basis, (interval, start))?;
    // Its revisions have been published, so the count continues.
    let revision = window.as_ref().map_or(0, |window| window.candle.revision);
    if let Some(Window { candle, .. }) = &mut whole {
        candle.revision = revision;
    }
    if *window != whole {
        *window = whole;
    }
    Ok(())
}

/// Sets the newest price back to the close of the newest minute left.
fn set_back_latest(windows: &mut Windows, feeds: &Feeds, pair: &[u8], at: Timestamp) -> Result<()> {
    let mut newest: Option<(Basis, Candle)> = None;
    let from = Timestamp(at.0.saturating_sub(REVISION_HORIZON_MS));
    for minute in minutes_back(at, from) {
        for basis in BASES {
            let Some(candle) = windows.minute(pair, basis, minute)? else { continue };
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
    let mut latest = feeds.latest(pair)?;
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
        newest.map(|(basis, candle)| close_of(known, basis, &candle))
    };
    Ok(())
}

/// The price that a candle closed with; the candle does not have its size.
fn close_of(known: LatestPrice, basis: Basis, candle: &Candle) -> LatestPrice {
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
