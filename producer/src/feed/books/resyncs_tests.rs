//! Books that leave the sync and come back, at times that the test says.

use proptest::prelude::*;

use super::*;

const FIRST: Duration = Duration::from_millis(500);
const CAP: Duration = Duration::from_secs(30);

fn seconds(seconds: u64) -> Duration {
    Duration::from_secs(seconds)
}

fn pair(base: &str) -> PairKey {
    PairKey::new(base, "USD", "venue")
}

/// The books of `bases`, subscribed at 0 s.
fn resyncs(source: Source, bases: &[&str]) -> Resyncs {
    let Ok(backoff) = Backoff::new(FIRST, CAP) else { panic!("a valid back-off") };
    let mut resyncs = Resyncs::new(source, backoff, 7);
    for base in bases {
        resyncs.add(pair(base));
    }
    resyncs.subscribed(Duration::ZERO);
    resyncs
}

/// In sync since 0 s.
fn in_sync(source: Source, bases: &[&str]) -> Resyncs {
    let mut resyncs = resyncs(source, bases);
    for base in bases {
        if source == Source::Fetched {
            assert!(resyncs.refresh(&pair(base), Duration::ZERO));
            assert_eq!(resyncs.due(Duration::ZERO), Some(Due::Ask(pair(base))));
            assert!(resyncs.answered(&pair(base)));
        }
        assert!(resyncs.quoted(&pair(base)));
    }
    assert_eq!((resyncs.out_of_sync(), resyncs.next_due()), (0, None));
    resyncs
}

#[test]
fn a_book_that_was_long_in_sync_is_asked_for_at_once_and_the_others_are_left_alone() {
    for source in [Source::Sent, Source::Fetched] {
        let mut resyncs = in_sync(source, &["BTC", "ETH", "LTC"]);
        assert!(resyncs.lost(&pair("ETH"), seconds(40)));
        assert_eq!((resyncs.out_of_sync(), resyncs.next_due()), (1, Some(seconds(40))));
        assert_eq!(resyncs.due(seconds(40)), Some(Due::Ask(pair("ETH"))));
        assert_eq!(resyncs.due(seconds(40)), None);
        assert!(!resyncs.lost(&pair("XRP"), seconds(40)), "nobody follows it");
        resyncs.answered(&pair("ETH"));
        assert!(resyncs.quoted(&pair("ETH")) && !resyncs.quoted(&pair("ETH")));
        assert_eq!((resyncs.out_of_sync(), resyncs.next_due()), (0, None));
    }
}

#[test]
fn a_book_that_is_lost_over_and_over_waits_longer_each_time_up_to_the_cap() {
    let mut resyncs = in_sync(Source::Sent, &["BTC"]);
    let (mut now, mut longest) = (seconds(40), Duration::ZERO);
    let mut ceiling = FIRST;
    for turn in 0..40 {
        assert!(resyncs.lost(&pair("BTC"), now));
        let Some(at) = resyncs.next_due() else { panic!("nothing is due") };
        let wait = at.saturating_sub(now);
        if turn > 0 {
            assert!(wait <= ceiling, "turn {turn}: {wait:?}");
            ceiling = (2 * ceiling).min(CAP);
        }
        longest = longest.max(wait);
        assert_eq!(resyncs.due(at), Some(Due::Ask(pair("BTC"))));
        now = at;
    }
    assert!(longest > seconds(10) && longest <= CAP, "{longest:?}");
    assert!(resyncs.lost(&pair("BTC"), now + CAP), "it was in sync for as long as the cap");
    assert_eq!(resyncs.next_due(), Some(now + CAP));
}

#[test]
fn a_snapshot_that_is_never_sent_is_late_and_is_asked_for_again() {
    let mut resyncs = resyncs(Source::Sent, &["BTC"]);
    assert_eq!(resyncs.due(SENT_WITHIN.saturating_sub(FIRST)), None);
    let mut now = SENT_WITHIN;
    for _ in 0..3 {
        assert_eq!(resyncs.due(now), Some(Due::Late(pair("BTC"))));
        let Some(at) = resyncs.next_due() else { panic!("it is given up") };
        assert!(at <= now + CAP);
        assert_eq!(resyncs.due(at), Some(Due::Ask(pair("BTC"))));
        now = at + SENT_WITHIN;
    }
    assert_eq!(resyncs.out_of_sync(), 1);
}

#[test]
fn a_request_that_fails_is_sent_again_after_the_wait_of_the_venue() {
    let mut resyncs = in_sync(Source::Fetched, &["BTC"]);
    resyncs.lost(&pair("BTC"), seconds(40));
    resyncs.due(seconds(40));
    assert!(resyncs.lost(&pair("BTC"), seconds(41)), "the request is on its way");
    assert_eq!(resyncs.due(seconds(1000)), None);
    resyncs.failed(&pair("BTC"), seconds(120), seconds(41));
    assert_eq!(resyncs.next_due(), Some(seconds(161)));
    assert_eq!(resyncs.due(seconds(161)), Some(Due::Ask(pair("BTC"))));
    resyncs.failed(&pair("BTC"), Duration::ZERO, seconds(162));
    let Some(at) = resyncs.next_due() else { panic!("it is given up") };
    assert!(at <= seconds(163));
}

#[test]
fn an_answer_that_is_not_waited_for_is_refused() {
    let mut resyncs = in_sync(Source::Fetched, &["BTC"]);
    assert!(!resyncs.answered(&pair("BTC")) && !resyncs.answered(&pair("XRP")));
    resyncs.lost(&pair("BTC"), seconds(40));
    resyncs.due(seconds(40));
    resyncs.remove(&pair("BTC"));
    assert!(!resyncs.answered(&pair("BTC")), "its instrument has ended");
    assert_eq!((resyncs.len(), resyncs.out_of_sync(), resyncs.next_due()), (0, 0, None));
}

#[test]
fn a_quiet_book_is_asked_for_without_a_first_frame() {
    let mut resyncs = resyncs(Source::Fetched, &["BTC", "ETH"]);
    assert!(resyncs.refresh(&pair("BTC"), seconds(1)));
    assert_eq!(resyncs.due(seconds(1)), Some(Due::Ask(pair("BTC"))));
    assert_eq!(resyncs.due(seconds(1)), None);
    assert_eq!(resyncs.due(QUIET_WITHIN), Some(Due::Ask(pair("ETH"))));
}

#[test]
fn a_refresh_leaves_the_book_in_sync() {
    let mut resyncs = in_sync(Source::Fetched, &["BTC"]);
    assert!(resyncs.refresh(&pair("BTC"), seconds(40)));
    assert_eq!((resyncs.out_of_sync(), resyncs.next_due()), (0, Some(seconds(40))));
    resyncs.due(seconds(40));
    assert!(resyncs.answered(&pair("BTC")) && resyncs.refresh(&pair("BTC"), seconds(41)));
    assert!(resyncs.next_due() > Some(seconds(41)), "not as fast as it is wanted");
}

#[test]
fn books_that_are_in_sync_without_a_quote_are_not_asked_for() {
    for source in [Source::Sent, Source::Fetched] {
        let mut resyncs = resyncs(source, &["BTC", "ETH"]);
        resyncs.learn(|pair| pair.base == "BTC");
        assert_eq!(resyncs.out_of_sync(), 1);
        let expected = match source {
            Source::Sent => Due::Late(pair("ETH")),
            Source::Fetched => Due::Ask(pair("ETH")),
        };
        assert_eq!(resyncs.due(SENT_WITHIN), Some(expected));
    }
}

proptest! {
    /// After any steps a book that is out of sync is still known, and is asked for one at a time.
    #[test]
    fn a_book_that_is_out_of_sync_always_has_a_next_step(
        sent: bool, events in proptest::collection::vec((0u8..7, 0usize..3, 0u64..40), 1..200),
    ) {
        let source = if sent { Source::Sent } else { Source::Fetched };
        let bases = ["BTC", "ETH", "LTC"];
        let mut resyncs = resyncs(source, &bases);
        let (mut now, mut requested) = (Duration::ZERO, BTreeSet::new());
        for (event, which, step) in events {
            now += Duration::from_millis(100) * u32::try_from(step)?;
            let pair = pair(bases[which]);
            match event {
                0 => prop_assert!(resyncs.lost(&pair, now)),
                1 => prop_assert!(resyncs.refresh(&pair, now)),
                2 => {
                    resyncs.quoted(&pair);
                    requested.remove(&pair);
                }
                3 => {
                    resyncs.failed(&pair, Duration::ZERO, now);
                    requested.remove(&pair);
                }
                4 => {
                    resyncs.answered(&pair);
                    requested.remove(&pair);
                }
                _ => {}
            }
            while let Some(due) = resyncs.due(now) {
                if let Due::Ask(pair) = due
                    && !sent
                {
                    prop_assert!(requested.insert(pair), "two requests for one book");
                }
            }
            for (pair, entry) in &resyncs.books {
                let rests = entry.step == Step::Idle && !entry.is_in_sync;
                prop_assert!(!rests, "{pair} is forgotten");
                let acts = entry.step.acts_at().is_none_or(|at| at <= now + CAP.max(SENT_WITHIN));
                prop_assert!(acts, "{pair} waits too long: {:?}", entry.step);
            }
            let in_sync = resyncs.books.values().filter(|entry| entry.is_in_sync).count();
            prop_assert_eq!(resyncs.len() - resyncs.out_of_sync(), in_sync);
        }
    }
}
