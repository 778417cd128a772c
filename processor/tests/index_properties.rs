//! Prices, marks and crashes at random: at rest, `index` is the rule over `latest`.

use std::collections::BTreeMap;
use std::sync::Arc;

use processor::operators::{STALE_AFTER_MS, consolidate};
use processor::topology::{Topologies, store_name, topology};
use proptest::prelude::*;
use schemas::avro::Record;
use schemas::topic::Topic;
use schemas::{
    Codec, Decimal, FeedMark, Index, IndexKey, LatestPrice, MarketEvent, PairChange, PairKey,
    Timestamp,
};
use streams::Driver;

const START: i64 = 1_704_436_200_000;
const EXCHANGES: [&str; 4] = ["binance", "coinbase", "kraken", "deribit"];
const PAIRS: [(&str, &str); 3] = [("BTC", "USD"), ("BTC", "EUR"), ("ETH", "USD")];
/// The period of the punctuations of legs and of indexes, each.
const SECOND: i64 = 1_000;

/// A record of `events`, or something that happens to the tasks.
#[derive(Clone, Debug)]
enum Step {
    /// A price, so many milliseconds before it is written.
    Price {
        exchange: usize,
        pair: usize,
        before: i64,
        written: i64,
        price: i64,
    },
    Mark {
        exchange: usize,
        written: i64,
    },
    /// A pair is set back to so many milliseconds before it is written.
    Reset {
        exchange: usize,
        pair: usize,
        before: i64,
        written: i64,
    },
    Commit,
    /// The first of the two commits alone: legs are written, and not read.
    CommitOnce,
    Crash,
    LoseDisk,
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let later = prop_oneof![6 => 0i64..400, 3 => 0i64..5_000, 1 => 0i64..100_000];
    // An exchange's clock may be seconds ahead.
    let before = prop_oneof![8 => Just(0i64), 2 => 0i64..70_000, 2 => -4_000i64..0];
    let one = (0u8..22, 0..EXCHANGES.len(), 0..PAIRS.len(), later, before, 900i64..1_100);
    prop::collection::vec(one, 1..120).prop_map(|all| {
        let mut written = START;
        let step = |(kind, exchange, pair, later, before, price)| {
            written += later;
            match kind {
                0..12 => Step::Price { exchange, pair, before, written, price },
                12..15 => Step::Mark { exchange, written },
                15..17 => Step::Commit,
                17 => Step::CommitOnce,
                18 => Step::Crash,
                19 => Step::LoseDisk,
                _ => Step::Reset { exchange, pair, before: before.abs(), written },
            }
        };
        all.into_iter().map(step).collect()
    })
}

type Outcome<T = ()> = Result<T, String>;

fn text(error: impl std::fmt::Display) -> String {
    error.to_string()
}

struct World {
    codec: Arc<Codec>,
    driver: Driver,
    written: i64,
}

impl World {
    fn new() -> Outcome<Self> {
        let codec = Arc::new(Codec::offline());
        let chosen: Topologies = "prices,index".parse()?;
        let topology = topology(&codec, "", chosen).map_err(text)?;
        Ok(Self { codec, driver: Driver::new(topology).map_err(text)?, written: START })
    }

    fn pipe<R: Record>(&mut self, key: &PairKey, value: &R, written: i64) -> Outcome {
        let (key, value) = (self.codec.to_bytes(key), self.codec.to_bytes(value));
        self.written = written;
        self.driver.pipe("events", written, &key, Some(&value)).map(drop).map_err(text)
    }

    fn mark(&mut self, exchange: usize, written: i64) -> Outcome {
        let mark = FeedMark::healthy("1", Timestamp(written), Timestamp(written));
        self.pipe(&PairKey::feed(EXCHANGES[exchange]), &mark, written)
    }

    fn take(&mut self, step: &Step, disturbed: bool) -> Outcome {
        match *step {
            Step::Price { exchange, pair, before, written, price } => {
                let (base, quote) = PAIRS[pair];
                let key = PairKey::new(base, quote, EXCHANGES[exchange]);
                let price = Decimal::from_units(i128::from(price) * 1_000_000_000_000_037);
                let price = price.ok_or("a price")?;
                let event = MarketEvent::sample(price, Timestamp(written - before));
                self.pipe(&key, &event, written)
            }
            Step::Mark { exchange, written } => self.mark(exchange, written),
            Step::Reset { exchange, pair, before, written } => {
                let (base, quote) = PAIRS[pair];
                let key = PairKey::new(base, quote, EXCHANGES[exchange]);
                let mark = FeedMark::healthy("1", Timestamp(written - before), Timestamp(written));
                self.pipe(&key, &FeedMark { change: Some(PairChange::Reset), ..mark }, written)
            }
            _ if !disturbed => Ok(()),
            Step::Commit => self.driver.commit().map_err(text),
            Step::CommitOnce => self.driver.commit_once().map(drop).map_err(text),
            Step::Crash => self.driver.crash().map(drop).map_err(text),
            Step::LoseDisk => self.driver.lose_disk().map(drop).map_err(text),
        }
    }

    /// Time goes on by two seconds without a price, so that everything that waits has come.
    fn rest(&mut self) -> Outcome {
        self.driver.process_all().map_err(text)?;
        self.driver.commit().map_err(text)?;
        for _ in 0..2 {
            self.mark(0, self.written + SECOND)?;
        }
        self.driver.commit().map_err(text)
    }

    fn rows<K: Record + Ord, V: Record>(&self, topic: Topic) -> Outcome<BTreeMap<K, V>> {
        let store = self.driver.store(store_name(topic)).ok_or("no such store")?;
        let rows = store.range(&[], &[0xff; 8], usize::MAX).map_err(text)?;
        rows.into_iter()
            .map(|(key, value)| {
                let mut topic_key = Vec::new();
                self.codec.header(K::KIND, &mut topic_key);
                topic_key.extend(key);
                let key = self.codec.decode(&topic_key).map_err(text)?;
                Ok((key, self.codec.decode(&value).map_err(text)?))
            })
            .collect()
    }
}

fn run(steps: &[Step], disturbed: bool) -> Outcome<World> {
    let mut world = World::new()?;
    steps.iter().try_for_each(|step| world.take(step, disturbed))?;
    world.rest()?;
    Ok(world)
}

/// The rule over `latest` for one pair, as of the time of its row.
fn check(row: &Index, members: &[(String, Decimal, Timestamp)]) -> Result<(), TestCaseError> {
    let of_row = row.members.iter().map(|one| (one.exchange.clone(), one.price, one.event_time));
    prop_assert_eq!(&of_row.collect::<Vec<_>>(), members);
    let quoted: Vec<_> = members.iter().map(|(_, price, time)| (*price, *time)).collect();
    let expected = consolidate(row.as_of, &quoted);
    prop_assert_eq!((row.price, row.spread_across_venues), (expected.price, expected.spread));
    let used: Vec<_> = row.members.iter().map(|one| one.unused_because.clone()).collect();
    let reasons = expected.unused.iter().map(|one| one.map(|one| one.as_str().to_owned()));
    prop_assert_eq!(used, reasons.collect::<Vec<_>>());
    prop_assert_eq!(
        row.used,
        i64::try_from(expected.unused.iter().flatten().count())
            .map(|unused| { i64::try_from(members.len()).unwrap_or_default() - unused })
            .unwrap_or_default()
    );
    Ok(())
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(256))]

    #[test]
    fn at_rest_the_index_is_the_rule_over_the_latest_prices(steps in steps(), disturbed: bool) {
        let world = run(&steps, disturbed).map_err(TestCaseError::fail)?;
        let latest: BTreeMap<PairKey, LatestPrice> = world.rows(Topic::Latest).map_err(TestCaseError::fail)?;
        let rows: BTreeMap<IndexKey, Index> = world.rows(Topic::Index).map_err(TestCaseError::fail)?;
        let mut members: BTreeMap<IndexKey, Vec<(String, Decimal, Timestamp)>> = BTreeMap::new();
        for (pair, latest) in &latest {
            let of = members.entry(IndexKey::new(&pair.base, &pair.quote)).or_default();
            of.push((pair.exchange.clone(), latest.price, latest.event_time));
        }
        prop_assert_eq!(rows.keys().collect::<Vec<_>>(), members.keys().collect::<Vec<_>>());
        let now = rows.values().map(|row| row.as_of).max();
        for (key, row) in &rows {
            check(row, &members[key])?;
            // The time of the task has come with the legs of other pairs: none that it made stale counts.
            let used = row.members.iter().filter(|member| member.used);
            let oldest = used.map(|member| member.event_time.0).min();
            let bound = now.map_or(0, |now| now.0 - STALE_AFTER_MS - SECOND);
            prop_assert!(oldest.is_none_or(|oldest| oldest >= bound), "{oldest:?} at {now:?}");
        }
    }

    #[test]
    fn a_pair_sends_one_leg_a_second_at_most(steps in steps()) {
        let mut world = World::new().map_err(TestCaseError::fail)?;
        let mut seconds = 1;
        let mut before = START;
        for step in &steps {
            world.take(step, false).map_err(TestCaseError::fail)?;
            seconds += usize::from(world.written / SECOND != before / SECOND);
            before = world.written;
        }
        world.driver.commit().map_err(|error| TestCaseError::fail(error.to_string()))?;
        let legs = world.driver.consumed().last().copied().flatten().map_or(0, |read| read.next.0);
        let legs = usize::try_from(legs).unwrap_or_default();
        prop_assert!(legs <= seconds * EXCHANGES.len() * PAIRS.len(), "{legs} in {seconds} s");
        let changes = |step: &&Step| matches!(step, Step::Price { .. } | Step::Reset { .. });
        let changes = steps.iter().filter(changes).count();
        prop_assert!(legs <= changes, "{legs} legs of {changes} prices and resets");
    }
}

#[test]
fn what_a_task_writes_is_the_same_after_a_crash_between_the_commits() -> Outcome {
    let mut world = World::new()?;
    for (number, exchange) in (0..).zip(0..3) {
        let at = START + number * 400;
        world.take(
            &Step::Price { exchange, pair: 0, before: 0, written: at, price: 1_000 + number },
            true,
        )?;
    }
    world.mark(0, START + 2 * SECOND)?;
    world.driver.commit_once().map_err(text)?;
    world.driver.crash().map_err(text)?;
    world.rest()?;
    let rows: BTreeMap<IndexKey, Index> = world.rows(Topic::Index)?;
    let row = &rows[&IndexKey::new("BTC", "USD")];
    assert_eq!((row.used, row.members.len()), (3, 3), "{row:?}");
    Ok(())
}
