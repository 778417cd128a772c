//! Deribit's trades of the past over REST: the request and the answer.
//!
//! ```text
//! → GET /api/v2/public/get_last_trades_by_instrument?instrument_name=BTC-PERPETUAL
//!       &start_seq=1706&end_seq=1709&count=1000&sorting=asc
//! ← {"jsonrpc":"2.0","result":{"trades":[{"trade_seq":1706,"trade_id":"137488100", …}],
//!    "has_more":false},"usIn":…,"usOut":…,"usDiff":…,"testnet":false}
//! ← {"jsonrpc":"2.0","error":{"code":10028,"message":"too_many_requests"}, …}
//! ```
//!
//! `trade_seq` is dense per instrument, and both ends are inclusive. A trade has the fields of the
//! feed and is parsed by the same code: the amount of an inverse future becomes coins.
//! A request costs 500 of 50,000 credits, of which 10,000 come back in a second.

use std::borrow::Cow;

use schemas::Timestamp;
use serde::Deserialize;
use serde_json::value::RawValue;

use super::protocol;
use crate::history::{HistoryAnswer, MissingTrades, PAGE_SIZE};
use crate::malformed::{Malformed, Result, not_json};
use crate::request::HttpRequest;

#[derive(Deserialize)]
struct Frame<'a> {
    #[serde(borrow)]
    result: Option<Found<'a>>,
    error: Option<Failure<'a>>,
}

#[derive(Deserialize)]
struct Found<'a> {
    #[serde(borrow)]
    trades: &'a RawValue,
}

#[derive(Deserialize)]
struct Failure<'a> {
    code: i64,
    #[serde(borrow)]
    message: Option<Cow<'a, str>>,
}

/// The trades from one number on.
pub(super) fn request(missing: &MissingTrades, first: i64) -> HttpRequest {
    let (name, last) = (&missing.pair.base, missing.last);
    HttpRequest {
        path: format!(
            "/public/get_last_trades_by_instrument?instrument_name={name}\
             &start_seq={first}&end_seq={last}&count={PAGE_SIZE}&sorting=asc"
        ),
    }
}

/// The trades of an answer.
pub(super) fn parse(
    missing: &MissingTrades,
    _: i64,
    text: &str,
    received_at: Timestamp,
) -> Result<HistoryAnswer> {
    let frame: Frame<'_> = serde_json::from_str(text).map_err(|error| not_json(&error))?;
    if let Some(Failure { code, message }) = frame.error {
        let reason = format!("{code} {}", message.unwrap_or_default());
        return Ok(match protocol::passing(code) {
            Some(wait) => HistoryAnswer::RetryAfter { reason, wait },
            None => HistoryAnswer::Refused(reason),
        });
    }
    let found = frame.result.ok_or(Malformed::MissingField("result"))?;
    let trades = protocol::trades(found.trades, received_at)?;
    let of_pair = trades.into_iter().filter(|(pair, _)| *pair == missing.pair);
    let trades = of_pair.map(|(_, event)| event).collect();
    Ok(HistoryAnswer::Page(missing.ascending(trades, |newest| newest.saturating_add(1))))
}
