//! `/v1/derivatives`: the newest tickers of futures and perpetuals, with their facts.

use std::collections::BTreeMap;

use axum::extract::State;
use axum::response::Response;
use schemas::{Derivative, PairKey};
use serde::Serialize;

use super::options::FORMATS;
use super::written;
use crate::api::answer::{MediaType, NEXT_CURSOR, ReadRequest, Representation};
use crate::api::columns::{PAIR, Row, Table};
use crate::api::cursor;
use crate::api::error::Result;
use crate::api::option_filter::{Currencies, MarketFilter, StateFilter};
use crate::api::option_rows::DERIVATIVE;
use crate::api::params::Params;
use crate::api::read_service::{ReadContext, ReadService};

/// Rows per answer without `limit`: every future and perpetual of a venue.
const DEFAULT_LIMIT: usize = 2_000;
/// The maximum of rows per answer: about 10 MB of JSON.
const MAX_LIMIT: usize = 10_000;
const NAMES: [&str; 3] = ["state", "limit", "cursor"];

/// The place of a row in the order of answers: currency, base, quote, exchange.
type Place = (String, String, String, String);

fn place(pair: &PairKey, currency: &str) -> Place {
    (currency.to_owned(), pair.base.clone(), pair.quote.clone(), pair.exchange.clone())
}

/// The parameters of a request.
struct DerivativesRequest {
    market: MarketFilter,
    state: StateFilter,
    limit: usize,
    cursor: Option<Place>,
}

impl DerivativesRequest {
    fn new(params: &Params) -> Result<Self> {
        params.only(&[&MarketFilter::NAMES[..], &NAMES].concat())?;
        Ok(Self {
            market: MarketFilter::new(params)?,
            state: StateFilter::read(params)?,
            limit: params.limit(DEFAULT_LIMIT, MAX_LIMIT)?,
            cursor: cursor::read(params)?,
        })
    }
}

/// The futures and perpetuals of an answer.
#[derive(Serialize)]
struct DerivativesPage<'a> {
    derivatives: Vec<Row<'a, Derivative>>,
    next_cursor: Option<String>,
}

/// Futures and perpetuals; 404 when the currency is not here.
pub(crate) async fn derivatives(
    State(service): State<ReadService>,
    ask: ReadRequest,
) -> Result<Response> {
    let request = DerivativesRequest::new(&ask.params)?;
    let format = ask.format(&FORMATS)?;
    service.read(ask, move |reading| answer(reading, &request, format)).await
}

fn answer(
    reading: &mut ReadContext<'_>,
    request: &DerivativesRequest,
    format: MediaType,
) -> Result<Representation> {
    let (mut seen, mut rows) = (Currencies::default(), BTreeMap::new());
    let partitions = reading.each_derivative(|pair, derivative| {
        let is_here = seen.add(&request.market, &pair, &derivative.currency);
        if !is_here || !request.state.has(&derivative.state) {
            return;
        }
        let place = place(&pair, &derivative.currency);
        if request.cursor.as_ref().is_none_or(|first| *first <= place) {
            rows.insert(place, (pair, derivative));
            // One more shows that there is a next page.
            if rows.len() > request.limit + 1 {
                rows.pop_last();
            }
        }
    })?;
    if partitions.is_empty() {
        return Err(reading.no_options_here());
    }
    if let Some(refusal) = seen.missing(&request.market, "future or perpetual") {
        return Err(reading.not_among(refusal, partitions));
    }
    let next = (rows.len() > request.limit).then(|| rows.pop_last()).flatten();
    let next = next.map(|(place, _)| cursor::write(&place)).transpose()?;
    let found = if format == MediaType::Json {
        let derivatives = rows.values().map(|(pair, record)| Row {
            pair: Some(pair),
            record,
            columns: DERIVATIVE,
        });
        let derivatives = derivatives.collect();
        Representation::json(&DerivativesPage { derivatives, next_cursor: next.clone() })?
    } else {
        let (pairs, records): (Vec<_>, Vec<_>) =
            rows.values().map(|(pair, record)| (Some(pair), Some(record))).unzip();
        let mut table = Table::default();
        table.add("", PAIR, &pairs);
        table.add("", DERIVATIVE, &records);
        written(format, &table)?
    };
    Ok(found.with(NEXT_CURSOR, next))
}
