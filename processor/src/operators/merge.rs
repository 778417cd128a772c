//! The merge of two candles that cover disjoint events. Commutative and associative.
//!
//! | field | rule |
//! |---|---|
//! | open, close | of the smallest and the largest (event time, tie) |
//! | high, low | extremes |
//! | volumes, trades | sums; null when either is: what is not known of a part is not known of the whole |
//! | gap, `partial_start` | either's |
//! | `coverage_ms` | sum of what is known |
//! | `missing_trades` | the greater of what is known: a gap over both parts is one gap |
//! | status, revision | not merged: the window's owner decides |
//!
//! The marks of a stored parent are then taken from the feed, which knows more than its minutes:
//! minutes without an event have no candle.

use schemas::{Basis, Candle, Decimal, MarketEvent, Status, TakerSide};

/// The candle of one event; `None` when its quote volume needs more than 38 digits.
pub fn single(event: &MarketEvent, offset: i64) -> Option<Candle> {
    let is_trade = event.basis == Basis::Trade;
    let base = if is_trade { event.size } else { None };
    let quote = match base {
        Some(size) => Some(event.price.checked_mul(size)?),
        None => None,
    };
    let bought = event.taker_side == Some(TakerSide::Buy);
    let taker = |volume: Option<Decimal>| {
        // Without a side nothing is known of takers, and zero would be a claim.
        event.taker_side.and(volume).map(|volume| if bought { volume } else { Decimal::ZERO })
    };
    let tie = event.id().unwrap_or(offset);
    Some(Candle {
        open: event.price,
        high: event.price,
        low: event.price,
        close: event.price,
        base_volume: base,
        quote_volume: quote,
        taker_buy_base: taker(base),
        taker_buy_quote: taker(quote),
        trades: 1,
        status: Status::Open,
        revision: 0,
        open_event_time: event.event_time,
        close_event_time: event.event_time,
        gap: false,
        coverage_ms: None,
        partial_start: false,
        missing_trades: None,
        open_tie: tie,
        close_tie: tie,
        seen: Vec::new(),
    })
}

/// Merges `part` into `whole`. False, and `whole` as it was, when a sum needs more than 38 digits.
///
/// ```
/// use processor::operators::{merge, single};
/// use schemas::{Decimal, MarketEvent, Timestamp};
/// let at = |price: &str, ms| -> Option<_> {
///     single(&MarketEvent::trade(price.parse().ok()?, Decimal::ONE, Timestamp(ms)), 0)
/// };
/// let (mut whole, late) = (at("7", 2).ok_or("")?, at("9", 1).ok_or("")?);
/// assert!(merge(&mut whole, &late));
/// assert_eq!([whole.open, whole.close].map(|price| price.to_string()), ["9", "7"]);
/// # Ok::<(), &str>(())
/// ```
#[must_use]
pub fn merge(whole: &mut Candle, part: &Candle) -> bool {
    let sums = (
        sum(whole.base_volume, part.base_volume),
        sum(whole.quote_volume, part.quote_volume),
        sum(whole.taker_buy_base, part.taker_buy_base),
        sum(whole.taker_buy_quote, part.taker_buy_quote),
        whole.trades.checked_add(part.trades),
    );
    let (Ok(base), Ok(quote), Ok(taker_base), Ok(taker_quote), Some(trades)) = sums else {
        return false;
    };
    (whole.base_volume, whole.quote_volume) = (base, quote);
    (whole.taker_buy_base, whole.taker_buy_quote) = (taker_base, taker_quote);
    whole.trades = trades;
    merge_prices(whole, part);
    whole.gap |= part.gap;
    whole.partial_start |= part.partial_start;
    whole.coverage_ms = known(whole.coverage_ms, part.coverage_ms, i64::saturating_add);
    whole.missing_trades = known(whole.missing_trades, part.missing_trades, Ord::max);
    true
}

fn merge_prices(whole: &mut Candle, part: &Candle) {
    whole.high = whole.high.max(part.high);
    whole.low = whole.low.min(part.low);
    if (part.open_event_time, part.open_tie) < (whole.open_event_time, whole.open_tie) {
        whole.open = part.open;
        (whole.open_event_time, whole.open_tie) = (part.open_event_time, part.open_tie);
    }
    if (part.close_event_time, part.close_tie) > (whole.close_event_time, whole.close_tie) {
        whole.close = part.close;
        (whole.close_event_time, whole.close_tie) = (part.close_event_time, part.close_tie);
    }
}

struct Overflow;

fn sum(a: Option<Decimal>, b: Option<Decimal>) -> Result<Option<Decimal>, Overflow> {
    match (a, b) {
        (Some(a), Some(b)) => a.checked_add(b).map(Some).ok_or(Overflow),
        _ => Ok(None),
    }
}

fn known(a: Option<i64>, b: Option<i64>, both: fn(i64, i64) -> i64) -> Option<i64> {
    match (a, b) {
        (Some(a), Some(b)) => Some(both(a, b)),
        (one, other) => one.or(other),
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use schemas::Timestamp;

    use super::*;

    prop_compose! {
        fn candles()(events in prop::collection::vec((1i128..50, 1i128..50, 0i64..6, 0u8..3), 1..6))
            -> Vec<Candle>
        {
            events.into_iter().enumerate().filter_map(|(id, (price, size, time, side))| {
                let unit = 1_000_000_000_000_000_000;
                let event = MarketEvent {
                    trade_id: i64::try_from(id).ok(),
                    taker_side: [None, Some(TakerSide::Buy), Some(TakerSide::Sell)][usize::from(side)],
                    ..MarketEvent::trade(
                        Decimal::from_units(price * unit)?,
                        Decimal::from_units(size * unit)?,
                        Timestamp(time),
                    )
                };
                single(&event, 0)
            }).collect()
        }
    }

    fn fold(candles: impl IntoIterator<Item = Candle>) -> Option<Candle> {
        candles.into_iter().reduce(|mut whole, part| {
            assert!(merge(&mut whole, &part));
            whole
        })
    }

    proptest! {
        #[test]
        fn merge_is_commutative_and_associative(parts in candles(), split in 0usize..6) {
            let forward = fold(parts.clone());
            prop_assert_eq!(&fold(parts.iter().rev().cloned()), &forward);
            let (left, right) = parts.split_at(split.min(parts.len()));
            let halves = [fold(left.to_vec()), fold(right.to_vec())];
            prop_assert_eq!(&fold(halves.into_iter().flatten()), &forward);
        }
    }

    #[test]
    fn an_overflow_leaves_the_candle_as_it_was() {
        let huge: Decimal = "90000000000000000000".parse().unwrap();
        let event = MarketEvent::trade(Decimal::ONE, huge, Timestamp(1));
        let part = single(&event, 0).unwrap();
        let mut whole = part.clone();
        assert!(!merge(&mut whole, &part));
        assert_eq!(whole, part);
        assert_eq!(single(&MarketEvent::trade(huge, huge, Timestamp(1)), 0), None);
    }
}
