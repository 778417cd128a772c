//! The summary of a segment: where the frames of each partition stand, and the state of the log at its
//! end.
//!
//! It is made of frames alone ([`Summary::add`]), so a missing one is made again.
//!
//! Invariants:
//! - `ends` never decrease from one segment to the next.
//! - The frames of a partition are in order of their positions and of their offsets.

use std::collections::BTreeMap;

use super::commit::{Body, GroupOffset, parse_offsets, put_offsets};
use super::wire::{Input, put_text, put_u32};
use crate::record::{Offset, Partition, Timestamp};
use crate::task::Consumed;

/// Values by topic and partition.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct ByPartition<T>(BTreeMap<String, BTreeMap<Partition, T>>);

impl<T> Default for ByPartition<T> {
    fn default() -> Self {
        Self(BTreeMap::new())
    }
}

impl<T: Default> ByPartition<T> {
    pub(super) fn get(&self, topic: &str, partition: Partition) -> Option<&T> {
        self.0.get(topic)?.get(&partition)
    }

    pub(super) fn entry(&mut self, topic: &str, partition: Partition) -> &mut T {
        if !self.0.contains_key(topic) {
            self.0.insert(topic.to_owned(), BTreeMap::new());
        }
        let partitions = self.0.entry(topic.to_owned()).or_default();
        partitions.entry(partition).or_default()
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = (&str, Partition, &T)> {
        let of = |(topic, all)| (topic, all);
        self.0.iter().map(of).flat_map(|(topic, all): (&String, &BTreeMap<Partition, T>)| {
            all.iter().map(move |(partition, value)| (topic.as_str(), *partition, value))
        })
    }

    fn values_mut(&mut self) -> impl Iterator<Item = &mut T> {
        self.0.values_mut().flat_map(BTreeMap::values_mut)
    }
}

/// Where a frame with records of a partition stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct FramePosition {
    /// Bytes from the beginning of the segment.
    pub(super) position: u32,
    /// The last offset of the partition in the frame, from the partition's `first` in the segment.
    pub(super) last: u32,
}

/// A partition within a segment.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct PartitionSummary {
    /// The first offset in this segment; `end` when it has none.
    pub(super) first: Offset,
    /// The next offset at the end of this segment.
    pub(super) end: Offset,
    /// Retention has removed everything before this offset.
    pub(super) expired: Offset,
    /// Bytes of its records.
    pub(super) bytes: u64,
    /// The time of its newest commit here.
    pub(super) newest: Timestamp,
    /// Its frames.
    pub(super) frames: Vec<FramePosition>,
}

/// Consumed offsets by group, topic and partition.
pub(super) type Offsets = BTreeMap<(String, String, Partition), Consumed>;

/// The summary of a segment.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Summary {
    pub(super) partitions: ByPartition<PartitionSummary>,
    pub(super) consumed: Offsets,
}

impl Summary {
    /// Takes in a commit at a position of the segment.
    pub(super) fn add(&mut self, position: u32, body: &Body<'_>) {
        for batch in &body.batches {
            let partition = self.partitions.entry(batch.topic, batch.partition);
            if partition.frames.is_empty() {
                partition.first = batch.first;
            }
            partition.end = partition.end.max(batch.last.next());
            partition.bytes += batch.bytes.len() as u64;
            partition.newest = partition.newest.max(body.time);
            // A segment has fewer offsets of a partition than bytes, but for holes of compaction.
            let last = u32::try_from(batch.last.0 - partition.first.0).unwrap_or(u32::MAX);
            match partition.frames.last_mut() {
                Some(frame) if frame.position == position => frame.last = last,
                _ => partition.frames.push(FramePosition { position, last }),
            }
        }
        for offset in &body.consumed {
            let key = (offset.group.clone(), offset.topic.clone(), offset.partition);
            self.consumed.insert(key, offset.consumed);
        }
    }

    /// The summary of the next segment, before its first commit.
    pub(super) fn next(&self) -> Self {
        let mut next = Self::default();
        for (topic, partition, before) in self.partitions.iter() {
            let entry = next.partitions.entry(topic, partition);
            (entry.first, entry.end) = (before.end, before.end);
        }
        next.consumed.clone_from(&self.consumed);
        next
    }

    /// Takes over the state at the end of a segment whose commits were added after compaction.
    pub(super) fn take_state(&mut self, of: &Self) {
        for (topic, partition, before) in of.partitions.iter() {
            let entry = self.partitions.entry(topic, partition);
            entry.end = entry.end.max(before.end);
            entry.expired = entry.expired.max(before.expired);
            if entry.frames.is_empty() {
                entry.first = entry.end;
            }
        }
        self.consumed.clone_from(&of.consumed);
    }

    /// Forgets where frames stand: a reader loads it when it comes to the segment.
    pub(super) fn forget_frames(&mut self) {
        self.partitions.values_mut().for_each(|partition| partition.frames = Vec::new());
    }

    /// The offsets of all groups.
    pub(super) fn offsets(&self) -> Vec<GroupOffset> {
        let offset =
            |((group, topic, partition), consumed): (&(String, String, _), &_)| GroupOffset {
                group: group.clone(),
                topic: topic.clone(),
                partition: *partition,
                consumed: *consumed,
            };
        self.consumed.iter().map(offset).collect()
    }

    /// The body of the summary frame.
    pub(super) fn encode(&self) -> Vec<u8> {
        let mut out = vec![0; 4];
        let mut count: u32 = 0;
        for (topic, number, partition) in self.partitions.iter() {
            count += 1;
            put_text(&mut out, topic);
            out.extend_from_slice(&number.0.to_le_bytes());
            for offset in [partition.first, partition.end, partition.expired] {
                out.extend_from_slice(&offset.0.to_le_bytes());
            }
            out.extend_from_slice(&partition.bytes.to_le_bytes());
            out.extend_from_slice(&partition.newest.0.to_le_bytes());
            put_u32(&mut out, partition.frames.len());
            for frame in &partition.frames {
                out.extend_from_slice(&frame.position.to_le_bytes());
                out.extend_from_slice(&frame.last.to_le_bytes());
            }
        }
        out[..4].copy_from_slice(&count.to_le_bytes());
        put_offsets(&mut out, &self.offsets());
        out
    }

    /// Reads the body of a summary frame.
    pub(super) fn decode(bytes: &[u8]) -> Option<Self> {
        let mut input = Input(bytes);
        let (count, mut summary) = (input.u32()?, Self::default());
        for _ in 0..count {
            let (topic, number) = (input.text()?, Partition(input.i32()?));
            let mut partition = PartitionSummary {
                first: Offset(input.i64()?),
                end: Offset(input.i64()?),
                expired: Offset(input.i64()?),
                bytes: input.u64()?,
                newest: Timestamp(input.i64()?),
                frames: Vec::new(),
            };
            for _ in 0..input.u32()? {
                let (position, last) = (input.u32()?, input.u32()?);
                partition.frames.push(FramePosition { position, last });
            }
            *summary.partitions.entry(topic, number) = partition;
        }
        for offset in parse_offsets(&mut input)? {
            summary
                .consumed
                .insert((offset.group, offset.topic, offset.partition), offset.consumed);
        }
        input.is_empty().then_some(summary)
    }
}
