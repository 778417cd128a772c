//! `/v1/spreads`: the spreads of a pair over a range of time, a page at a time.

use axum::extract::State;
use axum::response::Response;
use schemas::topic::Topic;
use schemas::{PairKey, Status, Timestamp};
use serde::Serialize;

use super::arrow;
use crate::api::answer::{MediaType, NEXT_CURSOR, ReadRequest, Representation};
use crate::api::book_rows::SpreadRow;
use crate::api::error::{Refusal, Result};
use crate::api::params::Params;
use crate::api::read_service::{ReadContext, ReadService};
use crate::api::rows::PairRow;
use crate::api::segments::WindowRange;
use crate::operators::Interval;

/// Windows per answer without `limit`.
const DEFAULT_LIMIT: usize = 500;
/// The maximum of windows per answer: a week of minutes, a few megabytes of JSON.
const MAX_LIMIT: usize = 10_000;
const FORMATS: [MediaType; 3] = [MediaType::Json, MediaType::Csv, MediaType::Arrow];
const NAMES: [&str; 9] =
    ["base", "quote", "exchange", "interval", "from", "to", "limit", "cursor", "closed_only"];

/// The parameters of a request.
struct SpreadsRequest {
    pair: PairKey,
    interval: Interval,
    from: Timestamp,
    to: Timestamp,
    limit: usize,
    closed_only: bool,
}

impl SpreadsRequest {
    fn new(params: &Params) -> Result<Self> {
        params.only(&NAMES)?;
        let intervals = Interval::ALL.map(|interval| (interval.as_str(), interval));
        let interval = params.word("interval", &intervals)?;
        let (from, to) = (params.time("from")?, params.time("to")?);
        let (from, to) = (from.unwrap_or(Timestamp(0)), to.unwrap_or(Timestamp(i64::MAX)));
        if from > to {
            return Err(Refusal::bad("from: is after to"));
        }
        let cursor = params.get("cursor").map(|text| read_cursor(text, interval)).transpose()?;
        Ok(Self {
            pair: params.pair()?,
            interval,
            from: cursor.unwrap_or(from),
            to,
            limit: params.limit(DEFAULT_LIMIT, MAX_LIMIT)?,
            closed_only: params.flag("closed_only")?,
        })
    }
}

/// The start of a page, opaque to clients: `1m.1700000000000`.
fn cursor(interval: Interval, next: Timestamp) -> String {
    format!("{}.{}", interval.as_str(), next.0)
}

fn read_cursor(text: &str, interval: Interval) -> Result<Timestamp> {
    let read = || {
        let (of, next) = text.split_once('.')?;
        (of == interval.as_str()).then_some(Timestamp(next.parse().ok()?))
    };
    read().ok_or_else(|| {
        Refusal::bad(
            "cursor: not a cursor of this server and interval: send next_cursor and interval \
             unchanged",
        )
    })
}

/// The windows of an answer.
#[derive(Serialize)]
struct SpreadsPage<'a> {
    #[serde(flatten)]
    pair: PairRow<'a>,
    interval: &'static str,
    spreads: Vec<SpreadRow>,
    next_cursor: Option<String>,
}

/// A page of spreads; 404 when the quotes of the pair are not here.
pub(crate) async fn spreads(
    State(service): State<ReadService>,
    ask: ReadRequest,
) -> Result<Response> {
    let request = SpreadsRequest::new(&ask.params)?;
    let format = ask.format(&FORMATS)?;
    service.read(ask, move |reading| answer(reading, &request, format)).await
}

fn answer(
    reading: &mut ReadContext<'_>,
    request: &SpreadsRequest,
    format: MediaType,
) -> Result<Representation> {
    let Some((index, _)) = reading.find_top(&request.pair)? else {
        return Err(reading.no_quotes_here(&request.pair));
    };
    let interval = request.interval;
    // An hour or a day is merged with the minutes that are open.
    let reader = reading.book_reader(index, &[interval.spreads_topic(), Topic::Spreads1m])?;
    let range = WindowRange {
        from: request.from,
        to: request.to,
        // One more shows that there is a next page.
        limit: request.limit + 1,
    };
    let mut found = reader.spreads(&request.pair, interval, range)?;
    found.retain(|(_, spread)| !request.closed_only || spread.status != Status::Open);
    let next = found.get(request.limit).map(|(open_time, _)| cursor(interval, *open_time));
    found.truncate(request.limit);
    let rows: Vec<_> =
        found.iter().map(|(open_time, spread)| SpreadRow::new(*open_time, spread)).collect();
    let answer = match format {
        MediaType::Json => Representation::json(&SpreadsPage {
            pair: (&request.pair).into(),
            interval: interval.as_str(),
            spreads: rows,
            next_cursor: next.clone(),
        })?,
        MediaType::Csv => Representation::csv(rows.into_iter())?,
        MediaType::Arrow => {
            Representation::arrow(arrow::spreads(&rows).map_err(|e| Refusal::broken(&e))?)
        }
    };
    Ok(answer.with(NEXT_CURSOR, next))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_cursor_is_of_its_interval_only() {
        let text = cursor(Interval::Hour, Timestamp(7));
        assert_eq!(read_cursor(&text, Interval::Hour).ok(), Some(Timestamp(7)));
        assert!(read_cursor(&text, Interval::Minute).is_err());
        for text in ["", "1h", "1h.", "1h.x", "1h.5.5"] {
            assert!(read_cursor(text, Interval::Hour).is_err(), "{text}");
        }
    }
}
