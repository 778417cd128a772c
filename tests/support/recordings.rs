//! Where the recorded market data is, and its lines: the only code that knows the folder.
//!
//! It is part of the repository, so a file that is missing is an error, never a reason to skip.
//! `tests` and the tests of `producer` include this file by its path, so it depends on neither.

use std::fs::File;
use std::io::{BufRead as _, BufReader};
use std::path::PathBuf;

use anyhow::{Context as _, Result};

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
