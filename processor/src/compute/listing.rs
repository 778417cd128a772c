//! `--listing FILE`: the instruments that the recorded files should have.
//!
//! The adapters read every symbol without a listing, so no record depends on it. It shows files that
//! do not belong together: a capture whose instruments the venue did not list.

use std::collections::BTreeSet;
use std::io;
use std::path::Path;

use anyhow::{Result, anyhow, ensure};
use cli::lines::{self, Lines};
use rustc_hash::FxHashSet;
use schemas::PairKey;
use venues::pipeline::Output;
use venues::recording;

/// The listed pairs, and the pairs of records that are not among them.
#[derive(Default)]
pub(super) struct Listing {
    pairs: FxHashSet<PairKey>,
    exchanges: FxHashSet<&'static str>,
    unlisted: BTreeSet<PairKey>,
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
        while let Some(line) = lines.next_line().map_err(failed)? {
            let Some((venue, instruments)) = recording::listing(&line) else { continue };
            listing.exchanges.insert(venue.as_str());
            listing.pairs.extend(instruments.iter().filter_map(|one| venue.pair(&one.name).ok()));
        }
        ensure!(
            !listing.pairs.is_empty(),
            "--listing {shown} has no listing: no line is an answer with instruments; name a capture \
             that has one"
        );
        Ok(listing)
    }

    /// Notes an event or a quote of a pair that is not listed. Exchanges without a listing are not checked.
    pub(super) fn check(&mut self, output: &Output) {
        if let Output::Event { pair, .. } | Output::Quote { pair, .. } = output
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
