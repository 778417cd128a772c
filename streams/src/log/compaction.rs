//! Compaction and retention: rewrites sealed segments without what is superseded or expired.
//!
//! ```text
//! compacted  compacted │ committed  committed  committed │ last
//!                      └── newest offset of each key ────┘
//! └────────────── rewritten, oldest first ───────────────┘
//! ```
//!
//! Invariants:
//! - The newest record of a key stays, but for a tombstone that is old enough.
//! - A tombstone goes after every older record of its key: segments are rewritten oldest first.
//! - Offsets, numbers and times of what stays are as they were.

use std::sync::Arc;
use std::time::Duration;

use rustc_hash::FxHashMap;

use super::commit::{Batch, Body, BodyWriter, StoredRecord};
use super::error::{LogError, Result};
use super::format::{FRAME_BYTES, FrameKind, HEADER_BYTES, SegmentHeader, SegmentKind};
use super::local::{Log, hold};
use super::segment::{Sealed, SegmentWriter};
use super::summary::{ByPartition, Summary};
use crate::record::{Offset, Partition, Timestamp};

/// How long a tombstone stays: Kafka's default of `delete.retention.ms`.
pub const TOMBSTONE_RETENTION: Duration = Duration::from_hours(24);
/// So many neighbours of less than half the size of a segment are merged.
const MAX_SMALL: usize = 16;
/// Memory of an entry of the key map, besides the key.
const KEY_OVERHEAD: usize = 64;

/// What happens to the records of a topic.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Policy {
    /// The newest of each key is kept.
    pub is_compacted: bool,
    /// Everything goes after this time; `None` keeps it for ever.
    pub retention: Option<Duration>,
}

/// What a compaction has done.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Compacted {
    /// Segments that were read.
    pub segments: usize,
    /// Bytes of the segments that were replaced.
    pub bytes_before: u64,
    /// Bytes of the segments in their place.
    pub bytes_after: u64,
    /// Records that were removed.
    pub removed: u64,
}

impl Policy {
    fn has_expired(self, newest: Timestamp, now: Timestamp) -> bool {
        self.retention.is_some_and(|time| is_older(newest, time, now))
    }
}

fn is_older(time: Timestamp, than: Duration, now: Timestamp) -> bool {
    let age = i128::from(now.0) - i128::from(time.0);
    age > i128::try_from(than.as_millis()).unwrap_or(i128::MAX)
}

impl Log {
    /// Compacts the sealed segments, if it is due. It runs beside commits and readers.
    ///
    /// # Errors
    /// [`LogError::NoRoom`] and [`LogError::Io`]: what was not replaced is as before.
    /// [`LogError::Damaged`] names file and offset; nothing after it is compacted.
    pub fn compact(
        &self,
        policy: impl Fn(&str) -> Policy,
        now: Timestamp,
    ) -> Result<Option<Compacted>> {
        let _one = hold(&self.compacting);
        let sealed = self.shared().sealed.clone();
        if !is_due(&sealed, &policy, now, self.options.segment_bytes) {
            return Ok(None);
        }
        let clean = clean_segments(&sealed);
        let mut keys = Keys::default();
        let mut end = clean;
        for segment in &sealed[clean..] {
            keys.collect(segment, &policy)?;
            end += 1;
            // Bounded by the setting and the keys of one segment.
            if keys.bytes > self.options.key_map_bytes {
                break;
            }
        }
        let pass = Pass { log: self, policy: &policy, now, keys };
        pass.run(&sealed[..end]).map(Some)
    }
}

/// How many of the first segments are compacted already.
fn clean_segments(sealed: &[Arc<Sealed>]) -> usize {
    let is_dirty = |segment: &Arc<Sealed>| segment.header.kind == SegmentKind::Committed;
    sealed.iter().position(is_dirty).unwrap_or(sealed.len())
}

fn is_due(
    sealed: &[Arc<Sealed>],
    policy: &impl Fn(&str) -> Policy,
    now: Timestamp,
    segment_bytes: u64,
) -> bool {
    let (mut dirty, mut clean, mut small) = (0, 0, 0);
    let is_small = |segment: &Arc<Sealed>| segment.end < segment_bytes / 2;
    for (index, segment) in sealed.iter().enumerate() {
        let (mut expired, mut all) = (0, 0);
        for (topic, _, state) in segment.summary.partitions.iter() {
            let policy = policy(topic);
            all += state.bytes;
            if policy.has_expired(state.newest, now) {
                expired += state.bytes;
            }
            let kind = segment.header.kind;
            let of_kind = if kind == SegmentKind::Committed { &mut dirty } else { &mut clean };
            *of_kind += if policy.is_compacted { state.bytes } else { 0 };
        }
        if expired > 0 && expired * 2 >= all {
            return true;
        }
        let before = index.checked_sub(1).and_then(|before| sealed.get(before));
        small += usize::from(is_small(segment) && before.is_some_and(is_small));
    }
    (dirty > 0 && dirty >= clean) || small >= MAX_SMALL
}

/// The newest offset of each key in segments that were not compacted.
#[derive(Default)]
struct Keys {
    places: ByPartition<Option<u32>>,
    count: u32,
    newest: FxHashMap<Vec<u8>, Offset>,
    bytes: usize,
}

impl Keys {
    fn collect(&mut self, segment: &Sealed, policy: &impl Fn(&str) -> Policy) -> Result<()> {
        each_commit(segment, |_, body| {
            for batch in body.batches.iter().filter(|batch| policy(batch.topic).is_compacted) {
                let place = self.place(batch.topic, batch.partition);
                for record in batch.records() {
                    let key = full_key(place, record.key);
                    let bytes = key.len() + KEY_OVERHEAD;
                    if self.newest.insert(key, record.offset).is_none() {
                        self.bytes += bytes;
                    }
                }
            }
            Ok(())
        })
    }

    fn place(&mut self, topic: &str, partition: Partition) -> u32 {
        let place = self.places.entry(topic, partition);
        if place.is_none() {
            self.count += 1;
        }
        *place.get_or_insert(self.count)
    }

    fn newest(&self, batch: &Batch<'_>, key: &[u8]) -> Option<Offset> {
        let place = self.places.get(batch.topic, batch.partition).copied().flatten()?;
        self.newest.get(&full_key(place, key)).copied()
    }
}

fn full_key(place: u32, key: &[u8]) -> Vec<u8> {
    let mut full = Vec::with_capacity(4 + key.len());
    full.extend_from_slice(&place.to_le_bytes());
    full.extend_from_slice(key);
    full
}

/// Reads every commit of a segment, one frame in memory.
fn each_commit(segment: &Sealed, mut take: impl FnMut(u64, &Body<'_>) -> Result<()>) -> Result<()> {
    let (mut position, mut frame) = (HEADER_BYTES as u64, Vec::new());
    // Each turn moves on by a frame.
    while position < segment.end {
        let head = segment.named.frame(position, &mut frame)?;
        if head.kind != FrameKind::Commit {
            return Err(segment.named.damaged(position, "a summary stands among the commits"));
        }
        take(head.number, &segment.named.body(position, &frame)?)?;
        position += (FRAME_BYTES + head.length) as u64;
    }
    Ok(())
}

struct Pass<'a, P> {
    log: &'a Log,
    policy: &'a P,
    now: Timestamp,
    keys: Keys,
}

/// A segment that is being written, and those that it replaces.
struct Output<'a> {
    writer: SegmentWriter<'a>,
    /// The index of the first source in the log.
    at: usize,
    sources: Vec<Arc<Sealed>>,
    removed: u64,
}

impl<'a, P: Fn(&str) -> Policy> Pass<'a, P> {
    fn run(&self, sealed: &[Arc<Sealed>]) -> Result<Compacted> {
        let mut done = Compacted { segments: sealed.len(), ..Compacted::default() };
        let (mut output, mut before, mut at) = (None, Summary::default(), 0);
        for source in sealed {
            if let Some(full) = self.take_full(&mut output, source) {
                (before, at) = self.finish(full, &mut done)?;
            }
            let output = match &mut output {
                Some(output) => output,
                None => output.insert(self.begin(source, &before, at)?),
            };
            self.copy(source, output)?;
        }
        match output {
            Some(last) => self.finish(last, &mut done).map(|_| done),
            None => Ok(done),
        }
    }

    fn take_full(&self, output: &mut Option<Output<'a>>, next: &Sealed) -> Option<Output<'a>> {
        let limit = self.log.options.segment_bytes;
        output.take_if(|output| output.writer.length() + next.end > limit)
    }

    fn begin(&self, source: &Sealed, before: &Summary, at: usize) -> Result<Output<'a>> {
        let header = SegmentHeader { kind: SegmentKind::Compacted, ..source.header };
        let writer = SegmentWriter::create(&*self.log.disk, header, before)?;
        Ok(Output { writer, at, sources: Vec::new(), removed: 0 })
    }

    /// Writes what stays of a segment.
    fn copy(&self, source: &Arc<Sealed>, output: &mut Output<'a>) -> Result<()> {
        each_commit(source, |number, body| match self.kept(source, body, &mut output.removed) {
            Some(body) => output.writer.commit(number, &body),
            None => Ok(()),
        })?;
        output.writer.summary.take_state(&source.summary);
        for (topic, partition, state) in source.summary.partitions.iter() {
            if state.bytes > 0 && (self.policy)(topic).has_expired(state.newest, self.now) {
                let kept = output.writer.summary.partitions.entry(topic, partition);
                kept.expired = kept.expired.max(state.end);
            }
        }
        output.sources.push(Arc::clone(source));
        Ok(())
    }

    /// The body of what stays of a commit; `None` when no record does. The consumed offsets are in the
    /// summaries.
    fn kept(&self, source: &Sealed, body: &Body<'_>, removed: &mut u64) -> Option<Vec<u8>> {
        let mut writer = None;
        for batch in &body.batches {
            let policy = (self.policy)(batch.topic);
            let state = source.summary.partitions.get(batch.topic, batch.partition);
            let expired = state.is_some_and(|state| policy.has_expired(state.newest, self.now));
            let mut is_begun = false;
            for record in batch.records() {
                if expired || (policy.is_compacted && self.is_superseded(batch, &record, body.time))
                {
                    *removed += 1;
                    continue;
                }
                let out = writer.get_or_insert_with(|| BodyWriter::new(body.time));
                if !is_begun {
                    out.batch(batch.topic, batch.partition, batch.first);
                    is_begun = true;
                }
                out.record(|out| out.extend_from_slice(record.stored));
            }
        }
        writer.map(|writer| writer.finish(&[]))
    }

    fn is_superseded(&self, batch: &Batch<'_>, record: &StoredRecord<'_>, time: Timestamp) -> bool {
        let is_newest =
            self.keys.newest(batch, record.key).is_none_or(|newest| newest <= record.offset);
        let is_old_tombstone =
            record.value.is_none() && is_older(time, TOMBSTONE_RETENTION, self.now);
        !is_newest || is_old_tombstone
    }

    /// Puts the output into the place of its sources. Returns the state at its end, and the index of the
    /// next segment.
    fn finish(&self, output: Output<'a>, done: &mut Compacted) -> Result<(Summary, usize)> {
        let Output { writer, at, sources, removed } = output;
        let Some(last) = sources.last() else { return Ok((Summary::default(), at)) };
        let is_clean = sources.iter().all(|s| s.header.kind == SegmentKind::Compacted);
        if is_clean && sources.len() == 1 && removed == 0 {
            writer.discard();
            return Ok((last.summary.clone(), at + 1));
        }
        let sealed = Arc::new(writer.finish(last.last)?);
        done.removed += removed;
        done.bytes_before += sources.iter().map(|source| source.end).sum::<u64>();
        done.bytes_after += sealed.end;
        let summary = sealed.summary.clone();
        self.log.replace(sources.len(), sealed, at);
        for source in &sources[1..] {
            let removed = self.log.disk.remove(&source.name);
            removed.map_err(|error| {
                LogError::io(self.log.disk.path(&source.name), "removing", &error)
            })?;
        }
        Ok((summary, at + 1))
    }
}
