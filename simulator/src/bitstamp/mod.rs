//! The Bitstamp simulation: the feed's protocol; the HTTP requests are in `rest.rs`.
//!
//! A value without a socket: text in, text out. The channel of a book that has not changed for a second
//! has a message with the venue's time and without a change.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::{Value, json};

use crate::book::Side;
use crate::book::followed::Followed;
use crate::book::update::Update;
use crate::market::{Market, Product, Trade};
use crate::reply::Reply;

mod rest;

pub use rest::{answer, limited};
pub(crate) use rest::{order_book, snapshot_of};

/// Microseconds in a second.
const SECOND: i64 = 1_000_000;

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
    /// The books of those that are in the market.
    followed: Followed,
    /// The time of the newest update of each of those.
    updated: BTreeMap<usize, i64>,
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
                if let Some(name) = channel.strip_prefix(BOOK) {
                    self.books.remove(name);
                    market.find(name).map(|index| self.followed.leave(index));
                }
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
            if let Some(index) = market.find(name) {
                // The snapshot is fetched.
                self.followed.follow(index, usize::MAX, market.books().shown(index), 0);
            }
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

    /// The changed levels of an update, if this client follows the book.
    pub fn book(&mut self, market: &[Product], update: &Update) -> Option<String> {
        let product = &market[update.product];
        self.followed.part(update)?;
        let time = update.after.time_us;
        self.updated.insert(update.product, time);
        let changes = update.changes(product, usize::MAX);
        let side = |side: &Side| levels(product, side);
        let mut bids = side(&changes.bids);
        bids.reverse();
        let data = stamped(time, &bids, &side(&changes.asks));
        Some(message("data", &format!("{BOOK}{}", product.name), &data))
    }

    /// An order book message without a change of each followed product that has been quiet.
    pub fn beat(&self, market: &Market, now_us: i64) -> Reply {
        let is_quiet = |name: &&String| {
            let updated = market.find(name).and_then(|index| self.updated.get(&index));
            updated.is_none_or(|updated| now_us - updated > SECOND)
        };
        let data = stamped(now_us, &[], &[]);
        let of = |name: &String| message("data", &format!("{BOOK}{name}"), &data);
        self.books.iter().filter(is_quiet).map(of).collect::<Vec<_>>().into()
    }
}

/// A book message with the venue's time.
fn stamped(time_us: i64, bids: &[Value], asks: &[Value]) -> Value {
    json!({"timestamp": (time_us / SECOND).to_string(), "microtimestamp": time_us.to_string(),
        "bids": bids, "asks": asks})
}

/// From the lowest price to the highest.
fn levels(product: &Product, side: &Side) -> Vec<Value> {
    let level = |(price, size): (&i64, &i64)| json!([product.price(*price), product.size(*size)]);
    side.iter().map(level).collect()
}

fn message(event: &str, channel: &str, data: &Value) -> String {
    json!({"event": event, "channel": channel, "data": data}).to_string()
}

fn error(channel: &str, message: &str) -> String {
    self::message("bts:error", channel, &json!({"code": null, "message": message}))
}
