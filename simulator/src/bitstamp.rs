//! The Bitstamp simulation: the feed's protocol and the HTTP requests.
//!
//! A value without a socket: text in, text out. The order book of a product never changes, but its
//! channel has a message each second with the venue's time.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::{Value, json};

use crate::http::Response;
use crate::market::{Market, Product, Trade};
use crate::reply::Reply;

/// The channel of a product's trades begins with this.
const TRADES: &str = "live_trades_";
/// The channel of a product's order book changes begins with this.
const BOOK: &str = "diff_order_book_";

/// The subscriptions of one client.
#[derive(Debug, Default)]
pub struct Session {
    /// Products of trades, and the newest trade at the time of subscribing; earlier ones are not
    /// sent.
    trades: BTreeMap<usize, u64>,
    /// Products of order books, by name: the clock's product may not be in the market.
    books: BTreeSet<String>,
}

impl Session {
    /// Something is subscribed.
    pub fn is_subscribed(&self) -> bool {
        !(self.trades.is_empty() && self.books.is_empty())
    }

    /// The text before it closes for maintenance.
    pub fn maintenance() -> String {
        message("bts:request_reconnect", "", &json!(""))
    }

    /// The refusal of a request.
    pub fn refusal() -> String {
        error("", "Bad subscription string.")
    }

    /// The answers to a client's message.
    pub fn request(&mut self, text: &str, market: &Market) -> Reply {
        let request: Value = serde_json::from_str(text).unwrap_or_default();
        let channel = request["data"]["channel"].as_str().unwrap_or_default();
        match request["event"].as_str() {
            Some("bts:heartbeat") => {
                message("bts:heartbeat", "", &json!({"status": "success"})).into()
            }
            Some("bts:subscribe") => self.subscribe(channel, market).into(),
            Some("bts:unsubscribe") => {
                let product = channel.strip_prefix(TRADES).and_then(|name| market.find(name));
                product.map(|index| self.trades.remove(&index));
                self.books.remove(channel.strip_prefix(BOOK).unwrap_or_default());
                message("bts:unsubscription_succeeded", channel, &json!({})).into()
            }
            _ => error("", "Incorrect JSON format.").into(),
        }
    }

    fn subscribe(&mut self, channel: &str, market: &Market) -> String {
        let product = channel.strip_prefix(TRADES).and_then(|name| market.find(name));
        if let Some(index) = product {
            self.trades.insert(index, market.products()[index].last.id);
        } else if let Some(name) = channel.strip_prefix(BOOK) {
            self.books.insert(name.to_owned());
        } else {
            return error(channel, "Bad subscription string.");
        }
        message("bts:subscription_succeeded", channel, &json!({}))
    }

    /// The trade, if this client follows it.
    pub fn matched(&self, market: &[Product], trade: &Trade) -> Option<String> {
        let product = &market[trade.product];
        let seen = self.trades.get(&trade.product)?;
        (trade.id > *seen).then(|| {
            let (price, size) = (product.price(trade.price), product.size(trade.size));
            format!(
                r#"{{"data":{{"id":{},"timestamp":"{}","amount":{size},"amount_str":"{size}","price":{price},"price_str":"{price}","type":{},"microtimestamp":"{}","buy_order_id":1,"sell_order_id":2}},"channel":"{TRADES}{}","event":"trade"}}"#,
                trade.id,
                trade.time_us / 1_000_000,
                // The taker's side.
                i32::from(trade.maker_buys),
                trade.time_us,
                product.name,
            )
        })
    }

    /// An order book message of each followed product, without a change.
    pub fn beat(&self, now_us: i64) -> Reply {
        let data = json!({"timestamp": (now_us / 1_000_000).to_string(),
            "microtimestamp": now_us.to_string(), "bids": [], "asks": []});
        let of = |name: &String| message("data", &format!("{BOOK}{name}"), &data);
        self.books.iter().map(of).collect::<Vec<_>>().into()
    }
}

/// `GET /api/v2/markets/`.
pub fn answer(path: &str, market: &Market) -> Response {
    if path != "/api/v2/markets/" {
        return Response::not_found(json!({"code": "404.001", "reason": "Not found"}));
    }
    let listed = market.products().iter().map(|product| {
        let name = product.name.to_uppercase();
        let (base, quote) = name.split_at(name.len().saturating_sub(3));
        json!({"name": format!("{base}/{quote}"), "market_symbol": product.name,
            "base_currency": base, "counter_currency": quote, "trading": "Enabled"})
    });
    Response::ok(listed.collect())
}

/// The requests of ten minutes are spent.
pub fn limited(retry_after: u64) -> Response {
    let reason = json!({"code": "400.002", "reason": "Request rate limit exceeded"});
    Response::limited(reason).after(retry_after)
}

fn message(event: &str, channel: &str, data: &Value) -> String {
    json!({"event": event, "channel": channel, "data": data}).to_string()
}

fn error(channel: &str, message: &str) -> String {
    self::message("bts:error", channel, &json!({"code": null, "message": message}))
}
