//! The Coinbase simulation: the feed's protocol and the HTTP requests.
//!
//! A value without a socket: text in, text out. The frames have the venue's fields in the venue's
//! order.

use std::collections::BTreeSet;

use serde::Deserialize;
use serde_json::{Value, json};

use crate::http::{QueryString, Response};
use crate::market::{Market, Product, Trade};
use crate::text::{decimal, rfc3339};

/// The channels that are spoken.
const CHANNELS: [&str; 3] = ["matches", "ticker", "heartbeat"];
/// The channels that the venue gives only to those it knows.
const PRIVATE: [&str; 4] = ["full", "level2", "level3", "user"];

/// Requests of one client at most: a product in every channel is one pair.
const MAX_SUBSCRIPTIONS: usize = 10_000;

#[derive(Deserialize)]
struct Request {
    #[serde(rename = "type")]
    kind: String,
    #[serde(default)]
    product_ids: Vec<String>,
    #[serde(default)]
    channels: Vec<Channel>,
}

/// A channel by name, or with products of its own.
#[derive(Deserialize)]
#[serde(untagged)]
enum Channel {
    Name(String),
    Products {
        name: String,
        #[serde(default)]
        product_ids: Vec<String>,
    },
}

/// The subscriptions of one client.
#[derive(Debug, Default)]
pub struct Session {
    /// Channel and index of the product.
    subscriptions: BTreeSet<(&'static str, usize)>,
    /// The newest trade that each product had when it was subscribed; earlier ones are not sent.
    seen: std::collections::BTreeMap<usize, u64>,
}

impl Session {
    /// Something is subscribed.
    pub fn is_subscribed(&self) -> bool {
        !self.subscriptions.is_empty()
    }

    /// The answers to a client's message. A refused request changes nothing.
    pub fn request(&mut self, text: &str, market: &Market) -> Vec<String> {
        let Ok(request) = serde_json::from_str::<Request>(text) else {
            return vec![error("Malformed JSON", None)];
        };
        let asked = match asked(&request, market) {
            Ok(asked) => asked,
            Err(reason) => return vec![error("Failed to subscribe", Some(&reason))],
        };
        match request.kind.as_str() {
            "subscribe" => self.subscribe(asked, market),
            "unsubscribe" => {
                self.subscriptions.retain(|one| !asked.contains(one));
                vec![self.acknowledgement(market)]
            }
            other => {
                let reason = format!("{other} is not a valid type");
                vec![error("Failed to subscribe", Some(&reason))]
            }
        }
    }

    fn subscribe(
        &mut self,
        asked: BTreeSet<(&'static str, usize)>,
        market: &Market,
    ) -> Vec<String> {
        if self.subscriptions.len() + asked.len() > MAX_SUBSCRIPTIONS {
            return vec![error("Failed to subscribe", Some("too many subscriptions"))];
        }
        let new: Vec<_> = asked.difference(&self.subscriptions).copied().collect();
        self.subscriptions.extend(asked);
        let mut answers = vec![self.acknowledgement(market)];
        for (channel, index) in new {
            let product = &market.products()[index];
            self.seen.insert(index, product.last.id);
            match channel {
                "ticker" => answers.push(ticker(product, &product.last)),
                "matches" => answers.push(matched("last_match", product, &product.last)),
                _ => {}
            }
        }
        answers
    }

    /// The ticker of a trade, if this client follows it.
    pub fn ticker(&self, market: &[Product], trade: &Trade) -> Option<String> {
        self.wants("ticker", trade).then(|| ticker(&market[trade.product], trade))
    }

    /// The match of a trade, if this client follows it.
    pub fn matched(&self, market: &[Product], trade: &Trade) -> Option<String> {
        self.wants("matches", trade).then(|| matched("match", &market[trade.product], trade))
    }

    /// A heartbeat for each product that has them.
    pub fn heartbeats(&self, market: &Market, time_us: i64) -> Vec<String> {
        let beating = self.subscriptions.iter().filter(|(channel, _)| *channel == "heartbeat");
        beating
            .map(|(_, index)| {
                let product = &market.products()[*index];
                format!(
                    r#"{{"type":"heartbeat","last_trade_id":{},"product_id":"{}","sequence":{},"time":"{}"}}"#,
                    product.last.id, product.name, product.last.sequence, rfc3339(time_us.max(product.last.time_us)),
                )
            })
            .collect()
    }

    /// The refusal of a request.
    pub fn refusal() -> String {
        error("Failed to subscribe", Some("try again later"))
    }

    fn wants(&self, channel: &'static str, trade: &Trade) -> bool {
        self.subscriptions.contains(&(channel, trade.product))
            && self.seen.get(&trade.product).is_some_and(|seen| trade.id > *seen)
    }

    fn acknowledgement(&self, market: &Market) -> String {
        let channels: Vec<Value> = CHANNELS
            .into_iter()
            .filter_map(|name| {
                let of_channel = self.subscriptions.iter().filter(|(channel, _)| *channel == name);
                let products: Vec<&str> =
                    of_channel.map(|(_, index)| market.products()[*index].name.as_str()).collect();
                (!products.is_empty())
                    .then(|| json!({"name": name, "product_ids": products, "account_ids": null}))
            })
            .collect();
        json!({"type": "subscriptions", "channels": channels}).to_string()
    }
}

/// `GET /products` and `GET /products/{id}/trades`, newest first.
pub fn answer(path: &str, query: &QueryString<'_>, market: &Market) -> Response {
    if path == "/products" {
        let listed = market.products().iter().map(|product| {
            let (base, quote) = product.name.split_once('-').unwrap_or((&product.name, ""));
            json!({"id": product.name, "base_currency": base, "quote_currency": quote,
                "status": "online", "trading_disabled": false})
        });
        return Response::ok(listed.collect::<Value>());
    }
    let name = path.strip_prefix("/products/").and_then(|rest| rest.strip_suffix("/trades"));
    let Some(index) = name.and_then(|name| market.find(name)) else {
        return Response::not_found(json!({"message": "NotFound"}));
    };
    let product = &market.products()[index];
    let before = query.number("after").unwrap_or(u64::MAX);
    let limit = query.limit(1000, 1000);
    let newest = market.past(index).rev().filter(|trade| trade.id < before);
    Response::ok(
        newest
            .take(limit)
            .map(|trade| {
                json!({"trade_id": trade.id, "side": if trade.maker_buys { "buy" } else { "sell" },
                    "size": product.size(trade.size), "price": product.price(trade.price),
                    "time": rfc3339(trade.time_us)})
            })
            .collect::<Value>(),
    )
}

/// The requests of a second are spent.
pub fn limited(retry_after: u64) -> Response {
    Response::limited(json!({"message": "Public rate limit exceeded"})).after(retry_after)
}

/// Channel and product of everything that a request names, or why it cannot be had.
fn asked(request: &Request, market: &Market) -> Result<BTreeSet<(&'static str, usize)>, String> {
    let mut asked = BTreeSet::new();
    for channel in &request.channels {
        let (name, own) = match channel {
            Channel::Name(name) => (name, &[][..]),
            Channel::Products { name, product_ids } => (name, &product_ids[..]),
        };
        if PRIVATE.contains(&name.as_str()) {
            return Err("level2, level3, and full channels now require authentication. \
                        https://docs.cloud.coinbase.com/exchange/docs/websocket-auth"
                .into());
        }
        let Some(channel) = CHANNELS.into_iter().find(|known| known == name) else {
            return Err(format!("{name} is not a valid channel"));
        };
        for product in request.product_ids.iter().chain(own) {
            // Asked as -USDC, answered as -USD.
            let listed = product.strip_suffix("-USDC").map(|base| format!("{base}-USD"));
            let index = market.find(product).or_else(|| market.find(&listed?));
            let index = index.ok_or_else(|| format!("{product} is not a valid product"))?;
            asked.insert((channel, index));
        }
    }
    if asked.is_empty() { Err("no products or channels".into()) } else { Ok(asked) }
}

fn error(message: &str, reason: Option<&str>) -> String {
    match reason {
        Some(reason) => json!({"type": "error", "message": message, "reason": reason}).to_string(),
        None => json!({"type": "error", "message": message}).to_string(),
    }
}

fn matched(kind: &str, product: &Product, trade: &Trade) -> String {
    format!(
        r#"{{"type":"{kind}","trade_id":{},"maker_order_id":"{}","taker_order_id":"{}","side":"{}","size":"{}","price":"{}","product_id":"{}","sequence":{},"time":"{}"}}"#,
        trade.id,
        uuid(trade.orders.0),
        uuid(trade.orders.1),
        if trade.maker_buys { "buy" } else { "sell" },
        product.size(trade.size),
        product.price(trade.price),
        product.name,
        trade.sequence,
        rfc3339(trade.time_us),
    )
}

fn ticker(product: &Product, trade: &Trade) -> String {
    let day = trade.day;
    let eight = |units: i64| {
        // Volumes always have eight fraction digits, whatever a size has.
        let padding = "0".repeat(8usize.saturating_sub(usize::from(product.size_decimals)));
        let text = decimal(units, product.size_decimals);
        if product.size_decimals == 0 { format!("{text}.{padding}") } else { text + &padding }
    };
    format!(
        r#"{{"type":"ticker","sequence":{},"product_id":"{}","price":"{price}","open_24h":"{}","volume_24h":"{}","low_24h":"{}","high_24h":"{}","volume_30d":"{}","best_bid":"{}","best_bid_size":"{size}","best_ask":"{}","best_ask_size":"{size}","side":"{}","time":"{}","trade_id":{},"last_size":"{size}"}}"#,
        trade.sequence,
        product.name,
        product.price(day.open),
        eight(day.volume),
        product.price(day.low),
        product.price(day.high),
        eight(day.volume.saturating_mul(27)),
        product.price(if trade.maker_buys { trade.price } else { trade.price - 1 }),
        product.price(if trade.maker_buys { trade.price + 1 } else { trade.price }),
        // The taker's.
        if trade.maker_buys { "sell" } else { "buy" },
        rfc3339(trade.time_us),
        trade.id,
        price = product.price(trade.price),
        size = product.size(trade.size),
    )
}

fn uuid(id: u128) -> String {
    let hex = format!("{id:032x}");
    [&hex[..8], &hex[8..12], &hex[12..16], &hex[16..20], &hex[20..]].join("-")
}
