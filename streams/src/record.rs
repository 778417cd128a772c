//! Records and where they stand.
//!
//! A batch keeps the bytes of all its records in one arena, so that taking a thousand records from
//! a consumer costs a few copies and no allocation for each.

use std::fmt;
use std::ops::Range;

/// A position in a partition: of a record, or of the next one to come.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Offset(pub i64);

impl Offset {
    /// The position after this record.
    #[must_use]
    pub const fn next(self) -> Self {
        Self(self.0 + 1)
    }
}

/// A partition's number within its topic.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Partition(pub i32);

/// Milliseconds since the Unix epoch: event time, stream time, or wall-clock time (`now`).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Timestamp(pub i64);

impl Timestamp {
    /// Before every event.
    pub const MIN: Self = Self(i64::MIN);
}

macro_rules! display_number {
    ($($type:ty),*) => {$(
        impl fmt::Display for $type {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                self.0.fmt(f)
            }
        }
    )*};
}
display_number!(Offset, Partition, Timestamp);

/// A sub-topology, by the order in which the sources are declared.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct SubTopologyId(pub usize);

/// A task: one partition of one sub-topology's source. Shown as `1_3`, as in Kafka Streams.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct TaskId {
    /// The sub-topology that it runs.
    pub sub_topology: SubTopologyId,
    /// The partition that it reads.
    pub partition: Partition,
}

impl TaskId {
    /// The task of a partition of the sub-topology that is declared at `sub_topology`.
    pub const fn new(sub_topology: usize, partition: i32) -> Self {
        Self { sub_topology: SubTopologyId(sub_topology), partition: Partition(partition) }
    }
}

impl fmt::Display for TaskId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}_{}", self.sub_topology.0, self.partition)
    }
}

/// One record of a source topic, borrowed from its batch.
#[derive(Clone, Copy, Debug)]
pub struct SourceRecord<'a> {
    /// The task that it is for: its topic and partition.
    pub task: TaskId,
    /// Where it stands.
    pub offset: Offset,
    /// The record's own timestamp.
    pub timestamp: Timestamp,
    /// Empty when there is none.
    pub key: &'a [u8],
    /// `None` is a tombstone.
    pub value: Option<&'a [u8]>,
}

/// One record for a sink topic.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SinkRecord {
    /// In the sink's own encoding.
    pub key: Vec<u8>,
    /// `None` is a tombstone.
    pub value: Option<Vec<u8>>,
}

/// One record for a repartition topic: its key chooses the partition.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RepartitionRecord {
    /// The event time of the record that it was made of.
    pub timestamp: Timestamp,
    /// Key and value.
    pub record: SinkRecord,
}

/// A key of a store and its new value; `None` deletes it.
pub type Change = (Vec<u8>, Option<Vec<u8>>);
/// A [`Change`] whose bytes are borrowed.
pub type ChangeRef<'a> = (&'a [u8], Option<&'a [u8]>);
/// A key of a store and its value.
pub type KeyValue = (Vec<u8>, Vec<u8>);

#[derive(Clone, Debug)]
struct Entry {
    offset: Offset,
    timestamp: Timestamp,
    key: Range<usize>,
    value: Option<Range<usize>>,
}

/// Records of one partition in offset order, in one arena.
///
/// ```
/// use streams::record::{Batch, Offset, Timestamp};
/// let mut batch = Batch::default();
/// batch.push(Offset(7), Timestamp(1_000), b"key", Some(b"value"));
/// assert_eq!(batch.iter().map(|row| row.offset).collect::<Vec<_>>(), [Offset(7)]);
/// ```
#[derive(Clone, Debug, Default)]
pub struct Batch {
    bytes: Vec<u8>,
    entries: Vec<Entry>,
}

/// One record of a [`Batch`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Row<'a> {
    /// Where it stands.
    pub offset: Offset,
    /// The record's own timestamp.
    pub timestamp: Timestamp,
    /// Empty when there is none.
    pub key: &'a [u8],
    /// `None` is a tombstone.
    pub value: Option<&'a [u8]>,
}

impl Batch {
    /// Appends a record; its bytes are copied.
    pub fn push(&mut self, offset: Offset, timestamp: Timestamp, key: &[u8], value: Option<&[u8]>) {
        let key = self.append(key);
        let value = value.map(|value| self.append(value));
        self.entries.push(Entry { offset, timestamp, key, value });
    }

    fn append(&mut self, bytes: &[u8]) -> Range<usize> {
        let start = self.bytes.len();
        self.bytes.extend_from_slice(bytes);
        start..self.bytes.len()
    }

    /// How many records.
    pub fn len(&self) -> usize {
        self.entries.len()
    }

    /// No records.
    pub fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    /// Bytes of all keys and values.
    pub fn bytes(&self) -> usize {
        self.bytes.len()
    }

    /// The record at `index`.
    #[inline]
    pub fn get(&self, index: usize) -> Option<Row<'_>> {
        let entry = self.entries.get(index)?;
        Some(Row {
            offset: entry.offset,
            timestamp: entry.timestamp,
            key: &self.bytes[entry.key.clone()],
            value: entry.value.clone().map(|value| &self.bytes[value]),
        })
    }

    /// Every record, in order.
    pub fn iter(&self) -> impl Iterator<Item = Row<'_>> {
        (0..self.len()).filter_map(|index| self.get(index))
    }

    /// Forgets the records and keeps the memory.
    pub fn clear(&mut self) {
        self.bytes.clear();
        self.entries.clear();
    }
}

#[cfg(test)]
mod tests {
    use proptest::collection::vec;
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn a_batch_gives_back_what_was_pushed(
            records in vec(
                (any::<i64>(), any::<i64>(), vec(any::<u8>(), 0..9), any::<Option<Vec<u8>>>()),
                0..9,
            ),
        ) {
            let mut batch = Batch::default();
            // A batch that was used before is as good as a new one.
            batch.push(Offset(0), Timestamp(0), b"old", Some(b"old"));
            batch.clear();
            for (offset, time, key, value) in &records {
                batch.push(Offset(*offset), Timestamp(*time), key, value.as_deref());
            }
            prop_assert_eq!(batch.len(), records.len());
            let given = batch.iter().map(|row| {
                (row.offset.0, row.timestamp.0, row.key.to_vec(), row.value.map(<[u8]>::to_vec))
            });
            prop_assert!(given.eq(records));
        }
    }
}
