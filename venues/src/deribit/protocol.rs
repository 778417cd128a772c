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
//! - The instrument's name is the base. Inverse futures are priced in USD, options in the coin,
//!   linear instruments (`BTC_USDC-…`) in the currency behind the underscore.
//! - The `amount` of an inverse future is USD. The size is in coins here, as `stats.volume` is:
//!   amount ÷ price, rounded to the nearest 10⁻¹⁸ (ties to even).
//! - An instrument that never traded has `last_price` null: its sample is the mark price. Volumes
//!   are null as often. `volume_usd` of an option is not in its quote, so it has none.
//! - Every answer has the venue's clock in `usOut`; see `CLOCK_MARGIN_MS`.
//! - Not answering a `test_request` ends the connection at once.
//! - A `.raw` channel without authentication fails its whole request: `100ms` is subscribed.
//!
//! # What this does not do
//!
//! Quotes, indices, greeks and combos are ignored, and books are read in `book.rs`.

use std::borrow::Cow;
use std::time::Duration;

use schemas::{Decimal, MarketEvent, PairKey, Timestamp};
use serde::Deserialize;
use serde_json::json;
use serde_json::value::RawValue;

use super::NAME;
use crate::channel::{Channel, Follow};
use crate::fields::{content, decimal, integer, optional, scalar, side};
use crate::instrument::{Class, Instrument, ListingChange};
use crate::malformed::{Malformed, Result, not_json};
use crate::message::{Control, Ignored, Message, Parsed, Subscription, UNKNOWN, each};
use crate::request::{HttpRequest, Request, SocketRequest, chunked};

/// How often an instrument's ticker comes at most, and how long trades are held.
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

/// A trade, a ticker or a change of an instrument.
#[derive(Deserialize)]
struct Item<'a> {
    #[serde(borrow)]
    instrument_name: Option<Cow<'a, str>>,
    timestamp: Option<&'a RawValue>,
    trade_seq: Option<&'a RawValue>,
    price: Option<&'a RawValue>,
    amount: Option<&'a RawValue>,
    direction: Option<Cow<'a, str>>,
    last_price: Option<&'a RawValue>,
    mark_price: Option<&'a RawValue>,
    stats: Option<Stats<'a>>,
    state: Option<Cow<'a, str>>,
}

#[derive(Deserialize)]
struct Stats<'a> {
    #[serde(borrow)]
    volume: Option<&'a RawValue>,
    volume_usd: Option<&'a RawValue>,
    volume_notional: Option<&'a RawValue>,
}

#[derive(Deserialize)]
struct Listing {
    result: Vec<Listed>,
}

#[derive(Deserialize)]
struct Listed {
    instrument_name: String,
    base_currency: String,
    #[serde(default)]
    is_active: bool,
}

/// The streams of instruments: the ticker, the trades and the book of each on its own.
pub(super) fn streams(products: &[String], follow: Follow) -> Vec<String> {
    let named = [(Channel::Ticker, TICKER), (Channel::Trades, "trades."), (Channel::Book, BOOK)];
    let of = |name: &String| of_instrument(name, &named, follow);
    products.iter().flat_map(of).collect()
}

fn of_instrument(name: &str, named: &[(Channel, &str)], follow: Follow) -> Vec<String> {
    let chosen = named.iter().filter(|(channel, _)| follow.has(*channel));
    chosen.map(|(_, prefix)| format!("{prefix}{name}.{INTERVAL}")).collect()
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

/// The class whose instruments send over a stream.
pub(super) fn class_of_stream(stream: &str) -> Option<Class> {
    stream.strip_prefix(TICKER)?.split('.').next().map(class)
}

/// The requests that list the instruments of currencies.
pub(super) fn listing_requests(currencies: &[String]) -> Vec<Request> {
    let path =
        |currency: &String| format!("/public/get_instruments?currency={currency}&expired=false");
    currencies.iter().map(|one| Request::Http(HttpRequest { path: path(one) })).collect()
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

/// The class of an instrument by its name.
pub(super) fn class(name: &str) -> Class {
    let parts: Vec<&str> = name.split('-').collect();
    match parts[..] {
        [_] => Class::Spot,
        [_, "PERPETUAL"] => Class::Perpetual,
        [_, _] => Class::Future,
        [_, _, _, "C" | "P"] => Class::Option,
        _ => Class::Combo,
    }
}

/// The pair of an instrument: its name, and what its price counts.
pub(super) fn pair(name: &str) -> Result<PairKey> {
    let underlying = name.split('-').next().unwrap_or_default();
    let quote = match (underlying.split_once('_'), class(name)) {
        (Some((_, quote)), _) => quote,
        (None, Class::Perpetual | Class::Future) => "USD",
        // A spread of futures.
        (None, Class::Combo) if name.contains("-FS-") => "USD",
        (None, Class::Option | Class::Combo) => underlying,
        (None, Class::Spot) => return Err(Malformed::BadProduct(name.into())),
    };
    if underlying.is_empty() {
        return Err(Malformed::BadProduct(name.into()));
    }
    Ok(PairKey::new(name, quote, NAME).checked()?)
}

/// A future that is paid in the coin: its amounts are USD.
pub(super) fn is_inverse(pair: &PairKey) -> bool {
    pair.quote == "USD"
}

/// The instruments of the answer to `public/get_instruments`.
pub(super) fn instruments(body: &str) -> Result<Vec<Instrument>> {
    let listing: Listing = serde_json::from_str(body).map_err(|error| not_json(&error))?;
    let instrument = |listed: Listed| Instrument {
        class: class(&listed.instrument_name),
        name: listed.instrument_name,
        currency: listed.base_currency,
        active: listed.is_active,
    };
    Ok(listing.result.into_iter().map(instrument).collect())
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
            each(&trades, out, kind, |item| {
                trade(item, received_at).map(|(pair, event)| Message::Event(pair, event))
            })
        }
        "ticker" => {
            let item: Item<'_> = content("data", params.data)?;
            each(&[item], out, kind, |item| ticker(item, received_at))
        }
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
    trades.iter().map(|item| trade(item, received_at)).collect()
}

fn trade(item: &Item<'_>, received_at: Timestamp) -> Result<(PairKey, MarketEvent)> {
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
    let event = MarketEvent {
        trade_id: Some(integer("trade_seq", scalar(item.trade_seq))?),
        taker_side: Some(taker_side),
        received_at,
        ..MarketEvent::trade(price, size, time)
    };
    Ok((pair, event))
}

fn ticker(item: &Item<'_>, received_at: Timestamp) -> Result<Message> {
    let pair = instrument(item)?;
    let Some(price) = scalar(item.last_price).or(scalar(item.mark_price)) else {
        return Ok(Message::Ignored(Ignored::QuoteOnly));
    };
    let time = Timestamp(integer("timestamp", scalar(item.timestamp))?);
    let price = decimal("last_price", Some(price))?;
    let (mut base, mut quote) = (None, None);
    if let Some(stats) = &item.stats {
        base = optional("volume", scalar(stats.volume))?;
        if is_inverse(&pair) {
            let usd = scalar(stats.volume_notional).or(scalar(stats.volume_usd));
            quote = optional("volume_usd", usd)?;
        } else if class(&pair.base) != Class::Option {
            quote = optional("volume_notional", scalar(stats.volume_notional))?;
        }
    }
    let sample = MarketEvent::sample(price, time).with_volumes(base, quote);
    Ok(Message::Event(pair, MarketEvent { received_at, ..sample }))
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
