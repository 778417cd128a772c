//! Where the recorded market data is, and its lines: the only code that knows the folder.
//!
//! It is part of the repository, so a file that is missing is an error, never a reason to skip.
//! `tests` and the tests of `venues` and `producer` include this file by its path, so it depends on none
//! of them.

use std::fs::File;
use std::io::{BufRead as _, BufReader};
use std::path::PathBuf;

use anyhow::{Context as _, Result};
use serde_json::Value;

/// Below the repository's root, whichever crate beneath it is built.
const FOLDER: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../tests/data");

/// A file of the recordings.
pub fn path(name: &str) -> Result<PathBuf> {
    let path = PathBuf::from(FOLDER).join(name);
    path.canonicalize().with_context(|| {
        format!(
            "the recording tests/data/{name} is missing: restore it with git checkout tests/data"
        )
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
    lines.with_context(|| format!("tests/data/{name} cannot be read: restore it with git checkout"))
}

/// The lines of a JSON Lines file. Numbers keep their text.
pub fn json(name: &str) -> Result<Vec<Value>> {
    lines(name)?.iter().map(|line| Ok(serde_json::from_str(line)?)).collect()
}

/// The text frames of a capture with their arrival in microseconds.
pub fn frames(name: &str) -> Result<Vec<(i64, String)>> {
    of_kind(name, "frame")
}

/// The answers to requests of a capture.
pub fn bodies(name: &str) -> Result<Vec<String>> {
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
