//! The updates that arrive before the snapshot of a book is fetched.
//!
//! Without them a book cannot be joined: the snapshot is answered with the state of some moment
//! before its arrival. When the buffer is full, the oldest updates go. A snapshot must then be newer,
//! which the start of the buffer tells.

use std::collections::VecDeque;

use super::frame::{BookFrame, Span};
use super::ladder::MAX_LEVELS;

/// Updates held at most: 100 s at ten a second, and a snapshot takes a second.
pub(super) const MAX_UPDATES: usize = 1_000;
/// Levels of all updates held at most.
pub(super) const MAX_BUFFERED_LEVELS: usize = 4 * MAX_LEVELS;

/// Updates in the order of their arrival.
///
/// Invariant: the updates cover every change after `start`.
#[derive(Clone, Debug, Default)]
pub(super) struct Buffer {
    updates: VecDeque<(Span, BookFrame)>,
    levels: usize,
    /// The id of the state that the first update changes.
    start: Option<i64>,
}

impl Buffer {
    /// An empty buffer.
    pub(super) const fn new() -> Self {
        Self { updates: VecDeque::new(), levels: 0, start: None }
    }

    /// Drops all updates. A snapshot must not be older than the given state.
    pub(super) fn restart(&mut self, start: Option<i64>) {
        *self = Self { start, ..Self::new() };
    }

    /// Holds an update. With `is_chained`, one that does not follow the newest makes all before it
    /// useless: no snapshot can bridge the gap.
    pub(super) fn push(&mut self, span: Span, update: BookFrame, is_chained: bool) {
        let newest = self.updates.back().map(|(newest, _)| newest.last).or(self.start);
        if is_chained && newest.is_some_and(|newest| newest != span.after) {
            self.restart(Some(span.after));
        }
        self.start.get_or_insert(span.after);
        self.levels += update.len();
        self.updates.push_back((span, update));
        while self.updates.len() > MAX_UPDATES || self.levels > MAX_BUFFERED_LEVELS {
            self.pop();
        }
    }

    /// The oldest state that the updates can be applied to.
    pub(super) const fn start(&self) -> Option<i64> {
        self.start
    }

    /// The oldest update.
    pub(super) fn pop(&mut self) -> Option<BookFrame> {
        let (span, update) = self.updates.pop_front()?;
        self.levels -= update.len();
        self.start = Some(span.last);
        Some(update)
    }
}

#[cfg(test)]
#[path = "buffer_tests.rs"]
mod tests;
