//! Updates as JSON: decimals and times are strings, as in every answer.

use schemas::{
    Book, Candle, CandleKey, Index, LatestPrice, OptionState, PairKey, SwapState, SwapStatusKey,
    TokenBucket, TokenBucketKey, TopOfBook,
};
use serde::Serialize;

use crate::api::book_rows::{BookRow, QuoteRow};
use crate::api::columns::Row;
use crate::api::index_rows::IndexRow;
use crate::api::option_rows::option_row;
use crate::api::rows::{AsText, CandleRow, LatestRow, Time};
use crate::api::swap_rows::{BUCKET, BucketRow, SWAP, SwapRow, log_index};
use crate::operators::Interval;

/// Appends the newest price of a pair.
pub(super) fn latest(pair: &PairKey, latest: &LatestPrice, out: &mut String) {
    append(&LatestRow::new(pair, latest), out);
}

/// Appends the top of a pair's book.
pub(super) fn quote(pair: &PairKey, top: &TopOfBook, out: &mut String) {
    append(&QuoteRow::new(pair, top), out);
}

/// Appends a pair's book, with every level of its record.
pub(super) fn book(pair: &PairKey, book: &Book, out: &mut String) {
    append(&BookRow::new(pair, book, usize::MAX, None), out);
}

/// Appends an option.
pub(super) fn option(pair: &PairKey, option: &OptionState, out: &mut String) {
    append(&option_row(pair, option), out);
}

/// Appends the index of a pair, whose exchange is empty.
pub(super) fn index(pair: &PairKey, index: &Index, out: &mut String) {
    append(&IndexRow::new(&pair.base, &pair.quote, index), out);
}

#[derive(Serialize)]
struct CandleUpdate<'a> {
    exchange: &'a str,
    base: &'a str,
    quote: &'a str,
    basis: &'a str,
    interval: &'a str,
    #[serde(flatten)]
    row: CandleRow,
}

/// Appends a candle.
pub(super) fn candle(interval: Interval, key: &CandleKey, candle: &Candle, out: &mut String) {
    let row = CandleRow::stored(interval, key.open_time, candle);
    let row = CandleUpdate {
        exchange: &key.pair.exchange,
        base: &key.pair.base,
        quote: &key.pair.quote,
        basis: key.basis.as_str(),
        interval: interval.as_str(),
        row: CandleRow { filled: None, ..row },
    };
    append(&row, out);
}

#[derive(Serialize)]
struct DeletedUpdate<'a> {
    /// An index has none.
    #[serde(skip_serializing_if = "str::is_empty")]
    exchange: &'a str,
    base: &'a str,
    quote: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    basis: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    open_time: Option<Time>,
    deleted: bool,
}

/// Appends the deletion of a key.
pub(super) fn deleted(pair: &PairKey, key: Option<&CandleKey>, out: &mut String) {
    let row = DeletedUpdate {
        exchange: &pair.exchange,
        base: &pair.base,
        quote: &pair.quote,
        basis: key.map(|key| key.basis.as_str()),
        open_time: key.map(|key| AsText(key.open_time)),
        deleted: true,
    };
    append(&row, out);
}

#[derive(Serialize)]
struct TokenUpdate<'a> {
    chain: i64,
    token: &'a str,
    symbol: Option<&'a str>,
    decimals: Option<i64>,
    #[serde(flatten)]
    row: Row<'a, BucketRow>,
}

/// Appends a bucket of a token.
pub(super) fn bucket(key: &TokenBucketKey, bucket: TokenBucket, out: &mut String) {
    let record = BucketRow { open_time: key.open_time, pools: Some(bucket.pools), bucket };
    let row = TokenUpdate {
        chain: key.chain,
        token: &key.token,
        symbol: record.bucket.symbol.as_deref(),
        decimals: record.bucket.decimals,
        row: Row { pair: None, record: &record, columns: BUCKET },
    };
    append(&row, out);
}

/// Appends the status of a swap.
pub(super) fn swap(key: &SwapStatusKey, state: SwapState, out: &mut String) {
    let record = SwapRow { key: key.clone(), state };
    append(&Row { pair: None, record: &record, columns: SWAP }, out);
}

#[derive(Serialize)]
struct DeletedBucket<'a> {
    chain: i64,
    token: &'a str,
    open_time: Time,
    deleted: bool,
}

/// Appends the deletion of a bucket: every swap in it was removed.
pub(super) fn deleted_bucket(key: &TokenBucketKey, out: &mut String) {
    let (chain, token, open_time) = (key.chain, &*key.token, AsText(key.open_time));
    append(&DeletedBucket { chain, token, open_time, deleted: true }, out);
}

#[derive(Serialize)]
struct DeletedSwap<'a> {
    chain: i64,
    tx_hash: &'a str,
    log_index: Option<i64>,
    deleted: bool,
}

/// Appends the deletion of a status: the swap is under another log index now, or too old.
pub(super) fn deleted_swap(key: &SwapStatusKey, out: &mut String) {
    let (chain, tx_hash, log_index) = (key.chain, &*key.tx_hash, log_index(key));
    append(&DeletedSwap { chain, tx_hash, log_index, deleted: true }, out);
}

fn append(row: &impl Serialize, out: &mut String) {
    // Strings, numbers and nulls: encoding cannot fail.
    out.push_str(&serde_json::to_string(row).unwrap_or_default());
}
