//! The Deribit simulation: the feed's protocol and the HTTP requests.
//!
//! A value without a socket: text in, text out. Requests cost credits, which all connections share.
//! A client that does not answer a `test_request` is disconnected.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, PoisonError};

use serde::Deserialize;
use serde_json::{Value, json};

use crate::bucket::TokenBucket;
use crate::http::{QueryString, Response};
use crate::listings::ListingChange;
use crate::market::{Market, Product, Trade};
use crate::reply::Reply;

/// The interval of the channels that are served without authentication.
const INTERVAL: &str = "100ms";
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
    tickers: BTreeSet<usize>,
    trades: BTreeSet<usize>,
    /// Kinds and currencies whose trades, or whose listings, are followed.
    kinds: BTreeSet<String>,
    /// The newest trade that each product had when it was subscribed; earlier ones are not sent.
    seen: BTreeMap<usize, u64>,
    /// The heartbeat's interval, when the next is due, and whether a question is unanswered.
    heartbeat: Option<(i64, i64, bool)>,
}

impl Session {
    /// A client that pays with these credits.
    pub fn new(credits: Arc<Mutex<Credits>>) -> Self {
        Self {
            credits,
            tickers: BTreeSet::new(),
            trades: BTreeSet::new(),
            kinds: BTreeSet::new(),
            seen: BTreeMap::new(),
            heartbeat: None,
        }
    }

    /// Something is subscribed.
    pub fn is_subscribed(&self) -> bool {
        !(self.tickers.is_empty() && self.trades.is_empty() && self.kinds.is_empty())
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
            "public/unsubscribe" | "public/unsubscribe_all" => {
                (self.tickers, self.trades, self.kinds) = Default::default();
                result(request.id, &json!([]), now_us).into()
            }
            _ => error(request.id, -32_601, "Method not found").into(),
        }
    }

    fn subscribe(&mut self, request: &Request, market: &Market, now_us: i64) -> Reply {
        let asked = request.params["channels"].as_array().cloned().unwrap_or_default();
        let asked: Vec<&str> = asked.iter().filter_map(Value::as_str).collect();
        if asked.iter().any(|channel| channel.rsplit('.').next() == Some("raw")) {
            let words = "raw_subscriptions_not_available_for_unauthorized";
            return error(request.id, 13_778, words).into();
        }
        let mut granted = Vec::new();
        let mut texts = Vec::new();
        for channel in asked {
            let parts: Vec<&str> = channel.split('.').collect();
            match parts[..] {
                ["ticker", name, INTERVAL] => {
                    let Some(index) = market.find(name) else { continue };
                    self.tickers.insert(index);
                    self.seen.entry(index).or_insert(market.products()[index].last.id);
                    let product = &market.products()[index];
                    let traded = market.history(index).count() > 1;
                    texts.push(ticker(product, &product.last, traded, now_us));
                }
                ["trades", name, INTERVAL] => {
                    let Some(index) = market.find(name) else { continue };
                    self.trades.insert(index);
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
        texts.insert(0, result(request.id, &json!(granted), now_us));
        texts.into()
    }

    /// The ticker of a trade, if this client follows it.
    pub fn ticker(&self, market: &[Product], trade: &Trade) -> Option<String> {
        let product = &market[trade.product];
        self.tickers.contains(&trade.product).then(|| ticker(product, trade, true, trade.time_us))
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
    pub fn tickers(&self, market: &Market, now_us: i64) -> Vec<String> {
        let all = self.tickers.iter().map(|index| &market.products()[*index]);
        all.map(|product| ticker(product, &product.last, true, now_us)).collect()
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

/// `public/get_instruments`, and the trades of an instrument by number or by time.
pub fn answer(path: &str, query: &QueryString<'_>, market: &Market, now_us: i64) -> Response {
    let method = path.strip_prefix("/api/v2/public/").unwrap_or_default();
    let wrapped = |value: &Value| {
        let text = result(None, value, now_us);
        Response::ok(serde_json::from_str(&text).unwrap_or_default())
    };
    let index = query.text("instrument_name").and_then(|name| market.find(name));
    match (method, index) {
        ("test", _) => wrapped(&json!({"version": "1.2.26"})),
        ("get_instruments", _) => {
            let currency = query.text("currency").unwrap_or("any");
            let of = |product: &&Product| currency == "any" || coin(&product.name) == currency;
            let listed = market.products().iter().filter(of);
            wrapped(&listed.map(|product| instrument(&product.name)).collect())
        }
        ("get_last_trades_by_instrument", Some(index)) => {
            let first = query.number("start_seq").unwrap_or(0);
            let last = query.number("end_seq").unwrap_or(u64::MAX);
            wrapped(&trades(market, index, query, |trade| (first..=last).contains(&trade.id)))
        }
        ("get_last_trades_by_instrument_and_time", Some(index)) => {
            let first = query.number("start_timestamp").unwrap_or(0);
            let last = query.number("end_timestamp").unwrap_or(u64::MAX);
            wrapped(&trades(market, index, query, |trade| {
                (first..=last).contains(&(trade.time_us / 1000).cast_unsigned())
            }))
        }
        _ => Response::bad_request(json!({"jsonrpc": "2.0",
            "error": {"code": -32_602, "message": "Invalid params"}})),
    }
}

/// Its credits are spent; it does not say when they are there again.
pub fn limited() -> Response {
    Response::limited(json!({"jsonrpc": "2.0",
        "error": {"code": 10_028, "message": "too_many_requests"}}))
}

fn trades(
    market: &Market,
    index: usize,
    query: &QueryString<'_>,
    wanted: impl Fn(&Trade) -> bool,
) -> Value {
    let product = &market.products()[index];
    let limit = query.limit(10, 1000);
    let all: Vec<&Trade> = market.past(index).filter(|trade| wanted(trade)).collect();
    let ascending = query.text("sorting") == Some("asc");
    let ordered: Box<dyn Iterator<Item = &&Trade>> =
        if ascending { Box::new(all.iter()) } else { Box::new(all.iter().rev()) };
    let rows: Vec<Value> = ordered
        .take(limit)
        .filter_map(|trade| serde_json::from_str(&item(product, trade)).ok())
        .collect();
    json!({"trades": rows, "has_more": all.len() > limit})
}

fn instrument(name: &str) -> Value {
    let kind = kind(name);
    // Futures are priced in dollars, options in their coin.
    let quote = if kind == "future" { "USD" } else { coin(name) };
    let period = if name.ends_with("-PERPETUAL") { "perpetual" } else { "month" };
    json!({"instrument_name": name, "kind": kind, "base_currency": coin(name),
        "quote_currency": quote, "settlement_period": period, "is_active": true,
        "contract_size": 1.0, "tick_size": 0.0001, "min_trade_amount": 0.1,
        "creation_timestamp": 1_606_129_458_000_i64, "expiration_timestamp": 32_503_708_800_000_i64})
}

fn kind(name: &str) -> &'static str {
    match name.split('-').collect::<Vec<_>>()[..] {
        [_] => "spot",
        [_, _] => "future",
        [_, _, _, "C" | "P"] => "option",
        _ => "option_combo",
    }
}

fn coin(name: &str) -> &str {
    name.split(['-', '_']).next().unwrap_or_default()
}

fn of_kind(name: &str) -> String {
    format!("{}.{}", kind(name), coin(name))
}

fn item(product: &Product, trade: &Trade) -> String {
    format!(
        r#"{{"trade_seq":{},"trade_id":"{}","timestamp":{},"tick_direction":0,"price":{price},"mark_price":{price},"instrument_name":"{}","index_price":61837.63,"direction":"{}","amount":{}}}"#,
        trade.id,
        trade.sequence,
        trade.time_us / 1000,
        product.name,
        // The taker's.
        if trade.maker_buys { "sell" } else { "buy" },
        product.size(trade.size),
        price = product.price(trade.price),
    )
}

fn ticker(product: &Product, trade: &Trade, traded: bool, now_us: i64) -> String {
    let price = product.price(trade.price);
    let (last, volume) = if traded {
        (price.clone(), product.size(trade.day.volume))
    } else {
        ("null".into(), "null".into())
    };
    let data = format!(
        r#"{{"timestamp":{},"stats":{{"volume":{volume},"price_change":null,"low":null,"high":null}},"state":"open","settlement_price":{price},"open_interest":1767.5,"min_price":0.0001,"max_price":99999999.0,"mark_price":{price},"last_price":{last},"instrument_name":"{}","index_price":61837.63,"estimated_delivery_price":61837.63,"best_bid_price":{price},"best_bid_amount":2.8,"best_ask_price":{},"best_ask_amount":18.5}}"#,
        now_us / 1000,
        product.name,
        product.price(trade.price + 5),
    );
    notification(&format!("ticker.{}.{INTERVAL}", product.name), &data)
}

fn notification(channel: &str, data: &str) -> String {
    format!(
        r#"{{"jsonrpc":"2.0","method":"subscription","params":{{"channel":"{channel}","data":{data}}}}}"#
    )
}

fn result(id: Option<u64>, value: &Value, now_us: i64) -> String {
    json!({"jsonrpc": "2.0", "id": id, "result": value, "usIn": now_us, "usOut": now_us,
        "usDiff": 0, "testnet": true})
    .to_string()
}

fn error(id: Option<u64>, code: i64, message: &str) -> String {
    json!({"jsonrpc": "2.0", "id": id, "error": {"code": code, "message": message}}).to_string()
}
