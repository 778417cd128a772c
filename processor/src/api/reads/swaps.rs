//! `/v1/swaps/{tx}`: every swap of a transaction with its status.

use axum::extract::rejection::PathRejection;
use axum::extract::{Path, State};
use axum::response::Response;
use serde::Serialize;

use super::options::FORMATS;
use super::written;
use crate::api::answer::{MediaType, ReadRequest, Representation};
use crate::api::columns::{Row, Table};
use crate::api::error::Result;
use crate::api::read_service::ReadService;
use crate::api::swap_params::{chain, tx_hash};
use crate::api::swap_rows::{SWAP, SwapRow};

/// The swaps of an answer.
#[derive(Serialize)]
struct SwapsPage<'a> {
    tx_hash: &'a str,
    swaps: Vec<Row<'a, SwapRow>>,
}

/// The swaps of a transaction by chain and log; 404 when none is here.
pub(crate) async fn swaps(
    State(service): State<ReadService>,
    tx: Result<Path<String>, PathRejection>,
    ask: ReadRequest,
) -> Result<Response> {
    ask.params.only(&["chain"])?;
    let (tx, chain) = (tx_hash(&tx?.0)?, chain(&ask.params)?);
    let format = ask.format(&FORMATS)?;
    service
        .read(ask, move |reading| {
            let found = reading.swaps_of(chain, &tx)?.into_iter();
            let rows: Vec<SwapRow> = found.map(|(key, state)| SwapRow { key, state }).collect();
            if format == MediaType::Json {
                let row = |record| Row { pair: None, record, columns: SWAP };
                let swaps = rows.iter().map(row).collect();
                return Representation::json(&SwapsPage { tx_hash: &tx, swaps });
            }
            let mut table = Table::default();
            table.add("", SWAP, &rows.iter().map(Some).collect::<Vec<_>>());
            written(format, &table)
        })
        .await
}
