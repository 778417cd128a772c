//! Random logs of trades, samples, clocks of one connection or of several, gaps and what was fetched, through the product's
//! topology and through the fold: the same candles, field by field, marks and revisions included.
//!
//! The topology works in steps of few windows, with commits and crashes between them; the fold knows
//! of no steps. No broker: the topology runs in the driver, from a seed that a failure names.

use std::collections::BTreeMap;
use std::sync::Arc;

use anyhow::{Context as _, Result, ensure};
use processor::topology::{Named, topology_in_steps};
use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};
use schemas::topic::Topic;
use schemas::{Basis, Codec, Decimal, FeedMark, MarketEvent, PairKey, Part, Timestamp};
use streams::Driver;
use tests::support::fold::{self, Outputs};
use tests::support::outputs::{set_apart, unusable};
use tests::support::topics::Record;

/// Worlds that are tried.
const SEEDS: u64 = 400;
/// Steps of each.
const STEPS: usize = 120;
/// Worlds in which an exchange loses more than its state has room for, and their steps.
const LOSSY: (u64, usize) = (3, 1_800);
/// Windows that a step of a mark looks at, by seed: in the worlds there are too few for the product's
/// own bound to matter.
const STEP_WINDOWS: [usize; 3] = [1, 7, 1_000];
/// 2024-01-01, half an hour before noon: hours end within a world.
const START: i64 = 1_704_067_200_000 + 41_400_000;

/// One pair at its exchange, which never loses anything.
struct Market {
    pair: PairKey,
    id: i64,
    /// Trades that the feed did not send; they may be fetched.
    lost: Vec<MarketEvent>,
    /// The last one that it sent.
    sent: Option<(i64, i64)>,
}

struct World {
    seed: u64,
    rng: StdRng,
    now: i64,
    /// How far each connection has told; one speaks for all of its exchange.
    healthy: Vec<i64>,
    markets: Vec<Market>,
    log: Vec<(PairKey, Vec<u8>)>,
    codec: Arc<Codec>,
}

impl World {
    fn new(seed: u64) -> Self {
        let pairs = [("BTC", "a"), ("ETH", "a"), ("BTC", "b")];
        let markets = pairs.map(|(base, exchange)| Market {
            pair: PairKey::new(base, "USD", exchange),
            id: 100,
            lost: Vec::new(),
            sent: None,
        });
        Self {
            seed,
            rng: StdRng::seed_from_u64(seed),
            now: START,
            healthy: vec![START; if seed.is_multiple_of(2) { 1 } else { 2 }],
            markets: markets.into(),
            log: Vec::new(),
            codec: Arc::new(Codec::offline()),
        }
    }

    fn push<R: schemas::avro::Record>(&mut self, key: PairKey, value: &R) {
        self.log.push((key, self.codec.to_bytes(value)));
    }

    fn step(&mut self) -> Result<()> {
        self.now += [1, 200, 5_000, 40_000, 100_000][self.rng.random_range(0..5)];
        let at = self.rng.random_range(0..self.markets.len());
        match self.rng.random_range(0..20) {
            0..10 => self.trade(at)?,
            10..12 => self.lose(at)?,
            12 => {
                let event = MarketEvent::sample(Decimal::ONE, Timestamp(self.now));
                self.push(self.markets[at].pair.clone(), &event);
            }
            13..16 => self.fetch(at),
            16..19 => self.clock(),
            19 if self.rng.random_bool(0.5) => self.carry(at),
            _ => {
                let (from, until) = (self.now - self.rng.random_range(1..90_000), self.now);
                let mark = FeedMark {
                    gap_from: Some(Timestamp(from)),
                    gap_until: Some(Timestamp(until)),
                    ..FeedMark::healthy("0", Timestamp(from), Timestamp(until))
                };
                self.push(PairKey::feed("a"), &mark);
            }
        }
        Ok(())
    }

    /// A step in which something is lost or sent, and now and then fetched.
    fn lossy_step(&mut self) -> Result<()> {
        self.now += [1, 200, 5_000, 40_000, 70_000][self.rng.random_range(0..5)];
        // Both of one exchange.
        let at = self.rng.random_range(0..2);
        match self.rng.random_range(0..20) {
            0..9 => self.lose(at)?,
            9..18 => self.trade(at)?,
            18 => self.fetch(at),
            _ => self.clock(),
        }
        Ok(())
    }

    fn made(&mut self, at: usize) -> Result<MarketEvent> {
        let price = Decimal::from_units(self.rng.random_range(1..1_000_000)).context("a price")?;
        let market = &mut self.markets[at];
        market.id += 1;
        let event = MarketEvent::trade(price, Decimal::ONE, Timestamp(self.now));
        Ok(MarketEvent { trade_id: Some(market.id), ..event })
    }

    /// A trade that is sent; what was lost before it is marked first.
    fn trade(&mut self, at: usize) -> Result<()> {
        let event = self.made(at)?;
        let (id, until) = (event.trade_id.context("an id")?, self.now + 1);
        let market = &mut self.markets[at];
        let pair = market.pair.clone();
        let before = market.sent.replace((id, self.now));
        if let Some((last, from)) = before.filter(|(last, _)| last + 1 < id) {
            let mark = FeedMark {
                gap_from: Some(Timestamp(from)),
                gap_until: Some(Timestamp(until)),
                first_missing_id: Some(last + 1),
                missing: Some(id - last - 1),
                ..FeedMark::healthy("0", Timestamp(from), Timestamp(until))
            };
            self.push(pair.clone(), &mark);
        }
        self.push(pair, &event);
        Ok(())
    }

    fn lose(&mut self, at: usize) -> Result<()> {
        let event = self.made(at)?;
        // The venue's clock may show the same instant for what comes next.
        if self.markets[at].sent.is_some() {
            self.markets[at].lost.push(event);
        }
        Ok(())
    }

    /// Some of what is known to be lost arrives, in any order, now and then twice.
    fn fetch(&mut self, at: usize) {
        let market = &mut self.markets[at];
        let sent = market.sent.map_or(0, |(id, _)| id);
        let known: Vec<_> =
            market.lost.iter().filter(|e| e.trade_id < Some(sent)).cloned().collect();
        if known.is_empty() {
            return;
        }
        let event = known[self.rng.random_range(0..known.len())].clone();
        if self.rng.random_ratio(9, 10) {
            market.lost.retain(|other| other.trade_id != event.trade_id);
        }
        let pair = market.pair.clone();
        self.push(pair, &event);
    }

    /// A connection tells how far it is: for all of the exchange if it is the only one, and else for
    /// itself, now and then long after the other.
    fn clock(&mut self) {
        let one = self.rng.random_range(0..self.healthy.len());
        let several = self.healthy.len() > 1;
        let behind = if several { [0, 0, 3_000, 70_000][self.rng.random_range(0..4)] } else { 0 };
        let until = (self.now - behind).max(self.healthy[one]);
        let from = if self.rng.random_ratio(1, 5) { until } else { self.healthy[one] };
        let states = self.rng.random_ratio(9, 10);
        self.healthy[one] = until;
        let mark = FeedMark {
            healthy_from: states.then_some(Timestamp(from)),
            part: several.then_some(Part::Connection),
            ..FeedMark::healthy(one.to_string(), Timestamp(until), Timestamp(self.now))
        };
        self.push(PairKey::feed("a"), &mark);
    }

    /// A pair comes over one of the connections from now on, or over one that never says anything.
    fn carry(&mut self, at: usize) {
        if self.healthy.len() == 1 {
            return;
        }
        let part = if self.rng.random_bool(0.7) { Part::Trades } else { Part::Tickers };
        let since = Timestamp(self.now - self.rng.random_range(0..90_000));
        let mark = FeedMark {
            healthy_from: Some(since),
            part: Some(part),
            ..FeedMark::healthy(self.rng.random_range(0..3).to_string(), since, Timestamp(self.now))
        };
        self.push(self.markets[at].pair.clone(), &mark);
    }
}

/// What the topology makes of a log, committed and crashed at random, and what it counted.
fn product(world: &mut World) -> Result<(Outputs, BTreeMap<&'static str, u64>)> {
    let codec = Arc::clone(&world.codec);
    let step = STEP_WINDOWS[usize::try_from(world.seed)? % STEP_WINDOWS.len()];
    let mut driver = Driver::new(topology_in_steps(&codec, "", "", Named::Prices.into(), step)?)?;
    // Written when all of it had happened.
    let written = world.now;
    for (key, value) in std::mem::take(&mut world.log) {
        driver.add(&Topic::Events.name(""), written, &codec.to_bytes(&key), Some(&value))?;
        loop {
            let more = driver.step()?;
            match world.rng.random_range(0..80) {
                0..16 => driver.commit()?,
                16 => driver.flush_stores()?,
                17..20 => drop(driver.restart()?),
                _ if !more => break,
                _ => {}
            }
        }
        world.log.push((key, value));
    }
    driver.commit()?;
    let mut outputs = Outputs::default();
    for (_, letter) in driver.dead_letters() {
        set_apart(&mut outputs.dead_letters, unusable(0, letter.offset.0));
    }
    for topic in [Topic::Latest, Topic::Ohlc1m, Topic::Ohlc1h, Topic::Ohlc1d, Topic::Late] {
        let records: Vec<_> = driver
            .output(&topic.name(""))
            .iter()
            .map(|output| record(0, output.key.clone(), output.value.clone()))
            .collect();
        outputs.add(&codec, topic, &records)?;
    }
    Ok((outputs, driver.counted().clone()))
}

/// What the fold makes of the same log.
fn expected(world: &World) -> Result<Outputs> {
    let log = (0..).zip(&world.log);
    let events: Vec<_> = log
        .map(|(offset, (key, value))| {
            record(offset, world.codec.to_bytes(key), Some(value.clone()))
        })
        .collect();
    fold::fold(&world.codec, &events)
}

fn record(offset: i64, key: Vec<u8>, value: Option<Vec<u8>>) -> Record {
    Record { partition: 0, offset, key, value, headers: BTreeMap::new() }
}

#[test]
fn candles_of_any_log_say_of_their_feed_what_the_fold_says() -> Result<()> {
    let (mut gaps, mut partial, mut filled, mut late) = (0, 0, 0, 0);
    for seed in 0..SEEDS {
        let mut world = World::new(seed);
        (0..3).for_each(|at| world.carry(at));
        for _ in 0..STEPS {
            world.step()?;
        }
        let (outputs, _) = product(&mut world)?;
        outputs.equals(&expected(&world)?).with_context(|| format!("seed {seed}"))?;
        let trades = |(key, _): &(&schemas::CandleKey, _)| key.basis == Basis::Trade;
        for (_, (_, candle)) in outputs.minutes.iter().filter(trades) {
            gaps += usize::from(candle.gap);
            partial += usize::from(candle.partial_start);
            filled += usize::from(!candle.gap && candle.revision > 1);
            late +=
                usize::from(candle.revision > 0 && candle.coverage_ms > Some(0) && seed % 2 == 1);
        }
    }
    let counts = (gaps, partial, filled, late);
    let tried = gaps > 100 && partial > 100 && filled > 100 && late > 100;
    ensure!(tried, "{counts:?}: nothing much was tried");
    Ok(())
}

#[test]
fn gaps_beyond_the_room_of_an_exchange_are_in_the_states_of_their_pairs() -> Result<()> {
    let (seeds, steps) = LOSSY;
    for seed in 0..seeds {
        let mut world = World::new(seed);
        (0..3).for_each(|at| world.carry(at));
        for _ in 0..steps {
            world.lossy_step()?;
        }
        let (outputs, counted) = product(&mut world)?;
        outputs.equals(&expected(&world)?).with_context(|| format!("seed {seed}"))?;
        let count = |what| counted.get(what).copied().unwrap_or(0);
        let (found, forgotten) =
            (count("gap").saturating_sub(count("gap_filled")), count("gap_overflow"));
        ensure!(found > 300 && forgotten == 0, "{counted:?}: nothing much was tried");
    }
    Ok(())
}
