//! Any record at all, and what must hold of each: our bytes are the reference's.

use std::sync::LazyLock;

use apache_avro::types::Value;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use proptest::collection::vec;
use proptest::option;
use proptest::prelude::*;
use schemas::avro::Record;
use schemas::json::RecordJson;
use schemas::{
    Basis, Book, BookLevel, BookState, Candle, CandleKey, Codec, Decimal, FeedMark, LatestPrice,
    MarketEvent, PairChange, PairKey, Part, Proof, Quote, Spread, SpreadKey, Status, TakerSide,
    Timestamp, TopOfBook, TradeDetails, VolumeSource, WeightedSum,
};

use serde_json::Value as Json;

use crate::golden::as_json;
use crate::{options, reference};

static JSON: LazyLock<RecordJson> =
    LazyLock::new(|| RecordJson::new().unwrap_or_else(|error| panic!("{error}")));

/// The greatest magnitude of 38 digits.
const MAX_UNITS: i128 = 99_999_999_999_999_999_999_999_999_999_999_999_999;

/// Any decimal; those where one more byte is needed more often than chance has them.
pub(crate) fn decimal() -> impl Strategy<Value = Decimal> {
    let edge = (0u32..127, -1i128..=1, any::<bool>()).prop_map(|(bit, off, negative)| {
        let units = ((1i128 << bit) + off).min(MAX_UNITS);
        if negative { -units } else { units }
    });
    let units = prop_oneof![-MAX_UNITS..=MAX_UNITS, -1000i128..1000, edge];
    units.prop_filter_map("38 digits", Decimal::from_units)
}

pub(crate) fn time() -> impl Strategy<Value = Timestamp> {
    any::<i64>().prop_map(Timestamp)
}

fn basis() -> impl Strategy<Value = Basis> {
    prop_oneof![Just(Basis::Trade), Just(Basis::Ticker)]
}

fn volume_source() -> impl Strategy<Value = VolumeSource> {
    use VolumeSource::{Derived, Exchange, None};
    prop_oneof![Just(Exchange), Just(Derived), Just(None)]
}

fn status() -> impl Strategy<Value = Status> {
    prop_oneof![Just(Status::Open), Just(Status::Closed), Just(Status::Revised)]
}

prop_compose! {
    pub(crate) fn pair_key()(base: String, quote: String, exchange: String) -> PairKey {
        PairKey { base, quote, exchange }
    }
}

prop_compose! {
    pub(crate) fn candle_key()(pair in pair_key(), basis in basis(), open_time in time())
        -> CandleKey
    {
        CandleKey { pair, basis, open_time }
    }
}

prop_compose! {
    pub(crate) fn market_event()(
        (price, size, base_volume_24h, quote_volume_24h) in
            (decimal(), option::of(decimal()), option::of(decimal()), option::of(decimal())),
        (trade_id, sequence) in any::<(Option<i64>, Option<i64>)>(),
        taker_side in option::of(prop_oneof![Just(TakerSide::Buy), Just(TakerSide::Sell)]),
        volume_source in volume_source(),
        (event_time, received_at) in (time(), time()),
        (basis, iv, index_price) in (basis(), option::of(decimal()), option::of(decimal())),
        (liquidation, block_trade_id, combo_id) in
            any::<(Option<String>, Option<String>, Option<String>)>(),
    ) -> MarketEvent {
        MarketEvent {
            price, size, trade_id, sequence, taker_side, base_volume_24h, quote_volume_24h,
            volume_source, event_time, received_at, basis,
            details: TradeDetails { iv, index_price, liquidation, block_trade_id, combo_id }.boxed(),
        }
    }
}

prop_compose! {
    pub(crate) fn latest_price()(
        (price, size, base_volume_24h, quote_volume_24h) in
            (decimal(), option::of(decimal()), option::of(decimal()), option::of(decimal())),
        (trade_id, tie) in any::<(Option<i64>, i64)>(),
        (basis, volume_source) in (basis(), volume_source()),
        (volume_time, event_time, received_at) in (option::of(time()), time(), time()),
    ) -> LatestPrice {
        LatestPrice {
            price, size, trade_id, basis, base_volume_24h, quote_volume_24h, volume_source,
            volume_time, event_time, received_at, tie,
        }
    }
}

prop_compose! {
    pub(crate) fn candle()(
        [open, high, low, close] in [decimal(), decimal(), decimal(), decimal()],
        [base_volume, quote_volume, taker_buy_base, taker_buy_quote] in [
            option::of(decimal()), option::of(decimal()),
            option::of(decimal()), option::of(decimal()),
        ],
        (status, open_event_time, close_event_time) in (status(), time(), time()),
        (trades, revision, gap, partial_start) in any::<(i64, i32, bool, bool)>(),
        (coverage_ms, missing_trades) in any::<(Option<i64>, Option<i64>)>(),
        (open_tie, close_tie) in any::<(i64, i64)>(),
        seen in vec(any::<u8>(), 0..40),
    ) -> Candle {
        Candle {
            open, high, low, close, base_volume, quote_volume, taker_buy_base, taker_buy_quote,
            trades, status, revision, open_event_time, close_event_time, gap, coverage_ms,
            partial_start, missing_trades, open_tie, close_tie, seen,
        }
    }
}

prop_compose! {
    pub(crate) fn feed_mark()(
        (feed, reason) in any::<(String, String)>(),
        (healthy_until, received_at) in (time(), time()),
        (gap_from, gap_until) in (option::of(time()), option::of(time())),
        (healthy_from, first_missing_id, missing, state) in
            (option::of(time()), any::<Option<i64>>(), any::<Option<i64>>(), any::<Vec<u8>>()),
        part in option::of(prop_oneof![
            Just(Part::Connection), Just(Part::Trades), Just(Part::Tickers), Just(Part::Book),
        ]),
        change in option::of(prop_oneof![Just(PairChange::Ended), Just(PairChange::Reset)]),
    ) -> FeedMark {
        FeedMark {
            feed, healthy_until, gap_from, gap_until, reason, received_at, healthy_from,
            first_missing_id, missing, state, part, change,
        }
    }
}

fn proof() -> impl Strategy<Value = Proof> {
    prop_oneof![Just(Proof::Checksum), Just(Proof::Sequence), Just(Proof::None)]
}

prop_compose! {
    pub(crate) fn quote()(
        [bid, bid_size, ask, ask_size] in [
            option::of(decimal()), option::of(decimal()),
            option::of(decimal()), option::of(decimal()),
        ],
        (sequence, proof) in (any::<Option<i64>>(), proof()),
        (event_time, received_at) in (time(), time()),
    ) -> Quote {
        Quote { bid, bid_size, ask, ask_size, sequence, proof, event_time, received_at }
    }
}

prop_compose! {
    fn level()((price, size) in (decimal(), decimal())) -> BookLevel {
        BookLevel { price, size }
    }
}

prop_compose! {
    pub(crate) fn book()(
        bids in vec(level(), 0..=Book::MAX_LEVELS),
        asks in vec(level(), 0..4),
        (sequence, proof) in (any::<Option<i64>>(), proof()),
        (event_time, received_at) in (time(), time()),
    ) -> Book {
        Book { bids, asks, sequence, proof, event_time, received_at }
    }
}

prop_compose! {
    pub(crate) fn top_of_book()(
        (quote, max_spread) in (quote(), option::of(decimal())),
        state in prop_oneof![Just(BookState::InSync), Just(BookState::OutOfSync)],
        (since, clock, max_spread_day) in (time(), time(), time()),
        mids in vec(decimal(), 0..=TopOfBook::MIDS),
    ) -> TopOfBook {
        let Quote { bid, bid_size, ask, ask_size, sequence, event_time, received_at, .. } = quote;
        TopOfBook {
            bid, bid_size, ask, ask_size, max_spread, sequence, state, event_time, received_at,
            since, clock, max_spread_day, mids,
        }
    }
}

prop_compose! {
    pub(crate) fn spread_key()(pair in pair_key(), open_time in time()) -> SpreadKey {
        SpreadKey { pair, open_time }
    }
}

prop_compose! {
    fn sum()(terms in vec((decimal(), any::<u32>()), 0..4)) -> WeightedSum {
        let mut sum = WeightedSum::default();
        for (value, weight) in terms {
            sum.add(value, weight);
        }
        sum
    }
}

prop_compose! {
    pub(crate) fn spread()(
        [spread_min, spread_max, spread_max_abs, spread_last] in [
            option::of(decimal()), option::of(decimal()),
            option::of(decimal()), option::of(decimal()),
        ],
        [mid_open, mid_high, mid_low, mid_close] in [
            option::of(decimal()), option::of(decimal()),
            option::of(decimal()), option::of(decimal()),
        ],
        (mid_mean_10, microprice, imbalance) in
            (option::of(decimal()), option::of(decimal()), option::of(decimal())),
        (updates, coverage_ms, gap, revision) in any::<(i64, Option<i64>, bool, i32)>(),
        status in status(),
        (spread_sum, mid_sum, counted_ms) in (sum(), sum(), any::<i64>()),
    ) -> Spread {
        Spread {
            updates, spread_min, spread_max, spread_max_abs, mid_open, mid_high, mid_low,
            mid_close, mid_mean_10, microprice, imbalance, coverage_ms, gap, status, revision,
            spread_last, spread_sum, mid_sum, counted_ms,
        }
    }
}

/// Ours writes what the reference writes, reads what it has written, and shows the same as JSON.
fn same<R: Record + PartialEq + std::fmt::Debug>(
    record: &R,
    value: Value,
) -> Result<(), TestCaseError> {
    let json = as_json(&value, |bytes| STANDARD.encode(bytes))
        .map_err(|error| TestCaseError::fail(error.to_string()))?;
    let reference = reference::encode(R::KIND, value)
        .map_err(|error| TestCaseError::fail(error.to_string()))?;
    let codec = Codec::offline();
    let mut wire = Vec::new();
    codec.header(R::KIND, &mut wire);
    wire.extend_from_slice(&reference);
    prop_assert_eq!(&codec.to_bytes(record), &wire);
    let (decoded, body) = (codec.decode::<R>(&wire), codec.body::<R>(&wire));
    prop_assert_eq!(decoded.as_ref(), Ok(record));
    prop_assert_eq!(body.as_deref(), Ok(&reference[..]));
    prop_assert_eq!(codec.own(&wire), Some((R::KIND, &reference[..])));
    let mut text = String::new();
    prop_assert_eq!(JSON.write(R::KIND, &reference, &mut text), Ok(()));
    prop_assert_eq!(serde_json::from_str::<Json>(&text).ok(), Some(json));
    Ok(())
}

proptest! {
    #[test]
    fn any_record_is_written_as_the_reference_writes_it(
        (pair, window) in (pair_key(), candle_key()),
        (event, latest) in (market_event(), latest_price()),
        (candle, mark) in (candle(), feed_mark()),
    ) {
        same(&pair, reference::pair_key(&pair))?;
        same(&window, reference::candle_key(&window))?;
        same(&event, reference::market_event(&event))?;
        same(&latest, reference::latest_price(&latest))?;
        same(&candle, reference::candle(&candle))?;
        same(&mark, reference::feed_mark(&mark))?;
    }

    #[test]
    fn any_record_of_books_is_written_as_the_reference_writes_it(
        (quote, book) in (quote(), book()),
        (top, window, spread) in (top_of_book(), spread_key(), spread()),
    ) {
        same(&quote, reference::quote(&quote))?;
        same(&book, reference::book(&book))?;
        same(&top, reference::top_of_book(&top))?;
        same(&window, reference::spread_key(&window))?;
        same(&spread, reference::spread(&spread))?;
    }
    #[test]
    fn any_record_of_options_is_written_as_the_reference_writes_it(
        (ticker, instrument) in (options::ticker(), options::instrument()),
        (option, derivative) in (options::option_state(), options::derivative()),
        (key, minute) in (options::option_minute_key(), options::option_minute()),
    ) {
        same(&ticker, options::reference_ticker(&ticker))?;
        same(&instrument, options::reference_instrument(&instrument))?;
        same(&option, options::reference_option_state(&option))?;
        same(&derivative, options::reference_derivative(&derivative))?;
        same(&key, options::reference_option_minute_key(&key))?;
        same(&minute, options::reference_option_minute(&minute))?;
    }
}
