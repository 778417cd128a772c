//! The Binance simulation: the feed's protocol; the HTTP requests are in `rest.rs`.
//!
//! A value without a socket: text in, text out. More than five messages a second close the
//! connection, as at the venue.
//!
//! # What this does not do
//!
//! `@depth` comes as often as `@depth@100ms`. Klines, aggregated trades and partial books are silent.

use std::collections::{BTreeMap, BTreeSet};

use schemas::Decimal;
use serde::Deserialize;
use serde_json::{Value, json};

use crate::book::Side;
use crate::book::followed::Followed;
use crate::book::update::Update;
use crate::http::QueryString;
use crate::market::{Market, Product, Trade};
use crate::reply::Reply;

mod rest;

pub use rest::{answer, banned, limited};
pub(crate) use rest::{depth, snapshot_of};

/// Messages of a client in a second.
const MESSAGES_A_SECOND: u32 = 5;
/// Streams of a connection.
const MAX_STREAMS: usize = 1024;
/// The streams of a product's tickers of the day.
const TICKERS: [&str; 2] = ["miniTicker", "ticker"];
/// The streams of a product's book.
const DEPTHS: [&str; 2] = ["depth@100ms", "depth"];
/// Milliseconds in a day.
const DAY_MS: i64 = 86_400_000;
/// Microseconds in a second.
const SECOND: i64 = 1_000_000;

#[derive(Deserialize)]
struct Request {
    method: String,
    #[serde(default)]
    params: Vec<Value>,
    id: Option<u64>,
}

/// The subscriptions of one client.
#[derive(Debug, Default)]
pub struct Session {
    /// In the client's order, those of no symbol included.
    streams: Vec<String>,
    trades: BTreeSet<usize>,
    /// Products with tickers of the day, by the form of the ticker, and the trade of the last one.
    tickers: BTreeMap<(&'static str, usize), u64>,
    /// Products with the best bid and ask.
    best: BTreeSet<usize>,
    /// Products with books, for each name of the stream.
    books: [Followed; DEPTHS.len()],
    /// Each message names its stream.
    is_combined: bool,
    /// The second of the last message, and how many it has had.
    messages: (i64, u32),
}

impl Session {
    /// Subscribes to the streams in the address: `/ws/STREAM`, or `/stream?streams=STREAM/STREAM`.
    pub fn open(&mut self, path: &str, query: &QueryString<'_>, market: &Market) {
        let combined = path.strip_prefix("/stream").map(|_| query.text("streams"));
        self.is_combined = combined.is_some();
        let streams = combined.unwrap_or_else(|| path.strip_prefix("/ws/")).unwrap_or_default();
        for stream in streams.split('/').filter(|stream| stream.contains('@')).take(MAX_STREAMS) {
            self.add(stream, market);
            self.streams.push(stream.to_owned());
        }
    }

    /// Something is subscribed.
    pub fn is_subscribed(&self) -> bool {
        !self.streams.is_empty()
    }

    /// The text before it closes for maintenance.
    pub fn maintenance(now_us: i64) -> String {
        json!({"e": "serverShutdown", "E": now_us / 1000}).to_string()
    }

    /// The refusal of a request.
    pub fn refusal(text: &str) -> String {
        let id = serde_json::from_str::<Request>(text).ok().and_then(|request| request.id);
        json!({"error": {"code": 2, "msg": "Invalid request"}, "id": id}).to_string()
    }

    /// The answers to a client's message.
    pub fn request(&mut self, text: &str, market: &Market, now_us: i64) -> Reply {
        let second = now_us.div_euclid(SECOND);
        self.messages =
            if self.messages.0 == second { (second, self.messages.1 + 1) } else { (second, 1) };
        if self.messages.1 > MESSAGES_A_SECOND {
            return Reply::cut("too many messages");
        }
        let Ok(request) = serde_json::from_str::<Request>(text) else {
            return json!({"code": 3, "msg": "Invalid JSON"}).to_string().into();
        };
        let names = |params: &[Value]| -> Vec<String> {
            params.iter().filter_map(Value::as_str).map(str::to_owned).collect()
        };
        let result = match request.method.as_str() {
            "SUBSCRIBE" => {
                for stream in names(&request.params) {
                    if !self.streams.contains(&stream) {
                        self.add(&stream, market);
                        self.streams.push(stream);
                    }
                }
                if self.streams.len() > MAX_STREAMS {
                    return Reply::cut("too many streams");
                }
                Value::Null
            }
            "UNSUBSCRIBE" => {
                let gone = names(&request.params);
                self.streams.retain(|stream| !gone.contains(stream));
                (self.trades, self.tickers, self.best, self.books) = Default::default();
                for stream in self.streams.clone() {
                    self.add(&stream, market);
                }
                Value::Null
            }
            "LIST_SUBSCRIPTIONS" => json!(self.streams),
            "SET_PROPERTY" => {
                if let [Value::String(name), Value::Bool(value)] = &request.params[..]
                    && name == "combined"
                {
                    self.is_combined = *value;
                }
                Value::Null
            }
            _ => {
                let error = json!({"code": 2, "msg": "Invalid request: unknown method"});
                return json!({"error": error, "id": request.id}).to_string().into();
            }
        };
        json!({"result": result, "id": request.id}).to_string().into()
    }

    /// A symbol that does not exist is taken, and stays silent.
    fn add(&mut self, stream: &str, market: &Market) {
        let Some((symbol, channel)) = stream.split_once('@') else { return };
        let Some(index) = market.find(&symbol.to_uppercase()) else { return };
        let ticker = TICKERS.into_iter().find(|name| *name == channel);
        let depth = DEPTHS.iter().position(|name| *name == channel);
        match (channel, ticker, depth) {
            ("trade", ..) => {
                self.trades.insert(index);
            }
            ("bookTicker", ..) => {
                self.best.insert(index);
            }
            (_, Some(ticker), _) => {
                self.tickers.insert((ticker, index), 0);
            }
            (_, _, Some(depth)) => {
                // The snapshot is fetched.
                self.books[depth].follow(index, usize::MAX, market.books().shown(index), 0);
            }
            _ => {}
        }
    }

    /// The data of a stream, which a combined connection names.
    fn message(&self, product: &Product, channel: &str, data: String) -> String {
        if !self.is_combined {
            return data;
        }
        format!(r#"{{"stream":"{}@{channel}","data":{data}}}"#, product.name.to_lowercase())
    }

    /// The trade, if this client follows it.
    pub fn matched(&self, market: &[Product], trade: &Trade) -> Option<String> {
        let product = &market[trade.product];
        self.trades.contains(&trade.product).then(|| {
            let time = trade.time_us / 1000;
            let data = format!(
                r#"{{"e":"trade","E":{time},"s":"{}","t":{},"p":"{}","q":"{}","T":{time},"m":{},"M":true}}"#,
                product.name,
                trade.id,
                product.price(trade.price),
                product.size(trade.size),
                trade.maker_buys,
            );
            self.message(product, "trade", data)
        })
    }

    /// The best bid and ask as of a trade, if this client follows them. At the id of a book update
    /// they are those of the book.
    pub fn best(&self, market: &[Product], trade: &Trade) -> Option<String> {
        let product = &market[trade.product];
        self.best.contains(&trade.product).then(|| {
            let data = json!({"u": trade.sequence, "s": product.name,
                "b": product.price(trade.best.bid.price), "B": product.size(trade.best.bid.size),
                "a": product.price(trade.best.ask.price), "A": product.size(trade.best.ask.size)});
            self.message(product, "bookTicker", data.to_string())
        })
    }

    /// The book update, once for each of its streams that this client follows.
    pub fn book(&mut self, market: &[Product], update: &Update) -> Vec<String> {
        let product = &market[update.product];
        let followed: Vec<&str> = DEPTHS
            .iter()
            .zip(&mut self.books)
            .filter_map(|(name, books)| books.part(update).map(|_| *name))
            .collect();
        if followed.is_empty() {
            return Vec::new();
        }
        let data = depth_update(product, update);
        followed.into_iter().map(|name| self.message(product, name, data.clone())).collect()
    }

    /// A ticker of the day for each product that traded in the second.
    pub fn beat(&mut self, market: &Market, now_us: i64) -> Reply {
        let mut due = Vec::new();
        for ((name, index), told) in &mut self.tickers {
            let product = &market.products()[*index];
            if product.last.id != *told {
                *told = product.last.id;
                due.push((*name, product));
            }
        }
        let text = |(name, product): (&str, &Product)| {
            let data = if name == TICKERS[0] {
                mini_ticker(product, now_us)
            } else {
                ticker(product, now_us)
            };
            self.message(product, name, data.to_string())
        };
        due.into_iter().map(text).collect::<Vec<_>>().into()
    }
}

fn depth_update(product: &Product, update: &Update) -> String {
    let touched = update.touched(product);
    let levels = |side: &Side| {
        let level = |(price, size): (&i64, &i64)| {
            format!(r#"["{}","{}"]"#, product.price(*price), product.size(*size))
        };
        side.iter().map(level).collect::<Vec<_>>().join(",")
    };
    format!(
        r#"{{"e":"depthUpdate","E":{},"s":"{}","U":{},"u":{},"b":[{}],"a":[{}]}}"#,
        update.after.time_us / 1000,
        product.name,
        update.before.sequence() + 1,
        update.after.sequence(),
        levels(&touched.bids),
        levels(&touched.asks),
    )
}

fn mini_ticker(product: &Product, now_us: i64) -> Value {
    let day = product.last.day;
    let (price, volume) = (product.price(product.last.price), product.size(day.volume));
    json!({"e": "24hrMiniTicker", "E": now_us / 1000, "s": product.name, "c": price,
        "o": product.price(day.open), "h": product.price(day.high),
        "l": product.price(day.low), "v": volume, "q": quote(&price, &volume)})
}

fn ticker(product: &Product, now_us: i64) -> Value {
    let (last, day) = (&product.last, product.last.day);
    let (price, volume) = (product.price(last.price), product.size(day.volume));
    json!({"e": "24hrTicker", "E": now_us / 1000, "s": product.name,
        "p": product.price(last.price - day.open), "P": "0.00",
        "w": product.price(i64::midpoint(day.low, day.high)), "x": product.price(day.open),
        "c": price, "Q": product.size(last.size),
        "b": product.price(last.shown.bid.price), "B": product.size(last.shown.bid.size),
        "a": product.price(last.shown.ask.price), "A": product.size(last.shown.ask.size),
        "o": product.price(day.open), "h": product.price(day.high), "l": product.price(day.low),
        "v": volume, "q": quote(&price, &volume), "O": now_us / 1000 - DAY_MS, "C": now_us / 1000,
        "F": last.id.saturating_sub(50_000), "L": last.id, "n": 50_000})
}

/// The product of a price and a size.
fn quote(price: &str, size: &str) -> String {
    let exact = |text: &str| text.parse::<Decimal>().ok();
    let quote = exact(price).zip(exact(size)).and_then(|(price, size)| price.checked_mul(size));
    quote.unwrap_or_default().to_string()
}
