//! Punctuation: calls of a processor by time, without a record.
//!
//! A schedule is due when its clock has reached the next multiple of its interval. A clock that
//! jumps over several intervals makes it due once.

use crate::record::Timestamp;

/// The clock a schedule follows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PunctuationType {
    /// The highest event time processed: the same at every replay.
    StreamTime,
    /// The time passed in as `now`.
    WallClock,
}

/// How often a processor is punctuated.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Schedule {
    /// The clock.
    pub clock: PunctuationType,
    /// Milliseconds between two calls; positive.
    pub interval_ms: i64,
}

/// The state of one schedule.
#[derive(Clone, Copy, Debug)]
pub struct Punctuation {
    schedule: Schedule,
    next: Option<Timestamp>,
}

impl Punctuation {
    /// Not due until its clock has moved one interval.
    pub const fn new(schedule: Schedule) -> Self {
        Self { schedule, next: None }
    }

    /// The clock of the schedule.
    pub const fn clock(&self) -> PunctuationType {
        self.schedule.clock
    }

    /// Goes on from `time`, at which everything due has been called; from nothing without one.
    pub fn restart(&mut self, time: Option<Timestamp>) {
        self.next = time.map(|time| self.following(time));
    }

    /// The first multiple of the interval after `time`.
    fn following(&self, time: Timestamp) -> Timestamp {
        let interval = self.schedule.interval_ms.max(1);
        Timestamp(time.0.saturating_sub(time.0.rem_euclid(interval)).saturating_add(interval))
    }

    /// Whether it is due at `time`; if so, it is next due one interval later.
    pub fn take_due(&mut self, time: Timestamp) -> bool {
        let following = self.following(time);
        match self.next {
            Some(next) if time < next => false,
            Some(_) => {
                self.next = Some(following);
                true
            }
            None => {
                self.next = Some(following);
                false
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_jump_over_several_intervals_makes_it_due_once() {
        let schedule = Schedule { clock: PunctuationType::WallClock, interval_ms: 10 };
        let mut punctuation = Punctuation::new(schedule);
        let due = [3, 9, 10, 11, 45, 49, 50].map(|time| punctuation.take_due(Timestamp(time)));
        assert_eq!(due, [false, false, true, false, true, false, true]);
    }
}
