//! Our records as the reference implementation holds them, field by field and by name.
//!
//! Nothing here uses our encoders: the order of fields is the schema's, and a decimal's bytes are
//! found by counting.

use apache_avro::types::Value;
use apache_avro::{Schema, to_avro_datum};
use schemas::{
    Basis, Book, BookLevel, Candle, CandleKey, Decimal, FeedMark, Kind, LatestPrice, MarketEvent,
    PairChange, PairKey, Part, Quote, Spread, SpreadKey, TakerSide, Timestamp, TopOfBook,
    VolumeSource,
};

use crate::Outcome;

/// The parsed schema of a kind.
pub(crate) fn schema(kind: Kind) -> Outcome<Schema> {
    Ok(Schema::parse_str(kind.schema())?)
}

/// What the reference implementation makes of a value.
pub(crate) fn encode(kind: Kind, value: Value) -> Outcome<Vec<u8>> {
    Ok(to_avro_datum(&schema(kind)?, value)?)
}

/// The fields in the schema's order.
pub(crate) fn by_name(kind: Kind, mut fields: Vec<(&'static str, Value)>) -> Value {
    let schema = schema(kind).unwrap_or_else(|error| panic!("{error}"));
    if let Schema::Record(schema) = schema {
        fields.sort_by_key(|(name, _)| schema.lookup.get(*name).copied());
    }
    Value::Record(fields.into_iter().map(|(name, value)| (name.to_owned(), value)).collect())
}

fn record<const N: usize>(fields: [(&str, Value); N]) -> Value {
    Value::Record(fields.map(|(name, value)| (name.to_owned(), value)).into())
}

pub(crate) fn optional<T>(value: Option<T>, inner: impl FnOnce(T) -> Value) -> Value {
    match value {
        None => Value::Union(0, Box::new(Value::Null)),
        Some(value) => Value::Union(1, Box::new(inner(value))),
    }
}

/// The fewest bytes whose sign extension is the number.
pub(crate) fn decimal(value: Decimal) -> Value {
    let all = value.units().to_be_bytes();
    let shorter = |count: usize| {
        let sign = if all[count] & 0x80 == 0 { 0 } else { 0xff };
        all[..count].iter().all(|byte| *byte == sign)
    };
    let dropped = (0..all.len()).rev().find(|&count| shorter(count)).unwrap_or(0);
    Value::Decimal(apache_avro::Decimal::from(&all[dropped..]))
}

pub(crate) fn text(value: &str) -> Value {
    Value::String(value.into())
}

pub(crate) fn time(value: Timestamp) -> Value {
    Value::TimestampMillis(value.0)
}

fn symbol(index: u32, name: &str) -> Value {
    Value::Enum(index, name.into())
}

pub(crate) fn pair_key(key: &PairKey) -> Value {
    record([
        ("base", text(&key.base)),
        ("quote", text(&key.quote)),
        ("exchange", text(&key.exchange)),
    ])
}

pub(crate) fn candle_key(key: &CandleKey) -> Value {
    record([
        ("base", text(&key.pair.base)),
        ("quote", text(&key.pair.quote)),
        ("exchange", text(&key.pair.exchange)),
        ("basis", text(key.basis.as_str())),
        ("open_time", time(key.open_time)),
    ])
}

pub(crate) fn market_event(event: &MarketEvent) -> Value {
    let side = |side| match side {
        TakerSide::Buy => symbol(0, "BUY"),
        TakerSide::Sell => symbol(1, "SELL"),
    };
    let source = match event.volume_source {
        VolumeSource::Exchange => symbol(0, "EXCHANGE"),
        VolumeSource::Derived => symbol(1, "DERIVED"),
        VolumeSource::None => symbol(2, "NONE"),
    };
    let basis = match event.basis {
        Basis::Trade => symbol(0, "TRADE"),
        Basis::Ticker => symbol(1, "TICKER"),
    };
    let details = event.details.as_deref().cloned().unwrap_or_default();
    record([
        ("price", decimal(event.price)),
        ("size", optional(event.size, decimal)),
        ("trade_id", optional(event.trade_id, Value::Long)),
        ("sequence", optional(event.sequence, Value::Long)),
        ("taker_side", optional(event.taker_side, side)),
        ("base_volume_24h", optional(event.base_volume_24h, decimal)),
        ("quote_volume_24h", optional(event.quote_volume_24h, decimal)),
        ("volume_source", source),
        ("event_time", time(event.event_time)),
        ("received_at", time(event.received_at)),
        ("basis", basis),
        ("iv", maybe(details.iv)),
        ("index_price", maybe(details.index_price)),
        ("liquidation", optional(details.liquidation.as_deref(), text)),
        ("block_trade_id", optional(details.block_trade_id.as_deref(), text)),
        ("combo_id", optional(details.combo_id.as_deref(), text)),
    ])
}

pub(crate) fn latest_price(latest: &LatestPrice) -> Value {
    record([
        ("price", decimal(latest.price)),
        ("size", optional(latest.size, decimal)),
        ("trade_id", optional(latest.trade_id, Value::Long)),
        ("basis", text(latest.basis.as_str())),
        ("base_volume_24h", optional(latest.base_volume_24h, decimal)),
        ("quote_volume_24h", optional(latest.quote_volume_24h, decimal)),
        ("volume_source", text(latest.volume_source.as_str())),
        ("volume_time", optional(latest.volume_time, time)),
        ("event_time", time(latest.event_time)),
        ("received_at", time(latest.received_at)),
        ("tie", Value::Long(latest.tie)),
    ])
}

pub(crate) fn candle(candle: &Candle) -> Value {
    record([
        ("open", decimal(candle.open)),
        ("high", decimal(candle.high)),
        ("low", decimal(candle.low)),
        ("close", decimal(candle.close)),
        ("base_volume", optional(candle.base_volume, decimal)),
        ("quote_volume", optional(candle.quote_volume, decimal)),
        ("taker_buy_base", optional(candle.taker_buy_base, decimal)),
        ("taker_buy_quote", optional(candle.taker_buy_quote, decimal)),
        ("trades", Value::Long(candle.trades)),
        ("status", text(candle.status.as_str())),
        ("revision", Value::Int(candle.revision)),
        ("open_event_time", time(candle.open_event_time)),
        ("close_event_time", time(candle.close_event_time)),
        ("gap", Value::Boolean(candle.gap)),
        ("coverage_ms", optional(candle.coverage_ms, Value::Long)),
        ("partial_start", Value::Boolean(candle.partial_start)),
        ("missing_trades", optional(candle.missing_trades, Value::Long)),
        ("open_tie", Value::Long(candle.open_tie)),
        ("close_tie", Value::Long(candle.close_tie)),
        ("seen", Value::Bytes(candle.seen.clone())),
    ])
}

fn part(part: Part) -> Value {
    match part {
        Part::Connection => symbol(0, "CONNECTION"),
        Part::Trades => symbol(1, "TRADES"),
        Part::Tickers => symbol(2, "TICKERS"),
        Part::Book => symbol(3, "BOOK"),
    }
}

fn change(change: PairChange) -> Value {
    match change {
        PairChange::Ended => symbol(0, "ENDED"),
        PairChange::Reset => symbol(1, "RESET"),
    }
}

pub(crate) fn feed_mark(mark: &FeedMark) -> Value {
    record([
        ("feed", text(&mark.feed)),
        ("healthy_until", time(mark.healthy_until)),
        ("gap_from", optional(mark.gap_from, time)),
        ("gap_until", optional(mark.gap_until, time)),
        ("reason", text(&mark.reason)),
        ("received_at", time(mark.received_at)),
        ("healthy_from", optional(mark.healthy_from, time)),
        ("first_missing_id", optional(mark.first_missing_id, Value::Long)),
        ("missing", optional(mark.missing, Value::Long)),
        ("state", Value::Bytes(mark.state.clone())),
        ("part", optional(mark.part, part)),
        ("change", optional(mark.change, change)),
    ])
}

pub(crate) fn maybe(value: Option<Decimal>) -> Value {
    optional(value, decimal)
}

pub(crate) fn quote(quote: &Quote) -> Value {
    record([
        ("bid", maybe(quote.bid)),
        ("bid_size", maybe(quote.bid_size)),
        ("ask", maybe(quote.ask)),
        ("ask_size", maybe(quote.ask_size)),
        ("sequence", optional(quote.sequence, Value::Long)),
        ("proof", text(quote.proof.as_str())),
        ("event_time", time(quote.event_time)),
        ("received_at", time(quote.received_at)),
    ])
}

fn levels(levels: &[BookLevel]) -> Value {
    let level = |level: &BookLevel| {
        record([("price", decimal(level.price)), ("size", decimal(level.size))])
    };
    Value::Array(levels.iter().map(level).collect())
}

pub(crate) fn book(book: &Book) -> Value {
    record([
        ("bids", levels(&book.bids)),
        ("asks", levels(&book.asks)),
        ("sequence", optional(book.sequence, Value::Long)),
        ("proof", text(book.proof.as_str())),
        ("event_time", time(book.event_time)),
        ("received_at", time(book.received_at)),
    ])
}

pub(crate) fn top_of_book(top: &TopOfBook) -> Value {
    record([
        ("bid", maybe(top.bid)),
        ("bid_size", maybe(top.bid_size)),
        ("ask", maybe(top.ask)),
        ("ask_size", maybe(top.ask_size)),
        ("spread", maybe(top.spread())),
        ("mid", maybe(top.mid())),
        ("microprice", maybe(top.microprice())),
        ("imbalance", maybe(top.imbalance())),
        ("max_spread", maybe(top.max_spread)),
        ("mid_mean_10", maybe(top.mid_mean_10())),
        ("sequence", optional(top.sequence, Value::Long)),
        ("state", text(top.state.as_str())),
        ("event_time", time(top.event_time)),
        ("received_at", time(top.received_at)),
        ("since", time(top.since)),
        ("clock", time(top.clock)),
        ("max_spread_day", time(top.max_spread_day)),
        ("mids", Value::Array(top.mids.iter().copied().map(decimal).collect())),
    ])
}

pub(crate) fn spread_key(key: &SpreadKey) -> Value {
    record([
        ("base", text(&key.pair.base)),
        ("quote", text(&key.pair.quote)),
        ("exchange", text(&key.pair.exchange)),
        ("open_time", time(key.open_time)),
    ])
}

pub(crate) fn spread(spread: &Spread) -> Value {
    record([
        ("updates", Value::Long(spread.updates)),
        ("spread_min", maybe(spread.spread_min)),
        ("spread_max", maybe(spread.spread_max)),
        ("spread_max_abs", maybe(spread.spread_max_abs)),
        ("spread_mean", maybe(spread.spread_mean())),
        ("mid_open", maybe(spread.mid_open)),
        ("mid_high", maybe(spread.mid_high)),
        ("mid_low", maybe(spread.mid_low)),
        ("mid_close", maybe(spread.mid_close)),
        ("mid_mean", maybe(spread.mid_mean())),
        ("mid_mean_10", maybe(spread.mid_mean_10)),
        ("microprice", maybe(spread.microprice)),
        ("imbalance", maybe(spread.imbalance)),
        ("coverage_ms", optional(spread.coverage_ms, Value::Long)),
        ("gap", Value::Boolean(spread.gap)),
        ("status", text(spread.status.as_str())),
        ("revision", Value::Int(spread.revision)),
        ("spread_last", maybe(spread.spread_last)),
        ("spread_sum", Value::Bytes(spread.spread_sum.to_bytes())),
        ("mid_sum", Value::Bytes(spread.mid_sum.to_bytes())),
        ("counted_ms", Value::Long(spread.counted_ms)),
    ])
}
