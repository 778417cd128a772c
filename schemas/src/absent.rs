//! Schema ids that the registry does not know: how long records wait for one, and when it is asked
//! for again.
//!
//! ```text
//! not known ─► waits ─ WAIT ─► given up: its records are bad
//!     ▲                           │ asked again, less and less often
//!     └───────── known ◀──────────┘
//! ```
//!
//! A registry that follows another, or that has just been restored, may not know an id yet. An id
//! that was made up is never known, and any writer can make up one for each record: all ids share
//! one wait, and the next wait begins [`WAIT_EVERY`] after it at the earliest.
//!
//! Time is an argument.

use std::collections::HashMap;
use std::time::Duration;

/// The longest that records wait for ids that the registry does not know: one that follows another
/// has caught up by then. Errors of the registry are waited for without a bound.
pub const WAIT: Duration = Duration::from_secs(10);
/// Made-up ids hold a partition up for at most [`WAIT`] of this.
pub const WAIT_EVERY: Duration = Duration::from_mins(10);
/// The pause before an id is asked for again, doubled each time.
const FIRST_PAUSE: Duration = Duration::from_millis(200);
/// Its bound: an id that becomes known is read a minute later at the latest.
const MAX_PAUSE: Duration = Duration::from_mins(1);
/// Ids remembered. Beyond it each record of a further one is a request.
const MAX_IDS: usize = 1024;

/// An id that the registry did not know.
#[derive(Clone, Copy, Debug)]
struct Absence {
    ask_at: Duration,
    pause: Duration,
    given_up: bool,
}

/// The decision on a record whose schema is not known.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Verdict {
    /// It waits.
    Wait,
    /// It is bad.
    GiveUp,
}

/// The ids that the registry did not know when it was last asked.
#[derive(Debug, Default)]
pub(crate) struct Absent {
    ids: HashMap<i32, Absence>,
    /// When the last wait began.
    since: Option<Duration>,
}

impl Absent {
    /// The registry is to be asked for the id.
    pub(crate) fn is_due(&self, id: i32, now: Duration) -> bool {
        self.ids.get(&id).is_none_or(|absence| now >= absence.ask_at)
    }

    /// The registry was asked and does not know the id.
    pub(crate) fn asked(&mut self, id: i32, now: Duration) {
        if let Some(absence) = self.ids.get_mut(&id) {
            absence.pause = (absence.pause * 2).min(MAX_PAUSE);
            absence.ask_at = now + absence.pause;
            return;
        }
        if self.since.is_none_or(|since| now >= since + WAIT_EVERY) {
            self.since = Some(now);
        }
        if self.ids.len() >= MAX_IDS {
            self.ids.retain(|_, absence| now < absence.ask_at);
        }
        if self.ids.len() < MAX_IDS {
            let absence =
                Absence { ask_at: now + FIRST_PAUSE, pause: FIRST_PAUSE, given_up: false };
            self.ids.insert(id, absence);
        }
    }

    /// The decision on a record of that id. An id that was given up is not waited for again.
    pub(crate) fn verdict(&mut self, id: i32, now: Duration) -> Verdict {
        let waits = self.since.is_some_and(|since| now < since + WAIT);
        let absence = self.ids.get_mut(&id);
        if waits && absence.as_ref().is_none_or(|absence| !absence.given_up) {
            return Verdict::Wait;
        }
        if let Some(absence) = absence {
            absence.given_up = true;
        }
        Verdict::GiveUp
    }

    /// The registry knows the id.
    pub(crate) fn found(&mut self, id: i32) {
        self.ids.remove(&id);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Asks for the id when that is due, in steps of 100 ms, until its records are given up.
    fn given_up_after(absent: &mut Absent, id: i32, from: Duration) -> (Duration, usize) {
        let (mut now, mut requests) = (from, 0);
        loop {
            if absent.is_due(id, now) {
                absent.asked(id, now);
                requests += 1;
            }
            if absent.verdict(id, now) == Verdict::GiveUp {
                return (now.checked_sub(from).unwrap(), requests);
            }
            now += Duration::from_millis(100);
        }
    }

    #[test]
    fn all_ids_share_one_wait_and_the_next_begins_much_later() {
        let mut absent = Absent::default();
        assert_eq!(given_up_after(&mut absent, 1, Duration::ZERO), (WAIT, 6));
        for id in 2..100 {
            assert_eq!(given_up_after(&mut absent, id, WAIT), (Duration::ZERO, 1), "{id}");
        }
        let later = WAIT_EVERY.checked_sub(Duration::from_millis(1)).unwrap();
        assert_eq!(given_up_after(&mut absent, 100, later).0, Duration::ZERO);
        assert_eq!(given_up_after(&mut absent, 101, WAIT_EVERY).0, WAIT);
        // One that was given up is asked for again, and nothing waits for it.
        assert!(absent.is_due(1, WAIT_EVERY));
        assert_eq!(absent.verdict(1, WAIT_EVERY), Verdict::GiveUp);
    }

    #[test]
    fn an_id_is_asked_for_less_and_less_often() {
        let mut absent = Absent::default();
        let (mut now, mut pauses) = (Duration::ZERO, Vec::new());
        for _ in 0..12 {
            absent.asked(7, now);
            let pause = absent.ids[&7].ask_at.checked_sub(now).unwrap();
            assert!(!absent.is_due(7, now + pause / 2));
            now += pause;
            pauses.push(pause);
        }
        assert_eq!((pauses[0], pauses[11]), (FIRST_PAUSE, MAX_PAUSE));
        assert!(pauses.windows(2).all(|two| two[0] <= two[1]));
        absent.found(7);
        assert!(absent.is_due(7, now) && absent.ids.is_empty());
    }

    #[test]
    fn made_up_ids_do_not_fill_memory() {
        let mut absent = Absent::default();
        for id in 0..5_000 {
            absent.asked(id, Duration::ZERO);
        }
        assert_eq!(absent.ids.len(), MAX_IDS);
        absent.asked(9_999, MAX_PAUSE);
        assert!(absent.ids.contains_key(&9_999), "those that are due make room");
    }
}
