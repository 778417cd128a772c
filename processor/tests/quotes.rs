//! Quotes and marks at random: the topology against a naive fold that knows the whole history.
//!
//! The fold keeps every quote with its time in force, and computes each window from all of them, in
//! whole numbers of 10⁻¹⁸. It shares no code with the topology but the types of the records.

mod quote_fold;

use std::collections::BTreeMap;
use std::sync::Arc;

use processor::operators::FeedState;
use processor::topology::{Named, store_name, topology_in_steps};
use proptest::prelude::*;
use quote_fold::Fold;
use schemas::avro::Record;
use schemas::topic::Topic;
use schemas::{
    Codec, Decimal, FeedMark, PairChange, PairKey, Part, Proof, Quote, Spread, SpreadKey,
    Timestamp, TopOfBook,
};
use streams::{Driver, SinkRecord};

/// 2024-01-01T23:50:00Z: hours and a day end ten minutes later.
const START: i64 = 1_704_153_000_000;
/// When all records were written: after whatever they tell of.
const WRITTEN: i64 = START + 24 * 3_600_000;
const STORES: [Topic; 5] =
    [Topic::TopOfBook, Topic::Spreads1m, Topic::Spreads1h, Topic::Spreads1d, Topic::QuoteFeeds];

/// A record of `quotes`, or something that happens to the task.
#[derive(Clone, Debug)]
enum Step {
    Quote {
        pair: u8,
        quote: Quote,
    },
    /// The book was last in sync at that time.
    Lost {
        pair: u8,
        at: i64,
    },
    Gap {
        pair: u8,
        from: i64,
        until: i64,
    },
    Clock {
        from: Option<i64>,
        until: i64,
    },
    Commit,
    Flush,
    Crash,
    LoseDisk,
}

fn pair(number: u8) -> PairKey {
    PairKey::new(if number == 0 { "BTC" } else { "ETH" }, "USD", "coinbase")
}

/// Most times grow; some go back, as a venue's clock may.
fn steps(longest: usize) -> impl Strategy<Value = Vec<Step>> {
    let price = -20i64..60;
    let decimal = |units: i64| Decimal::from_units(i128::from(units) * 37_000_000_000_000_003);
    let sides = (price, 0i64..9, 0i64..4, 0i64..4, 0u8..12);
    let quote =
        move |pair: u8,
              at: i64,
              (bid, above, bid_size, ask_size, empty): (i64, i64, i64, i64, u8)| {
            let (has_bid, has_ask) = (empty != 0 && empty != 2, empty > 1);
            Step::Quote {
                pair,
                quote: Quote {
                    bid: decimal(bid).filter(|_| has_bid),
                    bid_size: decimal(bid_size).filter(|_| has_bid),
                    ask: decimal(bid + above).filter(|_| has_ask),
                    ask_size: decimal(ask_size).filter(|_| has_ask),
                    sequence: Some(at),
                    proof: Proof::Sequence,
                    event_time: Timestamp(at),
                    received_at: Timestamp(WRITTEN),
                },
            }
        };
    let one = (
        0u8..24,
        0u8..2,
        sides,
        prop_oneof![
            4 => Just(0i64), 4 => 1i64..2_000, 4 => 1i64..30_000, 2 => 1i64..200_000, 1 => -20_000i64..0,
        ],
        0i64..90_000,
        0i64..90_000,
    );
    prop::collection::vec(one, 1..longest).prop_map(move |all| {
        let mut now = START;
        let step = |(kind, pair, sides, later, before, long)| {
            now += later;
            match kind {
                0..12 => quote(pair, now, sides),
                12..14 => Step::Lost { pair, at: now - before / 9 },
                14..17 => Step::Gap { pair, from: now - before, until: now - before + 1 + long },
                17..20 => Step::Clock { from: Some(now - before), until: now },
                20 => Step::Clock { from: None, until: now },
                21 => Step::Commit,
                22 => {
                    if before % 2 == 0 {
                        Step::Flush
                    } else {
                        Step::LoseDisk
                    }
                }
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
    fn new(step_windows: usize) -> Outcome<Self> {
        let codec = Arc::new(Codec::offline());
        let topology = topology_in_steps(&codec, "", "", Named::Quotes.into(), step_windows);
        let driver = Driver::new(topology.map_err(text)?).map_err(text)?;
        Ok(Self { codec, driver })
    }

    fn pipe<R: Record>(&mut self, key: &PairKey, value: &R) -> Outcome {
        let (key, value) = (self.codec.to_bytes(key), self.codec.to_bytes(value));
        self.driver
            .pipe(&Topic::Quotes.name(""), WRITTEN, &key, Some(&value))
            .map(drop)
            .map_err(text)
    }

    /// Takes a step; what happens to the task only where it is wanted.
    fn take(&mut self, step: &Step, disturbed: bool) -> Outcome {
        let driver = &mut self.driver;
        match step {
            Step::Quote { pair: number, quote } => self.pipe(&pair(*number), quote),
            Step::Lost { pair: number, at } => self.pipe(&pair(*number), &lost(*at)),
            Step::Gap { pair: number, from, until } => {
                self.pipe(&pair(*number), &gap(*from, *until))
            }
            Step::Clock { from, until } => {
                self.pipe(&PairKey::feed("coinbase"), &clock(*from, *until))
            }
            _ if !disturbed => Ok(()),
            Step::Commit => driver.commit().map_err(text),
            Step::Flush => driver.flush_stores().map_err(text),
            Step::Crash => driver.crash().map(drop).map_err(text),
            Step::LoseDisk => driver.lose_disk().map(drop).map_err(text),
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

    fn decoded<K: Record + Ord, V: Record>(&self, topic: Topic) -> Outcome<BTreeMap<K, V>> {
        let log = self.driver.output(&topic.name("")).iter();
        let one = |record: &SinkRecord| {
            let value = record.value.as_deref().ok_or("a tombstone")?;
            let key = self.codec.decode(&record.key).map_err(text)?;
            Ok((key, self.codec.decode(value).map_err(text)?))
        };
        log.map(one).collect()
    }
}

fn lost(at: i64) -> FeedMark {
    let at = Timestamp(at);
    FeedMark { part: Some(Part::Book), reason: "CHECKSUM".into(), ..FeedMark::healthy("1", at, at) }
}

fn gap(from: i64, until: i64) -> FeedMark {
    FeedMark { gap_from: Some(Timestamp(from)), gap_until: Some(Timestamp(until)), ..lost(until) }
}

fn clock(from: Option<i64>, until: i64) -> FeedMark {
    let until = Timestamp(until);
    FeedMark { healthy_from: from.map(Timestamp), ..FeedMark::healthy("1", until, until) }
}

/// The topology over the steps, committed, with or without disturbances.
fn run(steps: &[Step], step_windows: usize, disturbed: bool) -> Outcome<World> {
    let mut world = World::new(step_windows)?;
    steps.iter().try_for_each(|step| world.take(step, disturbed))?;
    world.driver.commit().map_err(text)?;
    Ok(world)
}

fn folded(steps: &[Step]) -> Fold {
    let mut fold = Fold::default();
    for step in steps {
        match step {
            Step::Quote { pair: number, quote } => fold.quote(&pair(*number), quote),
            Step::Lost { pair: number, at } => fold.lost(&pair(*number), *at, *at),
            Step::Gap { pair: number, from, until } => fold.gap(&pair(*number), *from, *until),
            Step::Clock { from, until } => fold.clock(*from, *until),
            Step::Commit | Step::Flush | Step::Crash | Step::LoseDisk => {}
        }
    }
    fold
}

/// Mostly within two hours, now and then beyond all sense.
fn any_time() -> impl Strategy<Value = Timestamp> {
    let edges = vec![i64::MIN, -1, 0, 1, i64::MAX - 1, i64::MAX, 253_370_764_799_999];
    prop_oneof![20 => (0..7_200_000i64).prop_map(|ms| START + ms), 1 => prop::sample::select(edges)]
        .prop_map(Timestamp)
}

fn any_decimal() -> impl Strategy<Value = Option<Decimal>> {
    let largest = 10i128.pow(38) - 1;
    prop_oneof![
        1 => Just(None),
        8 => (-5i128..30).prop_map(|whole| Decimal::from_units(whole * 10i128.pow(18))),
        2 => prop::sample::select(vec![largest, -largest, 0, 1]).prop_map(Decimal::from_units),
    ]
}

prop_compose! {
    fn any_quote()(
        [bid, bid_size, ask, ask_size] in [any_decimal(), any_decimal(), any_decimal(), any_decimal()],
        locked: bool, (event_time, received_at) in (any_time(), prop_oneof![20 => Just(Timestamp(WRITTEN)), 1 => any_time()]),
    ) -> Quote {
        let ask = if locked { bid } else { ask };
        Quote { bid, bid_size, ask, ask_size, sequence: None, proof: Proof::None, event_time, received_at }
    }
}

prop_compose! {
    fn any_mark()(
        (healthy_until, healthy_from) in (any_time(), prop::option::of(any_time())),
        gap in prop::option::of((any_time(), any_time())),
        part in prop::sample::select(vec![
            None, Some(Part::Connection), Some(Part::Trades), Some(Part::Book), Some(Part::Book),
        ]),
        feed in "[ab]", missing in prop::option::weighted(0.1, 0i64..3),
        change in prop_oneof![
            8 => Just(None), 1 => Just(Some(PairChange::Ended)), 1 => Just(Some(PairChange::Reset)),
        ],
    ) -> FeedMark {
        // A change says nothing else.
        let (part, gap) = if change.is_some() { (None, None) } else { (part, gap) };
        FeedMark {
            healthy_from, part, missing, change,
            gap_from: gap.map(|(a, b)| a.min(b)),
            gap_until: gap.map(|(a, b)| a.max(b)),
            ..FeedMark::healthy(feed, healthy_until, Timestamp(WRITTEN))
        }
    }
}

/// A record of `quotes` with any content, or something that happens to the task.
#[derive(Clone, Debug)]
enum Any {
    Quote(u8, Quote),
    OfPair(u8, FeedMark),
    OfFeed(FeedMark),
    Happens(Step),
}

fn any_step() -> impl Strategy<Value = Any> {
    let happens = vec![Step::Commit, Step::Commit, Step::Flush, Step::Crash, Step::LoseDisk];
    prop_oneof![
        12 => (0u8..2, any_quote()).prop_map(|(pair, quote)| Any::Quote(pair, quote)),
        5 => (0u8..2, any_mark()).prop_map(|(pair, mark)| Any::OfPair(pair, mark)),
        5 => any_mark().prop_map(Any::OfFeed),
        3 => prop::sample::select(happens).prop_map(Any::Happens),
    ]
}

/// Takes everything, and restores what it has written: the same as what lived.
fn goes_on(steps: &[Any], step_windows: usize) -> Outcome {
    let mut world = World::new(step_windows)?;
    for step in steps {
        match step {
            Any::Quote(number, quote) => world.pipe(&pair(*number), quote)?,
            Any::OfPair(number, mark) => world.pipe(&pair(*number), mark)?,
            Any::OfFeed(mark) => world.pipe(&PairKey::feed("coinbase"), mark)?,
            Any::Happens(step) => world.take(step, true)?,
        }
    }
    world.driver.commit().map_err(text)?;
    let before = world.contents()?;
    world.driver.lose_disk().map_err(text)?;
    if world.contents()? == before { Ok(()) } else { Err("restored is not live".into()) }
}

/// Reads a record and writes it again.
fn again<R: Record>(codec: &Codec, bytes: &[u8]) -> Outcome<Vec<u8>> {
    Ok(codec.to_bytes(&codec.decode::<R>(bytes).map_err(text)?))
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(192))]

    #[test]
    fn a_naive_fold_gives_the_same_tops_and_spreads(steps in steps(60)) {
        let world = run(&steps, 1024, false).map_err(TestCaseError::fail)?;
        let fold = folded(&steps);
        let tops = world.decoded::<PairKey, TopOfBook>(Topic::TopOfBook).map_err(TestCaseError::fail)?;
        prop_assert_eq!(fold.tops(), tops);
        for (topic, length) in
            [(Topic::Spreads1m, 60_000), (Topic::Spreads1h, 3_600_000), (Topic::Spreads1d, 86_400_000)]
        {
            let found = world.decoded::<SpreadKey, Spread>(topic).map_err(TestCaseError::fail)?;
            let expected = fold.windows(length);
            prop_assert!(expected.keys().eq(found.keys()), "{topic:?}: {:?}", found.keys());
            for (key, spread) in &found {
                prop_assert_eq!(spread, &expected[key], "{:?} {}", topic, key);
            }
        }
    }

    #[test]
    fn commits_crashes_and_small_steps_change_no_byte(steps in steps(60), step_windows in 1usize..20) {
        let lived = run(&steps, 1024, false).map_err(TestCaseError::fail)?;
        let mut disturbed = run(&steps, step_windows, true).map_err(TestCaseError::fail)?;
        prop_assert_eq!(disturbed.last(), lived.last());
        let before = disturbed.contents().map_err(TestCaseError::fail)?;
        prop_assert_eq!(&before, &lived.contents().map_err(TestCaseError::fail)?);
        disturbed.driver.lose_disk().map_err(|error| TestCaseError::fail(error.to_string()))?;
        prop_assert_eq!(&disturbed.contents().map_err(TestCaseError::fail)?, &before, "restored is not live");
    }

    #[test]
    fn whatever_comes_the_task_goes_on_and_reads_what_it_wrote(
        steps in prop::collection::vec(any_step(), 1..80), step_windows in 1usize..40,
    ) {
        prop_assert_eq!(goes_on(&steps, step_windows), Ok(()));
    }

    #[test]
    fn all_that_is_written_can_be_read(steps in steps(60)) {
        let world = run(&steps, 1024, true).map_err(TestCaseError::fail)?;
        for topic in STORES {
            for record in world.driver.output(&topic.name("")) {
                let value = record.value.as_deref().unwrap_or_default();
                let (key, value_again) = match topic {
                    Topic::TopOfBook => {
                        (again::<PairKey>(&world.codec, &record.key), again::<TopOfBook>(&world.codec, value))
                    }
                    Topic::QuoteFeeds => {
                        let mark = world.codec.decode(value).map_err(|error| TestCaseError::fail(error.to_string()))?;
                        let feed = FeedState::of_mark(mark).map_err(TestCaseError::fail)?;
                        (again::<PairKey>(&world.codec, &record.key), Ok(world.codec.to_bytes(&feed.to_mark())))
                    }
                    _ => (again::<SpreadKey>(&world.codec, &record.key), again::<Spread>(&world.codec, value)),
                };
                prop_assert_eq!(key.as_ref(), Ok(&record.key));
                prop_assert_eq!(value_again, Ok(value.to_vec()));
            }
        }
    }
}
