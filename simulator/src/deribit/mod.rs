//! The Deribit simulation: the feed's protocol; the requests that the venue answers over HTTP as well
//! are in `rest.rs`.
//!
//! A value without a socket: text in, text out. Requests cost credits, which all connections share.
//! A client that does not answer a `test_request` is disconnected.

use std::collections::BTreeSet;
use std::sync::{Arc, Mutex, PoisonError};

use serde::Deserialize;
use serde_json::{Value, json};

use crate::book::followed::{Followed, Part, SlowSnapshot};
use crate::book::truth::Fault;
use crate::book::update::Update;
use crate::bucket::TokenBucket;
use crate::listings::ListingChange;
use crate::market::{Market, Product, Trade};
use crate::reply::Reply;
use crate::surface::{AGGREGATED_EVERY, QUOTED_EVERY};

mod frames;
mod instruments;
mod rest;
mod ticker;

pub use rest::{answer, limited, truth};

use frames::{error, item, notification, of_kind, result};
use ticker::Ticker;

/// The interval of the channels that are served without authentication.
const INTERVAL: &str = "100ms";
/// The interval of tickers that are aggregated over two seconds.
const AGGREGATED: &str = "agg2";
/// Microseconds in a second.
const SECOND: i64 = 1_000_000;
/// Connections of an address, requests included.
pub const CONNECTIONS: usize = 32;

/// The credits of an address.
#[derive(Debug)]
pub struct Credits {
    subscriptions: TokenBucket,
    others: TokenBucket,
}

impl Credits {
    /// All of them.
    pub fn new(now_us: i64) -> Self {
        let subscriptions = TokenBucket::new(30_000, 3_000, 10_000, now_us);
        Self { subscriptions, others: requests(now_us) }
    }
}

/// The credits of an address for requests that do not subscribe.
pub(crate) const fn requests(now_us: i64) -> TokenBucket {
    TokenBucket::new(50_000, 500, 10_000, now_us)
}

#[derive(Deserialize)]
struct Request {
    id: Option<u64>,
    method: String,
    #[serde(default)]
    params: Value,
}

/// The subscriptions of one client.
#[derive(Debug)]
pub struct Session {
    /// Guards a few numbers; never held across an await.
    credits: Arc<Mutex<Credits>>,
    /// The tickers of each interval.
    tickers: BTreeSet<usize>,
    aggregated: BTreeSet<usize>,
    /// Traded since the last tick of the surface.
    traded: BTreeSet<usize>,
    trades: BTreeSet<usize>,
    books: Followed,
    /// Kinds and currencies whose trades, or whose listings, are followed.
    kinds: BTreeSet<String>,
    /// The heartbeat's interval, when the next is due, and whether a question is unanswered.
    heartbeat: Option<(i64, i64, bool)>,
}

impl Session {
    /// A client that pays with these credits.
    pub fn new(credits: Arc<Mutex<Credits>>, slow: SlowSnapshot) -> Self {
        Self {
            credits,
            tickers: BTreeSet::new(),
            aggregated: BTreeSet::new(),
            traded: BTreeSet::new(),
            trades: BTreeSet::new(),
            books: Followed::new(slow),
            kinds: BTreeSet::new(),
            heartbeat: None,
        }
    }

    /// Something is subscribed.
    pub fn is_subscribed(&self) -> bool {
        let nothing = self.trades.is_empty() && self.books.is_empty() && self.kinds.is_empty();
        !nothing || self.has_tickers()
    }

    /// A ticker is subscribed.
    pub fn has_tickers(&self) -> bool {
        !(self.tickers.is_empty() && self.aggregated.is_empty())
    }

    /// The refusal of a request.
    pub fn refusal(text: &str) -> String {
        let id = serde_json::from_str::<Request>(text).ok().and_then(|request| request.id);
        error(id, 11_050, "bad_request")
    }

    /// The answers to a client's message.
    pub fn request(&mut self, text: &str, market: &Market, now_us: i64) -> Reply {
        let Ok(request) = serde_json::from_str::<Request>(text) else {
            return error(None, -32_700, "Parse error").into();
        };
        let subscribes = request.method == "public/subscribe";
        let mut credits = self.credits.lock().unwrap_or_else(PoisonError::into_inner);
        let bucket = if subscribes { &mut credits.subscriptions } else { &mut credits.others };
        let paid = bucket.pay(now_us);
        drop(credits);
        if !paid {
            return error(request.id, 10_028, "too_many_requests").into();
        }
        match request.method.as_str() {
            "public/test" => {
                if let Some((_, _, asked)) = &mut self.heartbeat {
                    *asked = false;
                }
                result(request.id, &json!({"version": "1.2.26"}), now_us).into()
            }
            "public/set_heartbeat" => {
                let interval = request.params["interval"].as_i64().unwrap_or(0);
                if interval < 10 {
                    return error(request.id, -32_602, "Invalid params").into();
                }
                let every = interval * SECOND;
                self.heartbeat = Some((every, now_us + every, false));
                result(request.id, &json!("ok"), now_us).into()
            }
            "public/subscribe" => self.subscribe(&request, market, now_us),
            "public/hello" => result(request.id, &json!({"version": "1.2.26"}), now_us).into(),
            "public/unsubscribe" => {
                let left: Vec<&str> = channels(&request)
                    .into_iter()
                    .filter(|channel| self.leave(channel, market))
                    .collect();
                result(request.id, &json!(left), now_us).into()
            }
            "public/unsubscribe_all" => {
                (self.tickers, self.trades, self.kinds) = Default::default();
                self.aggregated.clear();
                let followed: Vec<usize> = self.books.products().collect();
                for product in followed {
                    self.books.leave(product);
                }
                result(request.id, &json!("ok"), now_us).into()
            }
            method => match rest::method(method, &request.params, market, now_us) {
                Some(value) => result(request.id, &value, now_us).into(),
                None => error(request.id, -32_601, "Method not found").into(),
            },
        }
    }

    fn subscribe(&mut self, request: &Request, market: &Market, now_us: i64) -> Reply {
        let asked = channels(request);
        if asked.iter().any(|channel| channel.rsplit('.').next() == Some("raw")) {
            let words = "raw_subscriptions_not_available_for_unauthorized";
            return error(request.id, 13_778, words).into();
        }
        let mut granted = Vec::new();
        let mut reply = Reply::default();
        for channel in asked {
            let parts: Vec<&str> = channel.split('.').collect();
            match parts[..] {
                ["ticker", name, interval @ (INTERVAL | AGGREGATED)] => {
                    let Some(index) = market.find_open(name) else { continue };
                    let followed =
                        if interval == INTERVAL { &mut self.tickers } else { &mut self.aggregated };
                    followed.insert(index);
                    // Not later than the tickers of the next tick.
                    send(&mut reply, market, index, interval, market.surface().now_us());
                }
                ["trades", name, INTERVAL] => {
                    let Some(index) = market.find_open(name) else { continue };
                    self.trades.insert(index);
                }
                ["book", name, INTERVAL] => {
                    let Some(index) = market.find_open(name) else { continue };
                    let (product, state) = (&market.products()[index], market.books().shown(index));
                    if self.books.follow(index, usize::MAX, state, now_us) {
                        reply.texts.push(frames::snapshot(product, state));
                    } else {
                        reply.faults.push((index, Fault::SlowSnapshot));
                    }
                }
                ["trades", kind, currency, INTERVAL] => {
                    self.kinds.insert(format!("trades.{kind}.{currency}"));
                }
                ["instrument", "state", ..] => {
                    self.kinds.insert(channel.to_owned());
                }
                _ => continue,
            }
            granted.push(channel);
        }
        reply.texts.insert(0, result(request.id, &json!(granted), now_us));
        reply
    }

    /// Leaves a channel; false when it was not subscribed.
    fn leave(&mut self, channel: &str, market: &Market) -> bool {
        let parts: Vec<&str> = channel.split('.').collect();
        let index = parts.get(1).and_then(|name| market.find(name));
        match (&parts[..], index) {
            (["ticker", _, INTERVAL], Some(index)) => self.tickers.remove(&index),
            (["ticker", _, AGGREGATED], Some(index)) => self.aggregated.remove(&index),
            (["trades", _, INTERVAL], Some(index)) => self.trades.remove(&index),
            (["book", _, INTERVAL], Some(index)) => self.books.leave(index).is_some(),
            (["trades", kind, currency, INTERVAL], _) => {
                self.kinds.remove(&format!("trades.{kind}.{currency}"))
            }
            _ => self.kinds.remove(channel),
        }
    }

    /// The part of a book's update that this client receives.
    pub fn book(&mut self, market: &[Product], update: &Update) -> Option<String> {
        let product = &market[update.product];
        Some(match self.books.part(update)? {
            Part::Snapshot(_) => frames::snapshot(product, &update.after),
            Part::Changes(_) => frames::change(product, update),
        })
    }

    /// Notes a trade: its ticker comes with the next tick.
    pub fn traded(&mut self, trade: &Trade) {
        if self.tickers.contains(&trade.product) {
            self.traded.insert(trade.product);
        }
    }

    /// The tickers that are due in a tick of the surface: of instruments that have another quote or
    /// were traded, and the last one of those that end.
    pub fn tick(&mut self, market: &Market, tick: u64, now_us: i64) -> Reply {
        let traded = std::mem::take(&mut self.traded);
        let surface = market.surface();
        let mut reply = Reply::default();
        let has_news = |index: &usize| {
            surface.is_due(*index, tick, QUOTED_EVERY)
                || traded.contains(index) && surface.is_open(*index)
        };
        for index in self.tickers.iter().filter(|index| has_news(index)) {
            send(&mut reply, market, *index, INTERVAL, now_us);
        }
        let is_due = |index: &&usize| surface.is_due(**index, tick, AGGREGATED_EVERY);
        for index in self.aggregated.iter().filter(is_due) {
            send(&mut reply, market, *index, AGGREGATED, now_us);
        }
        reply
    }

    /// The trade, if this client follows it.
    pub fn matched(&self, market: &[Product], trade: &Trade) -> Option<String> {
        let product = &market[trade.product];
        let channel = if self.trades.contains(&trade.product) {
            product.name.clone()
        } else {
            let channel = of_kind(&product.name);
            if !self.kinds.contains(&format!("trades.{channel}")) {
                return None;
            }
            channel
        };
        let data = item(product, trade);
        Some(notification(&format!("trades.{channel}.{INTERVAL}"), &format!("[{data}]")))
    }

    /// The heartbeat, if it is due in this second.
    pub fn beat(&mut self, now_us: i64) -> Reply {
        let Some((every, due, asked)) = &mut self.heartbeat else { return Reply::default() };
        if now_us < *due {
            return Reply::default();
        }
        if *asked {
            return Reply::cut("did not answer a test_request");
        }
        (*due, *asked) = (now_us + *every, true);
        let beat = |kind| {
            json!({"jsonrpc": "2.0", "method": "heartbeat", "params": {"type": kind}}).to_string()
        };
        vec![beat("heartbeat"), beat("test_request")].into()
    }

    /// The tickers of everything subscribed, as a busy market sends them.
    pub fn tickers(&self, market: &Market, now_us: i64) -> Reply {
        let mut reply = Reply::default();
        for (followed, interval) in [(&self.tickers, INTERVAL), (&self.aggregated, AGGREGATED)] {
            for index in followed.iter().filter(|index| market.surface().is_open(**index)) {
                send(&mut reply, market, *index, interval, now_us);
            }
        }
        reply
    }

    /// The change of the listing, if this client follows it.
    pub fn change(&self, change: &ListingChange, now_us: i64) -> Option<String> {
        let (name, state) = match change {
            ListingChange::Listed(name) => (name, "created"),
            ListingChange::Ended(name) => (name, "terminated"),
        };
        let channel = format!("instrument.state.{}", of_kind(name));
        let data = json!({"timestamp": now_us / 1000, "state": state, "instrument_name": name});
        self.kinds.contains(&channel).then(|| notification(&channel, &data.to_string()))
    }
}

/// Adds the ticker of an instrument, and its line of the truth where that is kept.
fn send(reply: &mut Reply, market: &Market, index: usize, interval: &str, now_us: i64) {
    let (name, ticker) = (&market.products()[index].name, Ticker::of(market, index, now_us));
    reply.texts.push(notification(&format!("ticker.{name}.{interval}"), &ticker.text()));
    if market.surface().keeps_lines() {
        reply.truth.push(ticker.truth());
    }
}

/// The channels that a request names.
fn channels(request: &Request) -> Vec<&str> {
    let channels = request.params["channels"].as_array();
    channels.into_iter().flatten().filter_map(Value::as_str).collect()
}
