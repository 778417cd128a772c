//! Any records: a task continues, and readers can decode all that it writes.
//!
//! Any event or mark, with any value in any field, in any sequence, through the real topology, with
//! commits, crashes and lost disks in between. A restore reads every record of every store's topic,
//! so a value that its own reader refuses ends it.

use std::sync::Arc;

use processor::operators::{FeedState, Window};
use processor::topology::{Named, store_name, topology_in_steps};
use proptest::prelude::*;
use schemas::avro::Record;
use schemas::topic::Topic;
use schemas::{
    Basis, Candle, CandleKey, Codec, Decimal, FeedMark, Kind, LatestPrice, MarketEvent, PairChange,
    PairKey, Part, TakerSide, Timestamp, VolumeSource,
};
use streams::{Driver, SinkRecord};

/// 2024-01-01T00:00:00Z.
const EPOCH: i64 = 1_704_067_200_000;
const HOUR: i64 = 3_600_000;
/// When all records were written: after whatever they tell of, as far as it is near.
const WRITTEN: i64 = EPOCH + 72 * HOUR;
const STORES: [Topic; 5] =
    [Topic::Latest, Topic::Ohlc1m, Topic::Ohlc1h, Topic::Ohlc1d, Topic::Feeds];

/// A record of `events`, or something that happens to the task.
#[derive(Clone, Debug)]
enum Step {
    Record(Vec<u8>, Option<Vec<u8>>),
    Commit,
    Flush,
    Crash,
    LoseDisk,
}

fn bytes<R: Record>(record: &R) -> Vec<u8> {
    Codec::offline().to_bytes(record)
}

fn edge() -> impl Strategy<Value = i64> {
    let edges = vec![i64::MIN, i64::MIN + 1, -1, 0, 1, i64::MAX - 1, i64::MAX];
    prop_oneof![prop::sample::select(edges), any::<i64>()]
}

/// Mostly within two days, in which everything meets everything.
fn time() -> impl Strategy<Value = Timestamp> {
    let near = prop_oneof![
        4 => (0..4 * 60_000i64).boxed(),
        3 => (0..3 * HOUR).boxed(),
        2 => (0..49 * HOUR).boxed(),
    ];
    prop_oneof![30 => near.prop_map(|ms| EPOCH + ms), 1 => edge()].prop_map(Timestamp)
}

fn received() -> impl Strategy<Value = Timestamp> {
    prop_oneof![30 => Just(WRITTEN), 1 => edge()].prop_map(Timestamp)
}

fn number() -> impl Strategy<Value = i64> {
    prop_oneof![8 => -2i64..40, 1 => edge()]
}

fn decimal() -> impl Strategy<Value = Decimal> {
    let largest = 10i128.pow(38) - 1;
    let units = prop_oneof![
        6 => (1i128..100).prop_map(|whole| whole * 10i128.pow(18)),
        2 => prop::sample::select(vec![largest, largest / 2, -largest, 0, 1, 10i128.pow(28)]),
        1 => -largest..=largest,
    ];
    units.prop_map(|units| Decimal::from_units(units).unwrap_or(Decimal::ONE))
}

fn name() -> impl Strategy<Value = String> {
    prop_oneof![30 => "[ab]", 1 => ".{0,140}", 1 => Just("n".repeat(1 << 20))]
}

fn pair() -> impl Strategy<Value = PairKey> {
    let part = |usual: Vec<&'static str>| prop_oneof![40 => prop::sample::select(usual).prop_map(str::to_owned), 1 => name(), 1 => Just(String::new())];
    (part(vec!["BTC", "ETH"]), part(vec!["USD"]), part(vec!["a", "a", "b"]))
        .prop_map(|(base, quote, exchange)| PairKey::new(base, quote, exchange))
}

fn optional<T: Clone + std::fmt::Debug>(
    strategy: impl Strategy<Value = T>,
) -> impl Strategy<Value = Option<T>> {
    prop::option::of(strategy)
}

prop_compose! {
    fn event()(
        (price, size, base_volume_24h, quote_volume_24h) in
            (decimal(), prop::option::weighted(0.95, decimal()), optional(decimal()), optional(decimal())),
        trade_id in optional(number()), sequence in optional(number()),
        taker_side in prop::sample::select(vec![None, Some(TakerSide::Buy), Some(TakerSide::Sell)]),
        (event_time, received_at) in (time(), received()),
        basis in prop::sample::select(vec![Basis::Trade, Basis::Trade, Basis::Ticker]),
    ) -> MarketEvent {
        MarketEvent {
            price, size, trade_id, sequence, taker_side, base_volume_24h, quote_volume_24h,
            volume_source: VolumeSource::Exchange, event_time, received_at, basis,
            ..MarketEvent::sample(price, event_time)
        }
    }
}

prop_compose! {
    fn mark()(
        feed in name(), reason in name(),
        (healthy_until, healthy_from, received_at) in (time(), optional(time()), received()),
        gap in prop::option::weighted(0.6, (time(), time())),
        torn in prop::bool::weighted(0.03),
        (first_missing_id, missing) in (optional(number()), optional(number())),
        state in prop_oneof![30 => Just(Vec::new()), 1 => any::<Vec<u8>>()],
        part in prop::sample::select(vec![None, None, Some(Part::Connection), Some(Part::Trades), Some(Part::Tickers)]),
        change in prop_oneof![12 => Just(None), 1 => Just(Some(PairChange::Ended)), 1 => Just(Some(PairChange::Reset))],
    ) -> FeedMark {
        let gap = gap.map(|(a, b)| if torn { (a, b) } else { (a.min(b), a.max(b)) });
        FeedMark {
            feed, healthy_until, reason, received_at, first_missing_id, missing, state, part, change,
            healthy_from: healthy_from.map(|from| if torn { from } else { from.min(healthy_until) }),
            gap_from: gap.map(|(from, _)| from),
            gap_until: gap.map(|(_, until)| until).filter(|_| !torn),
        }
    }
}

fn step() -> impl Strategy<Value = Step> {
    let raw = (any::<Vec<u8>>(), any::<Option<Vec<u8>>>());
    let of_feed = (name(), mark()).prop_map(|(exchange, mark)| (PairKey::feed(exchange), mark));
    prop_oneof![
        20 => (pair(), event()).prop_map(|(key, event)| Step::Record(bytes(&key), Some(bytes(&event)))),
        8 => of_feed.prop_map(|(key, mark)| Step::Record(bytes(&key), Some(bytes(&mark)))),
        8 => (pair(), mark()).prop_map(|(key, mark)| Step::Record(bytes(&key), Some(bytes(&mark)))),
        1 => raw.prop_map(|(key, value)| Step::Record(key, value)),
        4 => Just(Step::Commit),
        1 => Just(Step::Flush),
        1 => Just(Step::Crash),
        1 => Just(Step::LoseDisk),
    ]
}

struct World {
    codec: Arc<Codec>,
    driver: Driver,
}

type Outcome = Result<(), String>;
/// Keys and values of a store.
type Contents = Vec<(Vec<u8>, Vec<u8>)>;

fn text(error: impl std::fmt::Display) -> String {
    error.to_string()
}

impl World {
    fn new(step_windows: usize) -> Result<Self, String> {
        let codec = Arc::new(Codec::offline());
        let topology =
            topology_in_steps(&codec, "", "", Named::Prices.into(), step_windows).map_err(text)?;
        let driver = Driver::new(topology).map_err(text)?;
        Ok(Self { codec, driver })
    }

    fn take(&mut self, step: &Step) -> Outcome {
        match step {
            Step::Record(key, value) => {
                let events = Topic::Events.name("");
                self.driver.pipe(&events, WRITTEN, key, value.as_deref()).map(drop)
            }
            Step::Commit => self.driver.commit(),
            Step::Flush => self.driver.flush_stores(),
            Step::Crash => self.driver.crash().map(drop),
            Step::LoseDisk => self.driver.lose_disk().map(drop),
        }
        .map_err(text)
    }

    /// All that a store holds.
    fn contents(&self) -> Result<Vec<Contents>, String> {
        let store = |topic: Topic| {
            let store = self.driver.store(store_name(topic)).ok_or("no such store")?;
            store.range(&[], &[0xff; 8], usize::MAX).map_err(text)
        };
        STORES.into_iter().map(store).collect()
    }

    /// Reads all that was written, and writes it again: the same bytes.
    fn read_back(&mut self) -> Outcome {
        self.driver.commit().map_err(text)?;
        for topic in STORES {
            for output in self.driver.output(&topic.name("")) {
                self.read(topic, output).map_err(|error| format!("{topic:?}: {error}"))?;
            }
        }
        let before = self.contents()?;
        self.driver.lose_disk().map_err(text)?;
        if self.contents()? == before { Ok(()) } else { Err("restored is not live".into()) }
    }

    fn read(&self, topic: Topic, output: &SinkRecord) -> Outcome {
        let codec = &self.codec;
        // A pair that was set back, or has ended.
        let Some(value) = output.value.as_deref() else { return Ok(()) };
        let again = match topic {
            Topic::Latest => codec.to_bytes(&codec.decode::<LatestPrice>(value).map_err(text)?),
            Topic::Feeds => {
                let feed = FeedState::of_mark(codec.decode(value).map_err(text)?)?;
                let again = codec.to_bytes(&feed.to_mark());
                let same = FeedState::of_mark(codec.decode(&again).map_err(text)?)?;
                if same != feed {
                    return Err("a feed is another after it was written".into());
                }
                again
            }
            _ => {
                let window = Window::read(codec.decode::<Candle>(value).map_err(text)?)?;
                let mut again = Vec::new();
                codec.header(Kind::Candle, &mut again);
                window.write(&mut again);
                again
            }
        };
        let key = match topic {
            Topic::Latest | Topic::Feeds => {
                codec.to_bytes(&codec.decode::<PairKey>(&output.key).map_err(text)?)
            }
            _ => codec.to_bytes(&codec.decode::<CandleKey>(&output.key).map_err(text)?),
        };
        let same = again == value && key == output.key;
        // A record that a default broker refuses would end the process.
        let fits = value.len() < 1_000_000;
        if same && fits { Ok(()) } else { Err(format!("{:?}", output.key)) }
    }
}

fn run(step_windows: usize, steps: &[Step]) -> Outcome {
    let mut world = World::new(step_windows)?;
    steps.iter().try_for_each(|step| world.take(step))?;
    world.read_back()
}

proptest! {
    #[test]
    fn whatever_comes_the_task_goes_on_and_reads_what_it_wrote(
        steps in prop::collection::vec(step(), 1..80), step_windows in 1usize..40,
    ) {
        prop_assert_eq!(run(step_windows, &steps), Ok(()));
    }
}

// Regressions.

fn trade(key: Vec<u8>, id: i64, ms: i64) -> Step {
    let event = MarketEvent::trade(Decimal::ONE, Decimal::ONE, Timestamp(EPOCH + ms));
    Step::Record(key, Some(bytes(&MarketEvent { trade_id: Some(id), ..event })))
}

fn btc() -> Vec<u8> {
    bytes(&PairKey::new("BTC", "USD", "a"))
}

fn clock(ms: i64) -> FeedMark {
    FeedMark::healthy("1", Timestamp(EPOCH + ms), Timestamp(EPOCH + ms))
}

fn of_feed(mark: &FeedMark) -> Step {
    Step::Record(bytes(&PairKey::feed("a")), Some(bytes(mark)))
}

fn of_pair(mark: &FeedMark) -> Step {
    Step::Record(btc(), Some(bytes(mark)))
}

#[test]
fn an_id_that_came_in_two_minutes_leaves_no_negative_count() {
    let gap = FeedMark {
        gap_from: Some(Timestamp(EPOCH)),
        gap_until: Some(Timestamp(EPOCH + 120_000)),
        first_missing_id: Some(5),
        missing: Some(1),
        ..clock(120_000)
    };
    let mut steps =
        [(5, 10_000), (5, 70_000), (6, 130_000)].map(|(id, ms)| trade(btc(), id, ms)).to_vec();
    steps.push(of_pair(&gap));
    assert_eq!(run(1, &steps), Ok(()));
}

#[test]
fn a_stretch_from_before_all_time_is_refused() {
    let mark = FeedMark { healthy_from: Some(Timestamp(i64::MIN)), ..clock(0) };
    let mut world = World::new(1).unwrap();
    world.take(&of_feed(&mark)).unwrap();
    assert_eq!(world.read_back(), Ok(()));
    assert_eq!(world.driver.dead_letters()[0].1.reason, "bad_time");
}

#[test]
fn names_are_bounded_and_a_reason_is_cut() {
    let long = "é".repeat(1 << 19);
    let mut world = World::new(1).unwrap();
    world.take(&of_feed(&FeedMark { feed: long.clone(), ..clock(0) })).unwrap();
    world.take(&of_feed(&FeedMark { reason: long, ..clock(0) })).unwrap();
    assert_eq!(world.read_back(), Ok(()));
    let reasons: Vec<_> =
        world.driver.dead_letters().iter().map(|(_, letter)| letter.reason).collect();
    assert_eq!(reasons, ["bad_mark"]);
    let feeds = world.driver.output(&Topic::Feeds.name(""));
    assert!(
        !feeds.is_empty()
            && feeds
                .iter()
                .all(|feed| feed.key.len() + feed.value.as_ref().map_or(0, Vec::len) < 700)
    );
}

#[test]
fn the_end_of_time_is_refused() {
    let time = Timestamp(i64::MAX);
    let event = MarketEvent::trade(Decimal::ONE, Decimal::ONE, time);
    let mut world = World::new(1).unwrap();
    world.take(&Step::Record(btc(), Some(bytes(&event)))).unwrap();
    let late = MarketEvent { event_time: Timestamp(EPOCH), ..event };
    world.take(&Step::Record(btc(), Some(bytes(&late)))).unwrap();
    world.take(&of_feed(&FeedMark::healthy("1", time, time))).unwrap();
    assert_eq!(world.read_back(), Ok(()));
    let reasons: Vec<_> =
        world.driver.dead_letters().iter().map(|(_, letter)| letter.reason).collect();
    assert_eq!(reasons, ["bad_time"; 3]);
}

#[test]
fn a_key_has_one_form() {
    // The length of "BTC" in two bytes where one would do.
    let key = btc();
    let mut long = key[..5].to_vec();
    long.extend_from_slice(&[0x86, 0]);
    long.extend_from_slice(&key[6..]);
    let mut world = World::new(1).unwrap();
    world.take(&trade(key, 1, 0)).unwrap();
    world.take(&trade(long, 2, 1)).unwrap();
    assert_eq!(world.read_back(), Ok(()));
    assert_eq!(world.contents().unwrap()[1].len(), 1, "one pair, one minute");
}
