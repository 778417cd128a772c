//! One commit: what a caller hands over, and the body of its frame.
//!
//! Invariant: a body that decodes is consistent in itself; readers check no length a second time.

use super::error::{LogError, Result};
use super::format::MAX_BODY_BYTES;
use super::wire::{Input, put_bytes, put_text, put_u16, put_u32, put_value};
use crate::record::{Offset, Partition, Timestamp};
use crate::task::Consumed;

/// The longest topic or group, as in Kafka.
pub const MAX_NAME_BYTES: usize = 249;
/// Headers of a record. Dead letters have ten.
pub const MAX_HEADERS: usize = 64;

/// A record to write.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct LogRecord {
    /// The record's own timestamp.
    pub timestamp: Timestamp,
    /// Empty when there is none.
    pub key: Vec<u8>,
    /// `None` is a tombstone.
    pub value: Option<Vec<u8>>,
    /// Name and value of each header.
    pub headers: Vec<(String, Vec<u8>)>,
}

/// Records for one partition.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Append {
    /// The topic.
    pub topic: String,
    /// Its partition.
    pub partition: Partition,
    /// The records, in order.
    pub records: Vec<LogRecord>,
}

/// How far a group has processed a partition.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct GroupOffset {
    /// The group.
    pub group: String,
    /// The source topic.
    pub topic: String,
    /// Its partition.
    pub partition: Partition,
    /// The next offset, and the stream time.
    pub consumed: Consumed,
}

/// All that one commit writes: outputs, state, dead letters and consumed offsets. It takes effect
/// completely or not at all.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct LogCommit {
    /// Records by partition. A partition may occur twice.
    pub appends: Vec<Append>,
    /// Consumed offsets.
    pub consumed: Vec<GroupOffset>,
}

impl LogCommit {
    /// Checks the bounds of the format.
    ///
    /// # Errors
    /// [`LogError::Invalid`] for a name that is empty or too long, a negative partition, and too many
    /// headers.
    pub fn check(&self) -> Result<()> {
        for append in &self.appends {
            check_place(&append.topic, append.partition)?;
            for record in &append.records {
                let names = record.headers.iter().map(|(name, _)| name.len()).max();
                if record.headers.len() > MAX_HEADERS || names > Some(u16::MAX.into()) {
                    return Err(LogError::Invalid(format!(
                        "a record of {} has {} headers, at most {MAX_HEADERS} are stored: write fewer",
                        append.topic,
                        record.headers.len()
                    )));
                }
            }
        }
        for offset in &self.consumed {
            check_place(&offset.topic, offset.partition)?;
            check_place(&offset.group, offset.partition)?;
        }
        Ok(())
    }

    /// The body of this commit's frame. `firsts` has the first offset of each append.
    ///
    /// # Errors
    /// [`LogError::Invalid`] when it is longer than [`MAX_BODY_BYTES`].
    pub(super) fn encode(&self, time: Timestamp, firsts: &[Offset]) -> Result<Vec<u8>> {
        let mut body = BodyWriter::new(time);
        for (append, first) in self.appends.iter().zip(firsts) {
            if append.records.is_empty() {
                continue;
            }
            body.batch(&append.topic, append.partition, *first);
            for (index, record) in append.records.iter().enumerate() {
                body.record(|out| put_record(out, index, record));
            }
        }
        let body = body.finish(&self.consumed);
        if body.len() > MAX_BODY_BYTES {
            return Err(LogError::Invalid(format!(
                "a commit has {} bytes, at most {MAX_BODY_BYTES} are stored: commit more often",
                body.len()
            )));
        }
        Ok(body)
    }
}

fn check_place(name: &str, partition: Partition) -> Result<()> {
    if name.is_empty() || name.len() > MAX_NAME_BYTES || partition.0 < 0 {
        return Err(LogError::Invalid(format!(
            "{name:?} partition {partition} cannot be stored: a name has 1 to {MAX_NAME_BYTES} bytes, \
             and a partition is not negative"
        )));
    }
    Ok(())
}

fn put_record(out: &mut Vec<u8>, delta: usize, record: &LogRecord) {
    put_u32(out, delta);
    out.extend_from_slice(&record.timestamp.0.to_le_bytes());
    put_bytes(out, &record.key);
    put_value(out, record.value.as_deref());
    put_u16(out, record.headers.len());
    for (name, value) in &record.headers {
        put_text(out, name);
        put_bytes(out, value);
    }
}

/// Writes a body batch by batch.
pub(super) struct BodyWriter {
    out: Vec<u8>,
    batches: u32,
    /// Where the counts of the open batch stand, and how many records it has.
    open: Option<(usize, u32)>,
}

/// Bytes of a batch's two counts.
const COUNTS: usize = 8;

impl BodyWriter {
    pub(super) fn new(time: Timestamp) -> Self {
        let mut out = time.0.to_le_bytes().to_vec();
        out.extend_from_slice(&[0; 4]);
        Self { out, batches: 0, open: None }
    }

    /// Begins a batch. It has a record at least.
    pub(super) fn batch(&mut self, topic: &str, partition: Partition, first: Offset) {
        self.close();
        put_text(&mut self.out, topic);
        self.out.extend_from_slice(&partition.0.to_le_bytes());
        self.out.extend_from_slice(&first.0.to_le_bytes());
        self.open = Some((self.out.len(), 0));
        self.out.extend_from_slice(&[0; COUNTS]);
        self.batches += 1;
    }

    pub(super) fn record(&mut self, put: impl FnOnce(&mut Vec<u8>)) {
        put(&mut self.out);
        if let Some((_, records)) = &mut self.open {
            *records += 1;
        }
    }

    fn close(&mut self) {
        if let Some((at, records)) = self.open.take() {
            let bytes = self.out.len() - at - COUNTS;
            let bytes = u32::try_from(bytes).unwrap_or(u32::MAX);
            self.out[at..at + 4].copy_from_slice(&records.to_le_bytes());
            self.out[at + 4..at + COUNTS].copy_from_slice(&bytes.to_le_bytes());
        }
    }

    pub(super) fn finish(mut self, consumed: &[GroupOffset]) -> Vec<u8> {
        self.close();
        self.out[8..12].copy_from_slice(&self.batches.to_le_bytes());
        put_offsets(&mut self.out, consumed);
        self.out
    }
}

pub(super) fn put_offsets(out: &mut Vec<u8>, offsets: &[GroupOffset]) {
    put_u32(out, offsets.len());
    for offset in offsets {
        put_text(out, &offset.group);
        put_text(out, &offset.topic);
        out.extend_from_slice(&offset.partition.0.to_le_bytes());
        out.extend_from_slice(&offset.consumed.next.0.to_le_bytes());
        out.extend_from_slice(&offset.consumed.stream_time.0.to_le_bytes());
    }
}

pub(super) fn parse_offsets(input: &mut Input<'_>) -> Option<Vec<GroupOffset>> {
    let count = input.u32()?;
    let mut offsets = Vec::new();
    for _ in 0..count {
        let (group, topic) = (input.text()?.to_owned(), input.text()?.to_owned());
        let (partition, next, stream_time) = (input.i32()?, input.i64()?, input.i64()?);
        offsets.push(GroupOffset {
            group,
            topic,
            partition: Partition(partition),
            consumed: Consumed { next: Offset(next), stream_time: Timestamp(stream_time) },
        });
    }
    Some(offsets)
}

/// The body of a commit's frame.
#[derive(Clone, Debug)]
pub struct Body<'a> {
    /// Wall-clock time of the commit.
    pub time: Timestamp,
    /// The records by partition.
    pub batches: Vec<Batch<'a>>,
    /// Consumed offsets.
    pub consumed: Vec<GroupOffset>,
}

/// Records of one partition in a commit.
#[derive(Clone, Copy, Debug)]
pub struct Batch<'a> {
    /// The topic.
    pub topic: &'a str,
    /// Its partition.
    pub partition: Partition,
    /// The offset of the first record that was committed.
    pub first: Offset,
    /// Bytes of all records.
    pub bytes: &'a [u8],
    /// The offset of the last record that is there.
    pub last: Offset,
    /// How many records there are.
    pub count: u32,
}

/// A record of the log, borrowed from its frame.
#[derive(Clone, Copy, Debug)]
pub struct StoredRecord<'a> {
    /// Where it stands.
    pub offset: Offset,
    /// The record's own timestamp.
    pub timestamp: Timestamp,
    /// Empty when there is none.
    pub key: &'a [u8],
    /// `None` is a tombstone.
    pub value: Option<&'a [u8]>,
    headers: &'a [u8],
    /// The whole record, as it is stored.
    pub(super) stored: &'a [u8],
}

impl<'a> StoredRecord<'a> {
    /// Name and value of each header.
    pub fn headers(&self) -> impl Iterator<Item = (&'a str, &'a [u8])> {
        let mut input = Input(self.headers);
        std::iter::from_fn(move || Some((input.text()?, input.bytes()?)))
    }
}

impl<'a> Body<'a> {
    /// Reads a body, every record of it. `None` when it is none.
    pub fn decode(bytes: &'a [u8]) -> Option<Self> {
        let mut input = Input(bytes);
        let time = Timestamp(input.i64()?);
        let count = input.u32()?;
        let mut batches = Vec::new();
        for _ in 0..count {
            batches.push(Batch::parse(&mut input)?);
        }
        let consumed = parse_offsets(&mut input)?;
        input.is_empty().then_some(Self { time, batches, consumed })
    }
}

impl<'a> Batch<'a> {
    fn parse(input: &mut Input<'a>) -> Option<Self> {
        let topic = input.text()?;
        let (partition, first) = (Partition(input.i32()?), Offset(input.i64()?));
        let (count, length) = (input.u32()?, input.u32()?);
        let bytes = input.take(length as usize)?;
        let mut batch = Self { topic, partition, first, bytes, last: first, count };
        if first.0 < 0 || partition.0 < 0 || first.0 > i64::MAX - i64::from(u32::MAX) - 1 {
            return None;
        }
        batch.last = batch.check()?;
        Some(batch)
    }

    /// Reads every record, in order of offsets. Returns the last offset.
    fn check(&self) -> Option<Offset> {
        let (mut rest, mut last) = (Input(self.bytes), None);
        for _ in 0..self.count {
            let record = parse_record(&mut rest, self.first)?;
            if last >= Some(record.offset) {
                return None;
            }
            last = Some(record.offset);
        }
        if rest.is_empty() { last } else { None }
    }

    /// The records.
    pub fn records(&self) -> impl Iterator<Item = StoredRecord<'a>> {
        let (mut rest, first) = (Input(self.bytes), self.first);
        std::iter::from_fn(move || parse_record(&mut rest, first))
    }
}

fn parse_record<'a>(input: &mut Input<'a>, first: Offset) -> Option<StoredRecord<'a>> {
    let all = input.0;
    let (delta, timestamp) = (input.u32()?, input.i64()?);
    let key = input.bytes()?;
    let value = if input.is_tombstone() { None } else { Some(input.bytes()?) };
    let count = input.u16()?;
    let before = input.0;
    for _ in 0..count {
        input.text()?;
        input.bytes()?;
    }
    Some(StoredRecord {
        offset: Offset(first.0 + i64::from(delta)),
        timestamp: Timestamp(timestamp),
        key,
        value,
        headers: &before[..before.len() - input.0.len()],
        stored: &all[..all.len() - input.0.len()],
    })
}
