//! Binance's trades of the past over REST: the request and the answer.
//!
//! ```text
//! → GET /api/v3/historicalTrades?symbol=BTCUSDT&fromId=28457&limit=1000
//! ← [{"id":28457,"price":"4.00000100","qty":"12.00000000","quoteQty":"48.000012",
//!     "time":1499865549590,"isBuyerMaker":true,"isBestMatch":true}, …]
//! ← {"code":-1003,"msg":"Too much request weight used; …"}            with 429 or 418
//! ```
//!
//! Oldest first, at most 1,000, from `fromId` on. The ids are those of `trade`, which is
//! subscribed; `aggTrades` has other ids. A request weighs 25 of 6,000 a minute. A client that
//! continues after 429 is banned with 418 for the time in `Retry-After`.

use std::borrow::Cow;

use schemas::{MarketEvent, TakerSide, Timestamp};
use serde::Deserialize;
use serde_json::value::RawValue;

use crate::fields::{decimal, integer, scalar};
use crate::history::{HistoryAnswer, MissingTrades, PAGE_SIZE};
use crate::malformed::{Malformed, Result, not_json};
use crate::request::HttpRequest;

#[derive(Deserialize)]
struct Print<'a> {
    #[serde(borrow)]
    id: Option<&'a RawValue>,
    price: Option<&'a RawValue>,
    qty: Option<&'a RawValue>,
    time: Option<&'a RawValue>,
    #[serde(rename = "isBuyerMaker")]
    buyer_makes: Option<bool>,
}

#[derive(Deserialize)]
struct Failure<'a> {
    code: i64,
    #[serde(borrow)]
    msg: Option<Cow<'a, str>>,
}

/// The trades from an id on.
pub(super) fn request(missing: &MissingTrades, from: i64) -> HttpRequest {
    let symbol = format!("{}{}", missing.pair.base, missing.pair.quote);
    HttpRequest {
        path: format!("/api/v3/historicalTrades?symbol={symbol}&fromId={from}&limit={PAGE_SIZE}"),
    }
}

/// The trades of an answer.
pub(super) fn parse(
    missing: &MissingTrades,
    _: i64,
    text: &str,
    received_at: Timestamp,
) -> Result<HistoryAnswer> {
    if let Ok(Failure { code, msg }) = serde_json::from_str(text) {
        return Ok(HistoryAnswer::Refused(format!("{code} {}", msg.unwrap_or_default())));
    }
    let trades: Vec<Print<'_>> = serde_json::from_str(text).map_err(|error| not_json(&error))?;
    let trades = trades.iter().map(|one| trade(one, received_at)).collect::<Result<Vec<_>, _>>()?;
    Ok(HistoryAnswer::Page(missing.ascending(trades, |newest| newest.saturating_add(1))))
}

fn trade(trade: &Print<'_>, received_at: Timestamp) -> Result<MarketEvent> {
    let price = decimal("price", scalar(trade.price))?;
    let size = decimal("qty", scalar(trade.qty))?;
    let time = Timestamp(integer("time", scalar(trade.time))?);
    let buyer_makes = trade.buyer_makes.ok_or(Malformed::MissingField("isBuyerMaker"))?;
    Ok(MarketEvent {
        trade_id: Some(integer("id", scalar(trade.id))?),
        taker_side: Some(if buyer_makes { TakerSide::Sell } else { TakerSide::Buy }),
        received_at,
        ..MarketEvent::trade(price, size, time)
    })
}
