//! The HTTP requests of Kraken: assets, pairs, tickers, books and trades of the past.

use serde_json::{Map, Value, json};

use crate::http::{QueryString, Response};
use crate::market::{Market, Product, Trade};
use crate::text::{decimal, rfc3339};

/// Levels of a side in the answer to `Depth` by default, and at most.
const DEPTH: (usize, usize) = (100, 500);
/// The fee of every pair, in percent.
const FEE: [(u32, f64); 1] = [(0, 0.25)];

/// The answer to a request under `/0/public/`: `Time`, `SystemStatus`, `Assets`, `AssetPairs`,
/// `Ticker?pair=`, `Depth?pair=&count=` and `Trades?pair=&since=&count=`.
pub fn answer(path: &str, query: &QueryString<'_>, market: &Market, now_us: i64) -> Response {
    let products = market.products();
    let asked = query.text("pair").map(|pairs| pairs.replace("%2F", "/").replace("%2C", ","));
    let found: Option<Vec<&Product>> = asked
        .as_deref()
        .map(|pairs| pairs.split(',').filter_map(|pair| find(products, pair)).collect());
    let one = found.as_ref().and_then(|found| found.first().copied());
    let all = || found.clone().unwrap_or_else(|| products.iter().collect());
    match (path.strip_prefix("/0/public/").unwrap_or_default(), one) {
        ("Time", _) => {
            let seconds = now_us / 1_000_000;
            done(&json!({"unixtime": seconds, "rfc1123": rfc3339(now_us)}))
        }
        ("SystemStatus", _) => done(&json!({"status": "online", "timestamp": rfc3339(now_us)})),
        ("Assets", _) => done(&assets(products)),
        ("AssetPairs", _) => done(&by_name(&all(), pair)),
        ("Ticker", _) => done(&by_name(&all(), ticker)),
        ("Depth", Some(product)) => done(&depth(product, query, market)),
        ("Trades", Some(product)) => trades(product, query, market),
        ("Depth" | "Trades", None) => Response::ok(json!({"error": ["EQuery:Unknown asset pair"]})),
        _ => Response::ok(json!({"error": ["EGeneral:Unknown method"]})),
    }
}

/// The product of a pair by any of its names.
fn find<'a>(products: &'a [Product], pair: &str) -> Option<&'a Product> {
    let same = |name: &str| name == pair || altname(name) == pair || longname(name) == pair;
    products.iter().find(|product| same(&product.name))
}

fn done(result: &Value) -> Response {
    Response::ok(json!({"error": [], "result": result}))
}

fn by_name(products: &[&Product], value: fn(&Product) -> Value) -> Value {
    let named = products.iter().map(|product| (longname(&product.name), value(product)));
    Value::Object(named.collect::<Map<_, _>>())
}

fn assets(products: &[Product]) -> Value {
    let parts = products.iter().filter_map(|product| product.name.split_once('/'));
    let named = parts.flat_map(|(base, quote)| [base, quote]).map(|asset| {
        let value = json!({"aclass": "currency", "altname": alias(asset), "decimals": 10,
            "display_decimals": 5, "status": "enabled"});
        (long(asset), value)
    });
    Value::Object(named.collect::<Map<_, _>>())
}

fn pair(product: &Product) -> Value {
    let (base, quote) = product.name.split_once('/').unwrap_or((&product.name, ""));
    json!({"altname": altname(&product.name), "wsname": format!("{}/{}", alias(base), alias(quote)),
        "aclass_base": "currency", "base": long(base), "aclass_quote": "currency",
        "quote": long(quote), "lot": "unit", "cost_decimals": 5,
        "pair_decimals": product.price_decimals, "lot_decimals": product.size_decimals,
        "lot_multiplier": 1, "leverage_buy": [], "leverage_sell": [], "fees": FEE,
        "fees_maker": FEE, "fee_volume_currency": "ZUSD", "margin_call": 80, "margin_stop": 40,
        "ordermin": product.size(1), "costmin": "0.5", "tick_size": product.price(1),
        "status": "online"})
}

fn ticker(product: &Product) -> Value {
    let last = &product.last;
    let (price, size) = (|ticks| product.price(ticks), |units| product.size(units));
    let best = |level: crate::book::Level| json!([price(level.price), "1", size(level.size)]);
    let twice = |text: String| json!([text, text]);
    json!({"a": best(last.shown.ask), "b": best(last.shown.bid),
        "c": [price(last.price), size(last.size)], "v": twice(size(last.day.volume)),
        "p": twice(price(i64::midpoint(last.day.low, last.day.high))), "t": [50_000, 50_000],
        "l": twice(price(last.day.low)), "h": twice(price(last.day.high)),
        "o": price(last.day.open)})
}

fn depth(product: &Product, query: &QueryString<'_>, market: &Market) -> Value {
    let state = market.books().shown(product.last.product);
    let book = state.book(product).cut(query.limit(DEPTH.0, DEPTH.1));
    let seconds = state.time_us / 1_000_000;
    let level =
        |(price, size): (&i64, &i64)| json!([product.price(*price), product.size(*size), seconds]);
    let bids: Vec<Value> = book.bids.iter().rev().map(level).collect();
    let asks: Vec<Value> = book.asks.iter().map(level).collect();
    let sides = json!({"asks": asks, "bids": bids});
    json!({longname(&product.name): sides})
}

/// The trades later than a time, which is in nanoseconds, or in seconds.
fn trades(product: &Product, query: &QueryString<'_>, market: &Market) -> Response {
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

/// An asset as pairs of requests have it.
fn alias(asset: &str) -> String {
    match asset {
        "BTC" => "XBT".to_owned(),
        "DOGE" => "XDG".to_owned(),
        other => other.to_owned(),
    }
}

/// An asset as answers have it: the oldest ones with the letter of their kind.
fn long(asset: &str) -> String {
    match asset {
        "BTC" | "ETH" | "LTC" | "XRP" | "XLM" | "DOGE" => format!("X{}", alias(asset)),
        "USD" | "EUR" => format!("Z{asset}"),
        other => other.to_owned(),
    }
}

/// A pair as requests have it: `XBTUSD`.
fn altname(name: &str) -> String {
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
