//! The adapter against the venue's documented messages and other traffic of it.

use schemas::{Basis, TakerSide};

use super::*;
use crate::test_data;

const AT: Timestamp = Timestamp(1_695_628_056_925);
const TRADES: &str = r#"{"channel":"trade","type":"update","data":[{"symbol":"BTC/USD","side":"sell","price":0.51470,"qty":6423.46326,"ord_type":"limit","trade_id":4665847,"timestamp":"2023-09-25T07:49:36.925533Z"},{"symbol":"BTC/USD","side":"buy","price":0.5148,"qty":0.00100000,"ord_type":"market","trade_id":4665846,"timestamp":"2023-09-25T07:49:36.925533Z"}]}"#;
const TICKER: &str = r#"{"channel":"ticker","type":"update","data":[{"symbol":"ALGO/USD","bid":0.10025,"bid_qty":740.0,"ask":0.10036,"ask_qty":1361.44813783,"last":0.10035,"volume":997038.98383185,"vwap":0.10148,"low":0.09979,"high":0.10285,"change":-0.00017,"change_pct":-0.17,"timestamp":"2023-09-25T09:04:31.742648Z"}]}"#;

fn read(text: &str) -> anyhow::Result<Vec<Message>> {
    let mut out = Vec::new();
    parse(text, AT, &mut out)?;
    Ok(out.into_iter().map(|parsed| parsed.message).collect())
}

fn events(text: &str) -> anyhow::Result<Vec<(PairKey, MarketEvent)>> {
    let event = |message| match message {
        Message::Event(pair, event) => Ok((pair, event)),
        other => Err(anyhow::anyhow!("{other:?}")),
    };
    read(text)?.into_iter().map(event).collect()
}

#[test]
fn every_trade_of_a_frame_is_read_as_it_came() -> anyhow::Result<()> {
    let trades = events(TRADES)?;
    assert_eq!(trades.len(), TRADES.matches("\"trade_id\"").count());
    let (pair, first) = &trades[0];
    assert_eq!(pair, &PairKey::new("BTC", "USD", "kraken"));
    assert_eq!((first.price.to_string(), first.trade_id), ("0.5147".into(), Some(4_665_847)));
    assert_eq!((first.taker_side, first.basis), (Some(TakerSide::Sell), Basis::Trade));
    assert_eq!(first.size.map(|size| size.to_string()), Some("6423.46326".into()));
    assert_eq!(trades[1].1.event_time, first.event_time, "times are not unique");
    Ok(())
}

#[test]
fn a_snapshot_of_trades_comes_oldest_first() -> anyhow::Result<()> {
    let trades = events(&TRADES.replace("update", "snapshot"))?;
    let ids: Vec<_> = trades.iter().filter_map(|(_, event)| event.trade_id).collect();
    assert_eq!(ids, [4_665_846, 4_665_847]);
    Ok(())
}

#[test]
fn the_quote_volume_is_derived_to_the_last_digit() -> anyhow::Result<()> {
    let (pair, sample) = events(TICKER)?.remove(0);
    assert_eq!(pair, PairKey::new("ALGO", "USD", "kraken"));
    assert_eq!((sample.size, sample.trade_id, sample.basis), (None, None, Basis::Ticker));
    assert_eq!(sample.base_volume_24h.map(|v| v.to_string()), Some("997038.98383185".into()));
    // 997038.98383185 × 0.10148, by hand.
    let expected = Some("101179.516079256138".to_owned());
    assert_eq!(sample.quote_volume_24h.map(|v| v.to_string()), expected);
    assert_eq!(sample.volume_source, VolumeSource::Derived);
    let absent = TICKER.replace("\"vwap\":0.10148,", "");
    let (_, sample) = events(&absent)?.remove(0);
    assert_eq!((sample.quote_volume_24h, sample.volume_source), (None, VolumeSource::Exchange));
    Ok(())
}

#[test]
fn a_symbol_that_never_traded_is_passed_on_for_the_processor_to_judge() -> anyhow::Result<()> {
    let idle = TICKER
        .replace("0.10035", "0.0")
        .replace("2023-09-25T09:04:31.742648", "1970-01-01T00:00:00");
    let (_, sample) = events(&idle)?.remove(0);
    assert_eq!((sample.event_time, sample.price.is_positive()), (Timestamp(0), false));
    Ok(())
}

#[test]
fn old_names_are_the_same_pair() -> anyhow::Result<()> {
    assert_eq!(pair("XBT/USD")?, PairKey::new("BTC", "USD", "kraken"));
    assert_eq!(pair("XDG/XBT")?, PairKey::new("DOGE", "BTC", "kraken"));
    assert_eq!(
        streams(&["XBT/EUR".into()], Follow::default()),
        ["trade:BTC/EUR", "ticker:BTC/EUR"]
    );
    assert_eq!(pair("XBTUSD"), Err(Malformed::BadProduct("XBTUSD".into())));
    Ok(())
}

#[test]
fn each_symbol_is_acknowledged_or_rejected_by_itself() -> anyhow::Result<()> {
    let ack = r#"{"method":"subscribe","req_id":1,"result":{"channel":"trade","snapshot":true,"symbol":"BTC/USD"},"success":true,"time_in":"2023-09-25T09:04:31.742599Z","time_out":"2023-09-25T09:04:31.742648Z"}"#;
    let granted = expected(&["trade:XBT/USD".into()], Follow::default());
    assert_eq!(read(ack)?, [Message::Control(Control::Subscribed(granted))]);
    let rejection = r#"{"error":"Currency pair not supported FOO/USD","method":"subscribe","req_id":1,"success":false,"symbol":"FOO/USD","time_in":"2023-09-25T09:04:31.742599Z","time_out":"2023-09-25T09:04:31.742648Z"}"#;
    let words = "Currency pair not supported FOO/USD";
    assert_eq!(
        read(rejection)?,
        [Message::Control(Control::Rejected {
            reason: words.into(),
            pair: Some(pair("FOO/USD")?)
        })]
    );
    let fast = r#"{"error":"Exceeded msg rate","method":"subscribe","req_id":7,"success":false}"#;
    assert!(matches!(
        &read(fast)?[..],
        [Message::Control(Control::RetryAfter { id: Some(7), .. })]
    ));
    let refusal = r#"{"error":"Malformed request","success":false}"#;
    assert_eq!(read(refusal)?, [Message::Control(Control::Refused("Malformed request".into()))]);
    Ok(())
}

#[test]
fn heartbeats_stati_and_pongs_tell_of_the_connection() -> anyhow::Result<()> {
    assert_eq!(read(r#"{"channel":"heartbeat"}"#)?, [Message::Alive]);
    let status = r#"{"channel":"status","type":"update","data":[{"version":"2.0.0","system":"online","api_version":"v2","connection_id":1}]}"#;
    assert_eq!(read(status)?, [Message::Alive]);
    let closed = status.replace("online", "maintenance");
    assert!(matches!(
        &read(&closed)?[..],
        [Message::Control(Control::RetryAfter { id: None, .. })]
    ));
    let pong = r#"{"method":"pong","req_id":1,"time_in":"2023-09-25T09:04:31.742599Z","time_out":"2023-09-25T09:04:31.742648Z"}"#;
    let clock = Timestamp::parse_rfc3339("2023-09-25T09:04:30.742Z").unwrap();
    assert_eq!(read(pong)?, [Message::Alive, Message::Clock(clock)]);
    Ok(())
}

#[test]
fn instruments_are_listed_and_followed() -> anyhow::Result<()> {
    let frame = r#"{"channel":"instrument","type":"snapshot","data":{"assets":[{"id":"USD","status":"enabled"}],"pairs":[{"symbol":"EUR/USD","base":"EUR","quote":"USD","status":"online"},{"symbol":"OLD/USD","base":"OLD","quote":"USD","status":"delisted"},{"symbol":"ODD/USD","base":"ODD","quote":"USD","status":"maintenance"}]}}"#;
    let listed = instruments(frame)?;
    assert_eq!(listed.iter().map(|one| one.active).collect::<Vec<_>>(), [true, false, false]);
    let changes = read(frame)?;
    let [
        Message::Control(Control::Listing(ListingChange::Listed(new))),
        Message::Control(Control::Listing(ListingChange::Ended(old))),
        Message::Ignored(_),
    ] = &changes[..]
    else {
        anyhow::bail!("{changes:?}")
    };
    assert_eq!((new.as_str(), old.as_str()), ("EUR/USD", "OLD/USD"));
    Ok(())
}

#[test]
fn requests_are_of_one_channel_and_so_many_symbols() {
    let products: Vec<String> = (0..150).map(|n| format!("A{n}/USD")).collect();
    let mut streams = streams(&products, Follow::default());
    streams.push(INSTRUMENT.into());
    let asks = subscribe(&streams, Follow::default(), 5);
    assert_eq!(asks.iter().map(|ask| ask.id).collect::<Vec<_>>(), [5, 6, 7, 8, 9]);
    let count = |text: &str| asks.iter().map(|ask| ask.text.matches(text).count()).sum::<usize>();
    assert_eq!((count("/USD"), count("\"trade\""), count("\"instrument\"")), (300, 2, 1));
    assert_eq!(expected(&streams, Follow::default()).len(), 301);
}

#[test]
fn what_can_be_read_of_a_frame_is_read_although_a_part_cannot() {
    let mut out = Vec::new();
    let result = parse(&TRADES.replace("0.51470", "\"much\""), AT, &mut out);
    assert_eq!((result, out.len()), (Err(Malformed::BadField("price")), 1));
    for (field, name) in [
        ("\"price\":0.51470,", "price"),
        ("\"qty\":6423.46326,", "qty"),
        ("\"side\":\"sell\",", "side"),
        ("\"trade_id\":4665847,", "trade_id"),
        ("\"symbol\":\"BTC/USD\",\"side\":\"sell\",", "side"),
    ] {
        let result = parse(&TRADES.replace(field, ""), AT, &mut Vec::new());
        assert_eq!(result, Err(Malformed::MissingField(name)));
    }
}

#[test]
fn messages_of_its_other_feeds_are_of_an_unknown_type() -> anyhow::Result<()> {
    let messages = test_data::mixed("kraken")?;
    assert!(messages.len() > 10);
    for (.., raw) in messages {
        let read = read(&raw)?;
        assert_eq!(read, [Message::Ignored(Ignored::UnknownType)], "{raw}");
    }
    Ok(())
}
