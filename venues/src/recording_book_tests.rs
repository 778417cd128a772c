//! Books of recorded files: the venue's own cross-checks, losses, and the same output each time.

use std::collections::BTreeMap;

use anyhow::{Context as _, Result};
use schemas::{Decimal, Quote};

use super::*;
use crate::pipeline::Count;
use crate::test_data;

const BTCUSDT: &str = "binance/20240808_spot_btcusdt.jsonl.zst";
const ETHUSDT: &str = "binance/20240808_spot_ethusdt.jsonl.zst";
const COINBASE: &str = "coinbase/20210417_ws.jsonl.zst";
const DERIBIT: &str = "deribit/20210417_ws.jsonl.zst";
const BITSTAMP: &str = "bitstamp/20220105_book_ws.jsonl.zst";
const DEEP: &str = "kraken/20210405_book_ws.jsonl.zst";
const TEN: &str = "kraken/20210405_book10_ws.jsonl.zst";
/// Lines of a recording that begins with its snapshot.
const STALE_LINES: usize = 6_000;

/// The records of books that a file gives.
#[derive(Debug, Default, PartialEq)]
struct Played {
    quotes: BTreeMap<PairKey, Vec<Quote>>,
    books: usize,
    /// Marks of gaps, and marks of the beginning of a loss.
    gaps: Vec<(String, [Timestamp; 2])>,
    lost: usize,
    checksums: usize,
    outputs: Vec<Output>,
}

fn play<'a>(lines: impl Iterator<Item = &'a String>) -> Result<Played> {
    let (mut recording, mut out, mut played) =
        (Recording::new(false), Produced::default(), Played::default());
    for line in lines {
        recording.line(line, &mut out)?;
    }
    recording.finish(&mut out);
    played.checksums = out.counts.iter().filter(|count| **count == Count::Checksum).count();
    for output in &out.outputs {
        match output {
            Output::Quote { pair, quote } => {
                played.quotes.entry(pair.clone()).or_default().push(*quote);
            }
            Output::Book { .. } => played.books += 1,
            Output::BookMark { mark, .. } => match mark.gap_from.zip(mark.gap_until) {
                Some((from, until)) => played.gaps.push((mark.reason.clone(), [from, until])),
                None => played.lost += 1,
            },
            _ => {}
        }
    }
    played.outputs = out.outputs;
    Ok(played)
}

fn file(name: &str) -> Result<Played> {
    play(test_data::lines(name)?.iter())
}

/// Bid and ask with their sizes.
fn best(quote: &Quote) -> [Option<Decimal>; 4] {
    [quote.bid, quote.bid_size, quote.ask, quote.ask_size]
}

/// `bookTicker`: bid and ask with their sizes, by id.
fn tickers(lines: &[String]) -> Result<BTreeMap<i64, [Option<Decimal>; 4]>> {
    let mut tickers = BTreeMap::new();
    for line in lines.iter().filter(|line| line.contains("@bookTicker")) {
        let line: serde_json::Value = serde_json::from_str(line)?;
        let frame: serde_json::Value = serde_json::from_str(line["raw"].as_str().context("raw")?)?;
        let field = |name: &str| frame["data"][name].as_str()?.parse().ok();
        let id = frame["data"]["u"].as_i64().context("u")?;
        tickers.insert(id, ["b", "B", "a", "A"].map(field));
    }
    Ok(tickers)
}

#[test]
fn a_quote_of_binance_is_the_book_ticker_of_its_id() -> Result<()> {
    for (name, quotes) in [(BTCUSDT, 2_000..4_000), (ETHUSDT, 2_000..4_000)] {
        let lines = test_data::lines(name)?;
        let (tickers, played) = (tickers(&lines)?, play(lines.iter())?);
        assert_eq!((played.gaps.len(), played.lost), (0, 0), "{name}");
        let all: Vec<&Quote> = played.quotes.values().flatten().collect();
        assert!(quotes.contains(&all.len()), "{name}: {}", all.len());
        let mut common = 0;
        for quote in all {
            let id = quote.sequence.context("an id")?;
            let Some((_, ticker)) = tickers.range(..=id).next_back() else { continue };
            common += 1;
            assert_eq!(best(quote), *ticker, "{name}, {id}");
        }
        assert!(common > 2_000, "{name}: {common}");
        assert!((250..500).contains(&played.books), "{name}: {} in six minutes", played.books);
    }
    Ok(())
}

#[test]
fn a_snapshot_that_cannot_be_joined_gives_one_gap_and_no_quote() -> Result<()> {
    let lines = test_data::lines(BTCUSDT)?;
    let from = lines.iter().position(|line| line.contains("lastUpdateId")).context("a snapshot")?;
    let lines = &lines[from..from + STALE_LINES];
    let received = |line: &String| -> Result<Timestamp> {
        let line: serde_json::Value = serde_json::from_str(line)?;
        Ok(Timestamp::from_micros(line["at_us"].as_i64().context("at_us")?))
    };
    let span = [received(&lines[0])?, received(&lines[STALE_LINES - 1])?];
    let played = play(lines.iter())?;
    assert_eq!((played.quotes.len(), played.books), (0, 0));
    assert_eq!(played.gaps, [("STALE_SNAPSHOT".to_owned(), span)]);
    assert_eq!(played.lost, 1);
    Ok(())
}

#[test]
fn a_dropped_update_is_a_gap_without_a_quote() -> Result<()> {
    let mut lines = test_data::lines(ETHUSDT)?;
    let is_update = |(_, line): &(usize, &String)| line.contains("@depth");
    let (dropped, _) = lines.iter().enumerate().filter(is_update).nth(300).context("an update")?;
    lines.truncate(dropped + 2_000);
    let whole = play(lines.iter())?;
    lines.remove(dropped);
    let played = play(lines.iter())?;
    let [(reason, [from, until])] = &played.gaps[..] else { anyhow::bail!("{:?}", played.gaps) };
    assert_eq!((reason.as_str(), played.lost), ("SEQUENCE_GAP", 1));
    let quotes = |played: &Played| played.quotes.values().flatten().copied().collect::<Vec<_>>();
    let (before, all) = (quotes(&played), quotes(&whole));
    assert_eq!(before, all[..before.len()], "the same up to the gap");
    let after = &all[before.len()..];
    assert!(!after.is_empty() && after.iter().all(|quote| quote.event_time > *from));
    assert!(before.iter().all(|quote| quote.event_time <= *from), "{from:?} to {until:?}");
    Ok(())
}

#[test]
fn every_checksum_of_kraken_holds_and_the_depth_changes_no_quote() -> Result<()> {
    let [deep, ten] = [file(DEEP)?, file(TEN)?];
    assert_eq!([deep.checksums, ten.checksums], [14_506, 9_461]);
    assert_eq!((deep.gaps.len(), ten.gaps.len()), (0, 0));
    assert_eq!(deep.quotes.len(), 10);
    let bests = |played: &Played| -> BTreeMap<PairKey, Vec<_>> {
        let of = |(pair, quotes): (&PairKey, &Vec<Quote>)| {
            (pair.clone(), quotes.iter().map(best).collect())
        };
        played.quotes.iter().map(of).collect()
    };
    assert_eq!(bests(&deep), bests(&ten));
    Ok(())
}

#[test]
fn the_other_venues_lose_no_book() -> Result<()> {
    for (name, pairs, quotes) in [(COINBASE, 10, 1_000), (DERIBIT, 10, 10), (BITSTAMP, 10, 100)] {
        let played = file(name)?;
        assert_eq!((played.gaps.len(), played.lost), (0, 0), "{name}");
        assert_eq!(played.quotes.len(), pairs, "{name}");
        let all: Vec<&Quote> = played.quotes.values().flatten().collect();
        assert!(all.len() >= quotes, "{name}: {}", all.len());
        let crossed = all.iter().filter(|one| one.spread().is_some_and(Decimal::is_negative));
        assert_eq!(crossed.count(), 0, "{name}");
        assert_eq!(played, file(name)?, "the same lines give the same outputs");
    }
    Ok(())
}

#[test]
fn a_snapshot_without_an_address_is_of_the_only_book() -> Result<()> {
    let lines = test_data::lines(ETHUSDT)?;
    let without = |line: &String| {
        let (start, end) = line.split_once("\"url\": \"https").unwrap_or((line, ""));
        let (_, end) = end.split_once(", \"raw\"").unwrap_or(("", ""));
        if end.is_empty() { line.clone() } else { format!("{start}\"url\": null, \"raw\"{end}") }
    };
    let cut: Vec<String> = lines[..500].iter().map(without).collect();
    assert_ne!(cut, lines[..500]);
    let (played, expected) = (play(cut.iter())?, play(lines[..500].iter())?);
    assert!(!played.quotes.is_empty());
    assert_eq!(played, expected);
    Ok(())
}

#[test]
fn a_new_connection_of_a_capture_loses_its_books() -> Result<()> {
    let lines = test_data::lines(COINBASE)?;
    let twice: Vec<&String> = lines[..300].iter().chain(&lines[..300]).collect();
    let played = play(twice.into_iter())?;
    assert_eq!(played.lost, 10);
    assert!(played.gaps.iter().all(|(reason, _)| reason == "DISCONNECTED"));
    assert_eq!(played.gaps.len(), 10, "each is in sync again by its snapshot");
    Ok(())
}
