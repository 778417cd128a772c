//! The HTTP requests of Bitstamp.

use serde_json::{Value, json};

use super::{levels, stamped};
use crate::book::update::State;
use crate::http::Response;
use crate::market::{Market, Product};

/// The answer to `GET /api/v2/markets/` and `GET /api/v2/order_book/PAIR/`.
pub fn answer(path: &str, market: &Market, now_us: i64) -> Response {
    let what = path.strip_prefix("/api/v2/").unwrap_or_default().trim_end_matches('/');
    if let Some(index) = snapshot_of(path, market) {
        let state = market.books().shown(index);
        // It is the state until the next update, which is later than now.
        let time_us = state.time_us.max(now_us);
        return Response::ok(order_book(&market.products()[index], state, time_us));
    }
    if what != "markets" {
        return Response::not_found(json!({"code": "404.001", "reason": "Not found"}));
    }
    Response::ok(market.products().iter().map(listed).collect())
}

/// The index of the product whose snapshot a request is for.
pub(crate) fn snapshot_of(path: &str, market: &Market) -> Option<usize> {
    market.find(path.strip_prefix("/api/v2/order_book/")?.trim_end_matches('/'))
}

/// All levels of a state, dated.
pub(crate) fn order_book(product: &Product, state: &State, time_us: i64) -> Value {
    let book = state.book(product);
    let mut bids = levels(product, &book.bids);
    bids.reverse();
    stamped(time_us, &bids, &levels(product, &book.asks))
}

fn listed(product: &Product) -> Value {
    let name = product.name.to_uppercase();
    let (base, quote) = name.split_at(name.len().saturating_sub(3));
    json!({"name": format!("{base}/{quote}"), "market_symbol": product.name,
        "base_currency": base, "counter_currency": quote, "trading": "Enabled"})
}

/// The requests of ten minutes are spent.
pub fn limited(retry_after: u64) -> Response {
    let reason = json!({"code": "400.002", "reason": "Request rate limit exceeded"});
    Response::limited(reason).after(retry_after)
}
