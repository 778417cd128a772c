//! The command-line client of the HTTP API: the same reads, printed as tables.

mod client;
pub mod pairs;
mod table;

use std::io::Write;

use anyhow::{Context as _, Result, bail};
use schemas::PairKey;
use serde_json::{Value, json};

use crate::config::{CandlesQuery, Format, Query, Source};
use client::ApiClient;

/// The server's maximum of candles per answer.
const PAGE: u32 = 10_000;
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
const EXCHANGES: [&str; 5] = ["exchange", "state", "pairs", "last_event_time", "gap_since"];

/// Sends the query and prints the answer.
pub fn run(query: &Query, out: &mut impl Write) -> Result<()> {
    match query {
        Query::Latest { pairs, source } => latest(pairs, source, out),
        Query::Candles(wanted) => candles(wanted, out),
        Query::Exchanges { source } => exchanges(source, out),
    }
}

fn latest(pairs: &[PairKey], source: &Source, out: &mut impl Write) -> Result<()> {
    let client = ApiClient::new(&source.server)?;
    let name = |p: &PairKey| json!({ "base": p.base, "quote": p.quote, "exchange": p.exchange });
    let asked = Value::Array(pairs.iter().map(name).collect());
    if source.format == Format::Csv {
        out.write_all(client.post("/v1/latest", &asked, Format::Csv)?.body.as_bytes())?;
        return Ok(());
    }
    let answer = client.post("/v1/latest", &asked, Format::Json)?.json()?;
    match source.format {
        Format::Json => writeln!(out, "{answer}")?,
        _ => table::write(&LATEST, rows(&answer, "found"), out)?,
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
    let client = ApiClient::new(&wanted.source.server)?;
    let format = wanted.source.format;
    let mut whole: Option<Value> = None;
    let (mut left, mut cursor, mut header) = (wanted.limit, None, true);
    while left > 0 {
        let limit = left.min(PAGE);
        let answer =
            client.get("/v1/candles", &parameters(wanted, limit, cursor.take()), format)?;
        if format == Format::Csv {
            // The header of the columns is printed once.
            let rest = answer.body.split_once('\n').map_or("", |(_, rest)| rest);
            out.write_all(if header { answer.body.as_bytes() } else { rest.as_bytes() })?;
            header = false;
        } else {
            let page = answer.json()?;
            match &mut whole {
                None => whole = Some(page),
                Some(whole) => extend(whole, &page)?,
            }
        }
        left -= limit;
        cursor = answer.next_cursor;
        if cursor.is_none() {
            break;
        }
    }
    match (format, whole) {
        (Format::Json, Some(whole)) => writeln!(out, "{whole}")?,
        (_, Some(whole)) => table::write(&CANDLES, rows(&whole, "candles"), out)?,
        (_, None) => {}
    }
    Ok(())
}

/// The parameters that are always sent, and those that were given.
fn parameters(wanted: &CandlesQuery, limit: u32, cursor: Option<String>) -> Vec<(&str, String)> {
    let pair = &wanted.pair;
    let mut parameters = vec![
        ("base", pair.base.clone()),
        ("quote", pair.quote.clone()),
        ("exchange", pair.exchange.clone()),
        ("interval", wanted.interval.clone()),
        ("limit", limit.to_string()),
        ("fill", wanted.fill.clone()),
        ("basis", wanted.basis.clone()),
        ("closed_only", wanted.closed.to_string()),
    ];
    parameters.extend(wanted.from.clone().map(|from| ("from", from)));
    parameters.extend(wanted.to.clone().map(|to| ("to", to)));
    parameters.extend(cursor.map(|cursor| ("cursor", cursor)));
    parameters
}

fn extend(whole: &mut Value, page: &Value) -> Result<()> {
    whole["next_cursor"] = page["next_cursor"].clone();
    let candles = whole["candles"].as_array_mut().context("an answer without candles")?;
    candles.extend_from_slice(rows(page, "candles"));
    Ok(())
}
