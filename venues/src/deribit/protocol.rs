//! Deribit: trades and tickers of futures, perpetuals, options and spot; JSON-RPC over a WebSocket.
//!
//! ```text
//! → {"jsonrpc":"2.0","id":1,"method":"public/set_heartbeat","params":{"interval":30}}
//! → {"jsonrpc":"2.0","id":2,"method":"public/subscribe","params":{"channels":["ticker.BTC-PERPETUAL.100ms"]}}
//! ← {"jsonrpc":"2.0","id":2,"result":["ticker.BTC-PERPETUAL.100ms"],"usIn":…,"usOut":…,"testnet":false}
//! ← {"jsonrpc":"2.0","method":"subscription","params":{"channel":"trades.option.BTC.100ms",
//!    "data":[{"trade_seq":1706,"trade_id":"137488100","timestamp":1616321732986,"price":0.007,
//!    "instrument_name":"BTC-26MAR21-62000-C","direction":"buy","amount":0.1, …}]}}
//! ← {"jsonrpc":"2.0","method":"heartbeat","params":{"type":"test_request"}}
//! → {"jsonrpc":"2.0","id":0,"method":"public/test","params":{}}
//! ← {"jsonrpc":"2.0","id":2,"error":{"code":10028,"message":"too_many_requests"}, …}
//! ```
//!
//! Rules of the venue:
//! - `trade_seq` is dense per instrument, `trade_id` is not. The fills of a combo are published on
//!   the combo and on its legs; the instrument is the key, so no fill is counted twice.
//! - The `amount` of an inverse future is USD. The size is in coins here, as `stats.volume` is:
//!   amount ÷ price, rounded to the nearest 10⁻¹⁸ (ties to even).
//! - A ticker is read in `ticker.rs`; those of options come every 2 s (`agg2`) or every 100 ms.
//! - Every answer has the venue's clock in `usOut`; see `CLOCK_MARGIN_MS`.
//! - Not answering a `test_request` ends the connection at once.
//! - A `.raw` channel without authentication fails its whole request: `100ms` is subscribed.
//!
//! # What this does not do
//!
//! Quotes and indices are ignored. Books are read in `book.rs`.

use std::borrow::Cow;
use std::time::Duration;

use schemas::{Decimal, MarketEvent, PairKey, Timestamp, TradeDetails};
use serde::Deserialize;
use serde_json::json;
use serde_json::value::RawValue;

use super::names::{class, is_inverse, pair};
use super::{NAME, ticker};
use crate::channel::{Channel, Follow, TickerInterval};
use crate::fields::{Numbers, content, decimal, integer, scalar, side, words};
use crate::instrument::{Class, ListingChange};
use crate::malformed::{Malformed, Result, not_json};
use crate::message::{Control, Ignored, Message, Parsed, Subscription, UNKNOWN, each, push_nulls};
use crate::request::{SocketRequest, chunked};

/// How long trades and changes of books are held.
const INTERVAL: &str = "100ms";
/// The stream of an instrument's ticker begins with this.
const TICKER: &str = "ticker.";
/// The stream of an instrument's book begins with this.
const BOOK: &str = "book.";
/// The kinds that have trades of their own in a channel for all instruments of a currency.
const KINDS_OF_INSTRUMENT: [&str; 3] = ["future", "option", "spot"];

/// Channels in one request: some 30 KB of text.
const CHANNELS_A_REQUEST: usize = 500;
/// Seconds between the venue's heartbeats; 30 to 60 are recommended.
const HEARTBEAT_SECONDS: u32 = 30;

/// Milliseconds that a trade may be on its way inside the venue, of which it holds it for 100: a
/// clock is told so much earlier.
const CLOCK_MARGIN_MS: i64 = 1000;

/// Proof of life, and the question for the venue's clock: a twentieth of what the venue's credits
/// allow to one connection.
pub(super) const KEEPALIVE: (Duration, &str) = (Duration::from_secs(2), TEST);
/// The answer to a `test_request`.
const TEST: &str = r#"{"jsonrpc":"2.0","id":0,"method":"public/test","params":{}}"#;

/// Errors that pass: too many requests, retry, settlement, matching engine queue full, too many
/// concurrent requests, closed for maintenance, internal, not available, time out.
const PASSING: [i64; 9] = [10_028, 10_040, 10_041, 10_047, 10_066, 11_051, 11_094, 13_028, 13_888];
/// Closed for maintenance.
const MAINTENANCE: i64 = 11_051;
/// The credits of a refused request are there again: 3,000 at 10,000 a second, and some.
const RATE_WAIT: Duration = Duration::from_secs(1);
/// A maintenance takes minutes.
const MAINTENANCE_WAIT: Duration = Duration::from_secs(5);

/// The kinds of message known.
pub(super) const KINDS: [&str; 14] = [
    "trades",
    "ticker",
    "instrument",
    "heartbeat",
    "test_request",
    "answer",
    "error",
    "book",
    "quote",
    "chart",
    "deribit_price_index",
    "incremental_ticker",
    "platform_state",
    "markprice",
];

#[derive(Deserialize)]
struct Frame<'a> {
    #[serde(borrow)]
    method: Option<Cow<'a, str>>,
    params: Option<Params<'a>>,
    id: Option<&'a RawValue>,
    result: Option<&'a RawValue>,
    error: Option<Failure<'a>>,
    #[serde(rename = "usOut")]
    us_out: Option<&'a RawValue>,
}

#[derive(Deserialize)]
struct Params<'a> {
    #[serde(borrow)]
    channel: Option<Cow<'a, str>>,
    data: Option<&'a RawValue>,
    #[serde(rename = "type")]
    kind: Option<Cow<'a, str>>,
}

#[derive(Deserialize)]
struct Failure<'a> {
    code: i64,
    #[serde(borrow)]
    message: Option<Cow<'a, str>>,
}

/// A trade or a change of an instrument.
#[derive(Deserialize)]
struct Item<'a> {
    #[serde(borrow)]
    instrument_name: Option<Cow<'a, str>>,
    timestamp: Option<&'a RawValue>,
    trade_seq: Option<&'a RawValue>,
    price: Option<&'a RawValue>,
    amount: Option<&'a RawValue>,
    direction: Option<Cow<'a, str>>,
    iv: Option<&'a RawValue>,
    index_price: Option<&'a RawValue>,
    liquidation: Option<&'a RawValue>,
    block_trade_id: Option<&'a RawValue>,
    combo_id: Option<&'a RawValue>,
    state: Option<Cow<'a, str>>,
}

/// The streams of instruments: the ticker, the trades and the book of each on its own.
pub(super) fn streams(products: &[String], follow: Follow) -> Vec<String> {
    let named = [(Channel::Ticker, TICKER), (Channel::Trades, "trades."), (Channel::Book, BOOK)];
    let of = |name: &String| of_instrument(name, &named, follow);
    products.iter().flat_map(of).collect()
}

fn of_instrument(name: &str, named: &[(Channel, &str)], follow: Follow) -> Vec<String> {
    let chosen = named.iter().filter(|(channel, _)| follow.has(*channel));
    let interval = |channel| match channel {
        Channel::Ticker if class(name) == Class::Option => follow.interval,
        Channel::Trades | Channel::Ticker | Channel::Book => TickerInterval::Ms100,
    };
    chosen.map(|(channel, prefix)| format!("{prefix}{name}.{}", interval(*channel))).collect()
}

/// The streams that follow whole currencies: all trades of each kind, and what is listed anew.
pub(super) fn currency_streams(currencies: &[String], follow: Follow) -> Vec<String> {
    let of_kind = |currency: &String| {
        let currency = currency.clone();
        KINDS_OF_INSTRUMENT.into_iter().flat_map(move |kind| {
            let trades = || format!("trades.{kind}.{currency}.{INTERVAL}");
            let listing = format!("instrument.state.{kind}.{currency}");
            follow.has(Channel::Trades).then(trades).into_iter().chain([listing])
        })
    };
    currencies.iter().flat_map(of_kind).collect()
}

/// The streams by which a newly listed instrument is followed: its trades come with those of its
/// kind.
pub(super) fn streams_of_listed(name: &str, follow: Follow) -> Vec<String> {
    if class(name) == Class::Combo {
        return Vec::new();
    }
    of_instrument(name, &[(Channel::Ticker, TICKER), (Channel::Book, BOOK)], follow)
}

/// The pair whose book comes over a stream.
pub(super) fn pair_of_stream(stream: &str) -> Option<PairKey> {
    pair(stream.strip_prefix(BOOK)?.split('.').next()?).ok()
}

/// The instrument whose ticker comes over a stream.
pub(super) fn instrument_of_stream(stream: &str) -> Option<&str> {
    stream.strip_prefix(TICKER)?.split('.').next()
}

/// The class whose instruments send over a stream.
pub(super) fn class_of_stream(stream: &str) -> Option<Class> {
    instrument_of_stream(stream).map(class)
}

/// Requests for chunks of channels. Ids begin with 1 on every connection, and the first request is
/// for the heartbeat.
pub(super) fn subscribe(streams: &[String], _: Follow, first_id: u64) -> Vec<SocketRequest> {
    let mut all = Vec::new();
    if first_id == 1 {
        let params = json!({"interval": HEARTBEAT_SECONDS});
        all.push(SocketRequest { id: 1, text: request(1, "public/set_heartbeat", &params) });
    }
    let next = first_id + all.len() as u64;
    all.extend(chunked(streams, CHANNELS_A_REQUEST, next, |part, id| {
        request(id, "public/subscribe", &json!({"channels": part}))
    }));
    all
}

/// The requests that subscribe the book of one pair again.
pub(super) fn resubscribe_book(pair: &PairKey, _: Follow, first_id: u64) -> Vec<SocketRequest> {
    let params = json!({"channels": [format!("{BOOK}{}.{INTERVAL}", pair.base)]});
    let methods = ["public/unsubscribe", "public/subscribe"].into_iter().zip(first_id..);
    methods.map(|(method, id)| SocketRequest { id, text: request(id, method, &params) }).collect()
}

/// A request of a method with an id.
fn request(id: u64, method: &str, params: &serde_json::Value) -> String {
    json!({"jsonrpc": "2.0", "id": id, "method": method, "params": params}).to_string()
}

/// Appends the messages of one text frame.
pub(super) fn parse(text: &str, received_at: Timestamp, out: &mut Vec<Parsed>) -> Result<()> {
    let frame: Frame<'_> = serde_json::from_str(text).map_err(|error| not_json(&error))?;
    match (frame.method.as_deref(), &frame.params) {
        (Some("subscription"), Some(params)) => notification(params, received_at, out),
        (Some("heartbeat"), Some(params)) => {
            let asked = params.kind.as_deref() == Some("test_request");
            out.push(if asked {
                Parsed { kind: "test_request", message: Message::Control(Control::Reply(TEST)) }
            } else {
                Parsed { kind: "heartbeat", message: Message::Alive }
            });
            Ok(())
        }
        (None, _) if frame.result.is_some() || frame.error.is_some() => answer(&frame, out),
        _ => {
            out.push(Parsed { kind: UNKNOWN, message: Message::Ignored(Ignored::UnknownType) });
            Ok(())
        }
    }
}

fn notification(params: &Params<'_>, received_at: Timestamp, out: &mut Vec<Parsed>) -> Result<()> {
    let channel = params.channel.as_deref().ok_or(Malformed::MissingField("channel"))?;
    let first = channel.split('.').next().unwrap_or_default();
    let kind = KINDS.into_iter().find(|kind| *kind == first).unwrap_or(UNKNOWN);
    match kind {
        "trades" => {
            let trades: Vec<Item<'_>> = content("data", params.data)?;
            let mut result = Ok(());
            for item in &trades {
                match trade(item, received_at) {
                    Ok(Trade { pair, event, nulls }) => {
                        push_nulls(nulls, kind, out);
                        out.push(Parsed { kind, message: Message::Event(pair, event) });
                    }
                    Err(malformed) => result = result.and(Err(malformed)),
                }
            }
            result
        }
        "ticker" => ticker::parse(params.data, received_at, kind, out),
        "instrument" => each(&[content("data", params.data)?], out, kind, change),
        kind => {
            let reason = if kind == UNKNOWN { Ignored::UnknownType } else { Ignored::UnusedType };
            out.push(Parsed { kind, message: Message::Ignored(reason) });
            Ok(())
        }
    }
}

fn answer(frame: &Frame<'_>, out: &mut Vec<Parsed>) -> Result<()> {
    if let Some(failure) = &frame.error {
        let words = failure.message.as_deref().unwrap_or("no reason given");
        let reason = format!("{} {words}", failure.code);
        let message = match passing(failure.code) {
            Some(wait) => {
                let id = scalar(frame.id).and_then(|id| id.parse().ok());
                Message::Control(Control::RetryAfter { id, reason, wait })
            }
            None => Message::Control(Control::Refused(reason)),
        };
        out.push(Parsed { kind: "error", message });
        return Ok(());
    }
    let channels: Option<Vec<String>> =
        frame.result.and_then(|result| serde_json::from_str(result.get()).ok());
    let message = match channels {
        Some(channels) => {
            Message::Control(Control::Subscribed(Subscription::streams(NAME, &channels)))
        }
        None => Message::Alive,
    };
    out.push(Parsed { kind: "answer", message });
    if let Some(micros) = scalar(frame.us_out) {
        let sent = Timestamp::from_micros(integer("usOut", Some(micros))?);
        let message = Message::Clock(Timestamp(sent.0.saturating_sub(CLOCK_MARGIN_MS)));
        out.push(Parsed { kind: "answer", message });
    }
    Ok(())
}

fn instrument(item: &Item<'_>) -> Result<PairKey> {
    pair(item.instrument_name.as_deref().ok_or(Malformed::MissingField("instrument_name"))?)
}

/// How long to wait after an error that passes; `None` for one that does not.
pub(super) fn passing(code: i64) -> Option<Duration> {
    let wait = if code == MAINTENANCE { MAINTENANCE_WAIT } else { RATE_WAIT };
    PASSING.contains(&code).then_some(wait)
}

/// The trades of a list, which answers have as notifications do.
pub(super) fn trades(
    list: &RawValue,
    received_at: Timestamp,
) -> Result<Vec<(PairKey, MarketEvent)>> {
    let trades: Vec<Item<'_>> = content("trades", Some(list))?;
    let read = |item| trade(item, received_at).map(|Trade { pair, event, .. }| (pair, event));
    trades.iter().map(read).collect()
}

/// A trade, and how many of its numbers do not fit.
struct Trade {
    pair: PairKey,
    event: MarketEvent,
    nulls: usize,
}

fn trade(item: &Item<'_>, received_at: Timestamp) -> Result<Trade> {
    let pair = instrument(item)?;
    let price = decimal("price", scalar(item.price))?;
    let amount = decimal("amount", scalar(item.amount))?;
    let size = if is_inverse(&pair) {
        quotient(amount, price).ok_or(Malformed::BadField("amount"))?
    } else {
        amount
    };
    let taker_side = side("direction", item.direction.as_deref(), ["buy", "sell"])?;
    let time = Timestamp(integer("timestamp", scalar(item.timestamp))?);
    let mut numbers = Numbers::default();
    let details = TradeDetails {
        iv: numbers.read("iv", item.iv)?,
        index_price: numbers.read("index_price", item.index_price)?,
        liquidation: words("liquidation", item.liquidation)?,
        block_trade_id: words("block_trade_id", item.block_trade_id)?,
        combo_id: words("combo_id", item.combo_id)?,
    };
    let event = MarketEvent {
        trade_id: Some(integer("trade_seq", scalar(item.trade_seq))?),
        taker_side: Some(taker_side),
        received_at,
        details: details.boxed(),
        ..MarketEvent::trade(price, size, time)
    };
    Ok(Trade { pair, event, nulls: numbers.nulls })
}

fn change(item: &Item<'_>) -> Result<Message> {
    let name = instrument(item)?.base;
    Ok(match item.state.as_deref() {
        Some("created" | "started") => {
            Message::Control(Control::Listing(ListingChange::Listed(name)))
        }
        Some("closed" | "deactivated" | "terminated" | "archivized") => {
            Message::Control(Control::Listing(ListingChange::Ended(name)))
        }
        // A settlement, which a perpetual has every day.
        _ => Message::Ignored(Ignored::UnusedType),
    })
}

/// `amount ÷ price`, digit by digit, rounded to the nearest 10⁻¹⁸ (ties to even).
pub(super) fn quotient(amount: Decimal, price: Decimal) -> Option<Decimal> {
    let (amount, price) = (amount.units(), price.units());
    if amount < 0 || price <= 0 {
        return None;
    }
    let (mut quotient, mut rest) = (amount / price, amount % price);
    for _ in 0..schemas::decimal::SCALE {
        rest = rest.checked_mul(10)?;
        quotient = quotient.checked_mul(10)?.checked_add(rest / price)?;
        rest %= price;
    }
    let (twice, odd) = (rest.checked_mul(2)?, quotient & 1 == 1);
    let up = twice > price || (twice == price && odd);
    Decimal::from_units(quotient + i128::from(up))
}

#[cfg(test)]
#[path = "protocol_tests.rs"]
mod tests;
