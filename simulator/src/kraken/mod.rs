//! The Kraken simulation: version 2 of the feed's protocol; the HTTP requests are in `rest.rs`.
//!
//! A value without a socket: text in, text out.

use std::collections::{BTreeMap, BTreeSet};

use serde::Deserialize;
use serde_json::{Value, json};

use crate::book::followed::{Followed, Part, SlowSnapshot};
use crate::book::truth::Fault;
use crate::book::update::Update;
use crate::market::{Market, Product, Trade};
use crate::reply::Reply;
use crate::text::rfc3339;

pub mod book;
mod rest;

pub use rest::{answer, limited};

use book::{DEPTHS, frame};

/// The channels of one symbol.
const CHANNELS: [&str; 2] = ["trade", "ticker"];
/// The channel of all instruments.
const INSTRUMENT: &str = "instrument";
/// Trades of a snapshot.
const SNAPSHOT: usize = 50;
/// The channel of books.
const BOOK: &str = "book";

#[derive(Deserialize)]
struct Request {
    method: Option<String>,
    params: Option<Params>,
    req_id: Option<u64>,
}

#[derive(Deserialize)]
struct Params {
    channel: String,
    #[serde(default)]
    symbol: Vec<String>,
    snapshot: Option<bool>,
    depth: Option<usize>,
}

/// The subscriptions of one client.
#[derive(Debug, Default)]
pub struct Session {
    /// Channel and index of the product.
    subscriptions: BTreeSet<(&'static str, usize)>,
    /// The newest trade that each product had when it was subscribed; earlier ones are not sent.
    seen: BTreeMap<usize, u64>,
    follows_instruments: bool,
    books: Followed,
}

impl Session {
    /// A session without subscriptions.
    pub fn new(slow: SlowSnapshot) -> Self {
        Self { books: Followed::new(slow), ..Self::default() }
    }

    /// The texts before the first request.
    pub fn greeting() -> String {
        status("online")
    }

    /// Something is subscribed.
    pub fn is_subscribed(&self) -> bool {
        !self.subscriptions.is_empty() || self.follows_instruments || !self.books.is_empty()
    }

    /// The text before it closes for maintenance.
    pub fn maintenance() -> String {
        status("maintenance")
    }

    /// The refusal of a request.
    pub fn refusal(text: &str) -> String {
        let id = serde_json::from_str::<Request>(text).ok().and_then(|request| request.req_id);
        json!({"error": "Service unavailable", "method": "subscribe", "req_id": id,
            "success": false})
        .to_string()
    }

    /// The answers to a client's message.
    pub fn request(&mut self, text: &str, market: &Market, now_us: i64) -> Reply {
        let Ok(request) = serde_json::from_str::<Request>(text) else {
            return json!({"error": "Malformed request", "success": false}).to_string().into();
        };
        match (request.method.as_deref(), &request.params) {
            (Some("ping"), _) => {
                json!({"method": "pong", "req_id": request.req_id, "time_in": rfc3339(now_us),
                    "time_out": rfc3339(now_us)})
                .to_string()
                .into()
            }
            (Some(method @ ("subscribe" | "unsubscribe")), Some(params))
                if params.channel == BOOK =>
            {
                let stamps = stamps(method, request.req_id, now_us);
                self.books(method, params, market, &stamps, now_us)
            }
            (Some("subscribe"), Some(params)) => {
                self.subscribe(params, request.req_id, market, now_us)
            }
            (Some("unsubscribe"), Some(params)) => {
                let gone: BTreeSet<_> =
                    params.symbol.iter().filter_map(|symbol| market.find(symbol)).collect();
                self.subscriptions
                    .retain(|(channel, index)| *channel != params.channel || !gone.contains(index));
                Reply::default()
            }
            _ => json!({"error": "Unknown method", "success": false, "req_id": request.req_id})
                .to_string()
                .into(),
        }
    }

    fn subscribe(
        &mut self,
        params: &Params,
        req_id: Option<u64>,
        market: &Market,
        now_us: i64,
    ) -> Reply {
        let stamps = stamps("subscribe", req_id, now_us);
        let answer = |fields: Value| merged(&stamps, fields).to_string();
        if params.channel == INSTRUMENT {
            self.follows_instruments = true;
            let result = json!({"channel": INSTRUMENT, "snapshot": true});
            return vec![answer(json!({"result": result, "success": true})), listing(market)]
                .into();
        }
        let Some(channel) = CHANNELS.into_iter().find(|known| *known == params.channel) else {
            let error = format!("Unknown channel {}", params.channel);
            return answer(json!({"error": error, "success": false})).into();
        };
        let mut texts = Vec::new();
        for symbol in &params.symbol {
            let Some(index) = market.find(symbol) else {
                let error = format!("Currency pair not supported {symbol}");
                let refusal = json!({"error": error, "success": false, "symbol": symbol});
                texts.push(answer(refusal));
                continue;
            };
            let snapshot = params.snapshot.unwrap_or(true);
            let result = json!({"channel": channel, "symbol": symbol, "snapshot": snapshot});
            texts.push(answer(json!({"result": result, "success": true})));
            self.subscriptions.insert((channel, index));
            let product = &market.products()[index];
            self.seen.insert(index, product.last.id);
            if snapshot && channel == "trade" {
                let mut newest: Vec<_> = market.history(index).rev().take(SNAPSHOT).collect();
                newest.reverse();
                let data: Vec<_> = newest.iter().map(|trade| item(product, trade)).collect();
                texts.push(frame("trade", "snapshot", &data.join(",")));
            } else if snapshot {
                texts.push(frame("ticker", "snapshot", &sample(product, &product.last)));
            }
        }
        texts.into()
    }

    /// Subscribes books or leaves them: an answer for each symbol, and the snapshots.
    fn books(
        &mut self,
        method: &str,
        params: &Params,
        market: &Market,
        stamps: &Value,
        now_us: i64,
    ) -> Reply {
        let mut reply = Reply::default();
        for symbol in &params.symbol {
            let mut snapshot = None;
            let done = match (market.find(symbol), method) {
                (None, _) => Err(format!("Currency pair not supported {symbol}")),
                (Some(index), "subscribe") => {
                    let granted = self.follow(index, params, market, now_us);
                    granted.map(|(result, is_slow, book)| {
                        snapshot = book;
                        reply.faults.extend(is_slow.then_some((index, Fault::SlowSnapshot)));
                        result
                    })
                }
                (Some(index), _) => self.leave(&market.products()[index]),
            };
            let fields = match done {
                Ok(result) => json!({"result": result, "success": true}),
                Err(error) => json!({"error": error, "success": false, "symbol": symbol}),
            };
            reply.texts.push(merged(stamps, fields).to_string());
            reply.texts.extend(snapshot);
        }
        reply
    }

    /// The granted subscription, whether its snapshot comes late, and the snapshot if it comes now;
    /// or the reason of the refusal.
    fn follow(
        &mut self,
        index: usize,
        params: &Params,
        market: &Market,
        now_us: i64,
    ) -> Result<(Value, bool, Option<String>), String> {
        let (depth, snapshot) =
            (params.depth.unwrap_or(DEPTHS[0]), params.snapshot.unwrap_or(true));
        if !DEPTHS.contains(&depth) {
            return Err("Subscription depth not supported".into());
        }
        let (product, state) = (&market.products()[index], market.books().shown(index));
        let is_now = self.books.follow(index, depth, state, now_us);
        let result = json!({"channel": BOOK, "depth": depth, "snapshot": snapshot,
            "symbol": product.name});
        let book = (snapshot && is_now).then(|| book::snapshot(product, state, depth));
        Ok((result, !is_now, book))
    }

    /// The subscription that was left, or the reason of the refusal.
    fn leave(&mut self, product: &Product) -> Result<Value, String> {
        let depth = self.books.leave(product.last.product).ok_or("Subscription Not Found")?;
        Ok(json!({"channel": BOOK, "depth": depth, "symbol": product.name}))
    }

    /// The part of a book's update that this client receives.
    pub fn book(&mut self, market: &[Product], update: &Update) -> Option<String> {
        let product = &market[update.product];
        match self.books.part(update)? {
            Part::Snapshot(depth) => Some(book::snapshot(product, &update.after, depth)),
            Part::Changes(depth) => book::update(product, update, depth),
        }
    }

    /// The ticker of a trade, if this client follows it.
    pub fn ticker(&self, market: &[Product], trade: &Trade) -> Option<String> {
        let product = &market[trade.product];
        self.wants("ticker", trade).then(|| frame("ticker", "update", &sample(product, trade)))
    }

    /// The trade, if this client follows it.
    pub fn matched(&self, market: &[Product], trade: &Trade) -> Option<String> {
        let product = &market[trade.product];
        self.wants("trade", trade).then(|| frame("trade", "update", &item(product, trade)))
    }

    /// The heartbeat of a second.
    pub fn beat(&self) -> Reply {
        if self.is_subscribed() {
            r#"{"channel":"heartbeat"}"#.to_owned().into()
        } else {
            Reply::default()
        }
    }

    fn wants(&self, channel: &'static str, trade: &Trade) -> bool {
        self.subscriptions.contains(&(channel, trade.product))
            && self.seen.get(&trade.product).is_some_and(|seen| trade.id > *seen)
    }
}

/// The fields of every answer to a request.
fn stamps(method: &str, req_id: Option<u64>, now_us: i64) -> Value {
    json!({"time_in": rfc3339(now_us), "time_out": rfc3339(now_us), "req_id": req_id, "method": method})
}

fn merged(base: &Value, fields: Value) -> Value {
    let mut all = base.clone();
    if let (Value::Object(all), Value::Object(fields)) = (&mut all, fields) {
        all.extend(fields);
    }
    all
}

fn status(system: &str) -> String {
    format!(
        r#"{{"channel":"status","type":"update","data":[{{"version":"2.0.10","system":"{system}","api_version":"v2","connection_id":13834774380200032777}}]}}"#
    )
}

fn listing(market: &Market) -> String {
    let pairs: Vec<_> = market
        .products()
        .iter()
        .map(|product| {
            let (base, quote) = product.name.split_once('/').unwrap_or((&product.name, ""));
            json!({"symbol": product.name, "base": base, "quote": quote, "status": "online",
                "price_precision": product.price_decimals, "qty_precision": product.size_decimals,
                "price_increment": product.price(1).parse::<serde_json::Number>().ok(),
                "qty_increment": product.size(1).parse::<serde_json::Number>().ok(),
                "has_index": false, "marginable": false})
        })
        .collect();
    json!({"channel": INSTRUMENT, "type": "snapshot", "data": {"assets": [], "pairs": pairs}})
        .to_string()
}

fn item(product: &Product, trade: &Trade) -> String {
    format!(
        r#"{{"symbol":"{}","side":"{}","price":{},"qty":{},"ord_type":"market","trade_id":{},"timestamp":"{}"}}"#,
        product.name,
        // The taker's.
        if trade.maker_buys { "sell" } else { "buy" },
        product.price(trade.price),
        product.size(trade.size),
        trade.id,
        rfc3339(trade.time_us),
    )
}

fn sample(product: &Product, trade: &Trade) -> String {
    format!(
        r#"{{"symbol":"{}","bid":{},"bid_qty":{},"ask":{},"ask_qty":{},"last":{price},"volume":{},"vwap":{},"low":{},"high":{},"change":{},"change_pct":0.00,"timestamp":"{}"}}"#,
        product.name,
        product.price(trade.shown.bid.price),
        product.size(trade.shown.bid.size),
        product.price(trade.shown.ask.price),
        product.size(trade.shown.ask.size),
        product.size(trade.day.volume),
        product.price(i64::midpoint(trade.day.low, trade.day.high)),
        product.price(trade.day.low),
        product.price(trade.day.high),
        product.price(trade.price - trade.day.open),
        rfc3339(trade.time_us),
        price = product.price(trade.price),
    )
}
