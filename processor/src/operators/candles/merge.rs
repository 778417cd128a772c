//! The merge of two candles that cover disjoint events. Commutative and associative.
//!
//! | field | rule |
//! |---|---|
//! | open, close | of the smallest and the largest (event time, tie) |
//! | high, low | extremes |
//! | volumes | sums; null when either is null |
//! | volumes that need more than 38 digits | null from then on; prices and counts stay exact |
//! | trades | sum |
//! | gap, `partial_start` | either's |
//! | `coverage_ms` | sum of the known values |
//! | `missing_trades` | the greater of the known values: a gap over both parts is one gap |
//! | status, revision | not merged: the window sets them |
//!
//! The marks of a stored parent are then taken from the feed's state, because minutes without an
//! event have no candle.

use schemas::{Basis, Candle, Decimal, MarketEvent, TakerSide};

/// The candle of one event. Its quote volume is null when it needs more than 38 digits.
pub fn single(event: &MarketEvent, offset: i64) -> Candle {
    let is_trade = event.basis == Basis::Trade;
    let base = if is_trade { event.size } else { None };
    let quote = base.and_then(|size| event.price.checked_mul(size));
    let bought = event.taker_side == Some(TakerSide::Buy);
    let taker = |volume: Option<Decimal>| {
        // Without a taker side, taker volumes are unknown, and zero would be a claim. A seller
        // bought nothing, also where the volume does not fit.
        event.taker_side.and(base).and(if bought { volume } else { Some(Decimal::ZERO) })
    };
    let tie = event.id().unwrap_or(offset);
    Candle {
        base_volume: base,
        quote_volume: quote,
        taker_buy_base: taker(base),
        taker_buy_quote: taker(quote),
        ..Candle::at(event.price, event.event_time, tie)
    }
}

/// Merges `part` into `whole`. False when a sum needs more than 38 digits: it is null from then on.
///
/// Volumes are not negative, so a sum that does not fit does not fit in any order.
///
/// ```
/// use processor::operators::{merge, single};
/// use schemas::{Decimal, MarketEvent, Timestamp};
/// let at = |price: &str, ms| -> Result<_, schemas::decimal::ParseDecimalError> {
///     Ok(single(&MarketEvent::trade(price.parse()?, Decimal::ONE, Timestamp(ms)), 0))
/// };
/// let (mut whole, late) = (at("7", 2)?, at("9", 1)?);
/// assert!(merge(&mut whole, &late));
/// assert_eq!([whole.open, whole.close].map(|price| price.to_string()), ["9", "7"]);
/// # Ok::<(), schemas::decimal::ParseDecimalError>(())
/// ```
pub fn merge(whole: &mut Candle, part: &Candle) -> bool {
    let fits = [
        add(&mut whole.base_volume, part.base_volume),
        add(&mut whole.quote_volume, part.quote_volume),
        add(&mut whole.taker_buy_base, part.taker_buy_base),
        add(&mut whole.taker_buy_quote, part.taker_buy_quote),
    ];
    whole.trades = whole.trades.saturating_add(part.trades);
    merge_prices(whole, part);
    whole.gap |= part.gap;
    whole.partial_start |= part.partial_start;
    whole.coverage_ms = known(whole.coverage_ms, part.coverage_ms, i64::saturating_add);
    whole.missing_trades = known(whole.missing_trades, part.missing_trades, Ord::max);
    fits == [true; 4]
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

/// Adds two known values; false when the sum does not fit.
fn add(sum: &mut Option<Decimal>, part: Option<Decimal>) -> bool {
    let both = sum.zip(part);
    *sum = both.and_then(|(sum, part)| sum.checked_add(part));
    both.is_none() || sum.is_some()
}

/// Whether the event's own quote volume does not fit.
pub(super) fn is_too_large(single: &Candle) -> bool {
    single.base_volume.is_some() && single.quote_volume.is_none()
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

    /// Sizes and prices of venues, and some whose product or sum does not fit.
    fn units() -> impl Strategy<Value = i128> {
        let unit = 1_000_000_000_000_000_000;
        prop_oneof![
            (1i128..50).prop_map(move |whole| whole * unit),
            Just(3 * 10i128.pow(37)),
            Just(4 * 10i128.pow(28)),
        ]
    }

    prop_compose! {
        fn candles()(events in prop::collection::vec((units(), units(), 0i64..6, 0u8..3), 1..8))
            -> Vec<Candle>
        {
            events.into_iter().enumerate().filter_map(|(id, (price, size, time, side))| {
                let event = MarketEvent {
                    trade_id: i64::try_from(id).ok(),
                    taker_side: [None, Some(TakerSide::Buy), Some(TakerSide::Sell)][usize::from(side)],
                    ..MarketEvent::trade(
                        Decimal::from_units(price)?,
                        Decimal::from_units(size)?,
                        Timestamp(time),
                    )
                };
                Some(single(&event, 0))
            }).collect()
        }
    }

    fn fold(candles: impl IntoIterator<Item = Candle>) -> Option<Candle> {
        candles.into_iter().reduce(|mut whole, part| {
            merge(&mut whole, &part);
            whole
        })
    }

    /// Of numbers that are not negative: too many digits on the way are too many at the end.
    fn total(parts: &[Candle], of: fn(&Candle) -> Option<Decimal>) -> Option<Decimal> {
        let known: Option<Vec<i128>> = parts.iter().map(|c| of(c).map(Decimal::units)).collect();
        known?.into_iter().try_fold(0i128, i128::checked_add).and_then(Decimal::from_units)
    }

    proptest! {
        #[test]
        fn merge_is_commutative_and_associative(parts in candles(), split in 0usize..8) {
            let forward = fold(parts.clone());
            prop_assert_eq!(&fold(parts.iter().rev().cloned()), &forward);
            let (left, right) = parts.split_at(split.min(parts.len()));
            let halves = [fold(left.to_vec()), fold(right.to_vec())];
            prop_assert_eq!(&fold(halves.into_iter().flatten()), &forward);
        }

        #[test]
        fn a_sum_is_exact_or_null_and_spoils_nothing_else(parts in candles()) {
            let Some(whole) = fold(parts.clone()) else {
                return Err(TestCaseError::reject("no candle"));
            };
            prop_assert_eq!(whole.base_volume, total(&parts, |c| c.base_volume));
            prop_assert_eq!(whole.quote_volume, total(&parts, |c| c.quote_volume));
            prop_assert_eq!(whole.taker_buy_base, total(&parts, |c| c.taker_buy_base));
            prop_assert_eq!(whole.taker_buy_quote, total(&parts, |c| c.taker_buy_quote));
            prop_assert_eq!(Some(whole.high), parts.iter().map(|part| part.high).max());
            prop_assert_eq!(Some(whole.low), parts.iter().map(|part| part.low).min());
            prop_assert_eq!(whole.trades, i64::try_from(parts.len())?);
        }
    }

    #[test]
    fn a_gap_over_both_parts_is_one_gap_and_known_coverage_adds_up() {
        let part = |missing_trades, coverage_ms, gap| Candle {
            missing_trades,
            coverage_ms,
            gap,
            ..Candle::at(Decimal::ONE, Timestamp(1), 0)
        };
        for (one, other, expected) in [
            ((Some(3), Some(10), false), (Some(5), Some(20), true), (Some(5), Some(30), true)),
            ((Some(3), None, true), (Some(3), Some(20), true), (Some(3), Some(20), true)),
            ((None, Some(10), false), (Some(5), None, false), (Some(5), Some(10), false)),
            ((None, None, false), (None, None, false), (None, None, false)),
        ] {
            let [one, other] = [one, other].map(|(missing, ms, gap)| part(missing, ms, gap));
            for (mut whole, part) in [(one.clone(), other.clone()), (other, one)] {
                assert!(merge(&mut whole, &part));
                let merged = (whole.missing_trades, whole.coverage_ms, whole.gap);
                assert_eq!(merged, expected);
            }
        }
    }

    #[test]
    fn a_sum_that_does_not_fit_is_null_and_stays_so() {
        let huge: Decimal = "90000000000000000000".parse().unwrap();
        let part = single(&MarketEvent::trade(Decimal::ONE, huge, Timestamp(1)), 0);
        let mut whole = part.clone();
        assert!(!merge(&mut whole, &part), "it is said once,");
        assert_eq!((whole.base_volume, whole.quote_volume, whole.trades), (None, None, 2));
        assert!(merge(&mut whole, &part), "and not again for each later trade");
        assert_eq!((whole.base_volume, whole.trades), (None, 3));
        let beyond = single(&MarketEvent::trade(huge, huge, Timestamp(1)), 0);
        assert!(is_too_large(&beyond) && !is_too_large(&part));
        assert_eq!(
            (beyond.high, beyond.base_volume, beyond.quote_volume),
            (huge, Some(huge), None)
        );
    }
}
