//! Deribit's books against its chain of ids and its tickers.

use std::collections::BTreeMap;

use schemas::Decimal;

use super::*;
use crate::Venue;
use crate::book::Quote;
use crate::book::replay::{Replay, capture, name};

const CAPTURE: &str = "deribit/20210417_ws.jsonl.zst";

/// Price and size of bid and ask; an empty side has zeros.
type Best = [Decimal; 4];

fn best(quote: Option<Quote>) -> Option<Best> {
    let side =
        |level: Option<Level>| level.map_or([Decimal::ZERO; 2], |level| [level.price, level.size]);
    let quote = quote?;
    let ([bid, bid_size], [ask, ask_size]) = (side(quote.bid), side(quote.ask));
    Some([bid, bid_size, ask, ask_size])
}

/// The pair, time, and best bid and ask of a ticker.
fn ticker(text: &str) -> anyhow::Result<Option<(String, i64, Best)>> {
    let json: serde_json::Value = serde_json::from_str(text)?;
    let data = &json["params"]["data"];
    if !json["params"]["channel"].as_str().is_some_and(|channel| channel.starts_with("ticker.")) {
        return Ok(None);
    }
    let pair = name(&names::pair(data["instrument_name"].as_str().unwrap_or_default())?);
    let mut best = [Decimal::ZERO; 4];
    let fields = ["best_bid_price", "best_bid_amount", "best_ask_price", "best_ask_amount"];
    for (value, field) in best.iter_mut().zip(fields) {
        *value = data[field].to_string().parse()?;
    }
    Ok(Some((pair, data["timestamp"].as_i64().unwrap_or_default(), best)))
}

#[test]
fn the_chain_holds_and_every_ticker_is_the_best_of_the_book() -> anyhow::Result<()> {
    let (mut replay, mut tickers) = (Replay::new(Venue::Deribit), Vec::new());
    // The states of each pair by time. The last one of a millisecond is the one that stays.
    let mut states: BTreeMap<String, BTreeMap<i64, Best>> = BTreeMap::new();
    let mut changes = 0;
    for line in capture(CAPTURE)?.iter().filter(|line| line.kind == "frame") {
        tickers.extend(ticker(&line.raw)?);
        changes += line.raw.matches("\"prev_change_id\"").count();
        for pair in replay.frame(&line.raw)? {
            let quote = replay.books[&pair].quote();
            let time = quote.and_then(|quote| quote.event_time);
            if let Some((time, best)) = time.zip(best(quote)) {
                states.entry(pair).or_default().insert(time.0, best);
            }
        }
    }
    assert_eq!(replay.resyncs, []);
    assert_eq!((changes, replay.frames), (46, 46 + 10));
    let state = |pair: &str, time: i64| {
        let states = &states[pair];
        // The snapshot is older than the first ticker, or of its state.
        let (_, state) = states.range(..=time).next_back().or(states.first_key_value())?;
        Some(*state)
    };
    let equal =
        tickers.iter().filter(|(pair, time, best)| state(pair, *time) == Some(*best)).count();
    assert_eq!((tickers.len(), equal), (92, 92));
    Ok(())
}

#[test]
fn a_missing_change_is_a_gap() -> anyhow::Result<()> {
    let lines = capture(CAPTURE)?;
    let is_change = |text: &str| text.contains("\"prev_change_id\"");
    let mut replay = Replay::new(Venue::Deribit);
    let mut skipped = 0;
    for line in lines.iter().filter(|line| line.kind == "frame") {
        if is_change(&line.raw) && line.raw.contains("BTC-18APR21-62000-C") && skipped == 0 {
            skipped = 1;
            continue;
        }
        replay.frame(&line.raw)?;
    }
    let gap = ("BTC-18APR21-62000-C-BTC".to_owned(), crate::book::Reason::SequenceGap);
    assert_eq!(replay.resyncs, [gap], "no other pair is disturbed");
    Ok(())
}

fn read(data: &str) -> Result<Vec<BookMessage>> {
    let mut out = Vec::new();
    let text = format!(r#"{{"params":{{"channel":"book.x.100ms","data":{data}}}}}"#);
    parse(&text, &mut out).map(|()| out)
}

#[test]
fn a_deleted_level_has_no_size_and_inverse_amounts_are_coins() -> anyhow::Result<()> {
    let data = r#"{"type":"change","timestamp":1,"prev_change_id":1,"change_id":2,"instrument_name":"BTC-PERPETUAL","bids":[["delete",50000.0,10.0],["new",4.0e4,20000.0]],"asks":[]}"#;
    let messages = read(data)?;
    let [BookMessage::Frame(pair, frame)] = &messages[..] else { anyhow::bail!("{messages:?}") };
    assert_eq!(pair, &PairKey::new("BTC-PERPETUAL", "USD", "deribit"));
    let sizes: Vec<String> = frame.bids.iter().map(|level| level.size.to_string()).collect();
    assert_eq!(sizes, ["0", "0.5"]);
    assert_eq!(frame.span, Some(Span { after: 1, last: 2 }));
    Ok(())
}

#[test]
fn a_book_without_a_chain_is_refused() {
    let change = r#"{"type":"change","timestamp":1,"change_id":2,"instrument_name":"BTC-PERPETUAL","bids":[],"asks":[]}"#;
    assert_eq!(read(change), Err(Malformed::MissingField("prev_change_id")));
    let grouped = change.replace(r#""type":"change","#, "");
    assert_eq!(read(&grouped), Err(Malformed::MissingField("type")));
    let action = r#"{"type":"snapshot","timestamp":1,"change_id":2,"instrument_name":"BTC-PERPETUAL","bids":[["put",1,1]],"asks":[]}"#;
    assert_eq!(read(action), Err(Malformed::BadField("action")));
}
