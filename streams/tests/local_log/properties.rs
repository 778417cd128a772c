//! What comes back is what was written; readers see the committed beginning; compaction is a fold;
//! retention takes what is old; bytes of any kind are read without a panic.

use std::sync::Arc;
use std::time::Duration;

use proptest::collection::vec;
use proptest::prelude::*;
use rand::SeedableRng as _;
use rand::rngs::StdRng;
use streams::log::commit::{Append, Body, LogCommit, LogRecord};
use streams::log::compaction::{Policy, TOMBSTONE_RETENTION};
use streams::log::disk::Memory;
use streams::log::format::{BadHeader, HEADER_BYTES, SegmentHeader, SegmentKind};
use streams::log::scan::{Tail, scan};
use streams::log::{Log, LogError, Options, Reader, Result, repair};
use streams::record::{Offset, Partition, Timestamp};

use super::sample::{COMPACTED, PLAIN, commit, compare, fold, policy, read};

const SMALL: Options = Options { segment_bytes: 1 << 10, key_map_bytes: 100, new_id: 1, ..DEFAULT };
const DEFAULT: Options = Options {
    fsync: streams::log::Fsync::Always,
    segment_bytes: 64 << 20,
    key_map_bytes: 64 << 20,
    new_id: 0,
};

fn one(topic: &str, key: &[u8], value: Option<&[u8]>) -> LogCommit {
    let value = value.map(<[u8]>::to_vec);
    let record = LogRecord { key: key.to_vec(), value, ..LogRecord::default() };
    let append = Append { topic: topic.into(), partition: Partition(0), records: vec![record] };
    LogCommit { appends: vec![append], consumed: Vec::new() }
}

fn last_segment(disk: &Memory) -> Vec<u8> {
    use streams::log::disk::Disk as _;
    let names = disk.names().unwrap();
    let name = names.iter().rfind(|name| name.ends_with(".segment")).unwrap();
    let file = disk.open(name).unwrap();
    let mut bytes = vec![0; file.length().unwrap() as usize];
    file.read_at(&mut bytes, 0).unwrap();
    bytes
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(60))]

    #[test]
    fn what_was_committed_is_read_before_and_after_every_open(
        seed: u64, counts in vec(0..20_usize, 1..5), portion in 1..500_u64, closes: bool, compacts: bool,
    ) {
        let (disk, mut rng) = (Memory::default(), StdRng::seed_from_u64(seed));
        let mut commits = Vec::new();
        for count in counts {
            let log = Arc::new(Log::open(Arc::new(disk.clone()), SMALL).unwrap());
            compare(&log, &commits, portion).unwrap();
            for _ in 0..count {
                let next = commit(&mut rng, commits.len() as i64);
                log.commit(next.clone(), Timestamp(1)).unwrap();
                commits.push(next);
            }
            if compacts {
                log.compact(policy, Timestamp(1)).unwrap();
            }
            compare(&log, &commits, portion).unwrap();
            if let Some(log) = Arc::into_inner(log).filter(|_| closes) {
                log.close().unwrap();
            }
        }
        let report = repair::check(&disk).unwrap();
        prop_assert_eq!(report.damage, None);
        prop_assert!(compacts || report.commits == commits.len() as u64);
    }

    #[test]
    fn a_compacted_topic_has_one_record_of_each_key(seed: u64, count in 20..80_usize) {
        let (disk, mut rng) = (Memory::default(), StdRng::seed_from_u64(seed));
        let log = Arc::new(Log::open(Arc::new(disk.clone()), SMALL).unwrap());
        for number in 0..count {
            log.commit(commit(&mut rng, number as i64), Timestamp(0)).unwrap();
        }
        let before = read(&log, COMPACTED, Partition(0), 1 << 20).unwrap();
        Arc::into_inner(log).unwrap().close().unwrap();
        let log = Arc::new(Log::open(Arc::new(disk), SMALL).unwrap());
        // A pass has as many segments as its keys fit; tombstones are old by now.
        let now = Timestamp(TOMBSTONE_RETENTION.as_millis() as i64 + 1);
        for _ in 0..count {
            log.compact(policy, now).unwrap();
        }
        let after = read(&log, COMPACTED, Partition(0), 1 << 20).unwrap();
        prop_assert_eq!(fold(&after), fold(&before));
        if log.sealed_segments() == 1 {
            prop_assert_eq!(after.len(), fold(&before).len());
        }
    }

    #[test]
    fn any_bytes_are_read_without_a_panic(bytes in vec(any::<u8>(), 0..300)) {
        let header = SegmentHeader { kind: SegmentKind::Committed, directory: 1, first: 1 };
        let segment = [&header.encode()[..], &bytes].concat();
        let found = scan(&segment).unwrap();
        prop_assert!(found.commits.is_empty() && found.end == HEADER_BYTES);
        let _ = (scan(&bytes).is_ok(), Body::decode(&bytes).is_some());
    }

    #[test]
    fn a_changed_byte_or_a_cut_is_never_another_history(
        seed: u64, count in 1..12_usize, at: prop::sample::Index, bits in 1..=255_u8, cut: bool,
    ) {
        let (disk, mut rng) = (Memory::default(), StdRng::seed_from_u64(seed));
        let log = Log::open(Arc::new(disk.clone()), DEFAULT).unwrap();
        for number in 0..count {
            log.commit(commit(&mut rng, number as i64), Timestamp(1)).unwrap();
        }
        let whole = last_segment(&disk);
        let mut bytes = whole.clone();
        let at = at.index(bytes.len());
        if cut { bytes.truncate(at) } else { bytes[at] ^= bits }
        let all = scan(&whole).unwrap();
        match scan(&bytes) {
            Err(BadHeader::Damaged) => prop_assert!(at < HEADER_BYTES),
            Err(BadHeader::Newer(_)) => prop_assert!(!cut && (8..12).contains(&at)),
            Ok(found) => {
                prop_assert!(all.commits.starts_with(&found.commits));
                let is_last = found.commits.len() + 1 == count;
                // All commits but the last are proved by a later one.
                match found.tail {
                    Tail::Damaged(_) => prop_assert!(!cut && !is_last),
                    Tail::Torn(_) => prop_assert!(cut || is_last),
                    Tail::Whole => prop_assert!(cut),
                }
            }
        }
    }
}

#[test]
fn a_tombstone_stays_for_a_day_and_takes_its_key_with_it() -> Result<()> {
    let log = Arc::new(Log::open(Arc::new(Memory::default()), SMALL)?);
    let day = TOMBSTONE_RETENTION.as_millis() as i64;
    log.commit(one(COMPACTED, b"k", Some(b"old")), Timestamp(0))?;
    log.commit(one(COMPACTED, b"k", None), Timestamp(10))?;
    log.commit(one(PLAIN, b"", Some(&[0; 2000])), Timestamp(10))?;
    log.commit(one(PLAIN, b"", None), Timestamp(10))?;
    let keys = |now| {
        log.compact(policy, Timestamp(now))?;
        read(&log, COMPACTED, Partition(0), 1)
    };
    let found = keys(day + 10)?;
    assert!(found.len() == 1 && found[0].0 == 1 && found[0].1.value.is_none(), "{found:?}");
    // Another pass is due when there is as much again.
    log.commit(one(COMPACTED, b"other", Some(&[0; 2000])), Timestamp(10))?;
    log.commit(one(PLAIN, b"", None), Timestamp(10))?;
    let found = keys(day + 11)?;
    assert!(found.len() == 1 && found[0].1.key == b"other", "{found:?}");
    Ok(())
}

#[test]
fn retention_removes_segments_by_the_time_of_their_newest_commit() -> Result<()> {
    let log = Arc::new(Log::open(Arc::new(Memory::default()), SMALL)?);
    let hour =
        |_: &str| Policy { is_compacted: false, retention: Some(Duration::from_millis(100)) };
    for time in [0, 50, 100] {
        log.commit(one(PLAIN, b"k", Some(&[0; 1000])), Timestamp(time))?;
    }
    assert_eq!(log.compact(hour, Timestamp(100))?, None);
    let done = log.compact(hour, Timestamp(101))?;
    assert_eq!(done.map(|done| done.removed), Some(1));
    assert_eq!(log.extent(PLAIN, Partition(0)).first, Offset(1));
    let mut reader = Reader::new(Arc::clone(&log), PLAIN, Partition(0), Offset(0));
    let told = reader.read(1, |_| ());
    assert!(matches!(told, Err(LogError::OutOfRange { first: Offset(1), .. })), "{told:?}");
    let mut reader = Reader::new(Arc::clone(&log), PLAIN, Partition(0), Offset(1));
    assert_eq!(reader.read(1 << 20, |_| ())?.records, 2);
    Ok(())
}

#[test]
fn small_segments_are_merged() -> Result<()> {
    let disk = Memory::default();
    for _ in 0..40 {
        let log = Log::open(Arc::new(disk.clone()), SMALL)?;
        log.commit(one(PLAIN, b"k", Some(b"v")), Timestamp(0))?;
        log.compact(|_| Policy::default(), Timestamp(0))?;
    }
    let log = Arc::new(Log::open(Arc::new(disk), SMALL)?);
    assert!(log.sealed_segments() < 25, "{}", log.sealed_segments());
    assert_eq!(read(&log, PLAIN, Partition(0), 1)?.len(), 40);
    Ok(())
}
