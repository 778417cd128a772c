//! `/v1/tokens`: tokens by volume in a window, and the buckets of one token.
//!
//! `5m` and `1h` are the newest bucket of `token_5m` and `token_1h`. `24h` is the sum of the last 288
//! buckets of `token_5m`. All of them end with the newest bucket in the stores.

use std::cmp::Reverse;
use std::collections::{BTreeMap, BTreeSet, HashMap};

use axum::extract::rejection::PathRejection;
use axum::extract::{Path, State};
use axum::response::Response;
use schemas::topic::Topic;
use schemas::{Decimal, Integer, Timestamp, TokenBucket, TokenKey};
use serde::{Deserialize, Serialize};

use super::options::FORMATS;
use super::written;
use crate::api::answer::{MediaType, NEXT_CURSOR, ReadRequest, Representation};
use crate::api::columns::{Row, Table};
use crate::api::cursor;
use crate::api::error::{Refusal, Result};
use crate::api::params::Params;
use crate::api::read_service::{ReadContext, ReadService};
use crate::api::rows::{AsText, Time};
use crate::api::segments::WindowRange;
use crate::api::swap_params::{DAY_BUCKETS, FIVE_MINUTES_MS, TokenWindow, address, chain};
use crate::api::swap_reads::{Span, add, none};
use crate::api::swap_rows::{BUCKET, BucketRow, TOKEN, TokenRow};

/// Tokens per answer without `limit`.
const DEFAULT_LIMIT: usize = 100;
/// The maximum of tokens per answer, a few megabytes of JSON with their last day.
const MAX_LIMIT: usize = 1_000;
/// Buckets per answer without `limit`.
const DEFAULT_BUCKETS: usize = 500;
/// The maximum of buckets per answer: a month of five minutes, a few megabytes of JSON.
const MAX_BUCKETS: usize = 10_000;
/// Why an answer about 24 hours has no number of pools, if it has none.
const NO_POOLS: &str = "this member does not have the store that tells the pools of 24 hours apart";

/// The place of a token in the order of answers: largest volume in USD, then most swaps.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
struct Place {
    /// In units of the decimal. A token without a value in USD is after all others.
    volume_usd: Reverse<Option<i128>>,
    swaps: Reverse<i64>,
    chain: i64,
    token: String,
}

impl Place {
    fn new(key: &TokenKey, bucket: &TokenBucket) -> Self {
        Self {
            volume_usd: Reverse(bucket.volume_usd.map(Decimal::units)),
            swaps: Reverse(bucket.swaps),
            chain: key.chain,
            token: key.token.clone(),
        }
    }
}

/// The parameters of a list of tokens.
struct TokensRequest {
    chain: Option<i64>,
    window: TokenWindow,
    limit: usize,
    /// Five-minute volumes of each row.
    volumes: i64,
    cursor: Option<Place>,
}

impl TokensRequest {
    fn new(params: &Params) -> Result<Self> {
        params.only(&["chain", "window", "limit", "volumes", "cursor"])?;
        let order = [TokenWindow::Day, TokenWindow::Hour, TokenWindow::FiveMinutes];
        let volumes = params.number("volumes", 0..=DAY_BUCKETS.unsigned_abs())?.unwrap_or(0);
        Ok(Self {
            chain: chain(params)?,
            window: TokenWindow::read(params, order)?,
            limit: params.limit(DEFAULT_LIMIT, MAX_LIMIT)?,
            volumes: i64::try_from(volumes).unwrap_or(0),
            cursor: cursor::read(params)?,
        })
    }
}

/// A token of an answer.
#[derive(Serialize)]
struct TokenItem<'a> {
    #[serde(flatten)]
    row: Row<'a, TokenRow>,
    /// The volumes of the last five-minute windows, oldest first; zero without a swap.
    #[serde(skip_serializing_if = "Option::is_none")]
    volumes: Option<Vec<Option<AsText<Integer>>>>,
}

/// The tokens of an answer.
#[derive(Serialize)]
struct TokensPage<'a> {
    window: &'static str,
    from: Option<Time>,
    until: Option<Time>,
    pools_omitted: Option<&'static str>,
    tokens: Vec<TokenItem<'a>>,
    next_cursor: Option<String>,
}

/// Tokens by volume; 404 when the chain is not here.
pub(crate) async fn tokens(
    State(service): State<ReadService>,
    ask: ReadRequest,
) -> Result<Response> {
    let request = TokensRequest::new(&ask.params)?;
    let format = ask.format(&FORMATS)?;
    service.read(ask, move |reading| list(reading, &request, format)).await
}

/// The sums of a window by token.
type Sums = BTreeMap<TokenKey, TokenBucket>;

fn sums(
    reading: &mut ReadContext<'_>,
    chain: Option<i64>,
    window: TokenWindow,
) -> Result<(Sums, Option<Span>)> {
    let stores = reading.swap_stores(window.topic(), "tokens")?;
    let (mut sums, mut seen) = (Sums::new(), BTreeSet::new());
    let span = reading.span(&stores, window)?;
    if let Some(span) = span {
        reading.each_bucket(&stores, window.topic(), span, |key, _, bucket| {
            seen.insert(key.chain);
            if chain.is_none_or(|chain| chain == key.chain) {
                add(sums.entry(key).or_insert_with(none), bucket);
            }
        })?;
    }
    reading.check_token_chain(chain, &seen)?;
    Ok((sums, span))
}

fn list(
    reading: &mut ReadContext<'_>,
    request: &TokensRequest,
    format: MediaType,
) -> Result<Representation> {
    let (sums, span) = sums(reading, request.chain, request.window)?;
    let placed = sums.into_iter().map(|(key, bucket)| (Place::new(&key, &bucket), (key, bucket)));
    let mut placed: Vec<_> = placed.collect();
    placed.sort_unstable_by(|(one, _), (other, _)| one.cmp(other));
    if let Some(first) = &request.cursor {
        placed.retain(|(place, _)| place >= first);
    }
    let next = placed.get(request.limit).map(|(place, _)| cursor::write(place)).transpose()?;
    placed.truncate(request.limit);
    let keys = placed.iter().map(|(_, (key, _))| key).collect();
    let counted = day_pools(reading, request.window, span, &keys)?;
    let omitted = omitted(request.window, span, counted.as_ref());
    let row = |(_, (key, bucket)): (Place, (TokenKey, TokenBucket))| {
        let pools = pools_of(request.window, &key, &bucket, counted.as_ref());
        TokenRow { key, bucket, pools }
    };
    let rows: Vec<TokenRow> = placed.into_iter().map(row).collect();
    let found = if format == MediaType::Json {
        let mut volumes = last_volumes(reading, request, &rows)?;
        let mut tokens = Vec::new();
        for record in &rows {
            tokens.push(TokenItem {
                row: Row { pair: None, record, columns: TOKEN },
                volumes: (request.volumes > 0).then(|| volumes.remove(&record.key)).flatten(),
            });
        }
        Representation::json(&TokensPage {
            window: request.window.as_str(),
            from: span.map(|span| AsText(span.from)),
            until: span.map(|span| AsText(span.until)),
            pools_omitted: omitted,
            tokens,
            next_cursor: next.clone(),
        })?
    } else {
        let mut table = Table::default();
        table.add("", TOKEN, &rows.iter().map(Some).collect::<Vec<_>>());
        written(format, &table)?
    };
    Ok(found.with(NEXT_CURSOR, next))
}

/// The distinct pools of each token, of the window that has none in its buckets.
type Counted = BTreeMap<TokenKey, i64>;

fn day_pools(
    reading: &mut ReadContext<'_>,
    window: TokenWindow,
    span: Option<Span>,
    keys: &BTreeSet<&TokenKey>,
) -> Result<Option<Counted>> {
    match span.filter(|_| window == TokenWindow::Day) {
        Some(span) => reading.distinct_pools(span, keys),
        None => Ok(None),
    }
}

/// Why there is no number of pools.
fn omitted(
    window: TokenWindow,
    span: Option<Span>,
    counted: Option<&Counted>,
) -> Option<&'static str> {
    let is_omitted = window == TokenWindow::Day && span.is_some() && counted.is_none();
    is_omitted.then_some(NO_POOLS)
}

/// A stored bucket has the number of distinct pools; the sum of several is counted.
fn pools_of(
    window: TokenWindow,
    key: &TokenKey,
    bucket: &TokenBucket,
    counted: Option<&Counted>,
) -> Option<i64> {
    if window == TokenWindow::Day {
        return counted.and_then(|counted| counted.get(key)).copied();
    }
    Some(bucket.pools)
}

/// The volumes of the last five-minute windows, by token.
type Volumes = HashMap<TokenKey, Vec<Option<AsText<Integer>>>>;

fn last_volumes(
    reading: &mut ReadContext<'_>,
    request: &TokensRequest,
    rows: &[TokenRow],
) -> Result<Volumes> {
    let count = usize::try_from(request.volumes).unwrap_or(0);
    let zeros = || vec![Some(AsText(Integer::ZERO)); count];
    let mut volumes: Volumes = rows.iter().map(|row| (row.key.clone(), zeros())).collect();
    if count == 0 || rows.is_empty() {
        return Ok(volumes);
    }
    let stores = reading.swap_stores(Topic::Token5m, "tokens")?;
    let Some(newest) = reading.span(&stores, TokenWindow::FiveMinutes)? else {
        return Ok(volumes);
    };
    let from = newest.until.0.saturating_sub(request.volumes * FIVE_MINUTES_MS);
    let span = Span { from: Timestamp(from), until: newest.until };
    reading.each_bucket(&stores, Topic::Token5m, span, |key, open_time, bucket| {
        let at = usize::try_from((open_time.0 - from) / FIVE_MINUTES_MS).ok();
        let slot = volumes.get_mut(&key).zip(at).and_then(|(volumes, at)| volumes.get_mut(at));
        if let Some(slot) = slot {
            *slot = bucket.volume.map(AsText);
        }
    })?;
    Ok(volumes)
}

/// The parameters of one token.
struct TokenRequest {
    token: String,
    chain: Option<i64>,
    window: TokenWindow,
    from: Timestamp,
    to: Timestamp,
    limit: usize,
}

impl TokenRequest {
    fn new(token: &str, params: &Params) -> Result<Self> {
        params.only(&["chain", "window", "from", "to", "limit", "cursor"])?;
        let order = [TokenWindow::FiveMinutes, TokenWindow::Hour, TokenWindow::Day];
        let window = TokenWindow::read(params, order)?;
        let ranged =
            ["from", "to", "limit", "cursor"].into_iter().find(|name| params.get(name).is_some());
        if let (TokenWindow::Day, Some(name)) = (window, ranged) {
            let reason = format!(
                "{name}: the window 24h is one row that ends with the newest bucket: leave it out, or take 5m or 1h"
            );
            return Err(Refusal::bad(reason));
        }
        let (from, to) = (params.time("from")?, params.time("to")?);
        let (from, to) = (from.unwrap_or(Timestamp(0)), to.unwrap_or(Timestamp(i64::MAX)));
        if from > to {
            return Err(Refusal::bad("from: is after to"));
        }
        Ok(Self {
            token: address("token", token)?,
            chain: chain(params)?,
            window,
            from: cursor::read(params)?.map_or(from, Timestamp),
            to,
            limit: params.limit(DEFAULT_BUCKETS, MAX_BUCKETS)?,
        })
    }
}

/// The buckets of a token.
#[derive(Serialize)]
struct BucketsPage<'a> {
    chain: i64,
    token: &'a str,
    symbol: Option<&'a str>,
    decimals: Option<i64>,
    window: &'static str,
    pools_omitted: Option<&'static str>,
    buckets: Vec<Row<'a, BucketRow>>,
    next_cursor: Option<String>,
}

/// A page of buckets of a token, or its last 24 hours; 404 when the token is not here.
pub(crate) async fn one(
    State(service): State<ReadService>,
    token: Result<Path<String>, PathRejection>,
    ask: ReadRequest,
) -> Result<Response> {
    let request = TokenRequest::new(&token?.0, &ask.params)?;
    let format = ask.format(&FORMATS)?;
    service.read(ask, move |reading| buckets(reading, &request, format)).await
}

fn buckets(
    reading: &mut ReadContext<'_>,
    request: &TokenRequest,
    format: MediaType,
) -> Result<Representation> {
    let key = reading.only_token(request.chain, &request.token)?;
    let mut omitted = None;
    let mut rows: Vec<BucketRow> = match request.window {
        TokenWindow::Day => {
            let found = day(reading, &key)?;
            omitted = found.as_ref().filter(|row| row.pools.is_none()).map(|_| NO_POOLS);
            found.into_iter().collect()
        }
        window => {
            // One more shows that there is a next page.
            let range =
                WindowRange { from: request.from, to: request.to, limit: request.limit + 1 };
            let found = reading.token_buckets(&key, window.topic(), range)?;
            let row = |(open_time, bucket): (Timestamp, TokenBucket)| {
                let pools = Some(bucket.pools);
                BucketRow { open_time, bucket, pools }
            };
            found.into_iter().map(row).collect()
        }
    };
    let next = rows.get(request.limit).map(|row| cursor::write(&row.open_time.0)).transpose()?;
    rows.truncate(request.limit);
    let found = if format == MediaType::Json {
        let newest = rows.last().map(|row| &row.bucket);
        Representation::json(&BucketsPage {
            chain: key.chain,
            token: &key.token,
            symbol: newest.and_then(|bucket| bucket.symbol.as_deref()),
            decimals: newest.and_then(|bucket| bucket.decimals),
            window: request.window.as_str(),
            pools_omitted: omitted,
            buckets: rows
                .iter()
                .map(|record| Row { pair: None, record, columns: BUCKET })
                .collect(),
            next_cursor: next.clone(),
        })?
    } else {
        let mut table = Table::default();
        table.add("", BUCKET, &rows.iter().map(Some).collect::<Vec<_>>());
        written(format, &table)?
    };
    Ok(found.with(NEXT_CURSOR, next))
}

/// The last 24 hours of a token, if it has a swap in them.
fn day(reading: &mut ReadContext<'_>, key: &TokenKey) -> Result<Option<BucketRow>> {
    let window = TokenWindow::Day;
    let stores = reading.swap_stores(window.topic(), "tokens")?;
    let Some(span) = reading.span(&stores, window)? else { return Ok(None) };
    let range = WindowRange { from: span.from, to: span.until, limit: MAX_BUCKETS };
    let found = reading.token_buckets(key, window.topic(), range)?;
    if found.is_empty() {
        return Ok(None);
    }
    let mut sum = none();
    for (_, bucket) in found {
        add(&mut sum, bucket);
    }
    let counted = day_pools(reading, window, Some(span), &BTreeSet::from([key]))?;
    let pools = pools_of(window, key, &sum, counted.as_ref());
    Ok(Some(BucketRow { open_time: span.from, bucket: sum, pools }))
}
