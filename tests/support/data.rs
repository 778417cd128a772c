//! The recorded market data, parsed.

use anyhow::Result;
use serde_json::Value;

pub use super::recordings::{json, lines, path};

/// The frames of a capture, parsed.
pub fn frames(name: &str) -> Result<Vec<Value>> {
    let frames = super::recordings::frames(name)?.into_iter();
    frames.map(|(_, text)| Ok(serde_json::from_str(&text)?)).collect()
}
