//! Any text is read as what a venue answers to a request for missed trades, the first byte says which
//! venue: it never panics, its trades are some of those wanted, and survive the way through a topic.
#![no_main]

use libfuzzer_sys::fuzz_target;
use producer::backfill::{Lost, Reply, begin, read};
use producer::exchange::{Malformed, Venue};
use schemas::Timestamp;

/// The ids that are wanted: those of the seeds are among them.
const WANTED: std::ops::RangeInclusive<i64> = 7..=9;

fuzz_target!(|data: &[u8]| {
    let Some((which, text)) = data.split_first() else { return };
    let Ok(text) = std::str::from_utf8(text) else { return };
    let (venue, product) = match which % 4 {
        0 => (Venue::Coinbase, "BTC-USD"),
        1 => (Venue::Binance, "BTCUSDT"),
        2 => (Venue::Kraken, "BTC/USD"),
        _ => (Venue::Deribit, "BTC-PERPETUAL"),
    };
    let Ok(pair) = venue.pair(product) else { unreachable!("{product}") };
    let lost = Lost { pair, first: *WANTED.start(), last: *WANTED.end(), since: Timestamp(0) };
    match read(venue, &lost, begin(venue, &lost), text, Timestamp(1_723_161_254_087)) {
        Ok(Reply::Page(page)) => {
            for event in &page.trades {
                assert!(event.trade_id.is_some_and(|id| WANTED.contains(&id)), "{event:?}");
                fuzz::survives(&lost.pair, event);
            }
        }
        Ok(Reply::NotNow { .. } | Reply::Refused(_)) => {}
        Err(malformed) => assert!(Malformed::LABELS.contains(&malformed.label())),
    }
});
