//! Properties of a task under any records, batches and commits, and a crash at any point.

use proptest::collection::vec;
use proptest::option::weighted;
use proptest::prelude::*;

use super::sample;
use crate::driver::Driver;
use crate::record::{Batch, Offset, Timestamp};
use crate::store::{Committed, MemoryStore};
use crate::task::Task;
use crate::{Error, Result};

/// One record of the source: when, and what.
type Event = (i64, u8, Option<i8>);

/// An action after a record has been processed.
#[derive(Clone, Copy, Debug)]
enum Step {
    Nothing,
    Commit,
    Flush,
    /// The process dies with what it has processed.
    CrashIdle,
    /// It dies with a prepared commit that is not written.
    CrashPrepared,
    /// It dies between the write of the commit and `post_commit`.
    CrashWritten,
    /// It dies when the stores are frozen and not written.
    CrashFrozen,
    /// All that is not committed is discarded, and the same task goes on.
    DiscardIdle,
    /// The prepared commit is refused, and the same task goes on.
    DiscardPrepared,
}

fn events() -> impl Strategy<Value = Vec<Event>> {
    vec((0..400_i64, b'a'..b'e', weighted(0.9, any::<i8>())), 1..60)
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let step = prop_oneof![
        8 => Just(Step::Nothing),
        2 => Just(Step::Commit),
        1 => Just(Step::Flush),
        1 => Just(Step::CrashIdle),
        1 => Just(Step::CrashPrepared),
        1 => Just(Step::CrashWritten),
        1 => Just(Step::CrashFrozen),
        1 => Just(Step::DiscardIdle),
        1 => Just(Step::DiscardPrepared),
    ];
    vec(step, 0..60)
}

fn add_all(driver: &mut Driver, events: &[Event]) -> Result<()> {
    for (time, key, value) in events {
        // Some values are no numbers.
        let value = value.map(|v| if v == 7 { "seven".into() } else { v.to_string() });
        driver.add("events", *time, &[*key], value.as_ref().map(String::as_bytes))?;
    }
    Ok(())
}

fn take(driver: &mut Driver, step: Step) -> Result<()> {
    match step {
        Step::Nothing => return Ok(()),
        Step::Commit => return driver.commit_once().map(|_| ()),
        Step::Flush => return driver.flush_stores(),
        Step::DiscardIdle | Step::DiscardPrepared => {
            if matches!(step, Step::DiscardPrepared) {
                driver.prepare_commit()?;
            }
            driver.discard();
            return Ok(());
        }
        Step::CrashIdle => {}
        Step::CrashPrepared => driver.prepare_commit()?,
        Step::CrashWritten => driver.write_transaction().map(|_| ())?,
        Step::CrashFrozen => {
            driver.commit_once()?;
            driver.stores().for_each(|(_, store)| {
                store.freeze(Offset(0));
            });
        }
    }
    driver.restart().map(|_| ())
}

/// Everything that others see: the sinks and the dead letters record by record, the stores' topics
/// by their last values, the offsets.
fn seen(driver: &Driver) -> String {
    let mut last = std::collections::BTreeMap::new();
    for topic in ["totals", "counts", "times", "all"] {
        for output in driver.output(topic) {
            last.insert((topic, output.key.clone()), output.value.clone());
        }
    }
    let sequences = (driver.output("seen"), driver.output("ticks"));
    let letters = driver.dead_letters();
    // Dead letters of two sub-topologies have no order.
    let of = |wanted: &str| letters.iter().filter(|(from, _)| *from == wanted).collect::<Vec<_>>();
    let letters = (of("events"), of("by-value-repartition"));
    format!("{last:?} {sequences:?} {letters:?} {:?}", driver.consumed())
}

/// The committed state of every store.
fn states(driver: &Driver) -> Result<Vec<Vec<crate::store::KeyValue>>> {
    let all = driver.stores().map(|(_, store)| store.range(&[], &[0xff; 20], usize::MAX));
    all.collect()
}

/// Runs to the end, with a step after each record.
fn run(events: &[Event], steps: &[Step], cache_max_bytes: usize) -> Result<Driver> {
    let mut driver = Driver::with_cache(sample::through_repartition_topics()?, cache_max_bytes)?;
    add_all(&mut driver, events)?;
    let mut steps = steps.iter();
    while driver.step()? {
        if driver.tasks.iter().any(Task::wants_commit) {
            driver.commit_once()?;
        }
        take(&mut driver, *steps.next().unwrap_or(&Step::Nothing))?;
    }
    driver.commit()?;
    Ok(driver)
}

proptest! {
    #[test]
    fn commits_crashes_and_cache_sizes_do_not_show_in_the_outputs(
        events in events(), steps in steps(), cache in 0..5_000_usize,
    ) {
        let calm = run(&events, &[], usize::MAX)?;
        let rough = run(&events, &steps, cache)?;
        prop_assert_eq!(seen(&calm), seen(&rough));
        prop_assert_eq!(states(&calm)?, states(&rough)?);
    }

    #[test]
    fn restored_equals_live(events in events(), steps in steps()) {
        let mut driver = run(&events, &steps, 1_000)?;
        let live = states(&driver)?;
        driver.crash()?;
        prop_assert_eq!(&states(&driver)?, &live);
        driver.lose_disk()?;
        prop_assert_eq!(&states(&driver)?, &live);
    }

    #[test]
    fn the_same_records_give_the_same_commits(events in events(), steps in steps()) {
        let [one, other] = [run(&events, &steps, 500)?, run(&events, &steps, 500)?];
        prop_assert_eq!(&one.logs, &other.logs);
        prop_assert_eq!(&one.consumed, &other.consumed);
    }

    #[test]
    fn how_records_are_batched_does_not_show(events in events(), size in 1..9_usize) {
        let single = run(&events, &[], usize::MAX)?;
        let mut driver = Driver::new(sample::through_repartition_topics()?)?;
        let mut records = Driver::new(sample::through_repartition_topics()?)?;
        add_all(&mut records, &events)?;
        let mut next = 0;
        for chunk in records.inputs[0].chunks(size) {
            let mut batch = Batch::default();
            for (time, key, value) in chunk {
                batch.push(Offset(next), *time, key, value.as_deref());
                next += 1;
            }
            driver.tasks[0].add_records(batch);
        }
        driver.process_all()?;
        driver.commit()?;
        prop_assert_eq!(seen(&single), seen(&driver));
    }

    #[test]
    fn foreign_bytes_in_a_topic_are_an_error_and_never_a_panic(
        records in vec((vec(any::<u8>(), 0..24), weighted(0.8, vec(any::<u8>(), 0..24))), 0..8),
    ) {
        let mut batch = Batch::default();
        for (key, value) in &records {
            batch.push(Offset(0), Timestamp(0), key, value.as_deref());
        }
        for spec in sample::through_repartition_topics()?.stores() {
            let store = Committed::new(Box::new(MemoryStore::default()));
            match spec.restore(&batch, &store) {
                Ok(keys) => prop_assert_eq!(keys.changes(&batch).count(), batch.len()),
                Err(Error::Corrupt(_)) => {
                    // The stores have none of it.
                    prop_assert!(store.range(&[], &[0xff; 32], 1)?.is_empty());
                }
                Err(error) => prop_assert!(false, "{}", error),
            }
        }
    }
}
