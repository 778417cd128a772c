//! The Kraken simulation: version 2 of the feed's protocol, and the HTTP requests.
//!
//! A value without a socket: text in, text out.

use std::collections::{BTreeMap, BTreeSet};

use serde::Deserialize;
use serde_json::{Value, json};

use crate::faults::Faults;
use crate::http::{QueryString, Response};
use crate::market::{Market, Product, Trade};
use crate::reply::Reply;
use crate::text::{decimal, rfc3339};

pub mod book;

use book::{Books, DEPTHS, frame};

/// The channels of one symbol.
const CHANNELS: [&str; 2] = ["trade", "ticker"];
/// The channel of all instruments.
const INSTRUMENT: &str = "instrument";
/// Trades of a snapshot.
const SNAPSHOT: usize = 50;
/// The channel of books, which our own client does not subscribe.
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
    books: Books,
}

impl Session {
    /// A session without subscriptions; the faults decide the checksums.
    pub fn new(faults: Faults) -> Self {
        Self { books: Books::new(faults), ..Self::default() }
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
                self.books(method, params, market, &stamps).into()
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
    ) -> Vec<String> {
        let mut texts = Vec::new();
        for symbol in &params.symbol {
            let done = match (market.find(symbol), method) {
                (None, _) => Err(format!("Currency pair not supported {symbol}")),
                (Some(index), "subscribe") => self.follow(&market.products()[index], params),
                (Some(index), _) => self.leave(&market.products()[index]),
            };
            let (fields, snapshot) = match done {
                Ok((result, snapshot)) => (json!({"result": result, "success": true}), snapshot),
                Err(error) => (json!({"error": error, "success": false, "symbol": symbol}), None),
            };
            texts.push(merged(stamps, fields).to_string());
            texts.extend(snapshot);
        }
        texts
    }

    /// The granted subscription, and the snapshot if it is wanted; or the reason of the refusal.
    fn follow(
        &mut self,
        product: &Product,
        params: &Params,
    ) -> Result<(Value, Option<String>), String> {
        let (depth, snapshot) =
            (params.depth.unwrap_or(DEPTHS[0]), params.snapshot.unwrap_or(true));
        if !DEPTHS.contains(&depth) {
            return Err("Subscription depth not supported".into());
        }
        let book = self.books.follow(product, depth);
        let result = json!({"channel": BOOK, "depth": depth, "snapshot": snapshot,
            "symbol": product.name});
        Ok((result, snapshot.then_some(book)))
    }

    /// The subscription that was left, or the reason of the refusal.
    fn leave(&mut self, product: &Product) -> Result<(Value, Option<String>), String> {
        let depth = self.books.leave(product.last.product).ok_or("Subscription Not Found")?;
        Ok((json!({"channel": BOOK, "depth": depth, "symbol": product.name}), None))
    }

    /// The book update of a trade, if this client follows the book.
    pub fn book(&mut self, market: &[Product], trade: &Trade) -> Option<String> {
        self.books.update(&market[trade.product], trade)
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

/// `GET /0/public/Trades?pair=&since=&count=`: the trades later than a time, which is in
/// nanoseconds, or in seconds.
pub fn answer(path: &str, query: &QueryString<'_>, market: &Market) -> Response {
    let pair = query.text("pair").unwrap_or_default().replace("%2F", "/");
    let same = |product: &&Product| product.name == pair || altname(&product.name) == pair;
    let product = market.products().iter().find(same);
    let (Some(product), "/0/public/Trades") = (product, path) else {
        return Response::ok(json!({"error": ["EQuery:Unknown asset pair"]}));
    };
    let since = query.number("since").unwrap_or(0);
    // No time of ours in nanoseconds is so small, and none in seconds so large.
    let since = if since < 1 << 40 { since.saturating_mul(1_000_000_000) } else { since };
    let nanos = |trade: &Trade| trade.time_us.cast_unsigned().saturating_mul(1000);
    let later = |trade: &&Trade| nanos(trade) > since;
    let count = query.limit(1000, 1000);
    let trades = market.past(product.last.product).filter(later).take(count);
    let trades: Vec<&Trade> = trades.collect();
    let last = trades.last().map_or(since, |trade| nanos(trade));
    let rows: Vec<Value> = trades
        .iter()
        .map(|trade| {
            // Nine digits, and no float on the way.
            let seconds = decimal(trade.time_us, 6);
            let seconds: serde_json::Number =
                serde_json::from_str(&seconds).unwrap_or_else(|_| 0.into());
            json!([
                product.price(trade.price),
                product.size(trade.size),
                seconds,
                if trade.maker_buys { "s" } else { "b" },
                "m",
                "",
                trade.id
            ])
        })
        .collect();
    let key = longname(&product.name);
    Response::ok(json!({"error": [], "result": {key: rows, "last": last.to_string()}}))
}

/// The second is spent: the venue says so with 200, and not for how long.
pub fn limited() -> Response {
    Response::ok(json!({"error": ["EAPI:Rate limit exceeded"]}))
}

/// A pair as requests have it: `XBTUSD`.
fn altname(name: &str) -> String {
    let alias = |asset: &str| match asset {
        "BTC" => "XBT".to_owned(),
        "DOGE" => "XDG".to_owned(),
        other => other.to_owned(),
    };
    let (base, quote) = name.split_once('/').unwrap_or((name, ""));
    format!("{}{}", alias(base), alias(quote))
}

/// A pair as answers have it: the oldest ones by the names of their kind, `XXBTZUSD`.
fn longname(name: &str) -> String {
    let oldest = ["BTC/", "ETH/", "LTC/", "XRP/", "XLM/"].iter().any(|base| name.starts_with(base));
    let (base, quote) = name.split_once('/').unwrap_or((name, ""));
    let kind = match quote {
        "BTC" | "ETH" => "X",
        _ => "Z",
    };
    if !oldest || quote.len() != 3 {
        return altname(name);
    }
    format!("X{}{kind}{}", altname(base), altname(quote))
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
            json!({"symbol": product.name, "base": base, "quote": quote, "status": "online"})
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
        r#"{{"symbol":"{}","bid":{price},"bid_qty":{size},"ask":{},"ask_qty":{size},"last":{price},"volume":{},"vwap":{},"low":{},"high":{},"change":{},"change_pct":0.00,"timestamp":"{}"}}"#,
        product.name,
        product.price(trade.price + 1),
        product.size(trade.day.volume),
        product.price(i64::midpoint(trade.day.low, trade.day.high)),
        product.price(trade.day.low),
        product.price(trade.day.high),
        product.price(trade.price - trade.day.open),
        rfc3339(trade.time_us),
        price = product.price(trade.price),
        size = product.size(trade.size),
    )
}
