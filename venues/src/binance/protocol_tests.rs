//! The adapter against recorded traffic.

use std::collections::BTreeMap;

use schemas::{TakerSide, VolumeSource};
use serde_json::Value;

use super::*;
use crate::test_data;

const AT: Timestamp = Timestamp(1_723_161_254_087);
const TRADES: &str = r#"{"stream":"btcusdt@trade","data":{"e":"trade","E":1723161255343,"s":"BTCUSDT","t":3735683259,"p":"61837.63000000","q":"0.02000000","T":1723161255342,"m":true,"M":true}}"#;

/// The one thing that a frame says, its clock aside.
fn one(text: &str) -> anyhow::Result<Parsed> {
    let mut out = Vec::new();
    parse(text, AT, &mut out)?;
    out.retain(|parsed| !matches!(parsed.message, Message::Clock(_)));
    anyhow::ensure!(out.len() == 1, "{out:?}");
    Ok(out.remove(0))
}

fn event(text: &str) -> anyhow::Result<(PairKey, MarketEvent)> {
    match one(text)?.message {
        Message::Event(pair, event) => Ok((pair, event)),
        other => anyhow::bail!("{other:?}"),
    }
}

/// Reads a capture; the ids of each pair, after comparing every event with its raw text.
fn ids(name: &str, kind: &str, id: &str) -> anyhow::Result<BTreeMap<String, Vec<i64>>> {
    let mut ids: BTreeMap<String, Vec<i64>> = BTreeMap::new();
    let frames = test_data::frames(name)?;
    let mut events = 0;
    for (at, text) in &frames {
        let mut out = Vec::new();
        parse(text, Timestamp::from_micros(*at), &mut out)?;
        assert_eq!(out.len(), 1, "{text}");
        let parsed = out.remove(0);
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
    let (pair, event) = event(TRADES)?;
    assert_eq!(pair, PairKey::new("BTC", "USDT", "binance"));
    assert_eq!(event.taker_side, Some(TakerSide::Sell));
    assert_eq!(event.trade_id, Some(3_735_683_259));
    Ok(())
}

#[test]
fn a_ticker_has_both_volumes_as_the_venue_counts_them() -> anyhow::Result<()> {
    for kind in ["24hrTicker", "24hrMiniTicker"] {
        let text = format!(
            r#"{{"e":"{kind}","E":1653812650349,"s":"ETHUSDT","c":"1792.84000000","v":"471703.53110000","q":"840180761.51358100"}}"#
        );
        let (pair, sample) = event(&text)?;
        assert_eq!(pair, PairKey::new("ETH", "USDT", "binance"));
        assert_eq!((sample.size, sample.trade_id), (None, None));
        assert_eq!(sample.base_volume_24h.map(|v| v.to_string()), Some("471703.5311".into()));
        assert_eq!(sample.quote_volume_24h.map(|v| v.to_string()), Some("840180761.513581".into()));
        assert_eq!(sample.volume_source, VolumeSource::Exchange);
        assert_eq!(sample.event_time, Timestamp(1_653_812_650_349));
        let mut out = Vec::new();
        parse(&text, AT, &mut out)?;
        assert_eq!(out[1].message, Message::Clock(Timestamp(1_653_812_649_349)));
    }
    Ok(())
}

#[test]
fn single_messages_of_every_market_are_read_or_left_out_with_a_reason() -> anyhow::Result<()> {
    let messages = test_data::mixed("binance")?;
    let (mut prints, mut samples, mut odd) = (0, 0, 0);
    for (kind, case, raw) in &messages {
        let mut out = Vec::new();
        // Only symbols of the spot market can be told apart.
        match parse(raw, AT, &mut out) {
            Err(Malformed::BadProduct(_)) if case != "spot" => odd += 1,
            result => result.map_err(|error| anyhow::anyhow!("{error}: {raw}"))?,
        }
        let events = out.iter().filter(|parsed| matches!(parsed.message, Message::Event(..)));
        match kind.as_str() {
            "trade" => prints += events.count(),
            "ticker" => samples += events.count(),
            _ => assert_eq!(events.count(), 0, "{raw}"),
        }
    }
    // By their text: a message of either kind whose symbol has no underscore.
    let of = |tag: &str| {
        let tagged = messages.iter().filter(|(.., raw)| raw.contains(tag));
        tagged.filter(|(.., raw)| !raw.contains("_PERP\"") && !raw.contains("_2")).count()
    };
    assert_eq!((prints, samples), (of("\"aggTrade\""), of("\"24hrTicker\"")));
    assert!(odd > 0, "futures of other markets are refused by name");
    Ok(())
}

#[test]
fn answers_of_the_venue_are_told_apart() -> anyhow::Result<()> {
    assert_eq!(one(r#"{"result":null,"id":1}"#)?.message, Message::Alive);
    let list = one(r#"{"result":["btcusdt@trade"],"id":2}"#)?.message;
    assert_eq!(
        list,
        Message::Control(Control::Subscribed(Subscription::streams(
            NAME,
            &["btcusdt@trade".into()]
        )))
    );
    for refusal in [
        r#"{"code":2,"msg":"Invalid request"}"#,
        r#"{"error":{"code":2,"msg":"Invalid request"},"id":1}"#,
    ] {
        assert_eq!(
            one(refusal)?.message,
            Message::Control(Control::Refused("Invalid request".into()))
        );
    }
    assert_eq!(one(r#"{"e":"serverShutdown","E":1}"#)?.message, Message::Control(Control::Closing));
    let news = one(r#"{"e":"news","E":1}"#)?;
    assert_eq!((news.kind, news.message), (UNKNOWN, Message::Ignored(Ignored::UnknownType)));
    Ok(())
}

#[test]
fn streams_are_asked_for_in_parts_and_then_listed() {
    let products: Vec<String> = (0..250).map(|n| format!("A{n}USDT")).collect();
    let asks = subscribe(&streams(&products, Follow::default()), Follow::default(), 7);
    assert_eq!(asks.iter().map(|ask| ask.id).collect::<Vec<_>>(), [7, 8, 9, 10]);
    assert!(asks[0].text.contains("\"a0usdt@trade\",\"a0usdt@miniTicker\""));
    assert!(asks[3].text.contains("LIST_SUBSCRIPTIONS"));
}

#[test]
fn a_listing_has_what_can_be_told_apart() -> anyhow::Result<()> {
    let body = r#"{"timezone":"UTC","symbols":[
        {"symbol":"BTCUSDT","status":"TRADING","baseAsset":"BTC","quoteAsset":"USDT"},
        {"symbol":"OLDBTC","status":"BREAK","baseAsset":"OLD","quoteAsset":"BTC"},
        {"symbol":"ABCXYZ","status":"TRADING","baseAsset":"ABC","quoteAsset":"XYZ"}]}"#;
    let listed = instruments(body)?;
    let names: Vec<_> = listed.iter().map(|one| (one.name.as_str(), one.active)).collect();
    assert_eq!(names, [("BTCUSDT", true), ("OLDBTC", false)]);
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
