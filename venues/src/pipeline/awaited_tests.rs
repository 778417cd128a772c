//! Books that never have a quote, and the levels of a book when its feed ends.

use super::super::awaited::FIRST_WITHIN_MS;
use super::tests::{Bench, at, in_sync, pipeline, snapshot, update};
use crate::channel::Follow;
use crate::venue::Venue;

/// A frame that is of no book.
const STATUS: &str = r#"{"type":"status"}"#;

/// BTC and ETH of Coinbase, of which nothing has come.
fn followed() -> (Bench, Vec<String>) {
    let products = ["BTC-USD".to_owned(), "ETH-USD".to_owned()];
    let streams = Venue::Coinbase.streams(&products, Follow::ALL);
    (Bench::new(pipeline(Venue::Coinbase).carrying(&streams)), streams)
}

#[test]
fn a_book_without_a_first_quote_is_out_of_sync_from_the_first_frame_of_its_feed() {
    let (mut bench, streams) = followed();
    bench.frame(5, STATUS);
    bench.frame(10, &snapshot("ETH", "9", "11"));
    assert_eq!(bench.shown(), ["quote ETH 9 11", "book ETH 10"]);
    // A connection that is made again has the same streams, and is no new beginning.
    bench.pipeline.carry(&streams);
    bench.frame(4 + FIRST_WITHIN_MS, STATUS);
    assert_eq!(bench.shown(), [""; 0], "there is still time");
    bench.frame(5 + FIRST_WITHIN_MS, STATUS);
    assert_eq!(bench.shown(), ["lost BTC STALE_SNAPSHOT 5"]);
    bench.frame(6 + 3 * FIRST_WITHIN_MS, STATUS);
    assert_eq!(bench.shown(), [""; 0], "it is said once");
    bench.frame(100_000, &snapshot("BTC", "99", "101"));
    let expected = ["gap BTC STALE_SNAPSHOT 5 100000", "quote BTC 99 101", "book BTC 100000"];
    assert_eq!(bench.shown(), expected);
}

#[test]
fn a_book_that_is_lost_before_its_first_quote_is_marked_once() {
    let (mut bench, _) = followed();
    bench.frame(1, &update("BTC", 0, "buy", "98", "1"));
    let bad = r#"{"type":"snapshot","product_id":"BTC-USD","bids":[["x","1"]],"asks":[]}"#;
    bench.frame(2, bad);
    bench.frame(3, &snapshot("ETH", "9", "11"));
    assert_eq!(bench.shown(), ["dead bad_field", "quote ETH 9 11", "book ETH 3"]);
    bench.frame(1 + FIRST_WITHIN_MS, STATUS);
    assert_eq!(bench.shown(), ["lost BTC STALE_SNAPSHOT 0"]);
    bench.pipeline.disconnected(at(40_000), &mut bench.out);
    assert_eq!(bench.shown(), ["lost ETH DISCONNECTED 3"], "BTC has its mark");
    bench.pipeline.finish(&mut bench.out);
    let expected = ["gap BTC STALE_SNAPSHOT 0 40000", "gap ETH DISCONNECTED 3 40000"];
    assert_eq!(bench.shown(), expected);
}

#[test]
fn levels_that_wait_are_published_when_the_feed_ends() {
    let mut bench = in_sync();
    bench.frame(300, &update("BTC", 200, "buy", "98", "1"));
    bench.pipeline.finish(&mut bench.out);
    assert_eq!(bench.shown(), ["book BTC 300"], "and not those of ETH, which are the same");
}
