//! The records that wait for a task, in the order of their log, and its stream time.
//!
//! Stream time is the highest timestamp taken so far. It never decreases: a late record is taken
//! in its turn and does not turn the clock back.

use std::collections::VecDeque;

use crate::record::{Batch, Row, Timestamp};

/// The waiting records of a task.
#[derive(Debug)]
pub struct Buffer {
    batches: VecDeque<Batch>,
    /// The next record of the first batch.
    next: usize,
    stream_time: Timestamp,
    bytes: usize,
}

impl Default for Buffer {
    fn default() -> Self {
        Self { batches: VecDeque::new(), next: 0, stream_time: Timestamp::MIN, bytes: 0 }
    }
}

impl Buffer {
    /// Appends records.
    pub fn add(&mut self, batch: Batch) {
        if !batch.is_empty() {
            self.bytes += batch.bytes();
            self.batches.push_back(batch);
        }
    }

    /// Gives the next record to `take` and drops it; `None` when nothing waits.
    #[inline]
    pub fn next<R>(&mut self, take: impl FnOnce(Row<'_>, Timestamp) -> R) -> Option<R> {
        let first = self.batches.front()?;
        let row = first.get(self.next)?;
        self.stream_time = self.stream_time.max(row.timestamp);
        self.bytes -= row.key.len() + row.value.map_or(0, <[u8]>::len);
        let result = take(row, self.stream_time);
        self.next += 1;
        if self.next >= first.len() {
            self.batches.pop_front();
            self.next = 0;
        }
        Some(result)
    }

    /// Takes back what a former owner knew of stream time; never decreases.
    pub fn raise_stream_time(&mut self, time: Timestamp) {
        self.stream_time = self.stream_time.max(time);
    }

    /// The highest timestamp taken so far.
    pub const fn stream_time(&self) -> Timestamp {
        self.stream_time
    }

    /// Bytes of all waiting keys and values.
    pub const fn bytes(&self) -> usize {
        self.bytes
    }

    /// Forgets what waits; stream time begins anew at `stream_time`.
    pub fn restart(&mut self, stream_time: Timestamp) {
        *self = Self { stream_time, ..Self::default() };
    }
}

#[cfg(test)]
mod tests {
    use proptest::collection::vec;
    use proptest::prelude::*;

    use super::*;
    use crate::record::Offset;

    proptest! {
        #[test]
        fn every_record_comes_once_in_its_order_and_stream_time_never_decreases(
            times in vec(0..50_i64, 0..60), size in 1..7_usize,
        ) {
            let mut buffer = Buffer::default();
            for (chunk, part) in times.chunks(size).enumerate() {
                let mut batch = Batch::default();
                for (index, time) in part.iter().enumerate() {
                    let offset = i64::try_from(chunk * size + index)?;
                    batch.push(Offset(offset), Timestamp(*time), b"key", None);
                }
                buffer.add(batch);
            }
            let take = |row: Row<'_>, stream_time: Timestamp| (row.offset.0, row.timestamp.0, stream_time.0);
            let taken: Vec<_> = std::iter::from_fn(|| buffer.next(take)).collect();
            let highest = times.iter().scan(i64::MIN, |highest, time| {
                *highest = (*time).max(*highest);
                Some(*highest)
            });
            let expected = (0..).zip(&times).zip(highest);
            prop_assert!(taken.into_iter().eq(expected.map(|((offset, time), highest)| (offset, *time, highest))));
            prop_assert_eq!(buffer.bytes(), 0);
        }
    }
}
