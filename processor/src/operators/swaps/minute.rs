//! A pool's minute from the instances that count in it: a pure fold, so that a removal computes open,
//! high, low and close again.

use schemas::{Integer, MinuteStatus, PoolMinute};

use super::instance::{Instance, InstanceKey};

/// The minute of these instances, in the order of their keys; `None` of none. All sums are checked:
/// one that does not fit is `None`.
pub(super) fn minute<'a>(
    instances: impl Iterator<Item = (&'a InstanceKey, &'a Instance)>,
) -> Option<PoolMinute> {
    let mut minute: Option<PoolMinute> = None;
    for (key, instance) in instances {
        let minute = minute.get_or_insert_with(|| first(key, instance));
        add(minute, key, instance);
    }
    minute
}

/// The minute that begins with an instance, which is still to be added.
fn first(key: &InstanceKey, instance: &Instance) -> PoolMinute {
    let zero = Some(Integer::ZERO);
    PoolMinute {
        net_amount0: zero,
        net_amount1: zero,
        in_amount0: zero,
        in_amount1: zero,
        open_tick: instance.swap.tick,
        open_price: instance.price,
        open_block: key.number,
        open_log_index: key.log_index,
        status: MinuteStatus::Open,
        ..PoolMinute::default()
    }
}

fn add(minute: &mut PoolMinute, key: &InstanceKey, instance: &Instance) {
    let swap = &instance.swap;
    minute.swaps += 1;
    let sum = |sum: Option<Integer>, amount: Integer| sum.and_then(|sum| sum.checked_add(amount));
    let into = |amount: Integer| if amount.is_positive() { amount } else { Integer::ZERO };
    minute.net_amount0 = sum(minute.net_amount0, swap.amount0);
    minute.net_amount1 = sum(minute.net_amount1, swap.amount1);
    minute.in_amount0 = sum(minute.in_amount0, into(swap.amount0));
    minute.in_amount1 = sum(minute.in_amount1, into(swap.amount1));
    minute.high_tick = minute.high_tick.max(swap.tick);
    minute.low_tick = least(minute.low_tick, swap.tick);
    minute.close_tick = swap.tick;
    minute.high_price = minute.high_price.max(instance.price);
    minute.low_price = least(minute.low_price, instance.price);
    minute.close_price = instance.price;
    minute.liquidity = swap.liquidity;
    minute.close_block = key.number;
    minute.close_log_index = key.log_index;
    minute.event_time = swap.block_time.unwrap_or_default();
}

/// The lesser of those that are known.
fn least<T: Ord + Copy>(a: Option<T>, b: Option<T>) -> Option<T> {
    match (a, b) {
        (Some(a), Some(b)) => Some(a.min(b)),
        (one, None) | (None, one) => one,
    }
}

/// How many of a minute's sums did not fit.
pub(super) fn overflows(minute: &PoolMinute) -> usize {
    let sums = [minute.net_amount0, minute.net_amount1, minute.in_amount0, minute.in_amount1];
    sums.iter().filter(|sum| sum.is_none()).count()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use schemas::{Decimal, Swap, SwapStatus, Timestamp};

    use super::super::instance::Flag;
    use super::*;

    fn one(number: i64, log_index: i64, amount: i64, tick: i64) -> (InstanceKey, Instance) {
        let key = InstanceKey {
            chain: 1,
            number,
            log_index,
            hash: format!("{number}"),
            pool: "pool".into(),
        };
        let swap = Swap {
            amount0: amount.into(),
            amount1: (-amount).into(),
            tick: Some(tick),
            block_time: Some(Timestamp(number)),
            ..Swap::default()
        };
        let price = Decimal::from_units(tick.into());
        let status = SwapStatus::Confirmed;
        (key, Instance { flag: Flag::Added, status, price, usd: None, swap })
    }

    proptest! {
        #[test]
        fn a_minute_is_what_a_naive_fold_gives(
            swaps in prop::collection::btree_map((0i64..9, 0i64..4), (-9i64..9, -9i64..9), 0..12),
        ) {
            let all: Vec<_> = swaps.iter()
                .map(|((number, log), (amount, tick))| one(*number, *log, *amount, *tick)).collect();
            let found = minute(all.iter().map(|(key, instance)| (key, instance)));
            let ticks: Vec<i64> = swaps.values().map(|(_, tick)| *tick).collect();
            let net: i64 = swaps.values().map(|(amount, _)| *amount).sum();
            let inward: i64 = swaps.values().map(|(amount, _)| *amount.max(&0)).sum();
            let outward: i64 = swaps.values().map(|(amount, _)| (-*amount).max(0)).sum();
            prop_assert_eq!(found.is_none(), swaps.is_empty());
            if let Some(found) = found {
                prop_assert_eq!(found.swaps, i64::try_from(swaps.len()).unwrap());
                prop_assert_eq!(found.net_amount0, Some(net.into()));
                prop_assert_eq!(found.net_amount1, Some((-net).into()));
                prop_assert_eq!(found.in_amount0, Some(inward.into()));
                prop_assert_eq!(found.in_amount1, Some(outward.into()));
                prop_assert_eq!(found.open_tick, ticks.first().copied());
                prop_assert_eq!(found.close_tick, ticks.last().copied());
                prop_assert_eq!(found.high_tick, ticks.iter().max().copied());
                prop_assert_eq!(found.low_tick, ticks.iter().min().copied());
                let units = |price: Option<Decimal>| price.map(|price| i64::try_from(price.units()).unwrap());
                prop_assert_eq!(units(found.high_price), found.high_tick);
                prop_assert_eq!(units(found.low_price), found.low_tick);
            }
        }
    }

    #[test]
    fn a_sum_that_does_not_fit_is_none_and_the_rest_stays() {
        let mut huge = one(1, 0, 1, 1);
        huge.1.swap.amount0 = "9".repeat(78).parse().unwrap();
        let small = one(1, 1, 1, 2);
        let found = minute([(&huge.0, &huge.1), (&small.0, &small.1)].into_iter()).unwrap();
        assert_eq!((found.net_amount0, found.in_amount0, found.swaps), (None, None, 2));
        assert_eq!(overflows(&found), 2);
    }
}
