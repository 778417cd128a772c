//! `--listing FILE`: the instruments that the recorded files should have.
//!
//! A file of pools, a JSON object for each line, lists the pools of a chain: their facts are records of
//! `swaps`, before all others, and logs of other pools are left out.
//!
//! A capture has two uses:
//! - The facts of options, futures and perpetuals are records of `option_tickers`, before all others.
//!   So each of them has a row, with contract size and tick size, that no name states.
//! - It shows files that do not belong together: a capture whose instruments the venue did not list.
//!   The adapters read every symbol without a listing, so no other record depends on it.

use std::collections::BTreeSet;
use std::io;
use std::path::Path;

use anyhow::{Result, anyhow, ensure};
use cli::lines::{self, Lines};
use rustc_hash::FxHashSet;
use schemas::{Instrument, PairKey, Pool, PoolKey, Timestamp};
use venues::pipeline::{Output, Pipeline, Produced};
use venues::{Follow, ethereum, recording};

/// The time of a listing: that of the first record that follows it.
const UNKNOWN: Timestamp = Timestamp(0);

/// The record of an instrument.
fn facts(output: Output) -> Option<(PairKey, Instrument)> {
    match output {
        Output::Instrument { pair, instrument } => Some((pair, instrument)),
        _ => None,
    }
}

/// The listed pairs, and the pairs of records that are not among them.
#[derive(Default)]
pub(super) struct Listing {
    pairs: FxHashSet<PairKey>,
    exchanges: FxHashSet<&'static str>,
    /// The instruments that have facts, in the order of the listing.
    instruments: Vec<(PairKey, Instrument)>,
    unlisted: BTreeSet<PairKey>,
    pools: Vec<(PoolKey, Pool)>,
}

/// Whether a line is of a file of pools.
fn is_pool(line: &str) -> bool {
    line.trim_start().starts_with('{') && line.contains("\"pool\"") && line.contains("\"token0\"")
}

impl Listing {
    /// Reads the answers in a capture.
    pub(super) fn read(path: &Path) -> Result<Self> {
        let shown = path.display();
        let failed = |error: io::Error| {
            anyhow!("cannot read --listing {shown}: {error}; name a capture with a listing")
        };
        let mut lines = Lines::new(lines::open(path).map_err(failed)?);
        let mut listing = Self::default();
        let mut number = 0u64;
        while let Some(line) = lines.next_line().map_err(failed)? {
            number += 1;
            if is_pool(&line) {
                let pool = ethereum::listing::parse(&line).map_err(|error| {
                    anyhow!(
                        "cannot read --listing {shown}, line {number}: {error}; correct the pool or \
                         leave it out"
                    )
                })?;
                listing.pools.push(pool);
                continue;
            }
            let Some((venue, instruments)) = recording::listing(&line) else { continue };
            listing.exchanges.insert(venue.as_str());
            listing.pairs.extend(instruments.iter().filter_map(|one| venue.pair(&one.name).ok()));
            // As a feed of its own tells them, so that no instrument is absent from the next answer.
            let mut told = Produced::default();
            Pipeline::new(venue, "listing", Follow::ALL).listing(&instruments, UNKNOWN, &mut told);
            listing.instruments.extend(told.outputs.into_iter().filter_map(facts));
        }
        ensure!(
            !listing.pairs.is_empty() || !listing.pools.is_empty(),
            "--listing {shown} has no listing: no line is an answer with instruments or a pool; name a \
             capture that has one, or a file of pools"
        );
        Ok(listing)
    }

    /// The instruments with facts, without a time.
    pub(super) fn take_instruments(&mut self) -> Vec<(PairKey, Instrument)> {
        std::mem::take(&mut self.instruments)
    }

    /// The listed pools.
    pub(super) fn pools(&self) -> &[(PoolKey, Pool)] {
        &self.pools
    }

    /// Notes an event, a quote or a ticker of a pair that is not listed. Exchanges without a listing are not checked.
    pub(super) fn check(&mut self, output: &Output) {
        if let Output::Event { pair, .. } | Output::Quote { pair, .. } | Output::Ticker { pair, .. } =
            output
            && self.exchanges.contains(&*pair.exchange)
            && !self.pairs.contains(pair)
            && !self.unlisted.contains(pair)
        {
            self.unlisted.insert(pair.clone());
        }
    }

    /// Logs the pairs that are not listed, if there are any.
    pub(super) fn warn(&self) {
        if let Some(first) = self.unlisted.first() {
            tracing::warn!(
                pairs = self.unlisted.len(),
                %first,
                "the files have pairs that the listing has not: use a listing of the same time"
            );
        }
    }
}
