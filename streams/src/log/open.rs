//! Opens a data directory: identity, segments, and the recovery of a log that was not closed.
//!
//! Invariant: after an open every frame is durable. The last segment is copied if it was not sealed,
//! because after a failed fsync the page cache may show what the disk does not have.

use std::io;
use std::sync::Arc;

use super::disk::{Disk, LOCK};
use super::error::{LogError, Result};
use super::format::{SegmentHeader, SegmentKind, VERSION};
use super::scan::{Tail, scan};
use super::segment::{NEW, Named, Sealed, SegmentWriter, first_of, name_of};
use super::summary::Summary;

const IDENTITY: &str = "identity";
const IDENTITY_MAGIC: &str = "streams-log";
/// The longest identity file that is read.
const MAX_IDENTITY: u64 = 1 << 10;

/// What the open of a log that was not closed has found.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Recovery {
    /// Commits of the last segment.
    pub commits: u64,
    /// Bytes of the torn tail, which were cut.
    pub torn_bytes: u64,
    /// Files of interrupted work that were removed.
    pub removed: u64,
}

/// A directory as it was found.
pub(super) struct Opened {
    pub(super) directory: u128,
    pub(super) sealed: Vec<Arc<Sealed>>,
    pub(super) recovery: Recovery,
}

fn io_error(
    disk: &dyn Disk,
    name: &str,
    operation: &'static str,
) -> impl Fn(io::Error) -> LogError {
    let path = disk.path(name);
    move |error| LogError::io(path.clone(), operation, &error)
}

/// Locks the directory.
pub(super) fn lock(disk: &dyn Disk) -> Result<Box<dyn std::any::Any + Send + Sync>> {
    disk.lock().map_err(|error| match error.kind() {
        io::ErrorKind::WouldBlock => LogError::InUse { path: disk.path("") },
        _ => LogError::io(disk.path(LOCK), "locking", &error),
    })
}

/// Reads a locked directory, and recovers what a crash has left.
pub(super) fn open(disk: &dyn Disk, new_id: u128) -> Result<Opened> {
    let mut recovery = Recovery::default();
    let names = disk.names().map_err(io_error(disk, "", "listing"))?;
    let (unfinished, names): (Vec<_>, Vec<_>) = names.into_iter().partition(|n| n.ends_with(NEW));
    let directory = identity(disk, &names, new_id)?;
    for name in unfinished {
        remove(disk, &name)?;
        recovery.removed += 1;
    }
    let names = segment_names(&names);
    let (mut sealed, last) = segments(disk, directory, &names, &mut recovery)?;
    if let Some(last) = last {
        recover(disk, &last, None, &mut sealed, &mut recovery)?;
    }
    Ok(Opened { directory, sealed, recovery })
}

/// Names of segments, the oldest first.
pub(super) fn segment_names(names: &[String]) -> Vec<String> {
    let mut found: Vec<_> = names.iter().filter(|name| first_of(name).is_some()).cloned().collect();
    found.sort();
    found
}

/// The id of the directory. An empty directory gets one.
fn identity(disk: &dyn Disk, names: &[String], new_id: u128) -> Result<u128> {
    if names.iter().any(|name| name == IDENTITY) {
        return read_identity(disk);
    }
    // A crash may have left the lock alone.
    if names.iter().any(|name| name != LOCK) {
        let reason = "it has files and no identity";
        return Err(LogError::Foreign { path: disk.path(""), reason });
    }
    let temporary = format!("{IDENTITY}{NEW}");
    let text = format!("{IDENTITY_MAGIC} {VERSION}\n{new_id:032x}\n");
    let failed = io_error(disk, IDENTITY, "writing");
    let file = disk.create(&temporary).map_err(&failed)?;
    file.write_at(text.as_bytes(), 0).and_then(|()| file.sync()).map_err(&failed)?;
    disk.rename(&temporary, IDENTITY).and_then(|()| disk.sync()).map_err(&failed)?;
    Ok(new_id)
}

/// The id of a directory that has one.
pub(super) fn read_identity(disk: &dyn Disk) -> Result<u128> {
    let failed = io_error(disk, IDENTITY, "a read");
    let file = disk.open(IDENTITY).map_err(|error| match error.kind() {
        io::ErrorKind::NotFound => {
            LogError::Foreign { path: disk.path(""), reason: "it has no identity" }
        }
        _ => failed(error),
    })?;
    let length = file.length().map_err(&failed)?.min(MAX_IDENTITY);
    let mut bytes = vec![0; usize::try_from(length).unwrap_or_default()];
    file.read_at(&mut bytes, 0).map_err(&failed)?;
    parse_identity(&String::from_utf8_lossy(&bytes), disk)
}

fn parse_identity(text: &str, disk: &dyn Disk) -> Result<u128> {
    let foreign = || LogError::Foreign {
        path: disk.path(IDENTITY),
        reason: "the file is of another program",
    };
    let mut lines = text.lines();
    let version = lines.next().and_then(|line| line.strip_prefix(IDENTITY_MAGIC));
    let version = version.and_then(|version| version.trim().parse().ok()).ok_or_else(foreign)?;
    if version > VERSION {
        return Err(LogError::Newer { path: disk.path(IDENTITY), found: version, known: VERSION });
    }
    let id = lines.next().and_then(|line| u128::from_str_radix(line, 16).ok());
    id.ok_or_else(foreign)
}

fn remove(disk: &dyn Disk, name: &str) -> Result<()> {
    disk.remove(name).map_err(io_error(disk, name, "removing"))
}

/// The sealed segments in order, and the last one if it was not sealed.
fn segments(
    disk: &dyn Disk,
    directory: u128,
    names: &[String],
    recovery: &mut Recovery,
) -> Result<(Vec<Arc<Sealed>>, Option<String>)> {
    let mut sealed: Vec<Arc<Sealed>> = Vec::new();
    for (index, name) in names.iter().enumerate() {
        let first = first_of(name).unwrap_or_default();
        if is_contained(&sealed, first) {
            // A merge was interrupted before it removed its parts.
            remove(disk, name)?;
            recovery.removed += 1;
            continue;
        }
        check_header(disk, name, directory, first)?;
        let found = Sealed::open(disk, name)?;
        let after = sealed.last().map(|before| before.last + 1);
        if after.is_some_and(|after| after != first) {
            let path = disk.path(name);
            return Err(LogError::Damaged {
                path,
                offset: 0,
                reason: "a segment before it is missing",
            });
        }
        match found {
            Some(segment) => sealed.push(Arc::new(segment)),
            None => match names.get(index + 1).and_then(|next| first_of(next)) {
                None => return Ok((sealed, Some(name.clone()))),
                next => recover(disk, name, next, &mut sealed, recovery)?,
            },
        }
    }
    Ok((sealed, None))
}

fn is_contained(sealed: &[Arc<Sealed>], first: u64) -> bool {
    let before = sealed.last();
    before.is_some_and(|b| b.header.kind == SegmentKind::Compacted && first <= b.last)
}

fn check_header(disk: &dyn Disk, name: &str, directory: u128, first: u64) -> Result<()> {
    let path = disk.path(name);
    let file = disk.open(name).map_err(io_error(disk, name, "opening"))?;
    let header = Named { file, path: path.clone() }.header()?;
    if header.directory != directory {
        return Err(LogError::Foreign { path, reason: "the segment is of another directory" });
    }
    if header.first != first {
        return Err(LogError::Foreign { path, reason: "the segment has the name of another one" });
    }
    Ok(())
}

/// Copies the valid commits of a segment without a summary to a sealed one. It is the last one, or its
/// summary was written and not synced when the process ended: then its commits lead to the next one.
fn recover(
    disk: &dyn Disk,
    name: &str,
    next: Option<u64>,
    sealed: &mut Vec<Arc<Sealed>>,
    recovery: &mut Recovery,
) -> Result<()> {
    let file = disk.open(name).map_err(io_error(disk, name, "opening"))?;
    let named = Named { file, path: disk.path(name) };
    let bytes = named.bytes()?;
    let found = scan(&bytes).map_err(|bad| named.bad_header(bad))?;
    if let Tail::Damaged(reason) = found.tail {
        return Err(named.damaged(found.end as u64, reason));
    }
    if found.header.kind == SegmentKind::Compacted {
        // It got its name after it was sealed.
        return Err(named.damaged(found.end as u64, "a compacted segment has no summary"));
    }
    let last = found.commits.last().map(|frame| frame.head.number + 1);
    if next.is_some() && next != last {
        return Err(named.damaged(found.end as u64, "the commits do not lead to the next segment"));
    }
    if let Tail::Torn(bytes) = found.tail {
        recovery.torn_bytes = bytes;
    }
    recovery.commits = found.commits.len() as u64;
    let before = sealed.last().map(|last| last.summary.clone()).unwrap_or_default();
    if let Some(segment) = copy(disk, found.header, &before, &bytes, &found.commits)? {
        sealed.push(Arc::new(segment));
    } else {
        remove(disk, &name_of(found.header.first))?;
        disk.sync().map_err(io_error(disk, "", "syncing"))?;
    }
    Ok(())
}

/// Writes commits to a sealed segment in the place of theirs. `None` when there are none.
pub(super) fn copy(
    disk: &dyn Disk,
    header: SegmentHeader,
    before: &Summary,
    bytes: &[u8],
    commits: &[super::scan::Frame],
) -> Result<Option<Sealed>> {
    let Some(last) = commits.last() else { return Ok(None) };
    let mut writer = SegmentWriter::create(disk, header, before)?;
    for frame in commits {
        writer.commit(frame.head.number, frame.body(bytes))?;
    }
    writer.finish(last.head.number).map(Some)
}
