//! `/v1/pools`: facts of pools with their newest minute, and the candles of one pool.

use std::collections::BTreeMap;

use axum::extract::rejection::PathRejection;
use axum::extract::{Path, State};
use axum::response::Response;
use schemas::topic::Topic;
use schemas::{Pool, PoolKey, Timestamp};
use serde::{Deserialize, Serialize};

use super::options::FORMATS;
use super::written;
use crate::api::answer::{MediaType, NEXT_CURSOR, ReadRequest, Representation};
use crate::api::columns::{Row, Table};
use crate::api::cursor;
use crate::api::error::{Refusal, Result};
use crate::api::params::Params;
use crate::api::read_service::{ReadContext, ReadService};
use crate::api::segments::WindowRange;
use crate::api::swap_params::{address, chain};
use crate::api::swap_rows::{POOL, POOL_MINUTE, PoolMinuteRow, PoolRow};
use crate::operators::Interval;

/// Pools per answer without `limit`. Each costs a search of its newest minute.
const DEFAULT_LIMIT: usize = 100;
/// The maximum of pools per answer: some tens of milliseconds when all are quiet.
const MAX_LIMIT: usize = 1_000;
/// Minutes per answer without `limit`.
const DEFAULT_MINUTES: usize = 500;
/// The maximum of minutes per answer: a week, about 7 MB of JSON.
const MAX_MINUTES: usize = 10_000;

/// The parameters of a list of pools.
struct PoolsRequest {
    chain: Option<i64>,
    token: Option<String>,
    limit: usize,
    cursor: Option<Place>,
}

/// The first pool of a page.
#[derive(Serialize, Deserialize)]
struct Place {
    chain: i64,
    pool: String,
}

impl PoolsRequest {
    fn new(params: &Params) -> Result<Self> {
        params.only(&["chain", "token", "limit", "cursor"])?;
        Ok(Self {
            chain: chain(params)?,
            token: params.get("token").map(|text| address("token", text)).transpose()?,
            limit: params.limit(DEFAULT_LIMIT, MAX_LIMIT)?,
            cursor: cursor::read(params)?,
        })
    }

    fn has(&self, key: &PoolKey, pool: &Pool) -> bool {
        let has_token = |token: &String| *token == pool.token0 || *token == pool.token1;
        self.chain.is_none_or(|chain| chain == key.chain)
            && self.token.as_ref().is_none_or(has_token)
            && self.cursor.as_ref().is_none_or(|first| {
                (first.chain, first.pool.as_str()) <= (key.chain, key.pool.as_str())
            })
    }
}

/// A pool of an answer.
#[derive(Serialize)]
struct PoolItem<'a> {
    #[serde(flatten)]
    row: Row<'a, PoolRow>,
    minute: Option<Row<'a, PoolMinuteRow>>,
}

/// The pools of an answer.
#[derive(Serialize)]
struct PoolsPage<'a> {
    pools: Vec<PoolItem<'a>>,
    next_cursor: Option<String>,
}

/// Pools by chain and address; 404 when the chain is not here, or no pool has the token.
pub(crate) async fn pools(
    State(service): State<ReadService>,
    ask: ReadRequest,
) -> Result<Response> {
    let request = PoolsRequest::new(&ask.params)?;
    let format = ask.format(&FORMATS)?;
    service.read(ask, move |reading| list(reading, &request, format)).await
}

fn list(
    reading: &mut ReadContext<'_>,
    request: &PoolsRequest,
    format: MediaType,
) -> Result<Representation> {
    let stores = reading.swap_stores(Topic::Pools, "pools")?;
    reading.check_pool_chain(request.chain, &stores)?;
    let mut found = BTreeMap::new();
    reading.each_pool(&stores, |key, pool| {
        if request.has(&key, &pool) {
            found.insert(key, pool);
            // One more shows that there is a next page.
            if found.len() > request.limit + 1 {
                found.pop_last();
            }
        }
        true
    })?;
    if let (true, Some(token), None) = (found.is_empty(), &request.token, &request.cursor) {
        let reason = "no pool here has this token: GET /v1/pools lists them, or ask a view";
        return Err(Refusal::not_found(format!("token: {token}: {reason}")));
    }
    let next = (found.len() > request.limit).then(|| found.pop_last()).flatten();
    let next = next.map(|(PoolKey { chain, pool }, _)| cursor::write(&Place { chain, pool }));
    let next = next.transpose()?;
    let pools: Vec<(PoolKey, Pool)> = found.into_iter().collect();
    let minutes = reading.newest_minutes(&pools)?;
    let row = |((key, pool), minute): ((PoolKey, Pool), Option<_>)| {
        let minute = minute.map(|(open_time, minute)| PoolMinuteRow { open_time, minute });
        PoolRow { key, pool, minute }
    };
    let rows: Vec<PoolRow> = pools.into_iter().zip(minutes).map(row).collect();
    let found = if format == MediaType::Json {
        Representation::json(&PoolsPage {
            pools: rows.iter().map(item).collect(),
            next_cursor: next.clone(),
        })?
    } else {
        let mut table = Table::default();
        table.add("", POOL, &rows.iter().map(Some).collect::<Vec<_>>());
        let minutes: Vec<_> = rows.iter().map(|row| row.minute.as_ref()).collect();
        table.add("minute_", POOL_MINUTE, &minutes);
        written(format, &table)?
    };
    Ok(found.with(NEXT_CURSOR, next))
}

fn item(record: &PoolRow) -> PoolItem<'_> {
    let minute = record.minute.as_ref();
    PoolItem {
        row: Row { pair: None, record, columns: POOL },
        minute: minute.map(|record| Row { pair: None, record, columns: POOL_MINUTE }),
    }
}

/// The parameters of the candles of a pool.
struct CandlesRequest {
    pool: String,
    chain: Option<i64>,
    from: Timestamp,
    to: Timestamp,
    limit: usize,
}

impl CandlesRequest {
    fn new(pool: &str, params: &Params) -> Result<Self> {
        params.only(&["chain", "interval", "from", "to", "limit", "cursor"])?;
        params.word("interval", &[(Interval::Minute.as_str(), ())])?;
        let (from, to) = (params.time("from")?, params.time("to")?);
        let (from, to) = (from.unwrap_or(Timestamp(0)), to.unwrap_or(Timestamp(i64::MAX)));
        if from > to {
            return Err(Refusal::bad("from: is after to"));
        }
        Ok(Self {
            pool: address("pool", pool)?,
            chain: chain(params)?,
            from: cursor::read(params)?.map_or(from, Timestamp),
            to,
            limit: params.limit(DEFAULT_MINUTES, MAX_MINUTES)?,
        })
    }
}

/// The candles of an answer.
#[derive(Serialize)]
struct CandlesPage<'a> {
    chain: i64,
    pool: &'a str,
    interval: &'static str,
    candles: Vec<Row<'a, PoolMinuteRow>>,
    next_cursor: Option<String>,
}

/// A page of a pool's minutes; 404 when the pool is not here.
pub(crate) async fn candles(
    State(service): State<ReadService>,
    pool: Result<Path<String>, PathRejection>,
    ask: ReadRequest,
) -> Result<Response> {
    let request = CandlesRequest::new(&pool?.0, &ask.params)?;
    let format = ask.format(&FORMATS)?;
    service.read(ask, move |reading| minutes(reading, &request, format)).await
}

fn minutes(
    reading: &mut ReadContext<'_>,
    request: &CandlesRequest,
    format: MediaType,
) -> Result<Representation> {
    let key = reading.only_pool(request.chain, &request.pool)?;
    // One more shows that there is a next page.
    let range = WindowRange { from: request.from, to: request.to, limit: request.limit + 1 };
    let found = reading.pool_minutes(&key, range)?.into_iter();
    let mut rows: Vec<PoolMinuteRow> =
        found.map(|(open_time, minute)| PoolMinuteRow { open_time, minute }).collect();
    let next = rows.get(request.limit).map(|row| cursor::write(&row.open_time.0)).transpose()?;
    rows.truncate(request.limit);
    let found = if format == MediaType::Json {
        let row = |record| Row { pair: None, record, columns: POOL_MINUTE };
        Representation::json(&CandlesPage {
            chain: key.chain,
            pool: &key.pool,
            interval: Interval::Minute.as_str(),
            candles: rows.iter().map(row).collect(),
            next_cursor: next.clone(),
        })?
    } else {
        let mut table = Table::default();
        table.add("", POOL_MINUTE, &rows.iter().map(Some).collect::<Vec<_>>());
        written(format, &table)?
    };
    Ok(found.with(NEXT_CURSOR, next))
}
