//! The columns of answers about options, futures and perpetuals.
//!
//! They are the fields of the records under their own names. A value that the venue does not give is
//! null, and so is the price of an empty side.

use schemas::instrument::Right;
use schemas::{Decimal, Derivative, OptionMinute, OptionState, PairKey, Timestamp};

use super::columns::{Column, Row, number, text, time, whole};

/// The fields of an option.
pub(super) static OPTION: &[Column<OptionState>] = &[
    text("currency", |option| Some(&option.currency)),
    time("expiry_time", |option| Some(option.expiry_time)),
    number("strike", |option| Some(option.strike)),
    text("right", |option| Some(option.right.as_str())),
    text("settlement_currency", |option| option.settlement_currency.as_deref()),
    number("contract_size", |option| option.contract_size),
    number("tick_size", |option| option.tick_size),
    number("mark_price", |option| option.mark_price),
    number("last_price", |option| option.last_price),
    number("bid", |option| option.bid),
    number("bid_size", |option| option.bid_size),
    number("ask", |option| option.ask),
    number("ask_size", |option| option.ask_size),
    number("mark_iv", |option| option.mark_iv),
    number("bid_iv", |option| option.bid_iv),
    number("ask_iv", |option| option.ask_iv),
    number("delta", |option| option.delta),
    number("gamma", |option| option.gamma),
    number("vega", |option| option.vega),
    number("theta", |option| option.theta),
    number("rho", |option| option.rho),
    number("open_interest", |option| option.open_interest),
    number("underlying_price", |option| option.underlying_price),
    text("underlying_index", |option| option.underlying_index.as_deref()),
    number("index_price", |option| option.index_price),
    number("settlement_price", |option| option.settlement_price),
    number("min_price", |option| option.min_price),
    number("max_price", |option| option.max_price),
    number("interest_rate", |option| option.interest_rate),
    number("estimated_delivery_price", |option| option.estimated_delivery_price),
    number("volume", |option| option.volume),
    number("volume_usd", |option| option.volume_usd),
    number("price_change", |option| option.price_change),
    number("high", |option| option.high),
    number("low", |option| option.low),
    text("state", |option| Some(&option.state)),
    time("closed_at", |option| option.closed_at),
    time("event_time", |option| Some(option.event_time)),
    time("received_at", |option| Some(option.received_at)),
];

/// The fields that the call and the put of a strike share, before the others in [`OPTION`].
const SHARED: usize = 4;

/// The fields of one side of a strike.
pub(super) fn side_columns() -> &'static [Column<OptionState>] {
    &OPTION[SHARED..]
}

/// An option as a JSON object.
pub(super) fn option_row<'a>(pair: &'a PairKey, option: &'a OptionState) -> Row<'a, OptionState> {
    Row { pair: Some(pair), record: option, columns: OPTION }
}

/// The fields of a future or a perpetual.
pub(super) static DERIVATIVE: &[Column<Derivative>] = &[
    text("class", |one| Some(one.class.as_str())),
    text("currency", |one| Some(&one.currency)),
    text("settlement_currency", |one| one.settlement_currency.as_deref()),
    time("expiry_time", |one| one.expiry_time),
    number("contract_size", |one| one.contract_size),
    number("tick_size", |one| one.tick_size),
    number("mark_price", |one| one.mark_price),
    number("last_price", |one| one.last_price),
    number("bid", |one| one.bid),
    number("bid_size", |one| one.bid_size),
    number("ask", |one| one.ask),
    number("ask_size", |one| one.ask_size),
    number("open_interest", |one| one.open_interest),
    number("index_price", |one| one.index_price),
    number("settlement_price", |one| one.settlement_price),
    number("min_price", |one| one.min_price),
    number("max_price", |one| one.max_price),
    number("interest_rate", |one| one.interest_rate),
    number("estimated_delivery_price", |one| one.estimated_delivery_price),
    number("current_funding", |one| one.current_funding),
    number("funding_8h", |one| one.funding_8h),
    number("volume", |one| one.volume),
    number("volume_usd", |one| one.volume_usd),
    number("price_change", |one| one.price_change),
    number("high", |one| one.high),
    number("low", |one| one.low),
    text("state", |one| Some(&one.state)),
    time("closed_at", |one| one.closed_at),
    time("event_time", |one| Some(one.event_time)),
    time("received_at", |one| Some(one.received_at)),
];

/// A minute of an option.
pub(super) struct MinuteRow {
    /// The first instant of the minute.
    pub(super) open_time: Timestamp,
    /// Its last ticker.
    pub(super) minute: OptionMinute,
}

/// The fields of a minute.
pub(super) static MINUTE: &[Column<MinuteRow>] = &[
    time("open_time", |row| Some(row.open_time)),
    number("mark_price", |row| row.minute.mark_price),
    number("mark_iv", |row| row.minute.mark_iv),
    number("bid", |row| row.minute.bid),
    number("ask", |row| row.minute.ask),
    number("bid_iv", |row| row.minute.bid_iv),
    number("ask_iv", |row| row.minute.ask_iv),
    number("delta", |row| row.minute.delta),
    number("open_interest", |row| row.minute.open_interest),
    number("underlying_price", |row| row.minute.underlying_price),
    number("index_price", |row| row.minute.index_price),
    time("event_time", |row| Some(row.minute.event_time)),
];

/// One option of a surface.
pub(super) struct Point {
    /// The option.
    pub(super) pair: PairKey,
    /// When it expires.
    pub(super) expiry_time: Timestamp,
    /// The strike.
    pub(super) strike: Decimal,
    /// Call or put.
    pub(super) right: Right,
    /// Implied volatility of the mark price, in percent, as the next two.
    pub(super) mark_iv: Option<Decimal>,
    /// Of the bid.
    pub(super) bid_iv: Option<Decimal>,
    /// Of the ask.
    pub(super) ask_iv: Option<Decimal>,
    /// Change of the price with the underlying.
    pub(super) delta: Option<Decimal>,
    /// Open interest.
    pub(super) open_interest: Option<Decimal>,
    /// The forward for the expiry.
    pub(super) underlying_price: Option<Decimal>,
    /// The venue's time of the ticker.
    pub(super) event_time: Timestamp,
    /// Milliseconds from the ticker to the answer.
    pub(super) age_ms: i64,
}

/// The smile that a point belongs to, for formats without nested rows.
pub(super) static SMILE: &[Column<Point>] = &[
    text("exchange", |point| Some(&point.pair.exchange)),
    text("quote", |point| Some(&point.pair.quote)),
    time("expiry_time", |point| Some(point.expiry_time)),
];

/// The fields of a point.
pub(super) static POINT: &[Column<Point>] = &[
    text("base", |point| Some(&point.pair.base)),
    number("strike", |point| Some(point.strike)),
    text("right", |point| Some(point.right.as_str())),
    number("mark_iv", |point| point.mark_iv),
    number("bid_iv", |point| point.bid_iv),
    number("ask_iv", |point| point.ask_iv),
    number("delta", |point| point.delta),
    number("open_interest", |point| point.open_interest),
    number("underlying_price", |point| point.underlying_price),
    time("event_time", |point| Some(point.event_time)),
    whole("age_ms", |point| Some(point.age_ms)),
];
