//! The recorded market data, parsed.

use anyhow::Result;
use serde_json::Value;

pub use super::recordings::{lines, path};

/// The lines of a JSON Lines file. Numbers keep their text.
pub fn json(name: &str) -> Result<Vec<Value>> {
    lines(name)?.iter().map(|line| Ok(serde_json::from_str(line)?)).collect()
}

/// The frames of a capture, parsed.
pub fn frames(name: &str) -> Result<Vec<Value>> {
    let captured = json(name)?.into_iter().filter(|line| line["kind"] == "frame");
    captured
        .map(|line| Ok(serde_json::from_str(line["raw"].as_str().unwrap_or_default())?))
        .collect()
}
