//! One bound on the memory that readers hold in this process: request bodies, answers being sent,
//! and messages queued for streaming clients.
//!
//! ```text
//! answer, request body   hold ─► counted, or an older answer is cut, or 503     until the last byte is sent
//! rows of a stream       keep ─► counted; over the bound the hub drops the slowest client
//! ```
//!
//! An answer is counted until its bytes have left every buffer of this process. A client that reads
//! too slowly must not block others: its answer is cut when another one needs the room. An answer
//! that is read at once is sent long before it may be cut.
//!
//! Invariants:
//! - `held` is the sum of all live reservations, less the answers that were cut.
//! - Rows that many clients wait for are counted once.

use std::collections::BTreeMap;
use std::fmt;
use std::ops::Deref;
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};
use std::time::{Duration, Instant};

use axum::body::Bytes;
use prometheus::{IntGauge, Registry};

use super::clock;
use super::connections::ConnectionHandle;
use super::metrics;

/// The age from which an answer may be cut. Sending one takes milliseconds if the client reads.
const MAY_BE_CUT_AFTER: Duration = Duration::from_secs(1);

/// The share of the bound that is reserved for streams, one part in four. Streams cannot be
/// refused, and a burst of answers must not disconnect a streaming client.
const FOR_STREAMS: usize = 4;

/// The bound. Clones share it.
#[derive(Clone)]
pub struct Budget(Arc<Shared>);

struct Shared {
    max: usize,
    /// Shows the bytes held, once it is registered.
    gauge: OnceLock<IntGauge>,
    /// Locked for a few additions by each answer and each frame.
    state: Mutex<Ledger>,
}

#[derive(Default)]
struct Ledger {
    held: usize,
    next: u64,
    /// The answers that may be cut, oldest first.
    answers: BTreeMap<u64, PendingAnswer>,
}

struct PendingAnswer {
    bytes: usize,
    since: Instant,
    handle: ConnectionHandle,
}

impl Ledger {
    /// Cuts old answers until `bytes` fit. False when they do not fit.
    fn make_room(&mut self, bytes: usize, max: usize, now: Instant) -> bool {
        while self.held.saturating_add(bytes) > max {
            let Some(oldest) = self.answers.first_entry() else { return false };
            if now.saturating_duration_since(oldest.get().since) < MAY_BE_CUT_AFTER {
                return false;
            }
            let answer = oldest.remove();
            self.held -= answer.bytes;
            answer.handle.cut();
        }
        true
    }
}

impl Budget {
    /// A bound of `max` bytes.
    pub fn new(max: usize) -> Self {
        Self(Arc::new(Shared { max, gauge: OnceLock::new(), state: Mutex::default() }))
    }

    /// Adds the gauge of held bytes to the metrics.
    pub fn register(&self, registry: &Registry) -> prometheus::Result<()> {
        let new = metrics::reader_memory()?;
        registry.register(Box::new(self.0.gauge.get_or_init(|| new).clone()))
    }

    fn show(&self, state: &Ledger) {
        if let Some(gauge) = self.0.gauge.get() {
            gauge.set(i64::try_from(state.held).unwrap_or(i64::MAX));
        }
    }

    fn state(&self) -> MutexGuard<'_, Ledger> {
        self.0.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Counts bytes for the client of a connection; `None` when there is no room.
    pub(super) fn hold(&self, bytes: usize, handle: Option<&ConnectionHandle>) -> Option<Held> {
        let now = clock::instant();
        let mut state = self.state();
        if !state.make_room(bytes, self.0.max - self.0.max / FOR_STREAMS, now) {
            return None;
        }
        state.held += bytes;
        self.show(&state);
        let id = handle.map(|handle| {
            let id = state.next;
            state.next += 1;
            state.answers.insert(id, PendingAnswer { bytes, since: now, handle: handle.clone() });
            id
        });
        Some(Held { budget: self.clone(), bytes, id })
    }

    /// An answer that is counted until its last byte is sent; `None` when there is no room.
    pub(super) fn answer(&self, body: Bytes, handle: Option<&ConnectionHandle>) -> Option<Bytes> {
        let held = self.hold(body.len(), handle)?;
        Some(Bytes::from_owner(Counted { body, _held: held }))
    }

    /// Counts bytes that cannot be refused.
    pub(super) fn keep(&self, bytes: usize) -> Held {
        let mut state = self.state();
        state.held += bytes;
        self.show(&state);
        drop(state);
        Held { budget: self.clone(), bytes, id: None }
    }

    /// Makes room as for a new answer. Returns the bytes by which the bound is still exceeded.
    pub(super) fn excess(&self) -> usize {
        let mut state = self.state();
        state.make_room(0, self.0.max, clock::instant());
        state.held.saturating_sub(self.0.max)
    }

    /// The bytes held.
    #[cfg(test)]
    pub(super) fn held(&self) -> usize {
        self.state().held
    }
}

/// Bytes that are counted until this value is dropped.
pub(super) struct Held {
    budget: Budget,
    bytes: usize,
    /// The key among the answers that may be cut.
    id: Option<u64>,
}

impl Drop for Held {
    fn drop(&mut self) {
        let mut state = self.budget.state();
        // A cut answer has been subtracted already.
        if self.id.is_none_or(|id| state.answers.remove(&id).is_some()) {
            state.held -= self.bytes;
            self.budget.show(&state);
        }
    }
}

struct Counted {
    body: Bytes,
    _held: Held,
}

impl AsRef<[u8]> for Counted {
    fn as_ref(&self) -> &[u8] {
        &self.body
    }
}

/// The text of a stream, counted until the last clone is dropped.
pub(super) struct SharedText {
    text: String,
    _held: Held,
}

impl SharedText {
    /// Counts the text.
    pub(super) fn new(text: String, budget: &Budget) -> Arc<Self> {
        let held = budget.keep(text.len());
        Arc::new(Self { text, _held: held })
    }
}

impl fmt::Debug for SharedText {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.text.fmt(f)
    }
}

impl Deref for SharedText {
    type Target = str;

    fn deref(&self) -> &str {
        &self.text
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bytes_are_counted_until_the_last_copy_is_gone() {
        let budget = Budget::new(12);
        assert!(budget.hold(10, None).is_none(), "the rest is for streams");
        let body = budget.answer(Bytes::from_static(b"12345678"), None).unwrap();
        let copy = body.slice(2..4);
        drop(body);
        assert_eq!(budget.held(), 8);
        assert!(budget.hold(2, None).is_none());
        assert!(budget.hold(1, None).is_some());
        drop(copy);
        assert_eq!(budget.held(), 0);
    }

    #[test]
    fn an_old_answer_makes_room_and_a_new_one_does_not() {
        let budget = Budget::new(16);
        let (old, new) = (ConnectionHandle::default(), ConnectionHandle::default());
        let first = budget.hold(6, Some(&old)).unwrap();
        let second = budget.hold(4, Some(&new)).unwrap();
        let mut state = budget.state();
        let started = state.answers[&0].since;
        assert!(!state.make_room(1, 10, started));
        state.answers.get_mut(&1).unwrap().since = started + MAY_BE_CUT_AFTER;
        assert!(state.make_room(6, 10, started + MAY_BE_CUT_AFTER));
        assert!(!state.make_room(7, 10, started + MAY_BE_CUT_AFTER));
        drop(state);
        assert!(old.is_cut() && !new.is_cut());
        drop(first);
        assert_eq!(budget.held(), 4, "what was cut is counted once");
        drop(second);
        assert_eq!(budget.held(), 0);
    }

    #[test]
    fn rows_are_counted_once_for_all_and_the_excess_is_said() {
        let budget = Budget::new(3);
        let text = SharedText::new("12345".into(), &budget);
        let other = Arc::clone(&text);
        assert_eq!((budget.held(), budget.excess()), (5, 2));
        drop((text, other));
        assert_eq!((budget.held(), budget.excess()), (0, 0));
    }
}
