//! `/v1/quotes`: the top of the book of one pair, or of many.

use axum::Json;
use axum::extract::State;
use axum::extract::rejection::JsonRejection;
use axum::response::Response;
use serde::Serialize;

use super::latest::{PairName, checked_pairs};
use crate::api::answer::{MediaType, ReadRequest, Representation};
use crate::api::book_rows::QuoteRow;
use crate::api::error::Result;
use crate::api::read_service::{ReadContext, ReadService};
use crate::api::rows::PairRow;

const FORMATS: [MediaType; 2] = [MediaType::Json, MediaType::Csv];

/// The top of a pair's book; 404 when it is not here.
pub(crate) async fn one(State(service): State<ReadService>, ask: ReadRequest) -> Result<Response> {
    ask.params.only(&["base", "quote", "exchange"])?;
    let (pair, format) = (ask.params.pair()?, ask.format(&FORMATS)?);
    let route = move |reading: &mut ReadContext<'_>| {
        let Some((_, top)) = reading.find_top(&pair)? else {
            return Err(reading.no_quotes_here(&pair));
        };
        let row = QuoteRow::new(&pair, &top);
        if format == MediaType::Csv {
            Representation::csv(std::iter::once(row))
        } else {
            Representation::json(&row)
        }
    };
    service.read(ask, route).await
}

#[derive(Serialize)]
struct Many<'a> {
    found: Vec<QuoteRow<'a>>,
    missing: Vec<PairRow<'a>>,
}

/// The top of the book of each pair of an array, in its order; the answer lists those that are
/// missing.
pub(crate) async fn many(
    State(service): State<ReadService>,
    ask: ReadRequest,
    body: Result<Json<Vec<PairName>>, JsonRejection>,
) -> Result<Response> {
    ask.params.only(&[])?;
    let format = ask.format(&FORMATS)?;
    let pairs = checked_pairs(body)?;
    let route = move |reading: &mut ReadContext<'_>| {
        let mut many = Many { found: Vec::new(), missing: Vec::new() };
        for pair in &pairs {
            match reading.find_top(pair)? {
                Some((_, top)) => many.found.push(QuoteRow::new(pair, &top)),
                None if !reading.is_ready() => return Err(reading.no_quotes_here(pair)),
                None => many.missing.push(pair.into()),
            }
        }
        match format {
            MediaType::Csv => Representation::csv(many.found.into_iter()),
            _ => Representation::json(&many),
        }
    };
    service.read(ask, route).await
}
