//! The spool against a queue in memory, through crashes, torn files and damaged ones.

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
                    prop_assert_eq!(spool.damages(), &[]);
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
        let cut: u64 = spool.damages().iter().map(|tail| tail.bytes).sum();
        prop_assert!(spool.damages().iter().all(|tail| tail.is_tail));
        let left = drain(&mut spool)?;
        let bytes: Vec<_> = left.into_iter().map(|(_, _, bytes)| bytes).collect();
        prop_assert!(records.starts_with(&bytes));
        prop_assert_eq!(fs::metadata(&path)?.len() + cut, torn.len() as u64);
        // It goes on behind the cut, and a second opening finds nothing to cut.
        prop_assert_eq!(spool.push(Timestamp(2), b"more")?, Push::Done);
        drop(spool);
        let mut spool = Spool::open(dir.path(), MAX)?;
        prop_assert_eq!(spool.damages(), &[]);
        prop_assert_eq!(drain(&mut spool)?.back().map(|last| last.2.clone()), Some(b"more".to_vec()));
    }

    #[test]
    fn damage_anywhere_loses_the_records_that_it_touches_and_no_other(
        records in prop::collection::vec(prop::collection::vec(any::<u8>(), 0..600), 20..120),
        hits in prop::collection::vec((any::<prop::sample::Index>(), 1usize..200, any::<u64>()), 1..4),
        acknowledged in 0usize..20,
    ) {
        let dir = tempfile::tempdir()?;
        let mut spool = Spool::open(dir.path(), MAX)?;
        // Every record is told apart by its time, and where it stands is known by its number.
        let (mut places, mut pushed) = (Vec::new(), Vec::new());
        for (time, bytes) in (1i64..).zip(&records) {
            if spool.bytes() > MAX / 2 {
                break;
            }
            spool.push(Timestamp(time), bytes)?;
            let last = &spool.segments[spool.segments.len() - 1];
            let end = usize::try_from(last.bytes)?;
            places.push((last.first, end - HEADER - bytes.len()..end));
            pushed.push((time, bytes.clone()));
        }
        for _ in 0..acknowledged {
            spool.peek()?;
            spool.advance();
        }
        spool.acknowledge(u64::MAX)?;
        let (first, held) = (spool.segments[0].first, pushed.len());
        drop(spool);
        let mut touched = std::collections::BTreeSet::new();
        for (index, length, seed) in &hits {
            let (segment, range) = index.get(&places);
            if *segment < first {
                continue;
            }
            let path = path_of(dir.path(), *segment);
            let mut file = fs::read(&path)?;
            for at in range.start..(range.start + length).min(file.len()) {
                let noise = seed.wrapping_mul(at as u64 | 1).to_le_bytes()[3];
                if noise != 0 {
                    file[at] ^= noise;
                    let hit = |(of, place): &(u64, std::ops::Range<usize>)| of == segment && place.contains(&at);
                    touched.extend(places.iter().position(hit));
                }
            }
            fs::write(&path, file)?;
        }
        let mut spool = Spool::open(dir.path(), MAX)?;
        let read: Vec<_> = drain(&mut spool)?.into_iter().map(|(_, at, bytes)| (at, bytes)).collect();
        let whole = pushed.iter().enumerate().filter(|(index, _)| !touched.contains(index));
        let must: Vec<_> = whole.clone().skip_while(|(index, _)| *index < acknowledged).map(|(_, one)| one.clone()).collect();
        // What was acknowledged may come again, in its order; all else comes once.
        prop_assert!(read.ends_with(&must), "{touched:?} of {held}: {} are read, {} must be", read.len(), must.len());
        prop_assert!(read.windows(2).all(|two| two[0].0 < two[1].0));
        prop_assert!(read.iter().all(|one| pushed.contains(one)), "nothing is made up");
        let kept = |damage: &Damage| damage.kept.as_ref().is_some_and(|kept| {
            fs::metadata(kept).is_ok_and(|file| file.len() == damage.bytes)
        });
        prop_assert!(spool.damages().iter().all(kept));
        prop_assert_eq!(spool.damages().is_empty(), touched.iter().all(|index| places[*index].0 < first));
        // It is whole again, and goes on.
        prop_assert_eq!(spool.push(Timestamp(1_000), b"more")?, Push::Done);
        drop(spool);
        let mut spool = Spool::open(dir.path(), MAX)?;
        prop_assert_eq!(spool.damages(), &[]);
        prop_assert_eq!(drain(&mut spool)?.len(), read.len() + 1);
    }
}

#[test]
fn a_record_in_the_middle_that_is_damaged_is_skipped_and_kept() -> io::Result<()> {
    let dir = tempfile::tempdir()?;
    let mut spool = Spool::open(dir.path(), MAX)?;
    for (time, text) in [(1, "one"), (2, "two"), (3, "three")] {
        spool.push(Timestamp(time), text.as_bytes())?;
    }
    drop(spool);
    let path = path_of(dir.path(), 1);
    let mut bytes = fs::read(&path)?;
    let second = MAGIC.len() + HEADER + 3;
    bytes[second + HEADER] = b'T';
    fs::write(&path, bytes)?;
    let mut spool = Spool::open(dir.path(), MAX)?;
    let [damage] = spool.damages() else { panic!("{:?}", spool.damages()) };
    assert_eq!((damage.offset, damage.bytes), (second as u64, HEADER as u64 + 3));
    let kept = fs::read(damage.kept.as_ref().unwrap())?;
    assert!(kept.ends_with(b"Two"), "{kept:?}");
    let read: Vec<_> = drain(&mut spool)?.into_iter().map(|(number, at, _)| (number, at)).collect();
    assert_eq!(read, [(1, 1), (3, 3)]);
    spool.acknowledge(u64::MAX)?;
    assert!(spool.is_empty());
    Ok(())
}

#[test]
fn a_damaged_end_of_a_file_does_not_hide_the_next_file() -> io::Result<()> {
    let dir = tempfile::tempdir()?;
    let mut spool = Spool::open(dir.path(), MAX)?;
    for time in 1..20 {
        spool.push(Timestamp(time), &[7; 1000])?;
    }
    let (first, next) = (spool.segments[0].first, spool.segments[1].first);
    drop(spool);
    let path = path_of(dir.path(), first);
    let bytes = fs::read(&path)?;
    fs::write(&path, &bytes[..bytes.len() - 1_500])?;
    let mut spool = Spool::open(dir.path(), MAX)?;
    let numbers: Vec<_> = drain(&mut spool)?.into_iter().map(|(number, ..)| number).collect();
    assert_eq!(numbers, (1..next - 2).chain(next..20).collect::<Vec<_>>());
    Ok(())
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
