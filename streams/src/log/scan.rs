//! Reads a segment frame by frame, and tells a torn tail from damage.
//!
//! ```text
//! frame | frame | invalid … frame(durable >= the missing number)     damaged: it was acknowledged
//! frame | frame | invalid …                                          torn: it was never synced
//! ```
//!
//! A write that was not synced may leave any of its pages behind, so a valid frame after an invalid one
//! proves nothing by itself. `durable` proves it: that frame was made after the missing one was synced.

use super::commit::Body;
use super::format::{
    BadHeader, FRAME_BYTES, FrameHead, FrameKind, HEADER_BYTES, SegmentHeader, SegmentKind,
};
use super::summary::Summary;

/// Bytes that a search for a later frame hashes: a second of work. What lies beyond counts as torn.
const MAX_HASHED: usize = 1 << 30;

/// The end of what is valid.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Tail {
    /// The summary, or the end of the file.
    Whole,
    /// So many bytes that were never synced.
    Torn(u64),
    /// An acknowledged frame is damaged.
    Damaged(&'static str),
}

/// A frame of a segment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Frame {
    /// Bytes from the beginning of the segment.
    pub position: usize,
    /// Its head.
    pub head: FrameHead,
}

impl Frame {
    /// The body, out of the bytes of the segment.
    pub fn body<'a>(&self, bytes: &'a [u8]) -> &'a [u8] {
        let start = self.position + FRAME_BYTES;
        bytes.get(start..start + self.head.length).unwrap_or_default()
    }

    fn end(&self) -> usize {
        self.position + FRAME_BYTES + self.head.length
    }
}

/// The valid frames of a segment.
#[derive(Clone, Debug)]
pub struct Scan {
    /// The header.
    pub header: SegmentHeader,
    /// The commits, in order.
    pub commits: Vec<Frame>,
    /// The summary frame: the segment was sealed.
    pub summary: Option<Frame>,
    /// The first position that holds no valid frame.
    pub end: usize,
    /// The rest.
    pub tail: Tail,
    /// Valid frames behind the damage.
    pub beyond: u64,
}

/// Reads a segment. It never panics, whatever the bytes.
///
/// # Errors
/// [`BadHeader`] when they do not begin with a header of this version.
pub fn scan(bytes: &[u8]) -> Result<Scan, BadHeader> {
    let header = SegmentHeader::decode(bytes)?;
    let (mut commits, mut summary) = (Vec::new(), None);
    let (mut end, mut previous, mut expected) = (HEADER_BYTES, header.link(), header.first);
    while summary.is_none() {
        let Some(frame) = frame_at(bytes, end) else { break };
        if frame.head.previous != previous || !follows(&header, frame.head, expected) {
            break;
        }
        if !is_readable(bytes, &frame) {
            break;
        }
        (end, previous) = (frame.end(), frame.head.crc);
        match frame.head.kind {
            FrameKind::Commit => {
                commits.push(frame);
                let Some(next) = frame.head.number.checked_add(1) else { break };
                expected = next;
            }
            FrameKind::Summary => summary = Some(frame),
        }
    }
    let rest = bytes.len().saturating_sub(end) as u64;
    let (tail, beyond) = match summary {
        Some(_) => (Tail::Whole, 0),
        None if rest == 0 => (Tail::Whole, 0),
        None => match later_frames(bytes, end, expected) {
            0 => (Tail::Torn(rest), 0),
            beyond => {
                (Tail::Damaged("the checksum, or the order of commits, does not fit"), beyond)
            }
        },
    };
    Ok(Scan { header, commits, summary, end, tail, beyond })
}

fn frame_at(bytes: &[u8], position: usize) -> Option<Frame> {
    let rest = bytes.get(position..)?;
    let head = FrameHead::decode(rest)?;
    head.is_of(rest).then_some(Frame { position, head })
}

fn follows(header: &SegmentHeader, head: FrameHead, expected: u64) -> bool {
    match (head.kind, header.kind) {
        // A summary is of the last commit, and compaction may have removed that.
        (FrameKind::Summary, SegmentKind::Committed) => {
            head.number.checked_add(1) == Some(expected)
        }
        (FrameKind::Summary, SegmentKind::Compacted) => head.number >= expected.saturating_sub(1),
        (FrameKind::Commit, SegmentKind::Committed) => head.number == expected,
        (FrameKind::Commit, SegmentKind::Compacted) => head.number >= expected,
    }
}

fn is_readable(bytes: &[u8], frame: &Frame) -> bool {
    match frame.head.kind {
        FrameKind::Commit => Body::decode(frame.body(bytes)).is_some(),
        FrameKind::Summary => Summary::decode(frame.body(bytes)).is_some(),
    }
}

/// Valid frames after `from` that were made when the commit `missing` was synced.
fn later_frames(bytes: &[u8], from: usize, missing: u64) -> u64 {
    let (mut at, mut hashed, mut found) = (from + 1, 0, 0);
    while at + FRAME_BYTES <= bytes.len() && hashed < MAX_HASHED {
        let rest = &bytes[at..];
        let proves = |head: &FrameHead| head.number >= missing && head.durable >= missing;
        match FrameHead::decode(rest).filter(proves) {
            Some(head) if FRAME_BYTES + head.length <= rest.len() => {
                hashed += FRAME_BYTES + head.length;
                if head.is_of(rest) {
                    found += 1;
                    at += FRAME_BYTES + head.length;
                    continue;
                }
            }
            _ => {}
        }
        at += 1;
    }
    found
}
