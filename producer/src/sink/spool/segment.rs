//! One file of the spool: its format, and the repair of a damaged file.
//!
//! ```text
//! DIR/00000000000000000001.spool  magic | entry*     named by the number of its first entry
//!     entry   length (u32) | crc32 (u32) | time, ms (i64) | bytes
//!             the crc covers time and bytes; all numbers little-endian
//!     hole    an entry of the time i64::MIN, whose bytes are a count (u64): a repair found no
//!             record for so many numbers
//! DIR/damaged/…                   bytes that a repair took out, named by file and offset
//! ```
//!
//! A damaged entry costs only itself. The repair searches for the next entry with a correct crc and
//! keeps the bytes before it in `damaged/`. Only the end of the last file is cut, because an entry
//! may be torn there.
//!
//! Invariant: a repair never gives a record a smaller number, so an unacknowledged record is never
//! taken for acknowledged. A record may be sent again instead.

use std::collections::VecDeque;
use std::fs::{self, File, OpenOptions};
use std::io::{self, Read};
use std::ops::Range;
use std::path::{Path, PathBuf};

use schemas::Timestamp;

/// The first bytes of a file: the format and version 1.
pub(crate) const MAGIC: [u8; 8] = *b"SPOOL\0\0\x01";
/// Bytes of an entry before its own.
pub(crate) const HEADER: usize = 16;
/// The longest record: more than any that a broker takes.
pub(crate) const MAX_RECORD: usize = 16 << 20;
/// The time of a hole. No record has it: records have the time at which they were pushed.
const HOLE: i64 = i64::MIN;
/// Bytes that a repair hashes in search of an entry: a second of work for each file. What is behind
/// it is taken as damaged.
const MAX_SEARCH: usize = 1 << 30;
/// Bytes in `damaged/` at most: the largest file of a spool. Beyond it nothing more is kept.
const MAX_KEPT: u64 = 64 << 20;

/// The content of a file, entry by entry.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum SpoolEntry {
    /// A record.
    Record(Timestamp, Vec<u8>),
    /// This many numbers have no record.
    Hole(u64),
}

impl SpoolEntry {
    fn numbers(&self) -> u64 {
        match self {
            Self::Record(..) => 1,
            Self::Hole(count) => *count,
        }
    }
}

/// A file.
#[derive(Debug)]
pub(crate) struct Segment {
    /// The number of its first entry.
    pub(crate) first: u64,
    /// The count of numbers of its entries.
    pub(crate) numbers: u64,
    /// Its size.
    pub(crate) bytes: u64,
}

impl Segment {
    /// The number after its last.
    pub(crate) fn end(&self) -> u64 {
        self.first + self.numbers
    }
}

/// The bytes taken out of a file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Damage {
    /// The file.
    pub file: PathBuf,
    /// The offset in the file.
    pub offset: u64,
    /// The length.
    pub bytes: u64,
    /// The end of the last file, where an entry may be torn.
    pub is_tail: bool,
    /// The path of the kept bytes; `None` when `damaged/` is full.
    pub kept: Option<PathBuf>,
}

pub(crate) fn invalid(path: &Path, reason: &str) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, format!("{}: {reason}", path.display()))
}

pub(crate) fn path_of(dir: &Path, first: u64) -> PathBuf {
    dir.join(format!("{first:020}.spool"))
}

/// An empty file.
pub(crate) fn create(dir: &Path, first: u64) -> io::Result<Segment> {
    fs::write(path_of(dir, first), MAGIC)?;
    Ok(Segment { first, numbers: 0, bytes: MAGIC.len() as u64 })
}

/// A record as it stands in a file.
pub(crate) fn encode(at: Timestamp, bytes: &[u8]) -> Vec<u8> {
    let mut out = Vec::with_capacity(HEADER + bytes.len());
    // Its length is bounded by `push`.
    out.extend_from_slice(&u32::try_from(bytes.len()).unwrap_or(u32::MAX).to_le_bytes());
    out.extend_from_slice(&[0; 4]);
    out.extend_from_slice(&at.0.to_le_bytes());
    out.extend_from_slice(bytes);
    let crc = crc32fast::hash(&out[8..]);
    out[4..8].copy_from_slice(&crc.to_le_bytes());
    out
}

/// The next entry of a file; `None` where there is no whole one.
pub(crate) fn read_entry(file: &mut impl Read) -> io::Result<Option<SpoolEntry>> {
    let mut bytes = Vec::new();
    file.take(HEADER as u64).read_to_end(&mut bytes)?;
    if let Some(length) = length_at(&bytes, 0) {
        file.take(length as u64).read_to_end(&mut bytes)?;
    }
    Ok(entry_at(&bytes, 0).map(|(entry, _)| entry))
}

/// The length that an entry would have, that begins there.
fn length_at(bytes: &[u8], at: usize) -> Option<usize> {
    let length =
        bytes.get(at..at + HEADER)?.first_chunk().map(|length| u32::from_le_bytes(*length));
    length.map(|length| length as usize).filter(|length| *length <= MAX_RECORD)
}

/// The entry that begins there, and its end; `None` where there is no whole one.
fn entry_at(bytes: &[u8], at: usize) -> Option<(SpoolEntry, usize)> {
    let end = at + HEADER + length_at(bytes, at)?;
    let (head, body) = bytes.get(at..end)?.split_at(8);
    if crc32fast::hash(body).to_le_bytes() != head[4..] {
        return None;
    }
    let (time, own) = body.split_at(8);
    let entry = match time.try_into().map_or(0, i64::from_le_bytes) {
        HOLE => SpoolEntry::Hole(own.try_into().map_or(0, u64::from_le_bytes)),
        time => SpoolEntry::Record(Timestamp(time), own.to_vec()),
    };
    Some((entry, end))
}

/// A part of a file: whole entries, or bytes that are none.
struct Part {
    range: Range<usize>,
    /// The count of numbers of whole entries.
    numbers: Option<u64>,
}

/// The parts behind the magic, in order; whole and damaged ones take turns.
fn parts(bytes: &[u8]) -> Vec<Part> {
    let (mut parts, mut at, mut search): (Vec<Part>, _, _) = (Vec::new(), MAGIC.len(), MAX_SEARCH);
    while at < bytes.len() {
        if let Some((entry, end)) = entry_at(bytes, at) {
            match parts.last_mut() {
                Some(Part { range, numbers: Some(numbers) }) => {
                    range.end = end;
                    *numbers += entry.numbers();
                }
                _ => parts.push(Part { range: at..end, numbers: Some(entry.numbers()) }),
            }
            at = end;
        } else {
            let next = next_entry(bytes, at + HEADER, &mut search);
            parts.push(Part { range: at..next, numbers: None });
            at = next;
        }
    }
    parts
}

/// The start of the next whole entry, at `from` or behind it; else the end of the file.
fn next_entry(bytes: &[u8], from: usize, search: &mut usize) -> usize {
    for at in from..bytes.len() {
        let Some(length) = length_at(bytes, at) else { continue };
        if at + HEADER + length > bytes.len() {
            continue;
        }
        let Some(left) = search.checked_sub(HEADER + length) else { break };
        *search = left;
        if entry_at(bytes, at).is_some() {
            return at;
        }
    }
    bytes.len()
}

/// The files of a directory, repaired, and the bytes taken out of them.
pub(crate) fn open_all(dir: &Path) -> io::Result<(VecDeque<Segment>, Vec<Damage>)> {
    let mut firsts = Vec::new();
    for entry in fs::read_dir(dir)? {
        let name = entry?.file_name();
        let number: Option<u64> =
            name.to_str().and_then(|name| name.strip_suffix(".spool")?.parse().ok());
        firsts.extend(number);
    }
    firsts.sort_unstable();
    let (mut segments, mut damages) = (VecDeque::new(), Vec::new());
    for (index, first) in firsts.iter().enumerate() {
        let opening = Opening { dir, first: *first, next: firsts.get(index + 1).copied() };
        segments.push_back(opening.segment(&mut damages)?);
    }
    Ok((segments, damages))
}

/// A file that is being opened.
struct Opening<'a> {
    dir: &'a Path,
    first: u64,
    /// The number with which the next file begins; unknown of the last.
    next: Option<u64>,
}

impl Opening<'_> {
    fn segment(&self, damages: &mut Vec<Damage>) -> io::Result<Segment> {
        let path = path_of(self.dir, self.first);
        let bytes = fs::read(&path)?;
        let parts = parts(&bytes);
        if !bytes.starts_with(&MAGIC) && parts.iter().all(|part| part.numbers.is_none()) {
            // A shorter one was being made when the process ended.
            if bytes.len() > MAGIC.len() {
                return Err(invalid(&path, "not a spool of this version: move the file away"));
            }
        }
        let is_torn =
            self.next.is_none() && parts.last().is_some_and(|part| part.numbers.is_none());
        for (index, part) in parts.iter().enumerate().filter(|(_, part)| part.numbers.is_none()) {
            let is_tail = is_torn && index + 1 == parts.len();
            damages.push(self.keep(&bytes, part, is_tail)?);
        }
        let holes = self.holes(&bytes, &parts)?;
        let numbers = parts.iter().filter_map(|part| part.numbers).sum::<u64>();
        let numbers = numbers + holes.iter().sum::<u64>();
        let repaired = repaired(&bytes, &parts, &holes);
        let size = repaired.len() as u64;
        if bytes.starts_with(&repaired) && repaired.len() < bytes.len() {
            OpenOptions::new().write(true).open(&path)?.set_len(size)?;
        } else if repaired != bytes {
            let new = path.with_extension("spool.new");
            fs::write(&new, &repaired)?;
            File::open(&new)?.sync_data()?;
            fs::rename(new, path)?;
        }
        Ok(Segment { first: self.first, numbers, bytes: size })
    }

    /// The count of numbers without a record, at each part and behind the last.
    fn holes(&self, bytes: &[u8], parts: &[Part]) -> io::Result<Vec<u64>> {
        let mut holes = vec![0; parts.len() + 1];
        let damaged = parts.iter().enumerate().filter(|(_, part)| part.numbers.is_none());
        let Some(next) = self.next else {
            // Not known: as many as have room, except at the end, where the next are pushed.
            for (index, part) in damaged.filter(|(index, _)| index + 1 < parts.len()) {
                let whole = length_at(bytes, part.range.start).map(|length| length + HEADER);
                let room = part.range.len() / HEADER;
                holes[index] = if whole == Some(part.range.len()) { 1 } else { room as u64 };
            }
            return Ok(holes);
        };
        let found = parts.iter().filter_map(|part| part.numbers).sum::<u64>();
        let lost = next.checked_sub(self.first + found).ok_or_else(|| {
            invalid(
                &path_of(self.dir, next),
                "it begins before the file before it ends: move it away",
            )
        })?;
        // The first takes what the others do not need: numbers behind it are the greatest possible.
        let places: Vec<usize> = damaged.map(|(index, _)| index).collect();
        let mut left = lost;
        for index in places.iter().skip(1).rev() {
            holes[*index] = left.min(1);
            left -= holes[*index];
        }
        holes[places.first().copied().unwrap_or(parts.len())] += left;
        Ok(holes)
    }

    /// Keeps the bytes of a damaged part.
    fn keep(&self, bytes: &[u8], part: &Part, is_tail: bool) -> io::Result<Damage> {
        let offset = part.range.start;
        let name = format!("{:020}-{offset}", self.first);
        let kept = keep(self.dir, &name, &bytes[part.range.clone()])?;
        Ok(Damage {
            file: path_of(self.dir, self.first),
            offset: offset as u64,
            bytes: part.range.len() as u64,
            is_tail,
            kept,
        })
    }
}

/// The file without what is damaged, and with what stands in its place.
fn repaired(bytes: &[u8], parts: &[Part], holes: &[u64]) -> Vec<u8> {
    let mut out = MAGIC.to_vec();
    let ranges = parts.iter().map(|part| part.numbers.and(Some(part.range.clone())));
    for (range, hole) in ranges.chain([None]).zip(holes) {
        out.extend_from_slice(&bytes[range.unwrap_or_default()]);
        if *hole > 0 {
            out.extend_from_slice(&encode(Timestamp(HOLE), &hole.to_le_bytes()));
        }
    }
    out
}

/// Keeps bytes that cannot be sent in `damaged/`, for a person to look at; where, if there was room.
pub(crate) fn keep(dir: &Path, name: &str, bytes: &[u8]) -> io::Result<Option<PathBuf>> {
    let folder = dir.join("damaged");
    fs::create_dir_all(&folder)?;
    let mut held = 0;
    for entry in fs::read_dir(&folder)? {
        held += entry?.metadata()?.len();
    }
    if held + bytes.len() as u64 > MAX_KEPT {
        return Ok(None);
    }
    let path = folder.join(name);
    fs::write(&path, bytes)?;
    File::open(&path)?.sync_data()?;
    Ok(Some(path))
}
