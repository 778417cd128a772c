//! The files of a computation: captures and trade files, told apart by their first line.
//!
//! Both may be compressed with zstd. `-` is standard input.

use std::fs;
use std::io::{self, BufRead};
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result, anyhow, bail, ensure};
use cli::lines::{self, Lines};
use schemas::{Pool, PoolKey, Timestamp};
use venues::pipeline::{Output, Produced};
use venues::recording::{self, Format, Receipt, Recording};

/// Lines between two lines of progress: some seconds.
const PROGRESS_LINES: u64 = 1_000_000;

/// Gets each output with the time at which it was received.
type Add<'a> = dyn FnMut(Timestamp, &Output) -> Result<()> + 'a;

fn open(path: &Path) -> io::Result<Box<dyn BufRead>> {
    if is_standard_input(path) { lines::unpack(io::stdin()) } else { lines::open(path) }
}

fn is_standard_input(path: &Path) -> bool {
    path.as_os_str() == "-"
}

/// Checks that every file exists, before anything is computed. It opens none: a pipe can be opened
/// once.
pub(super) fn check(files: &[PathBuf]) -> Result<()> {
    for file in files.iter().filter(|file| !is_standard_input(file)) {
        let shown = file.display();
        let metadata = fs::metadata(file).map_err(|error| {
            anyhow!("cannot open {shown}: {error}; name a capture, a trade file, or - for standard input")
        })?;
        ensure!(!metadata.is_dir(), "cannot read {shown}: it is a directory; name its files");
    }
    Ok(())
}

/// Reads a file to its end; a capture of a chain has the swaps of these pools.
pub(super) fn read(path: &Path, pools: &[(PoolKey, Pool)], add: &mut Add<'_>) -> Result<()> {
    let shown = path.display();
    let mut number = 0u64;
    let cut_off = |number: u64, error: io::Error| {
        anyhow!(
            "cannot read {shown} after line {number}: {error}; copy the file again, or take its \
             whole lines: zstd -dc {shown} | head -n {number}"
        )
    };
    let mut lines = Lines::new(open(path).map_err(|error| cut_off(0, error))?);
    let (mut recording, mut produced) = (None, Produced::default());
    while let Some(line) = lines.next_line().map_err(|error| cut_off(number, error))? {
        number += 1;
        let place = || format!("cannot compute {shown}, line {number}");
        if line.trim().is_empty() {
            continue;
        }
        let recording = match &mut recording {
            Some(recording) => recording,
            none => {
                let begun = begin(path, &line).with_context(place)?;
                none.insert(begun.with_pools(pools.to_vec()))
            }
        };
        let receipt = recording.line(&line, &mut produced).with_context(place)?;
        pass_on(receipt, &mut produced, add).with_context(place)?;
        if number.is_multiple_of(PROGRESS_LINES) {
            tracing::info!(file = %shown, lines = number, "computing");
        }
    }
    let Some(mut recording) = recording else { return Ok(()) };
    let receipt = recording.finish(&mut produced);
    pass_on(receipt, &mut produced, add)
        .with_context(|| format!("cannot compute the end of {shown}, after line {number}"))
}

fn pass_on(receipt: Receipt, produced: &mut Produced, add: &mut Add<'_>) -> Result<()> {
    produced.counts.clear();
    produced.outputs.drain(..).try_for_each(|output| add(receipt.at, &output))
}

/// The recording of a file that begins with `line`.
fn begin(path: &Path, line: &str) -> Result<Recording> {
    match Format::of(line) {
        Some(Format::Trades) => Ok(Recording::new(false)),
        Some(Format::Capture) => {
            ensure!(
                path.is_file(),
                "a capture is read twice, which a pipe cannot be; write it to a file and name that"
            );
            let single =
                open(path).and_then(|file| Lines::new(file).any(recording::is_single_trade));
            // A file that cannot be read to its end is an error at the line where it ends.
            Ok(Recording::new(single.unwrap_or(false)))
        }
        None => bail!(
            "the line is not of a capture (at_us, venue, kind, raw), and is no trade (exchange, \
             base, quote, price, size, event_time_us); convert the file or leave it out"
        ),
    }
}
