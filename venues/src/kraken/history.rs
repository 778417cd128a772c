//! Kraken's trades of the past over REST: the request and the answer.
//!
//! ```text
//! → GET /0/public/Trades?pair=XBTUSD&since=1688669596000000000&count=1000
//! ← {"error":[],"result":{"XXBTZUSD":[["30243.40000","0.34507674",1688669597.8277369,"b","m","",
//!     61044952], …],"last":"1688671969993150842"}}
//! ← {"error":["EAPI:Rate limit exceeded"]}                                     with 200
//! ```
//!
//! Rules of the venue:
//! - An answer has the trades later than `since`, in nanoseconds. The seventh field is the id of
//!   the feed. So a search starts at the trade before the gap and selects by id.
//! - Trades share timestamps. The next page starts just before the last trade of this page, and ids
//!   identify repetitions. A thousand trades of one time would end the search.
//! - Requests use XBT and XDG where the feed uses BTC and DOGE. The answer has a third name.
//! - `error` tells success or failure. One request a second is allowed.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::time::Duration;

use schemas::{MarketEvent, PairKey, Timestamp};
use serde::Deserialize;
use serde_json::value::RawValue;

use crate::fields::{content, decimal, integer, scalar, side};
use crate::history::{HistoryAnswer, MAX_WAIT, MissingTrades, PAGE_SIZE};
use crate::malformed::{Malformed, Result, not_json};
use crate::request::HttpRequest;

/// Nanoseconds in a millisecond.
const MILLISECOND: i64 = 1_000_000;
/// Milliseconds by which a trade may bear an earlier time than the one before it, and be found.
const SLACK_MS: i64 = 1000;
/// A client over the limit is restricted "for a few seconds".
const RATE_WAIT: Duration = Duration::from_secs(5);
/// Errors that pass, beside too many requests: the venue is busy, or closed for a while.
const PASSING: [&str; 6] = [
    "EAPI:Rate limit exceeded",
    "EGeneral:Too many requests",
    "EGeneral:Internal error",
    "EGeneral:Temporary lockout",
    "EService:Unavailable",
    "EService:Busy",
];
/// Too many requests at once; the time at which to try again follows, in seconds.
const THROTTLED: &str = "EService:Throttled:";

#[derive(Deserialize)]
struct Frame<'a> {
    #[serde(borrow, default)]
    error: Vec<Cow<'a, str>>,
    /// The trades under the pair's name, and `last`.
    result: Option<BTreeMap<Cow<'a, str>, &'a RawValue>>,
}

/// The time before which nothing is looked for.
pub(super) fn first_cursor(missing: &MissingTrades) -> i64 {
    missing.since.0.saturating_sub(SLACK_MS).saturating_mul(MILLISECOND).max(0)
}

/// The trades later than a time.
pub(super) fn request(missing: &MissingTrades, since: i64) -> HttpRequest {
    let pair = altname(&missing.pair);
    HttpRequest { path: format!("/0/public/Trades?pair={pair}&since={since}&count={PAGE_SIZE}") }
}

/// A pair as requests have it.
fn altname(pair: &PairKey) -> String {
    let alias = |asset: &str| match asset {
        "BTC" => "XBT".to_owned(),
        "DOGE" => "XDG".to_owned(),
        other => other.to_owned(),
    };
    format!("{}{}", alias(&pair.base), alias(&pair.quote))
}

/// The trades of an answer.
pub(super) fn parse(
    missing: &MissingTrades,
    _: i64,
    text: &str,
    received_at: Timestamp,
) -> Result<HistoryAnswer> {
    let frame: Frame<'_> = serde_json::from_str(text).map_err(|error| not_json(&error))?;
    // An entry that begins with a W is a warning.
    if let Some(error) = frame.error.iter().find(|error| error.starts_with('E')) {
        return Ok(failure(error, received_at));
    }
    let mut result = frame.result.ok_or(Malformed::MissingField("result"))?;
    let last = integer("last", scalar(result.remove("last")))?;
    let rows: Vec<Vec<&RawValue>> = content("trades", result.into_values().next())?;
    let trades = rows.iter().map(|row| trade(row, received_at)).collect::<Result<Vec<_>, _>>()?;
    // The last one comes again, and with it whatever shares its time.
    Ok(HistoryAnswer::Page(missing.ascending(trades, |_| last.saturating_sub(1))))
}

fn failure(error: &str, received_at: Timestamp) -> HistoryAnswer {
    let reason = error.to_owned();
    if let Some(at) = error.strip_prefix(THROTTLED) {
        let at = at.trim().parse::<i64>().ok().and_then(|at| at.checked_mul(1000));
        let wait = at.and_then(|at| u64::try_from(at.saturating_sub(received_at.0)).ok());
        let wait = wait.map_or(RATE_WAIT, Duration::from_millis).clamp(RATE_WAIT, MAX_WAIT);
        return HistoryAnswer::RetryAfter { reason, wait };
    }
    if PASSING.iter().any(|passing| error.starts_with(passing)) {
        return HistoryAnswer::RetryAfter { reason, wait: RATE_WAIT };
    }
    HistoryAnswer::Refused(reason)
}

/// Price, volume, time, side of the taker, kind of order, remarks, id.
fn trade(row: &[&RawValue], received_at: Timestamp) -> Result<MarketEvent> {
    let field = |index: usize| scalar(row.get(index).copied());
    let price = decimal("price", field(0))?;
    let size = decimal("volume", field(1))?;
    let taker_side = side("side", field(3), ["b", "s"])?;
    Ok(MarketEvent {
        trade_id: Some(integer("trade_id", field(6))?),
        taker_side: Some(taker_side),
        received_at,
        ..MarketEvent::trade(price, size, time(field(2))?)
    })
}

/// Seconds with a fraction, rounded down to milliseconds as every time is.
fn time(text: Option<&str>) -> Result<Timestamp> {
    let seconds = decimal("time", text)?.units();
    let millisecond = 10_i128.pow(schemas::decimal::SCALE - 3);
    let millis = i64::try_from(seconds.div_euclid(millisecond));
    millis.map(Timestamp).map_err(|_| Malformed::BadField("time"))
}
