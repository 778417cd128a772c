//! The adapter against recorded traffic and arbitrary text.

use std::collections::BTreeMap;

use proptest::prelude::*;
use serde_json::Value;

use super::*;
use crate::test_data;

const AT: Timestamp = Timestamp(1_723_161_254_087);
const TRADES: &str = r#"{"stream":"btcusdt@trade","data":{"e":"trade","E":1723161255343,"s":"BTCUSDT","t":3735683259,"p":"61837.63000000","q":"0.02000000","T":1723161255342,"m":true,"M":true}}"#;

/// Reads a capture; the ids of each pair, after comparing every event with its raw text.
fn ids(name: &str, kind: &str, id: &str) -> anyhow::Result<BTreeMap<String, Vec<i64>>> {
    let mut ids: BTreeMap<String, Vec<i64>> = BTreeMap::new();
    let Some(frames) = test_data::frames(name)? else { return Ok(ids) };
    let mut events = 0;
    for (at, text) in &frames {
        let parsed = parse(text, Timestamp::from_micros(*at))?;
        assert_ne!(parsed.message, Message::Ignored(Ignored::UnknownType), "{text}");
        let Message::Event(pair, event) = parsed.message else { continue };
        let raw: Value = serde_json::from_str::<Value>(text)?["data"].take();
        assert_eq!((parsed.kind, raw["e"].as_str()), (kind, Some(kind)));
        assert_eq!(raw["s"], format!("{}{}", pair.base, pair.quote));
        assert_eq!(raw[id].as_i64(), event.trade_id);
        assert_eq!(raw["T"].as_i64(), Some(event.event_time.0));
        assert_eq!(raw["p"].as_str().map(str::parse), Some(Ok(event.price)));
        assert_eq!(raw["q"].as_str().map(str::parse), event.size.map(Ok));
        let sold = event.taker_side == Some(TakerSide::Sell);
        assert_eq!(raw["m"].as_bool(), Some(sold));
        ids.entry(pair.to_string()).or_default().extend(event.trade_id);
        events += 1;
    }
    let tag = format!("\"e\":\"{kind}\"");
    assert_eq!(events, frames.iter().filter(|(_, text)| text.contains(&tag)).count());
    Ok(ids)
}

#[test]
fn every_recorded_trade_is_read_and_none_is_missing() -> anyhow::Result<()> {
    for (name, count) in [("btcusdt", 9_757), ("ethusdt", 0)] {
        let name = format!("binance/20240808_spot_{name}.jsonl.zst");
        for (pair, ids) in ids(&name, TRADE, "t")? {
            assert!(ids.windows(2).all(|two| two[1] == two[0] + 1), "{pair} has a gap");
            assert!(count == 0 || ids.len() == count);
        }
    }
    Ok(())
}

#[test]
fn every_recorded_aggregate_is_read_and_none_is_missing() -> anyhow::Result<()> {
    let ids = ids("binance/20210404_ws.jsonl.zst", AGGREGATE, "a")?;
    for (pair, ids) in &ids {
        assert!(ids.windows(2).all(|two| two[1] == two[0] + 1), "{pair} has a gap");
    }
    let count: usize = ids.values().map(Vec::len).sum();
    assert!(ids.is_empty() || (ids.len(), count) == (3, 1_910));
    Ok(())
}

#[test]
fn a_buyer_who_makes_is_bought_from_by_a_seller_who_takes() -> anyhow::Result<()> {
    let Message::Event(pair, event) = parse(TRADES, AT)?.message else {
        anyhow::bail!("not an event")
    };
    assert_eq!(pair, PairKey::new("BTC", "USDT", "binance"));
    assert_eq!(event.taker_side, Some(TakerSide::Sell));
    assert_eq!(event.trade_id, Some(3_735_683_259));
    Ok(())
}

#[test]
fn symbols_are_split_at_the_quote() -> anyhow::Result<()> {
    for (symbol, base, quote) in [
        ("BTCUSDT", "BTC", "USDT"),
        ("ETHBTC", "ETH", "BTC"),
        ("BTCFDUSD", "BTC", "FDUSD"),
        ("BNBETH", "BNB", "ETH"),
    ] {
        assert_eq!(pair(symbol)?, PairKey::new(base, quote, "binance"));
    }
    for symbol in ["USDT", "BTCXYZ", ""] {
        assert_eq!(pair(symbol), Err(Malformed::BadProduct(symbol.into())));
    }
    Ok(())
}

proptest! {
    #[test]
    fn arbitrary_text_never_panics(text in ".{0,200}") {
        let _ = parse(&text, AT);
    }

    #[test]
    fn damaged_frames_never_panic(at in 0usize..200, junk in "[ -~]{0,6}") {
        let mut text = TRADES.to_owned();
        let from = at.min(text.len());
        let to = (from + junk.len()).min(text.len());
        text.replace_range(from..to, &junk);
        let _ = parse(&text, AT);
    }
}
