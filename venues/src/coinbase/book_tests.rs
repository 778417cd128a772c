//! Coinbase's books against its recorded traffic.

use super::*;
use crate::Venue;
use crate::book::replay::{Replay, capture};

const CAPTURE: &str = "coinbase/20210417_ws.jsonl.zst";

#[test]
fn no_recorded_update_crosses_a_book() -> anyhow::Result<()> {
    let mut replay = Replay::new(Venue::Coinbase);
    let (mut updates, mut tickers, mut equal) = (0, 0, 0);
    for line in capture(CAPTURE)?.iter().filter(|line| line.kind == "frame") {
        updates += usize::from(line.raw.contains("\"l2update\""));
        replay.frame(&line.raw)?;
        let json: serde_json::Value = serde_json::from_str(&line.raw)?;
        if json["type"] == "ticker" {
            let book = &replay.books[json["product_id"].as_str().unwrap_or_default()];
            let best = book.quote().and_then(|quote| Some([quote.bid?.price, quote.ask?.price]));
            let price = |field: &str| crate::fields::decimal("ticker", json[field].as_str());
            tickers += 1;
            equal += usize::from(best == Some([price("best_bid")?, price("best_ask")?]));
        }
    }
    // A ticker may overtake the update of its trade, because they are different channels.
    assert_eq!((tickers, equal), (107, 100));
    assert_eq!((updates, replay.frames), (9_719, 9_719 + 10));
    assert_eq!((replay.resyncs.len(), replay.books.len()), (0, 10));
    assert!(replay.books.values().all(|book| book.is_in_sync() && book.is_covered()));
    assert!(replay.quotes > 1_000, "{}", replay.quotes);
    Ok(())
}

fn read(text: &str) -> Result<Vec<BookMessage>> {
    let mut out = Vec::new();
    parse(text, &mut out).map(|()| out)
}

#[test]
fn a_change_is_read_for_its_side_and_zero_however_it_is_written() -> anyhow::Result<()> {
    for zero in ["0", "0.0", "0.00", "0.00000000", "0e-8"] {
        let text = format!(
            r#"{{"type":"l2update","product_id":"BTC-USD","time":"2021-04-17T16:43:37.075687Z","changes":[["buy","1.50","{zero}"],["sell","2","3"]]}}"#
        );
        let messages = read(&text)?;
        let [BookMessage::Frame(_, frame)] = &messages[..] else { anyhow::bail!("{messages:?}") };
        assert_eq!(frame.bids, [level(Some("1.5"), Some("0"))?]);
        assert_eq!(frame.asks, [level(Some("2"), Some("3"))?]);
        assert_eq!(frame.event_time, schemas::Timestamp::parse_rfc3339("2021-04-17T16:43:37.075Z"));
    }
    Ok(())
}

#[test]
fn a_damaged_update_is_lost_and_other_messages_have_no_book() {
    let text = r#"{"type":"l2update","product_id":"BTC-USD","time":"2021-04-17T16:43:37Z","changes":[["hold","1","1"]]}"#;
    let mut out = Vec::new();
    assert_eq!(parse(text, &mut out), Err(Malformed::BadField("side")));
    assert!(matches!(&out[..], [BookMessage::Lost(_)]), "{out:?}");
    assert_eq!(read(r#"{"type":"heartbeat","product_id":"BTC-USD"}"#), Ok(Vec::new()));
}
