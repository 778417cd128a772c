//! Whole tickers against recorded traffic, and against what a venue may send.

use std::fmt::Write as _;

use proptest::collection::vec;
use proptest::option;
use proptest::prelude::*;
use schemas::Basis;
use serde_json::{Value, json};

use super::*;
use crate::message::NullField;
use crate::test_data;

const CAPTURE: &str = "deribit/20210417_ws.jsonl.zst";
const AT: Timestamp = Timestamp(1_618_677_848_917);
/// The place of a number in what the venue sends, and its field of the record.
type Number = (&'static str, fn(&Ticker) -> Option<Decimal>);

/// Every number that the venue may send.
const NUMBERS: [Number; 29] = [
    ("/mark_price", |ticker| ticker.mark_price),
    ("/last_price", |ticker| ticker.last_price),
    ("/mark_iv", |ticker| ticker.mark_iv),
    ("/greeks/delta", |ticker| ticker.delta),
    ("/greeks/gamma", |ticker| ticker.gamma),
    ("/greeks/vega", |ticker| ticker.vega),
    ("/greeks/theta", |ticker| ticker.theta),
    ("/greeks/rho", |ticker| ticker.rho),
    ("/open_interest", |ticker| ticker.open_interest),
    ("/underlying_price", |ticker| ticker.underlying_price),
    ("/index_price", |ticker| ticker.index_price),
    ("/settlement_price", |ticker| ticker.settlement_price),
    ("/min_price", |ticker| ticker.min_price),
    ("/max_price", |ticker| ticker.max_price),
    ("/interest_rate", |ticker| ticker.interest_rate),
    ("/estimated_delivery_price", |ticker| ticker.estimated_delivery_price),
    ("/current_funding", |ticker| ticker.current_funding),
    ("/funding_8h", |ticker| ticker.funding_8h),
    ("/stats/volume", |ticker| ticker.volume),
    ("/stats/volume_usd", |ticker| ticker.volume_usd),
    ("/stats/price_change", |ticker| ticker.price_change),
    ("/stats/high", |ticker| ticker.high),
    ("/stats/low", |ticker| ticker.low),
    ("/best_bid_price", |ticker| ticker.bid),
    ("/best_bid_amount", |ticker| ticker.bid_size),
    ("/bid_iv", |ticker| ticker.bid_iv),
    ("/best_ask_price", |ticker| ticker.ask),
    ("/best_ask_amount", |ticker| ticker.ask_size),
    ("/ask_iv", |ticker| ticker.ask_iv),
];
/// The first of the numbers of the two sides, three of each: price, amount, volatility.
const SIDES: usize = 23;

fn read(text: &str) -> anyhow::Result<Vec<Message>> {
    let mut out = Vec::new();
    super::super::protocol::parse(text, AT, &mut out)?;
    assert!(out.iter().all(|parsed| parsed.kind == "ticker"));
    Ok(out.into_iter().map(|parsed| parsed.message).collect())
}

fn frame(data: &str) -> String {
    format!(
        r#"{{"jsonrpc":"2.0","method":"subscription","params":{{"channel":"ticker.X.100ms","data":{data}}}}}"#
    )
}

/// The ticker and the price sample of a frame that has both.
fn both(text: &str) -> anyhow::Result<(PairKey, Ticker, MarketEvent)> {
    let mut messages = read(text)?;
    messages.retain(|message| !matches!(message, Message::Null(_)));
    let [Message::Ticker(pair, ticker), Message::Event(of_sample, sample)] = &messages[..] else {
        anyhow::bail!("{text}: {messages:?}")
    };
    anyhow::ensure!(pair == of_sample);
    Ok((pair.clone(), (**ticker).clone(), sample.clone()))
}

/// The number at a place, from its text.
fn sent(data: &Value, place: &str) -> Option<Decimal> {
    data.pointer(place).filter(|value| !value.is_null())?.to_string().parse().ok()
}

fn recorded() -> anyhow::Result<Vec<(String, Value)>> {
    let is_ticker = |text: &String| text.contains("\"channel\":\"ticker.");
    let frames = test_data::frames(CAPTURE)?.into_iter().map(|(_, text)| text).filter(is_ticker);
    let data = |text: String| {
        let data = serde_json::from_str::<Value>(&text)?["params"]["data"].take();
        Ok((text, data))
    };
    frames.map(data).collect()
}

#[test]
fn every_field_of_every_recorded_ticker_is_the_frames_number() -> anyhow::Result<()> {
    let (mut empty, mut zero_bid_iv, mut unsettled) = ([0; 2], 0, 0);
    let frames = recorded()?;
    assert_eq!(frames.len(), 92);
    for (text, data) in &frames {
        let (pair, ticker, sample) = both(text)?;
        assert_eq!(data["instrument_name"], pair.base);
        for (index, (place, field)) in NUMBERS.iter().enumerate() {
            let side = index.checked_sub(SIDES).map(|index| index / 3);
            let is_empty = side
                .is_some_and(|side| sent(data, NUMBERS[SIDES + 3 * side].0) == Some(Decimal::ZERO));
            let expected = sent(data, place).filter(|_| !is_empty);
            assert_eq!(field(&ticker), expected, "{place} of {text}");
        }
        for (side, price) in [ticker.bid, ticker.ask].into_iter().enumerate() {
            empty[side] += usize::from(price.is_none());
        }
        zero_bid_iv += usize::from(ticker.bid_iv == Some(Decimal::ZERO));
        unsettled += usize::from(ticker.settlement_price.is_none());
        assert_eq!(ticker.underlying_index.as_deref(), data["underlying_index"].as_str());
        assert_eq!(ticker.state.as_deref(), data["state"].as_str());
        assert_eq!(data["timestamp"].as_i64(), Some(ticker.event_time.0));
        assert_eq!((ticker.received_at, sample.received_at), (AT, AT));
        assert_eq!((Some(sample.price), sample.basis), (ticker.mark_price, Basis::Ticker));
        assert_eq!((sample.event_time, sample.base_volume_24h), (ticker.event_time, ticker.volume));
    }
    // A zero that means none, and a zero that is the venue's own value, are both common.
    assert_eq!((empty, zero_bid_iv, unsettled), ([13, 23], 7, 6));
    Ok(())
}

#[test]
fn the_price_of_an_option_is_its_mark_and_of_others_the_last_trade() -> anyhow::Result<()> {
    let (mut last, mut all) = (0, 0);
    for (text, data) in recorded()? {
        let (_, ticker, sample) = both(&text)?;
        assert_eq!(sent(&data, "/mark_price"), Some(sample.price));
        last += usize::from(ticker.last_price == Some(sample.price));
        all += 1;
    }
    assert!(last * 10 < all, "the two differ: {last} of {all}");
    let price = |data: &str| anyhow::Ok(both(&frame(data))?.2.price.to_string());
    let perpetual =
        r#"{"instrument_name":"BTC-PERPETUAL","timestamp":1,"mark_price":2.5,"last_price":3}"#;
    assert_eq!(price(perpetual)?, "3");
    assert_eq!(price(&perpetual.replace(":3}", ":null}"))?, "2.5", "before its first trade");
    let spot = frame(&perpetual.replace("BTC-PERPETUAL", "BTC_USDC"));
    let [Message::Event(pair, sample)] = &read(&spot)?[..] else { anyhow::bail!("{spot}") };
    assert_eq!((pair.quote.as_str(), sample.price.to_string()), ("USDC", "3".to_owned()));
    let combo = frame(&perpetual.replace("BTC-PERPETUAL", "BTC-FS-27DEC24_PERP"));
    assert!(matches!(&read(&combo)?[..], [Message::Event(..)]), "no ticker record of a combo");
    Ok(())
}

#[test]
fn a_ticker_without_a_price_has_no_sample() -> anyhow::Result<()> {
    let text = frame(r#"{"instrument_name":"BTC-1JAN27-1-C","timestamp":7,"state":"open"}"#);
    let messages = read(&text)?;
    let [Message::Ticker(_, ticker), Message::Ignored(Ignored::QuoteOnly)] = &messages[..] else {
        anyhow::bail!("{messages:?}")
    };
    let only = Ticker {
        state: Some("open".into()),
        event_time: Timestamp(7),
        received_at: AT,
        ..Ticker::default()
    };
    assert_eq!(**ticker, only);
    Ok(())
}

#[test]
fn recorded_futures_and_perpetuals_have_funding_and_no_greeks() -> anyhow::Result<()> {
    let mut funded = 0;
    for (_, case, text) in test_data::mixed("deribit")?.iter().filter(|(kind, ..)| kind == "ticker")
    {
        let data = serde_json::from_str::<Value>(text)?["params"]["data"].take();
        let (_, ticker, sample) = both(text)?;
        for (place, field) in NUMBERS {
            assert_eq!(field(&ticker), sent(&data, place), "{place} of {case}");
        }
        funded += usize::from(ticker.funding_8h.is_some());
        if case != "option" {
            assert_eq!(Some(sample.price), ticker.last_price, "{case}");
            assert_eq!(sample.quote_volume_24h, ticker.volume_usd, "{case}");
            assert_eq!((ticker.delta, ticker.mark_iv), (None, None), "{case}");
        }
    }
    assert_eq!(funded, 1);
    Ok(())
}

#[test]
fn a_strike_of_letters_and_a_linear_option_are_read() -> anyhow::Result<()> {
    let text =
        frame(r#"{"instrument_name":"XRP_USDC-25DEC26-1d02-P","timestamp":1,"mark_price":0.0625}"#);
    let (pair, ticker, _) = both(&text)?;
    assert_eq!(pair, PairKey::new("XRP_USDC-25DEC26-1d02-P", "USDC", "deribit"));
    assert_eq!(ticker.mark_price, Some("0.0625".parse()?));
    Ok(())
}

const OPTION: &str = r#"{"instrument_name":"BTC-25DEC26-100000-C","timestamp":5,"mark_price":0.0841,"mark_iv":61.2,"bid_iv":0.0,"best_bid_price":0.05,"best_bid_amount":1.5,"best_ask_price":0.0,"best_ask_amount":0.0,"ask_iv":0.0,"greeks":{"delta":0.5},"stats":{"volume":2.5},"underlying_index":"SYN.BTC-25DEC26","state":"open"}"#;

#[test]
fn an_empty_side_is_null_and_a_zero_volatility_beside_a_bid_is_a_value() -> anyhow::Result<()> {
    let (_, ticker, _) = both(&frame(OPTION))?;
    let zero = Some(Decimal::ZERO);
    assert_eq!((ticker.ask, ticker.ask_size, ticker.ask_iv), (None, None, None));
    let bid = (Some("0.05".parse()?), Some("1.5".parse()?), zero);
    assert_eq!((ticker.bid, ticker.bid_size, ticker.bid_iv), bid);
    for (from, to) in [("\"best_bid_price\":0.05,", ""), ("0.05", "null"), ("0.05", "0e-3")] {
        let (_, ticker, _) = both(&frame(&OPTION.replacen(from, to, 1)))?;
        assert_eq!((ticker.bid, ticker.bid_size, ticker.bid_iv), (None, None, None), "{to}");
    }
    // Volatilities that a venue states when its model has none are kept.
    for iv in ["0", "999", "0.0", "500.01"] {
        let (_, ticker, _) = both(&frame(&OPTION.replace("61.2", iv)))?;
        assert_eq!(ticker.mark_iv, Some(iv.parse()?));
    }
    Ok(())
}

#[test]
fn a_number_that_does_not_fit_is_null_and_counted() -> anyhow::Result<()> {
    let nulls = |text: &str| -> anyhow::Result<usize> {
        let messages = read(text)?;
        let is_null = |message: &&Message| **message == Message::Null(NullField::OutOfRange);
        Ok(messages.iter().filter(is_null).count())
    };
    assert_eq!(nulls(&frame(OPTION))?, 0);
    for (from, to, count) in [
        ("0.0841", "0.0841000000000000001", 1),
        ("61.2", "61.2e-20", 1),
        ("0.05", "1e-19", 1),
        ("61.2", "1e99", 1),
        ("\"delta\":0.5", "\"delta\":0.12345678901234567890,\"rho\":100000000000000000000", 2),
        ("\"volume\":2.5", "\"volume\":1e-19", 1),
    ] {
        let text = frame(&OPTION.replace(from, to));
        assert_eq!(nulls(&text)?, count, "{to}");
        let messages = read(&text)?;
        assert!(matches!(messages[count], Message::Ticker(..)), "{messages:?}");
    }
    // Digits beyond the eighteenth that are zeros say nothing.
    assert_eq!(nulls(&frame(&OPTION.replace("0.0841", "0.0841000000000000000000")))?, 0);
    let (_, ticker, sample) = both(&frame(&OPTION.replace("61.2", "1e-19")))?;
    assert_eq!((ticker.mark_iv, ticker.mark_price), (None, Some(sample.price)));
    // A bid that does not fit is not an empty side.
    let (_, ticker, _) = both(&frame(&OPTION.replace("0.05", "1e-19")))?;
    assert_eq!((ticker.bid, ticker.bid_size), (None, Some("1.5".parse()?)));
    // Without a mark that fits there is no price; the last trade is not taken for it.
    let text =
        frame(&OPTION.replace("\"mark_price\":0.0841", "\"mark_price\":1e-19,\"last_price\":1"));
    assert_eq!(read(&text)?.last(), Some(&Message::Ignored(Ignored::QuoteOnly)));
    let text =
        r#"{"instrument_name":"BTC-PERPETUAL","timestamp":1,"mark_price":2,"last_price":1e-19}"#;
    assert_eq!(read(&frame(text))?.last(), Some(&Message::Ignored(Ignored::QuoteOnly)));
    Ok(())
}

#[test]
fn a_malformed_ticker_is_refused_with_its_reason() {
    let bad = |field| Malformed::BadField(field);
    let named = |name: &str| Malformed::BadInstrument(name.into());
    for (from, to, reason) in [
        (
            "\"instrument_name\":\"BTC-25DEC26-100000-C\",",
            "",
            Malformed::MissingField("instrument_name"),
        ),
        ("\"timestamp\":5,", "", Malformed::MissingField("timestamp")),
        ("\"timestamp\":5,", "\"timestamp\":5.5,", bad("timestamp")),
        ("\"timestamp\":5,", "\"timestamp\":\"soon\",", bad("timestamp")),
        ("BTC-25DEC26-100000-C", "BTC-31FEB26-100000-C", named("BTC-31FEB26-100000-C")),
        ("BTC-25DEC26-100000-C", "BTC-25DEC26-1e5-C", named("BTC-25DEC26-1e5-C")),
        ("BTC-25DEC26-100000-C", "BTC-25DEC26-1d-P", named("BTC-25DEC26-1d-P")),
        ("BTC-25DEC26-100000-C", "BTC-SOMEDAY", named("BTC-SOMEDAY")),
        ("BTC-25DEC26-100000-C", "", Malformed::BadProduct(String::new())),
        ("0.0841", "\"high\"", bad("mark_price")),
        ("0.0841", "\"\"", bad("mark_price")),
        ("0.0841", "true", bad("mark_price")),
        ("0.0841", "[1]", bad("mark_price")),
        ("0.0841", "\"NaN\"", bad("mark_price")),
        ("0.0841", "\"1\\u0030\"", bad("mark_price")),
        ("61.2", "{}", bad("mark_iv")),
        ("\"bid_iv\":0.0", "\"bid_iv\":\"x\"", bad("bid_iv")),
        // Of an empty side too.
        ("\"ask_iv\":0.0", "\"ask_iv\":\"x\"", bad("ask_iv")),
        ("\"best_ask_amount\":0.0", "\"best_ask_amount\":\"x\"", bad("best_ask_amount")),
        ("{\"delta\":0.5}", "{\"delta\":\"much\"}", bad("delta")),
        ("{\"delta\":0.5}", "[]", bad("data")),
        ("{\"volume\":2.5}", "7", bad("data")),
        ("\"volume\":2.5", "\"volume_notional\":\"x\"", bad("volume_notional")),
        ("\"SYN.BTC-25DEC26\"", "{}", bad("underlying_index")),
        ("\"SYN.BTC-25DEC26\"", "\"a\\u0000b\"", bad("underlying_index")),
        ("\"open\"", "\"o\\u0007\"", bad("state")),
        ("\"open\"", "\"\\ud800\"", bad("state")),
    ] {
        assert!(OPTION.contains(from), "{from}");
        let mut out = Vec::new();
        let result =
            super::super::protocol::parse(&frame(&OPTION.replacen(from, to, 1)), AT, &mut out);
        assert_eq!((result, out), (Err(reason), Vec::new()), "{to}");
    }
    let mut out = Vec::new();
    let result = super::super::protocol::parse(&frame("null"), AT, &mut out);
    assert!(result.is_err() && out.is_empty(), "{result:?}");
}

/// Numbers as a venue may write them: plain, with zeros behind, with an exponent.
fn number() -> impl Strategy<Value = (String, Decimal)> {
    let text = prop_oneof![
        (any::<i64>(), 0usize..=18, 0usize..4).prop_map(|(digits, scale, zeros)| {
            let digits = format!("{:019}", digits.unsigned_abs());
            let (whole, fraction) = digits.split_at(digits.len() - scale);
            let whole = whole.trim_start_matches('0');
            let point = if fraction.is_empty() && zeros == 0 { "" } else { "." };
            let whole = if whole.is_empty() { "0" } else { whole };
            format!("{whole}{point}{fraction}{:0<zeros$}", "")
        }),
        (any::<i32>(), -9i32..9).prop_map(|(digits, exponent)| format!("{digits}e{exponent}")),
        Just("0.0".to_owned()),
    ];
    text.prop_filter_map("a decimal", |text| {
        let number = text.parse().ok()?;
        Some((text, number))
    })
}

proptest! {
    #[test]
    fn any_numbers_come_out_as_they_were_sent(
        numbers in vec(option::of(number()), NUMBERS.len()),
        name in prop::sample::select(vec![
            "BTC-25DEC26-100000-C", "XRP_USDC-25DEC26-1d02-P", "BTC-25DEC26", "ETH-PERPETUAL",
        ]),
    ) {
        let mut data = json!({"instrument_name": name, "timestamp": 5});
        for ((place, _), number) in NUMBERS.iter().zip(&numbers) {
            let Some((text, _)) = number else { continue };
            let number: Value =
                serde_json::from_str(text).map_err(|error| TestCaseError::fail(error.to_string()))?;
            let mut into = &mut data;
            for part in place.split('/').skip(1) {
                into = &mut into[part];
            }
            *into = number;
        }
        let messages = read(&frame(&data.to_string()))
            .map_err(|error| TestCaseError::fail(format!("{error}: {data}")))?;
        let Message::Ticker(_, ticker) = &messages[0] else {
            return Err(TestCaseError::fail(format!("{messages:?}")));
        };
        let sent: Vec<Option<Decimal>> =
            numbers.iter().map(|number| number.as_ref().map(|(_, number)| *number)).collect();
        for (index, (place, field)) in NUMBERS.iter().enumerate() {
            let price = index.checked_sub(SIDES).map(|index| sent[SIDES + index / 3 * 3]);
            let is_empty = price.is_some_and(|price| price.is_none_or(|price| price == Decimal::ZERO));
            let expected = sent[index].filter(|_| !is_empty);
            prop_assert_eq!(field(ticker), expected, "{} of {}", place, data);
        }
    }

    #[test]
    fn a_frame_with_any_bytes_in_it_never_panics(
        at: prop::sample::Index, cut in 0usize..8, bytes: String,
    ) {
        let text = frame(OPTION);
        let from = at.index(text.len());
        let mut changed = text[..from].to_owned();
        let _ = write!(changed, "{bytes}{}", text.get(from + cut..).unwrap_or_default());
        let mut out = Vec::new();
        if let Err(malformed) = super::super::protocol::parse(&changed, AT, &mut out) {
            prop_assert!(Malformed::LABELS.contains(&malformed.label()));
        }
    }
}
