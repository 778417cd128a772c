//! `/v1/exchanges`: what is known of each exchange, its feed's health, and its pairs.
//!
//! ```text
//! live    the feed's clock moves, and so do its prices
//! quiet   the feed's clock moves, and has left the newest event a minute behind
//! dead    nothing was heard of the feed for half a minute, by our clock
//! ```
//!
//! An exchange whose events come without a feed's clock (files, posted prices) is live for a
//! minute after each receipt and quiet then: nobody has promised a sign of life, so none is missed.
//!
//! The list of exchanges comes from every pair that there is. It is gathered at most ten times a
//! second, whoever asks how often; the answer says as of when.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};

use axum::extract::rejection::PathRejection;
use axum::extract::{Path, State};
use axum::response::Response;
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use schemas::topic::Topic;
use schemas::{FeedMark, LatestPrice, PairKey, Timestamp};
use serde::Serialize;

use super::answer::{Ask, Format, Found, NEXT_CURSOR};
use super::error::Refusal;
use super::extent::Extent;
use super::params::{MAX_LAG, part};
use super::rows::{SeenRow, Text, Time};
use super::served::{Reading, Served};
use crate::layout;
use crate::operators::Feed;

/// An event older than its feed's clock by this: the feed works, and nothing happens.
const QUIET_AFTER_MS: i64 = 60_000;
/// A feed marks its clock each second. One that has not for so long has lost its connection, and
/// its first attempts to come back.
const DEAD_AFTER_MS: i64 = 30_000;
/// Pairs of one answer: more than the largest venue lists.
const MAX_PAIRS: usize = 10_000;
const FORMATS: [Format; 2] = [Format::Json, Format::Csv];
/// For how long what was gathered is good enough for those who do not say how old it may be: no
/// longer than the writer takes to commit.
const KEPT_MS: i64 = 100;

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
enum Health {
    Live,
    Quiet,
    Dead,
}

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
}

#[derive(Serialize)]
struct Exchanges {
    exchanges: Vec<ExchangeRow>,
}

/// What is known of an exchange.
#[derive(Debug, Default)]
pub(super) struct Known {
    pairs: usize,
    last_event: Option<Timestamp>,
    last_receipt: Option<Timestamp>,
    mark: Option<FeedMark>,
    gap: Option<LastGap>,
}

/// What a feed lost last, and has not found.
#[derive(Clone, Debug)]
struct LastGap {
    from: Timestamp,
    until: Timestamp,
    reason: String,
}

impl LastGap {
    fn of(mark: &FeedMark) -> Option<Self> {
        let feed = Feed::of_mark(mark.clone()).ok()?;
        if let Some(gap) = feed.last_gap() {
            let pair =
                layout::read_pair(&gap.pair).map(|pair| format!("{}-{}", pair.base, pair.quote));
            let reason = match (pair, gap.missing) {
                (Some(pair), 1..) => format!("{pair}: {} trades missing", gap.missing),
                (Some(pair), _) => pair,
                (None, _) => mark.reason.clone(),
            };
            return Some(Self { from: gap.from, until: gap.until, reason });
        }
        let (from, until) = mark.gap_from.zip(mark.gap_until)?;
        Some(Self { from, until, reason: mark.reason.clone() })
    }
}

impl Known {
    fn price(&mut self, latest: &LatestPrice) {
        self.pairs += 1;
        self.last_event = self.last_event.max(Some(latest.event_time));
        self.last_receipt = self.last_receipt.max(Some(latest.received_at));
    }

    /// Every partition has the marks, and may be a moment behind another.
    fn mark(&mut self, mark: FeedMark) {
        if let Some(gap) = LastGap::of(&mark)
            && self.gap.as_ref().is_none_or(|known| known.until < gap.until)
        {
            self.gap = Some(gap);
        }
        let newest = self.mark.as_ref().map(|mark| mark.healthy_until);
        if newest < Some(mark.healthy_until) {
            self.mark = Some(mark);
        }
    }

    fn health(&self, now: Timestamp) -> Health {
        let older = |time: Option<Timestamp>, clock: Timestamp, by: i64| {
            time.is_none_or(|time| clock.0.saturating_sub(time.0) > by)
        };
        match &self.mark {
            Some(mark) if older(Some(mark.received_at), now, DEAD_AFTER_MS) => Health::Dead,
            Some(mark) if older(self.last_event, mark.healthy_until, QUIET_AFTER_MS) => {
                Health::Quiet
            }
            None if older(self.last_receipt, now, QUIET_AFTER_MS) => Health::Quiet,
            _ => Health::Live,
        }
    }

    fn row(&self, exchange: String, now: Timestamp) -> ExchangeRow {
        let state = self.health(now);
        let mark = self.mark.as_ref();
        let healthy_until = mark.map(|mark| mark.healthy_until);
        let gap = self.gap.as_ref();
        ExchangeRow {
            exchange,
            pairs: self.pairs,
            last_event_time: self.last_event.map(Text),
            state,
            healthy_until: healthy_until.map(Text),
            marked_at: mark.map(|mark| Text(mark.received_at)),
            gap_since: healthy_until.filter(|_| state == Health::Dead).map(Text),
            last_gap_from: gap.map(|gap| Text(gap.from)),
            last_gap_until: gap.map(|gap| Text(gap.until)),
            last_gap_reason: gap.map(|gap| gap.reason.clone()),
        }
    }
}

type ByExchange = BTreeMap<String, Known>;

/// What was gathered last. Held while it is gathered: whoever asks meanwhile waits for it, rather
/// than gather as well.
#[derive(Default)]
pub(super) struct Gathered(Mutex<Option<Kept>>);

struct Kept {
    at: Timestamp,
    known: Arc<ByExchange>,
    /// How old it was then.
    extent: Extent,
}

impl Gathered {
    fn get(
        &self,
        reading: &mut Reading<'_>,
        may_be_kept: bool,
    ) -> Result<Arc<ByExchange>, Refusal> {
        let mut kept = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(Kept { at, known, extent }) = &*kept
            && may_be_kept
            && (at.0..at.0.saturating_add(KEPT_MS)).contains(&reading.now.0)
        {
            reading.extent.merge(extent.clone());
            return Ok(Arc::clone(known));
        }
        let known = Arc::new(gather(reading)?);
        let extent = reading.extent.clone();
        *kept = Some(Kept { at: reading.now, known: Arc::clone(&known), extent });
        Ok(known)
    }
}

/// Every exchange, by name.
pub(super) async fn exchanges(State(served): State<Served>, ask: Ask) -> Result<Response, Refusal> {
    ask.params.only(&[])?;
    let format = ask.format(&FORMATS)?;
    let gathered = Arc::clone(&served.gathered);
    let may_be_kept = ask.params.get(MAX_LAG).is_none();
    let route = move |reading: &mut Reading<'_>| {
        let (known, now) = (gathered.get(reading, may_be_kept)?, reading.now);
        let rows: Vec<_> = known.iter().map(|(name, known)| known.row(name.clone(), now)).collect();
        match format {
            Format::Csv => Found::csv(rows.into_iter()),
            _ => Found::json(&Exchanges { exchanges: rows }),
        }
    };
    served.read(ask, route).await
}

fn gather(reading: &mut Reading<'_>) -> Result<ByExchange, Refusal> {
    let mut known = ByExchange::new();
    for (exchange, mark) in reading.feeds()? {
        known.entry(exchange).or_default().mark(mark);
    }
    for reader in reading.all(Topic::Latest)? {
        for (pair, latest) in reader.prices(&[])? {
            known.entry(pair.exchange).or_default().price(&latest);
        }
    }
    Ok(known)
}

#[derive(Serialize)]
struct PairsPage {
    exchange: String,
    pairs: Vec<SeenRow>,
    next_cursor: Option<String>,
}

/// The pairs of an exchange, by name; 404 when it has none here.
pub(super) async fn pairs(
    State(served): State<Served>,
    exchange: Result<Path<String>, PathRejection>,
    ask: Ask,
) -> Result<Response, Refusal> {
    ask.params.only(&["limit", "cursor"])?;
    let exchange = part("exchange", &exchange?.0)?;
    let limit = ask.params.limit(MAX_PAIRS, MAX_PAIRS)?;
    let after = ask.params.get("cursor").map(read_cursor).transpose()?;
    let format = ask.format(&FORMATS)?;
    let route = move |reading: &mut Reading<'_>| {
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
        let rows = found.into_iter().map(|(pair, latest)| SeenRow::new(pair, &latest));
        let answer = if format == Format::Csv {
            Found::csv(rows)?
        } else {
            let (pairs, next_cursor) = (rows.collect(), cursor.clone());
            Found::json(&PairsPage { exchange, pairs, next_cursor })?
        };
        Ok(answer.with(NEXT_CURSOR, cursor))
    };
    served.read(ask, route).await
}

/// Base and quote of the last pair of a page, as text that fits into a URL and a header whatever they
/// are made of.
fn cursor(pair: &PairKey) -> String {
    let length = u16::try_from(pair.base.len()).unwrap_or(u16::MAX).to_be_bytes();
    URL_SAFE_NO_PAD.encode([&length, pair.base.as_bytes(), pair.quote.as_bytes()].concat())
}

/// Base and quote of the last pair of the page before.
fn read_cursor(text: &str) -> Result<(String, String), Refusal> {
    let read = || {
        let bytes = URL_SAFE_NO_PAD.decode(text).ok()?;
        let (length, names) = bytes.split_first_chunk()?;
        let (base, quote) = names.split_at_checked(usize::from(u16::from_be_bytes(*length)))?;
        let text = |bytes: &[u8]| String::from_utf8(bytes.to_vec()).ok();
        text(base).zip(text(quote))
    };
    read().ok_or_else(|| Refusal::bad("cursor: is none of ours; take next_cursor as it is"))
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

    fn known(last_event: i64, healthy_until: i64, received_at: i64) -> Known {
        Known {
            pairs: 1,
            last_event: Some(Timestamp(last_event)),
            last_receipt: Some(Timestamp(last_event)),
            mark: Some(FeedMark::healthy("1", Timestamp(healthy_until), Timestamp(received_at))),
            gap: None,
        }
    }

    #[test]
    fn a_feed_is_live_quiet_or_dead_by_its_clock() {
        let now = Timestamp(1_000_000);
        assert_eq!(known(5_000, 65_000, 970_000).health(now), Health::Live);
        assert_eq!(known(5_000, 65_001, 970_000).health(now), Health::Quiet);
        assert_eq!(known(5_000, 5_000, 969_999).health(now), Health::Dead);
        let row = known(5_000, 6_000, 0).row("coinbase".into(), now);
        assert_eq!(row.gap_since, Some(Text(Timestamp(6_000))));
    }

    #[test]
    fn the_gap_that_ends_last_is_told_of_whatever_partition() {
        let pair = schemas::PairKey::new("BTC", "USD", "coinbase");
        let lost = |from: i64, missing| {
            let lost = FeedMark {
                gap_from: Some(Timestamp(from)),
                gap_until: Some(Timestamp(from + 10)),
                first_missing_id: Some(7),
                missing: Some(missing),
                ..FeedMark::healthy("1", Timestamp(5), Timestamp(5))
            };
            let mut feed = Feed::new(&lost);
            feed.add(crate::operators::Gap::of(&lost, &layout::pair_key(&pair)).unwrap());
            feed.to_mark()
        };
        let mut known = Known::default();
        for mark in [lost(100, 3), lost(300, 2), lost(200, 9)] {
            known.mark(mark);
        }
        let row = known.row("coinbase".into(), Timestamp(0));
        assert_eq!(row.last_gap_until, Some(Text(Timestamp(310))));
        assert_eq!(row.last_gap_reason.as_deref(), Some("BTC-USD: 2 trades missing"));
    }

    #[test]
    fn without_a_feeds_clock_an_exchange_is_never_dead() {
        let without = |received: i64| Known { mark: None, ..known(received, 0, 0) };
        assert_eq!(without(100).health(Timestamp(60_100)), Health::Live);
        assert_eq!(without(100).health(Timestamp(60_101)), Health::Quiet);
    }
}
