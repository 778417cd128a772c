//! Bitstamp: `live_trades` over one WebSocket.
//!
//! ```text
//! → {"event":"bts:subscribe","data":{"channel":"live_trades_ethusd"}}            one per channel
//! ← {"event":"bts:subscription_succeeded","channel":"live_trades_ethusd","data":{}}
//! ← {"data":{"id":216000477,"amount_str":"0.07920000","price_str":"3805.44","type":0,
//!    "microtimestamp":"1641343699596000", …},"channel":"live_trades_ethusd","event":"trade"}
//! ← {"data":{"microtimestamp":"1641343691244908","bids":[…],"asks":[…]},
//!    "channel":"diff_order_book_btcusd","event":"data"}
//! → {"event":"bts:heartbeat"}
//! ← {"event":"bts:heartbeat","channel":"","data":{"status":"success"}}
//! ← {"event":"bts:request_reconnect","channel":"","data":""}
//! ← {"event":"bts:error","channel":"","data":{"code":null,"message":"Bad subscription string."}}
//! ```
//!
//! Rules of the venue:
//! - `type` is the taker's side: 0 bought, 1 sold.
//! - `amount_str` and `price_str` are exact; `amount` and `price` are floats and are not read.
//! - `id` identifies a trade, and counts the trades of all pairs: a jump proves nothing.
//! - A heartbeat has no time. Every connection follows the order book of `CLOCK_PRODUCT`, whose
//!   changes have the time: it is the connection's clock, less `CLOCK_MARGIN_MS`.
//! - A product is base and quote without a separator, in lower case: the quote is the longest known
//!   suffix.
//! - After `bts:request_reconnect` the venue closes the connection within minutes.
//!
//! # What this does not do
//!
//! Missed trades cannot be counted, so they are not backfilled: the connection's clock shows the
//! outage. Orders are ignored, and books are read in `book.rs`. The venue has no ticker channel, so
//! no price samples.

use std::borrow::Cow;
use std::time::Duration;

use schemas::{MarketEvent, PairKey, Timestamp};
use serde::Deserialize;
use serde_json::json;
use serde_json::value::RawValue;

use super::NAME;
use crate::channel::{Channel, Follow};
use crate::fields::{content, decimal, integer, scalar, side};
use crate::instrument::{Class, Instrument, split_product};
use crate::malformed::{Malformed, Result, not_json};
use crate::message::{Control, Ignored, Message, Parsed, Subscription, UNKNOWN};
use crate::request::{SocketRequest, chunked};

/// The channel of a product's trades begins with this.
const TRADES: &str = "live_trades_";
/// The channel of a product's order book changes begins with this.
pub(super) const BOOK: &str = "diff_order_book_";
/// The product whose order book is the clock: it changes several times a second.
pub(super) const CLOCK_PRODUCT: &str = "btcusd";
/// Milliseconds that a trade may spend inside the venue: the clock is set back by it.
const CLOCK_MARGIN_MS: i64 = 1000;

/// A text at an interval: the answer proves that the connection lives.
pub(super) const KEEPALIVE: (Duration, &str) =
    (Duration::from_secs(2), r#"{"event":"bts:heartbeat"}"#);

/// The kinds of message known.
pub(super) const KINDS: [&str; 10] = [
    "trade",
    "data",
    "bts:subscription_succeeded",
    "bts:unsubscription_succeeded",
    "bts:heartbeat",
    "bts:request_reconnect",
    "bts:error",
    "order_created",
    "order_changed",
    "order_deleted",
];

/// The quotes of products, in lower case. Where two end alike the longer stands first.
const QUOTES: [&str; 8] = ["usdt", "usdc", "usd", "eur", "gbp", "pax", "btc", "eth"];

#[derive(Deserialize)]
struct Frame<'a> {
    #[serde(borrow)]
    event: Option<Cow<'a, str>>,
    channel: Option<Cow<'a, str>>,
    data: Option<&'a RawValue>,
}

#[derive(Deserialize)]
struct Trade<'a> {
    #[serde(borrow)]
    id: Option<&'a RawValue>,
    amount_str: Option<&'a RawValue>,
    price_str: Option<&'a RawValue>,
    #[serde(rename = "type")]
    side: Option<&'a RawValue>,
    microtimestamp: Option<&'a RawValue>,
}

/// The part of an order book's changes that is used.
#[derive(Deserialize)]
struct Book<'a> {
    #[serde(borrow)]
    microtimestamp: Option<&'a RawValue>,
}

#[derive(Deserialize)]
struct Failure<'a> {
    #[serde(borrow)]
    message: Option<Cow<'a, str>>,
}

#[derive(Deserialize)]
struct Listed {
    /// The older listing calls it `url_symbol`.
    #[serde(alias = "url_symbol")]
    market_symbol: String,
    /// Base and quote, as `BTC/USD`.
    name: String,
    trading: String,
}

/// The streams of products. The venue has no tickers.
pub(super) fn streams(products: &[String], follow: Follow) -> Vec<String> {
    let named = [(Channel::Trades, TRADES), (Channel::Book, BOOK)];
    let of = |product: &String| {
        let product = product.clone();
        let chosen = named.into_iter().filter(move |(channel, _)| follow.has(*channel));
        chosen.map(move |(_, prefix)| format!("{prefix}{product}"))
    };
    products.iter().flat_map(of).collect()
}

/// The pair whose book comes over a stream.
pub(super) fn pair_of_stream(stream: &str) -> Option<PairKey> {
    pair(stream.strip_prefix(BOOK)?).ok()
}

/// One request for each stream. Ids begin with 1 on every connection, and the first request is for
/// the clock, which may be one of the streams.
pub(super) fn subscribe(streams: &[String], _: Follow, first_id: u64) -> Vec<SocketRequest> {
    let clock = format!("{BOOK}{CLOCK_PRODUCT}");
    let others = streams.iter().filter(|stream| **stream != clock || first_id != 1).cloned();
    let clock = (first_id == 1).then(|| clock.clone());
    let channels: Vec<String> = clock.into_iter().chain(others).collect();
    chunked(&channels, 1, first_id, |channel, _| {
        json!({"event": "bts:subscribe", "data": {"channel": channel[0]}}).to_string()
    })
}

/// The products of a listing. A product that cannot be split into its base and quote is left out:
/// its trades could not be parsed either.
pub(super) fn instruments(body: &str) -> Result<Vec<Instrument>> {
    let markets: Vec<Listed> = serde_json::from_str(body).map_err(|error| not_json(&error))?;
    let instrument = |market: Listed| {
        let pair = pair(&market.market_symbol).ok()?;
        let active = market.trading == "Enabled";
        (market.name == format!("{}/{}", pair.base, pair.quote))
            .then(|| Instrument::new(market.market_symbol, pair.base, Class::Spot, active))
    };
    Ok(markets.into_iter().filter_map(instrument).collect())
}

/// The pair of a product.
pub(super) fn pair(product: &str) -> Result<PairKey> {
    let (base, quote) = split_product(product, &QUOTES)?;
    Ok(PairKey::new(base.to_uppercase(), quote.to_uppercase(), NAME).checked()?)
}

/// Appends the messages of one text frame.
pub(super) fn parse(text: &str, received_at: Timestamp, out: &mut Vec<Parsed>) -> Result<()> {
    let frame: Frame<'_> = serde_json::from_str(text).map_err(|error| not_json(&error))?;
    let sent = frame.event.as_deref().ok_or(Malformed::MissingField("event"))?;
    let kind = KINDS.into_iter().find(|kind| *kind == sent).unwrap_or(UNKNOWN);
    let channel = frame.channel.as_deref().unwrap_or_default();
    let message = match kind {
        "trade" => trade(channel, frame.data, received_at)?,
        "bts:subscription_succeeded" if is_stream(channel) => {
            Message::Control(Control::Subscribed(vec![Subscription::stream(NAME, channel)]))
        }
        "bts:subscription_succeeded" | "bts:unsubscription_succeeded" | "bts:heartbeat" => {
            Message::Alive
        }
        "bts:request_reconnect" => Message::Control(Control::Closing),
        "bts:error" => refusal(channel, frame.data),
        UNKNOWN => Message::Ignored(Ignored::UnknownType),
        _ => Message::Ignored(Ignored::UnusedType),
    };
    out.push(Parsed { kind, message });
    if kind == "data" && channel.starts_with(BOOK) {
        let book: Book<'_> = content("data", frame.data)?;
        let sent = time(book.microtimestamp)?;
        let message = Message::Clock(Timestamp(sent.0.saturating_sub(CLOCK_MARGIN_MS)));
        out.push(Parsed { kind, message });
    }
    Ok(())
}

fn is_stream(channel: &str) -> bool {
    channel.starts_with(TRADES) || channel.starts_with(BOOK)
}

fn trade(channel: &str, raw: Option<&RawValue>, received_at: Timestamp) -> Result<Message> {
    let product = channel.strip_prefix(TRADES).ok_or(Malformed::BadField("channel"))?;
    let trade: Trade<'_> = content("data", raw)?;
    let price = decimal("price_str", scalar(trade.price_str))?;
    let size = decimal("amount_str", scalar(trade.amount_str))?;
    let taker_side = side("type", scalar(trade.side), ["0", "1"])?;
    let event = MarketEvent {
        trade_id: Some(integer("id", scalar(trade.id))?),
        taker_side: Some(taker_side),
        received_at,
        ..MarketEvent::trade(price, size, time(trade.microtimestamp)?)
    };
    Ok(Message::Event(pair(product)?, event))
}

fn time(micros: Option<&RawValue>) -> Result<Timestamp> {
    Ok(Timestamp::from_micros(integer("microtimestamp", scalar(micros))?))
}

/// The refusal of one channel, if the venue names it.
fn refusal(channel: &str, raw: Option<&RawValue>) -> Message {
    let failure = content::<Failure<'_>>("data", raw).ok().and_then(|failure| failure.message);
    let reason = failure.map_or_else(|| "no reason given".into(), Cow::into_owned);
    if channel.is_empty() {
        return Message::Control(Control::Refused(reason));
    }
    let product = channel.strip_prefix(TRADES).or_else(|| channel.strip_prefix(BOOK));
    let product = product.unwrap_or_default();
    Message::Control(Control::Rejected { reason, pair: pair(product).ok() })
}

#[cfg(test)]
#[path = "protocol_tests.rs"]
mod tests;
