//! One partition of a topic: records, and the markers that end transactions.
//!
//! Invariant: nothing below the last stable offset is pending, and markers occupy offsets.

use std::collections::BTreeMap;

/// Keys and values.
pub(crate) type Pairs = BTreeMap<Vec<u8>, Vec<u8>>;

#[derive(Clone, Copy, PartialEq, Eq)]
enum State {
    Pending,
    Committed,
    Aborted,
}

/// A record as it stands in a log.
pub(crate) struct Record {
    producer: usize,
    state: State,
    /// Milliseconds.
    pub(crate) timestamp: i64,
    /// Empty when there is none.
    pub(crate) key: Vec<u8>,
    /// `None` is a tombstone.
    pub(crate) value: Option<Vec<u8>>,
}

/// One partition of a topic.
#[derive(Default)]
pub(crate) struct Log {
    /// `None` is a marker.
    slots: Vec<Option<Record>>,
    /// By producer: where its open transaction begins.
    open: BTreeMap<usize, usize>,
    /// Records before this place are deleted.
    pub(crate) start: usize,
}

impl Log {
    /// Appends a record of an open transaction.
    pub(crate) fn append(
        &mut self,
        producer: usize,
        timestamp: i64,
        key: &[u8],
        value: Option<&[u8]>,
    ) {
        self.open.entry(producer).or_insert(self.slots.len());
        let (key, value) = (key.to_vec(), value.map(<[u8]>::to_vec));
        self.slots.push(Some(Record { producer, state: State::Pending, timestamp, key, value }));
    }

    /// All records are decided, and none is left from `next` on.
    pub(crate) fn is_read(&self, next: usize) -> bool {
        self.open.is_empty() && self.committed(next, self.slots.len()).next().is_none()
    }

    /// Ends a producer's transaction with a marker.
    pub(crate) fn end(&mut self, producer: usize, committed: bool) {
        let Some(first) = self.open.remove(&producer) else {
            return;
        };
        let state = if committed { State::Committed } else { State::Aborted };
        for record in self.slots[first..].iter_mut().flatten() {
            if record.producer == producer && record.state == State::Pending {
                record.state = state;
            }
        }
        self.slots.push(None);
    }

    /// The offset after the last slot.
    pub(crate) fn high_watermark(&self) -> usize {
        self.slots.len()
    }

    /// The last stable offset: where the first open transaction begins.
    pub(crate) fn stable(&self) -> usize {
        self.open.values().copied().min().unwrap_or(self.slots.len())
    }

    /// What is committed of `[from, to)`, with offsets. Readers stop at the last stable offset.
    pub(crate) fn committed(
        &self,
        from: usize,
        to: usize,
    ) -> impl Iterator<Item = (usize, &Record)> {
        let slots = self.slots.iter().enumerate().take(to).skip(from);
        let records = slots.filter_map(|(offset, slot)| Some((offset, slot.as_ref()?)));
        records.filter(|(_, record)| record.state == State::Committed)
    }

    /// The state that the records of `[from, to)` make of `pairs`.
    pub(crate) fn fold(&self, mut pairs: Pairs, from: usize, to: usize) -> Pairs {
        for (_, record) in self.committed(from, to) {
            match &record.value {
                Some(value) => pairs.insert(record.key.clone(), value.clone()),
                None => pairs.remove(&record.key),
            };
        }
        pairs
    }
}
