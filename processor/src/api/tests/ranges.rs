//! Any range of candles is what was traded in it, whatever lies between, before and beside.

use std::collections::BTreeSet;

use proptest::prelude::*;
use schemas::{Basis, PairKey, Timestamp};

use super::world::{EPOCH, World, minute};
use crate::api::store_reader::CandleRange;
use crate::operators::Interval;

const BTC: (&str, &str, &str) = ("BTC", "USD", "coinbase");
const ETH: (&str, &str, &str) = ("ETH", "USD", "coinbase");

/// Minutes: many in a row, and years apart.
fn minutes() -> impl Strategy<Value = BTreeSet<i64>> {
    let minute = prop_oneof![0..100_i64, -40_000..40_000_i64, -9_000_000..9_000_000_i64];
    prop::collection::btree_set(minute, 0..40)
}

proptest! {
    #[test]
    fn a_range_holds_its_candles_and_no_other(
        btc in minutes(),
        eth in minutes(),
        from in prop_oneof![-100..200_i64, -9_000_000..9_000_000_i64],
        length in prop_oneof![0..200_i64, 0..9_000_000_i64],
        limit in 0..50_usize,
        interval in prop::sample::select(&Interval::ALL[..]),
    ) {
        let mut world = World::new().unwrap();
        for at in btc.union(&eth) {
            for (pair, minutes) in [(BTC, &btc), (ETH, &eth)] {
                if minutes.contains(at) {
                    world.trade(pair, "1", minute(*at)).unwrap();
                }
            }
        }
        let (from, to) = (minute(from), minute(from.saturating_add(length)));
        let range = CandleRange {
            basis: Basis::Trade,
            interval,
            from: Timestamp(from),
            to: Timestamp(to),
            limit,
        };
        let pair = PairKey::new(BTC.0, BTC.1, BTC.2);
        let found = world.reader().candles(&pair, range).unwrap();
        let found: Vec<i64> = found.into_iter().map(|(key, _)| key.open_time.0).collect();
        let starts: BTreeSet<i64> =
            btc.iter().map(|at| interval.start(Timestamp(minute(*at))).0).collect();
        let expected: Vec<i64> =
            starts.into_iter().filter(|start| (from..to).contains(start)).take(limit).collect();
        prop_assert_eq!(found, expected);
    }
}

#[test]
fn a_range_of_all_time_ends() {
    let mut world = World::new().unwrap();
    world.trade(BTC, "1", EPOCH).unwrap();
    let all = CandleRange {
        basis: Basis::Trade,
        interval: Interval::Minute,
        from: Timestamp(i64::MIN),
        to: Timestamp(i64::MAX),
        limit: 10,
    };
    let reader = world.reader();
    let count = |pair: (&str, &str, &str)| {
        reader.candles(&PairKey::new(pair.0, pair.1, pair.2), all).unwrap().len()
    };
    assert_eq!([count(BTC), count(ETH)], [1, 0]);
}
