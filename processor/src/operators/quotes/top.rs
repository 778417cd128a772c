//! The newest quote of a pair, with the state that quotes before it have left.

use schemas::{BookState, Decimal, Quote, Timestamp, TopOfBook};

use crate::interval::Interval;

/// Takes a quote that comes into force at `at` on the pair's clock. Returns the mean of the last mids.
///
/// A quote with an empty side leaves the mids and the largest spread as they are; on a new day there
/// is no largest spread yet.
pub(super) fn take(known: &mut Option<TopOfBook>, quote: &Quote, at: Timestamp) -> Option<Decimal> {
    let day = Interval::Day.start(at);
    let before = known.take();
    let same_day = before.as_ref().filter(|top| top.max_spread_day == day);
    let spread = quote.spread();
    let max_spread = same_day.and_then(|top| top.max_spread).max(spread.and_then(magnitude));
    let mut mids = before.map(|top| top.mids).unwrap_or_default();
    if let Some(mid) = quote.mid() {
        if mids.len() >= TopOfBook::MIDS {
            mids.remove(0);
        }
        mids.push(mid);
    }
    let top = known.insert(TopOfBook {
        bid: quote.bid,
        bid_size: quote.bid_size,
        ask: quote.ask,
        ask_size: quote.ask_size,
        max_spread,
        sequence: quote.sequence,
        state: BookState::InSync,
        event_time: quote.event_time,
        received_at: quote.received_at,
        since: at,
        clock: at,
        max_spread_day: day,
        mids,
    });
    top.mid_mean_10()
}

/// The row of a book that is out of sync and has no quote; `at` is the pair's time.
pub(super) fn never(at: Timestamp, received_at: Timestamp) -> TopOfBook {
    TopOfBook {
        bid: None,
        bid_size: None,
        ask: None,
        ask_size: None,
        max_spread: None,
        sequence: None,
        state: BookState::OutOfSync,
        event_time: at,
        received_at,
        since: at,
        clock: at,
        max_spread_day: Interval::Day.start(at),
        mids: Vec::new(),
    }
}

/// The row of a pair that is set back to `at`, whose next quote comes into force at `next` at the
/// earliest. A quote from after `at` never came.
pub(super) fn set_back(top: TopOfBook, at: Timestamp, next: Timestamp) -> TopOfBook {
    if top.event_time > at {
        let never = never(next, at.min(top.received_at));
        return TopOfBook { event_time: at, ..never };
    }
    let day = Interval::Day.start(next);
    let max_spread =
        if top.max_spread_day == day { top.max_spread } else { top.spread().and_then(magnitude) };
    TopOfBook { since: next, clock: next, max_spread_day: day, max_spread, ..top }
}

fn magnitude(value: Decimal) -> Option<Decimal> {
    if value.is_negative() { Decimal::ZERO.checked_sub(value) } else { Some(value) }
}
