//! Chooses the next record: the one with the smallest timestamp among the heads of the sources.
//!
//! Stream time is the highest timestamp taken so far. It never decreases: a late record is taken
//! in its turn and does not turn the clock back.

use std::collections::VecDeque;

use crate::record::{Batch, Row, SourceId, Timestamp};

/// Records waiting in one source partition.
#[derive(Debug, Default)]
struct Queue {
    batches: VecDeque<Batch>,
    /// The next record of the first batch.
    next: usize,
}

impl Queue {
    fn head(&self) -> Option<Row<'_>> {
        self.batches.front().and_then(|batch| batch.get(self.next))
    }

    fn advance(&mut self) {
        self.next += 1;
        if self.batches.front().is_some_and(|batch| self.next >= batch.len()) {
            self.batches.pop_front();
            self.next = 0;
        }
    }
}

/// The waiting records of a task, one queue for each source.
#[derive(Debug)]
pub struct Buffer {
    queues: Vec<Queue>,
    stream_time: Timestamp,
    bytes: usize,
}

impl Buffer {
    /// An empty buffer of that many sources.
    pub fn new(sources: usize) -> Self {
        let queues = (0..sources).map(|_| Queue::default()).collect();
        Self { queues, stream_time: Timestamp::MIN, bytes: 0 }
    }

    /// Appends records of one source.
    pub fn add(&mut self, source: SourceId, batch: Batch) {
        if !batch.is_empty() {
            self.bytes += batch.bytes();
            self.queues[source.0].batches.push_back(batch);
        }
    }

    /// The source whose head is next; of equal timestamps, the source declared first.
    fn choose(&self) -> Option<usize> {
        if let [only] = &self.queues[..] {
            return only.head().map(|_| 0);
        }
        let heads = self.queues.iter().enumerate();
        heads
            .filter_map(|(index, queue)| Some((queue.head()?.timestamp, index)))
            .min()
            .map(|(_, index)| index)
    }

    /// Gives the next record to `take` and drops it; `None` when nothing waits.
    #[inline]
    pub fn next<R>(&mut self, take: impl FnOnce(SourceId, Row<'_>, Timestamp) -> R) -> Option<R> {
        let chosen = self.choose()?;
        let queue = &mut self.queues[chosen];
        let row = queue.head()?;
        self.stream_time = self.stream_time.max(row.timestamp);
        let size = row.key.len() + row.value.map_or(0, <[u8]>::len);
        let result = take(SourceId(chosen), row, self.stream_time);
        self.bytes -= size;
        queue.advance();
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
        self.queues.iter_mut().for_each(|queue| *queue = Queue::default());
        self.bytes = 0;
        self.stream_time = stream_time;
    }
}

#[cfg(test)]
mod tests {
    use proptest::collection::vec;
    use proptest::prelude::*;

    use super::*;
    use crate::record::Offset;

    #[test]
    fn the_smallest_timestamp_is_next_and_stream_time_never_decreases() {
        let mut buffer = Buffer::new(2);
        for (source, times) in [(0, [5, 1]), (1, [3, 9])] {
            let mut batch = Batch::default();
            for (offset, time) in (0..).zip(times) {
                batch.push(Offset(offset), Timestamp(time), b"k", None);
            }
            buffer.add(SourceId(source), batch);
        }
        let taken = std::iter::from_fn(|| {
            buffer.next(|source, row, stream_time| (source.0, row.timestamp.0, stream_time.0))
        });
        assert_eq!(taken.collect::<Vec<_>>(), [(1, 3, 3), (0, 5, 5), (0, 1, 5), (1, 9, 9)]);
        assert_eq!(buffer.bytes(), 0);
    }

    proptest! {
        #[test]
        fn every_record_comes_once_in_its_order_whatever_the_batches(
            records in vec(vec(0..50_i64, 0..20), 1..4), size in 1..7_usize,
        ) {
            let mut buffer = Buffer::new(records.len());
            for (source, times) in records.iter().enumerate() {
                for (chunk, part) in times.chunks(size).enumerate() {
                    let mut batch = Batch::default();
                    for (index, time) in part.iter().enumerate() {
                        let offset = i64::try_from(chunk * size + index)?;
                        batch.push(Offset(offset), Timestamp(*time), b"key", None);
                    }
                    buffer.add(SourceId(source), batch);
                }
            }
            let mut next = vec![0; records.len()];
            let mut highest = Timestamp::MIN;
            let take = |source: SourceId, row: Row<'_>, stream_time| {
                (source.0, row.offset.0, row.timestamp, stream_time)
            };
            while let Some((source, offset, time, stream_time)) = buffer.next(take) {
                prop_assert_eq!(offset, next[source]);
                let heads = records.iter().zip(&next).filter_map(|(times, &next)| {
                    times.get(usize::try_from(next).ok()?)
                });
                prop_assert_eq!(heads.min(), Some(&time.0), "not the smallest head");
                next[source] += 1;
                highest = highest.max(time);
                prop_assert_eq!(stream_time, highest);
            }
            prop_assert_eq!(buffer.bytes(), 0);
            let all: Vec<usize> = records.iter().map(Vec::len).collect();
            prop_assert_eq!(next.iter().map(|n| usize::try_from(*n)).collect::<Result<Vec<_>, _>>()?, all);
        }
    }
}
