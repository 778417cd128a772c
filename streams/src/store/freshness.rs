//! How far a store has come, for readers that want to know how old their answer is.
//!
//! ```text
//! next    everything before this offset of the topic is in the store or its overlay
//! as_of   so is everything that was committed before this time
//! ```
//!
//! Invariant: both only grow, and say less than is true rather than more.

use std::sync::atomic::{AtomicI64, Ordering};

use crate::record::{Offset, Timestamp};

/// Nothing is known yet: no offset and no time is smaller.
const UNKNOWN: i64 = i64::MIN;

/// Written by whoever changes the store, read from any thread.
///
/// ```
/// use streams::record::{Offset, Timestamp};
/// use streams::store::Freshness;
/// let freshness = Freshness::default();
/// assert_eq!(freshness.as_of(), None);
/// freshness.reached(Offset(7), Timestamp(1_000));
/// freshness.complete(Timestamp(900));
/// assert_eq!(freshness.as_of(), Some(Timestamp(1_000)));
/// ```
#[derive(Debug)]
pub struct Freshness {
    next: AtomicI64,
    as_of: AtomicI64,
}

impl Default for Freshness {
    fn default() -> Self {
        Self { next: AtomicI64::new(UNKNOWN), as_of: AtomicI64::new(UNKNOWN) }
    }
}

impl Freshness {
    /// Every record before `next` is here, and the last of them was produced at `time`.
    pub fn reached(&self, next: Offset, time: Timestamp) {
        self.claims(next);
        self.complete(time);
    }

    /// Every record before `next` is here.
    pub fn claims(&self, next: Offset) {
        self.next.fetch_max(next.0, Ordering::Relaxed);
    }

    /// Everything that was committed before `time` is here.
    pub fn complete(&self, time: Timestamp) {
        self.as_of.fetch_max(time.0, Ordering::Relaxed);
    }

    /// The next offset of the topic; none while nothing is known.
    pub fn next(&self) -> Option<Offset> {
        Some(self.next.load(Ordering::Relaxed)).filter(|next| *next != UNKNOWN).map(Offset)
    }

    /// The time before which nothing is missing; none while nothing is known.
    pub fn as_of(&self) -> Option<Timestamp> {
        Some(self.as_of.load(Ordering::Relaxed)).filter(|time| *time != UNKNOWN).map(Timestamp)
    }
}
