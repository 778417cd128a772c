//! Bad directories: one clear error each, and nothing half done.

use std::fs;
use std::sync::Arc;

use rand::SeedableRng as _;
use rand::rngs::StdRng;
use streams::log::{Log, LogError, Options, Result};
use streams::record::Timestamp;

use super::disk::FaultyDisk;
use super::sample::{commit, compare};

type Outcome = std::result::Result<(), Box<dyn std::error::Error>>;

fn open(path: &std::path::Path) -> Result<Log> {
    Log::open_directory(path, Options { new_id: 5, ..Options::default() })
}

#[test]
fn a_directory_in_use_is_refused_and_free_after_its_log() -> Outcome {
    let folder = tempfile::tempdir()?;
    let log = open(folder.path())?;
    let told = open(folder.path()).err();
    assert!(matches!(told, Some(LogError::InUse { .. })), "{told:?}");
    drop(log);
    open(folder.path())?;
    Ok(())
}

#[test]
fn directories_of_others_and_of_newer_versions_are_refused() -> Outcome {
    let folder = tempfile::tempdir()?;
    fs::write(folder.path().join("notes.txt"), "mine")?;
    let told = open(folder.path()).err();
    assert!(matches!(told, Some(LogError::Foreign { .. })), "{told:?}");
    assert!(!folder.path().join("identity").exists());
    for (identity, is_newer) in [("streams-log 9\n00\n", true), ("other 1\n", false)] {
        let folder = tempfile::tempdir()?;
        fs::write(folder.path().join("identity"), identity)?;
        let told = open(folder.path()).err();
        match told {
            Some(LogError::Newer { found: 9, known: 1, .. }) => assert!(is_newer),
            told => assert!(!is_newer && matches!(told, Some(LogError::Foreign { .. }))),
        }
    }
    Ok(())
}

#[test]
fn a_segment_of_another_directory_is_refused() -> Outcome {
    let folders = [tempfile::tempdir()?, tempfile::tempdir()?];
    for (id, folder) in (1..).zip(&folders) {
        let log = Log::open_directory(folder.path(), Options { new_id: id, ..Options::default() })?;
        log.commit(commit(&mut StdRng::seed_from_u64(1), 1), Timestamp(0))?;
        log.close()?;
    }
    let name = "00000000000000000001.segment";
    fs::copy(folders[0].path().join(name), folders[1].path().join(name))?;
    let told = open(folders[1].path()).err();
    assert!(matches!(told, Some(LogError::Foreign { .. })), "{told:?}");
    Ok(())
}

#[test]
fn a_full_disk_stops_intake_and_room_starts_it_again() -> Result<()> {
    let (disk, mut rng) = (FaultyDisk::new(1), StdRng::seed_from_u64(1));
    let log = Arc::new(Log::open(Arc::new(disk.clone()), Options::default())?);
    let (first, second) = (commit(&mut rng, 1), commit(&mut rng, 2));
    log.commit(first.clone(), Timestamp(0))?;
    disk.set_room(10);
    let told = log.commit(second.clone(), Timestamp(0));
    assert!(matches!(told, Err(LogError::NoRoom { .. })), "{told:?}");
    compare(&log, std::slice::from_ref(&first), 100)?;
    disk.set_room(usize::MAX);
    log.commit(second.clone(), Timestamp(0))?;
    compare(&log, &[first, second], 100)
}

#[test]
fn each_message_names_the_file_the_cause_and_the_remedy() {
    let (path, reason) = ("d/1".to_owned(), "no space".to_owned());
    let errors = [
        LogError::NoRoom { path: path.clone(), operation: "a commit", reason: reason.clone() },
        LogError::Unknown { path: path.clone(), operation: "fsync", reason },
        LogError::Damaged { path: path.clone(), offset: 7, reason: "it does not fit" },
        LogError::InUse { path },
    ];
    for error in errors {
        let told = error.to_string();
        assert!(
            told.starts_with("d/1: ") && (told.contains("; ") || told.contains(", ")),
            "{told}"
        );
    }
}
