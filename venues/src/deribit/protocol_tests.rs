//! The adapter against recorded traffic and the venue's known oddities.

use schemas::{Basis, TakerSide, VolumeSource};

use super::*;
use crate::test_data;

const AT: Timestamp = Timestamp(1_618_677_848_000);
const TRADES: &str = r#"{"jsonrpc":"2.0","method":"subscription","params":{"channel":"trades.option.BTC.100ms","data":[{"trade_seq":1706,"trade_id":"137488100","timestamp":1616321732986,"tick_direction":0,"price":0.007,"mark_price":0.00670817,"iv":78.44,"instrument_name":"BTC-26MAR21-62000-C","index_price":56151.63,"direction":"buy","amount":0.1},{"trade_seq":92836831,"trade_id":"137487241","timestamp":1616321478553,"price":56168.0,"instrument_name":"BTC-PERPETUAL","direction":"sell","amount":5580.0}]}}"#;
const TICKER: &str = r#"{"jsonrpc":"2.0","method":"subscription","params":{"channel":"ticker.BTC-PERPETUAL.100ms","data":{"timestamp":1654161785818,"stats":{"volume_usd":545442610.0,"volume":17945.19644566,"price_change":-5.4014,"low":29265.5,"high":31903.5},"state":"open","mark_price":29932.79,"last_price":29931.0,"instrument_name":"BTC-PERPETUAL","index_price":29930.44}}}"#;
const OPTION: &str = r#"{"jsonrpc":"2.0","method":"subscription","params":{"channel":"ticker.ETH-7MAY21-2100-C.100ms","data":{"timestamp":1618677848563,"stats":{"volume":null,"volume_usd":12.5,"price_change":null},"mark_price":0.151031,"last_price":null,"instrument_name":"ETH-7MAY21-2100-C"}}}"#;

fn read(text: &str) -> anyhow::Result<Vec<Message>> {
    let mut out = Vec::new();
    parse(text, AT, &mut out)?;
    Ok(out.into_iter().map(|parsed| parsed.message).collect())
}

/// The events of a frame, which has nothing else but whole tickers.
fn events(text: &str) -> anyhow::Result<Vec<(PairKey, MarketEvent)>> {
    let event = |message| match message {
        Message::Event(pair, event) => Some(Ok((pair, event))),
        Message::Ticker(..) => None,
        other => Some(Err(anyhow::anyhow!("{other:?}"))),
    };
    read(text)?.into_iter().filter_map(event).collect()
}

#[test]
fn single_messages_of_every_kind_are_read_or_left_out_with_a_reason() -> anyhow::Result<()> {
    let messages = test_data::mixed("deribit")?;
    let mut all = 0;
    for (kind, case, raw) in &messages {
        let events = read(raw)?.into_iter().filter(|one| matches!(one, Message::Event(..))).count();
        let expected = match kind.as_str() {
            "trade" => raw.matches("\"trade_seq\"").count(),
            "ticker" => 1,
            _ => 0,
        };
        assert_eq!(events, expected, "{kind} {case}");
        all += events;
    }
    assert_eq!(all, 4 + 3);
    Ok(())
}

#[test]
fn a_trade_has_its_dense_number_and_its_size_in_coins() -> anyhow::Result<()> {
    let trades = events(TRADES)?;
    let (pair, option) = &trades[0];
    assert_eq!(pair, &PairKey::new("BTC-26MAR21-62000-C", "BTC", "deribit"));
    assert_eq!((option.trade_id, option.taker_side), (Some(1706), Some(TakerSide::Buy)));
    assert_eq!(option.size.map(|size| size.to_string()), Some("0.1".into()));
    let (pair, perpetual) = &trades[1];
    assert_eq!(pair, &PairKey::new("BTC-PERPETUAL", "USD", "deribit"));
    // 5580 ÷ 56168 = 0.0993448226748326449…
    assert_eq!(perpetual.size.map(|size| size.to_string()), Some("0.099344822674832645".into()));
    Ok(())
}

#[test]
fn a_trade_keeps_its_volatility_index_liquidation_block_and_combo() -> anyhow::Result<()> {
    let trades = events(TRADES)?;
    let details = |event: &MarketEvent| event.details.as_deref().cloned().unwrap_or_default();
    let option = details(&trades[0].1);
    let numbers = (Some("78.44".parse()?), Some("56151.63".parse()?));
    assert_eq!((option.iv, option.index_price), numbers);
    let none = (&None, &None, &None);
    assert_eq!((&option.liquidation, &option.block_trade_id, &option.combo_id), none);
    let other = details(&trades[1].1);
    assert_eq!((other.iv, other.index_price), (None, None));
    let rich = r#""amount":0.1,"liquidation":"MT","block_trade_id":"BLOCK-65933","combo_id":"BTC-CS-26MAR21-60000_62000","combo_trade_id":7"#;
    let rich = TRADES.replacen("\"amount\":0.1", rich, 1);
    let option = details(&events(&rich)?.remove(0).1);
    assert_eq!(option.liquidation.as_deref(), Some("MT"));
    assert_eq!(option.block_trade_id.as_deref(), Some("BLOCK-65933"));
    assert_eq!(option.combo_id.as_deref(), Some("BTC-CS-26MAR21-60000_62000"));
    // An id may be a number.
    let option = details(&events(&rich.replace("\"BLOCK-65933\"", "154"))?.remove(0).1);
    assert_eq!(option.block_trade_id.as_deref(), Some("154"));
    // A volatility that does not fit costs no trade.
    let messages = read(&rich.replace("78.44", "1e-19"))?;
    let [Message::Null(_), Message::Event(_, option), Message::Event(..)] = &messages[..] else {
        anyhow::bail!("{messages:?}")
    };
    assert_eq!((details(option).iv, option.trade_id), (None, Some(1706)));
    for (from, to, field) in [
        ("78.44", "\"high\"", "iv"),
        ("\"MT\"", "{}", "liquidation"),
        ("\"BLOCK-65933\"", "\"a\\u0000\"", "block_trade_id"),
    ] {
        let mut out = Vec::new();
        let result = parse(&rich.replace(from, to), AT, &mut out);
        assert_eq!((result, out.len()), (Err(Malformed::BadField(field)), 1), "{to}");
    }
    Ok(())
}

#[test]
fn a_quotient_is_rounded_to_the_nearest_digit() -> anyhow::Result<()> {
    for (amount, price, expected) in [
        ("10", "4", Some("2.5")),
        ("1", "3", Some("0.333333333333333333")),
        ("2", "3", Some("0.666666666666666667")),
        ("0.000000000000000001", "2", Some("0")),
        ("0.000000000000000003", "2", Some("0.000000000000000002")),
        ("1", "0", None),
        ("1", "-1", None),
        ("99999999999999999999", "0.000000000000000001", None),
    ] {
        let result = quotient(amount.parse()?, price.parse()?).map(|value| value.to_string());
        assert_eq!(result.as_deref(), expected, "{amount} ÷ {price}");
    }
    Ok(())
}

#[test]
fn volumes_are_those_of_the_quote_or_none() -> anyhow::Result<()> {
    let (_, sample) = events(TICKER)?.remove(0);
    assert_eq!(sample.base_volume_24h.map(|v| v.to_string()), Some("17945.19644566".into()));
    assert_eq!(sample.quote_volume_24h.map(|v| v.to_string()), Some("545442610".into()));
    assert_eq!(sample.volume_source, VolumeSource::Exchange);
    let (pair, sample) = events(OPTION)?.remove(0);
    assert_eq!(pair.quote, "ETH");
    assert_eq!(sample.price.to_string(), "0.151031", "the mark");
    assert_eq!((sample.base_volume_24h, sample.quote_volume_24h), (None, None));
    assert_eq!((sample.volume_source, sample.basis), (VolumeSource::None, Basis::Ticker));
    Ok(())
}

#[test]
fn a_name_tells_class_and_quote() -> anyhow::Result<()> {
    for (name, kind, quote) in [
        ("BTC-PERPETUAL", Class::Perpetual, "USD"),
        ("BTC-26MAR21", Class::Future, "USD"),
        ("BTC-26MAR21-62000-C", Class::Option, "BTC"),
        ("XRP_USDC-30JUN23-0d625-P", Class::Option, "USDC"),
        ("ETH_USDC-PERPETUAL", Class::Perpetual, "USDC"),
        ("BTC_USDT", Class::Spot, "USDT"),
        ("BTC-FS-27DEC24_PERP", Class::Combo, "USD"),
        ("BTC-CS-27DEC24-50000_60000", Class::Combo, "BTC"),
    ] {
        assert_eq!((class(name), pair(name)?), (kind, PairKey::new(name, quote, "deribit")));
    }
    for name in ["", "BTC", "-"] {
        assert!(pair(name).is_err(), "{name}");
    }
    Ok(())
}

#[test]
fn answers_errors_and_heartbeats_are_told_apart() -> anyhow::Result<()> {
    let ack = r#"{"jsonrpc":"2.0","id":2,"result":["ticker.BTC-PERPETUAL.100ms"],"usIn":1618677848901782,"usOut":1618677848902689,"usDiff":907,"testnet":false}"#;
    let granted = Subscription::streams(NAME, &["ticker.BTC-PERPETUAL.100ms".into()]);
    let clock = Message::Clock(Timestamp(1_618_677_847_902));
    assert_eq!(read(ack)?, [Message::Control(Control::Subscribed(granted)), clock.clone()]);
    let test = r#"{"jsonrpc":"2.0","id":0,"result":{"version":"1.2.26"},"usIn":1618677848901782,"usOut":1618677848902689,"usDiff":907}"#;
    assert_eq!(read(test)?, [Message::Alive, clock]);
    let test = r#"{"jsonrpc":"2.0","method":"heartbeat","params":{"type":"test_request"}}"#;
    assert_eq!(read(test)?, [Message::Control(Control::Reply(TEST))]);
    assert_eq!(read(&test.replace("test_request", "heartbeat"))?, [Message::Alive]);
    let raw = r#"{"jsonrpc":"2.0","id":2,"error":{"message":"raw_subscriptions_not_available_for_unauthorized","code":13778}}"#;
    let words = "13778 raw_subscriptions_not_available_for_unauthorized";
    assert_eq!(read(raw)?, [Message::Control(Control::Refused(words.into()))]);
    for (code, wait) in [(10_028, RATE_WAIT), (11_051, MAINTENANCE_WAIT)] {
        let text = raw.replace("13778", &code.to_string());
        let [Message::Control(Control::RetryAfter { id: Some(2), wait: told, .. })] =
            &read(&text)?[..]
        else {
            anyhow::bail!("{text}")
        };
        assert_eq!(*told, wait);
    }
    Ok(())
}

#[test]
fn instruments_come_and_go() -> anyhow::Result<()> {
    let text = |state: &str| {
        format!(
            r#"{{"jsonrpc":"2.0","method":"subscription","params":{{"channel":"instrument.state.option.BTC","data":{{"timestamp":1553080940000,"state":"{state}","instrument_name":"BTC-22MAR19-4000-C"}}}}}}"#
        )
    };
    let name = "BTC-22MAR19-4000-C".to_owned();
    assert_eq!(
        read(&text("created"))?,
        [Message::Control(Control::Listing(ListingChange::Listed(name.clone())))]
    );
    assert_eq!(
        read(&text("terminated"))?,
        [Message::Control(Control::Listing(ListingChange::Ended(name)))]
    );
    assert_eq!(read(&text("settled"))?, [Message::Ignored(Ignored::UnusedType)]);
    Ok(())
}

#[test]
fn requests_begin_with_the_heartbeat_and_have_so_many_channels() {
    let products: Vec<String> = (0..600).map(|n| format!("BTC-26MAR21-{n}-C")).collect();
    let asks = subscribe(&streams(&products, Follow::default()), Follow::default(), 1);
    assert_eq!(asks.iter().map(|ask| ask.id).collect::<Vec<_>>(), [1, 2, 3, 4]);
    assert!(asks[0].text.contains("public/set_heartbeat"));
    let channels: usize = asks.iter().map(|ask| ask.text.matches(".100ms").count()).sum();
    assert_eq!(channels, 1200);
    let follow = Follow { interval: TickerInterval::Agg2, ..Follow::default() };
    let of = |name: &str| streams(&[name.to_owned()], follow)[0].clone();
    assert_eq!(of("BTC-26MAR21-62000-C"), "ticker.BTC-26MAR21-62000-C.agg2");
    assert_eq!(streams_of_listed("BTC-26MAR21-1-P", follow), ["ticker.BTC-26MAR21-1-P.agg2"]);
    assert_eq!(of("BTC-26MAR21"), "ticker.BTC-26MAR21.100ms");
    assert_eq!(of("BTC-PERPETUAL"), "ticker.BTC-PERPETUAL.100ms");
    let trades = streams(&["BTC-26MAR21-62000-C".to_owned()], follow)[1].clone();
    assert_eq!(trades, "trades.BTC-26MAR21-62000-C.100ms");
    let streams = currency_streams(&["BTC".into()], Follow::default());
    assert!(streams.contains(&"trades.option.BTC.100ms".into()), "{streams:?}");
    assert!(streams.contains(&"instrument.state.option.BTC".into()), "{streams:?}");
}

#[test]
fn what_a_trade_must_have_is_missed_by_name_and_the_others_are_read() {
    for (field, name) in [
        ("\"price\":0.007,", "price"),
        ("\"trade_seq\":1706,", "trade_seq"),
        ("\"timestamp\":1616321732986,", "timestamp"),
        ("\"instrument_name\":\"BTC-26MAR21-62000-C\",", "instrument_name"),
        ("\"direction\":\"buy\",", "direction"),
        (",\"amount\":0.1", "amount"),
    ] {
        let mut out = Vec::new();
        let result = parse(&TRADES.replace(field, ""), AT, &mut out);
        assert_eq!((result, out.len()), (Err(Malformed::MissingField(name)), 1));
    }
}
