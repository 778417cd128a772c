//! A member forgets the minutes that the topic forgets, and no others: one that lived through the time
//! and one that was restored at its end answer alike.

use std::sync::Arc;

use processor::interval::Interval;
use processor::store_keys::{read_candle_key, segment_start};
use processor::topology::{Named, store_name, topology};
use proptest::prelude::*;
use schemas::avro::Record;
use schemas::topic::Topic;
use schemas::{Candle, Codec, Decimal, FeedMark, MarketEvent, PairKey, Status, Timestamp};
use streams::Driver;
use streams::store::Store;

/// 2024-01-01T00:00:00Z.
const EPOCH: i64 = 1_704_067_200_000;
const MINUTE: i64 = 60_000;
const DAY: i64 = 86_400_000;
/// The retention of the minutes' topic, in milliseconds.
const KEPT: i64 = 30 * DAY;
/// How long the events go on, at least.
const DAYS: i64 = 40;
const STORES: [Topic; 5] =
    [Topic::Latest, Topic::Ohlc1m, Topic::Ohlc1h, Topic::Ohlc1d, Topic::Feeds];

#[derive(Clone, Debug)]
enum Step {
    /// A trade of a pair so many milliseconds after the event before it.
    Trade(u8, i64),
    /// The clock of an exchange, which closes the windows of its idle pairs.
    Clock(u8, i64),
    Commit,
    Flush,
    /// The commit fails, and the task goes on from the one before.
    Discard,
    Crash,
}

fn later() -> impl Strategy<Value = i64> {
    prop_oneof![
        6 => 0..3 * MINUTE,
        4 => 0..5 * 60 * MINUTE,
        3 => 0..4 * DAY,
        1 => 28 * DAY..33 * DAY,
    ]
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        8 => (0..4u8, later()).prop_map(|(pair, ms)| Step::Trade(pair, ms)),
        2 => (0..2u8, later()).prop_map(|(exchange, ms)| Step::Clock(exchange, ms)),
        3 => Just(Step::Commit),
        2 => Just(Step::Flush),
        1 => Just(Step::Discard),
        1 => Just(Step::Crash),
    ]
}

/// Two pairs of each of two exchanges.
fn pair(number: u8) -> PairKey {
    PairKey::new(format!("P{number}"), "USD", exchange(number % 2))
}

fn exchange(number: u8) -> &'static str {
    if number == 0 { "a" } else { "b" }
}

type Outcome<T> = Result<T, streams::Error>;
/// Keys and values of a store.
type Contents = Vec<(Vec<u8>, Vec<u8>)>;

struct World {
    codec: Arc<Codec>,
    driver: Driver,
    now: i64,
}

impl World {
    fn new() -> Outcome<Self> {
        let codec = Arc::new(Codec::offline());
        let driver = Driver::new(topology(&codec, "", Named::Prices.into())?)?;
        Ok(Self { codec, driver, now: EPOCH })
    }

    fn pipe<R: Record>(&mut self, key: &PairKey, value: &R) -> Outcome<()> {
        let (key, value) = (self.codec.to_bytes(key), self.codec.to_bytes(value));
        self.driver.pipe(&Topic::Events.name(""), self.now + 1, &key, Some(&value)).map(drop)
    }

    fn trade(&mut self, number: u8, later: i64) -> Outcome<()> {
        self.now += later;
        let event = MarketEvent::trade(Decimal::ONE, Decimal::ONE, Timestamp(self.now));
        self.pipe(&pair(number), &event)
    }

    fn clock(&mut self, number: u8, later: i64) -> Outcome<()> {
        self.now += later;
        let now = Timestamp(self.now);
        let mark =
            FeedMark { healthy_from: Some(Timestamp(EPOCH)), ..FeedMark::healthy("1", now, now) };
        self.pipe(&PairKey::feed(exchange(number)), &mark)
    }

    fn take(&mut self, step: &Step) -> Outcome<()> {
        match step {
            Step::Trade(pair, ms) => self.trade(*pair, *ms),
            Step::Clock(exchange, ms) => self.clock(*exchange, *ms),
            Step::Commit => self.driver.commit(),
            Step::Flush => self.driver.flush_stores(),
            Step::Discard => {
                self.driver.discard();
                self.driver.process_all()
            }
            Step::Crash => self.driver.crash().map(drop),
        }
    }

    /// The steps, and then the rest of the days.
    fn live(steps: &[Step]) -> Outcome<Self> {
        let mut world = Self::new()?;
        world.trade(0, 0)?;
        for step in steps {
            world.take(step)?;
        }
        let rest = EPOCH + DAYS * DAY - world.now;
        world.trade(1, rest.max(MINUTE))?;
        world.driver.commit()?;
        world.driver.flush_stores()?;
        Ok(world)
    }

    /// The pairs of each store that readers see.
    fn answers(&self) -> Outcome<Vec<Contents>> {
        self.driver.stores().map(|(_, store)| store.range(&[], &[0xff; 8], usize::MAX)).collect()
    }

    /// The pairs of each store that are on disk, visible or not.
    fn held(&self) -> Outcome<Vec<Contents>> {
        self.driver.disks().map(|disk| disk.range(&[], &[0xff; 8], usize::MAX)).collect()
    }
}

fn open_times(minutes: &Contents) -> impl Iterator<Item = i64> {
    minutes.iter().filter_map(|(key, _)| Some(read_candle_key(key)?.2.0))
}

/// The last values of a topic of candles.
fn last(world: &World, topic: Topic) -> Result<Vec<Candle>, streams::Error> {
    let mut last = std::collections::BTreeMap::new();
    for record in world.driver.output(&topic.name("")) {
        last.insert(record.key.clone(), record.value.clone());
    }
    let values = last.into_values().flatten();
    values
        .map(|value| {
            let decoded = world.codec.decode::<Candle>(&value);
            decoded.map_err(|error| streams::Error::Corrupt(error.to_string()))
        })
        .collect()
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    /// A day is the merge of its closed minutes: none expires before it is merged.
    #[test]
    fn each_trade_is_in_a_day_in_an_open_minute_or_late(
        steps in prop::collection::vec(step(), 1..60),
    ) {
        let world = World::live(&steps)?;
        let trades = 2 + steps.iter().filter(|step| matches!(step, Step::Trade(..))).count();
        let count = |candles: Vec<Candle>| candles.iter().map(|candle| candle.trades).sum::<i64>();
        let open = last(&world, Topic::Ohlc1m)?;
        let open = open.into_iter().filter(|minute| minute.status == Status::Open).collect();
        let late = world.driver.output(&Topic::Late.name("")).len();
        let found = count(last(&world, Topic::Ohlc1d)?) + count(open) + i64::try_from(late)?;
        prop_assert_eq!(found, i64::try_from(trades)?);
    }

    #[test]
    fn a_member_of_40_days_and_one_that_is_restored_answer_alike(
        steps in prop::collection::vec(step(), 1..60),
    ) {
        let mut world = World::live(&steps)?;
        let (answers, held) = (world.answers()?, world.held()?);
        world.driver.lose_disk()?;
        world.driver.flush_stores()?;
        prop_assert_eq!(&world.answers()?, &answers);
        prop_assert_eq!(&world.held()?, &held);

        let minutes = &answers[STORES.iter().position(|topic| *topic == Topic::Ohlc1m).unwrap_or(0)];
        let last = open_times(minutes).max().unwrap_or(EPOCH);
        let first = segment_start(Interval::Minute, Timestamp(last)).0 - KEPT;
        prop_assert!(last > EPOCH + KEPT, "the first minute has expired");
        prop_assert!(open_times(minutes).all(|time| time >= first));
        // No hour has: its topic holds two years.
        let written = world.driver.output(&Topic::Ohlc1h.name("")).iter();
        let written: std::collections::BTreeSet<_> = written.map(|record| &record.key).collect();
        let hours = world.driver.store(store_name(Topic::Ohlc1h)).map(|store| {
            store.range(&[], &[0xff; 8], usize::MAX).map(|hours| hours.len())
        });
        prop_assert_eq!(hours.transpose()?, Some(written.len()));
    }

    #[test]
    fn what_is_forgotten_does_not_depend_on_commits(
        steps in prop::collection::vec(step(), 1..60),
    ) {
        let rarely: Vec<_> = steps
            .iter()
            .filter(|step| matches!(step, Step::Trade(..) | Step::Clock(..)))
            .cloned()
            .collect();
        let often: Vec<_> =
            rarely.iter().flat_map(|step| [step.clone(), Step::Commit, Step::Flush]).collect();
        let [mut often, mut rarely] = [World::live(&often)?, World::live(&rarely)?];
        prop_assert_eq!(often.answers()?, rarely.answers()?);
        for topic in STORES {
            let last = |world: &mut World| -> std::collections::BTreeMap<_, _> {
                let output = world.driver.new_output(&topic.name("")).into_iter();
                output.map(|record| (record.key, record.value)).collect()
            };
            prop_assert_eq!(last(&mut often), last(&mut rarely));
        }
    }
}
