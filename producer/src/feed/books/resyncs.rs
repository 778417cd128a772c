//! The books of one connection: which are in sync, and when the venue is asked for a snapshot next.
//!
//! ```text
//! idle ─ lost, refresh ─→ due ─→ awaits what is sent ── quote ─→ idle
//!                          ▲  ╲       │ late
//!                          │   ╲      ▼
//!                          ├─── requested ─→ joining ── quote ─→ idle
//!                          │        │           │
//!                          └────────┴───────────┘ failed, lost: back-off
//! ```
//!
//! A venue that sends snapshots is asked by the first subscription, and later by a new one.
//!
//! A value: times are arguments, spans since the process began.

use std::collections::BTreeSet;
use std::time::Duration;

use rand::SeedableRng;
use rand::rngs::StdRng;
use rustc_hash::FxHashMap;
use schemas::PairKey;

use crate::feed::backoff::Backoff;

/// A snapshot that the venue sends and that takes longer does not come. The largest has 8 MB, and a
/// connection may have fifty of them to send.
const SENT_WITHIN: Duration = Duration::from_secs(30);
/// Books without a frame after this time are asked for all the same: a quiet pair has no first frame.
const QUIET_WITHIN: Duration = Duration::from_secs(10);

/// An action that is due.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Due {
    /// Ask the venue for the snapshot of this pair.
    Ask(PairKey),
    /// The snapshot of this pair has not come in time.
    Late(PairKey),
}

/// The way of a venue's snapshots.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Source {
    /// The connection sends them after a subscription.
    Sent,
    /// A request has them as its answer.
    Fetched,
}

/// The state of a book's snapshot.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Step {
    /// None is needed, or the subscription is not granted yet.
    Idle,
    /// The venue is asked at this time.
    Due(Duration),
    /// The venue was asked, and sends the snapshot until this time.
    AwaitsSent(Duration),
    /// The request waits or is on its way.
    Requested,
    /// The snapshot is here, and the updates may still have to reach it.
    Joining,
}

impl Step {
    /// The time of the next action.
    fn acts_at(self) -> Option<Duration> {
        match self {
            Self::Due(at) | Self::AwaitsSent(at) => Some(at),
            _ => None,
        }
    }
}

/// One book.
#[derive(Clone, Copy, Debug)]
struct Entry {
    is_in_sync: bool,
    step: Step,
    /// When the venue was last asked.
    asked: Option<Duration>,
    backoff: Backoff,
}

/// The books of one connection.
///
/// Invariants:
/// - A book has at most one request at a time.
/// - A book that was asked for within the longest wait is asked for again only after a back-off.
#[derive(Debug)]
pub(crate) struct Resyncs {
    source: Source,
    books: FxHashMap<PairKey, Entry>,
    /// The times of the next actions.
    actions: BTreeSet<(Duration, PairKey)>,
    in_sync: usize,
    backoff: Backoff,
    rng: StdRng,
}

impl Resyncs {
    /// No books yet. The seed is that of the jitter.
    pub(crate) fn new(source: Source, backoff: Backoff, seed: u64) -> Self {
        Self {
            source,
            books: FxHashMap::default(),
            actions: BTreeSet::new(),
            in_sync: 0,
            backoff,
            rng: StdRng::seed_from_u64(seed),
        }
    }

    /// The book of a pair is followed.
    pub(crate) fn add(&mut self, pair: PairKey) {
        let backoff = self.backoff;
        let entry = Entry { is_in_sync: false, step: Step::Idle, asked: None, backoff };
        self.books.entry(pair).or_insert(entry);
    }

    /// The instrument has ended.
    pub(crate) fn remove(&mut self, pair: &PairKey) {
        self.change(pair, |entry| (entry.is_in_sync, entry.step) = (false, Step::Idle));
        self.books.remove(pair);
    }

    /// Every subscription of the connection is granted or given up.
    pub(crate) fn subscribed(&mut self, now: Duration) {
        let step = match self.source {
            Source::Sent => Step::AwaitsSent(now + SENT_WITHIN),
            Source::Fetched => Step::Due(now + QUIET_WITHIN),
        };
        self.change_all(|entry| {
            if !entry.is_in_sync && entry.step == Step::Idle {
                entry.step = step;
            }
        });
    }

    /// Notes which books are in sync. Quotes tell it too, but not of a connection that is not
    /// published yet.
    pub(crate) fn learn(&mut self, is_in_sync: impl Fn(&PairKey) -> bool) {
        let waiting = self.books.iter().filter(|(_, entry)| !entry.is_in_sync);
        let back: Vec<_> =
            waiting.map(|(pair, _)| pair).filter(|one| is_in_sync(one)).cloned().collect();
        for pair in &back {
            self.quoted(pair);
        }
    }

    /// The book has left the sync, or its snapshot did not bring it back. False for a book that is not
    /// followed.
    pub(crate) fn lost(&mut self, pair: &PairKey, now: Duration) -> bool {
        self.change(pair, |entry| entry.is_in_sync = false);
        self.refresh(pair, now)
    }

    /// The book needs a snapshot. False for a book that is not followed.
    pub(crate) fn refresh(&mut self, pair: &PairKey, now: Duration) -> bool {
        let Some(entry) = self.books.get_mut(pair) else { return false };
        let is_rested = entry.asked.is_none_or(|at| now.saturating_sub(at) >= entry.backoff.cap());
        let wait = match entry.step {
            // Its answer shows whether the book needs another one.
            Step::Requested => return true,
            _ if is_rested => {
                entry.backoff.reset();
                Duration::ZERO
            }
            Step::Due(_) => return true,
            _ => entry.backoff.next(&mut self.rng),
        };
        self.change(pair, |entry| entry.step = Step::Due(now + wait));
        true
    }

    /// The request for a snapshot has failed; the venue asks to wait so long.
    pub(crate) fn failed(&mut self, pair: &PairKey, wait: Duration, now: Duration) {
        let Some(entry) = self.books.get_mut(pair) else { return };
        if matches!(entry.step, Step::Requested | Step::Joining) {
            let wait = entry.backoff.next(&mut self.rng).max(wait);
            self.change(pair, |entry| entry.step = Step::Due(now + wait));
        }
    }

    /// The answer with a snapshot came. False for one that is not waited for.
    pub(crate) fn answered(&mut self, pair: &PairKey) -> bool {
        let is_awaited = self.books.get(pair).is_some_and(|one| one.step == Step::Requested);
        if is_awaited {
            self.change(pair, |entry| entry.step = Step::Joining);
        }
        is_awaited
    }

    /// The book has a quote, so it is in sync. True if it was not before.
    pub(crate) fn quoted(&mut self, pair: &PairKey) -> bool {
        let is_back = self.books.get(pair).is_some_and(|entry| !entry.is_in_sync);
        if is_back {
            self.change(pair, |entry| (entry.is_in_sync, entry.step) = (true, Step::Idle));
        }
        is_back
    }

    /// The time of the next action.
    pub(crate) fn next_due(&self) -> Option<Duration> {
        self.actions.first().map(|(at, _)| *at)
    }

    /// The next action that is due; to be called until there is none.
    pub(crate) fn due(&mut self, now: Duration) -> Option<Due> {
        let (_, pair) = self.actions.first().filter(|(at, _)| *at <= now)?.clone();
        let entry = self.books.get_mut(&pair)?;
        if matches!(entry.step, Step::AwaitsSent(_)) {
            let wait = entry.backoff.next(&mut self.rng);
            self.change(&pair, |entry| entry.step = Step::Due(now + wait));
            return Some(Due::Late(pair));
        }
        let step = match self.source {
            Source::Sent => Step::AwaitsSent(now + SENT_WITHIN),
            Source::Fetched => Step::Requested,
        };
        self.change(&pair, |entry| (entry.asked, entry.step) = (Some(now), step));
        Some(Due::Ask(pair))
    }

    /// The books.
    pub(crate) fn len(&self) -> usize {
        self.books.len()
    }

    /// The books that are out of sync.
    pub(crate) fn out_of_sync(&self) -> usize {
        self.books.len() - self.in_sync
    }

    fn change_all(&mut self, change: impl Fn(&mut Entry)) {
        let pairs: Vec<_> = self.books.keys().cloned().collect();
        for pair in pairs {
            self.change(&pair, &change);
        }
    }

    /// Changes a book, and what is counted and scheduled of it.
    fn change(&mut self, pair: &PairKey, change: impl FnOnce(&mut Entry)) {
        let Some(entry) = self.books.get_mut(pair) else { return };
        let before = *entry;
        change(entry);
        self.in_sync -= usize::from(before.is_in_sync);
        self.in_sync += usize::from(entry.is_in_sync);
        if let Some(at) = before.step.acts_at() {
            self.actions.remove(&(at, pair.clone()));
        }
        if let Some(at) = entry.step.acts_at() {
            self.actions.insert((at, pair.clone()));
        }
    }
}

#[cfg(test)]
#[path = "resyncs_tests.rs"]
mod tests;
