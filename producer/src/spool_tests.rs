//! The spool against a queue in memory, through crashes and torn files.

use std::collections::VecDeque;

use proptest::prelude::*;

use super::*;

/// Small, so that segments fill and the spool is full within a test.
const MAX: u64 = MIN_BYTES;

#[derive(Clone, Debug)]
enum Step {
    Push(Vec<u8>),
    Read(usize),
    Acknowledge(u64),
    /// The process is killed: whatever was written stays.
    Crash,
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let record = prop_oneof![
        prop::collection::vec(any::<u8>(), 0..40),
        (1usize..6_000, any::<u8>()).prop_map(|(length, byte)| vec![byte; length]),
    ];
    let step = prop_oneof![
        8 => record.prop_map(Step::Push),
        4 => (1usize..20).prop_map(Step::Read),
        3 => (1u64..20).prop_map(Step::Acknowledge),
        1 => Just(Step::Crash),
    ];
    prop::collection::vec(step, 1..150)
}

/// Numbers, times and bytes of what is not acknowledged, as the model has them.
type Model = VecDeque<(u64, i64, Vec<u8>)>;

fn drain(spool: &mut Spool) -> io::Result<Model> {
    let mut all = Model::new();
    while let Some(record) = spool.peek()? {
        all.push_back((record.number, record.at.0, record.bytes.clone()));
        spool.advance();
    }
    Ok(all)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(96))]

    #[test]
    fn it_is_a_queue_through_any_crash(steps in steps()) {
        let dir = tempfile::tempdir()?;
        let mut spool = Spool::open(dir.path(), MAX)?;
        let mut model = Model::new();
        let (mut pushed, mut read) = (0u64, 0usize);
        for (time, step) in (0i64..).zip(steps) {
            match step {
                Step::Push(bytes) => {
                    if spool.push(Timestamp(time), &bytes)? == Push::Done {
                        pushed += 1;
                        model.push_back((pushed, time, bytes));
                    } else {
                        prop_assert!(spool.bytes() + bytes.len() as u64 > MAX * 7 / 8 - 6_000);
                        prop_assert!(!model.is_empty(), "an empty spool has room");
                    }
                }
                Step::Read(count) => {
                    for _ in 0..count {
                        let record = spool.peek()?.cloned();
                        let expected = model.get(read);
                        prop_assert_eq!(record.as_ref().map(|r| (r.number, r.at.0, &r.bytes)),
                            expected.map(|(number, at, bytes)| (*number, *at, bytes)));
                        spool.advance();
                        read += usize::from(record.is_some());
                    }
                }
                Step::Acknowledge(count) => {
                    let next = spool.next_ack() + count;
                    spool.acknowledge(next)?;
                    let acknowledged = read.min(usize::try_from(count)?);
                    model.drain(..acknowledged);
                    read -= acknowledged;
                }
                Step::Crash => {
                    drop(spool);
                    spool = Spool::open(dir.path(), MAX)?;
                    read = 0;
                    prop_assert_eq!(spool.cut(), 0);
                }
            }
            prop_assert!(spool.bytes() <= MAX);
            prop_assert_eq!(spool.len(), model.len() as u64);
            prop_assert_eq!(spool.oldest()?.map(|at| at.0), model.front().map(|(_, at, _)| *at));
        }
        drop(spool);
        prop_assert_eq!(drain(&mut Spool::open(dir.path(), MAX)?)?, model);
    }

    #[test]
    fn a_torn_tail_is_cut_off_and_counted(
        records in prop::collection::vec(prop::collection::vec(any::<u8>(), 0..300), 1..40),
        keep in 0u64..8_000, garbage in prop::collection::vec(any::<u8>(), 0..40),
    ) {
        let dir = tempfile::tempdir()?;
        let mut spool = Spool::open(dir.path(), MAX)?;
        for bytes in &records {
            prop_assert_eq!(spool.push(Timestamp(1), bytes)?, Push::Done);
        }
        let path = path_of(dir.path(), spool.segments[spool.segments.len() - 1].first);
        drop(spool);
        let mut torn = fs::read(&path)?;
        torn.truncate(usize::try_from(keep)?.clamp(MAGIC.len(), torn.len()));
        torn.extend_from_slice(&garbage);
        fs::write(&path, &torn)?;
        let mut spool = Spool::open(dir.path(), MAX)?;
        let cut = spool.cut();
        let left = drain(&mut spool)?;
        let bytes: Vec<_> = left.into_iter().map(|(_, _, bytes)| bytes).collect();
        prop_assert!(records.starts_with(&bytes));
        prop_assert_eq!(fs::metadata(&path)?.len() + cut, torn.len() as u64);
        // It goes on behind the cut, and a second opening finds nothing to cut.
        prop_assert_eq!(spool.push(Timestamp(2), b"more")?, Push::Done);
        drop(spool);
        let mut spool = Spool::open(dir.path(), MAX)?;
        prop_assert_eq!(spool.cut(), 0);
        prop_assert_eq!(drain(&mut spool)?.back().map(|last| last.2.clone()), Some(b"more".to_vec()));
    }
}

#[test]
fn two_processes_do_not_share_one() -> io::Result<()> {
    let dir = tempfile::tempdir()?;
    let _held = Spool::open(dir.path(), MAX)?;
    let refused = Spool::open(dir.path(), MAX).map(|_| ()).map_err(|error| error.to_string());
    assert!(refused.is_err_and(|text| text.contains("is in use by another process")));
    Ok(())
}

#[test]
fn what_is_acknowledged_is_deleted_segment_by_segment() -> io::Result<()> {
    let dir = tempfile::tempdir()?;
    let mut spool = Spool::open(dir.path(), MAX)?;
    while spool.push(Timestamp(1), &[7; 1000])? == Push::Done {}
    let full = spool.bytes();
    assert!(full > MAX - 2_000 && spool.segments.len() > 6, "{full}");
    let count = drain(&mut spool)?.len() as u64;
    spool.acknowledge(spool.next_ack() + count / 2)?;
    assert!(spool.bytes() < full * 2 / 3);
    assert_eq!(spool.push(Timestamp(1), &[7; 1000])?, Push::Done);
    spool.acknowledge(u64::MAX)?;
    assert_eq!((spool.len(), spool.segments.len()), (1, 1), "the new one is not read");
    Ok(())
}

#[test]
fn a_file_of_another_version_is_named_and_left_alone() -> io::Result<()> {
    let dir = tempfile::tempdir()?;
    fs::write(path_of(dir.path(), 1), b"SPOOL\0\0\x02 and more")?;
    let refused = Spool::open(dir.path(), MAX).map(|_| ()).map_err(|error| error.to_string());
    assert!(refused.is_err_and(|text| text.contains("00001.spool: not a spool of this version")));
    assert!(path_of(dir.path(), 1).exists());
    Ok(())
}
