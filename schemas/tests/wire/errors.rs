//! What is not a record of ours: each way of being wrong has its own error, and none panics.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use proptest::collection::vec;
use proptest::prelude::*;
use schemas::avro::Record;
use schemas::codec::OFFLINE_IDS;
use schemas::{
    Book, Candle, CandleKey, Codec, DecodeError, Derivative, FeedMark, Instrument, Kind,
    LatestPrice, MarketEvent, OptionMinute, OptionMinuteKey, OptionState, PairKey, Quote, Spread,
    SpreadKey, Ticker, TopOfBook,
};

use crate::resolution::{FOREIGN, knowing, newer, older, written};
use crate::{Outcome, arbitrary, options, reference};

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
        OFFLINE_IDS,
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
        OFFLINE_IDS.map(|id| -id),
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

    #[test]
    fn truncated_and_trailing_bytes_of_books_are_corrupt(
        (quote, book) in (arbitrary::quote(), arbitrary::book()),
        (top, key, spread) in
            (arbitrary::top_of_book(), arbitrary::spread_key(), arbitrary::spread()),
    ) {
        let codec = Codec::offline();
        parts_are_corrupt::<Quote>(&codec, &codec.to_bytes(&quote));
        parts_are_corrupt::<Book>(&codec, &codec.to_bytes(&book));
        parts_are_corrupt::<TopOfBook>(&codec, &codec.to_bytes(&top));
        parts_are_corrupt::<SpreadKey>(&codec, &codec.to_bytes(&key));
        parts_are_corrupt::<Spread>(&codec, &codec.to_bytes(&spread));
    }

    #[test]
    fn truncated_and_trailing_bytes_of_options_are_corrupt(
        (ticker, instrument) in (options::ticker(), options::instrument()),
        (option, derivative) in (options::option_state(), options::derivative()),
        (key, minute) in (options::option_minute_key(), options::option_minute()),
    ) {
        let codec = Codec::offline();
        parts_are_corrupt::<Ticker>(&codec, &codec.to_bytes(&ticker));
        parts_are_corrupt::<Instrument>(&codec, &codec.to_bytes(&instrument));
        parts_are_corrupt::<OptionState>(&codec, &codec.to_bytes(&option));
        parts_are_corrupt::<Derivative>(&codec, &codec.to_bytes(&derivative));
        parts_are_corrupt::<OptionMinuteKey>(&codec, &codec.to_bytes(&key));
        parts_are_corrupt::<OptionMinute>(&codec, &codec.to_bytes(&minute));
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
    let _ = codec.decode::<Quote>(bytes);
    let _ = codec.decode::<Book>(bytes);
    let _ = codec.decode::<TopOfBook>(bytes);
    let _ = codec.decode::<SpreadKey>(bytes);
    let _ = codec.decode::<Spread>(bytes);
    let _ = codec.decode::<Ticker>(bytes);
    let _ = codec.decode::<Instrument>(bytes);
    let _ = codec.decode::<OptionState>(bytes);
    let _ = codec.decode::<OptionMinuteKey>(bytes);
    let _ = codec.decode::<OptionMinute>(bytes);
    let _ = codec.decode::<Derivative>(bytes);
}

proptest! {
    #[test]
    fn arbitrary_bytes_never_panic(bytes in vec(any::<u8>(), 0..200)) {
        let codec = Codec::offline();
        read_all(&codec, &bytes);
        for id in OFFLINE_IDS {
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

    #[test]
    fn a_book_with_one_byte_changed_never_panics(
        book in arbitrary::book(), at: prop::sample::Index, byte: u8,
    ) {
        let codec = Codec::offline();
        let mut bytes = codec.to_bytes(&book);
        let at = at.index(bytes.len());
        bytes[at] = byte;
        read_all(&codec, &bytes);
    }
}

/// The arrays of other writers: in several blocks, with or without their sizes in bytes.
#[test]
fn an_array_in_blocks_is_read_up_to_its_bound() -> Outcome {
    let codec = Codec::offline();
    let level = [2, 1, 2, 1];
    let book = |bids: &[&[u8]]| {
        let tail: &[u8] = &[0, 0, 8, b'N', b'O', b'N', b'E', 0, 0];
        let mut bytes = Vec::new();
        codec.header(Kind::Book, &mut bytes);
        codec.decode::<Book>(&[&bytes, &bids.concat()[..], tail].concat())
    };
    // A block of one, one of two that is 8 bytes long, and the end.
    let read = book(&[&[2], &level, &[3, 16], &level, &level, &[0]])?;
    assert_eq!(read.bids.len(), 3);
    let full: Vec<&[u8]> = [&[2u8][..], &level].repeat(Book::MAX_LEVELS);
    let read = book(&[&full.concat(), &[0]])?;
    assert_eq!(read.bids.len(), Book::MAX_LEVELS);
    let beyond = book(&[&full.concat(), &[2], &level, &[0]]);
    assert_eq!(beyond, Err(DecodeError::Corrupt));
    // Counts that no memory would hold.
    for count in [i64::MAX, i64::MIN, i64::MIN + 1] {
        let mut bytes = Vec::new();
        schemas::avro::long(&mut bytes, count);
        assert_eq!(book(&[&bytes, &[0]]), Err(DecodeError::Corrupt), "{count}");
    }
    Ok(())
}
