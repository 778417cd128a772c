//! The Coinbase simulation: the feed's protocol; the HTTP requests are in `rest.rs`.
//!
//! A value without a socket: text in, text out.
//!
//! # What this does not do
//!
//! `level2` comes in the batches of `level2_batch`. `full` and `user` are refused to every client.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use serde::Deserialize;
use serde_json::{Value, json};

use crate::book::followed::{Followed, Part, SlowSnapshot};
use crate::book::truth::Fault;
use crate::book::update::Update;
use crate::market::{Market, Product, Trade};
use crate::reply::Reply;
use crate::text::rfc3339;

mod frames;
mod rest;

pub use rest::{answer, limited};

use frames::{error, matched, ticker};

/// The channels that are spoken.
const CHANNELS: [&str; 6] = ["matches", "ticker", "heartbeat", BOOKS[0].0, BOOKS[1].0, BOOKS[2].0];
/// The channels of order books, and the levels of a side that they send.
pub const BOOKS: [(&str, usize); 3] =
    [("level2", usize::MAX), ("level2_batch", usize::MAX), ("level2_50", 50)];
/// The channels that the venue gives only to those it knows.
const PRIVATE: [&str; 3] = ["full", "level3", "user"];
/// The reason of a refusal to those that it does not know.
const AUTHENTICATION: &str = "level2, level3, and full channels now require authentication. \
                              https://docs.cloud.coinbase.com/exchange/docs/websocket-auth";

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
    seen: BTreeMap<usize, u64>,
    /// The followed books of each channel of books.
    books: [Followed; BOOKS.len()],
    /// Channels of books that need authentication.
    refused: Arc<[String]>,
}

impl Session {
    /// A session without subscriptions, to which these channels are refused.
    pub fn new(refused: Arc<[String]>, slow: SlowSnapshot) -> Self {
        let books = BOOKS.map(|_| Followed::new(slow));
        Self { books, refused, ..Self::default() }
    }

    /// Something is subscribed.
    pub fn is_subscribed(&self) -> bool {
        !self.subscriptions.is_empty()
    }

    /// The answers to a client's message. A refused request changes nothing.
    pub fn request(&mut self, text: &str, market: &Market, now_us: i64) -> Reply {
        let Ok(request) = serde_json::from_str::<Request>(text) else {
            return error("Malformed JSON", None).into();
        };
        let asked = match asked(&request, market) {
            Ok(asked) => asked,
            Err(reason) => return error("Failed to subscribe", Some(&reason)).into(),
        };
        match request.kind.as_str() {
            "subscribe" => self.subscribe(asked, market, now_us),
            "unsubscribe" => {
                self.subscriptions.retain(|one| !asked.contains(one));
                for (channel, product) in asked {
                    if let Some(place) = place(channel) {
                        self.books[place].leave(product);
                    }
                }
                self.acknowledgement(market).into()
            }
            other => {
                let reason = format!("{other} is not a valid type");
                error("Failed to subscribe", Some(&reason)).into()
            }
        }
    }

    fn subscribe(
        &mut self,
        asked: BTreeSet<(&'static str, usize)>,
        market: &Market,
        now_us: i64,
    ) -> Reply {
        if self.subscriptions.len() + asked.len() > MAX_SUBSCRIPTIONS {
            return error("Failed to subscribe", Some("too many subscriptions")).into();
        }
        let refused: Vec<_> = asked
            .iter()
            .filter(|(channel, _)| self.refused.iter().any(|refused| refused == channel))
            .map(|(_, product)| (*product, Fault::Refused))
            .collect();
        if !refused.is_empty() {
            let texts = vec![error("Failed to subscribe", Some(AUTHENTICATION))];
            return Reply { texts, faults: refused, ..Reply::default() };
        }
        let new: Vec<_> = asked.difference(&self.subscriptions).copied().collect();
        self.subscriptions.extend(asked);
        let mut reply = Reply::from(self.acknowledgement(market));
        for (channel, index) in new {
            let product = &market.products()[index];
            if let Some(place) = place(channel) {
                let (state, depth) = (market.books().shown(index), BOOKS[place].1);
                if self.books[place].follow(index, depth, state, now_us) {
                    reply.texts.push(frames::snapshot(product, state, depth));
                } else {
                    reply.faults.push((index, Fault::SlowSnapshot));
                }
                continue;
            }
            self.seen.insert(index, product.last.id);
            match channel {
                "ticker" => reply.texts.push(ticker(product, &product.last)),
                "matches" => reply.texts.push(matched("last_match", product, &product.last)),
                _ => {}
            }
        }
        reply
    }

    /// The parts of a book's update that this client receives, one for each channel of books.
    pub fn book(&mut self, market: &[Product], update: &Update) -> Vec<String> {
        let product = &market[update.product];
        let parts = self.books.iter_mut().filter_map(|books| books.part(update));
        let text = |part| match part {
            Part::Snapshot(depth) => Some(frames::snapshot(product, &update.after, depth)),
            Part::Changes(depth) => frames::update(product, update, depth),
        };
        parts.filter_map(text).collect()
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

/// The place of a channel of books among [`BOOKS`].
fn place(channel: &str) -> Option<usize> {
    BOOKS.iter().position(|(name, _)| *name == channel)
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
            return Err(AUTHENTICATION.into());
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
