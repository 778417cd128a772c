//! The recorded data that tests read, where it is at hand.

use std::io::{self, Write};
use std::path::PathBuf;

/// A file of the recorded data; `None`, and a line that says so, when it is not there.
pub(crate) fn file(name: &str) -> Option<PathBuf> {
    let path = PathBuf::from(concat!(env!("CARGO_MANIFEST_DIR"), "/../../shared/data")).join(name);
    if path.exists() {
        return Some(path);
    }
    let _ = writeln!(io::stderr(), "SKIPPED: the recorded data {} is not here", path.display());
    None
}

/// The text frames of a capture with their arrival in microseconds, read without the adapters.
pub(crate) fn frames(name: &str) -> anyhow::Result<Option<Vec<(i64, String)>>> {
    of_kind(name, "frame")
}

/// The answers to requests of a capture.
pub(crate) fn bodies(name: &str) -> anyhow::Result<Option<Vec<String>>> {
    let recorded = of_kind(name, "http")?;
    Ok(recorded.map(|recorded| recorded.into_iter().map(|(_, raw)| raw).collect()))
}

/// The single messages of one exchange among those of many: kind, case, text.
pub(crate) fn mixed(exchange: &str) -> anyhow::Result<Option<Vec<(String, String, String)>>> {
    let Some(path) = file("mixed/messages.jsonl.zst") else { return Ok(None) };
    let mut lines = crate::lines::Lines::new(crate::lines::open(&path)?);
    let mut messages = Vec::new();
    while let Some(line) = lines.next_line()? {
        let line: serde_json::Value = serde_json::from_str(&line)?;
        let text = |field: &str| line[field].as_str().unwrap_or_default().to_owned();
        if line["exchange"] == exchange {
            messages.push((text("kind"), text("case"), text("raw")));
        }
    }
    Ok(Some(messages))
}

fn of_kind(name: &str, kind: &str) -> anyhow::Result<Option<Vec<(i64, String)>>> {
    let Some(path) = file(name) else { return Ok(None) };
    let mut lines = crate::lines::Lines::new(crate::lines::open(&path)?);
    let mut frames = Vec::new();
    while let Some(line) = lines.next_line()? {
        let line: serde_json::Value = serde_json::from_str(&line)?;
        if line["kind"] == kind {
            let at = line["at_us"].as_i64().unwrap_or_default();
            frames.push((at, line["raw"].as_str().unwrap_or_default().to_owned()));
        }
    }
    Ok(Some(frames))
}
