//! `processor query chain`, `option` and `surface`: options as people read them.
//!
//! A chain has the call of each strike to the left and the put to the right, as traders expect it.

use std::io::Write;

use anyhow::Result;
use serde_json::{Value, json};

use super::client::ApiClient;
use super::{rows, table};
use crate::config::{ChainQuery, Format, OptionQuery, Source, SurfaceQuery};

/// Strikes of one answer: the server's maximum, which no expiry reaches.
const MAX_STRIKES: &str = "10000";
/// The columns of a side from the outside to the strike: name and field.
const SIDE: [(&str, &str); 6] = [
    ("oi", "open_interest"),
    ("iv", "mark_iv"),
    ("delta", "delta"),
    ("bid", "bid"),
    ("mark", "mark_price"),
    ("ask", "ask"),
];
const STRIKE: &str = "strike";
const SURFACE: [&str; 11] = [
    "quote",
    "exchange",
    "expiry",
    "strike",
    "right",
    "mark_iv",
    "bid_iv",
    "ask_iv",
    "delta",
    "open_interest",
    "age_ms",
];

/// Sends the request. Prints the answer unless a table is wanted, and returns it if one is.
pub(super) fn asked(
    source: &Source,
    path: &str,
    parameters: &[(&'static str, Option<&str>)],
    out: &mut impl Write,
) -> Result<Option<Value>> {
    let given = parameters.iter().filter_map(|(name, value)| Some((*name, (*value)?.to_owned())));
    let client = ApiClient::new(&source.server)?;
    let answer = client.get(path, &given.collect::<Vec<_>>(), source.format)?;
    match source.format {
        Format::Table => return Ok(Some(answer.json()?)),
        Format::Json => writeln!(out, "{}", answer.body)?,
        // Lines of CSV end by themselves.
        Format::Csv => out.write_all(answer.body.as_bytes())?,
    }
    Ok(None)
}

/// Prints the strikes of an expiry.
pub(super) fn chain(wanted: &ChainQuery, out: &mut impl Write) -> Result<()> {
    let parameters = [
        ("layout", Some("chain")),
        ("limit", Some(MAX_STRIKES)),
        ("currency", Some(wanted.currency.as_str())),
        ("expiry", Some(wanted.expiry.as_str())),
        ("quote", wanted.quote.as_deref()),
        ("strike_from", wanted.strike_from.as_deref()),
        ("strike_to", wanted.strike_to.as_deref()),
    ];
    let Some(answer) = asked(&wanted.source, "/v1/options", &parameters, out)? else {
        return Ok(());
    };
    // The strikes of a market are adjacent.
    let market = |row: &Value| ["exchange", "quote", "expiry_time"].map(|name| row[name].clone());
    let strikes = rows(&answer, "chain");
    if strikes.is_empty() {
        writeln!(out, "no strike of this expiry is within --strike-from and --strike-to")?;
    }
    for (index, strikes) in strikes.chunk_by(|one, other| market(one) == market(other)).enumerate()
    {
        if index > 0 {
            writeln!(out)?;
        }
        writeln!(out, "{}", title(strikes))?;
        writeln!(out)?;
        let names: Vec<String> = columns().map(|(name, ..)| name).collect();
        let names: Vec<&str> = names.iter().map(String::as_str).collect();
        table::write(&names, &strikes.iter().map(strike).collect::<Vec<_>>(), out)?;
    }
    Ok(())
}

/// The name of each column, its side and its field; the strike has none.
fn columns() -> impl Iterator<Item = (String, &'static str, &'static str)> {
    let calls = SIDE.iter().map(|(name, field)| (format!("call_{name}"), "call", *field));
    let strike = std::iter::once((STRIKE.to_owned(), "", STRIKE));
    // Bid, mark and ask keep their order; the others are mirrored.
    let (outer, prices) = SIDE.split_at(3);
    let puts = prices.iter().chain(outer.iter().rev());
    let puts = puts.map(|(name, field)| (format!("put_{name}"), "put", *field));
    calls.chain(strike).chain(puts)
}

fn strike(row: &Value) -> Value {
    let cell = |(name, side, field): (String, &str, &str)| {
        let value = if side.is_empty() { &row[field] } else { &row[side][field] };
        (name, value.clone())
    };
    Value::Object(columns().map(cell).collect())
}

/// The market, the expiry, the forward, and that it has ended.
fn title(strikes: &[Value]) -> String {
    let options = || strikes.iter().flat_map(|row| [&row["call"], &row["put"]]);
    let is_closed = options().all(|option| option.is_null() || option["state"] == "CLOSED");
    let newest = options().max_by_key(|option| option["event_time"].as_str().unwrap_or_default());
    let (row, newest) = (&strikes[0], newest.unwrap_or(&Value::Null));
    let cell = |value: &Value| table::cell(value);
    format!(
        "{} options in {} at {}, expiry {}{}, underlying {} ({}), newest {}",
        cell(&row["currency"]),
        cell(&row["quote"]),
        cell(&row["exchange"]),
        cell(&row["expiry_time"]),
        if is_closed { " CLOSED" } else { "" },
        cell(&newest["underlying_price"]),
        cell(&newest["underlying_index"]),
        cell(&newest["event_time"]),
    )
}

/// Prints the fields of an option, one a line.
pub(super) fn option(wanted: &OptionQuery, out: &mut impl Write) -> Result<()> {
    let path = format!("/v1/options/{}", segment(&wanted.instrument));
    let parameters = [("exchange", wanted.exchange.as_deref())];
    let Some(answer) = asked(&wanted.source, &path, &parameters, out)? else {
        return Ok(());
    };
    let fields = answer.as_object().into_iter().flatten();
    let lines =
        fields.map(|(name, value)| json!({ "field": name.replace('_', " "), "value": value }));
    Ok(table::write(&["field", "value"], &lines.collect::<Vec<_>>(), out)?)
}

/// A name as one segment of a path: every byte that is not of a name's usual ones is escaped.
pub(super) fn segment(name: &str) -> String {
    let escaped = name.bytes().map(|byte| match byte {
        b'A'..=b'Z' | b'a'..=b'z' | b'0'..=b'9' | b'-' | b'_' | b'.' => {
            char::from(byte).to_string()
        }
        _ => format!("%{byte:02X}"),
    });
    escaped.collect()
}

/// Prints the points of a surface.
pub(super) fn surface(wanted: &SurfaceQuery, out: &mut impl Write) -> Result<()> {
    let parameters = [
        ("currency", Some(wanted.currency.as_str())),
        ("expiry", wanted.expiry.as_deref()),
        ("quote", wanted.quote.as_deref()),
    ];
    let Some(answer) = asked(&wanted.source, "/v1/surface", &parameters, out)? else {
        return Ok(());
    };
    let mut points = Vec::new();
    for smile in rows(&answer, "expiries") {
        for point in rows(smile, "points") {
            let mut point = point.clone();
            for name in ["quote", "exchange", "expiry"] {
                point[name] = smile[name].clone();
            }
            points.push(point);
        }
    }
    Ok(table::write(&SURFACE, &points, out)?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_sides_of_a_strike_are_mirrored_but_for_the_prices() {
        let names: Vec<String> = columns().map(|(name, ..)| name).collect();
        let expected = "call_oi call_iv call_delta call_bid call_mark call_ask strike \
            put_bid put_mark put_ask put_delta put_iv put_oi";
        assert_eq!(names.join(" "), expected);
        let row = strike(&json!({ "strike": "5", "call": { "bid": "1" }, "put": null }));
        assert_eq!((&row["call_bid"], &row["put_bid"]), (&json!("1"), &Value::Null));
        assert_eq!(row["strike"], "5");
    }

    #[test]
    fn a_name_is_one_segment_of_the_path() {
        assert_eq!(segment("XRP_USDC-25DEC26-1d02-C"), "XRP_USDC-25DEC26-1d02-C");
        assert_eq!(segment("a/b?c d€"), "a%2Fb%3Fc%20d%E2%82%AC");
    }
}
