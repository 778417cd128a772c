//! The adapter against recorded traffic and the venue's documented messages.

use std::collections::BTreeMap;

use schemas::TakerSide;
use serde_json::Value;

use super::*;
use crate::test_data;

const CAPTURE: &str = "bitstamp/20220105_ws.jsonl.zst";
const AT: Timestamp = Timestamp(1_641_343_700_000);
const TRADE: &str = r#"{"data":{"id":216000477,"timestamp":"1641343699","amount":0.0792,"amount_str":"0.07920000","price":3805.44,"price_str":"3805.44","type":0,"microtimestamp":"1641343699596000","buy_order_id":1443875737346049,"sell_order_id":1443875731320832},"channel":"live_trades_ethusd","event":"trade"}"#;

fn read(text: &str) -> anyhow::Result<Vec<Message>> {
    let mut out = Vec::new();
    parse(text, AT, &mut out)?;
    Ok(out.into_iter().map(|parsed| parsed.message).collect())
}

#[test]
fn every_recorded_frame_is_read_as_its_raw_text() -> anyhow::Result<()> {
    let mut counts: BTreeMap<&str, usize> = BTreeMap::new();
    let mut clock = Timestamp(0);
    for (at, text) in test_data::frames(CAPTURE)? {
        let raw: Value = serde_json::from_str(&text)?;
        let mut out = Vec::new();
        parse(&text, Timestamp::from_micros(at), &mut out)?;
        *counts.entry(out[0].kind).or_default() += 1;
        match &out[..] {
            [Parsed { message: Message::Event(pair, event), .. }] => {
                let data = &raw["data"];
                assert_eq!(
                    raw["channel"],
                    format!("{TRADES}{}{}", pair.base, pair.quote).to_lowercase()
                );
                assert_eq!(
                    Some(event.price),
                    data["price_str"].as_str().and_then(|p| p.parse().ok())
                );
                assert_eq!(event.size, data["amount_str"].as_str().and_then(|s| s.parse().ok()));
                assert_eq!(event.trade_id, data["id"].as_i64());
                let bought = event.taker_side == Some(TakerSide::Buy);
                assert_eq!(data["type"], i32::from(!bought));
            }
            [
                Parsed { message: Message::Ignored(_), .. },
                Parsed { message: Message::Clock(time), .. },
            ] => {
                clock = clock.max(*time);
            }
            [
                Parsed {
                    message: Message::Control(Control::Subscribed(_)) | Message::Alive, ..
                },
            ] => {}
            other => anyhow::bail!("{text}: {other:?}"),
        }
    }
    assert_eq!(counts["trade"], 10);
    assert_eq!(counts["bts:subscription_succeeded"], 20);
    assert!(counts["data"] > 100 && counts.len() == 3, "{counts:?}");
    assert!(clock > Timestamp(1_641_343_690_000), "{clock:?}");
    Ok(())
}

#[test]
fn the_recorded_listing_names_products_with_their_pairs() -> anyhow::Result<()> {
    let bodies = test_data::bodies(CAPTURE)?;
    let listed = instruments(&bodies[0])?;
    let all: Vec<Value> = serde_json::from_str(&bodies[0])?;
    assert!(listed.len() > 50 && listed.len() == all.len(), "{} of {}", listed.len(), all.len());
    let currency =
        |name: &str| listed.iter().find(|one| one.name == name).map(|one| &one.currency[..]);
    assert_eq!((currency("btcusd"), currency("usdteur")), (Some("BTC"), Some("USDT")));
    let now = r#"[{"name":"BTC/USD","market_symbol":"btcusd","base_currency":"BTC","trading":"Disabled"}]"#;
    assert!(!instruments(now)?[0].active);
    Ok(())
}

#[test]
fn a_trade_is_read_from_its_exact_text() -> anyhow::Result<()> {
    let [Message::Event(pair, event)] = &read(TRADE)?[..] else { anyhow::bail!("no event") };
    assert_eq!(pair, &PairKey::new("ETH", "USD", "bitstamp"));
    assert_eq!((event.price, event.size), ("3805.44".parse()?, Some("0.0792".parse()?)));
    assert_eq!(
        (event.trade_id, event.event_time),
        (Some(216_000_477), Timestamp(1_641_343_699_596))
    );
    assert_eq!((event.taker_side, event.received_at), (Some(TakerSide::Buy), AT));
    let sold = read(&TRADE.replace("\"type\":0", "\"type\":1"))?;
    assert!(
        matches!(&sold[..], [Message::Event(_, event)] if event.taker_side == Some(TakerSide::Sell))
    );
    for (from, to) in [("\"type\":0", "\"type\":2"), ("_ethusd", "_eth"), ("\"3805.44\"", "\"x\"")]
    {
        assert!(read(&TRADE.replace(from, to)).is_err(), "{to}");
    }
    Ok(())
}

#[test]
fn a_connection_subscribes_the_clock_and_each_product() {
    let texts = |first_id| -> Vec<String> {
        let requests = subscribe(
            &streams(&["btcusd".into(), "ethusd".into()], Follow::default()),
            Follow::default(),
            first_id,
        );
        requests.into_iter().map(|request| request.text).collect()
    };
    let of =
        |channel: &str| json!({"event": "bts:subscribe", "data": {"channel": channel}}).to_string();
    let trades = [of("live_trades_btcusd"), of("live_trades_ethusd")];
    assert_eq!(texts(1), [&[of("diff_order_book_btcusd")][..], &trades].concat());
    assert_eq!(texts(4), trades);
}

#[test]
fn controls_are_told_apart() -> anyhow::Result<()> {
    let ack = r#"{"event":"bts:subscription_succeeded","channel":"live_trades_btcusd","data":{}}"#;
    let granted = Subscription::streams(NAME, &["live_trades_btcusd".into()]);
    assert_eq!(read(ack)?, [Message::Control(Control::Subscribed(granted))]);
    let granted = Subscription::streams(NAME, &["diff_order_book_btcusd".into()]);
    let ack = ack.replace("live_trades", "diff_order_book");
    assert_eq!(read(&ack)?, [Message::Control(Control::Subscribed(granted))]);
    let beat = r#"{"event":"bts:heartbeat","channel":"","data":{"status":"success"}}"#;
    assert_eq!(read(beat)?, [Message::Alive]);
    let reconnect = r#"{"event":"bts:request_reconnect","channel":"","data":""}"#;
    assert_eq!(read(reconnect)?, [Message::Control(Control::Closing)]);
    let error = r#"{"event":"bts:error","channel":"","data":{"code":null,"message":"words"}}"#;
    assert_eq!(read(error)?, [Message::Control(Control::Refused("words".into()))]);
    let pair = Some(PairKey::new("BTC", "USD", "bitstamp"));
    let named = error.replace("\"channel\":\"\"", "\"channel\":\"live_trades_btcusd\"");
    assert_eq!(
        read(&named)?,
        [Message::Control(Control::Rejected { reason: "words".into(), pair })]
    );
    assert_eq!(read(r#"{"event":"new"}"#)?, [Message::Ignored(Ignored::UnknownType)]);
    Ok(())
}
