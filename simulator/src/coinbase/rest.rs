//! The HTTP requests of Coinbase Exchange.

use serde_json::{Value, json};

use crate::http::{QueryString, Response};
use crate::market::{Market, Product};
use crate::text::rfc3339;

/// The answer to `GET /time`, `/currencies`, `/products`, and of a product `/trades`, newest first,
/// `/ticker`, `/stats` and `/book`.
pub fn answer(path: &str, query: &QueryString<'_>, market: &Market, now_us: i64) -> Response {
    match path {
        "/time" => {
            let epoch: Option<serde_json::Number> =
                crate::text::decimal(now_us, 6).parse::<serde_json::Number>().ok();
            return Response::ok(json!({"iso": rfc3339(now_us), "epoch": epoch}));
        }
        "/products" => {
            let listed = market.products().iter().map(listed);
            return Response::ok(listed.collect::<Value>());
        }
        "/currencies" => return Response::ok(currencies(market)),
        _ => {}
    }
    let named =
        path.strip_prefix("/products/").map(|rest| rest.split_once('/').unwrap_or((rest, "")));
    let found = named.and_then(|(name, what)| Some((market.find(name)?, what)));
    let Some((index, what)) = found else {
        return Response::not_found(json!({"message": "NotFound"}));
    };
    let product = &market.products()[index];
    match what {
        "" => Response::ok(listed(product)),
        "trades" => trades(product, query, market),
        "ticker" => Response::ok(ticker(product)),
        "stats" => Response::ok(stats(product)),
        "book" => Response::ok(book(product, query, market)),
        _ => Response::not_found(json!({"message": "NotFound"})),
    }
}

fn listed(product: &Product) -> Value {
    let (base, quote) = product.name.split_once('-').unwrap_or((&product.name, ""));
    json!({"id": product.name, "base_currency": base, "quote_currency": quote,
        "quote_increment": product.price(1), "base_increment": product.size(1),
        "display_name": product.name.replace('-', "/"), "min_market_funds": "1",
        "margin_enabled": false, "post_only": false, "limit_only": false, "cancel_only": false,
        "status": "online", "status_message": "", "trading_disabled": false,
        "fx_stablecoin": false, "auction_mode": false})
}

fn currencies(market: &Market) -> Value {
    let names = market.products().iter().filter_map(|product| product.name.split_once('-'));
    let mut names: Vec<&str> = names.flat_map(|(base, quote)| [base, quote]).collect();
    names.sort_unstable();
    names.dedup();
    let currency = |name: &&str| {
        json!({"id": name, "name": name, "min_size": "0.00000001", "max_precision": "0.00000001",
            "status": "online", "message": "", "convertible_to": [],
            "details": {"type": "crypto"}, "supported_networks": []})
    };
    names.iter().map(currency).collect()
}

fn ticker(product: &Product) -> Value {
    let last = &product.last;
    json!({"trade_id": last.id, "price": product.price(last.price), "size": product.size(last.size),
        "bid": product.price(last.shown.bid.price), "ask": product.price(last.shown.ask.price),
        "volume": product.size(last.day.volume), "time": rfc3339(last.time_us)})
}

fn stats(product: &Product) -> Value {
    let (last, day) = (&product.last, product.last.day);
    json!({"open": product.price(day.open), "high": product.price(day.high),
        "low": product.price(day.low), "last": product.price(last.price),
        "volume": product.size(day.volume), "volume_30day": product.size(day.volume)})
}

/// Level 1 is the best of each side; levels 2 and 3 are all of them.
fn book(product: &Product, query: &QueryString<'_>, market: &Market) -> Value {
    let state = market.books().shown(product.last.product);
    let best = query.number("level").unwrap_or(1) <= 1;
    let book = state.book(product).cut(if best { 1 } else { usize::MAX });
    let level =
        |(price, size): (&i64, &i64)| json!([product.price(*price), product.size(*size), 1]);
    let bids: Vec<Value> = book.bids.iter().rev().map(level).collect();
    let asks: Vec<Value> = book.asks.iter().map(level).collect();
    json!({"sequence": state.sequence(), "bids": bids, "asks": asks, "auction_mode": false,
        "auction": null, "time": rfc3339(state.time_us)})
}

fn trades(product: &Product, query: &QueryString<'_>, market: &Market) -> Response {
    let before = query.number("after").unwrap_or(u64::MAX);
    let limit = query.limit(1000, 1000);
    let newest = market.past(product.last.product).rev().filter(|trade| trade.id < before);
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
