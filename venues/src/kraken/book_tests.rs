//! Kraken's books against its checksums, and the frames that its documentation shows.

use schemas::PairKey;

use super::*;
use crate::Venue;
use crate::book::replay::{Replay, capture};
use crate::book::{Book, Outcome, Reason, Rules, Terms};

const DEEP: &str = "kraken/20210405_book_ws.jsonl.zst";
const TEN: &str = "kraken/20210405_book10_ws.jsonl.zst";
/// The book in "Calculate Book Checksum (v2)", as one snapshot.
const DOCUMENTED: &str = r#"{"channel":"book","type":"snapshot","data":[{"symbol":"BTC/USD","asks":[{"price":45285.2,"qty":0.00100000},{"price":45286.4,"qty":1.54571953},{"price":45286.6,"qty":1.54571109},{"price":45289.6,"qty":1.54560911},{"price":45290.2,"qty":0.15890660},{"price":45291.8,"qty":1.54553491},{"price":45294.7,"qty":0.04454749},{"price":45296.1,"qty":0.35380000},{"price":45297.5,"qty":0.09945542},{"price":45299.5,"qty":0.18772827}],"bids":[{"price":45283.5,"qty":0.10000000},{"price":45283.4,"qty":1.54582015},{"price":45282.1,"qty":0.10000000},{"price":45281.0,"qty":0.10000000},{"price":45280.3,"qty":1.54592586},{"price":45279.0,"qty":0.07990000},{"price":45277.6,"qty":0.03310103},{"price":45277.5,"qty":0.30000000},{"price":45277.3,"qty":1.54602737},{"price":45276.6,"qty":0.15445238}],"checksum":3310070434}]}"#;

fn replay(name: &str, own_depth: Option<usize>) -> anyhow::Result<(Replay, usize)> {
    let mut replay = Replay::new(Venue::Kraken);
    replay.own_depth = own_depth;
    let mut checksums = 0;
    for line in capture(name)?.iter().filter(|line| line.kind == "frame") {
        checksums += line.raw.matches("\"checksum\"").count();
        replay.frame(&line.raw)?;
    }
    Ok((replay, checksums))
}

fn read(text: &str) -> Result<Vec<BookMessage>> {
    let mut out = Vec::new();
    parse(text, &mut out).map(|()| out)
}

fn documented(text: &str) -> anyhow::Result<BookFrame> {
    let messages = read(text)?;
    let [BookMessage::Frame(pair, frame)] = &messages[..] else { anyhow::bail!("{messages:?}") };
    assert_eq!(pair, &PairKey::new("BTC", "USD", "kraken"));
    Ok(frame.clone())
}

#[test]
fn every_recorded_checksum_holds() -> anyhow::Result<()> {
    for (name, expected) in [(DEEP, 14_506), (TEN, 9_461)] {
        let (replay, checksums) = replay(name, None)?;
        assert_eq!((checksums, replay.frames), (expected, expected), "{name}");
        assert_eq!(replay.resyncs, [], "{name}");
        assert_eq!(replay.books.len(), 10, "{name}");
        assert!(replay.books.values().all(|book| book.is_in_sync() && book.is_covered()));
    }
    Ok(())
}

#[test]
fn quotes_do_not_depend_on_the_depth() -> anyhow::Result<()> {
    let quotes = |name| -> anyhow::Result<Vec<_>> {
        let (replay, _) = replay(name, None)?;
        let books = replay.books.values();
        Ok(books.map(|book| book.quote().map(|quote| (quote.bid, quote.ask))).collect())
    };
    assert_eq!(quotes(DEEP)?, quotes(TEN)?);
    Ok(())
}

#[test]
fn a_book_that_is_not_truncated_fails_its_checksum() -> anyhow::Result<()> {
    let (replay, _) = replay(TEN, Some(1_000))?;
    let failed: std::collections::BTreeSet<_> =
        replay.resyncs.iter().map(|(pair, _)| pair).collect();
    // No level comes back in the two quietest pairs.
    assert_eq!((failed.len(), replay.resyncs.len()), (8, 8), "once each");
    assert!(replay.resyncs.iter().all(|(_, reason)| *reason == Reason::Checksum));
    Ok(())
}

#[test]
fn the_documented_snapshot_proves_itself() -> anyhow::Result<()> {
    let terms = Terms { depth: 10, precision: Precision::new(1, 8).unwrap() };
    let rules = Rules::Checksummed(terms);
    let outcome = Book::new(rules).apply(documented(DOCUMENTED)?);
    assert!(matches!(outcome, Outcome::Quote(_)), "{outcome:?}");
    for (right, wrong) in [("45283.5", "45283.6"), ("0.00100000", "0.00100001"), ("434}", "435}")] {
        let outcome = Book::new(rules).apply(documented(&DOCUMENTED.replace(right, wrong))?);
        assert_eq!(outcome, Outcome::Resync(Reason::Checksum), "{wrong}");
    }
    Ok(())
}

#[test]
fn the_terms_of_a_book_are_read() -> Result<()> {
    let pair = || PairKey::new("BTC", "USD", "kraken");
    let granted = r#"{"method":"subscribe","req_id":2,"result":{"channel":"book","depth":25,"snapshot":true,"symbol":"XBT/USD"},"success":true}"#;
    assert_eq!(read(granted)?, [BookMessage::Depth(pair(), 25)]);
    let listing = r#"{"channel":"instrument","type":"snapshot","data":{"assets":[],"pairs":[{"symbol":"BTC/USD","price_precision":1,"qty_precision":8}]}}"#;
    let precision = Precision::new(1, 8).ok_or(Malformed::BadField("price_precision"))?;
    assert_eq!(read(listing)?, [BookMessage::Precision(pair(), precision)]);
    for other in [
        r#"{"method":"subscribe","result":{"channel":"trade","symbol":"BTC/USD"},"success":true}"#,
        r#"{"method":"subscribe","error":"no","success":false}"#,
        r#"{"channel":"heartbeat"}"#,
        "[]",
    ] {
        assert_eq!(read(other)?, [], "{other}");
    }
    Ok(())
}

#[test]
fn a_frame_that_cannot_be_read_is_lost_and_the_next_one_is_not() {
    let mut out = Vec::new();
    let text = r#"{"channel":"book","type":"update","data":[{"symbol":"BTC/USD","bids":[{"price":1,"qty":-1}],"asks":[],"checksum":1},{"symbol":"ETH/USD","bids":[],"asks":[],"checksum":1}]}"#;
    assert_eq!(parse(text, &mut out), Err(Malformed::BadField("size")));
    assert!(matches!(&out[..], [BookMessage::Lost(_), BookMessage::Frame(..)]), "{out:?}");
    let unproven = DOCUMENTED.replace(",\"checksum\":3310070434", "");
    assert_eq!(read(&unproven), Err(Malformed::MissingField("checksum")));
}
