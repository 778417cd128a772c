//! Kraken spot, version 2 of its feed: `trade`, `ticker` and `instrument` over one WebSocket.
//!
//! ```text
//! ← {"channel":"status","type":"update","data":[{"system":"online","api_version":"v2", …}]}
//! → {"method":"subscribe","params":{"channel":"trade","symbol":["BTC/USD"],"snapshot":true},"req_id":1}
//! ← {"method":"subscribe","result":{"channel":"trade","symbol":"BTC/USD","snapshot":true},
//!    "success":true,"time_in":"…","time_out":"…","req_id":1}                  one for each symbol
//! ← {"channel":"trade","type":"snapshot","data":[{"symbol":"BTC/USD","side":"buy","price":0.5147,
//!    "qty":6423.46326,"ord_type":"limit","trade_id":4665846,"timestamp":"2023-09-25T07:48:36.925533Z"}]}
//! ← {"channel":"ticker","type":"update","data":[{"symbol":"BTC/USD","last":0.5147,"volume":9970.38,
//!    "vwap":0.5148,"timestamp":"…", …}]}
//! ← {"channel":"heartbeat"}
//! → {"method":"ping"}
//! ← {"method":"pong","time_in":"…","time_out":"…"}
//! ← {"error":"Currency pair not supported FOO/USD","method":"subscribe","success":false,"symbol":"FOO/USD"}
//! ```
//!
//! Rules of the venue:
//! - `trade_id` is a sequence number, unique and dense per book; several trades share a timestamp.
//! - A subscription sends the last 50 trades as a snapshot. They are ordinary trades: ids identify
//!   repetitions, and after a short outage they fill the gap.
//! - The venue has no quote volume. It is `volume × vwap` here, DERIVED, rounded to the nearest
//!   10⁻¹⁸ (ties to even); the venue has already rounded `vwap`.
//! - Version 2 uses BTC and DOGE; XBT and XDG are aliases.
//! - A symbol that never traded has zeros and a time of 1970. Both are passed on.
//! - A heartbeat has no time, but the answer to a ping has: it is the connection's clock, less
//!   `CLOCK_MARGIN_MS`.
//!
//! # What this does not do
//!
//! Candles are ignored, and books are read in `book.rs`; the arrays of version 1 are of an unknown type.

use std::borrow::Cow;
use std::time::Duration;

use schemas::{MarketEvent, PairKey, Timestamp, VolumeSource};
use serde::Deserialize;
use serde_json::json;
use serde_json::value::RawValue;

use super::{NAME, book};
use crate::channel::{Channel, Follow};
use crate::fields::{content, decimal, integer, optional, scalar, side, time};
use crate::instrument::{Class, Instrument, ListingChange};
use crate::malformed::{Malformed, Result, not_json};
use crate::message::{Control, Ignored, Message, Parsed, Subscription, UNKNOWN, each};
use crate::request::{SocketRequest, chunked};

/// The channels of each symbol.
const CHANNELS: [(Channel, &str); 3] =
    [(Channel::Trades, "trade"), (Channel::Ticker, "ticker"), (Channel::Book, BOOK)];
/// The channel of books.
pub(super) const BOOK: &str = "book";
/// The channel of all instruments.
pub(super) const INSTRUMENT: &str = "instrument";

/// Symbols in one request: an acknowledgement comes for each, and the venue's limit of requests
/// is not written down.
const SYMBOLS_A_REQUEST: usize = 100;

/// Milliseconds that a trade may spend inside the venue: the clock is set back by it.
const CLOCK_MARGIN_MS: i64 = 1000;

/// Asks for the venue's clock.
pub(super) const KEEPALIVE: (Duration, &str) = (Duration::from_secs(2), r#"{"method":"ping"}"#);

/// After maintenance the venue wants to be tried no faster.
const MAINTENANCE_WAIT: Duration = Duration::from_secs(5);
/// The venue's rate limit is dynamic; a refused request is repeated after this time.
const RATE_WAIT: Duration = Duration::from_secs(2);

/// The kinds of message known.
pub(super) const KINDS: [&str; 13] = [
    "trade",
    "ticker",
    "heartbeat",
    "status",
    INSTRUMENT,
    "subscribe",
    "unsubscribe",
    "pong",
    "error",
    "book",
    "ohlc",
    "level3",
    "executions",
];

/// Every field that any of our messages has.
#[derive(Deserialize)]
struct Frame<'a> {
    #[serde(borrow)]
    channel: Option<Cow<'a, str>>,
    method: Option<Cow<'a, str>>,
    #[serde(rename = "type")]
    form: Option<Cow<'a, str>>,
    data: Option<&'a RawValue>,
    result: Option<&'a RawValue>,
    success: Option<bool>,
    /// Words; a list in answers to requests that are none of this feed.
    error: Option<&'a RawValue>,
    symbol: Option<Cow<'a, str>>,
    time_out: Option<Cow<'a, str>>,
    req_id: Option<&'a RawValue>,
}

/// A trade or a ticker.
#[derive(Deserialize)]
struct Item<'a> {
    #[serde(borrow)]
    symbol: Option<Cow<'a, str>>,
    side: Option<Cow<'a, str>>,
    price: Option<&'a RawValue>,
    qty: Option<&'a RawValue>,
    trade_id: Option<&'a RawValue>,
    last: Option<&'a RawValue>,
    volume: Option<&'a RawValue>,
    vwap: Option<&'a RawValue>,
    timestamp: Option<Cow<'a, str>>,
}

#[derive(Deserialize)]
struct Granted {
    channel: String,
    symbol: Option<String>,
}

#[derive(Deserialize)]
struct Status {
    system: Option<String>,
}

#[derive(Deserialize)]
struct Listing {
    #[serde(default)]
    pairs: Vec<Pair>,
}

#[derive(Deserialize)]
struct Pair {
    symbol: String,
    base: String,
    #[serde(default)]
    status: String,
}

/// The streams of symbols: `channel:symbol`.
pub(super) fn streams(products: &[String], follow: Follow) -> Vec<String> {
    let of = |product: &String| {
        let name = canonical(product);
        let chosen = CHANNELS.into_iter().filter(move |(channel, _)| follow.has(*channel));
        chosen.map(move |(_, channel)| format!("{channel}:{name}"))
    };
    products.iter().flat_map(of).collect()
}

/// The pair whose book comes over a stream.
pub(super) fn pair_of_stream(stream: &str) -> Option<PairKey> {
    let (channel, symbol) = stream.split_once(':')?;
    (channel == BOOK).then(|| pair(symbol).ok())?
}

/// The class whose instruments send over a stream. A book gives no events.
pub(super) fn class_of_stream(stream: &str) -> Option<Class> {
    (stream != INSTRUMENT && pair_of_stream(stream).is_none()).then_some(Class::Spot)
}

/// Requests for each channel and chunk of symbols. A connection with books asks for all instruments
/// first: they have the precision without which no book can be proved.
pub(super) fn subscribe(streams: &[String], follow: Follow, first_id: u64) -> Vec<SocketRequest> {
    let mut all = Vec::new();
    let has_books = streams.iter().any(|stream| pair_of_stream(stream).is_some());
    if first_id == 1 && has_books {
        all.push(listing_request(first_id));
    }
    for (_, channel) in CHANNELS {
        let of_channel = streams.iter().filter_map(|stream| stream.split_once(':'));
        let symbols: Vec<String> = of_channel
            .filter(|(name, _)| *name == channel)
            .map(|(_, symbol)| symbol.to_owned())
            .collect();
        let next = first_id + all.len() as u64;
        all.extend(chunked(&symbols, SYMBOLS_A_REQUEST, next, |part, id| {
            let symbols = part.iter().map(String::as_str).collect::<Vec<_>>();
            if channel == BOOK {
                return book::request("subscribe", &symbols, follow, id);
            }
            let params = json!({"channel": channel, "symbol": symbols, "snapshot": true});
            json!({"method": "subscribe", "params": params, "req_id": id}).to_string()
        }));
    }
    let is_asked = first_id == 1 && has_books;
    if !is_asked && streams.iter().any(|stream| stream == INSTRUMENT) {
        let id = first_id + all.len() as u64;
        all.push(listing_request(id));
    }
    all
}

/// The request for all instruments and for the changes of the listing.
pub(super) fn listing_request(id: u64) -> SocketRequest {
    let params = json!({"channel": INSTRUMENT, "snapshot": true});
    let text = json!({"method": "subscribe", "params": params, "req_id": id}).to_string();
    SocketRequest { id, text }
}

/// A text frame is the snapshot of the listing: the acknowledgement has the channel and no data.
pub(super) fn is_listing(text: &str) -> bool {
    text.contains(r#""channel":"instrument""#) && text.contains(r#""data":"#)
}

pub(super) fn expected(streams: &[String], _: Follow) -> Vec<Subscription> {
    streams
        .iter()
        .filter_map(|stream| match stream.split_once(':') {
            Some((channel, symbol)) => {
                Some(Subscription { channel: channel.into(), pair: pair(symbol).ok()? })
            }
            None => Some(Subscription::stream(NAME, stream)),
        })
        .collect()
}

/// A symbol with its aliases resolved.
fn canonical(symbol: &str) -> String {
    match symbol.split_once('/') {
        Some((base, quote)) => format!("{}/{}", alias(base), alias(quote)),
        None => symbol.into(),
    }
}

fn alias(asset: &str) -> &str {
    match asset {
        "XBT" => "BTC",
        "XDG" => "DOGE",
        other => other,
    }
}

/// The pair that a symbol names.
pub(super) fn pair(symbol: &str) -> Result<PairKey> {
    let bad = || Malformed::BadProduct(symbol.into());
    let (base, quote) = symbol.split_once('/').ok_or_else(bad)?;
    Ok(PairKey::new(alias(base), alias(quote), NAME).checked()?)
}

/// Appends the messages of one text frame.
pub(super) fn parse(text: &str, received_at: Timestamp, out: &mut Vec<Parsed>) -> Result<()> {
    if text.trim_start().starts_with('[') {
        // Version 1 has arrays; here they are JSON all the same, or malformed.
        let _: Vec<&RawValue> = serde_json::from_str(text).map_err(|error| not_json(&error))?;
        out.push(Parsed { kind: UNKNOWN, message: Message::Ignored(Ignored::UnknownType) });
        return Ok(());
    }
    let frame: Frame<'_> = serde_json::from_str(text).map_err(|error| not_json(&error))?;
    let sent = frame.channel.as_deref().or(frame.method.as_deref()).unwrap_or_default();
    let kind = KINDS.into_iter().find(|kind| *kind == sent).unwrap_or(UNKNOWN);
    let message = match kind {
        _ if frame.channel.is_none() && frame.success == Some(false) => {
            out.push(Parsed { kind: "error", message: refusal(&frame)? });
            return Ok(());
        }
        "trade" => {
            let mut trades: Vec<Item<'_>> = content("data", frame.data)?;
            if frame.form.as_deref() == Some("snapshot") {
                // Oldest first, whatever the venue does: ids must not seem to jump.
                trades.sort_by_key(|trade| integer("trade_id", scalar(trade.trade_id)).ok());
            }
            return each(&trades, out, kind, |trade| self::trade(trade, received_at));
        }
        "ticker" => {
            let items: Vec<Item<'_>> = content("data", frame.data)?;
            return each(&items, out, kind, |item| ticker(item, received_at));
        }
        INSTRUMENT => return changes(&frame, out),
        "heartbeat" => Message::Alive,
        "status" => status(&frame)?,
        "subscribe" => Message::Control(Control::Subscribed(vec![granted(&frame)?])),
        "pong" => {
            out.push(Parsed { kind, message: Message::Alive });
            let sent = time("time_out", frame.time_out.as_deref())?;
            Message::Clock(Timestamp(sent.0.saturating_sub(CLOCK_MARGIN_MS)))
        }
        UNKNOWN => Message::Ignored(Ignored::UnknownType),
        _ => Message::Ignored(Ignored::UnusedType),
    };
    out.push(Parsed { kind, message });
    Ok(())
}

/// The instruments of the frame of [`INSTRUMENT`].
pub(super) fn instruments(body: &str) -> Result<Vec<Instrument>> {
    let frame: Frame<'_> = serde_json::from_str(body).map_err(|error| not_json(&error))?;
    Ok(listing(&frame)?
        .into_iter()
        .map(|pair| {
            let active = pair.status == "online";
            Instrument::new(pair.symbol, alias(&pair.base), Class::Spot, active)
        })
        .collect())
}

fn listing(frame: &Frame<'_>) -> Result<Vec<Pair>> {
    content("data", frame.data).map(|listing: Listing| listing.pairs)
}

fn changes(frame: &Frame<'_>, out: &mut Vec<Parsed>) -> Result<()> {
    for pair in listing(frame)? {
        let change = match pair.status.as_str() {
            "online" => ListingChange::Listed(canonical(&pair.symbol)),
            "delisted" => ListingChange::Ended(canonical(&pair.symbol)),
            // Suspended in one way or another: its channels stand, and are silent.
            _ => {
                let message = Message::Ignored(Ignored::UnusedType);
                out.push(Parsed { kind: INSTRUMENT, message });
                continue;
            }
        };
        out.push(Parsed { kind: INSTRUMENT, message: Message::Control(Control::Listing(change)) });
    }
    Ok(())
}

fn symbol(item: &Item<'_>) -> Result<PairKey> {
    pair(item.symbol.as_deref().ok_or(Malformed::MissingField("symbol"))?)
}

fn trade(item: &Item<'_>, received_at: Timestamp) -> Result<Message> {
    let price = decimal("price", scalar(item.price))?;
    let size = decimal("qty", scalar(item.qty))?;
    let taker_side = side("side", item.side.as_deref(), ["buy", "sell"])?;
    let event = MarketEvent {
        trade_id: Some(integer("trade_id", scalar(item.trade_id))?),
        taker_side: Some(taker_side),
        received_at,
        ..MarketEvent::trade(price, size, time("timestamp", item.timestamp.as_deref())?)
    };
    Ok(Message::Event(symbol(item)?, event))
}

fn ticker(item: &Item<'_>, received_at: Timestamp) -> Result<Message> {
    let price = decimal("last", scalar(item.last))?;
    let base = optional("volume", scalar(item.volume))?;
    let vwap = optional("vwap", scalar(item.vwap))?;
    let quote = base.zip(vwap).and_then(|(volume, vwap)| volume.checked_mul(vwap));
    let event = MarketEvent {
        base_volume_24h: base,
        quote_volume_24h: quote,
        volume_source: match (base, quote) {
            (_, Some(_)) => VolumeSource::Derived,
            (Some(_), None) => VolumeSource::Exchange,
            (None, None) => VolumeSource::None,
        },
        received_at,
        ..MarketEvent::sample(price, time("timestamp", item.timestamp.as_deref())?)
    };
    Ok(Message::Event(symbol(item)?, event))
}

fn status(frame: &Frame<'_>) -> Result<Message> {
    let stati: Vec<Status> = content("data", frame.data)?;
    let closed = stati.iter().any(|status| status.system.as_deref() == Some("maintenance"));
    // The other states concern orders; market data is still sent.
    Ok(if closed {
        Message::Control(Control::RetryAfter {
            id: None,
            reason: "maintenance".into(),
            wait: MAINTENANCE_WAIT,
        })
    } else {
        Message::Alive
    })
}

fn granted(frame: &Frame<'_>) -> Result<Subscription> {
    let granted: Granted = content("result", frame.result)?;
    Ok(match granted.symbol {
        Some(symbol) => Subscription { channel: granted.channel, pair: pair(&symbol)? },
        None => Subscription::stream(NAME, granted.channel),
    })
}

fn refusal(frame: &Frame<'_>) -> Result<Message> {
    let reason = scalar(frame.error).unwrap_or("no reason given").to_owned();
    let id = scalar(frame.req_id).map(|text| integer("req_id", Some(text))).transpose()?;
    Ok(if reason.contains("Exceeded msg rate") {
        let id = id.and_then(|id| u64::try_from(id).ok());
        Message::Control(Control::RetryAfter { id, reason, wait: RATE_WAIT })
    } else if frame.symbol.is_some() || reason.contains("Already subscribed") {
        Message::Control(Control::Rejected {
            reason,
            pair: frame.symbol.as_deref().and_then(|name| pair(name).ok()),
        })
    } else {
        Message::Control(Control::Refused(reason))
    })
}

#[cfg(test)]
#[path = "protocol_tests.rs"]
mod tests;
