//! The state of a feed against a model of every millisecond.

use std::collections::BTreeSet;

use proptest::prelude::*;
use schemas::Basis;

use super::*;

fn mark(from: i64, until: i64) -> FeedMark {
    let plain = FeedMark::healthy("test-0", Timestamp(until), Timestamp(until));
    FeedMark { healthy_from: Some(Timestamp(from)), ..plain }
}

fn gap(pair: &[u8], from: i64, until: i64, ids: Option<(i64, i64)>) -> Gap {
    let missing = ids.map_or(0, |(_, count)| count);
    Gap { pair: pair.into(), from: Timestamp(from), until: Timestamp(until), ids, missing }
}

fn feed(stretches: &[(i64, i64)]) -> FeedState {
    let mut feed = FeedState::new(&mark(0, 1));
    for &(from, until) in stretches {
        feed.tick(&mark(from, until));
    }
    feed
}

fn spans() -> impl Strategy<Value = Vec<(i64, i64)>> {
    prop::collection::vec((1i64..200, 1i64..60).prop_map(|(from, long)| (from, from + long)), 0..12)
}

proptest! {
    #[test]
    fn coverage_is_the_milliseconds_that_are_healthy_and_in_no_gap(
        stretches in spans(), gaps in spans(), start in 0i64..250, length in 1i64..100,
    ) {
        let mut feed = feed(&stretches);
        for &(from, until) in &gaps {
            feed.add(gap(b"", from, until, None));
        }
        let end = start + length;
        let within = |spans: &[(i64, i64)], at: i64| spans.iter().any(|&(a, b)| a <= at && at < b);
        let healthy = |at: &i64| within(&stretches, *at) && !within(&gaps, *at);
        let expected = (start..end).filter(healthy).count();
        let marks = feed.marks(b"pair", Basis::Trade, &PairFeed::default(), (Timestamp(start), Timestamp(end)));
        let expected = (!stretches.is_empty()).then_some(i64::try_from(expected)?);
        prop_assert_eq!(marks.coverage_ms, expected);
        prop_assert_eq!(marks.gap, gaps.iter().any(|&(a, b)| a < end && start < b));
        prop_assert!(feed.stretches.spans().windows(2).all(|two| two[0].1 < two[1].0));
    }

    #[test]
    fn it_survives_the_changelog(
        stretches in spans(), gaps in spans(), first in any::<i32>(), count in 1i64..50,
    ) {
        let mut feed = feed(&stretches);
        for (index, &(from, until)) in gaps.iter().enumerate() {
            let ids = (index % 2 == 0).then_some((i64::from(first), count));
            feed.add(gap(b"pair", from, until, ids));
        }
        prop_assert_eq!(FeedState::of_mark(feed.to_mark()), Ok(feed));
    }

    #[test]
    fn arbitrary_state_never_panics(state: Vec<u8>) {
        let _ = FeedState::of_mark(FeedMark { state, ..mark(0, 1) });
    }

    #[test]
    fn a_gap_is_complete_when_each_of_its_ids_has_come(order in Just((10i64..20).collect::<Vec<_>>()).prop_shuffle()) {
        let mut feed = feed(&[]);
        feed.add(gap(b"pair", 5, 9, Some((10, 10))));
        let mut left: BTreeSet<i64> = order.iter().copied().collect();
        for id in order {
            prop_assert!(!feed.has_lost(b"other", id) && !feed.has_lost(b"pair", 20));
            prop_assert!(feed.has_lost(b"pair", id));
            left.remove(&id);
            prop_assert_eq!(feed.arrived(b"pair", id).len(), usize::from(left.is_empty()));
            let marks = feed.marks(b"pair", Basis::Trade, &PairFeed::default(), (Timestamp(0), Timestamp(60)));
            prop_assert_eq!(marks.gap, !left.is_empty());
            prop_assert_eq!(marks.missing.unwrap_or(0), i64::try_from(left.len())?);
        }
    }
}

#[test]
fn the_state_of_version_1_is_a_clock_without_more() {
    let feed = FeedState::of_mark(FeedMark::healthy("x", Timestamp(7), Timestamp(8)));
    let feed = feed.unwrap();
    assert_eq!(feed.clock(), Some(Timestamp(7)));
    assert_eq!(feed.to_mark().state, Vec::<u8>::new());
    let marks =
        feed.marks(b"pair", Basis::Trade, &PairFeed::default(), (Timestamp(0), Timestamp(60)));
    assert_eq!(marks, WindowMarks::default());
}

#[test]
fn a_gap_with_ids_says_nothing_of_samples_and_nothing_of_other_pairs() {
    let mut feed = feed(&[]);
    assert!(
        feed.add(gap(b"pair", 5, 9, Some((1, 2)))) && !feed.add(gap(b"pair", 5, 9, Some((1, 2))))
    );
    let gap_of = |pair: &[u8], basis| {
        feed.marks(pair, basis, &PairFeed::default(), (Timestamp(0), Timestamp(60))).gap
    };
    assert!(gap_of(b"pair", Basis::Trade));
    assert!(!gap_of(b"pair", Basis::Ticker) && !gap_of(b"other", Basis::Trade));
}

#[test]
fn beyond_the_bound_a_pairs_oldest_gap_goes_to_its_own_state() {
    let mut feed = feed(&[]);
    let bound = i64::try_from(MAX_GAPS).unwrap();
    let minute = Interval::Minute.length_ms();
    feed.add(gap(b"", 1, minute, None));
    for at in 2..=bound {
        assert!(feed.add(gap(b"pair", at * minute, at * minute + 5, None)));
        assert_eq!(feed.spill(), None);
    }
    assert!(!feed.has_spilled(Timestamp(SPILLED_SLACK_MS)) && feed.to_mark().state[0] == 2);
    assert!(feed.add(gap(b"pair", 5_000 * minute, 5_001 * minute, Some((1, 2)))));
    assert_eq!(feed.spill(), Some(gap(b"pair", 2 * minute, 2 * minute + 5, None)));
    assert!(!feed.overflow());
    // A window over it, and an event a minute later, ask the pair's own state; what is newer does not.
    let asks = [minute, 3 * minute + 4, 3 * minute + 5].map(|at| feed.has_spilled(Timestamp(at)));
    assert_eq!(asks, [true, true, false]);
    assert_eq!(FeedState::of_mark(feed.to_mark()), Ok(feed));
}

#[test]
fn what_spilled_is_said_of_the_windows_under_it() {
    let feed = feed(&[(1, 200)]);
    let mut own = FeedState::new(&mark(0, 1));
    own.add(gap(b"", 50, 60, Some((7, 2))));
    let marks = |basis| feed.marks(b"pair", basis, &own.pair_feed(), (Timestamp(0), Timestamp(60)));
    let trades = marks(Basis::Trade);
    assert_eq!((trades.gap, trades.missing, trades.coverage_ms), (true, Some(2), Some(49)));
    assert!(!marks(Basis::Ticker).gap);
    assert!(own.has_lost(b"", 8));
    assert_eq!(own.arrived(b"", 8), vec![]);
    assert_eq!(FeedState::of_mark(own.to_mark()), Ok(own));
}

#[test]
fn beyond_the_bound_the_oldest_gap_is_forgotten_and_a_new_window_says_so() {
    let mut feed = feed(&[]);
    let bound = i64::try_from(MAX_GAPS).unwrap();
    for at in 1..=bound {
        assert!(feed.add(gap(b"", at * 10, at * 10 + 5, None)) && !feed.overflow());
    }
    assert!(feed.add(gap(b"", 5_000, 5_001, None)));
    assert_eq!((feed.spill(), feed.overflow()), (None, true), "it is of no pair");
    let marks = |from, until| {
        feed.marks(b"pair", Basis::Trade, &PairFeed::default(), (Timestamp(from), Timestamp(until)))
    };
    let over = marks(10, 15);
    assert!(!over.gap && over.forgotten && over.overflowed);
    assert!(!marks(15, 16).forgotten && !marks(15, 16).overflowed);
    let says = |is_new, knew| {
        let event = MarketEvent::sample(schemas::Decimal::ONE, Timestamp(10));
        let mut window = crate::operators::Window::new(crate::operators::single(&event, 0));
        window.candle.gap = knew;
        window.mark(&over, is_new);
        window.candle.gap
    };
    assert_eq!([says(false, false), says(false, true), says(true, false)], [false, true, true]);
    assert_eq!(FeedState::of_mark(feed.to_mark()), Ok(feed));
}

#[test]
fn a_gap_behind_the_horizon_is_forgotten() {
    let mut feed = feed(&[]);
    feed.add(gap(b"pair", 10, 20, None));
    feed.tick(&mark(REVISION_HORIZON_MS + 10, REVISION_HORIZON_MS + 20));
    assert_eq!(feed.gaps.len(), 1);
    feed.tick(&mark(REVISION_HORIZON_MS + 20, REVISION_HORIZON_MS + 21));
    assert_eq!((feed.gaps.len(), feed.forgotten_until), (0, Timestamp(20)));
}

proptest! {
    #[test]
    fn an_unfinished_mark_survives_the_changelog(
        clock: Option<i64>, stage in prop::sample::select(&work::STAGES[..]), next: Vec<u8>, until: i64,
    ) {
        let mark = FeedMark::healthy("1", Timestamp(until), Timestamp(until));
        let work = Work {
            mark: mark.clone(), clock: clock.map(Timestamp), stage, next: next.into(),
        };
        let mut feed = FeedState::new(&mark);
        feed.set_work(Some(work));
        prop_assert_eq!(FeedState::of_mark(feed.to_mark()), Ok(feed));
    }
}
