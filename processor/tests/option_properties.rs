//! Tickers, listings and time at random: the topology against a naive fold that looks at every row
//! after every record.

mod option_fold;

use std::collections::BTreeMap;
use std::sync::Arc;

use option_fold::{Fold, Row};
use processor::topology::{Named, store_name, topology_in_steps};
use proptest::prelude::*;
use schemas::avro::Record;
use schemas::instrument::{Class, InstrumentState, Right};
use schemas::topic::Topic;
use schemas::{
    Codec, Decimal, Derivative, FeedMark, Instrument, OptionMinute, OptionMinuteKey, OptionState,
    PairKey, Ticker, Timestamp,
};
use streams::{Driver, SinkRecord};

/// 2024-01-05T06:30:00Z: the first options expire 90 minutes later.
const START: i64 = 1_704_436_200_000;
/// The last record is written before any minute expires.
const LONGEST: i64 = 25 * 24 * 3_600_000;
const STORES: [Topic; 3] = [Topic::Options, Topic::Options1m, Topic::Derivatives];

/// A record of `option_tickers`, or something that happens to the task.
#[derive(Clone, Debug)]
enum Step {
    Ticker {
        instrument: usize,
        at: i64,
        written: i64,
        price: i64,
    },
    Listed {
        instrument: usize,
        at: i64,
        written: i64,
        facts: u8,
        state: InstrumentState,
    },
    Clock {
        written: i64,
    },
    /// A record that cannot be read, which advances stream time as well.
    Bad {
        written: i64,
    },
    Commit,
    Flush,
    Crash,
    LoseDisk,
}

const NAMES: [(&str, Class); 7] = [
    ("BTC-5JAN24-42000-C", Class::Option),
    ("BTC-5JAN24-42000-P", Class::Option),
    ("BTC-12JAN24-1d5-C", Class::Option),
    ("BTC-5JAN24", Class::Future),
    ("BTC-PERPETUAL", Class::Perpetual),
    // Names that say nothing: they need a listing.
    ("SOMETHING", Class::Option),
    ("SOMETHING-ELSE", Class::Future),
];

fn pair(instrument: usize) -> PairKey {
    PairKey::new(NAMES[instrument].0, "BTC", "deribit")
}

fn ticker(at: i64, written: i64, price: i64) -> Ticker {
    let decimal = Decimal::from_units(i128::from(price) * 1_000_000_000_000_037);
    let some = |has: bool| decimal.filter(|_| has);
    Ticker {
        mark_price: decimal,
        bid: some(price % 2 == 0),
        mark_iv: some(price % 3 == 0),
        state: match price % 3 {
            0 => None,
            1 => Some("open".into()),
            _ => Some("locked".into()),
        },
        event_time: Timestamp(at),
        received_at: Timestamp(written),
        ..Ticker::default()
    }
}

fn listed(
    instrument: usize,
    at: i64,
    written: i64,
    facts: u8,
    state: InstrumentState,
) -> Instrument {
    let (name, class) = NAMES[instrument];
    let says_nothing = !name.contains("24") && class != Class::Perpetual;
    let has = |bit: u8| facts & bit != 0;
    // Near the beginning, or a day later.
    let expiry = START + if has(1) { 5_400_000 } else { 90_000_000 };
    Instrument {
        class,
        currency: "BTC".into(),
        settlement_currency: has(2).then(|| "BTC".into()),
        expiry_time: (says_nothing || has(4)).then_some(Timestamp(expiry)),
        strike: (says_nothing && class == Class::Option).then_some(Decimal::ONE),
        right: (says_nothing && class == Class::Option).then_some(Right::Put),
        contract_size: has(8).then_some(Decimal::ONE),
        tick_size: None,
        state,
        event_time: Timestamp(at),
        received_at: Timestamp(written),
    }
}

/// Most times grow by little, some by hours or a week; records are late by up to two hours.
fn steps(longest: usize) -> impl Strategy<Value = Vec<Step>> {
    let later = prop_oneof![
        6 => 0i64..3_000,
        4 => 0i64..200_000,
        3 => 0i64..5_000_000,
        1 => 0i64..700_000_000,
    ];
    let before = prop_oneof![6 => Just(0i64), 2 => 0i64..90_000, 1 => 0i64..7_200_000];
    let one = (0u8..26, 0..NAMES.len(), later, before, 1i64..50, 0u8..16);
    prop::collection::vec(one, 1..longest).prop_map(|all| {
        let mut now = START;
        let step =
            |(kind, instrument, later, before, price, facts): (u8, usize, i64, i64, i64, u8)| {
                now = (now + later).min(START + LONGEST);
                let (at, written) = (now - before, now);
                let instrument_step =
                    |state| Step::Listed { instrument, at, written, facts, state };
                match kind {
                    0..12 => Step::Ticker { instrument, at, written, price },
                    12..15 => instrument_step(InstrumentState::Listed),
                    15..17 => instrument_step(InstrumentState::Ended),
                    // The record itself may be late.
                    17 => Step::Ticker { instrument, at, written: at, price },
                    18..21 => Step::Clock { written },
                    21 => Step::Bad { written },
                    22 => Step::Commit,
                    23 => Step::Flush,
                    24 => Step::LoseDisk,
                    _ => Step::Crash,
                }
            };
        all.into_iter().map(step).collect()
    })
}

struct World {
    codec: Arc<Codec>,
    driver: Driver,
}

fn text(error: impl std::fmt::Display) -> String {
    error.to_string()
}

type Outcome<T = ()> = Result<T, String>;
/// Keys and values of a store.
type Contents = Vec<(Vec<u8>, Vec<u8>)>;
/// The last value of each key of each topic.
type Last = Vec<BTreeMap<Vec<u8>, Option<Vec<u8>>>>;

impl World {
    fn new(step_rows: usize) -> Outcome<Self> {
        let codec = Arc::new(Codec::offline());
        let topology = topology_in_steps(&codec, "", "", Named::Options.into(), step_rows);
        let driver = Driver::new(topology.map_err(text)?).map_err(text)?;
        Ok(Self { codec, driver })
    }

    fn pipe<R: Record>(&mut self, key: &PairKey, value: &R, written: i64) -> Outcome {
        let (key, value) = (self.codec.to_bytes(key), self.codec.to_bytes(value));
        self.pipe_bytes(&key, &value, written)
    }

    fn pipe_bytes(&mut self, key: &[u8], value: &[u8], written: i64) -> Outcome {
        let topic = Topic::OptionTickers.name("");
        self.driver.pipe(&topic, written, key, Some(value)).map(drop).map_err(text)
    }

    /// Takes a step; what happens to the task only where it is wanted.
    fn take(&mut self, step: &Step, disturbed: bool) -> Outcome {
        match *step {
            Step::Ticker { instrument, at, written, price } => {
                self.pipe(&pair(instrument), &ticker(at, written, price), written)
            }
            Step::Listed { instrument, at, written, facts, state } => {
                let listed = listed(instrument, at, written, facts, state);
                self.pipe(&pair(instrument), &listed, written)
            }
            Step::Clock { written } => {
                let mark = FeedMark::healthy("1", Timestamp(written), Timestamp(written));
                self.pipe(&PairKey::feed("deribit"), &mark, written)
            }
            Step::Bad { written } => self.pipe_bytes(b"", b"{}", written),
            _ if !disturbed => Ok(()),
            Step::Commit => self.driver.commit().map_err(text),
            Step::Flush => self.driver.flush_stores().map_err(text),
            Step::Crash => self.driver.crash().map(drop).map_err(text),
            Step::LoseDisk => self.driver.lose_disk().map(drop).map_err(text),
        }
    }

    fn last(&self) -> Last {
        let of = |topic: Topic| {
            let log = self.driver.output(&topic.name("")).iter();
            log.map(|record| (record.key.clone(), record.value.clone())).collect()
        };
        STORES.into_iter().map(of).collect()
    }

    /// All that the stores hold.
    fn contents(&self) -> Outcome<Vec<Contents>> {
        let store = |topic: Topic| {
            let store = self.driver.store(store_name(topic)).ok_or("no such store")?;
            store.range(&[], &[0xff; 8], usize::MAX).map_err(text)
        };
        STORES.into_iter().map(store).collect()
    }

    /// The last value of each key; tombstones are none.
    fn decoded<K: Record + Ord, V: Record>(&self, topic: Topic) -> Outcome<BTreeMap<K, Option<V>>> {
        let log = self.driver.output(&topic.name("")).iter();
        let one = |record: &SinkRecord| {
            let key = self.codec.decode(&record.key).map_err(text)?;
            let value = record.value.as_deref().map(|value| self.codec.decode(value));
            Ok((key, value.transpose().map_err(text)?))
        };
        log.map(one).collect()
    }

    fn rows(&self) -> Outcome<BTreeMap<PairKey, Row>> {
        let options = self.decoded::<PairKey, OptionState>(Topic::Options)?;
        let derivatives = self.decoded::<PairKey, Derivative>(Topic::Derivatives)?;
        let options = options.into_iter().filter_map(|(key, row)| Some((key, Row::Option(row?))));
        let derivatives =
            derivatives.into_iter().filter_map(|(key, row)| Some((key, Row::Derivative(row?))));
        Ok(options.chain(derivatives).collect())
    }
}

/// The topology over the steps, committed, with or without disturbances.
fn run(steps: &[Step], step_rows: usize, disturbed: bool) -> Outcome<World> {
    let mut world = World::new(step_rows)?;
    steps.iter().try_for_each(|step| world.take(step, disturbed))?;
    world.driver.commit().map_err(text)?;
    Ok(world)
}

fn folded(steps: &[Step]) -> Fold {
    let mut fold = Fold::default();
    for step in steps {
        match *step {
            Step::Ticker { instrument, at, written, price } => {
                fold.advance(written);
                fold.ticker(&pair(instrument), &ticker(at, written, price));
            }
            Step::Listed { instrument, at, written, facts, state } => {
                fold.advance(written);
                let listed = listed(instrument, at, written, facts, state);
                fold.instrument(&pair(instrument), &listed);
            }
            Step::Clock { written } => fold.advance(written),
            Step::Bad { written } => {
                fold.advance(written);
                fold.refused.push("corrupt");
            }
            _ => continue,
        }
        fold.sweep();
    }
    fold
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(256))]

    #[test]
    fn a_naive_fold_gives_the_same_rows_minutes_and_dead_letters(steps in steps(80)) {
        let world = run(&steps, 1024, false).map_err(TestCaseError::fail)?;
        let fold = folded(&steps);
        prop_assert_eq!(world.rows().map_err(TestCaseError::fail)?, fold.rows());
        let minutes = world.decoded::<OptionMinuteKey, OptionMinute>(Topic::Options1m);
        let minutes: BTreeMap<_, _> = minutes.map_err(TestCaseError::fail)?.into_iter()
            .map(|(key, minute)| (key, minute.expect("minutes are not deleted")))
            .collect();
        prop_assert_eq!(minutes, fold.minutes);
        let letters = world.driver.dead_letters();
        let reasons: Vec<_> = letters.iter().map(|(_, letter)| letter.reason).collect();
        prop_assert_eq!(reasons, fold.refused);
    }

    #[test]
    fn commits_crashes_and_small_steps_change_no_byte(steps in steps(80), step_rows in 1usize..4) {
        let lived = run(&steps, 1024, false).map_err(TestCaseError::fail)?;
        let mut disturbed = run(&steps, step_rows, true).map_err(TestCaseError::fail)?;
        let before = disturbed.contents().map_err(TestCaseError::fail)?;
        prop_assert_eq!(&before, &lived.contents().map_err(TestCaseError::fail)?);
        // A row that came and went between two commits was never written.
        let written = |last: Last| -> Vec<Contents> {
            let some = |(key, value): (Vec<u8>, Option<Vec<u8>>)| value.map(|value| (key, value));
            last.into_iter().map(|topic| topic.into_iter().filter_map(some).collect()).collect()
        };
        prop_assert_eq!(written(disturbed.last()), written(lived.last()));
        disturbed.driver.lose_disk().map_err(|error| TestCaseError::fail(error.to_string()))?;
        prop_assert_eq!(&disturbed.contents().map_err(TestCaseError::fail)?, &before, "restored is not live");
    }

    #[test]
    fn a_row_is_closed_for_a_week_before_it_is_deleted(steps in steps(80)) {
        // Every record is committed, so that each state of a row is in the log.
        let mut world = World::new(2).map_err(TestCaseError::fail)?;
        let mut closed: BTreeMap<Vec<u8>, i64> = BTreeMap::new();
        let (mut now, mut seen) = (0, 0);
        for step in &steps {
            world.take(step, true).map_err(TestCaseError::fail)?;
            world.driver.commit().map_err(|error| TestCaseError::fail(error.to_string()))?;
            if let Step::Ticker { written, .. } | Step::Listed { written, .. }
                | Step::Clock { written } | Step::Bad { written } = *step {
                now = now.max(written);
            }
            let log = world.driver.output(&Topic::Options.name(""));
            for record in &log[seen..] {
                let Some(value) = &record.value else {
                    let since = closed.remove(&record.key);
                    prop_assert!(since.is_some_and(|since| now - since >= 7 * 86_400_000), "{since:?} {now}");
                    continue;
                };
                let row: OptionState = world.codec.decode(value)
                    .map_err(|error| TestCaseError::fail(error.to_string()))?;
                prop_assert_eq!(row.closed_at.is_some(), row.state == "CLOSED");
                if row.closed_at.is_some() {
                    closed.entry(record.key.clone()).or_insert(now);
                } else {
                    closed.remove(&record.key);
                }
            }
            seen = log.len();
        }
    }
}

/// Options of one expiry and a future, and then a clock by which all of them have expired.
fn expiring(step_rows: usize) -> Outcome<World> {
    let mut world = World::new(step_rows)?;
    for number in (0..40).rev() {
        let pair =
            PairKey::new(format!("BTC-5JAN24-{}-C", 40_000 + 7 * number % 41), "BTC", "deribit");
        world.pipe(&pair, &ticker(START + number, START + number, 5), START + number)?;
    }
    world.pipe(&pair(3), &ticker(START, START, 5), START)?;
    world.driver.commit().map_err(text)?;
    let key = world.codec.to_bytes(&PairKey::feed("deribit"));
    let later = Timestamp(START + 3 * 3_600_000);
    let mark = world.codec.to_bytes(&FeedMark::healthy("1", later, later));
    // And a record behind it, of a row that has closed by then.
    let topic = Topic::OptionTickers.name("");
    world.driver.add(&topic, later.0, &key, Some(&mark)).map_err(text)?;
    let last = ticker(START + 60_000, later.0, 8);
    let (key, last) = (world.codec.to_bytes(&pair(3)), world.codec.to_bytes(&last));
    world.driver.add(&topic, later.0, &key, Some(&last)).map_err(text)?;
    Ok(world)
}

/// The records of `options` in their order. The future changes twice, which one commit writes once.
fn log(world: &World) -> Vec<SinkRecord> {
    world.driver.output(&Topic::Options.name("")).to_vec()
}

#[test]
fn a_sweep_with_a_commit_and_a_crash_after_each_step_writes_the_same_records() -> Outcome {
    let mut unsplit = expiring(usize::MAX)?;
    unsplit.driver.process_all().map_err(text)?;
    unsplit.driver.commit().map_err(text)?;
    let expected = log(&unsplit);
    for step_rows in [1, 3, 7] {
        let mut world = expiring(step_rows)?;
        let mut steps = 0;
        loop {
            // One step of two is lost before its commit.
            world.driver.step().map_err(text)?;
            if steps % 2 == 0 {
                world.driver.discard();
            } else {
                world.driver.restart().map_err(text)?;
            }
            let more = world.driver.step().map_err(text)?;
            if !more {
                break;
            }
            world.driver.commit_once().map_err(text)?;
            if steps % 3 == 0 {
                world.driver.flush_stores().map_err(text)?;
                world.driver.restart().map_err(text)?;
            }
            steps += 1;
            assert!(steps < 100, "the sweep has no end in steps of {step_rows}");
        }
        world.driver.commit().map_err(text)?;
        assert!(log(&world) == expected, "steps of {step_rows}: another order or other records");
        assert_eq!(world.last(), unsplit.last(), "steps of {step_rows}");
        assert!(steps >= 40 / step_rows, "{steps} steps of {step_rows}");
    }
    Ok(())
}
