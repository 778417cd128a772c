//! The messages of Coinbase's feed, with the venue's fields in the venue's order.

use serde_json::json;

use crate::book::Side;
use crate::book::update::{State, Update};
use crate::market::{Product, Trade};
use crate::text::{decimal, rfc3339};

/// The two ways in which the venue writes the size of a level that is gone.
const GONE: [&str; 2] = ["0.00", "0.00000000"];

pub(super) fn error(message: &str, reason: Option<&str>) -> String {
    match reason {
        Some(reason) => json!({"type": "error", "message": message, "reason": reason}).to_string(),
        None => json!({"type": "error", "message": message}).to_string(),
    }
}

pub(super) fn matched(kind: &str, product: &Product, trade: &Trade) -> String {
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

pub(super) fn ticker(product: &Product, trade: &Trade) -> String {
    let day = trade.day;
    let eight = |units: i64| {
        // Volumes always have eight fraction digits, whatever a size has.
        let padding = "0".repeat(8usize.saturating_sub(usize::from(product.size_decimals)));
        let text = decimal(units, product.size_decimals);
        if product.size_decimals == 0 { format!("{text}.{padding}") } else { text + &padding }
    };
    format!(
        r#"{{"type":"ticker","sequence":{},"product_id":"{}","price":"{price}","open_24h":"{}","volume_24h":"{}","low_24h":"{}","high_24h":"{}","volume_30d":"{}","best_bid":"{}","best_bid_size":"{}","best_ask":"{}","best_ask_size":"{}","side":"{}","time":"{}","trade_id":{},"last_size":"{size}"}}"#,
        trade.sequence,
        product.name,
        product.price(day.open),
        eight(day.volume),
        product.price(day.low),
        product.price(day.high),
        eight(day.volume.saturating_mul(27)),
        product.price(trade.shown.bid.price),
        product.size(trade.shown.bid.size),
        product.price(trade.shown.ask.price),
        product.size(trade.shown.ask.size),
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

/// The best levels of a state.
pub(super) fn snapshot(product: &Product, state: &State, depth: usize) -> String {
    let book = state.book(product).cut(depth);
    let level = |(price, size): (&i64, &i64)| {
        format!(r#"["{}","{}"]"#, product.price(*price), product.size(*size))
    };
    let bids: Vec<String> = book.bids.iter().rev().map(level).collect();
    let asks: Vec<String> = book.asks.iter().map(level).collect();
    format!(
        r#"{{"type":"snapshot","product_id":"{}","asks":[{}],"bids":[{}],"time":"{}"}}"#,
        product.name,
        asks.join(","),
        bids.join(","),
        rfc3339(state.time_us),
    )
}

/// The changed levels of an update, if there are any.
pub(super) fn update(product: &Product, update: &Update, depth: usize) -> Option<String> {
    let changes = update.changes(product, depth);
    let side = |side: &Side, name: &'static str| {
        let level = |(price, size): (&i64, &i64)| {
            let gone = GONE[usize::from(price % 2 == 0)];
            let size = if *size == 0 { gone.to_owned() } else { product.size(*size) };
            format!(r#"["{name}","{}","{size}"]"#, product.price(*price))
        };
        side.iter().map(level).collect::<Vec<_>>()
    };
    let levels = [side(&changes.bids, "buy"), side(&changes.asks, "sell")].concat();
    (!changes.is_empty()).then(|| {
        format!(
            r#"{{"type":"l2update","product_id":"{}","changes":[{}],"time":"{}"}}"#,
            product.name,
            levels.join(","),
            rfc3339(update.after.time_us),
        )
    })
}
