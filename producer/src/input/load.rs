//! Synthetic trades and price samples: the same seed gives the same events.
//!
//! Prices of a pair walk at random around the pair's level. Trade ids are dense from 1. Event time
//! advances evenly at the chosen rate, at any speed of publishing. The receive time equals the
//! event time, so no event is from the future.
//!
//! A candle counts a trade id once, so a load with ids hides a record that was processed twice.
//! Trades without ids are counted each time: such a load shows it.

use clap::{Args, ValueEnum};
use rand::rngs::SmallRng;
use rand::{Rng, SeedableRng};
use schemas::{Decimal, MarketEvent, PairKey, TakerSide, Timestamp};

/// The exchange in the keys of synthetic trades.
pub const EXCHANGE: &str = "load";

/// A price tick, in units of 10⁻¹⁸: a hundredth.
const TICK: i128 = 10_000_000_000_000_000;

/// Which pair trades next.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub enum Pick {
    /// Any, all alike.
    #[default]
    Uniform,
    /// Each in its turn.
    InTurn,
    /// The first most often: pair n in proportion to 1/n, as trades are spread over real pairs.
    Zipf,
}

/// The ids of trades.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub enum Ids {
    /// From 1 up, without a gap within a pair.
    #[default]
    Dense,
    /// Trades have none.
    None,
}

/// The settings of a load.
#[derive(Args, Clone, Copy, Debug, PartialEq, Eq)]
pub struct Load {
    /// Number of trades and price samples.
    #[arg(long, env = "LOAD_EVENTS", default_value_t = 1_000_000, value_parser = clap::value_parser!(u64).range(1..))]
    pub events: u64,
    /// Number of pairs.
    #[arg(long, env = "LOAD_KEYS", default_value_t = 5_000, value_parser = clap::value_parser!(u32).range(1..=1_000_000))]
    pub keys: u32,
    /// Ids of trades. Candles count an id once, and a trade without an id each time it is processed.
    #[arg(long, env = "LOAD_IDS", value_enum, default_value_t = Ids::Dense)]
    pub ids: Ids,
    /// Percentage of price samples; the other events are trades.
    #[arg(long, env = "LOAD_SAMPLES_PERCENT", default_value_t = 0, value_parser = clap::value_parser!(u32).range(..=100))]
    pub samples_percent: u32,
    /// Seed of the events.
    #[arg(long, env = "LOAD_SEED", default_value_t = 1)]
    pub seed: u64,
    /// Events per second of event time.
    #[arg(long, env = "LOAD_EVENT_RATE", default_value_t = 75_000, value_parser = clap::value_parser!(u32).range(1..))]
    pub event_rate: u32,
    /// Choice of the pair that trades next.
    #[arg(long, env = "LOAD_PICK", value_enum, default_value_t = Pick::Uniform)]
    pub pick: Pick,
    /// Percentage of events with an earlier event time than the events before them.
    #[arg(long, env = "LOAD_DISORDER_PERCENT", default_value_t = 0, value_parser = clap::value_parser!(u32).range(..=100))]
    pub disorder_percent: u32,
    /// Largest disorder in milliseconds; within the grace of a minute no event is late.
    #[arg(long, env = "LOAD_DISORDER_MS", default_value_t = 4_000, value_parser = clap::value_parser!(u32).range(1..))]
    pub disorder_ms: u32,
    /// Event time of the first.
    #[arg(skip)]
    pub start: Timestamp,
}

/// The latest start at which no event is ahead of the clock when it is sent: event time may pass
/// faster than the load is sent, and an event must not be later than its record.
///
/// ```
/// use producer::input::load::latest_start;
/// use schemas::Timestamp;
/// let now = Timestamp(1_000_000);
/// // A hundred seconds of event time, sent at once, in real time, and in half of it.
/// assert_eq!(latest_start(now, 1_000, 10, 0), Timestamp(900_000));
/// assert_eq!(latest_start(now, 1_000, 10, 10), now);
/// assert_eq!(latest_start(now, 1_000, 10, 20), Timestamp(950_000));
/// ```
pub fn latest_start(now: Timestamp, events: u64, event_rate: u32, rate: u32) -> Timestamp {
    let millis = |a_second: u32| {
        events.saturating_mul(1000).checked_div(u64::from(a_second)).unwrap_or_default()
    };
    let ahead = millis(event_rate).saturating_sub(millis(rate));
    Timestamp(now.0.saturating_sub_unsigned(ahead).max(1))
}

impl Load {
    /// The pairs, by index.
    pub fn pairs(&self) -> Vec<PairKey> {
        (0..self.keys).map(|key| PairKey::new(format!("L{key:05}"), "USD", EXCHANGE)).collect()
    }

    /// The trades and samples: the index of a pair and the event.
    ///
    /// ```
    /// use producer::input::load::{Ids, Load, Pick};
    /// use schemas::Timestamp;
    /// let load = Load {
    ///     events: 3,
    ///     keys: 1,
    ///     ids: Ids::Dense,
    ///     samples_percent: 0,
    ///     seed: 1,
    ///     event_rate: 1000,
    ///     pick: Pick::Uniform,
    ///     disorder_percent: 0,
    ///     disorder_ms: 1,
    ///     start: Timestamp(5),
    /// };
    /// let trades: Vec<_> = load.events().collect();
    /// assert_eq!(trades[2].1.trade_id, Some(3));
    /// assert_eq!(trades[2].1.event_time, Timestamp(7));
    /// ```
    pub fn events(&self) -> impl Iterator<Item = (usize, MarketEvent)> + use<> {
        let load = *self;
        let mut rng = SmallRng::seed_from_u64(load.seed);
        let mut market =
            || Market { trades: 0, samples: 0, ticks: rng.random_range(1_000..10_000_000) };
        let mut markets: Vec<Market> = (0..load.keys).map(|_| market()).collect();
        let turns = Turns::new(load.pick, load.keys);
        (0..load.events).map(move |index| {
            let key = turns.next(index, &mut rng);
            let Market { trades, samples, ticks } = &mut markets[key];
            // One to a hundredth of a per cent either way, and never to zero.
            let step = (*ticks / 10_000).max(1);
            *ticks = (*ticks + rng.random_range(-step..=step)).max(100);
            let price = ticks_to_price(*ticks);
            // Without samples nothing is drawn, and a seed means what it always meant.
            if load.samples_percent > 0 && rng.random_ratio(load.samples_percent, 100) {
                *samples += 1;
                let sample = MarketEvent::sample(price, load.time(index, &mut rng));
                // It grows with each sample of a pair, so that no two are alike.
                return (key, sample.with_volumes(Some(size(*samples)), None));
            }
            *trades += 1;
            let event = MarketEvent {
                trade_id: Some(*trades).filter(|_| load.ids == Ids::Dense),
                taker_side: Some(if rng.random() { TakerSide::Buy } else { TakerSide::Sell }),
                ..MarketEvent::trade(
                    price,
                    size(rng.random_range(1..1_000_000)),
                    load.time(index, &mut rng),
                )
            };
            (key, event)
        })
    }

    /// The event time of the event of that index.
    fn time(&self, index: u64, rng: &mut SmallRng) -> Timestamp {
        let millis = index.saturating_mul(1000) / u64::from(self.event_rate);
        // Without disorder nothing is drawn, and a seed means what it always meant.
        let is_moved = self.disorder_percent > 0 && rng.random_ratio(self.disorder_percent, 100);
        let earlier = if is_moved { rng.random_range(1..=self.disorder_ms) } else { 0 };
        let time = self.start.0.saturating_add_unsigned(millis) - i64::from(earlier);
        // No time is before the beginning of time.
        Timestamp(time.max(1))
    }
}

/// A pair: its events so far, and its price in ticks.
struct Market {
    trades: i64,
    samples: i64,
    ticks: i64,
}

/// Whose turn it is.
enum Turns {
    Uniform(u32),
    InTurn(u32),
    /// For each pair the sum of weights up to it.
    Zipf(Vec<u64>),
}

/// The weight of the most frequent pair: the least frequent of a million still has some.
const WEIGHT: u64 = 1 << 32;

impl Turns {
    fn new(pick: Pick, keys: u32) -> Self {
        match pick {
            Pick::Uniform => Self::Uniform(keys),
            Pick::InTurn => Self::InTurn(keys),
            Pick::Zipf => {
                let weights = (1..=u64::from(keys)).map(|rank| WEIGHT / rank);
                Self::Zipf(
                    weights
                        .scan(0, |sum, weight| {
                            *sum += weight;
                            Some(*sum)
                        })
                        .collect(),
                )
            }
        }
    }

    fn next(&self, index: u64, rng: &mut SmallRng) -> usize {
        match self {
            Self::Uniform(keys) => rng.random_range(0..*keys) as usize,
            Self::InTurn(keys) => usize::try_from(index % u64::from(*keys)).unwrap_or_default(),
            Self::Zipf(sums) => {
                let point = rng.random_range(0..sums.last().copied().unwrap_or(1));
                sums.partition_point(|sum| *sum <= point)
            }
        }
    }
}

fn ticks_to_price(ticks: i64) -> Decimal {
    Decimal::from_units(i128::from(ticks) * TICK).unwrap_or_default()
}

/// Sizes have six fraction digits.
fn size(millionths: i64) -> Decimal {
    Decimal::from_units(i128::from(millionths) * 1_000_000_000_000).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use schemas::Basis;

    use super::*;

    const LOAD: Load = Load {
        events: 20_000,
        keys: 50,
        ids: Ids::Dense,
        samples_percent: 0,
        seed: 3,
        event_rate: 2000,
        pick: Pick::Uniform,
        disorder_percent: 0,
        disorder_ms: 1,
        start: Timestamp(1_000),
    };

    #[test]
    fn ids_are_dense_per_pair_and_time_advances_at_the_rate() {
        let mut newest = vec![0; 50];
        let mut last = Timestamp(0);
        for (key, event) in LOAD.events() {
            newest[key] += 1;
            assert_eq!(event.trade_id, Some(newest[key]));
            assert!(event.event_time >= last && event.price.is_positive());
            last = event.event_time;
        }
        assert_eq!(last, Timestamp(1_000 + 9_999));
        assert_eq!(LOAD.pairs().len(), 50);
    }

    #[test]
    fn pairs_take_turns_or_follow_their_rank() {
        let counts = |pick| {
            let mut counts = vec![0; 50];
            for (key, _) in (Load { pick, ..LOAD }).events() {
                counts[key] += 1;
            }
            counts
        };
        assert_eq!(counts(Pick::InTurn), vec![400; 50]);
        let ranked = counts(Pick::Zipf);
        // The first of fifty has 1 / (1 + 1/2 + … + 1/50) of all: 4,446 of 20,000.
        assert!((4_200..4_700).contains(&ranked[0]), "{ranked:?}");
        assert!(ranked[0] > ranked[4] && ranked[4] > ranked[49] && ranked[49] > 0);
    }

    #[test]
    fn disorder_moves_a_share_of_the_trades_and_no_further_than_it_may() {
        let disordered = Load { disorder_percent: 10, disorder_ms: 300, ..LOAD };
        let moved: Vec<i64> = disordered
            .events()
            .zip(0..)
            .map(|((_, event), index)| 1_000 + index / 2 - event.event_time.0)
            .filter(|earlier| *earlier != 0)
            .collect();
        assert!((1_700..2_300).contains(&moved.len()), "{}", moved.len());
        assert!(moved.iter().all(|earlier| (1..=300).contains(earlier)));
    }

    #[test]
    fn a_load_without_ids_has_the_same_prices_and_times() {
        let without = |event: MarketEvent| MarketEvent { trade_id: None, ..event };
        let dense = LOAD.events().map(|(key, event)| (key, without(event)));
        assert!((Load { ids: Ids::None, ..LOAD }).events().eq(dense));
    }

    #[test]
    fn samples_are_a_share_of_the_events_and_no_two_are_alike() {
        let mut volumes = vec![Decimal::ZERO; 50];
        let (mut samples, mut trades) = (0, vec![0; 50]);
        for (key, event) in (Load { samples_percent: 20, ..LOAD }).events() {
            if event.basis == Basis::Trade {
                trades[key] += 1;
                assert_eq!(event.trade_id, Some(trades[key]), "ids of trades stay dense");
                continue;
            }
            assert_eq!((event.size, event.id()), (None, None));
            let before = std::mem::replace(&mut volumes[key], event.base_volume_24h.unwrap());
            assert!(volumes[key] > before, "{event:?}");
            samples += 1;
        }
        assert!((3_800..4_200).contains(&samples), "{samples}");
    }

    #[test]
    fn the_same_seed_gives_the_same_trades() {
        assert!(LOAD.events().eq(LOAD.events()));
        assert!(!LOAD.events().eq(Load { seed: 4, ..LOAD }.events()));
    }
}
