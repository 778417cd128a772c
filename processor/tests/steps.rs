//! A mark over many windows is processed in steps, which change no candle.
//!
//! Pairs of one exchange trade for an hour; then a gap is marked over all of it, and the exchange's
//! clock closes what is left. In one step without an end, or in many with a commit and a crash after
//! each, the last value of each key is the same.

use std::collections::BTreeMap;
use std::sync::Arc;

use processor::operators::STEP_WINDOWS;
use processor::topology::{Named, topology_in_steps};
use schemas::avro::Record;
use schemas::topic::Topic;
use schemas::{Codec, Decimal, FeedMark, MarketEvent, PairKey, Timestamp};
use streams::Driver;

/// 2024-01-01T00:00:00Z.
const EPOCH: i64 = 1_704_067_200_000;
const MINUTE: i64 = 60_000;
/// Each has as many minutes, an hour and a day, of one basis.
const PAIRS: i64 = 60;
const MINUTES: i64 = 30;
/// When all records were written: after whatever they tell of.
const WRITTEN: i64 = EPOCH + 2 * MINUTES * MINUTE;
/// Windows of a pair that a step may look at beyond its bound: those there may be, of either basis.
const OF_A_PAIR: usize = 2 * (30 + 2 + 1 + 1) + 1;
/// No mark here takes so many steps: one that begins anew each time would never end.
const MOST_STEPS: usize = 300;
/// Windows that the trade behind the mark changes.
const OF_A_TRADE: usize = 3;
const TIERS: [Topic; 3] = [Topic::Ohlc1m, Topic::Ohlc1h, Topic::Ohlc1d];

type Outcome<T> = Result<T, streams::Error>;
type Candles = BTreeMap<Vec<u8>, Option<Vec<u8>>>;

struct World {
    codec: Codec,
    driver: Driver,
}

impl World {
    fn new(step_windows: usize) -> Outcome<Self> {
        let topology = topology_in_steps(
            &Arc::new(Codec::offline()),
            "",
            "",
            Named::Prices.into(),
            step_windows,
        )?;
        let mut world = Self { codec: Codec::offline(), driver: Driver::new(topology)? };
        for minute in 0..MINUTES {
            for pair in 0..PAIRS {
                let time = Timestamp(EPOCH + minute * MINUTE + pair);
                let event = MarketEvent::trade(Decimal::ONE, Decimal::ONE, time);
                world.add(&PairKey::new(format!("P{pair:02}"), "USD", "a"), &event)?;
            }
        }
        world.driver.process_all()?;
        world.driver.commit()?;
        Ok(world)
    }

    fn add<R: Record>(&mut self, key: &PairKey, value: &R) -> Outcome<()> {
        let (key, value) = (self.codec.to_bytes(key), self.codec.to_bytes(value));
        self.driver.add(&Topic::Events.name(""), WRITTEN, &key, Some(&value)).map(drop)
    }

    /// The gap, with a clock that closes the last minute of all pairs, and a trade behind it.
    fn add_gap(&mut self) -> Outcome<()> {
        let end = Timestamp(EPOCH + (MINUTES + 5) * MINUTE);
        let mark = FeedMark {
            gap_from: Some(Timestamp(EPOCH + 10)),
            gap_until: Some(end),
            healthy_from: Some(Timestamp(EPOCH)),
            ..FeedMark::healthy("1", end, end)
        };
        self.add(&PairKey::feed("a"), &mark)?;
        let late =
            MarketEvent::trade(Decimal::ONE, Decimal::ONE, Timestamp(EPOCH + 5 * MINUTE + 7));
        self.add(&PairKey::new("P59", "USD", "a"), &late)
    }

    /// The last value of each candle, and how many were written since the last call.
    fn candles(&mut self) -> (Candles, usize) {
        let written = TIERS.map(|tier| self.driver.new_output(&tier.name("")).len());
        let mut last = Candles::new();
        for (tier, topic) in (0u8..).zip(TIERS) {
            for output in self.driver.output(&topic.name("")) {
                last.insert([&[tier][..], &output.key].concat(), output.value.clone());
            }
        }
        (last, written.iter().sum())
    }
}

fn unsplit() -> Outcome<Candles> {
    let mut world = World::new(usize::MAX)?;
    world.add_gap()?;
    world.driver.process_all()?;
    world.driver.commit()?;
    Ok(world.candles().0)
}

#[test]
fn steps_with_a_commit_and_a_crash_after_each_give_the_same_candles() -> Outcome<()> {
    let expected = unsplit()?;
    for step_windows in [1, 100, STEP_WINDOWS] {
        let mut world = World::new(step_windows)?;
        world.candles();
        world.add_gap()?;
        let (mut steps, mut most) = (0, 0);
        while world.driver.step()? {
            steps += 1;
            assert!(steps < MOST_STEPS, "a mark has no end in steps of {step_windows}");
            world.driver.commit()?;
            most = world.candles().1.max(most);
            world.driver.restart()?;
            if steps % 3 == 0 {
                world.driver.flush_stores()?;
            }
        }
        world.driver.commit()?;
        assert_eq!(world.candles().0, expected, "steps of {step_windows}");
        assert!(steps > 2, "the mark was done in {steps} steps of {step_windows}");
        assert!(
            most <= step_windows + OF_A_PAIR + OF_A_TRADE,
            "{most} in a step of {step_windows}"
        );
    }
    Ok(())
}

#[test]
fn a_step_that_was_not_committed_is_done_again() -> Outcome<()> {
    let expected = unsplit()?;
    let mut world = World::new(50)?;
    world.add_gap()?;
    for round in 0.. {
        assert!(round < 3 * MOST_STEPS, "a mark has no end");
        let more = world.driver.step()?;
        match round % 3 {
            0 => drop(world.driver.restart()?),
            1 => world.driver.commit()?,
            _ if !more => break,
            _ => {}
        }
    }
    world.driver.commit()?;
    assert_eq!(world.candles().0, expected);
    Ok(())
}
