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

fn magnitude(value: Decimal) -> Option<Decimal> {
    if value.is_negative() { Decimal::ZERO.checked_sub(value) } else { Some(value) }
}
