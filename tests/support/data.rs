//! The recorded market data, `../shared/data` beside the repository or `MARKET_DATA`.

use std::fs::File;
use std::io::{BufRead as _, BufReader};
use std::path::PathBuf;

use anyhow::{Context, Result};
use serde_json::Value;

use super::stack::root;

/// A file of the recordings.
pub fn path(name: &str) -> Result<PathBuf> {
    let folder = std::env::var_os("MARKET_DATA").map(PathBuf::from);
    let folder = folder.unwrap_or_else(|| root().join("../shared/data"));
    let path = folder.join(name);
    path.canonicalize().with_context(|| {
        format!("{} is not there: set MARKET_DATA to the folder of the recordings", path.display())
    })
}

/// The lines of a file, unpacked when it is packed.
pub fn lines(name: &str) -> Result<Vec<String>> {
    let path = path(name)?;
    let file = File::open(&path)?;
    let is_packed = path.extension().is_some_and(|extension| extension == "zst");
    let lines: std::io::Result<Vec<String>> = if is_packed {
        BufReader::new(zstd::Decoder::new(file)?).lines().collect()
    } else {
        BufReader::new(file).lines().collect()
    };
    Ok(lines?)
}

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
