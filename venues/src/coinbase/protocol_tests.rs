//! The adapter against recorded traffic and the venue's known oddities.

use std::collections::BTreeMap;

use schemas::{Basis, TakerSide, VolumeSource};
use serde_json::Value;

use super::*;
use crate::test_data;

const CAPTURE: &str = "coinbase/20210417_ws.jsonl.zst";
const AT: Timestamp = Timestamp(1_618_677_817_000);

const MATCH: &str = r#"{"type":"match","trade_id":280232,"maker_order_id":"a","taker_order_id":"b","side":"sell","size":"985","price":"0.00001305","product_id":"SKL-BTC","sequence":177100030,"time":"2021-04-17T16:43:37.089723Z"}"#;
const TICKER: &str = r#"{"type":"ticker","sequence":27883326,"product_id":"SKL-GBP","price":"0.5752","open_24h":"0.5102","volume_24h":"3479861.10000000","low_24h":"0.5","high_24h":"0.588","volume_30d":"76123674.1","best_bid":"0.5752","best_ask":"0.5771","side":"sell","time":"2021-04-17T16:43:29.571587Z","trade_id":82007,"last_size":"1008.2"}"#;

fn event(text: &str) -> anyhow::Result<(PairKey, MarketEvent)> {
    match message(text, AT)?.message {
        Message::Event(pair, event) => Ok((pair, event)),
        other => anyhow::bail!("{other:?}"),
    }
}

#[test]
fn recorded_values_keep_every_digit() -> anyhow::Result<()> {
    let frames = test_data::frames(CAPTURE)?;
    for (at, text) in frames {
        let raw: Value = serde_json::from_str(&text)?;
        let Message::Event(pair, event) = message(&text, Timestamp::from_micros(at))?.message
        else {
            continue;
        };
        let digits = |field: &str| raw[field].as_str().unwrap_or_default().parse();
        assert_eq!(Ok(event.price), digits("price"));
        assert_eq!(raw["product_id"], format!("{}-{}", pair.base, pair.quote));
        assert_eq!(raw["sequence"].as_i64(), event.sequence);
        assert_eq!(event.received_at.0, at.div_euclid(1000));
        if event.basis == Basis::Trade {
            assert_eq!(event.size.ok_or_else(|| digits("size").unwrap_err()), digits("size"));
            assert_eq!(raw["trade_id"].as_i64(), event.trade_id);
            assert_eq!(event.volume_source, VolumeSource::None);
        } else {
            assert_eq!(event.base_volume_24h.map(Ok), Some(digits("volume_24h")));
            assert_eq!((event.size, event.trade_id, event.quote_volume_24h), (None, None, None));
            assert_eq!(event.volume_source, VolumeSource::Exchange);
        }
    }
    Ok(())
}

#[test]
fn the_sides_of_a_match_and_its_ticker_are_opposite_as_sent_and_equal_as_read() -> anyhow::Result<()>
{
    let frames = test_data::frames(CAPTURE)?;
    let mut matches = BTreeMap::new();
    let mut tickers = Vec::new();
    for (at, text) in &frames {
        let raw: Value = serde_json::from_str(text)?;
        let id = (raw["product_id"].to_string(), raw["trade_id"].to_string());
        let taker = match message(text, Timestamp::from_micros(*at))?.message {
            Message::Event(_, event) => event.taker_side,
            _ => continue,
        };
        if raw["type"] == "ticker" {
            tickers.push((id, raw["side"].clone(), taker));
        } else {
            matches.insert(id, (raw["side"].clone(), taker));
        }
    }
    let mut common = 0;
    for (id, sent, taker) in tickers {
        let Some((sent_by_match, taker_by_match)) = matches.get(&id) else { continue };
        assert_ne!(&sent, sent_by_match);
        assert_eq!(&taker, taker_by_match);
        common += 1;
    }
    assert_eq!(common, 107);
    Ok(())
}

#[test]
fn the_makers_side_is_turned_into_the_takers() -> anyhow::Result<()> {
    let (pair, trade) = event(MATCH)?;
    assert_eq!(pair, PairKey::new("SKL", "BTC", "coinbase"));
    assert_eq!(trade.taker_side, Some(TakerSide::Buy));
    assert_eq!((trade.trade_id, trade.sequence), (Some(280_232), Some(177_100_030)));
    assert_eq!((trade.event_time, trade.received_at), (Timestamp(1_618_677_817_089), AT));
    let (_, sample) = event(TICKER)?;
    assert_eq!(sample.taker_side, Some(TakerSide::Sell));
    assert_eq!((sample.trade_id, sample.id()), (None, Some(27_883_326)));
    Ok(())
}

#[test]
fn a_ticker_without_time_or_trade_is_left_out_with_its_reason() -> anyhow::Result<()> {
    for field in [r#","trade_id":82007"#, r#""time":"2021-04-17T16:43:29.571587Z","#] {
        let parsed = message(&TICKER.replace(field, ""), AT)?;
        assert_eq!(parsed.message, Message::Ignored(Ignored::QuoteOnly), "{field}");
    }
    Ok(())
}

#[test]
fn absurd_values_are_passed_on_for_the_processor_to_judge() -> anyhow::Result<()> {
    let (_, year_one) =
        event(&TICKER.replace("2021-04-17T16:43:29.571587Z", "0001-01-01T00:00:00.000000Z"))?;
    assert!(year_one.event_time.0 < 0);
    let (_, free) = event(&MATCH.replace("0.00001305", "0"))?;
    assert!(!free.price.is_positive());
    Ok(())
}

#[test]
fn what_a_match_must_have_is_missed_by_name() {
    for (field, name) in [
        (r#""trade_id":280232,"#, "trade_id"),
        (r#""side":"sell","#, "side"),
        (r#""size":"985","#, "size"),
        (r#""price":"0.00001305","#, "price"),
        (r#""product_id":"SKL-BTC","#, "product_id"),
        (r#","time":"2021-04-17T16:43:37.089723Z""#, "time"),
        (r#""type":"match","#, "type"),
    ] {
        let text = MATCH.replace(field, "");
        assert_eq!(message(&text, AT), Err(Malformed::MissingField(name)));
    }
    for (good, bad, name) in [
        ("sell", "both", "side"),
        ("0.00001305", "0.-10000", "price"),
        ("2021-04-17T", "yesterday", "time"),
        ("280232", "28.5", "trade_id"),
    ] {
        let text = MATCH.replace(good, bad);
        assert_eq!(message(&text, AT), Err(Malformed::BadField(name)));
    }
    let text = MATCH.replace("SKL-BTC", "SKLBTC");
    assert_eq!(message(&text, AT), Err(Malformed::BadProduct("SKLBTC".into())));
    assert!(matches!(message(&MATCH[..100], AT), Err(Malformed::NotJson(_))));
}

#[test]
fn a_usdc_product_is_the_pair_in_usd() -> anyhow::Result<()> {
    assert_eq!(pair("BTC-USDC")?, pair("BTC-USD")?);
    let products = ["BTC-USDC".to_owned(), "BTC-USD".to_owned()];
    assert_eq!(expected(&products, Follow::default()).len(), 3, "one pair, every channel once");
    assert!(
        subscribe(&products, Follow::default(), 1)[0]
            .text
            .contains(r#""product_ids":["BTC-USDC","BTC-USD"]"#)
    );
    Ok(())
}

#[test]
fn the_recorded_listing_is_read() -> anyhow::Result<()> {
    let bodies = test_data::bodies("coinbase/20210417_rest_products.jsonl.zst")?;
    let listed = instruments(&bodies[0])?;
    assert_eq!(listed.len(), bodies[0].matches("\"base_currency\":").count());
    assert!(listed.iter().any(|one| one.name == "BTC-USD" && one.currency == "BTC" && one.active));
    assert!(listed.iter().all(|one| pair(&one.name).is_ok()));
    Ok(())
}

#[test]
fn answers_of_the_venue_are_told_apart() -> anyhow::Result<()> {
    let ack = r#"{"type":"subscriptions","channels":[{"name":"ticker","product_ids":["BTC-USD","ETH-USD"],"account_ids":null},{"name":"heartbeat","product_ids":[]}]}"#;
    let Message::Control(Control::Subscribed(granted)) = message(ack, AT)?.message else {
        anyhow::bail!("not an acknowledgement")
    };
    assert_eq!(
        granted,
        ["BTC-USD", "ETH-USD"]
            .map(|product| Subscription { channel: "ticker".into(), pair: pair(product).unwrap() })
    );
    let refusal = r#"{"type":"error","message":"Failed to subscribe","reason":"FOO-USD is not a valid product"}"#;
    let words = "Failed to subscribe: FOO-USD is not a valid product";
    assert_eq!(message(refusal, AT)?.message, Message::Control(Control::Refused(words.into())));
    let news = message(r#"{"type":"news","headline":1}"#, AT)?;
    assert_eq!((news.kind, news.message), (UNKNOWN, Message::Ignored(Ignored::UnknownType)));
    Ok(())
}
