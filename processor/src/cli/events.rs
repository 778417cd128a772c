//! Server-sent events of one subscription: bytes in, rows out.
//!
//! ```text
//! event: update
//! data: {"type":"update","rows":[…]}
//!
//! ```

use std::io::{BufRead, BufReader, Read};

use anyhow::{Context as _, Result, bail, ensure};
use serde_json::Value;

/// Bytes of a line. The server ends a message at 64 KiB and the row that exceeds it.
const MAX_LINE: u64 = 1 << 20;
/// The beginning of a line with a message.
const DATA: &str = "data: ";

/// Gives the rows of each message, none of one without rows, until the stream ends or `take` returns
/// false.
///
/// # Errors
/// The server's reason for ending the stream, or that it ended without one.
pub(super) fn follow(stream: impl Read, mut take: impl FnMut(Vec<Value>) -> bool) -> Result<()> {
    let mut stream = BufReader::new(stream);
    let mut line = String::new();
    loop {
        line.clear();
        let read = stream.by_ref().take(MAX_LINE).read_line(&mut line)?;
        ensure!(read > 0, "the server ended the stream");
        ensure!(line.ends_with('\n'), "a line of the stream has more than {MAX_LINE} bytes");
        let Some(data) = line.trim_end().strip_prefix(DATA) else { continue };
        let mut message: Value = serde_json::from_str(data).context("a message is not JSON")?;
        match message["type"].as_str() {
            Some("snapshot" | "resumed" | "update") => {
                let Value::Array(rows) = message["rows"].take() else {
                    bail!("a message without rows: is it a processor of this version?");
                };
                if !take(rows) {
                    return Ok(());
                }
            }
            Some("error") => bail!("{}", message["error"].as_str().unwrap_or("no reason given")),
            Some("close") => {
                bail!("the server closed the stream: {}", message["reason"].as_str().unwrap_or("-"))
            }
            // Such as a heartbeat: it shows whether somebody still wants rows.
            _ if !take(Vec::new()) => return Ok(()),
            _ => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    /// The rows of a stream, and the reason of its end.
    fn rows(text: &str) -> (Vec<Value>, String) {
        let mut found = Vec::new();
        let end = follow(text.as_bytes(), |rows| {
            found.extend(rows);
            true
        });
        (found, end.err().map(|error| error.to_string()).unwrap_or_default())
    }

    #[test]
    fn rows_of_messages_are_taken_and_the_rest_is_skipped() {
        let text = "event: subscribed\ndata: {\"type\":\"subscribed\"}\n\n: a comment\n\n\
            event: snapshot\ndata: {\"type\":\"snapshot\",\"rows\":[{\"a\":1}]}\nid: t\n\n\
            data: {\"type\":\"heartbeat\"}\n\ndata: {\"type\":\"update\",\"rows\":[{\"a\":2}]}\n\n";
        let (found, end) = rows(text);
        assert_eq!(found, [json!({ "a": 1 }), json!({ "a": 2 })]);
        assert!(end.contains("ended the stream"), "{end}");
    }

    #[test]
    fn the_servers_reason_is_the_error() {
        let close = "event: close\ndata: {\"type\":\"close\",\"reason\":\"stopping\"}\n\n";
        assert!(rows(close).1.contains("stopping"));
        assert!(
            rows("data: {\"type\":\"error\",\"error\":\"no store\"}\n\n").1.contains("no store")
        );
        assert!(rows("data: nonsense\n\n").1.contains("not JSON"));
        assert!(rows("data: {\"type\":\"update\"}\n\n").1.contains("without rows"));
    }

    #[test]
    fn a_line_without_end_is_refused() {
        let endless = std::io::repeat(b'x');
        let end = follow(endless, |_| true).unwrap_err().to_string();
        assert!(end.contains("more than"), "{end}");
    }

    #[test]
    fn nothing_is_read_after_the_last_row_that_is_wanted() {
        let text = "data: {\"type\":\"update\",\"rows\":[]}\n\ndata: nonsense\n\n";
        assert!(follow(text.as_bytes(), |_| false).is_ok());
    }
}
