//! Coinbase's trades of the past over REST: the request and the answer.
//!
//! ```text
//! → GET /products/BTC-USD/trades?limit=1000&after=157062508
//! ← [{"time":"2021-04-17T16:43:30.244075Z","trade_id":157062507,"price":"61837.63000000",
//!     "size":"0.02000000","side":"sell"}, …]
//! ```
//!
//! Newest first, at most 1,000, with ids below `after`. The side is the *maker's*, as in `match`.

use std::borrow::Cow;

use schemas::{MarketEvent, Timestamp};
use serde::Deserialize;
use serde_json::value::RawValue;

use crate::fields::{decimal, integer, scalar, side, time};
use crate::history::{HistoryAnswer, MissingTrades, PAGE_SIZE, Page};
use crate::malformed::{Result, not_json};
use crate::request::HttpRequest;

#[derive(Deserialize)]
struct Print<'a> {
    #[serde(borrow)]
    time: Option<Cow<'a, str>>,
    trade_id: Option<&'a RawValue>,
    price: Option<&'a RawValue>,
    size: Option<&'a RawValue>,
    side: Option<Cow<'a, str>>,
}

/// The trades before an id.
pub(super) fn request(missing: &MissingTrades, before: i64) -> HttpRequest {
    let pair = &missing.pair;
    let (base, quote) = (&pair.base, &pair.quote);
    HttpRequest {
        path: format!("/products/{base}-{quote}/trades?limit={PAGE_SIZE}&after={before}"),
    }
}

/// The trades of an answer.
pub(super) fn parse(
    missing: &MissingTrades,
    before: i64,
    text: &str,
    received_at: Timestamp,
) -> Result<HistoryAnswer> {
    let trades: Vec<Print<'_>> = serde_json::from_str(text).map_err(|error| not_json(&error))?;
    let trades: Vec<MarketEvent> =
        trades.iter().map(|one| trade(one, received_at)).collect::<Result<_, _>>()?;
    let oldest = trades.iter().filter_map(|event| event.trade_id).min();
    let next = oldest.filter(|oldest| missing.first < *oldest && *oldest < before);
    Ok(HistoryAnswer::Page(Page { trades: missing.wanted(trades), next }))
}

fn trade(trade: &Print<'_>, received_at: Timestamp) -> Result<MarketEvent> {
    let time = time("time", trade.time.as_deref())?;
    let price = decimal("price", scalar(trade.price))?;
    let size = decimal("size", scalar(trade.size))?;
    // The maker's: when it sells, the taker buys.
    let taker_side = side("side", trade.side.as_deref(), ["sell", "buy"])?;
    Ok(MarketEvent {
        trade_id: Some(integer("trade_id", scalar(trade.trade_id))?),
        taker_side: Some(taker_side),
        received_at,
        ..MarketEvent::trade(price, size, time)
    })
}
