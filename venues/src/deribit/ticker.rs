//! Deribit's tickers: all that the venue says of an option, a future or a perpetual.
//!
//! ```text
//! ← {"jsonrpc":"2.0","method":"subscription","params":{"channel":"ticker.ETH-30APR21-2560-P.agg2",
//!    "data":{"instrument_name":"ETH-30APR21-2560-P","timestamp":1618677848562,"state":"open",
//!    "mark_price":0.087437,"last_price":0.09,"mark_iv":67.35,"bid_iv":60.76,"ask_iv":68.88,
//!    "best_bid_price":0.083,"best_bid_amount":5.0,"best_ask_price":0.0885,"best_ask_amount":240.0,
//!    "greeks":{"vega":1.64829,"theta":-4.39264,"rho":-0.62314,"gamma":0.00121,"delta":-0.65839},
//!    "underlying_price":2413.36,"underlying_index":"ETH-30APR21","index_price":2365.41, …}}}
//! ```
//!
//! Rules of the venue:
//! - Price, amount and volatility of an empty side are zero: they are null here. A zero `bid_iv` beside
//!   a bid is the venue's value.
//! - `last_price`, the numbers of `stats` and `settlement_price` are null or absent until there is one.
//! - The price sample of an option is its mark price. That of every other instrument is its last price,
//!   or its mark price before the first trade.
//! - The venue states the volatilities in percent, and volumes of options in the coin.
//!
//! A number that does not fit our decimals is null, and counted. Text that is no number is malformed.
//! Spot and combos have a price sample only.

use std::borrow::Cow;

use schemas::{Decimal, InstrumentName, MarketEvent, PairKey, Ticker, Timestamp};
use serde::Deserialize;
use serde_json::value::RawValue;

use super::names::{class, is_inverse, pair};
use crate::fields::{Numbers, content, integer, scalar, words};
use crate::instrument::Class;
use crate::malformed::{Malformed, Result};
use crate::message::{Ignored, Message, Parsed, push_nulls};

#[derive(Deserialize)]
struct Data<'a> {
    #[serde(borrow)]
    instrument_name: Option<Cow<'a, str>>,
    timestamp: Option<&'a RawValue>,
    state: Option<&'a RawValue>,
    mark_price: Option<&'a RawValue>,
    last_price: Option<&'a RawValue>,
    best_bid_price: Option<&'a RawValue>,
    best_bid_amount: Option<&'a RawValue>,
    best_ask_price: Option<&'a RawValue>,
    best_ask_amount: Option<&'a RawValue>,
    mark_iv: Option<&'a RawValue>,
    bid_iv: Option<&'a RawValue>,
    ask_iv: Option<&'a RawValue>,
    greeks: Option<Greeks<'a>>,
    open_interest: Option<&'a RawValue>,
    underlying_price: Option<&'a RawValue>,
    underlying_index: Option<&'a RawValue>,
    index_price: Option<&'a RawValue>,
    settlement_price: Option<&'a RawValue>,
    min_price: Option<&'a RawValue>,
    max_price: Option<&'a RawValue>,
    interest_rate: Option<&'a RawValue>,
    estimated_delivery_price: Option<&'a RawValue>,
    current_funding: Option<&'a RawValue>,
    funding_8h: Option<&'a RawValue>,
    stats: Option<Stats<'a>>,
}

#[derive(Default, Deserialize)]
struct Greeks<'a> {
    #[serde(borrow)]
    delta: Option<&'a RawValue>,
    gamma: Option<&'a RawValue>,
    vega: Option<&'a RawValue>,
    theta: Option<&'a RawValue>,
    rho: Option<&'a RawValue>,
}

#[derive(Default, Deserialize)]
struct Stats<'a> {
    #[serde(borrow)]
    volume: Option<&'a RawValue>,
    volume_usd: Option<&'a RawValue>,
    volume_notional: Option<&'a RawValue>,
    price_change: Option<&'a RawValue>,
    high: Option<&'a RawValue>,
    low: Option<&'a RawValue>,
}

/// Price, amount and volatility of a side.
type Side = [Option<Decimal>; 3];

/// Appends the whole ticker, where the class has one, and its price sample.
pub(super) fn parse(
    data: Option<&RawValue>,
    received_at: Timestamp,
    kind: &'static str,
    out: &mut Vec<Parsed>,
) -> Result<()> {
    let data: Data<'_> = content("data", data)?;
    let name = data.instrument_name.as_deref().ok_or(Malformed::MissingField("instrument_name"))?;
    let (pair, class) = (pair(name)?, class(name));
    let mut numbers = Numbers::default();
    let ticker = ticker(&data, received_at, &mut numbers)?;
    let sample = sample(&data, &pair, class, &ticker, &mut numbers)?;
    let is_whole = !matches!(class, Class::Spot | Class::Combo);
    if is_whole && InstrumentName::parse(name).is_none() {
        return Err(Malformed::BadInstrument(name.into()));
    }
    push_nulls(numbers.nulls, kind, out);
    if is_whole {
        let message = Message::Ticker(pair.clone(), Box::new(ticker));
        out.push(Parsed { kind, message });
    }
    let sample = sample.map(|sample| MarketEvent { received_at, ..sample });
    let message =
        sample.map_or(Message::Ignored(Ignored::QuoteOnly), |sample| Message::Event(pair, sample));
    out.push(Parsed { kind, message });
    Ok(())
}

fn ticker(data: &Data<'_>, received_at: Timestamp, numbers: &mut Numbers) -> Result<Ticker> {
    let bid = [data.best_bid_price, data.best_bid_amount, data.bid_iv];
    let [bid, bid_size, bid_iv] =
        side(["best_bid_price", "best_bid_amount", "bid_iv"], bid, numbers)?;
    let ask = [data.best_ask_price, data.best_ask_amount, data.ask_iv];
    let [ask, ask_size, ask_iv] =
        side(["best_ask_price", "best_ask_amount", "ask_iv"], ask, numbers)?;
    let none = (Greeks::default(), Stats::default());
    let greeks = data.greeks.as_ref().unwrap_or(&none.0);
    let stats = data.stats.as_ref().unwrap_or(&none.1);
    let mut number = |field, raw| numbers.read(field, raw);
    Ok(Ticker {
        mark_price: number("mark_price", data.mark_price)?,
        last_price: number("last_price", data.last_price)?,
        bid,
        bid_size,
        ask,
        ask_size,
        mark_iv: number("mark_iv", data.mark_iv)?,
        bid_iv,
        ask_iv,
        delta: number("delta", greeks.delta)?,
        gamma: number("gamma", greeks.gamma)?,
        vega: number("vega", greeks.vega)?,
        theta: number("theta", greeks.theta)?,
        rho: number("rho", greeks.rho)?,
        open_interest: number("open_interest", data.open_interest)?,
        underlying_price: number("underlying_price", data.underlying_price)?,
        underlying_index: words("underlying_index", data.underlying_index)?,
        index_price: number("index_price", data.index_price)?,
        settlement_price: number("settlement_price", data.settlement_price)?,
        min_price: number("min_price", data.min_price)?,
        max_price: number("max_price", data.max_price)?,
        interest_rate: number("interest_rate", data.interest_rate)?,
        estimated_delivery_price: number(
            "estimated_delivery_price",
            data.estimated_delivery_price,
        )?,
        current_funding: number("current_funding", data.current_funding)?,
        funding_8h: number("funding_8h", data.funding_8h)?,
        volume: number("volume", stats.volume)?,
        volume_usd: number("volume_usd", stats.volume_usd)?,
        price_change: number("price_change", stats.price_change)?,
        high: number("high", stats.high)?,
        low: number("low", stats.low)?,
        state: words("state", data.state)?,
        event_time: Timestamp(integer("timestamp", scalar(data.timestamp))?),
        received_at,
    })
}

/// The numbers of a side; none of an empty one, whose price is zero or absent.
fn side(
    fields: [&'static str; 3],
    raw: [Option<&RawValue>; 3],
    numbers: &mut Numbers,
) -> Result<Side> {
    let price = numbers.read(fields[0], raw[0])?;
    let is_empty = scalar(raw[0]).is_none() || price == Some(Decimal::ZERO);
    // Of an empty side too: text that is no number is malformed.
    let amount = numbers.read(fields[1], raw[1])?;
    let iv = numbers.read(fields[2], raw[2])?;
    Ok(if is_empty { [None; 3] } else { [price, amount, iv] })
}

/// The price sample of a ticker; `None` without a price.
fn sample(
    data: &Data<'_>,
    pair: &PairKey,
    class: Class,
    ticker: &Ticker,
    numbers: &mut Numbers,
) -> Result<Option<MarketEvent>> {
    let has_traded = scalar(data.last_price).is_some();
    let price =
        if class != Class::Option && has_traded { ticker.last_price } else { ticker.mark_price };
    let notional = data.stats.as_ref().and_then(|stats| stats.volume_notional);
    let notional = numbers.read("volume_notional", notional)?;
    let quote = match class {
        // Its volume in USD is not in its quote.
        Class::Option => None,
        _ if is_inverse(pair) => notional.or(ticker.volume_usd),
        _ => notional,
    };
    let sample = |price| MarketEvent::sample(price, ticker.event_time);
    Ok(price.map(|price| sample(price).with_volumes(ticker.volume, quote)))
}

#[cfg(test)]
#[path = "ticker_tests.rs"]
mod tests;
