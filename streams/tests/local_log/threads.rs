//! Commits of several threads share writes, and those of a failed write are refused together.

use std::collections::BTreeSet;
use std::sync::Arc;

use streams::log::commit::{Append, LogCommit, LogRecord};
use streams::log::disk::Disk;
use streams::log::{Log, LogError, Options, Result};
use streams::record::{Partition, Timestamp};

use super::disk::{Faults, FaultyDisk};
use super::sample::{PLAIN, read};

const THREADS: u8 = 4;
const COMMITS: u8 = 60;

fn value(thread: u8, number: u8) -> LogCommit {
    let record = LogRecord { key: vec![thread, number], ..LogRecord::default() };
    let append = Append { topic: PLAIN.into(), partition: Partition(0), records: vec![record] };
    LogCommit { appends: vec![append], consumed: Vec::new() }
}

fn commit_by_threads(disk: Arc<dyn Disk>) -> Result<()> {
    let options = Options { segment_bytes: 2 << 10, ..Options::default() };
    let log = Arc::new(Log::open(disk, options)?);
    std::thread::scope(|scope| {
        for thread in 0..THREADS {
            let log = &log;
            scope.spawn(move || {
                for number in 0..COMMITS {
                    // A commit that was refused is not there, so it is made again.
                    while let Err(error) = log.commit(value(thread, number), Timestamp(0)) {
                        assert!(matches!(error, LogError::Refused { .. }), "{error}");
                    }
                }
            });
        }
    });
    let found = read(&log, PLAIN, Partition(0), 1000)?;
    let expected = (0..THREADS).flat_map(|t| (0..COMMITS).map(move |n| vec![t, n]));
    let (all, keys): (Vec<_>, BTreeSet<_>) = (
        found.iter().map(|(offset, _)| *offset).collect(),
        found.iter().map(|(_, record)| record.key.clone()).collect(),
    );
    assert_eq!(keys, expected.collect());
    assert_eq!(all, (0..i64::from(THREADS) * i64::from(COMMITS)).collect::<Vec<_>>());
    Ok(())
}

#[test]
fn commits_of_threads_are_there_once() -> Result<()> {
    let folder = tempfile::tempdir().expect("a folder");
    let directory = streams::log::disk::Directory::open(folder.path()).expect("a directory");
    commit_by_threads(Arc::new(directory))
}

#[test]
fn refused_groups_leave_no_trace() -> Result<()> {
    let disk = FaultyDisk::new(1);
    let log = Log::open(Arc::new(disk.clone()), Options::default())?;
    drop(log);
    disk.set_faults(Faults { failed_writes: 150, failed_syncs: 0 });
    commit_by_threads(Arc::new(disk))
}
