//! Binance's books against `bookTicker`, which sends the best bid and ask of every id.

use std::collections::BTreeMap;

use schemas::Decimal;

use super::*;
use crate::Venue;
use crate::book::replay::{Line, Replay, capture, name};
use crate::book::{Book, Outcome, Quote, Reason, Rules};

const BTCUSDT: &str = "binance/20240808_spot_btcusdt.jsonl.zst";
const ETHUSDT: &str = "binance/20240808_spot_ethusdt.jsonl.zst";
const OTHERS: &str = "binance/20210404_ws.jsonl.zst";
/// Lines of the recording that begins with the snapshot.
const STALE_LINES: usize = 6_000;

/// Price and size of bid and ask, by id.
type Tickers = BTreeMap<i64, [Decimal; 4]>;

fn tickers(lines: &[Line]) -> anyhow::Result<Tickers> {
    let mut tickers = Tickers::new();
    for line in lines.iter().filter(|line| line.raw.contains("@bookTicker")) {
        let json: serde_json::Value = serde_json::from_str(&line.raw)?;
        let data = &json["data"];
        let mut best = [Decimal::ZERO; 4];
        for (value, field) in best.iter_mut().zip(["b", "B", "a", "A"]) {
            *value = data[field].as_str().unwrap_or_default().parse()?;
        }
        tickers.insert(data["u"].as_i64().unwrap_or_default(), best);
    }
    Ok(tickers)
}

fn best(quote: &Quote) -> Option<[Decimal; 4]> {
    let (bid, ask) = quote.bid.zip(quote.ask)?;
    Some([bid.price, bid.size, ask.price, ask.size])
}

/// The product in the address of a snapshot.
fn pair(url: &str) -> anyhow::Result<String> {
    let symbol = url.split_once("symbol=").and_then(|(_, rest)| rest.split('&').next());
    Ok(name(&protocol::pair(symbol.unwrap_or_default())?))
}

fn replay(lines: &[Line], mut each: impl FnMut(&Replay, &[String])) -> anyhow::Result<Replay> {
    let mut replay = Replay::new(Venue::Binance);
    for line in lines {
        match line.kind.as_str() {
            "http" => {
                let pair = pair(&line.url)?;
                replay.snapshot(&pair, &line.raw)?;
                each(&replay, &[pair]);
            }
            "frame" => {
                let pairs = replay.frame(&line.raw)?;
                each(&replay, &pairs);
            }
            _ => {}
        }
    }
    Ok(replay)
}

#[test]
fn the_best_of_the_book_is_the_book_ticker_at_every_update() -> anyhow::Result<()> {
    // The snapshot of ETHUSDT is the state after the last held update: it is in sync at once.
    for (name, at_updates, at_snapshot) in [(BTCUSDT, 3_449, 0), (ETHUSDT, 3_432, 1)] {
        let lines = capture(name)?;
        let tickers = tickers(&lines)?;
        let snapshot =
            lines.iter().find(|line| line.kind == "http").map(|line| snapshot(&line.raw));
        let snapshot = snapshot.transpose()?.and_then(|snapshot| snapshot.span);
        let (mut compared, mut differences) = ([0, 0], Vec::new());
        let replay = replay(&lines, |replay, pairs| {
            for quote in pairs.iter().filter_map(|pair| replay.books[pair].quote()) {
                let id = quote.sequence.unwrap_or_default();
                assert!(
                    quote.event_time.is_some(),
                    "an update dates the snapshot, which has no time"
                );
                let Some((_, ticker)) = tickers.range(..=id).next_back() else { continue };
                compared[usize::from(snapshot == Some(Span::at(id)))] += 1;
                if best(&quote) != Some(*ticker) {
                    differences.push((quote, *ticker));
                }
            }
        })?;
        assert_eq!((replay.resyncs, differences), (vec![], vec![]), "{name}");
        assert_eq!(compared, [at_updates, at_snapshot], "{name}");
    }
    Ok(())
}

#[test]
fn a_recording_without_the_update_before_its_snapshot_is_stale_once() -> anyhow::Result<()> {
    let lines = capture(BTCUSDT)?;
    let from = lines.iter().position(|line| line.kind == "http").unwrap_or_default();
    let replay = replay(&lines[from..from + STALE_LINES], |_, _| {})?;
    assert_eq!(replay.resyncs, [("BTC-USDT".to_owned(), Reason::StaleSnapshot)]);
    assert_eq!((replay.quotes, replay.frames > 400), (0, true), "{}", replay.frames);
    Ok(())
}

#[test]
fn books_of_one_connection_join_their_snapshots() -> anyhow::Result<()> {
    let replay = replay(&capture(OTHERS)?, |_, _| {})?;
    assert_eq!(replay.resyncs, []);
    let in_sync = replay.books.values().filter(|book| book.is_in_sync()).count();
    assert_eq!((replay.books.len(), in_sync), (3, 3));
    Ok(())
}

#[test]
fn a_missing_update_is_a_gap_at_the_next_one() -> anyhow::Result<()> {
    let mut lines = capture(ETHUSDT)?;
    let mut updates = lines.iter().enumerate().filter(|(_, line)| line.raw.contains("@depth"));
    let skipped = updates.nth(1_000).map(|(at, _)| at).unwrap_or_default();
    lines.remove(skipped);
    let replay = replay(&lines, |_, _| {})?;
    assert_eq!(replay.resyncs, [("ETH-USDT".to_owned(), Reason::SequenceGap)]);
    Ok(())
}

#[test]
fn the_first_applied_update_covers_the_snapshot() -> anyhow::Result<()> {
    let snapshot = r#"{"lastUpdateId":10,"bids":[["1","1"]],"asks":[["2","1"]]}"#;
    for (first, last, expected) in [
        (9, 10, Ok(Some("1"))),
        (10, 11, Ok(Some("7"))),
        (11, 12, Ok(Some("7"))),
        (5, 20, Ok(Some("7"))),
        (5, 9, Ok(None)),
        (12, 13, Err(Reason::StaleSnapshot)),
    ] {
        let text = format!(
            r#"{{"e":"depthUpdate","E":1,"s":"BTCUSDT","U":{first},"u":{last},"b":[["1.0","7"]],"a":[]}}"#
        );
        let mut out = Vec::new();
        parse(&text, &mut out)?;
        let [BookMessage::Frame(_, update)] = &out[..] else { anyhow::bail!("{out:?}") };
        for is_buffered in [true, false] {
            let mut book = Book::new(Rules::Joined { limit: SNAPSHOT_LIMIT });
            let mut frames = [self::snapshot(snapshot)?, update.clone()];
            if is_buffered {
                frames.reverse();
            }
            let mut size = Ok(None);
            for frame in frames {
                match book.apply(frame) {
                    Outcome::Quote(quote) => size = Ok(quote.bid.map(|bid| bid.size.to_string())),
                    Outcome::Resync(reason) => size = Err(reason),
                    Outcome::Unchanged => {}
                }
            }
            let expected = expected.map(|size| size.map(str::to_owned));
            assert_eq!(size, expected, "{first} to {last}, buffered: {is_buffered}");
        }
    }
    Ok(())
}

#[test]
fn other_messages_have_no_book_and_a_damaged_update_is_lost() {
    let mut out = Vec::new();
    for text in [
        r#"{"stream":"btcusdt@bookTicker","data":{"u":1,"s":"BTCUSDT","b":"1","B":"1","a":"2","A":"1"}}"#,
        r#"{"result":null,"id":1}"#,
        r#"{"stream":"!ticker@arr","data":[]}"#,
    ] {
        assert_eq!(parse(text, &mut out), Ok(()));
    }
    assert_eq!(out, []);
    let text = r#"{"e":"depthUpdate","E":1,"s":"BTCUSDT","U":1,"u":2,"b":[["1"]],"a":[]}"#;
    assert_eq!(parse(text, &mut out), Err(Malformed::BadField("b")));
    assert!(matches!(&out[..], [BookMessage::Lost(_)]));
}
