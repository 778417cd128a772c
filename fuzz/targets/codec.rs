//! Bytes from a topic become a record or an error, in our schema, in the first version of it, and in
//! one that is newer; what becomes a record comes back from its own bytes.
//!
//! The first byte of an input says which record, the second which schema wrote it.
#![no_main]

use std::sync::LazyLock;

use libfuzzer_sys::fuzz_target;
use schemas::avro::Record;
use schemas::codec::OFFLINE_IDS;
use schemas::{
    Book, Candle, CandleKey, Codec, Derivative, FeedMark, Instrument, Kind, LatestPrice, MarketEvent,
    OptionMinute, OptionMinuteKey, OptionState, PairKey, Quote, Spread, SpreadKey, Ticker, TopOfBook,
    PoolKey, Pool, Swap, ChainHead, PoolMinuteKey, PoolMinute, TokenKey, TokenBucketKey, TokenBucket, TokenLeg, SwapStatusKey, SwapState, IndexKey, Index, IndexLeg,
};
use serde_json::{Value, json};

/// Ids from here are the first versions, in the order of [`Kind::ALL`].
const FIRST: i32 = 101;
/// Ids from here are versions with a field more than ours.
const NEWER: i32 = 201;
/// The first versions, which must stay readable.
const V1: [&str; Kind::ALL.len()] = [
    include_str!("../../schemas/fixtures/v1/pair_key.avsc"),
    include_str!("../../schemas/fixtures/v1/candle_key.avsc"),
    include_str!("../../schemas/fixtures/v1/market_event.avsc"),
    include_str!("../../schemas/fixtures/v1/latest_price.avsc"),
    include_str!("../../schemas/fixtures/v1/candle.avsc"),
    include_str!("../../schemas/fixtures/v1/feed_mark.avsc"),
    include_str!("../../schemas/fixtures/v1/quote.avsc"),
    include_str!("../../schemas/fixtures/v1/book.avsc"),
    include_str!("../../schemas/fixtures/v1/top_of_book.avsc"),
    include_str!("../../schemas/fixtures/v1/spread_key.avsc"),
    include_str!("../../schemas/fixtures/v1/spread.avsc"),
    include_str!("../../schemas/fixtures/v1/ticker.avsc"),
    include_str!("../../schemas/fixtures/v1/instrument.avsc"),
    include_str!("../../schemas/fixtures/v1/option_state.avsc"),
    include_str!("../../schemas/fixtures/v1/option_minute_key.avsc"),
    include_str!("../../schemas/fixtures/v1/option_minute.avsc"),
    include_str!("../../schemas/fixtures/v1/derivative.avsc"),
    include_str!("../../schemas/fixtures/v1/pool_key.avsc"),
    include_str!("../../schemas/fixtures/v1/pool.avsc"),
    include_str!("../../schemas/fixtures/v1/swap.avsc"),
    include_str!("../../schemas/fixtures/v1/chain_head.avsc"),
    include_str!("../../schemas/fixtures/v1/pool_minute_key.avsc"),
    include_str!("../../schemas/fixtures/v1/pool_minute.avsc"),
    include_str!("../../schemas/fixtures/v1/token_key.avsc"),
    include_str!("../../schemas/fixtures/v1/token_bucket_key.avsc"),
    include_str!("../../schemas/fixtures/v1/token_bucket.avsc"),
    include_str!("../../schemas/fixtures/v1/token_leg.avsc"),
    include_str!("../../schemas/fixtures/v1/swap_status_key.avsc"),
    include_str!("../../schemas/fixtures/v1/swap_state.avsc"),
    include_str!("../../schemas/fixtures/v1/index_key.avsc"),
    include_str!("../../schemas/fixtures/v1/index.avsc"),
    include_str!("../../schemas/fixtures/v1/index_leg.avsc"),
];

static CODEC: LazyLock<Codec> =
    LazyLock::new(|| Codec::new(OFFLINE_IDS, Box::new(|id| Ok(schema(id)))));

fn at(id: i32, first: i32) -> Option<usize> {
    usize::try_from(id.checked_sub(first)?).ok().filter(|index| *index < Kind::ALL.len())
}

fn schema(id: i32) -> Option<String> {
    if let Some(index) = at(id, FIRST) {
        return Some(V1[index].into());
    }
    let mut schema: Value = serde_json::from_str(Kind::ALL[at(id, NEWER)?].schema()).ok()?;
    let field = json!({"name": "added", "type": ["null", "string"], "default": null});
    schema.get_mut("fields")?.as_array_mut()?.insert(0, field);
    Some(schema.to_string())
}

fn check<R: Record + PartialEq + std::fmt::Debug>(bytes: &[u8]) {
    let Ok(record) = CODEC.decode::<R>(bytes) else { return };
    let ours = CODEC.to_bytes(&record);
    assert_eq!(CODEC.decode::<R>(&ours), Ok(record));
    // What is kept as a key is what our own writer would have written.
    let body = CODEC.body::<R>(bytes).map(std::borrow::Cow::into_owned);
    assert!(body.is_ok(), "a record without a body: {body:?}");
}

fuzz_target!(|data: &[u8]| {
    let [kind, writer, body @ ..] = data else { return };
    // Whatever the bytes are, also those of the header.
    let _ = CODEC.kind(body);
    check::<MarketEvent>(body);
    let index = usize::from(*kind) % Kind::ALL.len();
    let id = [1, FIRST, NEWER, 99][usize::from(*writer) % 4] + i32::try_from(index).unwrap_or(0);
    let mut bytes = vec![0];
    bytes.extend_from_slice(&id.to_be_bytes());
    bytes.extend_from_slice(body);
    match Kind::ALL[index] {
        Kind::PairKey => check::<PairKey>(&bytes),
        Kind::CandleKey => check::<CandleKey>(&bytes),
        Kind::MarketEvent => check::<MarketEvent>(&bytes),
        Kind::LatestPrice => check::<LatestPrice>(&bytes),
        Kind::Candle => check::<Candle>(&bytes),
        Kind::FeedMark => check::<FeedMark>(&bytes),
        Kind::Quote => check::<Quote>(&bytes),
        Kind::Book => check::<Book>(&bytes),
        Kind::TopOfBook => check::<TopOfBook>(&bytes),
        Kind::SpreadKey => check::<SpreadKey>(&bytes),
        Kind::Spread => check::<Spread>(&bytes),
        Kind::Ticker => check::<Ticker>(&bytes),
        Kind::Instrument => check::<Instrument>(&bytes),
        Kind::OptionState => check::<OptionState>(&bytes),
        Kind::OptionMinuteKey => check::<OptionMinuteKey>(&bytes),
        Kind::OptionMinute => check::<OptionMinute>(&bytes),
        Kind::Derivative => check::<Derivative>(&bytes),
        Kind::PoolKey => check::<PoolKey>(&bytes),
        Kind::Pool => check::<Pool>(&bytes),
        Kind::Swap => check::<Swap>(&bytes),
        Kind::ChainHead => check::<ChainHead>(&bytes),
        Kind::PoolMinuteKey => check::<PoolMinuteKey>(&bytes),
        Kind::PoolMinute => check::<PoolMinute>(&bytes),
        Kind::TokenKey => check::<TokenKey>(&bytes),
        Kind::TokenBucketKey => check::<TokenBucketKey>(&bytes),
        Kind::TokenBucket => check::<TokenBucket>(&bytes),
        Kind::TokenLeg => check::<TokenLeg>(&bytes),
        Kind::SwapStatusKey => check::<SwapStatusKey>(&bytes),
        Kind::SwapState => check::<SwapState>(&bytes),
        Kind::IndexKey => check::<IndexKey>(&bytes),
        Kind::Index => check::<Index>(&bytes),
        Kind::IndexLeg => check::<IndexLeg>(&bytes),
    }
});
