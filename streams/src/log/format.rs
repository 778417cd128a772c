//! The frames of a segment, as bytes: header, frame, trailer. The format is in
//! `docs/design/local-log.md`.
//!
//! Invariant: what is encoded here decodes to the same, and no other bytes decode without an error but
//! by a collision of the checksum.

use super::wire::Input;

/// The first bytes of a segment.
const MAGIC: [u8; 8] = *b"STRMLOG\n";
/// The version that this program writes, and the newest that it reads.
pub const VERSION: u32 = 1;
/// Bytes of a segment's header.
pub const HEADER_BYTES: usize = 48;
/// Bytes of a frame before its body.
pub const FRAME_BYTES: usize = 32;
/// Bytes after the summary frame of a sealed segment.
pub const TRAILER_BYTES: usize = 16;
/// The last bytes of a sealed segment.
const TRAILER_MAGIC: u32 = 0x5345_414c;
/// The longest body of a frame: a commit is held in memory whole, by writers and by readers.
pub const MAX_BODY_BYTES: usize = 64 << 20;

/// How the commits of a segment are numbered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SegmentKind {
    /// As they were committed: without a hole.
    Committed,
    /// Compaction has removed some.
    Compacted,
}

/// The header of a segment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SegmentHeader {
    /// How its commits are numbered.
    pub kind: SegmentKind,
    /// The id of the data directory.
    pub directory: u128,
    /// The number of its first commit.
    pub first: u64,
}

/// Why a header is refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum BadHeader {
    /// It is damaged, or it is of another program.
    Damaged,
    /// It is of a newer version.
    Newer(u32),
}

impl SegmentHeader {
    /// The bytes of this header.
    pub fn encode(&self) -> [u8; HEADER_BYTES] {
        let kind: u32 = match self.kind {
            SegmentKind::Committed => 1,
            SegmentKind::Compacted => 2,
        };
        let mut out = [0; HEADER_BYTES];
        out[..8].copy_from_slice(&MAGIC);
        out[8..12].copy_from_slice(&VERSION.to_le_bytes());
        out[12..16].copy_from_slice(&kind.to_le_bytes());
        out[16..32].copy_from_slice(&self.directory.to_le_bytes());
        out[32..40].copy_from_slice(&self.first.to_le_bytes());
        let crc = crc32fast::hash(&out[..44]);
        out[44..].copy_from_slice(&crc.to_le_bytes());
        out
    }

    /// The header at the beginning of a segment.
    ///
    /// # Errors
    /// [`BadHeader`]. The version is read before the checksum, whose place a newer version may change.
    pub fn decode(bytes: &[u8]) -> Result<Self, BadHeader> {
        Self::parse(bytes).ok_or(BadHeader::Damaged)?
    }

    fn parse(bytes: &[u8]) -> Option<Result<Self, BadHeader>> {
        let header = bytes.first_chunk::<HEADER_BYTES>()?;
        let mut input = Input(header);
        if input.take(8)? != MAGIC {
            return None;
        }
        let version = input.u32()?;
        if version > VERSION {
            return Some(Err(BadHeader::Newer(version)));
        }
        let kind = match input.u32()? {
            1 => SegmentKind::Committed,
            2 => SegmentKind::Compacted,
            _ => return None,
        };
        let (directory, first, _reserved) = (input.u128()?, input.u64()?, input.u32()?);
        let is_whole = input.u32()? == crc32fast::hash(&header[..44]);
        is_whole.then_some(Ok(Self { kind, directory, first }))
    }

    /// The checksum to which the first frame is linked.
    pub fn link(&self) -> u32 {
        let bytes = self.encode();
        bytes.last_chunk().map_or(0, |crc| u32::from_le_bytes(*crc))
    }
}

/// The content of a frame.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FrameKind {
    /// A commit.
    Commit,
    /// The summary of a sealed segment.
    Summary,
}

/// A frame without its body.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FrameHead {
    /// Bytes of the body.
    pub length: usize,
    /// The checksum.
    pub crc: u32,
    /// The number of the commit; of a summary, the last of the segment.
    pub number: u64,
    /// The last commit that was synced when this frame was made.
    pub durable: u64,
    /// The checksum of the frame before it.
    pub previous: u32,
    /// The content.
    pub kind: FrameKind,
}

impl FrameHead {
    /// A head that may be one. [`Self::is_of`] tells whether it is.
    pub fn decode(bytes: &[u8]) -> Option<Self> {
        let mut input = Input(bytes.get(..FRAME_BYTES)?);
        let length = input.u32()? as usize;
        let (crc, number, durable) = (input.u32()?, input.u64()?, input.u64()?);
        let previous = input.u32()?;
        let kind = match input.u32()? {
            1 => FrameKind::Commit,
            2 => FrameKind::Summary,
            _ => return None,
        };
        let head = Self { length, crc, number, durable, previous, kind };
        (length <= MAX_BODY_BYTES && durable <= number).then_some(head)
    }

    /// The checksum fits to the frame, which begins with this head.
    pub fn is_of(&self, frame: &[u8]) -> bool {
        let end = FRAME_BYTES + self.length;
        frame.get(..end).is_some_and(|frame| checksum(frame) == self.crc)
    }
}

fn checksum(frame: &[u8]) -> u32 {
    let mut hasher = crc32fast::Hasher::new();
    hasher.update(&frame[8..]);
    hasher.update(&frame[..4]);
    hasher.finalize()
}

/// Where a frame stands in the history.
#[derive(Clone, Copy, Debug)]
pub struct Link {
    /// Its number.
    pub number: u64,
    /// The last synced commit.
    pub durable: u64,
    /// The checksum of the frame before it.
    pub previous: u32,
}

/// Appends a frame, and returns its checksum.
pub fn put_frame(out: &mut Vec<u8>, kind: FrameKind, link: Link, body: &[u8]) -> u32 {
    let start = out.len();
    super::wire::put_u32(out, body.len());
    out.extend_from_slice(&[0; 4]);
    out.extend_from_slice(&link.number.to_le_bytes());
    out.extend_from_slice(&link.durable.to_le_bytes());
    out.extend_from_slice(&link.previous.to_le_bytes());
    let kind: u32 = match kind {
        FrameKind::Commit => 1,
        FrameKind::Summary => 2,
    };
    out.extend_from_slice(&kind.to_le_bytes());
    out.extend_from_slice(body);
    let crc = checksum(&out[start..]);
    out[start + 4..start + 8].copy_from_slice(&crc.to_le_bytes());
    crc
}

/// The end of a sealed segment, which names its summary frame.
pub fn trailer(position: u64, crc: u32) -> [u8; TRAILER_BYTES] {
    let mut out = [0; TRAILER_BYTES];
    out[..8].copy_from_slice(&position.to_le_bytes());
    out[8..12].copy_from_slice(&crc.to_le_bytes());
    out[12..].copy_from_slice(&TRAILER_MAGIC.to_le_bytes());
    out
}

/// Position and checksum of the summary frame.
pub fn parse_trailer(bytes: &[u8]) -> Option<(u64, u32)> {
    let mut input = Input(bytes.last_chunk::<TRAILER_BYTES>()?);
    let (position, crc) = (input.u64()?, input.u32()?);
    (input.u32()? == TRAILER_MAGIC).then_some((position, crc))
}
