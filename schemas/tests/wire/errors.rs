//! What is not a record of ours: each way of being wrong has its own error, and none panics.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use proptest::collection::vec;
use proptest::prelude::*;
use schemas::avro::Record;
use schemas::{
    Candle, CandleKey, Codec, DecodeError, FeedMark, Kind, LatestPrice, MarketEvent, PairKey,
};

use crate::resolution::{FOREIGN, knowing, newer, older, written};
use crate::{Outcome, arbitrary, reference};

fn key() -> PairKey {
    PairKey::new("BTC", "USD", "coinbase")
}

fn with_id(id: i32, body: &[u8]) -> Vec<u8> {
    let mut bytes = vec![0];
    bytes.extend_from_slice(&id.to_be_bytes());
    bytes.extend_from_slice(body);
    bytes
}

#[test]
fn what_is_not_in_the_wire_format_is_corrupt() {
    let codec = Codec::offline();
    for bytes in [&b""[..], b"\0", b"\0\0\0\0", b"\x01\0\0\0\x01", b"{\"base\":\"BTC\"}"] {
        assert_eq!(codec.decode::<PairKey>(bytes), Err(DecodeError::Corrupt), "{bytes:?}");
        assert_eq!(codec.kind(bytes), Err(DecodeError::Corrupt), "{bytes:?}");
    }
}

#[test]
fn an_id_that_the_registry_does_not_know_is_an_unknown_schema() {
    let bytes = with_id(FOREIGN, b"anything");
    let codec = Codec::offline();
    assert_eq!(codec.decode::<PairKey>(&bytes), Err(DecodeError::UnknownSchema(FOREIGN)));
    assert_eq!(codec.body::<PairKey>(&bytes), Err(DecodeError::UnknownSchema(FOREIGN)));
    assert_eq!(codec.kind(&bytes), Err(DecodeError::UnknownSchema(FOREIGN)));
}

#[test]
fn a_schema_of_something_else_is_the_wrong_schema() {
    let other = r#"{"type": "record", "name": "Order", "namespace": "shop", "fields": []}"#;
    let bytes = with_id(FOREIGN, b"");
    for schema in [other, r#""string""#, "no schema at all"] {
        let codec = knowing(schema);
        let wrong = DecodeError::WrongSchema(FOREIGN, "PairKey");
        assert_eq!(codec.decode::<PairKey>(&bytes), Err(wrong), "{schema}");
        assert_eq!(codec.kind(&bytes), Ok(None), "{schema}");
    }
}

#[test]
fn another_record_of_ours_is_the_wrong_schema() -> Outcome {
    let codec = Codec::offline();
    let event = MarketEvent::sample(schemas::Decimal::ONE, schemas::Timestamp(1));
    let bytes = codec.to_bytes(&event);
    let id = codec.id(Kind::MarketEvent);
    assert!(codec.decode::<LatestPrice>(&bytes).is_err());
    assert_eq!(codec.kind(&bytes), Ok(Some(Kind::MarketEvent)));
    assert_ne!(id, codec.id(Kind::LatestPrice));

    let schema = newer(Kind::MarketEvent)?;
    let bytes = written(&schema, reference::market_event(&event))?;
    let wrong = DecodeError::WrongSchema(FOREIGN, "LatestPrice");
    assert_eq!(knowing(&schema).decode::<LatestPrice>(&bytes), Err(wrong));
    Ok(())
}

#[test]
fn a_registry_that_cannot_be_asked_makes_no_record_bad() {
    let down = Arc::new(AtomicBool::new(true));
    let asked = Arc::clone(&down);
    let codec = Codec::new(
        [1, 2, 3, 4, 5, 6],
        Box::new(move |_| if asked.load(Ordering::SeqCst) { Err("down".into()) } else { Ok(None) }),
    );
    let bytes = with_id(FOREIGN, b"");
    let unavailable = DecodeError::Unavailable("down".into());
    assert_eq!(codec.decode::<PairKey>(&bytes), Err(unavailable.clone()));
    assert_eq!(codec.kind(&bytes), Err(unavailable));
    // What is known needs no registry.
    assert_eq!(codec.decode(&codec.to_bytes(&key())), Ok(key()));
    // The failure is not remembered.
    down.store(false, Ordering::SeqCst);
    assert_eq!(codec.decode::<PairKey>(&bytes), Err(DecodeError::UnknownSchema(FOREIGN)));
}

#[test]
fn an_id_is_asked_for_once_and_made_up_ids_do_not_fill_memory() {
    let count = Arc::new(AtomicUsize::new(0));
    let counted = Arc::clone(&count);
    let codec = Codec::new(
        [-1, -2, -3, -4, -5, -6],
        Box::new(move |_| {
            counted.fetch_add(1, Ordering::SeqCst);
            Ok(None)
        }),
    );
    let ask = |id| codec.decode::<PairKey>(&with_id(id, b"")).is_err();
    let asked = || count.swap(0, Ordering::SeqCst);
    assert!((0..1024).all(ask));
    assert_eq!(asked(), 1024);
    assert!((0..1024).all(ask));
    assert_eq!(asked(), 0, "remembered");
    assert!([5000, 5000].into_iter().all(ask));
    assert_eq!(asked(), 2, "past the bound");
}

/// Each part of a record, and a record with something after it, is corrupt.
fn parts_are_corrupt<R: Record + PartialEq + std::fmt::Debug>(codec: &Codec, bytes: &[u8]) {
    assert!(codec.decode::<R>(bytes).is_ok());
    for end in 0..bytes.len() {
        assert_eq!(codec.decode::<R>(&bytes[..end]), Err(DecodeError::Corrupt), "{end} bytes");
        assert_eq!(codec.body::<R>(&bytes[..end]), Err(DecodeError::Corrupt), "{end} bytes");
    }
    let longer = [bytes, &[0]].concat();
    assert_eq!(codec.decode::<R>(&longer), Err(DecodeError::Corrupt), "a byte more");
    assert_eq!(codec.body::<R>(&longer), Err(DecodeError::Corrupt), "a byte more");
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(32))]

    #[test]
    fn truncated_and_trailing_bytes_are_corrupt(
        event in arbitrary::market_event(),
        latest in arbitrary::latest_price(),
        candle in arbitrary::candle(),
        mark in arbitrary::feed_mark(),
        (pair, window) in (arbitrary::pair_key(), arbitrary::candle_key()),
    ) {
        let codec = Codec::offline();
        parts_are_corrupt::<MarketEvent>(&codec, &codec.to_bytes(&event));
        parts_are_corrupt::<LatestPrice>(&codec, &codec.to_bytes(&latest));
        parts_are_corrupt::<Candle>(&codec, &codec.to_bytes(&candle));
        parts_are_corrupt::<FeedMark>(&codec, &codec.to_bytes(&mark));
        parts_are_corrupt::<PairKey>(&codec, &codec.to_bytes(&pair));
        parts_are_corrupt::<CandleKey>(&codec, &codec.to_bytes(&window));
    }
}

#[test]
fn truncated_and_trailing_bytes_of_another_version_are_corrupt() -> Outcome {
    let event = MarketEvent::sample("0.25".parse()?, schemas::Timestamp(1));
    for schema in [older(Kind::MarketEvent)?, newer(Kind::MarketEvent)?] {
        let bytes = written(&schema, reference::market_event(&event))?;
        parts_are_corrupt::<MarketEvent>(&knowing(&schema), &bytes);
    }
    Ok(())
}

/// Whatever the bytes, reading them as any of ours comes to an end.
fn read_all(codec: &Codec, bytes: &[u8]) {
    let _ = codec.kind(bytes);
    let _ = codec.decode::<PairKey>(bytes);
    let _ = codec.decode::<CandleKey>(bytes);
    let _ = codec.decode::<MarketEvent>(bytes);
    let _ = codec.decode::<LatestPrice>(bytes);
    let _ = codec.decode::<Candle>(bytes);
    let _ = codec.decode::<FeedMark>(bytes);
}

proptest! {
    #[test]
    fn arbitrary_bytes_never_panic(bytes in vec(any::<u8>(), 0..200)) {
        let codec = Codec::offline();
        read_all(&codec, &bytes);
        for id in 1..=6 {
            read_all(&codec, &with_id(id, &bytes));
        }
    }

    #[test]
    fn arbitrary_bytes_of_another_version_never_panic(bytes in vec(any::<u8>(), 0..100)) {
        for kind in Kind::ALL {
            for schema in [older(kind), newer(kind)] {
                let schema = schema.map_err(|error| TestCaseError::fail(error.to_string()))?;
                read_all(&knowing(&schema), &with_id(FOREIGN, &bytes));
            }
        }
    }

    #[test]
    fn a_record_with_one_byte_changed_never_panics(
        candle in arbitrary::candle(), at: prop::sample::Index, byte: u8,
    ) {
        let codec = Codec::offline();
        let mut bytes = codec.to_bytes(&candle);
        let at = at.index(bytes.len());
        bytes[at] = byte;
        read_all(&codec, &bytes);
    }
}
