//! The progress of a store, from which readers compute the age of an answer.
//!
//! ```text
//! next       everything before this offset of the topic is in the store or its overlay
//! complete   so is everything that was committed before this moment
//! ```
//!
//! A moment is when the broker was asked, never when its answer was read: a process that was stopped
//! or cut off reads an answer long after it was true.
//!
//! Invariant: both only grow, and say less than is true rather than more.

use std::sync::atomic::{AtomicI64, Ordering};
use std::time::Duration;

use crate::record::{Offset, Timestamp};

/// Not known yet: smaller than every offset and time.
const UNKNOWN: i64 = i64::MIN;

/// One moment on two clocks, of which each lies in its own way: the wall clock is set back, and the
/// monotonic one (`CLOCK_MONOTONIC` on Linux) stands still while the machine is suspended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Moment {
    /// Wall-clock time.
    pub wall: Timestamp,
    /// Monotonic milliseconds since some moment of this process.
    pub up_ms: i64,
}

impl Moment {
    /// A reading of both clocks.
    pub fn new(wall: Timestamp, up: Duration) -> Self {
        Self { wall, up_ms: i64::try_from(up.as_millis()).unwrap_or(i64::MAX) }
    }

    /// Milliseconds since `earlier`: the greater of the two clocks' differences, so that an age is too
    /// great rather than too small.
    ///
    /// ```
    /// use streams::record::Timestamp;
    /// use streams::store::Moment;
    /// let asked = Moment { wall: Timestamp(100_000), up_ms: 50 };
    /// let set_back = Moment { wall: Timestamp(40_000), up_ms: 2_050 };
    /// let was_suspended = Moment { wall: Timestamp(103_000), up_ms: 51 };
    /// assert_eq!(set_back.ms_since(asked), 2_000);
    /// assert_eq!(was_suspended.ms_since(asked), 3_000);
    /// ```
    pub fn ms_since(self, earlier: Self) -> i64 {
        let wall = self.wall.0.saturating_sub(earlier.wall.0);
        wall.max(self.up_ms.saturating_sub(earlier.up_ms)).max(0)
    }

    /// A moment that is as old as both, or older.
    #[must_use]
    pub fn older(self, other: Self) -> Self {
        Self { wall: self.wall.min(other.wall), up_ms: self.up_ms.min(other.up_ms) }
    }
}

/// Written by the owner of the store, read from any thread.
///
/// ```
/// use streams::record::{Offset, Timestamp};
/// use streams::store::{Freshness, Moment};
/// let freshness = Freshness::default();
/// assert_eq!(freshness.complete_at(), None);
/// let asked = Moment { wall: Timestamp(1_000), up_ms: 5 };
/// freshness.claims(Offset(7));
/// freshness.complete(asked);
/// // An answer to an earlier question changes nothing.
/// freshness.complete(Moment { wall: Timestamp(2_000), up_ms: 4 });
/// assert_eq!(freshness.complete_at(), Some(asked));
/// ```
#[derive(Debug)]
pub struct Freshness {
    next: AtomicI64,
    /// Both are of moments at which the broker was asked. A reader between the two writes computes an
    /// age that is too great, for the greater of two differences counts.
    wall: AtomicI64,
    up_ms: AtomicI64,
}

impl Default for Freshness {
    fn default() -> Self {
        let [next, wall, up_ms] = [(); 3].map(|()| AtomicI64::new(UNKNOWN));
        Self { next, wall, up_ms }
    }
}

impl Freshness {
    /// Every record before `next` is here.
    pub fn claims(&self, next: Offset) {
        self.next.fetch_max(next.0, Ordering::Relaxed);
    }

    /// The broker was asked at `asked`, and everything that was committed before is here.
    pub fn complete(&self, asked: Moment) {
        // Of two writers at once, which a handover may cause, each writes what is true.
        if asked.up_ms > self.up_ms.load(Ordering::Acquire) {
            self.wall.store(asked.wall.0, Ordering::Release);
            self.up_ms.store(asked.up_ms, Ordering::Release);
        }
    }

    /// The next offset of the topic; none while nothing is known.
    pub fn next(&self) -> Option<Offset> {
        Some(self.next.load(Ordering::Relaxed)).filter(|next| *next != UNKNOWN).map(Offset)
    }

    /// The moment before which nothing is missing; none while nothing is known.
    pub fn complete_at(&self) -> Option<Moment> {
        let up_ms = self.up_ms.load(Ordering::Acquire);
        let wall = Timestamp(self.wall.load(Ordering::Acquire));
        (up_ms != UNKNOWN).then_some(Moment { wall, up_ms })
    }
}
