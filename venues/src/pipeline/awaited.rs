//! The followed books that have not had a quote yet: past a bound they are out of sync.
//!
//! ```text
//! followed ─ next frame ─→ awaited ─ 30 s of receipt ─→ late
//! ```
//!
//! The times are those of frames, so a replay of a capture marks what the live feed marked. A replay
//! follows its books again at each connection; a book that is late twice has had its mark.

use std::collections::BTreeSet;

use schemas::{PairKey, Timestamp};

use super::books::MAX_BOOKS;

/// Milliseconds in which a followed book must have its first quote. The producer waits as long for a
/// snapshot that the venue sends.
pub(super) const FIRST_WITHIN_MS: i64 = 30_000;

/// See the module. At most [`MAX_BOOKS`] books.
#[derive(Default)]
pub(super) struct Awaited {
    /// Those since the last frame.
    new: Vec<PairKey>,
    /// By the time of the frame from which on they are awaited.
    since: BTreeSet<(Timestamp, PairKey)>,
}

impl Awaited {
    /// The books of these pairs are followed.
    pub(super) fn follow(&mut self, pairs: impl Iterator<Item = PairKey>) {
        let room = MAX_BOOKS.saturating_sub(self.new.len() + self.since.len());
        self.new.extend(pairs.take(room));
    }

    /// The book of a pair is no longer followed.
    pub(super) fn forget(&mut self, pair: &PairKey) {
        self.new.retain(|one| one != pair);
        self.since.retain(|(_, one)| one != pair);
    }

    /// The next pair that has been awaited for too long at this receipt, and since when.
    pub(super) fn late(&mut self, received_at: Timestamp) -> Option<(Timestamp, PairKey)> {
        self.since.extend(self.new.drain(..).map(|pair| (received_at, pair)));
        let (since, _) = self.since.first()?;
        let is_late = received_at.0 >= since.0.saturating_add(FIRST_WITHIN_MS);
        if is_late { self.since.pop_first() } else { None }
    }
}
