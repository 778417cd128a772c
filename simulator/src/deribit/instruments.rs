//! The listings of Deribit: currencies, instruments, and the summary of each instrument's book.

use std::collections::BTreeSet;

use serde_json::{Map, Value, json};

use super::frames::{coin, kind};
use super::ticker::Ticker;
use crate::http::QueryString;
use crate::market::Market;
use crate::surface::instrument::{Kind, Life};
use crate::surface::number::written;
use crate::surface::quote::{COARSE_FROM, COARSE_TICK, TICK};

/// The expiry of a perpetual.
const NEVER_MS: i64 = 32_503_708_800_000;
/// When the perpetuals were listed, as the venue says.
const PERPETUALS_MS: i64 = 1_534_242_287_000;

/// The instruments that a request asks for.
#[derive(Debug)]
pub(super) struct Asked<'a> {
    currency: &'a str,
    kind: Option<&'a str>,
    expired: bool,
}

impl<'a> Asked<'a> {
    pub(super) fn of(query: &QueryString<'a>) -> Self {
        Self {
            currency: query.text("currency").unwrap_or("any"),
            kind: query.text("kind").filter(|kind| *kind != "any"),
            expired: query.text("expired") == Some("true"),
        }
    }

    /// The indices of the products that are meant.
    pub(super) fn products(&self, market: &Market) -> impl Iterator<Item = usize> {
        market.products().iter().enumerate().filter_map(move |(index, product)| {
            let life = market.surface().instrument(index).map(|instrument| instrument.life);
            let in_life = match life {
                None | Some(Life::Open) => !self.expired,
                Some(Life::Closed(_)) => self.expired,
                Some(Life::Pending) => false,
            };
            let of_currency = self.currency == "any" || coin(&product.name) == self.currency;
            let of_kind = self.kind.is_none_or(|wanted| wanted == kind(&product.name));
            (in_life && of_currency && of_kind).then_some(index)
        })
    }
}

/// The currencies of all products.
pub(super) fn currencies(market: &Market) -> Value {
    let coins: BTreeSet<&str> =
        market.products().iter().map(|product| coin(&product.name)).collect();
    let currency = |coin: &&str| {
        json!({"currency": coin, "currency_long": coin, "coin_type": "BITCOIN",
            "min_confirmations": 1, "min_withdrawal_fee": 0, "withdrawal_fee": 0,
            "withdrawal_priorities": [], "fee_precision": 4})
    };
    coins.iter().map(currency).collect()
}

/// The instruments that a request asks for.
pub(super) fn instruments(market: &Market, asked: &Asked<'_>) -> Value {
    asked.products(market).map(|index| instrument(market, index)).collect()
}

/// A number as the venue writes it.
fn number(text: &str) -> Option<serde_json::Number> {
    text.parse().ok()
}

/// One instrument.
pub(super) fn instrument(market: &Market, index: usize) -> Value {
    let product = &market.products()[index];
    let (name, coin, kind) = (&product.name, coin(&product.name), kind(&product.name));
    let on_surface = market.surface().instrument(index);
    // Futures are priced in dollars, options in their coin.
    let quote = if kind == "future" { "USD" } else { coin };
    let period = match on_surface.map(|instrument| instrument.kind) {
        Some(Kind::Perpetual) => "perpetual",
        _ => "month",
    };
    let listed_ms = on_surface
        .filter(|instrument| instrument.kind != Kind::Perpetual)
        .map_or(PERPETUALS_MS, |instrument| instrument.listed_ms);
    let mut listed = json!({"instrument_name": name, "kind": kind, "base_currency": coin,
        "quote_currency": quote, "counter_currency": "USD", "settlement_currency": coin,
        "price_index": format!("{}_usd", coin.to_lowercase()), "instrument_type": "reversed",
        "settlement_period": period, "is_active": market.surface().is_open(index),
        "contract_size": 1.0, "tick_size": number(&product.price(1)), "tick_size_steps": [],
        "min_trade_amount": number(&product.size(1)), "maker_commission": 0.0003,
        "taker_commission": 0.0003, "block_trade_commission": 0.000_15, "rfq": false,
        "instrument_id": product.last.product, "creation_timestamp": listed_ms,
        "expiration_timestamp": on_surface.and_then(|one| one.expiry_ms).unwrap_or(NEVER_MS)});
    if let Some(Kind::Option { strike, is_call }) = on_surface.map(|instrument| instrument.kind) {
        listed["strike"] = json!(strike);
        listed["option_type"] = json!(if is_call { "call" } else { "put" });
        listed["tick_size"] = json!(number(&written(TICK, 4)));
        listed["tick_size_steps"] = json!([{"above_price": number(&written(COARSE_FROM, 4)),
            "tick_size": number(&written(COARSE_TICK, 4))}]);
    }
    listed
}

/// The summary of the book of each instrument that a request asks for.
pub(super) fn summaries(market: &Market, asked: &Asked<'_>, now_us: i64) -> Value {
    asked.products(market).map(|index| summary(market, index, now_us)).collect()
}

/// The summary of an instrument's book: a part of its ticker, under other names.
pub(super) fn summary(market: &Market, index: usize, now_us: i64) -> Value {
    let product = &market.products()[index];
    let text = Ticker::of(market, index, now_us).text();
    let ticker: Value = serde_json::from_str(&text).unwrap_or_default();
    let (coin, kind) = (coin(&product.name), kind(&product.name));
    let mut summary = Map::new();
    let mut put = |name: &str, value: Value| summary.insert(name.to_owned(), value);
    put("instrument_name", json!(product.name));
    put("base_currency", json!(coin));
    put("quote_currency", json!(if kind == "option" { coin } else { "USD" }));
    put("creation_timestamp", json!(now_us / 1000));
    for name in [
        "underlying_index",
        "underlying_price",
        "mark_price",
        "mark_iv",
        "interest_rate",
        "open_interest",
        "estimated_delivery_price",
        "current_funding",
        "funding_8h",
    ] {
        if let Some(value) = ticker.get(name) {
            put(name, value.clone());
        }
    }
    for name in ["volume", "volume_usd", "price_change", "high", "low"] {
        put(name, ticker["stats"][name].clone());
    }
    put("last", ticker["last_price"].clone());
    // An empty side is null here, and zero in the ticker.
    let side = |name: &str| ticker[name].as_f64().filter(|price| *price > 0.0);
    let (bid, ask) = (side("best_bid_price"), side("best_ask_price"));
    put("bid_price", json!(bid));
    put("ask_price", json!(ask));
    let mid = bid.zip(ask).and_then(|(bid, ask)| number(&written(f64::midpoint(bid, ask), 5)));
    put("mid_price", json!(mid));
    Value::Object(summary)
}
