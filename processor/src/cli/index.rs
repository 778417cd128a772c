//! `processor query index`: one price of each pair of a base, with the exchanges that it is made of.

use std::io::Write;

use anyhow::Result;
use serde_json::Value;

use super::options::asked;
use super::{rows, table};
use crate::config::IndexQuery;

/// The server's maximum of pairs per answer, which the quotes of no base reach.
const MAX_PAIRS: &str = "1000";
const MEMBERS: [&str; 6] = ["exchange", "price", "age_ms", "used", "unused_because", "event_time"];

/// Prints the pairs of a base, or one pair, each with a line for each member.
pub(super) fn run(wanted: &IndexQuery, out: &mut impl Write) -> Result<()> {
    let (base, quote) = (Some(wanted.base.as_str()), wanted.quote.as_deref());
    let parameters = [("base", base), ("quote", quote), ("limit", Some(MAX_PAIRS))];
    let Some(answer) = asked(&wanted.source, "/v1/index", &parameters, out)? else {
        return Ok(());
    };
    for (index, pair) in rows(&answer, "indexes").iter().enumerate() {
        if index > 0 {
            writeln!(out)?;
        }
        writeln!(out, "{}", title(pair))?;
        writeln!(out)?;
        table::write(&MEMBERS, rows(pair, "members"), out)?;
    }
    Ok(())
}

/// The pair, its price, the exchanges that count, and how far apart they are.
fn title(pair: &Value) -> String {
    let cell = |name: &str| table::cell(&pair[name]);
    format!(
        "{}-{} {}, {} of {} exchanges used, spread {}, as of {}",
        cell("base"),
        cell("quote"),
        cell("price"),
        cell("used"),
        rows(pair, "members").len(),
        cell("spread_across_venues"),
        cell("as_of"),
    )
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_pair_without_a_fresh_price_has_a_dash() {
        let pair = json!({
            "base": "BTC", "quote": "USD", "price": null, "used": 0, "spread_across_venues": null,
            "as_of": "2024-01-01T00:00:00.000Z", "members": [{}, {}],
        });
        let expected = "BTC-USD -, 0 of 2 exchanges used, spread -, as of 2024-01-01T00:00:00.000Z";
        assert_eq!(title(&pair), expected);
    }
}
