//! `/v1/latest`: the newest price of one pair, or of many.

use axum::Json;
use axum::extract::State;
use axum::extract::rejection::JsonRejection;
use axum::response::Response;
use schemas::PairKey;
use serde::{Deserialize, Serialize};

use crate::api::answer::{MediaType, ReadRequest, Representation};
use crate::api::error::{Refusal, Result};
use crate::api::params::part;
use crate::api::read_service::{ReadContext, ReadService};
use crate::api::rows::{LatestRow, PairRow};

/// Pairs per request: many screens of pairs, and well under a millisecond for each store.
const MAX_PAIRS: usize = 1_000;
const FORMATS: [MediaType; 2] = [MediaType::Json, MediaType::Csv];

/// The newest price of one pair; 404 when it is not here.
pub(crate) async fn one(State(service): State<ReadService>, ask: ReadRequest) -> Result<Response> {
    ask.params.only(&["base", "quote", "exchange"])?;
    let (pair, format) = (ask.params.pair()?, ask.format(&FORMATS)?);
    let route = move |reading: &mut ReadContext<'_>| {
        let Some((_, latest)) = reading.find(&pair)? else {
            return Err(reading.not_here(&pair.to_string()));
        };
        let row = LatestRow::new(&pair, &latest);
        if format == MediaType::Csv {
            Representation::csv(std::iter::once(row))
        } else {
            Representation::json(&row)
        }
    };
    service.read(ask, route).await
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct PairName {
    base: String,
    quote: String,
    exchange: String,
}

impl PairName {
    fn pair(self) -> Result<PairKey> {
        let (base, quote) = (part("base", &self.base)?, part("quote", &self.quote)?);
        Ok(PairKey::new(base, quote, part("exchange", &self.exchange)?))
    }
}

/// The pairs of a body, at most [`MAX_PAIRS`], each with valid names.
pub(super) fn checked_pairs(
    body: Result<Json<Vec<PairName>>, JsonRejection>,
) -> Result<Vec<PairKey>> {
    let Json(asked) = body?;
    if asked.len() > MAX_PAIRS {
        let reason = format!("body: {} pairs, of at most {MAX_PAIRS}", asked.len());
        return Err(Refusal::bad(reason));
    }
    asked.into_iter().map(PairName::pair).collect()
}

#[derive(Serialize)]
struct Many<'a> {
    found: Vec<LatestRow<'a>>,
    missing: Vec<PairRow<'a>>,
}

/// The newest price of each pair of an array, in its order; the answer lists those that are
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
            match reading.find(pair)? {
                Some((_, latest)) => many.found.push(LatestRow::new(pair, &latest)),
                None if !reading.is_ready() => return Err(reading.not_here(&pair.to_string())),
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
