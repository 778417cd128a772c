//! `/v1/options`: options by currency, expiry and strike, as rows or as a chain; and one option.
//!
//! Each value is decoded once, in one pass over the store. Only the rows of the answer are kept.

use std::collections::BTreeMap;

use axum::extract::rejection::PathRejection;
use axum::extract::{Path, State};
use axum::response::Response;
use schemas::instrument::Right;
use schemas::{OptionState, PairKey};
use serde::{Deserialize, Serialize};

use super::written;
use crate::api::answer::{MediaType, NEXT_CURSOR, ReadRequest, Representation};
use crate::api::columns::{Column, PAIR, Row, Table, number, text, time};
use crate::api::cursor;
use crate::api::error::Result;
use crate::api::option_filter::{
    ExpiryDay, ExpiryRow, MarketFilter, Seen, StateFilter, StrikeFilter, expiry,
};
use crate::api::option_rows::{OPTION, option_row, side_columns};
use crate::api::params::{Params, part};
use crate::api::read_service::{ReadContext, ReadService};
use crate::api::rows::{AsText, Number, Time};

/// Rows per answer without `limit`: every option of a currency at the largest venue.
const DEFAULT_LIMIT: usize = 2_000;
/// The maximum of rows per answer: about 12 MB of JSON.
const MAX_LIMIT: usize = 10_000;
pub(super) const FORMATS: [MediaType; 3] = [MediaType::Json, MediaType::Csv, MediaType::Arrow];
const NAMES: [&str; 5] = ["expiry", "state", "layout", "limit", "cursor"];

/// The arrangement of the rows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Layout {
    /// A row for each option.
    Rows,
    /// A row for each strike.
    Chain,
}

impl Layout {
    const fn as_str(self) -> &'static str {
        match self {
            Self::Rows => "rows",
            Self::Chain => "chain",
        }
    }
}

/// The parameters of a request.
struct OptionsRequest {
    market: MarketFilter,
    expiry: Option<ExpiryDay>,
    strikes: StrikeFilter,
    state: StateFilter,
    layout: Layout,
    limit: usize,
    cursor: Option<Place>,
}

impl OptionsRequest {
    fn new(params: &Params) -> Result<Self> {
        params.only(&[&MarketFilter::NAMES[..], &StrikeFilter::NAMES, &NAMES].concat())?;
        let layouts = [Layout::Rows, Layout::Chain].map(|layout| (layout.as_str(), layout));
        let request = Self {
            market: MarketFilter::new(params)?,
            expiry: expiry(params)?,
            strikes: StrikeFilter::new(params)?,
            state: StateFilter::read(params)?,
            layout: params.word("layout", &layouts)?,
            limit: params.limit(DEFAULT_LIMIT, MAX_LIMIT)?,
            cursor: cursor::read(params)?,
        };
        let is_of = |place: &Place| place.option.is_some() == (request.layout == Layout::Rows);
        if request.cursor.as_ref().is_some_and(|place| !is_of(place)) {
            return Err(cursor::refused());
        }
        Ok(request)
    }

    fn has(&self, option: &OptionState) -> bool {
        let expires = |day| ExpiryDay::of(option.expiry_time) == day;
        self.expiry.is_none_or(expires) && self.strikes.has(option) && self.state.has(&option.state)
    }
}

/// The place of a row in the order of answers. A strike has no option of its own.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
struct Place {
    currency: String,
    expiry_time: i64,
    exchange: String,
    quote: String,
    /// In units of the decimal.
    strike: i128,
    /// Whether it is a put, and its name.
    option: Option<(bool, String)>,
}

impl Place {
    fn new(pair: &PairKey, option: &OptionState, layout: Layout) -> Self {
        let named = || (option.right == Right::Put, pair.base.clone());
        Self {
            currency: option.currency.clone(),
            expiry_time: option.expiry_time.0,
            exchange: pair.exchange.clone(),
            quote: pair.quote.clone(),
            strike: option.strike.units(),
            option: (layout == Layout::Rows).then(named),
        }
    }
}

/// An option of an answer.
struct Found {
    pair: PairKey,
    option: OptionState,
}

impl Found {
    fn row(&self) -> Row<'_, OptionState> {
        option_row(&self.pair, &self.option)
    }
}

/// A row of an answer: an option alone, or both sides of a strike.
#[derive(Default)]
struct FoundRow {
    call: Option<Box<Found>>,
    put: Option<Box<Found>>,
}

impl FoundRow {
    fn any(&self) -> Option<&Found> {
        self.call.as_deref().or(self.put.as_deref())
    }
}

/// The rows of a page in their order, and the place of the next one.
struct Page {
    seen: Seen,
    rows: BTreeMap<Place, FoundRow>,
    next: Option<String>,
}

/// Options, or strikes with their options; 404 when the currency or the expiry is not here.
pub(crate) async fn options(
    State(service): State<ReadService>,
    ask: ReadRequest,
) -> Result<Response> {
    let request = OptionsRequest::new(&ask.params)?;
    let format = ask.format(&FORMATS)?;
    service.read(ask, move |reading| answer(reading, &request, format)).await
}

fn page(reading: &mut ReadContext<'_>, request: &OptionsRequest) -> Result<Page> {
    let (mut seen, mut rows) = (Seen::default(), BTreeMap::<Place, FoundRow>::new());
    let partitions = reading.each_option(|pair, option| {
        if !seen.add(&request.market, &pair, &option) || !request.has(&option) {
            return;
        }
        let place = Place::new(&pair, &option, request.layout);
        if request.cursor.as_ref().is_some_and(|first| place < *first) {
            return;
        }
        let is_call = option.right == Right::Call;
        let row = rows.entry(place).or_default();
        let side = if is_call { &mut row.call } else { &mut row.put };
        *side = Some(Box::new(Found { pair, option }));
        // One more shows that there is a next page.
        if rows.len() > request.limit + 1 {
            rows.pop_last();
        }
    })?;
    if partitions.is_empty() {
        return Err(reading.no_options_here());
    }
    if let Some(refusal) = seen.missing(&request.market, request.expiry) {
        return Err(reading.not_among(refusal, partitions));
    }
    let next = (rows.len() > request.limit).then(|| rows.pop_last()).flatten();
    let next = next.map(|(place, _)| cursor::write(&place)).transpose()?;
    Ok(Page { seen, rows, next })
}

/// The rows of an answer as options.
#[derive(Serialize)]
struct OptionsPage<'a> {
    layout: &'static str,
    expiries: Vec<ExpiryRow<'a>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    options: Option<Vec<Row<'a, OptionState>>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    chain: Option<Vec<StrikeRow<'a>>>,
    next_cursor: Option<String>,
}

/// A strike: its call and its put.
#[derive(Serialize)]
struct StrikeRow<'a> {
    exchange: &'a str,
    currency: &'a str,
    quote: &'a str,
    expiry: AsText<ExpiryDay>,
    expiry_time: Time,
    strike: Number,
    call: Option<Row<'a, OptionState>>,
    put: Option<Row<'a, OptionState>>,
}

impl<'a> StrikeRow<'a> {
    fn new(row: &'a FoundRow) -> Option<Self> {
        let Found { pair, option } = row.any()?;
        Some(Self {
            exchange: &pair.exchange,
            currency: &option.currency,
            quote: &pair.quote,
            expiry: AsText(ExpiryDay::of(option.expiry_time)),
            expiry_time: AsText(option.expiry_time),
            strike: AsText(option.strike),
            call: row.call.as_deref().map(Found::row),
            put: row.put.as_deref().map(Found::row),
        })
    }
}

/// The columns of a strike before those of its sides.
static STRIKE: &[Column<Found>] = &[
    text("exchange", |found| Some(&found.pair.exchange)),
    text("currency", |found| Some(&found.option.currency)),
    text("quote", |found| Some(&found.pair.quote)),
    time("expiry_time", |found| Some(found.option.expiry_time)),
    number("strike", |found| Some(found.option.strike)),
];
/// The column of an option's name, in the chain.
static NAME: &[Column<PairKey>] = &[text("base", |pair| Some(&pair.base))];

fn answer(
    reading: &mut ReadContext<'_>,
    request: &OptionsRequest,
    format: MediaType,
) -> Result<Representation> {
    let Page { seen, rows, next } = page(reading, request)?;
    let found = match (format, request.layout) {
        (MediaType::Json, layout) => {
            let options = rows.values().filter_map(FoundRow::any).map(Found::row);
            let chain = rows.values().filter_map(StrikeRow::new);
            Representation::json(&OptionsPage {
                layout: layout.as_str(),
                expiries: seen.expiries(),
                options: (layout == Layout::Rows).then(|| options.collect()),
                chain: (layout == Layout::Chain).then(|| chain.collect()),
                next_cursor: next.clone(),
            })?
        }
        (_, Layout::Rows) => {
            written(format, &option_table(rows.values().filter_map(FoundRow::any)))?
        }
        (_, Layout::Chain) => written(format, &chain_table(&rows))?,
    };
    Ok(found.with(NEXT_CURSOR, next))
}

fn option_table<'a>(found: impl Iterator<Item = &'a Found>) -> Table<'a> {
    let (pairs, options): (Vec<_>, Vec<_>) =
        found.map(|found| (Some(&found.pair), Some(&found.option))).unzip();
    let mut table = Table::default();
    table.add("", PAIR, &pairs);
    table.add("", OPTION, &options);
    table
}

/// The sides of each strike, their columns with the names of the sides before them.
fn chain_table(rows: &BTreeMap<Place, FoundRow>) -> Table<'_> {
    let mut table = Table::default();
    table.add("", STRIKE, &rows.values().map(FoundRow::any).collect::<Vec<_>>());
    let calls: Vec<_> = rows.values().map(|row| row.call.as_deref()).collect();
    let puts: Vec<_> = rows.values().map(|row| row.put.as_deref()).collect();
    for (prefix, side) in [("call_", calls), ("put_", puts)] {
        let (names, options): (Vec<_>, Vec<_>) =
            side.iter().map(|side| side.map(|side| (&side.pair, &side.option)).unzip()).unzip();
        table.add(prefix, NAME, &names);
        table.add(prefix, side_columns(), &options);
    }
    table
}

/// One option by its name; 404 that names near ones.
pub(crate) async fn one(
    State(service): State<ReadService>,
    instrument: Result<Path<String>, PathRejection>,
    ask: ReadRequest,
) -> Result<Response> {
    ask.params.only(&["exchange"])?;
    let instrument = part("instrument", &instrument?.0)?;
    let exchange = ask.params.get("exchange").map(|name| part("exchange", name)).transpose()?;
    let format = ask.format(&FORMATS)?;
    let route = move |reading: &mut ReadContext<'_>| {
        let (pair, option) = reading.only_option(&instrument, exchange.as_deref())?;
        let found = Found { pair, option };
        match format {
            MediaType::Json => Representation::json(&found.row()),
            _ => written(format, &option_table(std::iter::once(&found))),
        }
    };
    service.read(ask, route).await
}
