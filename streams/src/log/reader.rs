//! Reads a partition from an offset on, and follows its end.
//!
//! Invariant: a reader gives each visible record once, in order of offsets, and no record that is not
//! visible. It holds its segment open, so compaction does not disturb it.

use std::sync::Arc;

use super::commit::StoredRecord;
use super::error::{LogError, Result};
use super::local::{Log, Shared};
use super::segment::{Named, Sealed};
use super::summary::{FramePosition, PartitionSummary};
use crate::record::{Offset, Partition};

/// Frames that are looked up at once.
const MAX_SPAN: usize = 1024;

/// What a call of [`Reader::read`] has given.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Progress {
    /// Records.
    pub records: u64,
    /// Bytes of these records.
    pub bytes: u64,
}

/// A reader of one partition.
pub struct Reader {
    log: Arc<Log>,
    topic: String,
    partition: Partition,
    next: Offset,
    segment: Option<Held>,
    frame: Vec<u8>,
}

/// The sealed segment that is read, with the frames of the partition.
struct Held {
    sealed: Arc<Sealed>,
    partition: PartitionSummary,
}

/// Frames to read, in order.
struct Span {
    named: Named,
    frames: Vec<FramePosition>,
    /// Where the reader stands when all are read.
    end: Offset,
}

impl Reader {
    /// A reader from an offset on.
    pub fn new(log: Arc<Log>, topic: &str, partition: Partition, next: Offset) -> Self {
        let topic = topic.to_owned();
        Self { log, topic, partition, next, segment: None, frame: Vec::new() }
    }

    /// The offset of the next record, as far as known.
    pub fn next(&self) -> Offset {
        self.next
    }

    /// Gives records to `take` until they have `max_bytes`, or the visible end is reached. At least one
    /// record is given if there is one.
    ///
    /// # Errors
    /// [`LogError::OutOfRange`] when the position has expired; [`LogError::Damaged`] with file and
    /// offset, after all records before it were given.
    pub fn read(
        &mut self,
        max_bytes: u64,
        mut take: impl FnMut(&StoredRecord<'_>),
    ) -> Result<Progress> {
        let mut progress = Progress::default();
        // Each turn moves to a later segment, or ends at the bound or the end.
        while let Some(span) = self.span()? {
            for frame in &span.frames {
                self.read_frame(&span.named, *frame, &mut progress, &mut take)?;
                if progress.bytes >= max_bytes {
                    return Ok(progress);
                }
            }
            self.next = self.next.max(span.end);
        }
        Ok(progress)
    }

    /// The frames of the segment where the next record stands; `None` at the end.
    fn span(&mut self) -> Result<Option<Span>> {
        let log = Arc::clone(&self.log);
        let shared = log.shared();
        let extent = shared.extent(&self.topic, self.partition);
        if self.next < extent.first {
            return Err(LogError::OutOfRange {
                topic: self.topic.clone(),
                partition: self.partition.0,
                next: self.next,
                first: extent.first,
            });
        }
        let Some(sealed) = self.sealed(&shared) else { return Ok(self.active(&shared)) };
        drop(shared);
        let held = self.segment.take().filter(|held| Arc::ptr_eq(&held.sealed, &sealed));
        let held = match held {
            Some(held) => held,
            None => Held { partition: self.load(&sealed)?, sealed },
        };
        let span = self.frames_of(held.sealed.named.clone(), &held.partition);
        self.segment = Some(held);
        Ok(Some(span))
    }

    fn sealed(&self, shared: &Shared) -> Option<Arc<Sealed>> {
        let ends_later = |sealed: &&Arc<Sealed>| {
            let state = sealed.summary.partitions.get(&self.topic, self.partition);
            state.is_some_and(|state| state.end > self.next)
        };
        shared.sealed.iter().find(ends_later).cloned()
    }

    fn load(&self, sealed: &Sealed) -> Result<PartitionSummary> {
        let summary = sealed.full_summary()?;
        Ok(summary.partitions.get(&self.topic, self.partition).cloned().unwrap_or_default())
    }

    fn active(&self, shared: &Shared) -> Option<Span> {
        let state = shared.summary.partitions.get(&self.topic, self.partition)?;
        if state.end <= self.next {
            return None;
        }
        let named = shared.active.clone()?;
        Some(self.frames_of(named, state))
    }

    /// The next frames of the partition in a segment.
    fn frames_of(&self, named: Named, partition: &PartitionSummary) -> Span {
        let last = |frame: &FramePosition| partition.first.0 + i64::from(frame.last);
        let from = partition.frames.partition_point(|frame| last(frame) < self.next.0);
        let rest = &partition.frames[from..];
        let frames = rest[..rest.len().min(MAX_SPAN)].to_vec();
        let end = match frames.last() {
            Some(frame) if frames.len() < rest.len() => Offset(last(frame)).next(),
            _ => partition.end,
        };
        Span { named, frames, end }
    }

    fn read_frame(
        &mut self,
        named: &Named,
        frame: FramePosition,
        progress: &mut Progress,
        take: &mut impl FnMut(&StoredRecord<'_>),
    ) -> Result<()> {
        named.frame(frame.position.into(), &mut self.frame)?;
        let body = named.body(frame.position.into(), &self.frame)?;
        let is_mine = |topic: &str, partition| topic == self.topic && partition == self.partition;
        for batch in body.batches.iter().filter(|batch| is_mine(batch.topic, batch.partition)) {
            let from = self.next;
            for record in batch.records().filter(|record| record.offset >= from) {
                take(&record);
                self.next = record.offset.next();
                progress.records += 1;
                progress.bytes += record.stored.len() as u64;
            }
        }
        Ok(())
    }
}
