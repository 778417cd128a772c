//! The recorded data that unit tests read, without the adapters.

#[path = "../../tests/support/recordings.rs"]
#[expect(unreachable_pub, reason = "a library elsewhere")]
mod recordings;

use anyhow::Result;
use serde_json::Value;

pub(crate) use recordings::path as file;

/// The text frames of a capture with their arrival in microseconds.
pub(crate) fn frames(name: &str) -> Result<Vec<(i64, String)>> {
    of_kind(name, "frame")
}

/// The answers to requests of a capture.
pub(crate) fn bodies(name: &str) -> Result<Vec<String>> {
    Ok(of_kind(name, "http")?.into_iter().map(|(_, raw)| raw).collect())
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
