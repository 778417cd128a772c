//! Any text is read as what a venue answers to a request for missed trades, the first byte says which
//! venue: it never panics, its trades are some of those wanted, and survive the way through a topic.
#![no_main]

use libfuzzer_sys::fuzz_target;
use schemas::Timestamp;
use venues::history::{HistoryAnswer, MissingTrades};
use venues::{Malformed, Venue};

/// The ids that are wanted: those of the seeds are among them.
const WANTED: std::ops::RangeInclusive<i64> = 7..=9;

fuzz_target!(|data: &[u8]| {
    let Some((which, text)) = data.split_first() else { return };
    let Ok(text) = std::str::from_utf8(text) else { return };
    let venue = Venue::ALL[usize::from(*which) % Venue::ALL.len()];
    let adapter = venue.adapter();
    let Some(history) = &adapter.history else { return };
    let Ok(pair) = venue.pair(adapter.example) else { unreachable!("{}", adapter.example) };
    let (first, last) = (*WANTED.start(), *WANTED.end());
    let missing = MissingTrades { pair, first, last, since: Timestamp(0) };
    let cursor = (history.first_cursor)(&missing);
    match (history.parse)(&missing, cursor, text, Timestamp(1_723_161_254_087)) {
        Ok(HistoryAnswer::Page(page)) => {
            for event in &page.trades {
                assert!(event.trade_id.is_some_and(|id| WANTED.contains(&id)), "{event:?}");
                fuzz::survives(&missing.pair, event);
            }
        }
        Ok(HistoryAnswer::RetryAfter { .. } | HistoryAnswer::Refused(_)) => {}
        Err(malformed) => assert!(Malformed::LABELS.contains(&malformed.label())),
    }
});
