//! `/v1/index`: one price of each pair over its exchanges, with its members.
//!
//! JSON has an object for each pair. CSV and Arrow have a line for each member.

use std::collections::BTreeMap;

use axum::extract::State;
use axum::response::Response;
use schemas::topic::Topic;
use schemas::{Index, IndexKey};
use serde::Serialize;

use super::options::FORMATS;
use super::written;
use crate::api::answer::{MediaType, NEXT_CURSOR, ReadRequest, Representation};
use crate::api::columns::Table;
use crate::api::cursor;
use crate::api::error::{Refusal, Result};
use crate::api::index_rows::{IndexRow, MEMBER, MemberLine};
use crate::api::params::{Params, part};
use crate::api::read_service::{ReadContext, ReadService};
use crate::store_keys;

/// Pairs per answer without `limit`.
const DEFAULT_LIMIT: usize = 100;
/// The maximum of pairs per answer: about 2 MB of JSON with ten exchanges each.
const MAX_LIMIT: usize = 1_000;

#[derive(Serialize)]
struct IndexPage<'a> {
    indexes: Vec<IndexRow<'a>>,
    next_cursor: Option<String>,
}

/// The parameters of a request.
struct IndexRequest {
    base: Option<String>,
    quote: Option<String>,
    limit: usize,
    cursor: Option<IndexKey>,
}

impl IndexRequest {
    fn new(params: &Params) -> Result<Self> {
        params.only(&["base", "quote", "limit", "cursor"])?;
        let named = |name| params.get(name).map(|value| part(name, value)).transpose();
        let place: Option<(String, String)> = cursor::read(params)?;
        Ok(Self {
            base: named("base")?,
            quote: named("quote")?,
            limit: params.limit(DEFAULT_LIMIT, MAX_LIMIT)?,
            cursor: place.map(|(base, quote)| IndexKey::new(base, quote)),
        })
    }

    fn has(&self, key: &IndexKey) -> bool {
        self.base.as_ref().is_none_or(|base| *base == key.base)
            && self.quote.as_ref().is_none_or(|quote| *quote == key.quote)
    }

    /// The pair as a message names it.
    fn named(&self) -> String {
        let or_any = |name: &Option<String>| name.clone().unwrap_or_else(|| "*".to_owned());
        format!("{}-{}", or_any(&self.base), or_any(&self.quote))
    }
}

/// Indexes by pair; 404 when no pair of that name is here.
pub(crate) async fn indexes(
    State(service): State<ReadService>,
    ask: ReadRequest,
) -> Result<Response> {
    let request = IndexRequest::new(&ask.params)?;
    let format = ask.format(&FORMATS)?;
    service.read(ask, move |reading| answer(reading, &request, format)).await
}

fn answer(
    reading: &mut ReadContext<'_>,
    request: &IndexRequest,
    format: MediaType,
) -> Result<Representation> {
    let mut rows = found(reading, request)?;
    let next = (rows.len() > request.limit).then(|| rows.pop_last()).flatten();
    let next = next.map(|(key, _)| cursor::write(&(key.base, key.quote))).transpose()?;
    let found = if format == MediaType::Json {
        let indexes =
            rows.iter().map(|(key, index)| IndexRow::new(&key.base, &key.quote, index)).collect();
        Representation::json(&IndexPage { indexes, next_cursor: next.clone() })?
    } else {
        let lines = rows.into_iter().flat_map(|(key, index)| MemberLine::of(key, index));
        let lines: Vec<MemberLine> = lines.collect();
        let mut table = Table::default();
        table.add("", MEMBER, &lines.iter().map(Some).collect::<Vec<_>>());
        written(format, &table)?
    };
    Ok(found.with(NEXT_CURSOR, next))
}

/// The rows of a page and one more, which shows that there is a next page.
fn found(
    reading: &mut ReadContext<'_>,
    request: &IndexRequest,
) -> Result<BTreeMap<IndexKey, Index>> {
    let stores = reading.swap_stores(Topic::Index, "index")?;
    let prefix = request.base.as_ref().map(|base| store_keys::pair_prefix(base, None));
    let to = prefix.as_ref().map_or_else(|| vec![0xff], |prefix| store_keys::after_prefix(prefix));
    let mut rows = BTreeMap::new();
    for (_, store) in &stores {
        for (key, value) in store.range(&prefix.clone().unwrap_or_default(), &to, usize::MAX)? {
            let key = store_keys::typed_index_key(&key);
            let key = key.ok_or_else(|| Refusal::broken(&"a key of an index"))?;
            if !request.has(&key) || request.cursor.as_ref().is_some_and(|first| key < *first) {
                continue;
            }
            let index = reading.service.codec.decode(&value);
            rows.insert(key, index.map_err(|error| Refusal::broken(&error))?);
            if rows.len() > request.limit + 1 {
                rows.pop_last();
            }
        }
    }
    if rows.is_empty() && request.cursor.is_none() {
        let reason = format!(
            "index {}: no pair of that name is in the partitions here: GET /v1/index lists those that are, \
             and a view has all",
            request.named()
        );
        return Err(reading.without("index", Refusal::not_found(reason), &stores));
    }
    Ok(rows)
}
