//! Damage is found, named, and repaired with what was told.

use std::sync::Arc;

use rand::rngs::StdRng;
use rand::{Rng as _, SeedableRng as _};
use streams::log::commit::LogCommit;
use streams::log::disk::Disk as _;
use streams::log::{Log, LogError, Options, Result, repair};
use streams::record::Timestamp;

use super::disk::FaultyDisk;
use super::sample::{commit, compare};

const OPTIONS: Options = Options {
    fsync: streams::log::Fsync::Always,
    segment_bytes: 2 << 10,
    key_map_bytes: 1 << 20,
    new_id: 3,
};

/// A closed log of several segments.
fn closed(rng: &mut StdRng, disk: &FaultyDisk) -> Result<Vec<LogCommit>> {
    let log = Log::open(Arc::new(disk.clone()), OPTIONS)?;
    let commits: Vec<_> = (1..=30).map(|number| commit(rng, number)).collect();
    for commit in &commits {
        log.commit(commit.clone(), Timestamp(0))?;
    }
    log.close()?;
    Ok(commits)
}

#[test]
fn damage_is_an_error_or_harmless_and_a_repair_keeps_what_is_before_it() -> Result<()> {
    let mut repaired = 0;
    for seed in 0..100 {
        let (mut rng, disk) = (StdRng::seed_from_u64(seed), FaultyDisk::new(seed));
        let commits = closed(&mut rng, &disk)?;
        let names: Vec<_> =
            disk.names().unwrap().into_iter().filter(|name| name.ends_with(".segment")).collect();
        let name = &names[rng.random_range(0..names.len())];
        let length = disk.bytes(name).len();
        disk.flip(name, rng.random_range(12..length), 1 << rng.random_range(0..8));
        let report = repair::check(&disk)?;
        let kept = match &report.damage {
            None => commits.len(),
            Some(damage) => {
                assert_eq!(&damage.file, name, "seed {seed}");
                let elsewhere = repair::repair(&disk, name, damage.offset + 1);
                assert!(matches!(elsewhere, Err(LogError::Invalid(_))));
                let done = repair::repair(&disk, name, damage.offset)?;
                assert_eq!(&done, damage);
                repaired += 1;
                let lost = commits.len() as u64 - report.commits;
                assert!(lost == done.commits || lost == done.commits + 1 || damage.offset == 0);
                usize::try_from(report.commits).unwrap()
            }
        };
        let log = Arc::new(Log::open(Arc::new(disk.clone()), OPTIONS)?);
        compare(&log, &commits[..kept], 100)?;
        log.commit(commits[0].clone(), Timestamp(1))?;
        drop(log);
        assert_eq!(repair::check(&disk)?.damage, None, "seed {seed}");
    }
    assert!(repaired > 50, "{repaired}");
    Ok(())
}

/// The pages of commits that were never synced may reach the disk in any order.
#[test]
fn what_follows_a_commit_that_was_never_synced_is_a_torn_tail() -> Result<()> {
    let (mut rng, disk) = (StdRng::seed_from_u64(2), FaultyDisk::new(2));
    let options = Options { fsync: streams::log::Fsync::Never, segment_bytes: 64 << 20, ..OPTIONS };
    let log = Log::open(Arc::new(disk.clone()), options)?;
    let commits: Vec<_> = (1..=5).map(|number| commit(&mut rng, number)).collect();
    let segment = || disk.names().unwrap().into_iter().find(|name| name.ends_with(".segment"));
    let mut ends = Vec::new();
    for commit in &commits {
        log.commit(commit.clone(), Timestamp(0))?;
        ends.push(disk.bytes(&segment().unwrap()).len());
    }
    disk.flip(&segment().unwrap(), ends[1] + 10, 1);
    drop(log);
    let log = Log::open(Arc::new(disk.clone()), options)?;
    let recovery = log.recovery();
    assert_eq!((recovery.commits, recovery.torn_bytes), (2, (ends[4] - ends[1]) as u64));
    compare(&Arc::new(log), &commits[..2], 100)
}

#[test]
fn a_missing_segment_is_told() -> Result<()> {
    let (mut rng, disk) = (StdRng::seed_from_u64(1), FaultyDisk::new(1));
    closed(&mut rng, &disk)?;
    let names: Vec<_> =
        disk.names().unwrap().into_iter().filter(|name| name.ends_with(".segment")).collect();
    disk.remove(&names[1]).unwrap();
    let told = Log::open(Arc::new(disk.clone()), OPTIONS).err();
    assert!(matches!(told, Some(LogError::Damaged { offset: 0, .. })), "{told:?}");
    let damage = repair::check(&disk)?.damage;
    assert_eq!(damage.map(|damage| damage.file).as_ref(), Some(&names[2]));
    Ok(())
}
