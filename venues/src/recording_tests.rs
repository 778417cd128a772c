//! Lines of files: trades and listings are read, and arbitrary text is refused without a panic.

use proptest::prelude::*;

use super::*;
use crate::test_data;

const TRADE: &str = r#"{"exchange":"any","base":"BTC","quote":"USD","price":0.1,"size":"2e-18","event_time_us":1622760680054999"#;

#[test]
fn a_trade_has_the_optional_fields_that_its_line_has() -> Result<(), Malformed> {
    let (pair, bare) = trade(&format!("{TRADE}}}"))?;
    assert_eq!(pair, PairKey::new("BTC", "USD", "any"));
    assert_eq!((bare.trade_id, bare.taker_side), (None, None));
    assert_eq!(bare.size.map(schemas::Decimal::units), Some(2));
    assert_eq!(bare.event_time, Timestamp(1_622_760_680_054));
    let (_, full) = trade(&format!(r#"{TRADE},"trade_id":"7","taker_side":"SELL"}}"#))?;
    assert_eq!((full.trade_id, full.taker_side), (Some(7), Some(TakerSide::Sell)));
    let side = trade(&format!(r#"{TRADE},"taker_side":"sell"}}"#));
    assert_eq!(side, Err(Malformed::BadField("taker_side")));
    Ok(())
}

#[test]
fn the_format_is_known_by_the_fields() {
    assert_eq!(Format::of(&format!("{TRADE}}}")), Some(Format::Trades));
    let message = r#"{"exchange":"binance","kind":"trade","case":"spot","raw":"{}"}"#;
    let candle = r#"{"exchange":"any","base":"A","quote":"B","open_time_ms":1,"open":"1"}"#;
    for text in [message, candle, "", "[]", "0,611.78,611.91,611.78,611.9,1.13872"] {
        assert_eq!(Format::of(text), None, "{text}");
    }
}

#[test]
fn a_listing_is_found_among_the_lines_of_a_capture() -> anyhow::Result<()> {
    let mut found = Vec::new();
    for name in [
        "deribit/20210417_rest_instruments.jsonl.zst",
        "coinbase/20210417_rest_products.jsonl.zst",
        "bitstamp/20220105_ws.jsonl.zst",
        "binance/20240808_spot_btcusdt.jsonl.zst",
    ] {
        let lines = test_data::lines(name)?;
        let answers = lines.iter().filter_map(|line| listing(line));
        found.push(answers.map(|(venue, listed)| (venue, listed.len())).collect::<Vec<_>>());
    }
    // The answer in the capture of Binance is a snapshot of a book.
    let deribit = vec![(Venue::Deribit, 423), (Venue::Deribit, 499)];
    assert_eq!(found[0], deribit);
    assert!(matches!(found[1][..], [(Venue::Coinbase, 1..)]), "{found:?}");
    assert!(matches!(found[2][..], [(Venue::Bitstamp, 1..)]), "{found:?}");
    assert_eq!(found[3], []);
    Ok(())
}

/// Nearly a trade: each field is what it should be, or anything.
fn nearly_a_trade() -> impl Strategy<Value = String> {
    let field = |good: &'static str| prop_oneof![3 => Just(good.to_owned()), 1 => ".{0,30}"];
    let number =
        prop_oneof![Just("1".to_owned()), "-?[0-9]{1,45}(\\.[0-9]{0,25})?", "[0-9]e[0-9]{1,12}"];
    (field("\"BTC\""), field("\"USD\""), number.clone(), number.clone(), number).prop_map(
        |(base, quote, price, size, time)| {
            format!(
                r#"{{"exchange":"any","base":{base},"quote":{quote},"trade_id":1,"price":{price},"size":"{size}","event_time_us":{time}}}"#
            )
        },
    )
}

proptest! {
    #[test]
    fn any_text_is_read_or_refused(text in ".{0,200}") {
        let _ = (trade(&text), Format::of(&text), listing(&text));
    }

    #[test]
    fn what_is_nearly_a_trade_is_read_or_refused(line in nearly_a_trade()) {
        let _ = trade(&line);
    }
}
