//! What the outputs should be, from the trades alone, at the speed of millions of events.
//!
//! Nothing of `streams` or `processor` is used. The rules are those of the data model, written down
//! once more for what a load is: trades whose ids count up from 1 within a pair, none of them late.
//! `tests/support/fold.rs` knows every rule, and keeps every event; this one keeps sums.
//!
//! - A pair's clock is its newest event; a window is closed when that has passed its end by five
//!   seconds.
//! - A minute holds its trades; an hour and a day hold those of their closed minutes.
//!
//! An input to which these rules do not suffice is an error, never a comparison that holds less.

use anyhow::{Context as _, Result, ensure};
use rustc_hash::FxHashMap;
use schemas::{
    Basis, Candle, CandleKey, Codec, Decimal, LatestPrice, MarketEvent, PairKey, Status, TakerSide,
    Timestamp,
};

const GRACE: i64 = 5_000;
const AHEAD: i64 = 5_000;
const MINUTE: i64 = 60_000;
const HOUR: i64 = 3_600_000;
const DAY: i64 = 86_400_000;

/// Prices and volumes of some trades, in units of 10⁻¹⁸.
#[derive(Clone, Copy)]
struct Sum {
    /// Time, tie and price.
    open: (i64, i64, i128),
    close: (i64, i64, i128),
    high: i128,
    low: i128,
    base: i128,
    quote: i128,
    bought_base: i128,
    bought_quote: i128,
    trades: i64,
}

impl Sum {
    fn of(event: &MarketEvent) -> Result<Self> {
        let price = event.price.units();
        let size = event.size.context("an event without a size is no trade")?.units();
        let id = event.trade_id.context("a trade without an id")?;
        let side = event.taker_side.context("a trade without a taker's side")?;
        let quote = product(price, size)?;
        let bought = side == TakerSide::Buy;
        let at = (event.event_time.0, id, price);
        Ok(Self {
            open: at,
            close: at,
            high: price,
            low: price,
            base: size,
            quote,
            bought_base: if bought { size } else { 0 },
            bought_quote: if bought { quote } else { 0 },
            trades: 1,
        })
    }

    fn add(&mut self, other: &Self) {
        self.open = self.open.min(other.open);
        self.close = self.close.max(other.close);
        self.high = self.high.max(other.high);
        self.low = self.low.min(other.low);
        self.base += other.base;
        self.quote += other.quote;
        self.bought_base += other.bought_base;
        self.bought_quote += other.bought_quote;
        self.trades += other.trades;
    }

    fn candle(&self, status: Status) -> Result<Candle> {
        Ok(Candle {
            high: decimal(self.high)?,
            low: decimal(self.low)?,
            close: decimal(self.close.2)?,
            base_volume: Some(decimal(self.base)?),
            quote_volume: Some(decimal(self.quote)?),
            taker_buy_base: Some(decimal(self.bought_base)?),
            taker_buy_quote: Some(decimal(self.bought_quote)?),
            trades: self.trades,
            status,
            close_event_time: Timestamp(self.close.0),
            close_tie: self.close.1,
            ..Candle::at(decimal(self.open.2)?, Timestamp(self.open.0), self.open.1)
        })
    }
}

fn decimal(units: i128) -> Result<Decimal> {
    Decimal::from_units(units).context("more than 38 digits")
}

/// The exact product of two numbers of 18 fraction digits.
fn product(a: i128, b: i128) -> Result<i128> {
    let (a, a_zeros) = without_zeros(a);
    let (b, b_zeros) = without_zeros(b);
    let digits = a.checked_mul(b).context("a product beyond i128")?;
    let power = |exponent: i32| 10i128.pow(exponent.unsigned_abs());
    match 18 - (a_zeros + b_zeros) {
        missing if missing > 0 => {
            ensure!(digits % power(missing) == 0, "a product with more than 18 fraction digits");
            Ok(digits / power(missing))
        }
        spare => digits.checked_mul(power(spare)).context("beyond i128"),
    }
}

fn without_zeros(mut units: i128) -> (i128, i32) {
    let mut zeros = 0;
    // Of round numbers nearly all zeros go in two steps.
    for step in [6_i32, 1] {
        let power = 10i128.pow(step.unsigned_abs());
        while units != 0 && units % power == 0 {
            units /= power;
            zeros += step;
        }
    }
    (units, zeros)
}

/// A pair and what its trades come to.
struct Pair {
    key: PairKey,
    partition: i32,
    /// The newest event time.
    clock: i64,
    latest: MarketEvent,
    trades: i64,
    ids: i128,
    minutes: Vec<(i64, Sum)>,
}

/// The fold of one topic of trades.
#[derive(Default)]
pub struct Fold {
    /// By the key's bytes.
    pairs: FxHashMap<Vec<u8>, Pair>,
    /// Trades in all.
    pub trades: u64,
}

/// One row that an output topic should end with.
pub type Expected<K, V> = FxHashMap<K, (i32, V)>;

impl Fold {
    /// Counts a record in.
    pub fn add(
        &mut self,
        codec: &Codec,
        partition: i32,
        key: &[u8],
        value: Option<&[u8]>,
    ) -> Result<()> {
        let event: MarketEvent = codec.decode(value.context("a tombstone in events")?)?;
        let time = event.event_time.0;
        ensure!(event.basis == Basis::Trade, "a load holds trades only");
        ensure!(time > 0 && time <= event.received_at.0 + AHEAD, "a trade at time {time}");
        ensure!(event.price.is_positive(), "a price that is not positive");
        ensure!(
            event.base_volume_24h.or(event.quote_volume_24h).is_none(),
            "a load states no volumes"
        );
        let sum = Sum::of(&event)?;
        if !self.pairs.contains_key(key) {
            let pair = Pair::new(codec.decode(key)?, partition, event.clone());
            self.pairs.insert(key.to_vec(), pair);
        }
        let pair = self.pairs.get_mut(key).context("a pair that was just put in")?;
        ensure!(pair.partition == partition, "{:?} is in two partitions", pair.key);
        pair.add(&event, &sum)?;
        self.trades += 1;
        Ok(())
    }

    /// What `latest` should hold.
    pub fn latest(&self) -> Result<Expected<PairKey, LatestPrice>> {
        let row = |pair: &Pair| Ok((pair.key.clone(), (pair.partition, pair.latest()?)));
        self.pairs.values().map(row).collect()
    }

    /// What the topics of minutes, hours and days should hold.
    pub fn candles(&self) -> Result<[Expected<CandleKey, Candle>; 3]> {
        let mut topics: [Expected<CandleKey, Candle>; 3] = Default::default();
        for pair in self.pairs.values() {
            pair.check()?;
            for (candles, length) in topics.iter_mut().zip([MINUTE, HOUR, DAY]) {
                for (start, sum) in pair.windows(length) {
                    let key = CandleKey {
                        pair: pair.key.clone(),
                        basis: Basis::Trade,
                        open_time: Timestamp(start),
                    };
                    let closed = is_closed(start, length, pair.clock);
                    let status = if closed { Status::Closed } else { Status::Open };
                    candles.insert(key, (pair.partition, sum.candle(status)?));
                }
            }
        }
        Ok(topics)
    }
}

const fn is_closed(start: i64, length: i64, clock: i64) -> bool {
    clock >= start + length + GRACE
}

impl Pair {
    const fn new(key: PairKey, partition: i32, first: MarketEvent) -> Self {
        let clock = first.event_time.0;
        Self { key, partition, clock, latest: first, trades: 0, ids: 0, minutes: Vec::new() }
    }

    fn add(&mut self, event: &MarketEvent, sum: &Sum) -> Result<()> {
        let start = event.event_time.0.div_euclid(MINUTE) * MINUTE;
        ensure!(!is_closed(start, MINUTE, self.clock), "a late trade of {:?}", self.key);
        self.clock = self.clock.max(event.event_time.0);
        self.trades += 1;
        self.ids += i128::from(event.trade_id.unwrap_or_default());
        // The newest minutes are at the end.
        match self.minutes.iter_mut().rev().find(|(known, _)| *known == start) {
            Some((_, known)) => known.add(sum),
            None => self.minutes.push((start, *sum)),
        }
        let order = |event: &MarketEvent| (event.event_time, event.trade_id);
        if order(event) >= order(&self.latest) {
            self.latest = event.clone();
        }
        Ok(())
    }

    /// Ids from 1, each once: so no trade may have been counted as a duplicate of another.
    fn check(&self) -> Result<()> {
        let dense = i128::from(self.trades) * i128::from(self.trades + 1) / 2;
        ensure!(self.ids == dense, "the ids of {:?} are not 1 to {}", self.key, self.trades);
        Ok(())
    }

    fn latest(&self) -> Result<LatestPrice> {
        let tie = self.latest.trade_id.context("a trade without an id")?;
        Ok(LatestPrice::of(&self.latest, tie))
    }

    /// The minutes, or what the closed ones come to in longer windows.
    fn windows(&self, length: i64) -> FxHashMap<i64, Sum> {
        let mut windows: FxHashMap<i64, Sum> = FxHashMap::default();
        for (minute, sum) in &self.minutes {
            if length == MINUTE || is_closed(*minute, MINUTE, self.clock) {
                let start = minute.div_euclid(length) * length;
                windows.entry(start).and_modify(|known| known.add(sum)).or_insert(*sum);
            }
        }
        windows
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn unit(text: i128, fraction: u32) -> i128 {
        text * 10i128.pow(18 - fraction)
    }

    #[test]
    fn products_are_exact_or_refused() -> Result<()> {
        ensure!(product(unit(6_183_763, 2), unit(2, 2))? == unit(12_367_526, 4));
        ensure!(product(unit(20_208, 9), unit(2_450, 2))? == unit(495_096, 9));
        ensure!(product(unit(1, 10), unit(1, 10)).is_err());
        Ok(())
    }

    #[test]
    fn an_hour_holds_the_minutes_that_are_closed() -> Result<()> {
        let codec = Codec::offline();
        let pair = PairKey::new("BTC", "USD", "load");
        let mut fold = Fold::default();
        for (id, time, price) in [(1, 1_000, 10), (2, 61_000, 20), (3, 65_000, 5)] {
            let mut event =
                MarketEvent::trade(decimal(unit(price, 0))?, decimal(unit(2, 0))?, Timestamp(time));
            event.trade_id = Some(id);
            event.taker_side = Some(TakerSide::Buy);
            fold.add(&codec, 0, &codec.to_bytes(&pair), Some(&codec.to_bytes(&event)))?;
        }
        let [minutes, hours, _] = fold.candles()?;
        ensure!(minutes.len() == 2 && hours.len() == 1);
        let (_, hour) = hours.values().next().context("one hour")?;
        ensure!(hour.trades == 1 && hour.status == Status::Open);
        ensure!(hour.quote_volume == Some(decimal(unit(20, 0))?));
        Ok(())
    }

    #[test]
    fn a_late_trade_is_refused() -> Result<()> {
        let codec = Codec::offline();
        let pair = codec.to_bytes(&PairKey::new("BTC", "USD", "load"));
        let mut fold = Fold::default();
        let mut add = |id, time| {
            let one = decimal(unit(1, 0))?;
            let mut event = MarketEvent::trade(one, one, Timestamp(time));
            event.trade_id = Some(id);
            event.taker_side = Some(TakerSide::Sell);
            fold.add(&codec, 0, &pair, Some(&codec.to_bytes(&event)))
        };
        add(1, 1_000)?;
        add(2, 64_999)?;
        add(3, 59_000)?;
        add(4, 65_000)?;
        ensure!(add(5, 59_000).is_err());
        Ok(())
    }
}
