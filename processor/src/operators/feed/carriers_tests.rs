//! Coverage of pairs on several connections, against a model of every millisecond.

use proptest::prelude::*;
use schemas::{Basis, Part};

use super::*;

/// A mark of a connection: its number, and its span.
type Told = (usize, i64, i64);

fn tellings() -> impl Strategy<Value = Vec<Told>> {
    let told = |(one, from, long): (usize, i64, i64)| (one, from, from + long);
    prop::collection::vec((0usize..3, 1i64..200, 1i64..60).prop_map(told), 0..20)
}

/// Changes of connection, at times that grow.
fn changes() -> impl Strategy<Value = Vec<(usize, i64)>> {
    prop::collection::vec((0usize..4, 1i64..100), 0..5).prop_map(|changes| {
        let mut at = 0;
        let grown = changes.into_iter().map(|(one, after)| {
            at += after;
            (one, at)
        });
        grown.collect()
    })
}

fn clock(connection: usize, from: i64, until: i64) -> FeedMark {
    FeedMark {
        healthy_from: Some(Timestamp(from)),
        part: Some(Part::Connection),
        ..FeedMark::healthy(connection.to_string(), Timestamp(until), Timestamp(until))
    }
}

fn carrier(connection: usize, since: i64) -> Carrier {
    Carrier {
        content: Content::Trades,
        since: Timestamp(since),
        connection: connection.to_string(),
    }
}

fn feed(tellings: &[Told]) -> FeedState {
    let mut feed = FeedState::new(&clock(0, 0, 1));
    for &(connection, from, until) in tellings {
        feed.tick(&clock(connection, from, until));
    }
    feed
}

fn own_of(carriers: &[Carrier]) -> PairFeed {
    PairFeed { carriers: carriers.to_vec(), ..PairFeed::default() }
}

fn covered(
    feed: &FeedState,
    carriers: &[Carrier],
    basis: Basis,
    start: i64,
    end: i64,
) -> Option<i64> {
    feed.marks(b"pair", basis, &own_of(carriers), (Timestamp(start), Timestamp(end))).coverage_ms
}

fn counted(start: i64, end: i64, healthy: impl Fn(i64) -> bool) -> i64 {
    (start..end).map(|at| i64::from(healthy(at))).sum()
}

proptest! {
    #[test]
    fn coverage_is_that_of_the_connection_that_carries_the_pair(
        tellings in tellings(), changes in changes(), start in 0i64..250, length in 1i64..100,
    ) {
        let feed = feed(&tellings);
        let mut carriers = Vec::new();
        for &(connection, since) in &changes {
            carriers::add(&mut carriers, carrier(connection, since));
        }
        let carries = |at: i64| {
            let last = changes.iter().rfind(|(_, since)| *since <= at).or(changes.first());
            last.map(|(connection, _)| *connection)
        };
        let healthy = |at: i64| {
            let mut over = tellings.iter().filter(|(_, from, until)| *from <= at && at < *until);
            over.any(|(connection, ..)| carries(at).is_none_or(|carrier| carrier == *connection))
        };
        let expected = (!tellings.is_empty()).then(|| counted(start, start + length, healthy));
        let found = covered(&feed, &carriers, Basis::Trade, start, start + length);
        prop_assert_eq!(found, expected);
    }

    #[test]
    fn what_one_connection_tells_is_nothing_to_the_pairs_of_another(
        tellings in tellings(), start in 0i64..250, length in 1i64..100,
    ) {
        let own: Vec<Told> = tellings.iter().copied().filter(|told| told.0 == 0).collect();
        prop_assume!(!own.is_empty());
        let carriers = [carrier(0, 0)];
        let window = (Timestamp(start), Timestamp(start + length));
        let marks = |told: &[Told]| feed(told).marks(b"pair", Basis::Trade, &own_of(&carriers), window);
        prop_assert_eq!(marks(&tellings), marks(&own));
    }

    #[test]
    fn the_order_in_which_connections_tell_does_not_matter(
        (told, shuffled) in tellings().prop_flat_map(|told| (Just(told.clone()), Just(told).prop_shuffle())),
        start in 0i64..250, length in 1i64..100,
    ) {
        let of = |told: &[Told]| covered(&feed(told), &[], Basis::Trade, start, start + length);
        prop_assert_eq!(of(&told), of(&shuffled));
    }

    #[test]
    fn both_states_survive_the_changelog(tellings in tellings(), changes in changes()) {
        let mut of_feed = feed(&tellings);
        let mut of_pair = FeedState::new(&clock(0, 0, 1));
        for &(connection, since) in &changes {
            of_pair.carry(carrier(connection, since));
        }
        prop_assert_eq!(FeedState::of_mark(of_feed.to_mark()), Ok(of_feed.clone()));
        prop_assert_eq!(FeedState::of_mark(of_pair.to_mark()), Ok(of_pair));
        of_feed.tick(&FeedMark { part: None, ..clock(9, 300, 400) });
        prop_assert_eq!(FeedState::of_mark(of_feed.to_mark()), Ok(of_feed));
    }
}

#[test]
fn a_sole_connection_has_the_state_of_version_1() {
    let mut feed = FeedState::new(&clock(0, 0, 1));
    feed.tick(&FeedMark { part: None, ..clock(0, 10, 20) });
    // Version 1, nothing forgotten, one stretch from 10 of length 10, no gap.
    assert_eq!(feed.to_mark().state, [2, 0, 2, 20, 20, 0]);
}

#[test]
fn trades_and_samples_of_a_pair_may_come_over_different_connections() {
    let feed = feed(&[(0, 0, 60), (1, 0, 20)]);
    let mut carriers = Vec::new();
    carriers::add(&mut carriers, carrier(0, 0));
    carriers::add(&mut carriers, Carrier { content: Content::Samples, ..carrier(1, 0) });
    assert_eq!(covered(&feed, &carriers, Basis::Trade, 0, 60), Some(60));
    assert_eq!(covered(&feed, &carriers, Basis::Ticker, 0, 60), Some(20));
}

#[test]
fn a_connection_that_has_never_told_covers_nothing() {
    let feed = feed(&[(0, 0, 60)]);
    assert_eq!(covered(&feed, &[carrier(1, 0)], Basis::Trade, 0, 60), Some(0));
}

#[test]
fn who_goes_back_to_one_connection_is_covered_by_it() {
    let mut feed = feed(&[(0, 0, 60), (1, 0, 60)]);
    feed.tick(&FeedMark { part: None, ..clock(0, 100, 160) });
    assert_eq!(covered(&feed, &[carrier(1, 0)], Basis::Trade, 0, 200), Some(120));
}

#[test]
fn carriers_and_connections_are_bounded() {
    let mut carriers = Vec::new();
    for since in 0..100 {
        let at = usize::try_from(since).unwrap();
        carriers::add(&mut carriers, carrier(at, since));
        carriers::add(&mut carriers, carrier(at, since + 1));
    }
    assert_eq!(carriers.len(), carriers::MAX_CARRIERS);
    let told: Vec<Told> = (0..100).map(|one| (one, 10, 20 + i64::try_from(one).unwrap())).collect();
    let feed = feed(&told);
    assert_eq!(covered(&feed, &[carrier(99, 0)], Basis::Trade, 0, 200), Some(109));
    assert_eq!(covered(&feed, &[carrier(0, 0)], Basis::Trade, 0, 200), Some(0), "forgotten");
    assert_eq!(FeedState::of_mark(feed.to_mark()), Ok(feed));
}
