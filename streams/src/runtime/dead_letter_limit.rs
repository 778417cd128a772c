//! The largest dead letter that its topic accepts, found by its refusals.
//!
//! ```text
//! 64 KiB ──refused──► 4 KiB, one a batch ──refused──► headers only ──refused──► counted and logged
//! ```
//!
//! The topic's `max.message.bytes` may be smaller than a dead letter, and a refusal aborts the whole
//! transaction. The same record would come again after each rejoin, without end. So a process remembers
//! the refusal and writes less from then on. It does not read the setting in advance: its user may lack
//! the permission, and the setting may change while it runs.
//!
//! Invariant: the step only grows, so dead letters make workers of a process rejoin at most
//! [`LIMITS`]`.len()` times.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use prometheus::IntCounter;
use rdkafka::error::RDKafkaErrorCode;

use crate::dead_letter::MAX_BYTES;
use crate::task::DeadLetter;

/// Bytes of key and value that are kept, by step. The second leaves room for topics that are set to a
/// hundredth of the default, the last needs the headers only: less than librdkafka's least
/// `message.max.bytes`, which is 1,000.
const LIMITS: [usize; 3] = [MAX_BYTES, 4 << 10, 0];

/// Errors by which a topic refuses one record. Another record may be accepted.
pub(super) const REFUSALS: [RDKafkaErrorCode; 5] = [
    RDKafkaErrorCode::MessageSizeTooLarge,
    RDKafkaErrorCode::InvalidMessageSize,
    RDKafkaErrorCode::MessageBatchTooLarge,
    RDKafkaErrorCode::InvalidRecord,
    RDKafkaErrorCode::PolicyViolation,
];

/// The largest dead letter that the topic has not refused. Clones share it.
#[derive(Clone)]
pub(super) struct DeadLetterLimit {
    step: Arc<AtomicUsize>,
    refused: IntCounter,
}

/// One of the [`LIMITS`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct CutStep(usize);

impl DeadLetterLimit {
    /// The first step; `refused` counts dead letters that cannot be written at all.
    pub(super) fn new(refused: IntCounter) -> Self {
        Self { step: Arc::default(), refused }
    }

    /// The current step.
    pub(super) fn step(&self) -> CutStep {
        CutStep(self.step.load(Ordering::SeqCst))
    }

    /// The topic refused a dead letter at this step. Two producers that report the same step advance by
    /// one.
    pub(super) fn refused_at(&self, step: CutStep) {
        let next = step.next().0;
        let _ = self.step.compare_exchange(step.0, next, Ordering::SeqCst, Ordering::SeqCst);
    }

    /// Logs and counts a dead letter of which not even the headers could be written in time.
    pub(super) fn give_up(&self, topic: &str, partition: i32, letter: &DeadLetter) {
        self.refused.inc();
        tracing::error!(
            topic,
            partition,
            offset = letter.offset.0,
            reason = letter.reason,
            bytes = letter.key.len() + letter.value.as_ref().map_or(0, Vec::len),
            "not even a record's headers could be written to the dead letters: their topic refuses \
             records, raise its max.message.bytes"
        );
    }
}

impl CutStep {
    /// Bytes of key and value that are kept; `None` when nothing can be written.
    pub(super) fn limit(self) -> Option<usize> {
        LIMITS.get(self.0).copied()
    }

    /// The next smaller limit.
    pub(super) const fn next(self) -> Self {
        Self(self.0.saturating_add(1))
    }

    /// Dead letters are sent one by one: the topic may have refused a batch of several.
    pub(super) const fn is_alone(self) -> bool {
        self.0 > 0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_refusal_that_two_producers_find_is_one_step() -> prometheus::Result<()> {
        let letters = DeadLetterLimit::new(IntCounter::new("refused", "Refused.")?);
        let (one, other) = (letters.step(), letters.clone().step());
        assert_eq!(one.limit(), Some(MAX_BYTES));
        letters.refused_at(one);
        letters.refused_at(other);
        assert_eq!(letters.step(), one.next());
        Ok(())
    }

    #[test]
    fn the_steps_end() -> prometheus::Result<()> {
        let letters = DeadLetterLimit::new(IntCounter::new("refused", "Refused.")?);
        let mut limits = Vec::new();
        while let Some(limit) = letters.step().limit() {
            limits.push(limit);
            letters.refused_at(letters.step());
        }
        assert_eq!(limits, LIMITS);
        assert!(limits.is_sorted_by(|more, less| more > less), "{limits:?}");
        Ok(())
    }
}
