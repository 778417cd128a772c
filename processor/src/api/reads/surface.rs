//! `/v1/surface`: the implied volatilities of a currency by expiry and strike, with the age of each.
//!
//! An age is measured by the wall clock of this process after the scan, so an option whose feed has
//! stopped ages in the answer. Options that have ended have no volatility and are left out.

use axum::extract::State;
use axum::response::Response;
use schemas::{OptionState, PairKey, Timestamp};
use serde::Serialize;

use super::options::FORMATS;
use super::written;
use crate::api::answer::{MediaType, ReadRequest, Representation};
use crate::api::columns::{Row, Table};
use crate::api::error::{Refusal, Result};
use crate::api::option_filter::{ExpiryDay, MarketFilter, Seen, StateFilter, expiry};
use crate::api::option_rows::{POINT, Point, SMILE};
use crate::api::params::Params;
use crate::api::read_service::{ReadContext, ReadService};
use crate::api::rows::{AsText, Number, Time};

/// The maximum of points per answer: several times the options of one currency, a few megabytes of
/// JSON.
const MAX_POINTS: usize = 10_000;

/// The parameters of a request.
struct SurfaceRequest {
    market: MarketFilter,
    currency: String,
    expiry: Option<ExpiryDay>,
}

impl SurfaceRequest {
    fn new(params: &Params) -> Result<Self> {
        params.only(&[&MarketFilter::NAMES[..], &["expiry"]].concat())?;
        let market = MarketFilter::new(params)?;
        let currency = market.currency.clone();
        let currency = currency.ok_or_else(|| {
            Refusal::bad("currency: is missing: send that of the underlying, as in currency=BTC")
        })?;
        Ok(Self { market, currency, expiry: expiry(params)? })
    }

    fn has(&self, option: &OptionState) -> bool {
        self.expiry.is_none_or(|day| ExpiryDay::of(option.expiry_time) == day)
            && StateFilter::Open.has(&option.state)
    }
}

fn point(pair: PairKey, option: &OptionState) -> Point {
    Point {
        pair,
        expiry_time: option.expiry_time,
        strike: option.strike,
        right: option.right,
        mark_iv: option.mark_iv,
        bid_iv: option.bid_iv,
        ask_iv: option.ask_iv,
        delta: option.delta,
        open_interest: option.open_interest,
        underlying_price: option.underlying_price,
        event_time: option.event_time,
        age_ms: 0,
    }
}

/// Reads the points in one pass, and measures their ages at the time that it returns.
fn points(
    reading: &mut ReadContext<'_>,
    request: &SurfaceRequest,
) -> Result<(Timestamp, Vec<Point>)> {
    let (mut seen, mut points, mut count) = (Seen::default(), Vec::new(), 0_usize);
    let partitions = reading.each_option(|pair, option| {
        if seen.add(&request.market, &pair, &option) && request.has(&option) {
            count += 1;
            if count <= MAX_POINTS {
                points.push(point(pair, &option));
            }
        }
    })?;
    if partitions.is_empty() {
        return Err(reading.no_options_here());
    }
    if let Some(refusal) = seen.missing(&request.market, request.expiry) {
        return Err(reading.not_among(refusal, partitions));
    }
    if count > MAX_POINTS {
        let SurfaceRequest { currency, .. } = request;
        return Err(Refusal::bad(format!(
            "expiry: the surface of {currency} has {count} points, and an answer at most \
             {MAX_POINTS}: request one expiry at a time"
        )));
    }
    points.sort_unstable_by(|one, other| order(one).cmp(&order(other)));
    let time = (reading.service.now)();
    for point in &mut points {
        point.age_ms = time.0.saturating_sub(point.event_time.0).max(0);
    }
    Ok((time, points))
}

fn smile(point: &Point) -> (Timestamp, &str, &str) {
    (point.expiry_time, &point.pair.exchange, &point.pair.quote)
}

fn order(point: &Point) -> impl Ord {
    (smile(point), point.strike, point.right, &point.pair.base)
}

/// The points of one expiry.
#[derive(Serialize)]
struct SmileRow<'a> {
    exchange: &'a str,
    quote: &'a str,
    expiry: AsText<ExpiryDay>,
    expiry_time: Time,
    underlying_price: Option<Number>,
    points: Vec<Row<'a, Point>>,
}

impl<'a> SmileRow<'a> {
    fn new(points: &'a [Point]) -> Option<Self> {
        let first = points.first()?;
        let with_forward = points.iter().filter(|point| point.underlying_price.is_some());
        let newest = with_forward.max_by_key(|point| point.event_time);
        let row = |point| Row { pair: None, record: point, columns: POINT };
        Some(Self {
            exchange: &first.pair.exchange,
            quote: &first.pair.quote,
            expiry: AsText(ExpiryDay::of(first.expiry_time)),
            expiry_time: AsText(first.expiry_time),
            underlying_price: newest.and_then(|point| point.underlying_price).map(AsText),
            points: points.iter().map(row).collect(),
        })
    }
}

/// A surface: its smiles, and the time of its ages.
#[derive(Serialize)]
struct Surface<'a> {
    currency: &'a str,
    time: Time,
    expiries: Vec<SmileRow<'a>>,
}

/// The surface of a currency; 404 when the currency or the expiry is not here.
pub(crate) async fn surface(
    State(service): State<ReadService>,
    ask: ReadRequest,
) -> Result<Response> {
    let request = SurfaceRequest::new(&ask.params)?;
    let format = ask.format(&FORMATS)?;
    let route = move |reading: &mut ReadContext<'_>| {
        let (time, points) = points(reading, &request)?;
        if format == MediaType::Json {
            let smiles = points.chunk_by(|one, other| smile(one) == smile(other));
            return Representation::json(&Surface {
                currency: &request.currency,
                time: AsText(time),
                expiries: smiles.filter_map(SmileRow::new).collect(),
            });
        }
        let records: Vec<_> = points.iter().map(Some).collect();
        let mut table = Table::default();
        table.add("", SMILE, &records);
        table.add("", POINT, &records);
        written(format, &table)
    };
    service.read(ask, route).await
}
