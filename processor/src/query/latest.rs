//! `/v1/latest`: the newest price of one pair, or of many.

use axum::Json;
use axum::extract::State;
use axum::extract::rejection::JsonRejection;
use axum::response::Response;
use schemas::PairKey;
use serde::{Deserialize, Serialize};

use super::answer::{Ask, Format, Found};
use super::error::Refusal;
use super::params::part;
use super::rows::{LatestRow, PairRow};
use super::served::{Reading, Served};

/// Pairs of one question: a page of a person's screen many times over, and well under a
/// millisecond for each store.
const MAX_PAIRS: usize = 1_000;
const FORMATS: [Format; 2] = [Format::Json, Format::Csv];

/// Of one pair; 404 when it is not here.
pub(super) async fn one(State(served): State<Served>, ask: Ask) -> Result<Response, Refusal> {
    ask.params.only(&["base", "quote", "exchange"])?;
    let (pair, format) = (ask.params.pair()?, ask.format(&FORMATS)?);
    let route = move |reading: &mut Reading<'_>| {
        let Some((_, latest)) = reading.find(&pair)? else {
            return Err(reading.not_here(&pair.to_string()));
        };
        let row = LatestRow::new(pair, &latest);
        if format == Format::Csv { Found::csv(std::iter::once(row)) } else { Found::json(&row) }
    };
    served.read(ask, route).await
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Asked {
    base: String,
    quote: String,
    exchange: String,
}

impl Asked {
    fn pair(self) -> Result<PairKey, Refusal> {
        let (base, quote) = (part("base", &self.base)?, part("quote", &self.quote)?);
        Ok(PairKey::new(base, quote, part("exchange", &self.exchange)?))
    }
}

#[derive(Serialize)]
struct Many {
    found: Vec<LatestRow>,
    missing: Vec<PairRow>,
}

/// Of each pair of an array, in its order; those that are not here are named.
pub(super) async fn many(
    State(served): State<Served>,
    ask: Ask,
    body: Result<Json<Vec<Asked>>, JsonRejection>,
) -> Result<Response, Refusal> {
    ask.params.only(&[])?;
    let format = ask.format(&FORMATS)?;
    let Json(asked) = body?;
    if asked.len() > MAX_PAIRS {
        let reason = format!("body: {} pairs, of at most {MAX_PAIRS}", asked.len());
        return Err(Refusal::bad(reason));
    }
    let pairs = asked.into_iter().map(Asked::pair).collect::<Result<Vec<_>, _>>()?;
    let route = move |reading: &mut Reading<'_>| {
        let mut many = Many { found: Vec::new(), missing: Vec::new() };
        for pair in pairs {
            match reading.find(&pair)? {
                Some((_, latest)) => many.found.push(LatestRow::new(pair, &latest)),
                None if !reading.is_ready() => return Err(reading.not_here(&pair.to_string())),
                None => many.missing.push(pair.into()),
            }
        }
        match format {
            Format::Csv => Found::csv(many.found.into_iter()),
            _ => Found::json(&many),
        }
    };
    served.read(ask, route).await
}
