//! A queue of records on disk: pushed at one end, acknowledged at the other, in order.
//!
//! ```text
//! DIR/lock                        held by the process that uses the spool
//! DIR/position                    next (u64) | crc32 of next (u32)   all records before it are acknowledged
//! DIR/00000000000000000001.spool  records, in segments (segment.rs)
//! ```
//!
//! [`Spool::push`] writes a record with one `write` before it returns, so the record survives a
//! `kill -9`. Files are synced every [`SYNC_BYTES`] and when a segment is full: a power failure
//! loses at most the last of them. An acknowledged segment is deleted.
//!
//! Invariants:
//! - Records are read in the order of their push, from the first that is not acknowledged.
//! - The files together never exceed the bound.
//! - Opening the spool takes out damaged records, keeps and counts them, and cuts off an incomplete
//!   one. All others are read.

mod segment;

use std::collections::VecDeque;
use std::fs::{self, File, OpenOptions};
use std::io::{self, Seek, SeekFrom, Write};
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

use schemas::Timestamp;

pub use self::segment::Damage;
use self::segment::{
    HEADER, MAGIC, MAX_RECORD, Segment, SpoolEntry, create, encode, invalid, path_of, read_entry,
};

/// Segments of a spool: at most an eighth of it waits to be deleted.
const SEGMENTS: u64 = 8;
/// The largest segment.
const MAX_SEGMENT: u64 = 64 << 20;
/// Bytes between two syncs.
pub const SYNC_BYTES: u64 = 4 << 20;
/// The smallest spool: below it a segment would hold next to nothing.
pub const MIN_BYTES: u64 = 64 << 10;

/// A record as it was pushed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SpoolRecord {
    /// Its place in the order of all that were ever pushed, from 1.
    pub number: u64,
    /// The time of the push.
    pub at: Timestamp,
    /// Its bytes.
    pub bytes: Vec<u8>,
}

/// The result of a push.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Push {
    /// It is on disk.
    Done,
    /// There is no room until something is acknowledged.
    Full,
}

/// The queue.
#[derive(Debug)]
pub struct Spool {
    dir: PathBuf,
    max_bytes: u64,
    /// The last one is written to.
    segments: VecDeque<Segment>,
    writer: File,
    position: File,
    unsynced: u64,
    /// The next to be acknowledged.
    next_ack: u64,
    /// The next to be read, where it stands, and when it was read ahead, itself.
    next_read: u64,
    reader: Option<(u64, File)>,
    ahead: Option<SpoolRecord>,
    /// Numbers and times of records that were read and not acknowledged.
    in_flight: VecDeque<(u64, Timestamp)>,
    /// The bytes taken out at opening.
    damages: Vec<Damage>,
    /// Held as long as this is.
    _lock: File,
}

impl Spool {
    /// Opens the spool in `dir`, which is made if it is not there.
    pub fn open(dir: &Path, max_bytes: u64) -> io::Result<Self> {
        fs::create_dir_all(dir)?;
        let file = |name: &str| {
            let path = dir.join(name);
            OpenOptions::new().create(true).read(true).write(true).truncate(false).open(path)
        };
        let lock = file("lock")?;
        lock.try_lock().map_err(|error| {
            io::Error::other(format!("{} is in use by another process: {error}", dir.display()))
        })?;
        let position = file("position")?;
        let acknowledged = read_position(&position)?;
        let (mut segments, damages) = segment::open_all(dir)?;
        let first = segments.front().map_or(1, |segment| segment.first);
        let end = segments.back().map_or(1, Segment::end);
        let next_ack = acknowledged.max(first);
        // A tail that was cut may have been acknowledged: numbers go on after both.
        let next_push = end.max(next_ack);
        if next_push > end || segments.is_empty() {
            segments
                .drain(..)
                .try_for_each(|segment| fs::remove_file(path_of(dir, segment.first)))?;
            segments.push_back(create(dir, next_push)?);
        }
        let last = segments.back().map_or(next_push, |segment| segment.first);
        let mut writer = OpenOptions::new().write(true).open(path_of(dir, last))?;
        writer.seek(SeekFrom::End(0))?;
        let mut spool = Self {
            dir: dir.into(),
            max_bytes: max_bytes.max(MIN_BYTES),
            segments,
            writer,
            position,
            unsynced: 0,
            next_ack,
            next_read: next_ack,
            reader: None,
            ahead: None,
            in_flight: VecDeque::new(),
            damages,
            _lock: lock,
        };
        spool.delete_acknowledged()?;
        Ok(spool)
    }

    /// The bytes taken out of the files at opening.
    pub fn damages(&self) -> &[Damage] {
        &self.damages
    }

    /// The number of the next record to read, or a smaller one that has no record.
    pub fn next_read(&self) -> u64 {
        self.next_read
    }

    /// Keeps undeliverable bytes for inspection; returns the path, if there was room.
    pub fn keep(&self, name: &str, bytes: &[u8]) -> io::Result<Option<PathBuf>> {
        segment::keep(&self.dir, name, bytes)
    }

    /// Records that are not acknowledged.
    pub fn len(&self) -> u64 {
        self.next_push() - self.next_ack
    }

    /// Everything is acknowledged.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Bytes of the files.
    pub fn bytes(&self) -> u64 {
        self.segments.iter().map(|segment| segment.bytes).sum()
    }

    /// The number of the next record.
    pub fn next_push(&self) -> u64 {
        self.segments.back().map_or(1, Segment::end)
    }

    /// The number of the first record that is not acknowledged.
    pub fn next_ack(&self) -> u64 {
        self.next_ack
    }

    /// The push time of the first unacknowledged record.
    pub fn oldest(&mut self) -> io::Result<Option<Timestamp>> {
        match self.in_flight.front() {
            Some((_, at)) => Ok(Some(*at)),
            None => Ok(self.peek()?.map(|record| record.at)),
        }
    }

    fn segment_bytes(&self) -> u64 {
        (self.max_bytes / SEGMENTS).min(MAX_SEGMENT)
    }

    /// Writes a record.
    pub fn push(&mut self, at: Timestamp, bytes: &[u8]) -> io::Result<Push> {
        let length = (HEADER + bytes.len()) as u64;
        if bytes.len() > MAX_RECORD || length + MAGIC.len() as u64 > self.max_bytes {
            return Err(invalid(&self.dir, "a record is larger than the spool may be"));
        }
        let new = self
            .segments
            .back()
            .is_none_or(|last| last.numbers > 0 && last.bytes + length > self.segment_bytes());
        let more = if new { length + MAGIC.len() as u64 } else { length };
        if self.bytes() + more > self.max_bytes {
            if !self.is_empty() || self.bytes() <= MAGIC.len() as u64 {
                return Ok(Push::Full);
            }
            // All that is there is acknowledged.
            self.rotate()?;
        } else if new {
            self.rotate()?;
        }
        let number = self.next_push();
        self.writer.write_all(&encode(at, bytes))?;
        if let Some(last) = self.segments.back_mut() {
            last.numbers += 1;
            last.bytes += length;
        }
        self.unsynced += length;
        if self.unsynced >= SYNC_BYTES {
            self.sync()?;
        }
        if self.next_read == number && self.ahead.is_none() {
            // A reader that keeps up reads from memory.
            self.ahead = Some(SpoolRecord { number, at, bytes: bytes.to_vec() });
        }
        Ok(Push::Done)
    }

    /// Begins a new segment.
    fn rotate(&mut self) -> io::Result<()> {
        self.sync()?;
        let segment = create(&self.dir, self.next_push())?;
        if self.segments.back().is_some_and(|last| last.numbers == 0) {
            // It has the same name.
            self.segments.pop_back();
        }
        let path = path_of(&self.dir, segment.first);
        self.writer = OpenOptions::new().append(true).open(path)?;
        self.segments.push_back(segment);
        self.delete_acknowledged()
    }

    /// Makes sure that all that was pushed outlives the machine.
    pub fn sync(&mut self) -> io::Result<()> {
        if self.unsynced > 0 {
            self.writer.sync_data()?;
            self.unsynced = 0;
        }
        Ok(())
    }

    /// The next record that has not been read.
    pub fn peek(&mut self) -> io::Result<Option<&SpoolRecord>> {
        if self.ahead.is_none() && self.next_read < self.next_push() {
            self.ahead = self.read()?;
            self.next_read = self.ahead.as_ref().map_or(self.next_push(), |record| record.number);
        }
        Ok(self.ahead.as_ref())
    }

    /// Takes what [`Self::peek`] shows as read.
    pub fn advance(&mut self) {
        if let Some(record) = self.ahead.take() {
            self.next_read = record.number + 1;
            self.in_flight.push_back((record.number, record.at));
        }
    }

    /// The next record; `None` when no number that is left has one.
    fn read(&mut self) -> io::Result<Option<SpoolRecord>> {
        let mut number = self.next_read;
        while number < self.next_push() {
            let holds = |segment: &&Segment| segment.first <= number && number < segment.end();
            let segment = self.segments.iter().find(holds);
            let segment = segment.map(|segment| (segment.first, segment.end()));
            let (first, end) =
                segment.ok_or_else(|| invalid(&self.dir, "a record is not in any segment"))?;
            let path = path_of(&self.dir, first);
            let (mut at, mut file) = match self.reader.take() {
                Some((at, file)) if at == number && number != first => (at, file),
                _ => {
                    let mut file = File::open(&path)?;
                    file.seek(SeekFrom::Start(MAGIC.len() as u64))?;
                    (first, file)
                }
            };
            while at < end {
                match read_entry(&mut file)? {
                    Some(SpoolEntry::Record(time, bytes)) if at >= number => {
                        self.reader = Some((at + 1, file));
                        return Ok(Some(SpoolRecord { number: at, at: time, bytes }));
                    }
                    Some(SpoolEntry::Record(..)) => at += 1,
                    Some(SpoolEntry::Hole(count)) => at += count,
                    None => {
                        let reason = "a record was damaged while it was open: start again, the \
                                      others are kept";
                        return Err(invalid(&path, reason));
                    }
                }
            }
            number = end;
        }
        Ok(None)
    }

    /// Takes all before `next` as acknowledged, for good.
    pub fn acknowledge(&mut self, next: u64) -> io::Result<()> {
        let next = next.min(self.next_read);
        if next <= self.next_ack {
            return Ok(());
        }
        while self.in_flight.pop_front_if(|(number, _)| *number < next).is_some() {}
        self.next_ack = next;
        let mut entry = next.to_le_bytes().to_vec();
        entry.extend_from_slice(&crc32fast::hash(&entry).to_le_bytes());
        self.position.write_all_at(&entry, 0)?;
        self.delete_acknowledged()
    }

    fn delete_acknowledged(&mut self) -> io::Result<()> {
        while self.segments.len() > 1
            && let Some(first) = self.segments.front()
            && first.end() <= self.next_ack
        {
            fs::remove_file(path_of(&self.dir, first.first))?;
            self.segments.pop_front();
        }
        Ok(())
    }
}

/// The first unacknowledged number; 0 if the file is incomplete.
fn read_position(file: &File) -> io::Result<u64> {
    let mut entry = [0; 12];
    match file.read_exact_at(&mut entry, 0) {
        Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => return Ok(0),
        other => other?,
    }
    let (next, crc) = entry.split_at(8);
    let whole = crc32fast::hash(next).to_le_bytes() == crc;
    Ok(if whole { next.try_into().map_or(0, u64::from_le_bytes) } else { 0 })
}

#[cfg(test)]
#[path = "tests.rs"]
mod tests;
