//! Updates as JSON: decimals and times are strings, as in every answer.

use schemas::{Book, Candle, CandleKey, LatestPrice, OptionState, PairKey, TopOfBook};
use serde::Serialize;

use crate::api::book_rows::{BookRow, QuoteRow};
use crate::api::option_rows::option_row;
use crate::api::rows::{AsText, CandleRow, LatestRow, Time};
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

fn append(row: &impl Serialize, out: &mut String) {
    // Strings, numbers and nulls: encoding cannot fail.
    out.push_str(&serde_json::to_string(row).unwrap_or_default());
}
