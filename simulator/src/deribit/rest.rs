//! The HTTP requests of Deribit.

use std::collections::BTreeSet;

use serde_json::{Value, json};

use super::frames::{coin, item, kind, result, ticker_data};
use crate::http::{QueryString, Response};
use crate::market::{Market, Product, Trade};

/// Levels of a side in the answer to `get_order_book` by default.
const DEPTH: usize = 5;
/// The expiry of a perpetual.
const NEVER_MS: i64 = 32_503_708_800_000;

/// The answer to a request under `/api/v2/public/`: `test`, `get_time`, `get_currencies`,
/// `get_instruments`, `ticker`, `get_order_book`, and the trades of an instrument by number or time.
pub fn answer(path: &str, query: &QueryString<'_>, market: &Market, now_us: i64) -> Response {
    let method = path.strip_prefix("/api/v2/public/").unwrap_or_default();
    let wrapped = |value: &Value| {
        let text = result(None, value, now_us);
        Response::ok(serde_json::from_str(&text).unwrap_or_default())
    };
    let index = query.text("instrument_name").and_then(|name| market.find(name));
    match (method, index) {
        ("test", _) => wrapped(&json!({"version": "1.2.26"})),
        ("get_time", _) => wrapped(&json!(now_us / 1000)),
        ("get_currencies", _) => wrapped(&currencies(market)),
        ("get_instruments", _) => {
            let currency = query.text("currency").unwrap_or("any");
            let of = |product: &&Product| currency == "any" || coin(&product.name) == currency;
            let listed = market.products().iter().filter(of);
            wrapped(&listed.map(instrument).collect())
        }
        ("ticker", Some(index)) => {
            let product = &market.products()[index];
            let text = ticker_data(product, &product.last, true, now_us);
            wrapped(&serde_json::from_str(&text).unwrap_or_default())
        }
        ("get_order_book", Some(index)) => wrapped(&order_book(market, index, query, now_us)),
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

fn order_book(market: &Market, index: usize, query: &QueryString<'_>, now_us: i64) -> Value {
    let (product, state) = (&market.products()[index], market.books().shown(index));
    let depth = query.number("depth").and_then(|depth| usize::try_from(depth).ok());
    let book = state.book(product).cut(depth.unwrap_or(DEPTH));
    let number = |text: String| text.parse::<serde_json::Number>().ok();
    let level = |(price, size): (&i64, &i64)| {
        json!([number(product.price(*price)), number(product.size(*size))])
    };
    let bids: Vec<Value> = book.bids.iter().rev().map(level).collect();
    let asks: Vec<Value> = book.asks.iter().map(level).collect();
    let text = ticker_data(product, &product.last, true, now_us);
    let mut answer: Value = serde_json::from_str(&text).unwrap_or_default();
    answer["bids"] = json!(bids);
    answer["asks"] = json!(asks);
    answer["change_id"] = json!(state.sequence());
    answer
}

fn currencies(market: &Market) -> Value {
    let coins: BTreeSet<&str> =
        market.products().iter().map(|product| coin(&product.name)).collect();
    let currency = |coin: &&str| {
        json!({"currency": coin, "currency_long": coin, "coin_type": "BITCOIN",
            "min_confirmations": 1, "min_withdrawal_fee": 0, "withdrawal_fee": 0,
            "withdrawal_priorities": [], "fee_precision": 4})
    };
    coins.iter().map(currency).collect()
}

fn instrument(product: &Product) -> Value {
    let (name, number) = (&product.name, |text: String| text.parse::<serde_json::Number>().ok());
    let kind = kind(name);
    let coin = coin(name);
    // Futures are priced in dollars, options in their coin.
    let quote = if kind == "future" { "USD" } else { coin };
    let parts: Vec<&str> = name.split('-').collect();
    let perpetual = parts.last() == Some(&"PERPETUAL");
    let expiry = parts.get(1).filter(|_| !perpetual).and_then(|date| expiry_ms(date));
    let mut listed = json!({"instrument_name": name, "kind": kind, "base_currency": coin,
        "quote_currency": quote, "counter_currency": "USD", "settlement_currency": coin,
        "price_index": format!("{}_usd", coin.to_lowercase()), "instrument_type": "reversed",
        "settlement_period": if perpetual { "perpetual" } else { "month" }, "is_active": true,
        "contract_size": 1.0, "tick_size": number(product.price(1)), "tick_size_steps": [],
        "min_trade_amount": number(product.size(1)), "maker_commission": 0.0003,
        "taker_commission": 0.0003, "instrument_id": product.last.product,
        "creation_timestamp": 1_606_129_458_000_i64,
        "expiration_timestamp": expiry.unwrap_or(NEVER_MS)});
    if let [_, _, strike, side @ ("C" | "P")] = parts[..] {
        listed["strike"] = json!(strike.replace('d', ".").parse::<serde_json::Number>().ok());
        listed["option_type"] = json!(if side == "C" { "call" } else { "put" });
    }
    listed
}

/// The time of an expiry such as `27NOV26`: eight in the morning.
fn expiry_ms(date: &str) -> Option<i64> {
    const MONTHS: [&str; 12] =
        ["JAN", "FEB", "MAR", "APR", "MAY", "JUN", "JUL", "AUG", "SEP", "OCT", "NOV", "DEC"];
    let (rest, year) = date.split_at_checked(date.len().checked_sub(2)?)?;
    let (day, month) = rest.split_at_checked(rest.len().checked_sub(3)?)?;
    let month = MONTHS.iter().position(|name| *name == month)?;
    let (year, month) = (2000 + year.parse::<i16>().ok()?, i8::try_from(month + 1).ok()?);
    let date = jiff::civil::Date::new(year, month, day.parse().ok()?).ok()?;
    let time = date.at(8, 0, 0, 0).to_zoned(jiff::tz::TimeZone::UTC).ok()?;
    Some(time.timestamp().as_millisecond())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_expiry_is_a_date_at_eight() {
        assert_eq!(expiry_ms("27NOV26"), Some(1_795_766_400_000));
        assert_eq!(expiry_ms("4DEC26"), Some(1_796_371_200_000));
        assert_eq!(expiry_ms("PERPETUAL"), None);
        assert_eq!(expiry_ms(""), None);
    }
}
