//! `/v1/exchanges`: the feed's health, the pairs of each exchange, and the books that are out of sync.
//!
//! The list of exchanges comes from every pair. It is gathered at most ten times a second; the
//! answer states its age.

use std::sync::Arc;

use axum::extract::rejection::PathRejection;
use axum::extract::{Path, State};
use axum::response::Response;
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use schemas::topic::Topic;
use schemas::{PairKey, Timestamp};
use serde::Serialize;

use crate::api::answer::{MediaType, NEXT_CURSOR, ReadRequest, Representation};
use crate::api::error::{Refusal, Result};
use crate::api::exchange_cache::{ByExchange, ExchangeState, Health};
use crate::api::extent::Extent;
use crate::api::params::{MAX_LAG, part};
use crate::api::read_service::{ReadContext, ReadService};
use crate::api::rows::{AsText, PairRow, SeenRow, Time};

/// Pairs of one answer: more than the largest venue lists.
const MAX_PAIRS: usize = 10_000;
const FORMATS: [MediaType; 2] = [MediaType::Json, MediaType::Csv];

#[derive(Debug, Serialize)]
struct ExchangeRow {
    exchange: String,
    pairs: usize,
    last_event_time: Option<Time>,
    state: Health,
    healthy_until: Option<Time>,
    marked_at: Option<Time>,
    gap_since: Option<Time>,
    last_gap_from: Option<Time>,
    last_gap_until: Option<Time>,
    last_gap_reason: Option<String>,
    /// Pairs whose books are followed, and those of them that are out of sync.
    books: usize,
    books_out_of_sync: usize,
}

/// A row as JSON, which also names pairs.
#[derive(Serialize)]
struct NamedRow<'a> {
    #[serde(flatten)]
    row: ExchangeRow,
    /// The first pairs whose books are out of sync.
    out_of_sync: Vec<PairRow<'a>>,
}

#[derive(Serialize)]
struct Exchanges<'a> {
    exchanges: Vec<NamedRow<'a>>,
}

impl ExchangeRow {
    fn new(exchange: String, known: &ExchangeState, now: Timestamp) -> Self {
        let state = known.health(now);
        let mark = known.mark.as_ref();
        let healthy_until = mark.map(|mark| mark.healthy_until);
        let gap = known.gap.as_ref();
        Self {
            exchange,
            pairs: known.pairs,
            last_event_time: known.last_event.map(AsText),
            state,
            healthy_until: healthy_until.map(AsText),
            marked_at: mark.map(|mark| AsText(mark.received_at)),
            gap_since: healthy_until.filter(|_| state == Health::Dead).map(AsText),
            last_gap_from: gap.map(|gap| AsText(gap.from)),
            last_gap_until: gap.map(|gap| AsText(gap.until)),
            last_gap_reason: gap.map(|gap| gap.reason.clone()),
            books: known.books.pairs,
            books_out_of_sync: known.books.out_of_sync,
        }
    }
}

/// Every exchange, by name.
pub(crate) async fn exchanges(
    State(service): State<ReadService>,
    ask: ReadRequest,
) -> Result<Response> {
    ask.params.only(&[])?;
    let format = ask.format(&FORMATS)?;
    let cache = Arc::clone(&service.exchange_cache);
    let may_be_kept = ask.params.get(MAX_LAG).is_none();
    let route = move |reading: &mut ReadContext<'_>| {
        let now = reading.now;
        let (known, extent) = cache.get(now, may_be_kept, || gather(reading))?;
        reading.extent.merge(extent);
        let rows = known.iter().map(|(name, known)| NamedRow {
            row: ExchangeRow::new(name.clone(), known, now),
            out_of_sync: known.books.named.iter().map(PairRow::from).collect(),
        });
        match format {
            MediaType::Csv => Representation::csv(rows.map(|named| named.row)),
            _ => Representation::json(&Exchanges { exchanges: rows.collect() }),
        }
    };
    service.read(ask, route).await
}

fn gather(reading: &mut ReadContext<'_>) -> Result<(ByExchange, Extent)> {
    let mut known = ByExchange::new();
    for (exchange, mark) in reading.feeds()? {
        known.entry(exchange).or_default().mark(mark);
    }
    for reader in reading.all(Topic::Latest)? {
        for (pair, latest) in reader.prices(&[])? {
            known.entry(pair.exchange).or_default().price(&latest);
        }
    }
    for (pair, top) in reading.tops()? {
        known.entry(pair.exchange.clone()).or_default().top(pair, &top);
    }
    Ok((known, reading.extent.clone()))
}

#[derive(Serialize)]
struct PairsPage<'a> {
    exchange: &'a str,
    pairs: Vec<SeenRow<'a>>,
    next_cursor: Option<String>,
}

/// The pairs of an exchange, by name; 404 when it has none here.
pub(crate) async fn pairs(
    State(service): State<ReadService>,
    exchange: Result<Path<String>, PathRejection>,
    ask: ReadRequest,
) -> Result<Response> {
    ask.params.only(&["limit", "cursor"])?;
    let exchange = part("exchange", &exchange?.0)?;
    let limit = ask.params.limit(MAX_PAIRS, MAX_PAIRS)?;
    let after = ask.params.get("cursor").map(read_cursor).transpose()?;
    let format = ask.format(&FORMATS)?;
    let route = move |reading: &mut ReadContext<'_>| {
        let mut found = Vec::new();
        for reader in reading.all(Topic::Latest)? {
            let prices = reader.prices(&[])?.into_iter();
            found.extend(prices.filter(|(pair, _)| pair.exchange == exchange));
        }
        if found.is_empty() {
            return Err(reading.not_here(&format!("exchange {exchange}")));
        }
        found.sort_by(|(one, _), (other, _)| one.cmp(other));
        let name = |pair: &PairKey| (pair.base.clone(), pair.quote.clone());
        found.retain(|(pair, _)| after.as_ref().is_none_or(|after| name(pair) > *after));
        let more = found.len() > limit;
        found.truncate(limit);
        let last = found.last().filter(|_| more);
        let cursor = last.map(|(pair, _)| cursor(pair));
        let rows = found.iter().map(|(pair, latest)| SeenRow::new(pair, latest));
        let answer = if format == MediaType::Csv {
            Representation::csv(rows)?
        } else {
            let (pairs, next_cursor) = (rows.collect(), cursor.clone());
            Representation::json(&PairsPage { exchange: &exchange, pairs, next_cursor })?
        };
        Ok(answer.with(NEXT_CURSOR, cursor))
    };
    service.read(ask, route).await
}

/// Base and quote of the last pair of a page, encoded so that any names fit into a URL and a
/// header.
fn cursor(pair: &PairKey) -> String {
    let length = u16::try_from(pair.base.len()).unwrap_or(u16::MAX).to_be_bytes();
    URL_SAFE_NO_PAD.encode([&length, pair.base.as_bytes(), pair.quote.as_bytes()].concat())
}

/// Base and quote of the last pair of the page before.
fn read_cursor(text: &str) -> Result<(String, String)> {
    let read = || {
        let bytes = URL_SAFE_NO_PAD.decode(text).ok()?;
        let (length, names) = bytes.split_first_chunk()?;
        let (base, quote) = names.split_at_checked(usize::from(u16::from_be_bytes(*length)))?;
        let text = |bytes: &[u8]| String::from_utf8(bytes.to_vec()).ok();
        text(base).zip(text(quote))
    };
    read().ok_or_else(|| {
        Refusal::bad("cursor: not a cursor of this server: send next_cursor unchanged")
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_cursor_keeps_its_names_apart_and_nonsense_is_refused() {
        for (base, quote) in [("BTC", "USD"), ("A", "B/C"), ("A/B", "C"), ("x\0", "ü\n")] {
            let text = cursor(&PairKey::new(base, quote, "e"));
            let read = read_cursor(&text).ok();
            assert_eq!(read, Some((base.to_owned(), quote.to_owned())), "{text}");
        }
        for text in ["", "A", "BTC/USD", "AAkAAA", "____"] {
            assert!(read_cursor(text).is_err(), "{text}");
        }
    }

    #[test]
    fn a_dead_feed_states_since_when() {
        let mark = schemas::FeedMark::healthy("1", Timestamp(6_000), Timestamp(0));
        let mut known = ExchangeState::default();
        known.mark(mark);
        let row = ExchangeRow::new("coinbase".into(), &known, Timestamp(1_000_000));
        assert_eq!(row.gap_since, Some(AsText(Timestamp(6_000))));
    }
}
