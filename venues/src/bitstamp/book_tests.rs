//! Bitstamp's books: recorded updates on recorded snapshots.

use super::*;
use crate::Venue;
use crate::book::replay::{Replay, capture, name};
use crate::book::{Book, Level, Outcome, Rules};
use crate::malformed::Malformed;

const CAPTURE: &str = "bitstamp/20220105_book_ws.jsonl.zst";

/// The removals of an update, and how many of them remove a level of the book.
fn removals(book: &Book, update: &BookFrame) -> [usize; 2] {
    let Some(depth) = book.depth(usize::MAX) else { return [0; 2] };
    let mut counts = [0; 2];
    for (held, changes) in [(&depth.bids, &update.bids), (&depth.asks, &update.asks)] {
        for change in changes.iter().filter(|change| !change.size.is_positive()) {
            counts[0] += 1;
            counts[1] += usize::from(held.iter().any(|level| level.price == change.price));
        }
    }
    counts
}

#[test]
fn recorded_updates_continue_their_snapshots() -> anyhow::Result<()> {
    let mut replay = Replay::new(Venue::Bitstamp);
    let (mut snapshots, mut kept, mut removed) = (Vec::new(), 0, [0; 2]);
    for line in &capture(CAPTURE)? {
        if line.kind == "http" && line.url.contains("/order_book/") {
            let product = line.url.trim_end_matches('/').rsplit('/').next().unwrap_or_default();
            let pair = name(&protocol::pair(product)?);
            replay.snapshot(&pair, &line.raw)?;
            snapshots.push((pair, snapshot(&line.raw)?.span.map(|span| span.last)));
        } else if line.kind == "frame" {
            let mut messages = Vec::new();
            parse(&line.raw, &mut messages)?;
            if let [BookMessage::Frame(pair, update)] = &messages[..] {
                let pair = name(pair);
                let last = update.span.map(|span| span.last);
                if snapshots.iter().any(|(of, snapshot)| *of == pair && last > *snapshot) {
                    kept += 1;
                    let [all, known] = removals(&replay.books[&pair], update);
                    removed = [removed[0] + all, removed[1] + known];
                }
            }
            replay.frame(&line.raw)?;
        }
    }
    assert_eq!((snapshots.len(), replay.frames, kept), (10, 10 + 717, 615));
    assert_eq!(replay.resyncs, []);
    assert_eq!(removed[0], removed[1], "each removed level was in the book");
    assert!(removed[0] > 500, "{removed:?}");
    Ok(())
}

#[test]
fn updates_up_to_the_snapshot_are_dropped_wherever_they_arrive() -> anyhow::Result<()> {
    let body = r#"{"microtimestamp":"10","bids":[["1","1"]],"asks":[]}"#;
    for (micros, size) in [(9, "1"), (10, "1"), (11, "7")] {
        let text = format!(
            r#"{{"event":"data","channel":"diff_order_book_btcusd","data":{{"microtimestamp":"{micros}","bids":[["1.0","7"]],"asks":[]}}}}"#
        );
        let mut out = Vec::new();
        parse(&text, &mut out)?;
        let [BookMessage::Frame(_, update)] = &out[..] else { anyhow::bail!("{out:?}") };
        let mut book = Book::new(Rules::Dated);
        assert!(matches!(book.apply(snapshot(body)?), Outcome::Quote(_)));
        book.apply(update.clone());
        let bid = book.quote().and_then(|quote| quote.bid);
        assert_eq!(
            bid.map(|Level { size, .. }| size.to_string()).as_deref(),
            Some(size),
            "{micros}"
        );
    }
    Ok(())
}

#[test]
fn a_damaged_update_is_lost_and_other_messages_have_no_book() {
    let mut out = Vec::new();
    let text = r#"{"event":"data","channel":"diff_order_book_btcusd","data":{"microtimestamp":"1","bids":[]}}"#;
    assert_eq!(parse(text, &mut out), Err(Malformed::MissingField("asks")));
    assert!(matches!(&out[..], [BookMessage::Lost(_)]), "{out:?}");
    let other = r#"{"event":"bts:heartbeat","channel":"","data":{"status":"success"}}"#;
    assert_eq!(parse(other, &mut Vec::new()), Ok(()));
}
