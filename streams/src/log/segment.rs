//! Segments as files: one that is sealed, and one that is written as a whole.
//!
//! Invariant: a file under its final name has a valid header, and all of it was synced before it got
//! the name.

use std::sync::Arc;

use super::commit::Body;
use super::disk::{Disk, DiskFile};
use super::error::{LogError, Result};
use super::format::{
    BadHeader, FRAME_BYTES, FrameHead, FrameKind, HEADER_BYTES, Link, SegmentHeader, TRAILER_BYTES,
    VERSION, parse_trailer, put_frame, trailer,
};
use super::summary::Summary;

const SUFFIX: &str = ".segment";
/// The suffix of a file that is not finished.
pub(super) const NEW: &str = ".new";
/// Bytes that a writer of a segment collects before it writes them.
const WRITE_BYTES: usize = 1 << 20;

/// The name of the segment that begins with a commit.
pub(super) fn name_of(first: u64) -> String {
    format!("{first:020}{SUFFIX}")
}

/// The first commit of the segment of this name.
pub(super) fn first_of(name: &str) -> Option<u64> {
    let number = name.strip_suffix(SUFFIX)?;
    if number.len() == 20 { number.parse().ok() } else { None }
}

/// An open file with its name, for messages.
#[derive(Clone)]
pub(super) struct Named {
    pub(super) file: Arc<dyn DiskFile>,
    pub(super) path: String,
}

impl Named {
    pub(super) fn damaged(&self, offset: u64, reason: &'static str) -> LogError {
        LogError::Damaged { path: self.path.clone(), offset, reason }
    }

    fn read(&self, buffer: &mut [u8], position: u64) -> Result<()> {
        self.file.read_at(buffer, position).map_err(|error| match error.kind() {
            std::io::ErrorKind::UnexpectedEof => self.damaged(position, "the file ends here"),
            _ => LogError::io(self.path.clone(), "a read", &error),
        })
    }

    pub(super) fn length(&self) -> Result<u64> {
        self.file.length().map_err(|error| LogError::io(self.path.clone(), "a read", &error))
    }

    /// The whole file.
    pub(super) fn bytes(&self) -> Result<Vec<u8>> {
        let length = usize::try_from(self.length()?).unwrap_or(usize::MAX);
        let mut bytes = vec![0; length];
        self.read(&mut bytes, 0)?;
        Ok(bytes)
    }

    /// Reads a frame into `frame`, and checks it.
    pub(super) fn frame(&self, position: u64, frame: &mut Vec<u8>) -> Result<FrameHead> {
        frame.clear();
        frame.resize(FRAME_BYTES, 0);
        self.read(frame, position)?;
        let head = FrameHead::decode(frame);
        let head = head.ok_or_else(|| self.damaged(position, "there is no frame"))?;
        frame.resize(FRAME_BYTES + head.length, 0);
        self.read(&mut frame[FRAME_BYTES..], position + FRAME_BYTES as u64)?;
        if head.is_of(frame) {
            Ok(head)
        } else {
            Err(self.damaged(position, "the checksum does not fit"))
        }
    }

    /// The commit of a frame that was read.
    pub(super) fn body<'a>(&self, position: u64, frame: &'a [u8]) -> Result<Body<'a>> {
        let body = frame.get(FRAME_BYTES..).and_then(Body::decode);
        body.ok_or_else(|| self.damaged(position, "there is no commit in the frame"))
    }

    /// The error of a header.
    pub(super) fn bad_header(&self, bad: BadHeader) -> LogError {
        match bad {
            BadHeader::Damaged => self.damaged(0, "the header of a segment does not fit"),
            BadHeader::Newer(found) => {
                LogError::Newer { path: self.path.clone(), found, known: VERSION }
            }
        }
    }

    pub(super) fn header(&self) -> Result<SegmentHeader> {
        let mut header = [0; HEADER_BYTES];
        self.read(&mut header, 0)?;
        SegmentHeader::decode(&header).map_err(|bad| self.bad_header(bad))
    }
}

/// A segment that is never changed again.
pub(super) struct Sealed {
    pub(super) named: Named,
    pub(super) name: String,
    pub(super) header: SegmentHeader,
    /// The number of its last commit.
    pub(super) last: u64,
    /// Without the positions of frames.
    pub(super) summary: Summary,
    /// Where the summary frame begins: commits end there.
    pub(super) end: u64,
}

impl Sealed {
    /// A segment of this log; `None` when it was not sealed.
    pub(super) fn open(disk: &dyn Disk, name: &str) -> Result<Option<Self>> {
        let path = disk.path(name);
        let file =
            disk.open(name).map_err(|error| LogError::io(path.clone(), "opening", &error))?;
        let named = Named { file, path };
        let header = named.header()?;
        let length = named.length()?;
        let Some(at) = length.checked_sub(TRAILER_BYTES as u64) else { return Ok(None) };
        let mut bytes = [0; TRAILER_BYTES];
        named.read(&mut bytes, at)?;
        let Some((end, crc)) = parse_trailer(&bytes) else { return Ok(None) };
        let Ok((head, mut summary)) = summary_at(&named, end) else { return Ok(None) };
        if head.crc != crc {
            return Ok(None);
        }
        summary.forget_frames();
        Ok(Some(Self { named, name: name.into(), header, last: head.number, summary, end }))
    }

    /// The summary with the positions of frames.
    pub(super) fn full_summary(&self) -> Result<Summary> {
        summary_at(&self.named, self.end).map(|(_, summary)| summary)
    }
}

fn summary_at(named: &Named, position: u64) -> Result<(FrameHead, Summary)> {
    let mut frame = Vec::new();
    let head = named.frame(position, &mut frame)?;
    let summary = frame.get(FRAME_BYTES..).and_then(Summary::decode);
    let summary = summary.filter(|_| head.kind == FrameKind::Summary);
    Ok((head, summary.ok_or_else(|| named.damaged(position, "there is no summary"))?))
}

/// The bytes that seal a segment: summary frame and trailer.
pub(super) fn seal(summary: &Summary, position: u64, last: u64, previous: u32) -> Vec<u8> {
    let mut out = Vec::new();
    let link = Link { number: last, durable: last, previous };
    let crc = put_frame(&mut out, FrameKind::Summary, link, &summary.encode());
    out.extend_from_slice(&trailer(position, crc));
    out
}

/// Writes a segment as a whole: for recovery, compaction and repair.
pub(super) struct SegmentWriter<'a> {
    disk: &'a dyn Disk,
    named: Named,
    header: SegmentHeader,
    buffer: Vec<u8>,
    written: u64,
    previous: u32,
    pub(super) summary: Summary,
}

impl<'a> SegmentWriter<'a> {
    /// Begins a file that has no final name yet.
    pub(super) fn create(
        disk: &'a dyn Disk,
        header: SegmentHeader,
        before: &Summary,
    ) -> Result<Self> {
        let temporary = name_of(header.first) + NEW;
        let path = disk.path(&temporary);
        let file = disk.create(&temporary);
        let file =
            file.map_err(|error| LogError::io(path.clone(), "creating a segment", &error))?;
        Ok(Self {
            disk,
            named: Named { file, path },
            header,
            buffer: header.encode().to_vec(),
            written: 0,
            previous: header.link(),
            summary: before.next(),
        })
    }

    /// Bytes so far.
    pub(super) fn length(&self) -> u64 {
        self.written + self.buffer.len() as u64
    }

    /// Appends a commit.
    pub(super) fn commit(&mut self, number: u64, body: &[u8]) -> Result<()> {
        let position = self.length();
        // All of it is synced before the file gets its name.
        let link = Link { number, durable: number, previous: self.previous };
        self.previous = put_frame(&mut self.buffer, FrameKind::Commit, link, body);
        let decoded = Body::decode(body);
        let decoded = decoded.ok_or_else(|| self.named.damaged(position, "there is no commit"))?;
        self.summary.add(u32::try_from(position).unwrap_or(u32::MAX), &decoded);
        if self.buffer.len() < WRITE_BYTES { Ok(()) } else { self.write() }
    }

    fn write(&mut self) -> Result<()> {
        let result = self.named.file.write_at(&self.buffer, self.written);
        result.map_err(|error| self.failed("writing a segment", &error))?;
        self.written += self.buffer.len() as u64;
        self.buffer.clear();
        Ok(())
    }

    fn failed(&self, operation: &'static str, error: &std::io::Error) -> LogError {
        LogError::io(self.named.path.clone(), operation, error)
    }

    /// Seals the segment, and gives it its name. A file that has the name goes.
    pub(super) fn finish(mut self, last: u64) -> Result<Sealed> {
        let end = self.length();
        self.buffer.extend(seal(&self.summary, end, last, self.previous));
        self.write()?;
        self.named.file.sync().map_err(|error| self.failed("syncing a segment", &error))?;
        let name = name_of(self.header.first);
        let renamed = self.disk.rename(&(name.clone() + NEW), &name);
        renamed
            .and_then(|()| self.disk.sync())
            .map_err(|error| self.failed("naming a segment", &error))?;
        self.summary.forget_frames();
        let named = Named { file: self.named.file, path: self.disk.path(&name) };
        Ok(Sealed { named, name, header: self.header, last, summary: self.summary, end })
    }

    /// Removes the file.
    pub(super) fn discard(self) {
        // A file of this name is removed at the next open too.
        let _ = self.disk.remove(&(name_of(self.header.first) + NEW));
    }
}
