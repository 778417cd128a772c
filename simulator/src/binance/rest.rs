//! The HTTP requests of Binance spot.

use serde_json::{Value, json};

use super::{DAY_MS, quote};
use crate::book::Side;
use crate::book::update::State;
use crate::http::{QueryString, Response};
use crate::market::{Market, Product, Trade};

/// The quotes that end a listed symbol.
const QUOTES: [&str; 7] = ["USDT", "USDC", "FDUSD", "EUR", "BTC", "ETH", "BNB"];
/// Levels of a side in the answer to `depth` by default, and at most.
const DEPTH: (usize, usize) = (100, 5_000);

/// The answer to a request under `/api/v3/`: `ping`, `time`, `exchangeInfo`, `depth?symbol=&limit=`,
/// `trades`, `historicalTrades?symbol=&fromId=&limit=`, `aggTrades`, and `ticker/price`, `ticker/24hr` and
/// `ticker/bookTicker`, of one symbol or of all.
pub fn answer(path: &str, query: &QueryString<'_>, market: &Market, now_us: i64) -> Response {
    let what = path.strip_prefix("/api/v3/").unwrap_or_default();
    let index = query.text("symbol").and_then(|symbol| market.find(symbol));
    let product = index.map(|index| &market.products()[index]);
    let each = |value: &dyn Fn(&Product) -> Value| {
        let all = || market.products().iter().map(value).collect();
        Response::ok(product.map_or_else(all, value))
    };
    match (what, product) {
        ("ping", _) => return Response::ok(json!({})),
        ("time", _) => return Response::ok(json!({"serverTime": now_us / 1000})),
        ("exchangeInfo", _) => return Response::ok(listing(market, product, now_us)),
        ("depth", Some(product)) => {
            let state = market.books().newest(product.last.product);
            return Response::ok(depth(product, &state, state.sequence(), query));
        }
        ("trades" | "historicalTrades", Some(product)) => {
            return trades(product, query, market);
        }
        ("aggTrades", Some(product)) => return aggregates(product, query, market),
        _ => {}
    }
    let is_unknown = query.text("symbol").is_some() && product.is_none();
    match what {
        "ticker/price" if !is_unknown => {
            each(&|one| json!({"symbol": one.name, "price": one.price(one.last.price)}))
        }
        "ticker/24hr" if !is_unknown => each(&|one| ticker(one, now_us)),
        "ticker/bookTicker" if !is_unknown => each(&best),
        _ => Response::bad_request(json!({"code": -1121, "msg": "Invalid symbol."})),
    }
}

/// The index of the product whose snapshot a request is for.
pub(crate) fn snapshot_of(path: &str, query: &QueryString<'_>, market: &Market) -> Option<usize> {
    query.text("symbol").filter(|_| path == "/api/v3/depth").and_then(|name| market.find(name))
}

fn listing(market: &Market, one: Option<&Product>, now_us: i64) -> Value {
    let wanted = |product: &&Product| one.is_none_or(|one| one.name == product.name);
    let symbol = |product: &Product| {
        let (base, quote) = split(&product.name)?;
        let (price, size) = (product.price(1), product.size(1));
        Some(json!({"symbol": product.name, "status": "TRADING", "baseAsset": base,
        "baseAssetPrecision": 8, "quoteAsset": quote, "quotePrecision": 8,
        "quoteAssetPrecision": 8, "orderTypes": ["LIMIT", "MARKET"], "icebergAllowed": true,
        "ocoAllowed": true, "isSpotTradingAllowed": true, "isMarginTradingAllowed": false,
        "permissions": ["SPOT"], "permissionSets": [["SPOT"]],
        "filters": [
            {"filterType": "PRICE_FILTER", "minPrice": price, "maxPrice": "1000000.00",
                "tickSize": price},
            {"filterType": "LOT_SIZE", "minQty": size, "maxQty": "9000000000.00",
                "stepSize": size},
        ]}))
    };
    let symbols: Vec<Value> = market.products().iter().filter(wanted).filter_map(symbol).collect();
    json!({"timezone": "UTC", "serverTime": now_us / 1000, "rateLimits": [],
        "exchangeFilters": [], "symbols": symbols})
}

/// A state of the book with this id. That of the newest trade may be between two updates.
pub(crate) fn depth(product: &Product, state: &State, id: u64, query: &QueryString<'_>) -> Value {
    let book = state.book(product).cut(query.limit(DEPTH.0, DEPTH.1));
    let levels = |side: &Side| -> Vec<Value> {
        let level =
            |(price, size): (&i64, &i64)| json!([product.price(*price), product.size(*size)]);
        side.iter().map(level).collect()
    };
    let mut bids = levels(&book.bids);
    bids.reverse();
    json!({"lastUpdateId": id, "bids": bids, "asks": levels(&book.asks)})
}

fn best(product: &Product) -> Value {
    let best = product.last.best;
    json!({"symbol": product.name,
        "bidPrice": product.price(best.bid.price), "bidQty": product.size(best.bid.size),
        "askPrice": product.price(best.ask.price), "askQty": product.size(best.ask.size)})
}

fn ticker(product: &Product, now_us: i64) -> Value {
    let (last, day) = (&product.last, product.last.day);
    let (price, volume) = (product.price(last.price), product.size(day.volume));
    json!({"symbol": product.name, "priceChange": product.price(last.price - day.open),
        "priceChangePercent": "0.00",
        "weightedAvgPrice": product.price(i64::midpoint(day.low, day.high)),
        "prevClosePrice": product.price(day.open), "lastPrice": price,
        "lastQty": product.size(last.size), "bidPrice": product.price(last.best.bid.price),
        "bidQty": product.size(last.best.bid.size), "askPrice": product.price(last.best.ask.price),
        "askQty": product.size(last.best.ask.size), "openPrice": product.price(day.open),
        "highPrice": product.price(day.high), "lowPrice": product.price(day.low),
        "volume": volume, "quoteVolume": quote(&price, &volume),
        "openTime": now_us / 1000 - DAY_MS, "closeTime": now_us / 1000,
        "firstId": last.id.saturating_sub(50_000), "lastId": last.id, "count": 50_000})
}

/// The trades from an id on, or the newest; oldest first.
fn chosen<'a>(product: &Product, query: &QueryString<'_>, market: &'a Market) -> Vec<&'a Trade> {
    let (index, limit) = (product.last.product, query.limit(500, 1000));
    if let Some(from) = query.number("fromId") {
        return market.past(index).filter(|trade| trade.id >= from).take(limit).collect();
    }
    let mut newest: Vec<_> = market.past(index).rev().take(limit).collect();
    newest.reverse();
    newest
}

/// Each trade as an aggregate of its own.
fn aggregates(product: &Product, query: &QueryString<'_>, market: &Market) -> Response {
    let aggregate = |trade: &&Trade| {
        json!({"a": trade.id, "p": product.price(trade.price), "q": product.size(trade.size),
            "f": trade.id, "l": trade.id, "T": trade.time_us / 1000, "m": trade.maker_buys,
            "M": true})
    };
    Response::ok(chosen(product, query, market).iter().map(aggregate).collect())
}

fn trades(product: &Product, query: &QueryString<'_>, market: &Market) -> Response {
    let trades = chosen(product, query, market);
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

/// The base and the quote of a symbol.
fn split(symbol: &str) -> Option<(&str, &'static str)> {
    let named = |quote: &'static str| Some((symbol.strip_suffix(quote)?, quote));
    QUOTES.into_iter().find_map(named).filter(|(base, _)| !base.is_empty())
}
