//! A book as people read it: the measures, then the levels with the best ones on top.

use std::io::{self, Write};

use schemas::PairKey;
use serde_json::{Value, json};

use super::{rows, table};

/// The newest rows of a pair.
#[derive(Debug, Default)]
pub(super) struct View {
    /// The top of the book.
    pub(super) quote: Option<Value>,
    /// The levels.
    pub(super) book: Option<Value>,
    /// The reason why the rows are not live.
    pub(super) trouble: Option<String>,
}

/// The measures: field and label.
const MEASURES: [(&str, &str, Option<&str>); 5] = [
    ("bid", "highest bid", Some("bid_size")),
    ("ask", "lowest ask", Some("ask_size")),
    ("spread", "spread", None),
    ("max_spread", "largest spread of the day", None),
    ("mid_mean_10", "mean of the last ten mids", None),
];

impl View {
    /// Writes the measures, and `depth` levels of each side.
    pub(super) fn write(&self, pair: &PairKey, depth: u32, out: &mut impl Write) -> io::Result<()> {
        let nothing = Value::Null;
        let quote = self.quote.as_ref().unwrap_or(&nothing);
        let state = table::cell(&quote["state"]);
        writeln!(out, "{pair}  {state}  {}", table::cell(&quote["event_time"]))?;
        if state == "OUT_OF_SYNC" {
            writeln!(out, "the book is being fetched again: these are its last proved values")?;
        }
        if let Some(trouble) = &self.trouble {
            writeln!(out, "not live: {}", table::cell(&json!(trouble)))?;
        }
        writeln!(out)?;
        let measure = |(name, label, size): (&str, &str, Option<&str>)| {
            json!({
                "measure": label,
                "value": quote[name],
                "size": size.map_or(&nothing, |size| &quote[size]),
            })
        };
        table::write(&["measure", "value", "size"], &MEASURES.map(measure), out)?;
        let Some(book) = &self.book else {
            return Ok(());
        };
        writeln!(out)?;
        table::write(&["bid_size", "bid", "ask", "ask_size"], &ladder(book, depth), out)
    }
}

/// The levels of both sides, a row for each place. A side that is shorter ends with nulls.
fn ladder(book: &Value, depth: u32) -> Vec<Value> {
    let depth = usize::try_from(depth).unwrap_or(usize::MAX);
    let (bids, asks) = (rows(book, "bids"), rows(book, "asks"));
    let places = bids.len().max(asks.len()).min(depth);
    let level = |side: &[Value], place: usize| side.get(place).cloned().unwrap_or_default();
    let row = |place| {
        let (bid, ask) = (level(bids, place), level(asks, place));
        json!({
            "bid_size": bid["size"], "bid": bid["price"],
            "ask": ask["price"], "ask_size": ask["size"],
        })
    };
    (0..places).map(row).collect()
}

/// A quote as one line.
pub(super) fn line(quote: &Value, out: &mut impl Write) -> io::Result<()> {
    let cell = |name: &str| table::cell(&quote[name]);
    writeln!(
        out,
        "{} {} bid {} x {} ask {} x {} spread {} largest {} mean10 {}",
        cell("event_time"),
        cell("state"),
        cell("bid"),
        cell("bid_size"),
        cell("ask"),
        cell("ask_size"),
        cell("spread"),
        cell("max_spread"),
        cell("mid_mean_10"),
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    fn view() -> View {
        let quote = json!({
            "bid": "99.5", "bid_size": "2", "ask": null, "ask_size": null, "spread": null,
            "max_spread": "0.5", "mid_mean_10": "99.75", "state": "IN_SYNC",
            "event_time": "2024-01-01T00:03:00.000Z",
        });
        let book = json!({
            "bids": [{ "price": "99.5", "size": "2" }, { "price": "99", "size": "10.25" }], "asks": [],
        });
        View { quote: Some(quote), book: Some(book), trouble: None }
    }

    fn text(view: &View, depth: u32) -> io::Result<String> {
        let mut out = Vec::new();
        view.write(&PairKey::new("BTC", "USD", "coinbase"), depth, &mut out)?;
        Ok(String::from_utf8_lossy(&out).into_owned())
    }

    #[test]
    fn an_empty_side_is_a_dash_and_levels_stand_side_by_side() -> io::Result<()> {
        let expected = "\
BTC-USD@coinbase  IN_SYNC  2024-01-01T00:03:00.000Z

measure                    value  size
highest bid                 99.5     2
lowest ask                     -     -
spread                         -     -
largest spread of the day    0.5     -
mean of the last ten mids  99.75     -

bid size   bid  ask  ask size
       2  99.5    -         -
   10.25    99    -         -
";
        assert_eq!(text(&view(), 10)?, expected);
        assert!(!text(&view(), 1)?.contains("10.25"), "one level was asked for");
        Ok(())
    }

    #[test]
    fn a_book_out_of_sync_and_a_lost_connection_are_stated() -> io::Result<()> {
        let mut view = view();
        view.trouble = Some("no route\u{1b}[2J".into());
        if let Some(quote) = &mut view.quote {
            quote["state"] = json!("OUT_OF_SYNC");
        }
        let text = text(&view, 1)?;
        assert!(text.contains("OUT_OF_SYNC") && text.contains("last proved values"), "{text}");
        assert!(text.contains("not live: no route[2J"), "{text}");
        Ok(())
    }

    #[test]
    fn a_line_has_what_the_screen_has() -> io::Result<()> {
        let mut out = Vec::new();
        line(view().quote.as_ref().unwrap_or(&Value::Null), &mut out)?;
        let expected = "2024-01-01T00:03:00.000Z IN_SYNC bid 99.5 x 2 ask - x - spread - largest 0.5 \
            mean10 99.75\n";
        assert_eq!(String::from_utf8_lossy(&out), expected);
        Ok(())
    }
}
