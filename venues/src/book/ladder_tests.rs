//! A side of a book against an ordinary map, and its bounds under hostile frames.

use std::collections::BTreeMap;

use proptest::prelude::*;

use super::*;

fn level(price: i128, size: i128) -> Level {
    let units = |number| Decimal::from_units(number).unwrap_or_default();
    Level { price: units(price), size: units(size) }
}

/// From the best to the worst.
fn sorted(side: Side, model: &BTreeMap<Decimal, Decimal>) -> Vec<Level> {
    let mut levels: Vec<Level> =
        model.iter().map(|(price, size)| Level { price: *price, size: *size }).collect();
    if side == Side::Bid {
        levels.reverse();
    }
    levels
}

fn changes() -> impl Strategy<Value = Vec<Level>> {
    // Few prices: they repeat within a frame. Long frames are merged, short ones are not.
    let change = || (-20i128..60, 0i128..4).prop_map(|(price, size)| level(price, size));
    prop_oneof![
        4 => prop::collection::vec(change(), 0..6),
        1 => prop::collection::vec(change(), FEW - 2..3 * FEW),
    ]
}

proptest! {
    #[test]
    fn a_side_is_a_sorted_map_without_zeros(
        frames in prop::collection::vec((any::<bool>(), changes()), 0..20),
        side in prop_oneof![Just(Side::Bid), Just(Side::Ask)],
        depth in prop::option::of(0usize..40),
    ) {
        let (mut ladder, mut model) = (Ladder::new(side), BTreeMap::new());
        for (is_snapshot, changes) in frames {
            if is_snapshot {
                model.clear();
                ladder.replace(&changes, None);
            } else {
                ladder.update(&changes);
            }
            for Level { price, size } in changes {
                if size == Decimal::ZERO { model.remove(&price) } else { model.insert(price, size) };
            }
            if let Some(depth) = depth {
                ladder.truncate(depth);
                for dropped in sorted(side, &model).iter().skip(depth) {
                    model.remove(&dropped.price);
                }
            }
            let expected = sorted(side, &model);
            prop_assert_eq!(ladder.levels().collect::<Vec<_>>(), expected.clone());
            prop_assert_eq!(ladder.best(), expected.first().copied());
            prop_assert!(ladder.best().is_none_or(|best| ladder.covers(best.price)));
        }
    }
}

#[test]
fn a_side_is_bounded_and_knows_its_range() {
    for side in [Side::Bid, Side::Ask] {
        // Prices from the best to the worst.
        let price = |rank: i128| if side == Side::Bid { -rank } else { rank };
        let frame = |ranks: std::ops::Range<i128>| -> Vec<Level> {
            ranks.map(|rank| level(price(rank), 1)).collect()
        };
        let mut ladder = Ladder::new(side);
        ladder.replace(&frame(0..MAX_LEVELS as i128), None);
        assert_eq!((ladder.levels.len(), ladder.range), (MAX_LEVELS, None));
        ladder.update(&frame(MAX_LEVELS as i128..MAX_LEVELS as i128 + 1));
        assert_eq!(ladder.levels.len(), KEPT_LEVELS);
        assert!(ladder.covers(level(price(KEPT_LEVELS as i128 - 1), 1).price));
        assert!(!ladder.covers(level(price(KEPT_LEVELS as i128), 1).price));
        assert_eq!(ladder.best(), Some(level(price(0), 1)), "the best levels stay");
        // Better levels push the range towards the best, worse ones do not push it back.
        ladder.update(&frame(-(MAX_LEVELS as i128)..0));
        assert!(!ladder.covers(level(price(0), 1).price));
        ladder.update(&frame(10_000..20_000));
        assert!(!ladder.covers(level(price(0), 1).price));
        ladder.replace(&frame(0..3), None);
        assert!(ladder.covers(level(price(100), 1).price), "a snapshot has all levels");
        ladder.replace(&frame(0..3), Some(3));
        assert!(!ladder.covers(level(price(100), 1).price), "unless it was cut");
    }
}

#[test]
fn a_hostile_frame_leaves_no_memory_behind() {
    let many: Vec<Level> = (0..100_000).map(|price| level(price * 7 % 100_000, 1)).collect();
    for side in [Side::Bid, Side::Ask] {
        let mut ladder = Ladder::new(side);
        ladder.update(&many);
        assert!(ladder.levels.len() <= MAX_LEVELS && ladder.levels.capacity() <= MAX_CAPACITY);
        ladder.replace(&many, None);
        assert!(ladder.levels.len() <= MAX_LEVELS && ladder.levels.capacity() <= MAX_CAPACITY);
        for chunk in many.chunks(FEW) {
            ladder.update(chunk);
            assert!(ladder.levels.len() <= MAX_LEVELS && ladder.levels.capacity() <= MAX_CAPACITY);
        }
    }
}
