//! The command-line client of the HTTP API: the same reads, printed as tables.

mod book;
mod client;
mod events;
mod index;
mod options;
mod pages;
pub mod pairs;
mod screen;
mod swaps;
mod table;
mod watch;

use std::io::Write;

use anyhow::{Result, bail};
use schemas::PairKey;
use serde_json::{Value, json};

use crate::config::{CandlesQuery, Format, Query, Source, SpreadsQuery};
use client::ApiClient;
use pages::{PAGE, Pages};

const LATEST: [&str; 7] =
    ["base", "quote", "exchange", "price", "size", "event_time", "base_volume_24h"];
const CANDLES: [&str; 10] = [
    "open_time",
    "open",
    "high",
    "low",
    "close",
    "base_volume",
    "trades",
    "status",
    "gap",
    "complete",
];
const QUOTES: [&str; 10] = [
    "base",
    "quote",
    "exchange",
    "bid",
    "bid_size",
    "ask",
    "ask_size",
    "spread",
    "state",
    "event_time",
];
const SPREADS: [&str; 9] = [
    "open_time",
    "updates",
    "spread_min",
    "spread_max",
    "spread_mean",
    "mid_mean",
    "coverage_ms",
    "status",
    "gap",
];
const EXCHANGES: [&str; 7] =
    ["exchange", "state", "pairs", "last_event_time", "gap_since", "books", "books_out_of_sync"];

/// Sends the query and prints the answer.
pub fn run(query: &Query, out: &mut impl Write) -> Result<()> {
    match query {
        Query::Latest { pairs, source } => many("/v1/latest", &LATEST, pairs, source, out),
        Query::Candles(wanted) => candles(wanted, out),
        Query::Quotes { pairs, source } => many("/v1/quotes", &QUOTES, pairs, source, out),
        Query::Book(wanted) => book::run(wanted, out),
        Query::Spreads(wanted) => spreads(wanted, out),
        Query::Chain(wanted) => options::chain(wanted, out),
        Query::Instrument(wanted) => options::option(wanted, out),
        Query::Surface(wanted) => options::surface(wanted, out),
        Query::Tokens(wanted) => swaps::tokens(wanted, out),
        Query::Token(wanted) => swaps::token(wanted, out),
        Query::Pool(wanted) => swaps::pool(wanted, out),
        Query::Swap(wanted) => swaps::swap(wanted, out),
        Query::Index(wanted) => index::run(wanted, out),
        Query::Exchanges { source } => exchanges(source, out),
    }
}

/// A row for each pair; an error names those that are missing.
fn many(
    path: &str,
    columns: &[&str],
    pairs: &[PairKey],
    source: &Source,
    out: &mut impl Write,
) -> Result<()> {
    let client = ApiClient::new(&source.server)?;
    let name = |p: &PairKey| json!({ "base": p.base, "quote": p.quote, "exchange": p.exchange });
    let asked = Value::Array(pairs.iter().map(name).collect());
    if source.format == Format::Csv {
        out.write_all(client.post(path, &asked, Format::Csv)?.body.as_bytes())?;
        return Ok(());
    }
    let answer = client.post(path, &asked, Format::Json)?.json()?;
    match source.format {
        Format::Json => writeln!(out, "{answer}")?,
        _ => table::write(columns, rows(&answer, "found"), out)?,
    }
    let missing: Vec<String> = rows(&answer, "missing").iter().map(shown).collect();
    if missing.is_empty() { Ok(()) } else { bail!("not found: {}", missing.join(", ")) }
}

fn shown(pair: &Value) -> String {
    let part = |name: &str| pair[name].as_str().unwrap_or_default();
    PairKey::new(part("base"), part("quote"), part("exchange")).to_string()
}

fn rows<'a>(answer: &'a Value, name: &str) -> &'a [Value] {
    answer[name].as_array().map_or(&[], Vec::as_slice)
}

fn exchanges(source: &Source, out: &mut impl Write) -> Result<()> {
    let client = ApiClient::new(&source.server)?;
    let answer = client.get("/v1/exchanges", &[], source.format)?;
    match source.format {
        Format::Csv => out.write_all(answer.body.as_bytes())?,
        Format::Json => writeln!(out, "{}", answer.body)?,
        Format::Table => table::write(&EXCHANGES, rows(&answer.json()?, "exchanges"), out)?,
    }
    Ok(())
}

fn candles(wanted: &CandlesQuery, out: &mut impl Write) -> Result<()> {
    let mut parameters = pair_parameters(&wanted.pair);
    parameters.extend([
        ("interval", wanted.interval.clone()),
        ("fill", wanted.fill.clone()),
        ("basis", wanted.basis.clone()),
        ("closed_only", wanted.closed.to_string()),
    ]);
    parameters.extend(wanted.from.clone().map(|from| ("from", from)));
    parameters.extend(wanted.to.clone().map(|to| ("to", to)));
    let pages =
        Pages { path: "/v1/candles", rows: "candles", columns: &CANDLES, parameters, page: PAGE };
    pages.print(&wanted.source, wanted.limit, out)
}

fn spreads(wanted: &SpreadsQuery, out: &mut impl Write) -> Result<()> {
    let mut parameters = pair_parameters(&wanted.pair);
    parameters.extend([
        ("interval", wanted.interval.clone()),
        ("closed_only", wanted.closed.to_string()),
    ]);
    parameters.extend(wanted.from.clone().map(|from| ("from", from)));
    parameters.extend(wanted.to.clone().map(|to| ("to", to)));
    let pages =
        Pages { path: "/v1/spreads", rows: "spreads", columns: &SPREADS, parameters, page: PAGE };
    pages.print(&wanted.source, wanted.limit, out)
}

/// The names of a pair as parameters.
fn pair_parameters(pair: &PairKey) -> Vec<(&'static str, String)> {
    vec![
        ("base", pair.base.clone()),
        ("quote", pair.quote.clone()),
        ("exchange", pair.exchange.clone()),
    ]
}
