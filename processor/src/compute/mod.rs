//! `processor compute FILE… --print TOPIC`: the whole topology over recorded files, without a broker.
//!
//! ```text
//! files ─ input ─→ outputs of feeds ─→ Computation: the real task ─→ records of all topics ─→ Printer
//! ```
//!
//! The printed records are those that the topics would hold. An hour or a day in its topic is the
//! merge of its closed minutes; [`candles`] adds the open ones, as readers of the API see them.

mod candles;
mod computation;
mod input;
mod listing;
mod marks;
mod print;

use std::io::Write;
use std::path::PathBuf;

use anyhow::Result;
use schemas::{Pool, PoolKey};
use venues::pipeline::Output;

pub use candles::{CandlesOptions, candles};
pub use print::Printed;

use computation::{Computation, Take};
use listing::Listing;
use print::Printer;

/// Records between two commits: as many as state in memory allows, because a commit costs as much
/// as the keys that it writes.
pub const COMMIT_EVERY: usize = 100_000;

/// The options of [`run`].
#[derive(Clone, Debug)]
pub struct ComputeOptions {
    /// The records to print.
    pub print: Printed,
    /// Print every record in the order written, instead of the last one of each key.
    pub changes: bool,
    /// A capture with the listing of the instruments that the files should have, whose facts enrich
    /// `options` and `derivatives`; or a file of pools.
    pub listing: Option<PathBuf>,
    /// Records between two commits, [`COMMIT_EVERY`] for users.
    pub commit_every: usize,
}

/// Computes the files in order and writes the records of a topic as JSON Lines.
///
/// # Errors
/// A file that cannot be read, or is neither a capture nor a trade file: with its name and line. A
/// line that cannot be read in a file that is one of the two is a dead letter.
pub fn run(files: &[PathBuf], options: &ComputeOptions, out: &mut impl Write) -> Result<()> {
    let mut listing = options.listing.as_deref().map(Listing::read).transpose()?;
    let listed = listing.as_mut().map(Listing::take_instruments).unwrap_or_default();
    let mut computation = Computation::new(options.commit_every, listed)?;
    let mut printer = Printer::new(options.print, options.changes, out)?;
    let pools = listing.as_ref().map(|listing| listing.pools().to_vec()).unwrap_or_default();
    let mut check = |output: &Output| {
        if let Some(listing) = &mut listing {
            listing.check(output);
        }
        Ok(())
    };
    feed(files, &pools, &mut computation, &mut check, &mut |record| printer.take(record))?;
    printer.finish()?;
    computation.warn();
    if let Some(listing) = &listing {
        listing.warn();
    }
    Ok(())
}

/// Gives all outputs of the files to the computation, each after a check, and commits the rest.
fn feed(
    files: &[PathBuf],
    pools: &[(PoolKey, Pool)],
    computation: &mut Computation,
    check: &mut dyn FnMut(&Output) -> Result<()>,
    take: &mut Take<'_>,
) -> Result<()> {
    input::check(files)?;
    for file in files {
        input::read(file, pools, &mut |at, output| {
            check(output)?;
            computation.add(at, output, take)
        })?;
    }
    computation.commit(take)
}
