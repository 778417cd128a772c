//! Writers of other versions: those before an optional field, those after a new one.
//!
//! A version is made from our own schema: `older` lacks every field that has a default, `newer`
//! has one more in the middle. What they wrote is read by Avro's schema resolution.

use std::fmt::Debug;

use apache_avro::types::Value;
use apache_avro::{Schema, to_avro_datum};
use proptest::prelude::*;
use proptest::test_runner::{Config, TestRunner};
use schemas::avro::Record;
use schemas::codec::OFFLINE_IDS;
use schemas::{
    Codec, Decimal, DecodeError, FeedMark, Kind, LatestPrice, MarketEvent, Status, Timestamp,
};
use serde_json::{Value as Json, json};

use crate::{Outcome, arbitrary, options, reference};

/// An id that none of our schemas has.
pub(crate) const FOREIGN: i32 = 77;

fn with_fields(kind: Kind, change: impl FnOnce(&mut Vec<Json>)) -> Outcome<String> {
    let mut schema: Json = serde_json::from_str(kind.schema())?;
    change(schema["fields"].as_array_mut().ok_or("a record has fields")?);
    Ok(schema.to_string())
}

/// The schema before any field that has a default was added.
pub(crate) fn older(kind: Kind) -> Outcome<String> {
    with_fields(kind, |fields| fields.retain(|field| field.get("default").is_none()))
}

/// The schema of a later version, with a field that we do not know.
pub(crate) fn newer(kind: Kind) -> Outcome<String> {
    let added = json!({"name": "added_later", "type": "string", "default": ""});
    with_fields(kind, |fields| fields.insert(1, added))
}

/// A codec whose registry holds one schema more than ours.
pub(crate) fn knowing(schema: &str) -> Codec {
    let schema = schema.to_owned();
    let lookup = move |id| Ok((id == FOREIGN).then(|| schema.clone()));
    Codec::new(OFFLINE_IDS, Box::new(lookup))
}

/// What a writer of `schema` sends. Fields that the writer does not have are left out, those that
/// we do not have are filled.
pub(crate) fn written(schema: &str, record: Value) -> Outcome<Vec<u8>> {
    let schema = Schema::parse_str(schema)?;
    let (Schema::Record(names), Value::Record(mut fields)) = (&schema, record) else {
        return Err("a record and its schema".into());
    };
    fields.retain(|(name, _)| names.lookup.contains_key(name));
    if names.lookup.contains_key("added_later") {
        fields.insert(1, ("added_later".into(), Value::String("of no use to us".into())));
    }
    let mut bytes = vec![0];
    bytes.extend_from_slice(&FOREIGN.to_be_bytes());
    bytes.extend(to_avro_datum(&schema, Value::Record(fields))?);
    Ok(bytes)
}

fn reads<R: Record + PartialEq + Debug>(schema: &str, record: &R, value: Value) -> Outcome {
    let codec = knowing(schema);
    let bytes = written(schema, value)?;
    assert_eq!(codec.kind(&bytes)?, Some(R::KIND));
    assert_eq!(&codec.decode::<R>(&bytes)?, record);
    let mut ours = Vec::new();
    record.write(&mut ours);
    assert_eq!(*codec.body::<R>(&bytes)?, ours, "the body is in our own schema");
    Ok(())
}

#[test]
fn an_older_writer_without_optional_fields_is_read_with_their_defaults() -> Outcome {
    let (price, time) = ("61837.63".parse::<Decimal>()?, Timestamp(1_618_677_810_244));
    let event = MarketEvent::sample(price, time);
    reads(&older(Kind::MarketEvent)?, &event, reference::market_event(&event))?;

    let latest = LatestPrice::of(&event, 3);
    reads(&older(Kind::LatestPrice)?, &latest, reference::latest_price(&latest))?;

    let mark = FeedMark::healthy("matches-0", time, time);
    reads(&older(Kind::FeedMark)?, &mark, reference::feed_mark(&mark))
}

/// The bytes of version 1 of a mark, as they stand in logs and changelogs.
#[test]
fn the_marks_of_version_1_are_read_from_their_bytes() -> Outcome {
    let first = include_str!("../../fixtures/v1/feed_mark.avsc");
    let gap = FeedMark {
        gap_from: Some(Timestamp(5)),
        gap_until: Some(Timestamp(9)),
        ..FeedMark::healthy("matches-0", Timestamp(7), Timestamp(11))
    };
    reads(first, &gap, reference::feed_mark(&gap))
}

/// The bytes of version 1 of an event: trades of years stand in logs and captures.
#[test]
fn the_events_of_version_1_are_read_from_their_bytes() -> Outcome {
    let first = include_str!("../../fixtures/v1/market_event.avsc");
    let trade = MarketEvent {
        trade_id: Some(157_062_500),
        taker_side: Some(schemas::TakerSide::Sell),
        ..MarketEvent::trade("61837.63".parse()?, "0.02".parse()?, Timestamp(1_618_677_810_244))
    };
    reads(first, &trade, reference::market_event(&trade))
}

/// What is cut off never passes for what an older writer does not have.
#[test]
fn a_cut_event_of_an_older_writer_is_corrupt() -> Outcome {
    let schema = include_str!("../../fixtures/v1/market_event.avsc");
    let codec = knowing(schema);
    TestRunner::new(Config::with_cases(64)).run(&arbitrary::market_event(), |event| {
        let bytes = written(schema, reference::market_event(&event));
        let bytes = bytes.map_err(|error| TestCaseError::fail(error.to_string()))?;
        prop_assert!(codec.decode::<MarketEvent>(&bytes).is_ok());
        for length in 5..bytes.len() {
            let read = codec.decode::<MarketEvent>(&bytes[..length]);
            prop_assert!(matches!(read, Err(DecodeError::Corrupt)), "{length}: {read:?}");
        }
        Ok(())
    })?;
    Ok(())
}

#[test]
fn an_older_candle_is_read_with_nothing_known_and_nothing_seen() -> Outcome {
    let price: Decimal = "0.5".parse()?;
    let candle = schemas::Candle {
        status: Status::Closed,
        close_event_time: Timestamp(2),
        close_tie: 5,
        ..schemas::Candle::at(price, Timestamp(1), 4)
    };
    reads(&older(Kind::Candle)?, &candle, reference::candle(&candle))
}

/// Holds of any record: what a newer writer adds is passed over, and the rest is read exactly.
fn newer_is_read<R: Record + PartialEq + Debug + 'static>(
    records: impl Strategy<Value = R>,
    reference_of: fn(&R) -> Value,
) -> Outcome {
    let schema = newer(R::KIND)?;
    TestRunner::new(Config::with_cases(64)).run(&records, |record| {
        reads(&schema, &record, reference_of(&record))
            .map_err(|error| TestCaseError::fail(error.to_string()))
    })?;
    Ok(())
}

#[test]
fn a_newer_writers_added_field_is_passed_over() -> Outcome {
    newer_is_read(arbitrary::pair_key(), reference::pair_key)?;
    newer_is_read(arbitrary::candle_key(), reference::candle_key)?;
    newer_is_read(arbitrary::market_event(), reference::market_event)?;
    newer_is_read(arbitrary::latest_price(), reference::latest_price)?;
    newer_is_read(arbitrary::candle(), reference::candle)?;
    newer_is_read(arbitrary::feed_mark(), reference::feed_mark)?;
    newer_is_read(arbitrary::quote(), reference::quote)?;
    newer_is_read(arbitrary::book(), reference::book)?;
    newer_is_read(arbitrary::top_of_book(), reference::top_of_book)?;
    newer_is_read(arbitrary::spread_key(), reference::spread_key)?;
    newer_is_read(arbitrary::spread(), reference::spread)?;
    newer_is_read(options::ticker(), options::reference_ticker)?;
    newer_is_read(options::instrument(), options::reference_instrument)?;
    newer_is_read(options::option_state(), options::reference_option_state)?;
    newer_is_read(options::option_minute_key(), options::reference_option_minute_key)?;
    newer_is_read(options::option_minute(), options::reference_option_minute)?;
    newer_is_read(options::derivative(), options::reference_derivative)
}

#[test]
fn a_newer_writers_unknown_volume_source_is_read_as_none() -> Outcome {
    let schema = with_fields(Kind::MarketEvent, |fields| {
        for field in fields.iter_mut().filter(|field| field["name"] == "volume_source") {
            field["type"]["symbols"] = json!(["EXCHANGE", "DERIVED", "NONE", "ESTIMATED"]);
        }
    })?;
    let event = MarketEvent::sample(Decimal::ONE, Timestamp(5));
    let Value::Record(mut fields) = reference::market_event(&event) else {
        return Err("an event is a record".into());
    };
    for (_, value) in fields.iter_mut().filter(|(name, _)| name == "volume_source") {
        *value = Value::Enum(3, "ESTIMATED".into());
    }
    let bytes = written(&schema, Value::Record(fields))?;
    assert_eq!(knowing(&schema).decode::<MarketEvent>(&bytes)?, event);
    Ok(())
}

#[test]
fn a_price_of_another_scale_is_not_read_as_ours() -> Outcome {
    let schema = Kind::MarketEvent.schema().replace(r#""scale": 18"#, r#""scale": 8"#);
    let event = MarketEvent::sample(Decimal::ONE, Timestamp(5));
    let bytes = written(&schema, reference::market_event(&event))?;
    assert_eq!(knowing(&schema).decode::<MarketEvent>(&bytes), Err(DecodeError::Corrupt));
    Ok(())
}
