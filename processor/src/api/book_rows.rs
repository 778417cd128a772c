//! The rows of answers about books: quotes, levels and spreads.
//!
//! An empty side is null, and so is each value that needs both sides. No row has private state.

use schemas::{Book, BookLevel, PairKey, Spread, Timestamp, TopOfBook};
use serde::Serialize;

use super::rows::{AsText, Number, Time};

/// The top of a pair's book.
#[derive(Clone, Debug, Serialize)]
pub(super) struct QuoteRow<'a> {
    base: &'a str,
    quote: &'a str,
    exchange: &'a str,
    bid: Option<Number>,
    bid_size: Option<Number>,
    ask: Option<Number>,
    ask_size: Option<Number>,
    spread: Option<Number>,
    mid: Option<Number>,
    microprice: Option<Number>,
    imbalance: Option<Number>,
    max_spread: Option<Number>,
    mid_mean_10: Option<Number>,
    sequence: Option<i64>,
    state: &'static str,
    event_time: Time,
    received_at: Time,
}

impl<'a> QuoteRow<'a> {
    pub(super) fn new(pair: &'a PairKey, top: &TopOfBook) -> Self {
        Self {
            base: &pair.base,
            quote: &pair.quote,
            exchange: &pair.exchange,
            bid: top.bid.map(AsText),
            bid_size: top.bid_size.map(AsText),
            ask: top.ask.map(AsText),
            ask_size: top.ask_size.map(AsText),
            spread: top.spread().map(AsText),
            mid: top.mid().map(AsText),
            microprice: top.microprice().map(AsText),
            imbalance: top.imbalance().map(AsText),
            max_spread: top.max_spread.map(AsText),
            mid_mean_10: top.mid_mean_10().map(AsText),
            sequence: top.sequence,
            state: top.state.as_str(),
            event_time: AsText(top.event_time),
            received_at: AsText(top.received_at),
        }
    }
}

/// One level of a side.
#[derive(Clone, Debug, Serialize)]
pub(super) struct LevelRow {
    price: Number,
    size: Number,
}

impl LevelRow {
    fn side(levels: &[BookLevel], depth: usize) -> Vec<Self> {
        let row = |level: &BookLevel| Self { price: AsText(level.price), size: AsText(level.size) };
        levels.iter().take(depth).map(row).collect()
    }
}

/// The book of a pair, the best level of each side first.
#[derive(Clone, Debug, Serialize)]
pub(super) struct BookRow<'a> {
    base: &'a str,
    quote: &'a str,
    exchange: &'a str,
    /// Of the newest quote; `None` in updates, where the channel `quotes` has it.
    #[serde(skip_serializing_if = "Option::is_none")]
    state: Option<&'static str>,
    bids: Vec<LevelRow>,
    asks: Vec<LevelRow>,
    sequence: Option<i64>,
    proof: &'static str,
    event_time: Time,
    received_at: Time,
}

impl<'a> BookRow<'a> {
    /// The best `depth` levels of each side.
    pub(super) fn new(
        pair: &'a PairKey,
        book: &Book,
        depth: usize,
        state: Option<&'static str>,
    ) -> Self {
        Self {
            base: &pair.base,
            quote: &pair.quote,
            exchange: &pair.exchange,
            state,
            bids: LevelRow::side(&book.bids, depth),
            asks: LevelRow::side(&book.asks, depth),
            sequence: book.sequence,
            proof: book.proof.as_str(),
            event_time: AsText(book.event_time),
            received_at: AsText(book.received_at),
        }
    }

    /// The levels as lines of CSV: the bids, then the asks, each counted from the best.
    pub(super) fn lines(self) -> impl Iterator<Item = LevelLine> {
        let state = self.state;
        let side = move |side: &'static str, levels: Vec<LevelRow>| {
            (1..).zip(levels).map(move |(level, LevelRow { price, size })| LevelLine {
                side,
                level,
                price,
                size,
                state,
            })
        };
        side("bid", self.bids).chain(side("ask", self.asks))
    }
}

/// A level as a line of CSV.
#[derive(Clone, Debug, Serialize)]
pub(super) struct LevelLine {
    side: &'static str,
    level: usize,
    price: Number,
    size: Number,
    state: Option<&'static str>,
}

/// The spreads of a window.
#[derive(Clone, Debug, Serialize)]
pub(super) struct SpreadRow {
    pub(super) open_time: Time,
    pub(super) updates: i64,
    pub(super) spread_min: Option<Number>,
    pub(super) spread_max: Option<Number>,
    pub(super) spread_max_abs: Option<Number>,
    pub(super) spread_mean: Option<Number>,
    pub(super) mid_open: Option<Number>,
    pub(super) mid_high: Option<Number>,
    pub(super) mid_low: Option<Number>,
    pub(super) mid_close: Option<Number>,
    pub(super) mid_mean: Option<Number>,
    pub(super) mid_mean_10: Option<Number>,
    pub(super) microprice: Option<Number>,
    pub(super) imbalance: Option<Number>,
    pub(super) coverage_ms: Option<i64>,
    pub(super) gap: bool,
    pub(super) status: &'static str,
    pub(super) revision: i32,
}

impl SpreadRow {
    pub(super) fn new(open_time: Timestamp, spread: &Spread) -> Self {
        Self {
            open_time: AsText(open_time),
            updates: spread.updates,
            spread_min: spread.spread_min.map(AsText),
            spread_max: spread.spread_max.map(AsText),
            spread_max_abs: spread.spread_max_abs.map(AsText),
            spread_mean: spread.spread_mean().map(AsText),
            mid_open: spread.mid_open.map(AsText),
            mid_high: spread.mid_high.map(AsText),
            mid_low: spread.mid_low.map(AsText),
            mid_close: spread.mid_close.map(AsText),
            mid_mean: spread.mid_mean().map(AsText),
            mid_mean_10: spread.mid_mean_10.map(AsText),
            microprice: spread.microprice.map(AsText),
            imbalance: spread.imbalance.map(AsText),
            coverage_ms: spread.coverage_ms,
            gap: spread.gap,
            status: spread.status.as_str(),
            revision: spread.revision,
        }
    }
}
