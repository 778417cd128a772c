//! Reads every frame of a log, and drops what lies behind a damage.
//!
//! Both lock the directory, so the log is closed. [`check`] changes nothing. [`repair`] keeps the
//! dropped segments under another name.
//!
//! ```
//! use std::sync::Arc;
//! use streams::log::disk::Memory;
//! use streams::log::{Log, Options, repair};
//!
//! let disk = Memory::default();
//! Log::open(Arc::new(disk.clone()), Options::default())?.close()?;
//! assert_eq!(repair::check(&disk)?.damage, None);
//! # Ok::<(), streams::log::LogError>(())
//! ```

use std::sync::Arc;

use super::commit::Body;
use super::disk::Disk;
use super::error::{LogError, Result};
use super::format::SegmentKind;
use super::open::{copy, lock, read_identity, segment_names};
use super::scan::{Scan, Tail, scan};
use super::segment::{Named, Sealed, first_of};
use super::summary::Summary;

/// The suffix of a segment that a repair has dropped.
pub const DROPPED: &str = ".dropped";

/// What a log holds.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Report {
    /// Segments that are whole.
    pub segments: u64,
    /// Commits before the damage.
    pub commits: u64,
    /// Records before the damage.
    pub records: u64,
    /// Bytes of the torn tail, which the next open cuts.
    pub torn_bytes: u64,
    /// The first damage.
    pub damage: Option<Damage>,
}

/// A damage, and what a repair would lose.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Damage {
    /// The name of the segment.
    pub file: String,
    /// Where the damaged frame begins, in bytes.
    pub offset: u64,
    /// What does not fit.
    pub reason: &'static str,
    /// Readable commits behind the damage. A repair loses them, and those that are damaged.
    pub commits: u64,
    /// Segments behind the damaged one.
    pub segments: u64,
}

/// Reads every frame.
///
/// # Errors
/// [`LogError::InUse`], [`LogError::Foreign`], [`LogError::Newer`], and [`LogError::Io`]. A damage is no
/// error.
pub fn check(disk: &dyn Disk) -> Result<Report> {
    let _lock = lock(disk)?;
    read_identity(disk)?;
    examine(disk)
}

/// Drops everything behind a damage that [`check`] has found at this file and offset.
///
/// # Errors
/// [`LogError::Invalid`] when the first damage is elsewhere, or there is none; otherwise as [`check`],
/// and [`LogError::NoRoom`]. A repair that failed can be made again.
pub fn repair(disk: &dyn Disk, file: &str, offset: u64) -> Result<Damage> {
    let _lock = lock(disk)?;
    read_identity(disk)?;
    let found = examine(disk)?.damage;
    let found = found.filter(|damage| damage.file == file && damage.offset == offset);
    let damage = found.ok_or_else(|| {
        let path = disk.path(file);
        LogError::Invalid(format!(
            "{path}: offset {offset} is not the first damage of the log; nothing was changed, run the \
             check and name the file and offset that it reports"
        ))
    })?;
    drop_after(disk, &damage)?;
    Ok(damage)
}

fn failed(
    disk: &dyn Disk,
    name: &str,
    operation: &'static str,
) -> impl Fn(std::io::Error) -> LogError {
    let path = disk.path(name);
    move |error| LogError::io(path.clone(), operation, &error)
}

fn names(disk: &dyn Disk) -> Result<Vec<String>> {
    Ok(segment_names(&disk.names().map_err(failed(disk, "", "listing"))?))
}

fn bytes(disk: &dyn Disk, name: &str) -> Result<(Named, Vec<u8>)> {
    let file = disk.open(name).map_err(failed(disk, name, "opening"))?;
    let named = Named { file, path: disk.path(name) };
    let bytes = named.bytes()?;
    Ok((named, bytes))
}

fn examine(disk: &dyn Disk) -> Result<Report> {
    let (mut report, names) = (Report::default(), names(disk)?);
    let mut before: Option<(u64, SegmentKind)> = None;
    for (index, name) in names.iter().enumerate() {
        let first = first_of(name).unwrap_or_default();
        if before.is_some_and(|(last, kind)| kind == SegmentKind::Compacted && first <= last) {
            // The next open removes it: a merge was interrupted.
            continue;
        }
        let (named, bytes) = bytes(disk, name)?;
        let next = names.get(index + 1).and_then(|next| first_of(next));
        let found = match scan(&bytes) {
            Ok(scan) => judge(&scan, before, next).map(|(at, reason)| (at, reason, scan.beyond)),
            Err(bad) => match named.bad_header(bad) {
                LogError::Damaged { reason, .. } => Some((0, reason, 0)),
                error => return Err(error),
            },
        };
        if let Some((offset, reason, beyond)) = found {
            let (segments, later) = commits_of(disk, &names[index + 1..])?;
            if let Ok(scan) = scan(&bytes) {
                report.add(&scan, &bytes);
            }
            let (file, commits) = (name.clone(), beyond + later);
            report.damage = Some(Damage { file, offset, reason, commits, segments });
            break;
        }
        let Ok(scan) = scan(&bytes) else { break };
        report.add(&scan, &bytes);
        report.segments += 1;
        let last = scan.summary.or(scan.commits.last().copied()).map_or(first, |f| f.head.number);
        before = Some((last, scan.header.kind));
    }
    Ok(report)
}

/// What is wrong with a segment in its place.
fn judge(
    scan: &Scan,
    before: Option<(u64, SegmentKind)>,
    next: Option<u64>,
) -> Option<(u64, &'static str)> {
    let last = scan.commits.last().map(|frame| frame.head.number + 1);
    if before.is_some_and(|(last, _)| last + 1 != scan.header.first) {
        return Some((0, "a segment before it is missing"));
    }
    match scan.tail {
        Tail::Damaged(reason) => Some((scan.end as u64, reason)),
        _ if scan.summary.is_some() => None,
        _ if scan.header.kind == SegmentKind::Compacted => {
            Some((scan.end as u64, "a compacted segment has no summary"))
        }
        _ if next.is_some() && next != last => {
            Some((scan.end as u64, "the commits do not lead to the next segment"))
        }
        _ => None,
    }
}

/// Segments and readable commits of files.
fn commits_of(disk: &dyn Disk, names: &[String]) -> Result<(u64, u64)> {
    let mut commits = 0;
    for name in names {
        if let Ok(scan) = scan(&bytes(disk, name)?.1) {
            commits += scan.commits.len() as u64 + scan.beyond;
        }
    }
    Ok((names.len() as u64, commits))
}

impl Report {
    fn add(&mut self, scan: &Scan, bytes: &[u8]) {
        self.commits += scan.commits.len() as u64;
        let bodies = scan.commits.iter().filter_map(|frame| Body::decode(frame.body(bytes)));
        let records = |body: Body<'_>| body.batches.iter().map(|b| u64::from(b.count)).sum::<u64>();
        self.records += bodies.map(records).sum::<u64>();
        if let Tail::Torn(bytes) = scan.tail {
            self.torn_bytes = bytes;
        }
    }
}

fn drop_after(disk: &dyn Disk, damage: &Damage) -> Result<()> {
    let names = names(disk)?;
    let at = names.iter().position(|name| *name == damage.file).unwrap_or(names.len());
    // The newest first: an interrupted repair leaves the same damage, and no hole.
    for name in names.iter().skip(at + 1).rev() {
        let renamed = disk.rename(name, &format!("{name}{DROPPED}"));
        renamed.map_err(failed(disk, name, "renaming"))?;
    }
    disk.sync().map_err(failed(disk, "", "syncing"))?;
    let before = match at.checked_sub(1).and_then(|before| names.get(before)) {
        Some(name) => Sealed::open(disk, name)?.map(|sealed| sealed.summary).unwrap_or_default(),
        None => Summary::default(),
    };
    let (_, bytes) = bytes(disk, &damage.file)?;
    keep(disk, &damage.file, &bytes)?;
    let written = match scan(&bytes) {
        // A segment whose predecessor is missing goes as a whole.
        Ok(scan) if damage.offset > 0 => copy(disk, scan.header, &before, &bytes, &scan.commits)?,
        _ => None,
    };
    if written.is_none() {
        disk.remove(&damage.file).map_err(failed(disk, &damage.file, "removing"))?;
        disk.sync().map_err(failed(disk, "", "syncing"))?;
    }
    Ok(())
}

/// A copy of the damaged segment, for a person to look at.
fn keep(disk: &dyn Disk, name: &str, bytes: &[u8]) -> Result<()> {
    let kept = format!("{name}{DROPPED}");
    let failed = failed(disk, &kept, "keeping a copy");
    let file: Arc<_> = disk.create(&kept).map_err(&failed)?;
    file.write_at(bytes, 0).and_then(|()| file.sync()).map_err(failed)
}
