//! The messages of Deribit's feed, with the venue's fields in the venue's order.

use std::fmt::Write as _;

use serde_json::{Value, json};

use super::INTERVAL;
use crate::book::Side;
use crate::book::update::{State, Update};
use crate::market::{Product, Trade};
use crate::surface::number::units_written;
use crate::surface::quote::Quoted;

/// One of this many trades of options is part of a block trade.
const BLOCK_EVERY: u64 = 50;
/// One of this many trades of futures is a liquidation of the taker.
const LIQUIDATION_EVERY: u64 = 40;

pub(super) fn kind(name: &str) -> &'static str {
    match name.split('-').collect::<Vec<_>>()[..] {
        [_] => "spot",
        [_, _] => "future",
        [_, _, _, "C" | "P"] => "option",
        _ => "option_combo",
    }
}

pub(super) fn coin(name: &str) -> &str {
    name.split(['-', '_']).next().unwrap_or_default()
}

pub(super) fn of_kind(name: &str) -> String {
    format!("{}.{}", kind(name), coin(name))
}

pub(super) fn item(product: &Product, trade: &Trade) -> String {
    let Quoted { index, iv } = trade.quoted;
    let mut more = String::new();
    if kind(&product.name) == "option" {
        more = format!(r#","iv":{}"#, units_written(iv, 2));
        if trade.id.is_multiple_of(BLOCK_EVERY) {
            let _ = write!(more, r#","block_trade_id":"BLOCK-{}""#, trade.id);
        }
    } else if trade.id.is_multiple_of(LIQUIDATION_EVERY) {
        more = r#","liquidation":"T""#.into();
    }
    format!(
        r#"{{"trade_seq":{},"trade_id":"{}","timestamp":{},"tick_direction":0,"price":{price},"mark_price":{price},"instrument_name":"{}","index_price":{},"direction":"{}","amount":{}{more}}}"#,
        trade.id,
        trade.sequence,
        trade.time_us / 1000,
        product.name,
        units_written(index, 2),
        // The taker's.
        if trade.maker_buys { "sell" } else { "buy" },
        product.size(trade.size),
        price = product.price(trade.price),
    )
}

/// All levels of a state.
pub(super) fn snapshot(product: &Product, state: &State) -> String {
    let book = state.book(product);
    let all = |side: &Side| levels(product, side, |_| "new");
    // The best levels come first.
    let bids: Vec<String> = all(&book.bids).into_iter().rev().collect();
    let data = format!(
        r#"{{"type":"snapshot","timestamp":{},"instrument_name":"{}","change_id":{},"bids":[{}],"asks":[{}]}}"#,
        state.time_us / 1000,
        product.name,
        state.sequence(),
        bids.join(","),
        all(&book.asks).join(","),
    );
    notification(&format!("book.{}.{INTERVAL}", product.name), &data)
}

/// The changed levels of an update.
pub(super) fn change(product: &Product, update: &Update) -> String {
    let changes = update.changes(product, usize::MAX);
    let before = update.before.book(product);
    let side = |changes: &Side, before: &Side| {
        let action = |price| if before.contains_key(&price) { "change" } else { "new" };
        levels(product, changes, action).join(",")
    };
    let data = format!(
        r#"{{"type":"change","timestamp":{},"prev_change_id":{},"instrument_name":"{}","change_id":{},"bids":[{}],"asks":[{}]}}"#,
        update.after.time_us / 1000,
        update.before.sequence(),
        product.name,
        update.after.sequence(),
        side(&changes.bids, &before.bids),
        side(&changes.asks, &before.asks),
    );
    notification(&format!("book.{}.{INTERVAL}", product.name), &data)
}

/// From the lowest price to the highest.
fn levels(product: &Product, side: &Side, action: impl Fn(i64) -> &'static str) -> Vec<String> {
    let level = |(price, size): (&i64, &i64)| {
        let action = if *size == 0 { "delete" } else { action(*price) };
        format!(r#"["{action}",{},{}]"#, product.price(*price), product.size(*size))
    };
    side.iter().map(level).collect()
}

pub(super) fn notification(channel: &str, data: &str) -> String {
    format!(
        r#"{{"jsonrpc":"2.0","method":"subscription","params":{{"channel":"{channel}","data":{data}}}}}"#
    )
}

pub(super) fn result(id: Option<u64>, value: &Value, now_us: i64) -> String {
    json!({"jsonrpc": "2.0", "id": id, "result": value, "usIn": now_us, "usOut": now_us,
        "usDiff": 0, "testnet": true})
    .to_string()
}

pub(super) fn error(id: Option<u64>, code: i64, message: &str) -> String {
    json!({"jsonrpc": "2.0", "id": id, "error": {"code": code, "message": message}}).to_string()
}
