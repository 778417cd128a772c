//! The recorded data that unit tests read.

#[path = "../../tests/support/recordings.rs"]
#[expect(unreachable_pub, reason = "a library elsewhere")]
mod recordings;

use anyhow::Result;
use serde_json::Value;

/// The text frames of a capture with their arrival in microseconds.
pub(crate) fn frames(name: &str) -> Result<Vec<(i64, String)>> {
    of_kind(name, "frame")
}

/// The answers to requests of a capture.
pub(crate) fn bodies(name: &str) -> Result<Vec<String>> {
    Ok(of_kind(name, "http")?.into_iter().map(|(_, raw)| raw).collect())
}

/// The single messages of one exchange among those of many: kind, case, text.
pub(crate) fn mixed(exchange: &str) -> Result<Vec<(String, String, String)>> {
    let mut messages = Vec::new();
    for line in json("mixed/messages.jsonl.zst")? {
        let text = |field: &str| line[field].as_str().unwrap_or_default().to_owned();
        if line["exchange"] == exchange {
            messages.push((text("kind"), text("case"), text("raw")));
        }
    }
    Ok(messages)
}

fn of_kind(name: &str, kind: &str) -> Result<Vec<(i64, String)>> {
    let lines = json(name)?.into_iter().filter(|line| line["kind"] == kind);
    let frame = |line: Value| {
        let at = line["at_us"].as_i64().unwrap_or_default();
        (at, line["raw"].as_str().unwrap_or_default().to_owned())
    };
    Ok(lines.map(frame).collect())
}

fn json(name: &str) -> Result<Vec<Value>> {
    recordings::lines(name)?.iter().map(|line| Ok(serde_json::from_str(line)?)).collect()
}
