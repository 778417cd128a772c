//! The Binance simulation: the feed's protocol and the HTTP requests.
//!
//! A value without a socket: text in, text out. More than five messages a second close the
//! connection, as at the venue.

use std::collections::{BTreeMap, BTreeSet};

use schemas::Decimal;
use serde::Deserialize;
use serde_json::{Value, json};

use crate::http::{QueryString, Response};
use crate::market::{Market, Product, Trade};
use crate::reply::Reply;

/// Messages of a client in a second.
const MESSAGES_A_SECOND: u32 = 5;
/// Streams of a connection.
const MAX_STREAMS: usize = 1024;
/// The quotes that end a listed symbol.
const QUOTES: [&str; 7] = ["USDT", "USDC", "FDUSD", "EUR", "BTC", "ETH", "BNB"];
/// Microseconds in a second.
const SECOND: i64 = 1_000_000;

#[derive(Deserialize)]
struct Request {
    method: String,
    #[serde(default)]
    params: Vec<String>,
    id: Option<u64>,
}

/// The subscriptions of one client.
#[derive(Debug, Default)]
pub struct Session {
    /// In the client's order, those of no symbol included.
    streams: Vec<String>,
    trades: BTreeSet<usize>,
    /// Products with mini tickers, and the trade of the last one.
    tickers: BTreeMap<usize, u64>,
    /// The second of the last message, and how many it has had.
    messages: (i64, u32),
}

impl Session {
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
        let result = match request.method.as_str() {
            "SUBSCRIBE" => {
                for stream in request.params {
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
                self.streams.retain(|stream| !request.params.contains(stream));
                (self.trades, self.tickers) = Default::default();
                for stream in self.streams.clone() {
                    self.add(&stream, market);
                }
                Value::Null
            }
            "LIST_SUBSCRIPTIONS" => json!(self.streams),
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
        match channel {
            "trade" => {
                self.trades.insert(index);
            }
            "miniTicker" => {
                self.tickers.insert(index, 0);
            }
            _ => {}
        }
    }

    /// The trade, if this client follows it.
    pub fn matched(&self, market: &[Product], trade: &Trade) -> Option<String> {
        let product = &market[trade.product];
        self.trades.contains(&trade.product).then(|| {
            let time = trade.time_us / 1000;
            format!(
                r#"{{"e":"trade","E":{time},"s":"{}","t":{},"p":"{}","q":"{}","T":{time},"m":{},"M":true}}"#,
                product.name,
                trade.id,
                product.price(trade.price),
                product.size(trade.size),
                trade.maker_buys,
            )
        })
    }

    /// A mini ticker for each product that traded in the second.
    pub fn beat(&mut self, market: &Market, now_us: i64) -> Reply {
        let mut texts = Vec::new();
        for (index, told) in &mut self.tickers {
            let product = &market.products()[*index];
            if product.last.id == *told {
                continue;
            }
            *told = product.last.id;
            let day = product.last.day;
            let (price, volume) = (product.price(product.last.price), product.size(day.volume));
            texts.push(
                json!({"e": "24hrMiniTicker", "E": now_us / 1000, "s": product.name, "c": price,
                    "o": product.price(day.open), "h": product.price(day.high),
                    "l": product.price(day.low), "v": volume,
                    "q": quote(&price, &volume)})
                .to_string(),
            );
        }
        texts.into()
    }
}

/// `GET /api/v3/exchangeInfo` and `GET /api/v3/historicalTrades?symbol=&fromId=&limit=`.
pub fn answer(path: &str, query: &QueryString<'_>, market: &Market) -> Response {
    if path == "/api/v3/exchangeInfo" {
        let symbols: Vec<Value> = market
            .products()
            .iter()
            .filter_map(|product| {
                let (base, quote) = split(&product.name)?;
                Some(json!({"symbol": product.name, "status": "TRADING", "baseAsset": base,
                    "quoteAsset": quote}))
            })
            .collect();
        return Response::ok(json!({"timezone": "UTC", "symbols": symbols}));
    }
    let index = query.text("symbol").and_then(|symbol| market.find(symbol));
    let known = ["/api/v3/historicalTrades", "/api/v3/trades"].contains(&path);
    let (Some(index), true) = (index, known) else {
        return Response::bad_request(json!({"code": -1121, "msg": "Invalid symbol."}));
    };
    let product = &market.products()[index];
    let limit = query.limit(500, 1000);
    let trades: Vec<&Trade> = if let Some(from) = query.number("fromId") {
        market.past(index).filter(|trade| trade.id >= from).take(limit).collect()
    } else {
        let mut newest: Vec<_> = market.past(index).rev().take(limit).collect();
        newest.reverse();
        newest
    };
    Response::ok(
        trades
            .iter()
            .map(|trade| {
                let (price, size) = (product.price(trade.price), product.size(trade.size));
                json!({"id": trade.id, "price": price, "qty": size,
                    "quoteQty": quote(&price, &size), "time": trade.time_us / 1000,
                    "isBuyerMaker": trade.maker_buys, "isBestMatch": true})
            })
            .collect::<Value>(),
    )
}

/// The weight of a minute is spent.
pub fn limited(retry_after: u64) -> Response {
    Response::limited(
        json!({"code": -1003, "msg": "Too much request weight used; current limit is \
        6000 request weight per 1 MINUTE. Please use WebSocket Streams for live updates to avoid \
        polling the API."}),
    )
    .after(retry_after)
}

/// The client went on all the same.
pub fn banned(retry_after: u64, until_us: i64) -> Response {
    let msg = format!(
        "Way too much request weight used; IP banned until {}. Please use WebSocket Streams for \
         live updates to avoid bans.",
        until_us / 1000
    );
    Response::banned(json!({"code": -1003, "msg": msg})).after(retry_after)
}

/// The product of a price and a size.
fn quote(price: &str, size: &str) -> String {
    let exact = |text: &str| text.parse::<Decimal>().ok();
    let quote = exact(price).zip(exact(size)).and_then(|(price, size)| price.checked_mul(size));
    quote.unwrap_or_default().to_string()
}

/// The base and the quote of a symbol.
fn split(symbol: &str) -> Option<(&str, &'static str)> {
    let named = |quote: &'static str| Some((symbol.strip_suffix(quote)?, quote));
    QUOTES.into_iter().find_map(named).filter(|(base, _)| !base.is_empty())
}
