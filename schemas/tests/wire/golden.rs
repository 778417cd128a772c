//! Bytes that must never change: each schema's fixtures, checked in every direction.
//!
//! ```text
//! fixture's bytes ──ours──► record ──ours──► the same bytes
//!        │                     └─by name─┐        │
//!        └──reference──► value ═══════ value ─────┘ reference
//!                          ║
//!                   fixture's record
//! ```

use std::fmt::Debug;

use apache_avro::from_avro_datum;
use apache_avro::types::Value;
use schemas::avro::{Reader, Record};
use schemas::codec::OFFLINE_IDS;
use schemas::{Codec, Decimal, Kind, PairKey};
use serde_json::{Value as Json, json};

use crate::{Outcome, options, reference};

/// One record of a fixture.
struct Golden {
    what: String,
    bytes: Vec<u8>,
    record: Json,
}

fn fixture(text: &str) -> Outcome<Vec<Golden>> {
    let cases: Vec<Json> = serde_json::from_str(text)?;
    let cases = cases.into_iter().map(|case| {
        let text = |name: &str| case[name].as_str().ok_or("a fixture has what and hex");
        let bytes = unhex(text("hex")?)?;
        Ok(Golden { what: text("what")?.to_owned(), bytes, record: case["record"].clone() })
    });
    cases.collect()
}

fn unhex(text: &str) -> Outcome<Vec<u8>> {
    let pairs = text.as_bytes().chunks(2);
    pairs.map(|pair| Ok(u8::from_str_radix(std::str::from_utf8(pair)?, 16)?)).collect()
}

fn hex(bytes: &[u8]) -> String {
    let digit = |half| char::from_digit(u32::from(half), 16).unwrap_or('?');
    bytes.iter().flat_map(|byte| [digit(byte >> 4), digit(byte & 15)]).collect()
}

/// A value of the reference implementation as the fixtures write it; bytes as `text` writes them.
pub(crate) fn as_json(value: &Value, text: fn(&[u8]) -> String) -> Outcome<Json> {
    Ok(match value {
        Value::Union(_, inner) => as_json(inner, text)?,
        Value::Null => Json::Null,
        Value::Boolean(value) => json!(value),
        Value::Int(value) => json!(value),
        Value::Long(value) | Value::TimestampMillis(value) => json!(value),
        Value::String(string) | Value::Enum(_, string) => json!(string),
        Value::Bytes(bytes) => json!(text(bytes)),
        Value::Decimal(decimal) => {
            let bytes = Vec::<u8>::try_from(decimal)?;
            let sign = if bytes.first().is_some_and(|first| first & 0x80 != 0) { 0xff } else { 0 };
            let mut units = [sign; 16];
            units[16 - bytes.len()..].copy_from_slice(&bytes);
            let decimal = Decimal::from_units(i128::from_be_bytes(units));
            json!(decimal.ok_or("more than 38 digits")?.to_string())
        }
        Value::Record(fields) => {
            let fields =
                fields.iter().map(|(name, value)| Ok((name.clone(), as_json(value, text)?)));
            Json::Object(fields.collect::<Outcome<_>>()?)
        }
        Value::Array(items) => {
            let items = items.iter().map(|item| as_json(item, text));
            Json::Array(items.collect::<Outcome<_>>()?)
        }
        other => return Err(format!("no schema of ours has {other:?}").into()),
    })
}

fn holds<R: Record + PartialEq + Debug>(text: &str, reference_of: fn(&R) -> Value) -> Outcome {
    let cases = fixture(text)?;
    assert!(!cases.is_empty());
    let schema = reference::schema(R::KIND)?;
    for Golden { what, bytes, record } in cases {
        let what = format!("{} {what}", R::KIND.as_str());
        let mut reader = Reader::new(&bytes);
        let ours = R::read(&mut reader).map_err(|error| format!("{what}: {error}"))?;
        assert!(reader.is_empty(), "{what}: bytes are left");

        let theirs = from_avro_datum(&schema, &mut &bytes[..], None)?;
        assert_eq!(reference_of(&ours), theirs, "{what}: the two read differently");
        assert_eq!(as_json(&theirs, hex)?, record, "{what}: the bytes say something else");

        let mut written = Vec::new();
        ours.write(&mut written);
        assert_eq!(hex(&written), hex(&bytes), "{what}: ours writes differently");
        let written = reference::encode(R::KIND, theirs)?;
        assert_eq!(hex(&written), hex(&bytes), "{what}: the reference writes differently");
    }
    Ok(())
}

#[test]
fn the_bytes_of_a_record_never_change() -> Outcome {
    holds(include_str!("../../fixtures/pair_key.json"), reference::pair_key)?;
    holds(include_str!("../../fixtures/candle_key.json"), reference::candle_key)?;
    holds(include_str!("../../fixtures/market_event.json"), reference::market_event)?;
    holds(include_str!("../../fixtures/latest_price.json"), reference::latest_price)?;
    holds(include_str!("../../fixtures/candle.json"), reference::candle)?;
    holds(include_str!("../../fixtures/feed_mark.json"), reference::feed_mark)?;
    holds(include_str!("../../fixtures/quote.json"), reference::quote)?;
    holds(include_str!("../../fixtures/book.json"), reference::book)?;
    holds(include_str!("../../fixtures/top_of_book.json"), reference::top_of_book)?;
    holds(include_str!("../../fixtures/spread_key.json"), reference::spread_key)?;
    holds(include_str!("../../fixtures/spread.json"), reference::spread)?;
    holds(include_str!("../../fixtures/ticker.json"), options::reference_ticker)?;
    holds(include_str!("../../fixtures/instrument.json"), options::reference_instrument)?;
    holds(include_str!("../../fixtures/option_state.json"), options::reference_option_state)?;
    holds(
        include_str!("../../fixtures/option_minute_key.json"),
        options::reference_option_minute_key,
    )?;
    holds(include_str!("../../fixtures/option_minute.json"), options::reference_option_minute)?;
    holds(include_str!("../../fixtures/derivative.json"), options::reference_derivative)
}

#[test]
fn the_wire_format_is_a_zero_then_the_id_then_the_record() -> Outcome {
    let key = PairKey::new("BTC", "USD", "coinbase");
    let mut ids = OFFLINE_IDS;
    ids[Kind::PairKey as usize] = 0x0102_0304;
    let codec = Codec::new(ids, Box::new(|_| Ok(None)));
    let bytes = codec.to_bytes(&key);
    assert_eq!(hex(&bytes), "00010203040642544306555344".to_owned() + "10636f696e62617365");
    assert_eq!(codec.decode::<PairKey>(&bytes)?, key);
    assert_eq!(codec.kind(&bytes)?, Some(Kind::PairKey));
    Ok(())
}
