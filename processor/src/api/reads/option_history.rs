//! `/v1/options/{instrument}/history`: the minutes of an option over a range of time, in pages.
//!
//! It reads the store of `options_1m`, which keeps 30 days. Older minutes are in the table of that name
//! only.

use axum::extract::rejection::PathRejection;
use axum::extract::{Path, State};
use axum::response::Response;
use schemas::{PairKey, Timestamp};
use serde::Serialize;

use super::options::FORMATS;
use super::written;
use crate::api::answer::{MediaType, NEXT_CURSOR, ReadRequest, Representation};
use crate::api::columns::{Row, Table};
use crate::api::cursor;
use crate::api::error::{Refusal, Result};
use crate::api::option_rows::{MINUTE, MinuteRow};
use crate::api::params::{Params, part};
use crate::api::read_service::{ReadContext, ReadService};
use crate::api::rows::PairRow;
use crate::api::segments::WindowRange;

/// Minutes per answer without `limit`.
const DEFAULT_LIMIT: usize = 500;
/// The maximum of minutes per answer: a week, a few megabytes of JSON.
const MAX_LIMIT: usize = 10_000;
const NAMES: [&str; 6] = ["quote", "exchange", "from", "to", "limit", "cursor"];

/// The parameters of a request.
struct HistoryRequest {
    instrument: String,
    quote: Option<String>,
    exchange: Option<String>,
    from: Timestamp,
    to: Timestamp,
    limit: usize,
}

impl HistoryRequest {
    fn new(instrument: String, params: &Params) -> Result<Self> {
        params.only(&NAMES)?;
        let read = |name: &str| params.get(name).map(|value| part(name, value)).transpose();
        let (quote, exchange) = (read("quote")?, read("exchange")?);
        if quote.is_some() && exchange.is_none() {
            return Err(Refusal::bad("exchange: is missing: quote and exchange name one option"));
        }
        let (from, to) = (params.time("from")?, params.time("to")?);
        let (from, to) = (from.unwrap_or(Timestamp(0)), to.unwrap_or(Timestamp(i64::MAX)));
        if from > to {
            return Err(Refusal::bad("from: is after to"));
        }
        let from = cursor::read(params)?.map_or(from, Timestamp);
        let limit = params.limit(DEFAULT_LIMIT, MAX_LIMIT)?;
        Ok(Self { instrument, quote, exchange, from, to, limit })
    }

    /// The option. With quote and exchange it need not be in `options` any more.
    fn pair(&self, reading: &mut ReadContext<'_>) -> Result<PairKey> {
        match (&self.quote, &self.exchange) {
            (Some(quote), Some(exchange)) => Ok(PairKey::new(&self.instrument, quote, exchange)),
            (_, exchange) => Ok(reading.only_option(&self.instrument, exchange.as_deref())?.0),
        }
    }
}

/// The minutes of an answer.
#[derive(Serialize)]
struct MinutesPage<'a> {
    #[serde(flatten)]
    pair: PairRow<'a>,
    minutes: Vec<Row<'a, MinuteRow>>,
    next_cursor: Option<String>,
}

/// A page of minutes; 404 when the option is not here.
pub(crate) async fn history(
    State(service): State<ReadService>,
    instrument: Result<Path<String>, PathRejection>,
    ask: ReadRequest,
) -> Result<Response> {
    let request = HistoryRequest::new(part("instrument", &instrument?.0)?, &ask.params)?;
    let format = ask.format(&FORMATS)?;
    service.read(ask, move |reading| answer(reading, &request, format)).await
}

fn answer(
    reading: &mut ReadContext<'_>,
    request: &HistoryRequest,
    format: MediaType,
) -> Result<Representation> {
    let pair = request.pair(reading)?;
    let range = WindowRange {
        from: request.from,
        to: request.to,
        // One more shows that there is a next page.
        limit: request.limit + 1,
    };
    let found = reading.option_minutes(&pair, range)?;
    if found.is_empty() && request.quote.is_some() {
        // Is the range empty, or is there no such option?
        reading.only_option(&request.instrument, request.exchange.as_deref())?;
    }
    let mut rows: Vec<MinuteRow> =
        found.into_iter().map(|(open_time, minute)| MinuteRow { open_time, minute }).collect();
    let next = rows.get(request.limit).map(|row| cursor::write(&row.open_time.0)).transpose()?;
    rows.truncate(request.limit);
    let found = if format == MediaType::Json {
        let row = |record| Row { pair: None, record, columns: MINUTE };
        Representation::json(&MinutesPage {
            pair: (&pair).into(),
            minutes: rows.iter().map(row).collect(),
            next_cursor: next.clone(),
        })?
    } else {
        let mut table = Table::default();
        table.add("", MINUTE, &rows.iter().map(Some).collect::<Vec<_>>());
        written(format, &table)?
    };
    Ok(found.with(NEXT_CURSOR, next))
}
