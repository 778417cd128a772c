//! Group commit: commits that arrive while others are written share the next write and fsync.
//!
//! ```text
//! commit ──► pending ──► one of the callers writes all pending ──► visible, acknowledged
//!                            │ write fails: cut the file, refuse them
//!                            └ fsync fails: outcome unknown, the log is closed for commits
//! ```
//!
//! Invariants:
//! - Only the caller that has taken [`ActiveFile`] out of [`Queue`] touches the file.
//! - The file ends at `length`, which is the end of the last visible frame.
//! - A commit that was refused is cut off and the cut is synced, so it never appears.

use std::collections::BTreeMap;
use std::io;
use std::sync::Arc;

use super::commit::Body;
use super::disk::{Disk, DiskFile};
use super::error::{LogError, Result};
use super::format::{FrameKind, HEADER_BYTES, Link, SegmentHeader, put_frame};
use super::segment::{NEW, Named, Sealed, name_of, seal};
use super::summary::{ByPartition, Summary};
use crate::record::{Offset, Timestamp};

/// Bytes of the commits that one write takes, and one commit more.
pub(super) const MAX_GROUP_BYTES: usize = 64 << 20;

/// Where a commit stands.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Receipt {
    /// The number of the commit.
    pub number: u64,
    /// The offset of the first record of each append.
    pub firsts: Vec<Offset>,
}

/// A commit that waits for its write.
pub(super) struct Pending {
    pub(super) ticket: u64,
    pub(super) number: u64,
    pub(super) body: Vec<u8>,
}

/// Commits that wait, and the file that takes them.
#[derive(Default)]
pub(super) struct Queue {
    /// The number of the next commit.
    pub(super) next: u64,
    /// The next offset of each partition, with those that are pending.
    pub(super) ends: ByPartition<Offset>,
    pub(super) pending: Vec<Pending>,
    pub(super) bytes: usize,
    /// Names each call once; numbers come again after a refusal.
    pub(super) tickets: u64,
    /// Answers for the callers that wait: at most one for each.
    pub(super) answers: BTreeMap<u64, Result<()>>,
    /// A caller is writing. It holds the file.
    pub(super) is_writing: bool,
    pub(super) file: ActiveFile,
    /// The log takes no further commit.
    pub(super) closed: Option<LogError>,
}

/// The end of the log.
#[derive(Clone, Default)]
pub(super) struct ActiveFile {
    /// The last segment; `None` when the next commit begins one.
    pub(super) open: Option<OpenFile>,
    /// The last commit that was synced.
    pub(super) durable: u64,
    /// The last commit that was written.
    pub(super) written: u64,
    /// Time of the last fsync.
    pub(super) synced_at: Option<Timestamp>,
}

/// The last segment.
#[derive(Clone)]
pub(super) struct OpenFile {
    pub(super) named: Named,
    pub(super) name: String,
    pub(super) header: SegmentHeader,
    pub(super) length: u64,
    pub(super) previous: u32,
}

/// A frame of a group as it was written.
pub(super) struct Written {
    pub(super) position: u32,
    pub(super) body: Vec<u8>,
}

impl ActiveFile {
    /// Begins a segment, which has its name once its header is durable.
    pub(super) fn begin(&mut self, disk: &dyn Disk, directory: u128, first: u64) -> Result<()> {
        if self.open.is_some() {
            return Ok(());
        }
        let header =
            SegmentHeader { kind: super::format::SegmentKind::Committed, directory, first };
        let name = name_of(first);
        let temporary = format!("{name}{NEW}");
        let path = disk.path(&name);
        let made = create(disk, &temporary, &header, &name);
        let file = made.map_err(|error| {
            // What is left has no final name, and the next attempt begins it anew.
            let _ = disk.remove(&temporary);
            LogError::refused(path.clone(), "beginning a segment", &error)
        })?;
        let (length, previous) = (HEADER_BYTES as u64, header.link());
        self.open = Some(OpenFile { named: Named { file, path }, name, header, length, previous });
        Ok(())
    }

    /// Writes commits at the end of the open segment.
    pub(super) fn append(&mut self, group: Vec<Pending>) -> Result<Vec<Written>> {
        let durable = self.durable;
        let Some(open) = &mut self.open else { return Ok(Vec::new()) };
        let (mut out, mut written, mut previous) = (Vec::new(), Vec::new(), open.previous);
        let mut last = self.written;
        for pending in group {
            let position = open.length + out.len() as u64;
            let link = Link { number: pending.number, durable, previous };
            previous = put_frame(&mut out, FrameKind::Commit, link, &pending.body);
            last = pending.number;
            let position = u32::try_from(position).map_err(|_| {
                LogError::Invalid(format!("{}: the segment is too long", open.named.path))
            })?;
            written.push(Written { position, body: pending.body });
        }
        open.put(&out, "a commit")?;
        (open.previous, self.written) = (previous, last);
        Ok(written)
    }

    /// Makes what was written durable.
    pub(super) fn sync(&mut self, now: Option<Timestamp>) -> Result<()> {
        if let Some(open) = &self.open
            && self.durable < self.written
        {
            open.named.file.sync().map_err(|error| open.unknown("fsync", &error))?;
        }
        self.durable = self.written;
        self.synced_at = now.or(self.synced_at);
        Ok(())
    }

    /// Seals the open segment.
    pub(super) fn seal(&mut self, mut summary: Summary) -> Result<Option<Sealed>> {
        // Sealing syncs twice: a summary says that all before it is durable.
        self.sync(None)?;
        let last = self.written;
        let Some(open) = &mut self.open else { return Ok(None) };
        let end = open.length;
        open.put(&seal(&summary, end, last, open.previous), "a summary")?;
        open.named.file.sync().map_err(|error| open.unknown("fsync", &error))?;
        summary.forget_frames();
        let (named, name, header) = (open.named.clone(), open.name.clone(), open.header);
        self.open = None;
        Ok(Some(Sealed { named, name, header, last, summary, end }))
    }
}

fn create(
    disk: &dyn Disk,
    temporary: &str,
    header: &SegmentHeader,
    name: &str,
) -> io::Result<Arc<dyn DiskFile>> {
    let file = disk.create(temporary)?;
    file.write_at(&header.encode(), 0)?;
    file.sync()?;
    disk.rename(temporary, name)?;
    disk.sync()?;
    Ok(file)
}

impl OpenFile {
    /// Writes at the end, or cuts off what was written.
    fn put(&mut self, bytes: &[u8], operation: &'static str) -> Result<()> {
        let file = &self.named.file;
        if let Err(error) = file.write_at(bytes, self.length) {
            let path = self.named.path.clone();
            let cut = file.set_len(self.length).and_then(|()| file.sync());
            cut.map_err(|cut| self.unknown("removing an unfinished commit", &cut))?;
            return Err(LogError::refused(path, operation, &error));
        }
        self.length += bytes.len() as u64;
        Ok(())
    }

    fn unknown(&self, operation: &'static str, error: &io::Error) -> LogError {
        let (path, reason) = (self.named.path.clone(), error.to_string());
        LogError::Unknown { path, operation, reason }
    }
}

/// The body of a commit that this log has encoded itself.
pub(super) fn decoded(written: &Written) -> Result<Body<'_>> {
    Body::decode(&written.body)
        .ok_or_else(|| LogError::Invalid("a commit does not read as it was written".into()))
}
