//! `/v1/candles`: the candles of a pair over a range of time, a page at a time.
//!
//! `interval=auto` takes the finest tier whose topic still keeps the beginning of the range. Age
//! counts from the pair's newest event, so a replay of an old year is answered as it was then.

use axum::extract::State;
use axum::response::Response;
use schemas::topic::{Cleanup, Topic};
use schemas::{Basis, Candle, LatestPrice, PairKey, Status, Timestamp};

use super::arrow;
use super::fill::{Fill, Filled, Filling};
use crate::api::answer::{
    HISTORY, MediaType, NEXT_CURSOR, RESOLUTION, ReadRequest, Representation,
};
use crate::api::error::{Refusal, Result};
use crate::api::history::{History, Past};
use crate::api::params::Params;
use crate::api::read_service::{ReadContext, ReadService};
use crate::api::rows::{CandleRow, PairRow};
use crate::api::store_reader::{CandleRange, StoreReader};
use crate::operators::Interval;
use serde::Serialize;

/// Candles per answer without `limit`.
const DEFAULT_LIMIT: usize = 500;
/// The maximum of candles per answer: a week of minutes, a few megabytes of JSON.
const MAX_LIMIT: usize = 10_000;
/// Windows before the range that are searched for the price that a fill begins with.
const LOOK_BACK: i64 = 120;
const FORMATS: [MediaType; 3] = [MediaType::Json, MediaType::Csv, MediaType::Arrow];
const NAMES: [&str; 11] = [
    "base",
    "quote",
    "exchange",
    "interval",
    "from",
    "to",
    "limit",
    "cursor",
    "fill",
    "basis",
    "closed_only",
];

/// The parameters of a request.
struct CandlesRequest {
    pair: PairKey,
    basis: Basis,
    /// None is `auto`.
    interval: Option<Interval>,
    from: Timestamp,
    to: Timestamp,
    limit: usize,
    cursor: Option<Cursor>,
    fill: Fill,
    closed_only: bool,
}

impl CandlesRequest {
    fn new(params: &Params) -> Result<Self> {
        params.only(&NAMES)?;
        let intervals = [
            ("1m", Some(Interval::Minute)),
            ("1h", Some(Interval::Hour)),
            ("1d", Some(Interval::Day)),
            ("auto", None),
        ];
        let fills = [("none", Fill::None), ("previous", Fill::Previous), ("null", Fill::Null)];
        let bases = [("TRADE", Basis::Trade), ("TICKER", Basis::Ticker)];
        let request = Self {
            pair: params.pair()?,
            basis: params.word("basis", &bases)?,
            interval: params.word("interval", &intervals)?,
            from: params.time("from")?.unwrap_or(Timestamp(0)),
            to: params.time("to")?.unwrap_or(Timestamp(i64::MAX)),
            limit: params.limit(DEFAULT_LIMIT, MAX_LIMIT)?,
            cursor: params.get("cursor").map(Cursor::read).transpose()?,
            fill: params.word("fill", &fills)?,
            closed_only: params.flag("closed_only")?,
        };
        if request.from > request.to {
            return Err(Refusal::bad("from: is after to"));
        }
        Ok(request)
    }

    fn resolution(&self, newest: Timestamp) -> Interval {
        let chosen = self.cursor.map(|cursor| cursor.interval).or(self.interval);
        chosen.unwrap_or_else(|| finest(self.from, newest))
    }
}

/// The finest tier that keeps candles as old as `from`.
fn finest(from: Timestamp, newest: Timestamp) -> Interval {
    let age_ms = newest.0.saturating_sub(from.0);
    let keeps = |interval: &Interval| match interval.topic().cleanup() {
        Cleanup::Delete(kept) | Cleanup::CompactDelete(kept) => {
            i64::try_from(kept.as_millis()).unwrap_or(i64::MAX) >= age_ms
        }
        Cleanup::Compact => true,
    };
    Interval::ALL.into_iter().find(keeps).unwrap_or(Interval::Day)
}

/// The start of a page: the tier, the first `open_time`, and the candle that is filled from.
///
/// It is opaque to clients: `1m.1700000000000.1699999940000`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Cursor {
    interval: Interval,
    next: Timestamp,
    anchor: Timestamp,
}

impl Cursor {
    fn read(text: &str) -> Result<Self> {
        let mut parts = text.split('.');
        let mut part = || parts.next();
        let read = || {
            let interval = Interval::parse(part()?)?;
            let next = Timestamp(part()?.parse().ok()?);
            let anchor = Timestamp(part()?.parse().ok()?);
            part().is_none().then_some(Self { interval, next, anchor })
        };
        let mut read = read;
        read().ok_or_else(|| {
            Refusal::bad("cursor: not a cursor of this server: send next_cursor unchanged")
        })
    }

    fn text(self) -> String {
        format!("{}.{}.{}", self.interval.as_str(), self.next.0, self.anchor.0)
    }
}

/// A page of candles; 404 when the pair is not here.
pub(crate) async fn candles(
    State(service): State<ReadService>,
    ask: ReadRequest,
) -> Result<Response> {
    let request = CandlesRequest::new(&ask.params)?;
    let format = ask.format(&FORMATS)?;
    service.read(ask, move |reading| answer(reading, &request, format)).await
}

/// The candles of an answer.
#[derive(Serialize)]
struct CandlesPage<'a> {
    #[serde(flatten)]
    pair: PairRow<'a>,
    basis: &'static str,
    resolution: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    history: Option<&'static str>,
    candles: Vec<CandleRow>,
    next_cursor: Option<String>,
}

fn answer(
    reading: &mut ReadContext<'_>,
    request: &CandlesRequest,
    format: MediaType,
) -> Result<Representation> {
    let Some((index, latest)) = reading.find(&request.pair)? else {
        return Err(reading.not_here(&request.pair.to_string()));
    };
    let interval = request.resolution(latest.event_time);
    let Page { rows, next, past } = page(reading, index, &latest, request, interval)?;
    let past = past.map(Past::as_str);
    let (cursor, resolution) = (next.map(Cursor::text), interval.as_str());
    let found = match format {
        MediaType::Json => Representation::json(&CandlesPage {
            pair: (&request.pair).into(),
            basis: request.basis.as_str(),
            resolution,
            history: past,
            candles: rows,
            next_cursor: cursor.clone(),
        })?,
        MediaType::Csv => Representation::csv(rows.into_iter())?,
        MediaType::Arrow => {
            Representation::arrow(arrow::stream(&rows).map_err(|e| Refusal::broken(&e))?)
        }
    };
    let found = found.with(NEXT_CURSOR, cursor).with(RESOLUTION, Some(resolution.into()));
    Ok(found.with(HISTORY, past.map(str::to_owned)))
}

/// Rows, the cursor of the next page, and the use of the history.
struct Page {
    rows: Vec<CandleRow>,
    next: Option<Cursor>,
    past: Option<Past>,
}

fn page(
    reading: &mut ReadContext<'_>,
    index: usize,
    latest: &LatestPrice,
    request: &CandlesRequest,
    interval: Interval,
) -> Result<Page> {
    let (history, now) = (reading.history(), reading.now);
    let feed = reading.feed(index, &request.pair.exchange)?;
    // An hour or a day is merged with the minutes that are open.
    let reader = reading.reader(index, &[interval.topic(), Topic::Ohlc1m])?;
    let from = request.cursor.map_or(request.from, |cursor| cursor.next);
    let range = CandleRange {
        basis: request.basis,
        interval,
        from: first_window(interval, from),
        // There is no candle after the newest event.
        to: request.to.min(Timestamp(latest.event_time.0.saturating_add(1))),
        limit: request.limit + 1,
    };
    let mut source = CandleSource::new(reader, history.as_deref(), now, request, interval)?;
    let candles = source.read(range)?;
    let before = source.before(range)?;
    let filling = Filling {
        fill: request.fill,
        interval,
        from: range.from,
        to: request.to,
        clock: latest.event_time.max(feed.as_ref().map_or(Timestamp(0), |f| f.healthy_until)),
        outage: feed.and_then(|feed| feed.gap_from.zip(feed.gap_until)),
        limit: range.limit,
    };
    let mut rows = filling.rows(before.as_ref(), &candles);
    let next = rows.get(request.limit).map(|first| first.row.open_time.0);
    rows.truncate(request.limit);
    let next =
        next.zip(rows.last()).map(|(next, last)| Cursor { interval, next, anchor: last.anchor });
    let rows = rows.into_iter().map(|Filled { row, .. }| row).collect();
    Ok(Page { rows, next, past: source.past })
}

/// The first window that begins at `from` or after it.
fn first_window(interval: Interval, from: Timestamp) -> Timestamp {
    let start = interval.start(from);
    if start == from { from } else { Timestamp(start.0.saturating_add(interval.length_ms())) }
}

/// The source of the candles of one answer: the history for candles older than the oldest in the
/// stores, the stores for all others.
struct CandleSource<'a> {
    reader: &'a StoreReader,
    history: Option<&'a History>,
    now: Timestamp,
    request: &'a CandlesRequest,
    /// The first `open_time` in the stores; it is looked up only with a history.
    oldest: Option<Timestamp>,
    /// `None` without a history.
    past: Option<Past>,
}

impl<'a> CandleSource<'a> {
    fn new(
        reader: &'a StoreReader,
        history: Option<&'a History>,
        now: Timestamp,
        request: &'a CandlesRequest,
        interval: Interval,
    ) -> Result<Self> {
        let (from, to) = (Timestamp(0), Timestamp(i64::MAX));
        let first = CandleRange { basis: request.basis, interval, from, to, limit: 1 };
        let first = history.map(|_| reader.candles(&request.pair, first)).transpose()?;
        let oldest = first.and_then(|first| first.first().map(|(key, _)| key.open_time));
        Ok(Self { reader, history, now, request, oldest, past: history.map(|_| Past::Here) })
    }

    fn read(&mut self, range: CandleRange) -> Result<Vec<(Timestamp, Candle)>> {
        let mut found = self.older(range);
        let left = range.limit.saturating_sub(found.len());
        if left > 0 {
            // A candle that reached the stores meanwhile may be among those of the history.
            let from = self.oldest.map_or(range.from, |oldest| oldest.max(range.from));
            let range = CandleRange { from, limit: left, ..range };
            let candles = self.reader.candles(&self.request.pair, range)?.into_iter();
            let candles = candles.map(|(key, candle)| (key.open_time, candle));
            let closed_only = self.request.closed_only;
            found.extend(candles.filter(|(_, c)| !closed_only || c.status != Status::Open));
        }
        Ok(found)
    }

    /// The candles of a range that are older than those in the stores.
    fn older(&mut self, range: CandleRange) -> Vec<(Timestamp, Candle)> {
        let to = self.oldest.map_or(range.to, |oldest| oldest.min(range.to));
        let Some(history) = self.history.filter(|_| range.from < to) else { return Vec::new() };
        let (pair, closed_only) = (&self.request.pair, self.request.closed_only);
        let found = history.candles(pair, CandleRange { to, ..range }, closed_only, self.now);
        let past = if found.is_some() { Past::Read } else { Past::Away };
        self.past = self.past.max(Some(past));
        found.unwrap_or_default()
    }

    /// The candle that the first rows of a page are filled from.
    fn before(&mut self, range: CandleRange) -> Result<Option<(Timestamp, Candle)>> {
        if self.request.fill == Fill::None {
            return Ok(None);
        }
        let from = match self.request.cursor {
            Some(cursor) => cursor.anchor,
            None => Timestamp(range.from.0.saturating_sub(LOOK_BACK * range.interval.length_ms())),
        };
        let limit = usize::try_from(LOOK_BACK).unwrap_or(0);
        let to = range.from;
        Ok(self.read(CandleRange { from, to, limit, ..range })?.pop())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn auto_takes_the_finest_tier_that_covers_the_range() {
        let newest = Timestamp(1_700_000_000_000);
        let day = Interval::Day.length_ms();
        for (days, interval) in [
            (0, Interval::Minute),
            (30, Interval::Minute),
            (31, Interval::Hour),
            (730, Interval::Hour),
            (731, Interval::Day),
            (9_999, Interval::Day),
        ] {
            assert_eq!(finest(Timestamp(newest.0 - days * day), newest), interval, "{days}");
        }
    }

    #[test]
    fn a_cursor_survives_its_text_and_nonsense_is_refused() {
        let cursor = Cursor { interval: Interval::Hour, next: Timestamp(7), anchor: Timestamp(-5) };
        assert_eq!(Cursor::read(&cursor.text()).ok(), Some(cursor));
        for text in ["", "1m", "1m.5", "1m.x.5", "2m.5.5", "1m.5.5.5"] {
            assert!(Cursor::read(text).is_err(), "{text}");
        }
    }

    #[test]
    fn a_range_begins_with_a_whole_window() {
        let minute = |ms| first_window(Interval::Minute, Timestamp(ms)).0;
        assert_eq!([0, 1, 60_000, 60_001].map(minute), [0, 60_000, 60_000, 120_000]);
    }
}
