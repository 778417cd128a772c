//! The requests of Deribit that are answered over HTTP and over the feed.

use serde_json::{Value, json};

use super::frames::{item, result};
use super::instruments::{self, Asked};
use super::ticker::Ticker;
use crate::http::{QueryString, Response};
use crate::market::{Market, Trade};
use crate::surface::number::{float, units_written, written};
use crate::surface::quote::{COARSE_FROM, COARSE_TICK, OptionQuote, Side, TICK};

/// Levels of a side in the answer to `get_order_book` by default.
const DEPTH: usize = 5;
/// Levels of a side of an option's book.
const OPTION_LEVELS: usize = 10;

/// The answer to a request under `/api/v2/public/`; see `called` for the methods.
pub fn answer(path: &str, query: &QueryString<'_>, market: &Market, now_us: i64) -> Response {
    let method = path.strip_prefix("/api/v2/public/").unwrap_or_default();
    match called(method, query, market, now_us) {
        Some(value) => {
            let text = result(None, &value, now_us);
            Response::ok(serde_json::from_str(&text).unwrap_or_default())
        }
        None => Response::bad_request(json!({"jsonrpc": "2.0",
            "error": {"code": -32_602, "message": "Invalid params"}})),
    }
}

/// The result of a method such as `public/ticker`, called over the feed.
pub(super) fn method(method: &str, params: &Value, market: &Market, now_us: i64) -> Option<Value> {
    let fields = params.as_object().into_iter().flatten().map(|(name, value)| {
        let text = value.as_str().map_or_else(|| value.to_string(), str::to_owned);
        format!("{name}={text}")
    });
    let query = fields.collect::<Vec<_>>().join("&");
    called(method.strip_prefix("public/")?, &QueryString(&query), market, now_us)
}

/// The result of `test`, `get_time`, `get_currencies`, `get_instruments`, `get_instrument`,
/// `get_index_price`, `get_book_summary_by_currency`, `get_book_summary_by_instrument`, `ticker`,
/// `get_order_book`, and the trades of an instrument by number or time; `None` for other methods and
/// unknown instruments.
fn called(method: &str, query: &QueryString<'_>, market: &Market, now_us: i64) -> Option<Value> {
    let listed = |name| market.find(name).filter(|index| market.surface().is_known(*index));
    let index = query.text("instrument_name").and_then(listed);
    let asked = Asked::of(query);
    Some(match (method, index) {
        ("test", _) => json!({"version": "1.2.26"}),
        ("get_time", _) => json!(now_us / 1000),
        ("get_currencies", _) => instruments::currencies(market),
        ("get_instruments", _) => instruments::instruments(market, &asked),
        ("get_index_price", _) => {
            let coin = query.text("index_name")?.split('_').next()?.to_uppercase();
            let price = written(market.surface().index(&coin)?, 2).parse::<serde_json::Number>();
            let price = price.ok()?;
            json!({"index_price": price, "estimated_delivery_price": price})
        }
        ("get_book_summary_by_currency", _) => instruments::summaries(market, &asked, now_us),
        ("get_book_summary_by_instrument", Some(index)) => {
            json!([instruments::summary(market, index, now_us)])
        }
        ("get_instrument", Some(index)) => instruments::instrument(market, index),
        ("ticker", Some(index)) => {
            serde_json::from_str(&Ticker::of(market, index, now_us).text()).unwrap_or_default()
        }
        ("get_order_book", Some(index)) => order_book(market, index, query, now_us),
        ("get_last_trades_by_instrument", Some(index)) => {
            let first = query.number("start_seq").unwrap_or(0);
            let last = query.number("end_seq").unwrap_or(u64::MAX);
            trades(market, index, query, |trade| (first..=last).contains(&trade.id))
        }
        ("get_last_trades_by_instrument_and_time", Some(index)) => {
            let first = query.number("start_timestamp").unwrap_or(0);
            let last = query.number("end_timestamp").unwrap_or(u64::MAX);
            trades(market, index, query, |trade| {
                (first..=last).contains(&(trade.time_us / 1000).cast_unsigned())
            })
        }
        _ => return None,
    })
}

/// The lines of the truth of the tickers in an answer: the summaries of books are made of tickers too.
pub fn truth(path: &str, query: &QueryString<'_>, market: &Market, now_us: i64) -> Vec<String> {
    let method = path.strip_prefix("/api/v2/public/").unwrap_or_default();
    let named = query.text("instrument_name").and_then(|name| market.find(name));
    let products: Vec<usize> = match method {
        "ticker" => named.into_iter().collect(),
        "get_book_summary_by_currency" => Asked::of(query).products(market).collect(),
        _ => Vec::new(),
    };
    products.into_iter().map(|index| Ticker::of(market, index, now_us).truth()).collect()
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

/// An option's book stands around its quote, a future's is that of the feed.
fn order_book(market: &Market, index: usize, query: &QueryString<'_>, now_us: i64) -> Value {
    let depth = query.number("depth").and_then(|depth| usize::try_from(depth).ok());
    let depth = depth.unwrap_or(DEPTH);
    let text = Ticker::of(market, index, now_us).text();
    let mut answer: Value = serde_json::from_str(&text).unwrap_or_default();
    let (product, state) = (&market.products()[index], market.books().shown(index));
    let number = |text: &str| text.parse::<serde_json::Number>().ok();
    let levels = |levels: Vec<(String, String)>| -> Vec<Value> {
        let level = |(price, size): &(String, String)| json!([number(price), number(size)]);
        levels.iter().take(depth).map(level).collect()
    };
    let (bids, asks) = if let Some(quote) = market.surface().option(index, now_us) {
        (option_levels(&quote, quote.bid, -1.0), option_levels(&quote, quote.ask, 1.0))
    } else {
        let book = state.book(product);
        let level = |(price, size): (&i64, &i64)| (product.price(*price), product.size(*size));
        (book.bids.iter().rev().map(level).collect(), book.asks.iter().map(level).collect())
    };
    answer["bids"] = json!(levels(bids));
    answer["asks"] = json!(levels(asks));
    answer["change_id"] = json!(state.sequence());
    answer
}

/// The levels behind one side of a quote, one tick apart; none where the side is empty.
fn option_levels(quote: &OptionQuote, best: Option<Side>, away: f64) -> Vec<(String, String)> {
    let Some(best) = best else { return Vec::new() };
    let tick = if best.price < COARSE_FROM { TICK } else { COARSE_TICK };
    let level = |number: i64| {
        let price = best.price + away * tick * float(number);
        (price, written(price, 4), units_written(best.amount + 10 * number, 1))
    };
    let levels = (0..).map(level).take(OPTION_LEVELS);
    let valid =
        levels.take_while(|(price, ..)| *price > TICK / 2.0 && *price < quote.max_price * 2.0);
    valid.map(|(_, price, size)| (price, size)).collect()
}
