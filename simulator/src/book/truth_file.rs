//! The file of the truth, for tests in another process.

use std::fs::File;
use std::io::{BufWriter, Write as _};
use std::path::Path;

use anyhow::Context as _;

/// Lines of a file: some 2 GB. A run of a test writes a thousandth of it.
const MAX_LINES: usize = 10_000_000;

/// Lines of JSON, appended after each step of the market.
pub(crate) struct TruthFile {
    file: BufWriter<File>,
    lines: usize,
}

impl TruthFile {
    /// A new file in the place of one that is there.
    pub(crate) fn create(path: &Path) -> anyhow::Result<Self> {
        let file = File::create(path).with_context(|| {
            format!(
                "cannot create {}: --truth needs a file in a folder that exists",
                path.display()
            )
        })?;
        Ok(Self { file: BufWriter::new(file), lines: 0 })
    }

    /// Appends lines, which can be read at once. A step has a few hundred: it is not worth a thread.
    pub(crate) fn append(&mut self, lines: &[String]) -> anyhow::Result<()> {
        if lines.is_empty() {
            return Ok(());
        }
        self.lines += lines.len();
        anyhow::ensure!(self.lines <= MAX_LINES, "the file has {MAX_LINES} lines");
        for line in lines {
            writeln!(self.file, "{line}")?;
        }
        Ok(self.file.flush()?)
    }
}
