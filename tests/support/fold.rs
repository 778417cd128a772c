//! What the outputs should be, computed from `events` by other means than the product's.
//!
//! Nothing of `streams` or `processor` is used. Each window keeps the events that it counted and is
//! summed up at the end, from scratch. The rules are those of the data model, written down a second time:
//!
//! - a pair's clock is the newest of its events and of its exchange's marks;
//! - a window is closed when the clock has passed its end by five seconds;
//! - an hour and a day hold the events of their closed minutes, and each late event;
//! - a volume that needs more than 38 digits is null, also in what it is a part of;
//! - an id counts once in a minute, and so does a sample without one that says the same; more than a day behind the clock is too late for any;
//! - a gap marks the windows that it lies over until its ids have come, and a closed window that
//!   changes by that alone is revised;
//! - coverage is that of the connection that carries the pair, where there are several; one that
//!   tells of more than five seconds behind its exchange's clock revises what was closed.

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};

use anyhow::{Context, Result};
use schemas::topic::Topic;
use schemas::{
    Basis, Candle, CandleKey, Codec, Decimal, FeedMark, Kind, LatestPrice, MarketEvent, PairKey,
    Status, TakerSide, Timestamp,
};

use super::exact::{decimal, is_beyond, product};
use super::facts::{Facts, Gap, Marks};
pub use super::outputs::Outputs;
use super::outputs::{self, SetApart, put};
use super::topics::Record;

const GRACE: i64 = 5_000;
const HORIZON: i64 = 86_400_000;
const AHEAD: i64 = 5_000;
const MINUTE: i64 = 60_000;
const HOUR: i64 = 3_600_000;
const DAY: i64 = 86_400_000;

/// An event as a window keeps it.
#[derive(Clone, Copy)]
struct Print {
    time: i64,
    tie: i64,
    price: i128,
    size: Option<i128>,
    bought: Option<bool>,
}

/// What a price sample says: time, price, volumes.
type Sample = (i64, Decimal, Option<Decimal>, Option<Decimal>);

/// A window and everything it counted.
struct Window {
    prints: Vec<Print>,
    ids: HashSet<i64>,
    /// Of samples without an id.
    samples: HashSet<Sample>,
    status: Status,
    revision: i32,
    marks: Marks,
}

impl Window {
    fn new(status: Status) -> Self {
        Self {
            prints: Vec::new(),
            ids: HashSet::new(),
            samples: HashSet::new(),
            status,
            revision: 0,
            marks: Marks::default(),
        }
    }

    fn revise(&mut self) {
        self.status = Status::Revised;
        self.revision += 1;
    }

    fn candle(&self) -> Result<Candle> {
        let order = |print: &&Print| (print.time, print.tie);
        let first = self.prints.iter().min_by_key(order).context("an empty window")?;
        let last = self.prints.iter().max_by_key(order).context("an empty window")?;
        let prices = || self.prints.iter().map(|print| print.price);
        // A sum that needs more than 38 digits is null.
        let sum = |part: &dyn Fn(&Print) -> Result<Option<i128>>| -> Result<Option<Decimal>> {
            let parts = self.prints.iter().map(part).collect::<Result<Option<Vec<_>>>>()?;
            let sum = parts.and_then(|parts| parts.into_iter().try_fold(0, i128::checked_add));
            Ok(sum.and_then(Decimal::from_units))
        };
        let quote = |print: &Print| {
            let fits = print.size.filter(|size| !is_beyond(print.price, *size));
            fits.map(|size| product(print.price, size)).transpose()
        };
        let taken = |print: &Print, volume: Option<i128>| {
            let sold = print.size.map(|_| 0);
            print.bought.and_then(|bought| if bought { volume } else { sold })
        };
        Ok(Candle {
            open: decimal(first.price)?,
            high: decimal(prices().max().unwrap_or_default())?,
            low: decimal(prices().min().unwrap_or_default())?,
            close: decimal(last.price)?,
            base_volume: sum(&|print| Ok(print.size))?,
            quote_volume: sum(&quote)?,
            taker_buy_base: sum(&|print| Ok(taken(print, print.size)))?,
            taker_buy_quote: sum(&|print| Ok(taken(print, quote(print)?)))?,
            trades: i64::try_from(self.prints.len())?,
            status: self.status,
            revision: self.revision,
            open_event_time: Timestamp(first.time),
            close_event_time: Timestamp(last.time),
            gap: self.marks.gap,
            coverage_ms: self.marks.coverage,
            partial_start: self.marks.partial,
            missing_trades: self.marks.missing,
            open_tie: first.tie,
            close_tie: last.tie,
            seen: Vec::new(),
        })
    }
}

type Key = (PairKey, Basis, i64);

/// One partition's state.
#[derive(Default)]
struct Partition {
    /// The newest event time of each pair.
    newest: HashMap<PairKey, i64>,
    /// What each exchange's feed has said of itself.
    feeds: HashMap<String, Facts>,
    latest: BTreeMap<PairKey, LatestPrice>,
    /// By length.
    windows: [BTreeMap<Key, Window>; 3],
    late: SetApart,
    dead_letters: SetApart,
}

const LENGTHS: [i64; 3] = [MINUTE, HOUR, DAY];

const fn is_closed(start: i64, length: i64, clock: i64) -> bool {
    clock >= start + length + GRACE
}

impl Partition {
    fn record(&mut self, codec: &Codec, record: &Record) -> Result<()> {
        let unusable = || outputs::unusable(record.partition.into(), record.offset);
        let Some(value) = record.value.as_deref() else {
            outputs::set_apart(&mut self.dead_letters, unusable());
            return Ok(());
        };
        let key = codec.decode::<PairKey>(&record.key);
        match (key, codec.kind(value)) {
            (Ok(pair), Ok(Some(Kind::MarketEvent))) => match codec.decode(value) {
                Ok(event) if pair.is_valid() && is_clean(&event) => {
                    self.event(&pair, &event, record);
                }
                _ => outputs::set_apart(&mut self.dead_letters, unusable()),
            },
            (Ok(feed), Ok(Some(Kind::FeedMark))) => {
                self.mark(&feed, &codec.decode::<FeedMark>(value)?);
            }
            _ => outputs::set_apart(&mut self.dead_letters, unusable()),
        }
        Ok(())
    }

    fn event(&mut self, pair: &PairKey, event: &MarketEvent, record: &Record) {
        let time = event.event_time.0;
        let tie = event.trade_id.or(event.sequence).unwrap_or(record.offset);
        let newest = self.newest.get(pair).copied();
        let clock = newest.max(self.feeds.get(&pair.exchange).and_then(|feed| feed.clock));
        let start = time.div_euclid(MINUTE) * MINUTE;
        let late = clock.filter(|&clock| is_closed(start, MINUTE, clock));
        if late.is_some_and(|clock| clock - time > HORIZON) {
            outputs::set_apart(&mut self.late, outputs::late(record.partition, pair, event));
        } else {
            self.count(pair, event, tie, late);
            if let (Some(_), Some(clock)) = (newest, clock) {
                self.close(pair, clock, clock.max(time));
            }
        }
        let newest = newest.map_or(time, |newest| newest.max(time));
        self.newest.insert(pair.clone(), newest);
        self.price(pair, event, tie);
    }

    fn count(&mut self, pair: &PairKey, event: &MarketEvent, tie: i64, late: Option<i64>) {
        let time = event.event_time.0;
        let print = Print {
            time,
            tie,
            price: event.price.units(),
            size: event.size.filter(|_| event.basis == Basis::Trade).map(Decimal::units),
            bought: event.taker_side.map(|side| side == TakerSide::Buy),
        };
        let key = (pair.clone(), event.basis, time.div_euclid(MINUTE) * MINUTE);
        let known = self.windows[0].contains_key(&key);
        let status = if late.is_some() { Status::Closed } else { Status::Open };
        let window = self.windows[0].entry(key).or_insert_with(|| Window::new(status));
        let sample = (time, event.price, event.base_volume_24h, event.quote_volume_24h);
        let is_new = match event.trade_id.or(event.sequence) {
            Some(id) => window.ids.insert(id),
            None => event.basis == Basis::Trade || window.samples.insert(sample),
        };
        if !is_new {
            return;
        }
        window.prints.push(print);
        if let Some(clock) = late {
            if known {
                window.revise();
            }
            self.add_to_parents(pair, event.basis, time, &[print], clock);
        }
        self.mark_event(pair, event, !known && late.is_some());
    }

    /// Marks what an event has changed; `late` when it made a closed minute.
    fn mark_event(&mut self, pair: &PairKey, event: &MarketEvent, late: bool) {
        let Some(feed) = self.feeds.get_mut(&pair.exchange) else {
            return;
        };
        let (time, basis) = (event.event_time.0, event.basis);
        let start = time.div_euclid(MINUTE) * MINUTE;
        let near = feed.is_near(pair, basis, start, start + MINUTE);
        let id = event.trade_id.filter(|_| basis == Basis::Trade);
        let whole = id.and_then(|id| feed.came(pair, id));
        let tiers = if whole.is_some() { 3 } else { usize::from(near || late) };
        for (tier, length) in LENGTHS.into_iter().enumerate().take(tiers) {
            self.stamp(tier, &(pair.clone(), basis, time.div_euclid(length) * length), false);
        }
        for gap in whole.into_iter().flatten() {
            self.refresh(pair, &gap);
        }
    }

    /// Brings what is known into the windows of a pair that a gap lies over.
    fn refresh(&mut self, pair: &PairKey, gap: &Gap) {
        for (tier, length) in LENGTHS.into_iter().enumerate() {
            let keys = self.windows[tier].keys();
            let over = keys.filter(|(own, basis, start)| {
                own == pair && gap.concerns(pair, *basis) && gap.over(*start, start + length)
            });
            for key in over.cloned().collect::<Vec<_>>() {
                self.stamp(tier, &key, true);
            }
        }
    }

    /// Brings what is known into a window; alone, that is a revision of a closed one.
    fn stamp(&mut self, tier: usize, key: &Key, alone: bool) {
        let (pair, basis, start) = key;
        let window = self.windows[tier].get_mut(key);
        let (Some(window), Some(feed)) = (window, self.feeds.get(&pair.exchange)) else {
            return;
        };
        let mut marks = feed.marks(pair, *basis, *start, start + LENGTHS[tier]);
        if window.status == Status::Open {
            (marks.coverage, marks.partial) = (None, false);
        }
        let changed = std::mem::replace(&mut window.marks, marks) != marks;
        if changed && alone && window.status != Status::Open {
            window.revise();
        }
    }

    fn add_to_parents(
        &mut self,
        pair: &PairKey,
        basis: Basis,
        time: i64,
        prints: &[Print],
        clock: i64,
    ) {
        for (tier, length) in LENGTHS.into_iter().enumerate().skip(1) {
            let windows = &mut self.windows[tier];
            let start = time.div_euclid(length) * length;
            let closed = is_closed(start, length, clock);
            let key = (pair.clone(), basis, start);
            let known = windows.contains_key(&key);
            let status = if closed { Status::Closed } else { Status::Open };
            let window = windows.entry(key.clone()).or_insert_with(|| Window::new(status));
            window.prints.extend_from_slice(prints);
            if closed && known {
                window.revise();
            }
            if !known {
                self.stamp(tier, &key, false);
            }
        }
    }

    /// Closes the pair's windows that end between two readings of its clock.
    fn close(&mut self, pair: &PairKey, from: i64, to: i64) {
        if from == to {
            return;
        }
        for (index, length) in LENGTHS.into_iter().enumerate() {
            for basis in [Basis::Trade, Basis::Ticker] {
                // Older ones were closed by the tick that passed their end.
                let oldest = from - length - GRACE;
                let range = (pair.clone(), basis, oldest)..=(pair.clone(), basis, to);
                let mut closing = Vec::new();
                for (key, window) in self.windows[index].range_mut(range) {
                    if window.status == Status::Open && is_closed(key.2, length, to) {
                        window.status = Status::Closed;
                        closing.push((key.clone(), window.prints.clone()));
                    }
                }
                for (key, _) in &closing {
                    self.stamp(index, key, false);
                }
                if index == 0 {
                    for (key, prints) in closing {
                        self.add_to_parents(pair, basis, key.2, &prints, from);
                    }
                }
            }
        }
    }

    fn mark(&mut self, key: &PairKey, mark: &FeedMark) {
        let of_pair = key.is_valid();
        let pairs: Vec<_> = self.newest.iter().map(|(pair, time)| (pair.clone(), *time)).collect();
        let pairs = pairs.into_iter().filter(|(pair, _)| pair.exchange == key.exchange);
        let windows = self.windows[0].iter();
        let own = windows.filter(|((pair, basis, _), _)| pair == key && *basis == Basis::Trade);
        let arrived: BTreeSet<i64> = own.flat_map(|(_, window)| window.ids.clone()).collect();
        let feed = self.feeds.entry(key.exchange.clone()).or_default();
        let gap = feed.lost(Some(key).filter(|_| of_pair), mark, &arrived);
        let (before, to) = (feed.clock, mark.healthy_until.0);
        let ticks = !of_pair && before.is_none_or(|before| before < to);
        for (pair, _) in pairs.clone() {
            if let Some(gap) =
                gap.as_ref().filter(|gap| gap.pair.as_ref().is_none_or(|own| *own == pair))
            {
                self.refresh(&pair, gap);
            }
        }
        let feed = self.feeds.entry(key.exchange.clone()).or_default();
        if of_pair {
            feed.carry(key, mark);
        } else if ticks || mark.part.is_some() {
            feed.tick(mark);
            self.caught_up(&key.exchange, mark, before);
        }
        if !ticks {
            return;
        }
        for (pair, newest) in pairs {
            let from = newest.max(before.unwrap_or(newest));
            self.close(&pair, from, from.max(to));
        }
    }

    /// A connection of several told of a time at which windows have closed without it.
    fn caught_up(&mut self, exchange: &str, mark: &FeedMark, before: Option<i64>) {
        let (Some(from), Some(before)) = (mark.healthy_from, before) else {
            return;
        };
        if mark.part.is_none() || from.0 + GRACE >= before {
            return;
        }
        let (from, until) = (from.0, mark.healthy_until.0);
        for (tier, length) in LENGTHS.into_iter().enumerate() {
            let over = |start: i64| from.max(start) < until.min(start + length);
            let carried = |(pair, basis, start): &&Key| {
                let feed = self.feeds.get(&pair.exchange);
                let own = feed.is_some_and(|feed| feed.is_carried(pair, *basis, &mark.feed));
                own && pair.exchange == exchange && over(*start)
            };
            let keys: Vec<Key> = self.windows[tier].keys().filter(carried).cloned().collect();
            for key in keys {
                self.stamp(tier, &key, true);
            }
        }
    }

    fn price(&mut self, pair: &PairKey, event: &MarketEvent, tie: i64) {
        // A trade is preferred to the ticker that reports it; their ids count different things.
        let order = |time: Timestamp, basis, tie| (time, basis == Basis::Trade, tie);
        let newer = self.latest.get(pair).is_none_or(|known| {
            order(event.event_time, event.basis, tie)
                > order(known.event_time, known.basis, known.tie)
        });
        let states_volumes = event.base_volume_24h.is_some() || event.quote_volume_24h.is_some();
        let known = self.latest.get(pair).copied();
        let volumes = |latest: &mut LatestPrice| {
            latest.base_volume_24h = event.base_volume_24h;
            latest.quote_volume_24h = event.quote_volume_24h;
            latest.volume_source = event.volume_source;
            latest.volume_time = Some(event.event_time);
        };
        let mut latest = LatestPrice {
            price: event.price,
            size: event.size,
            trade_id: event.trade_id,
            basis: event.basis,
            base_volume_24h: known.and_then(|known| known.base_volume_24h),
            quote_volume_24h: known.and_then(|known| known.quote_volume_24h),
            volume_source: known.map_or(event.volume_source, |known| known.volume_source),
            volume_time: known.and_then(|known| known.volume_time),
            event_time: event.event_time,
            received_at: event.received_at,
            tie,
        };
        if !newer && let Some(known) = known {
            latest = known;
        }
        if states_volumes
            && known.and_then(|known| known.volume_time).is_none_or(|at| event.event_time >= at)
        {
            volumes(&mut latest);
        }
        self.latest.insert(pair.clone(), latest);
    }
}

fn is_clean(event: &MarketEvent) -> bool {
    let size = event.size.map(Decimal::units);
    event.price.units() > 0
        && size.is_none_or(|size| size >= 0)
        && (event.basis == Basis::Ticker || size.is_some())
        && event.event_time.0 > 0
        && event.event_time.0 <= event.received_at.0.saturating_add(AHEAD)
}

/// The outputs that these records of `events` should give.
pub fn fold(codec: &Codec, events: &[Record]) -> Result<Outputs> {
    let mut partitions: BTreeMap<i32, Partition> = BTreeMap::new();
    for record in events {
        partitions.entry(record.partition).or_default().record(codec, record)?;
    }
    let mut outputs = Outputs::default();
    for (number, partition) in partitions {
        for (record, count) in partition.late {
            *outputs.late.entry(record).or_default() += count;
        }
        outputs.dead_letters.extend(partition.dead_letters);
        for (pair, latest) in partition.latest {
            put(&mut outputs.latest, pair, (number, latest))?;
        }
        for (windows, topic) in
            partition.windows.iter().zip([Topic::Ohlc1m, Topic::Ohlc1h, Topic::Ohlc1d])
        {
            let candles = outputs.candles(topic)?;
            for ((pair, basis, start), window) in windows {
                let open_time = Timestamp(*start);
                let key = CandleKey { pair: pair.clone(), basis: *basis, open_time };
                put(candles, key, (number, window.candle()?))?;
            }
        }
    }
    Ok(outputs)
}

#[cfg(test)]
mod tests {
    use anyhow::ensure;

    use super::super::exact::UNIT;
    use super::*;

    fn minute(trades: i64) -> Result<Outputs> {
        let print = Print { time: 1, tie: 1, price: UNIT, size: None, bought: None };
        let window = Window { prints: vec![print], ..Window::new(Status::Open) };
        let candle = Candle { trades, ..window.candle()? };
        let pair = PairKey::new("A", "B", "test");
        let key = CandleKey { pair, basis: Basis::Trade, open_time: Timestamp(0) };
        Ok(Outputs { minutes: BTreeMap::from([(key, (0, candle))]), ..Outputs::default() })
    }

    #[test]
    fn what_is_beyond_is_counted_event_by_event() -> Result<()> {
        let (two, five) = (minute(2)?, minute(5)?);
        let apart = |count| SetApart::from([("a record".to_owned(), count)]);
        let none = Outputs { late: apart(1), dead_letters: apart(3), ..Outputs::default() };
        ensure!((five.beyond(&two), two.beyond(&five), two.beyond(&two)) == (3, 0, 0));
        ensure!((two.beyond(&none), none.beyond(&two)) == (2, 4));
        Ok(())
    }

    #[test]
    fn a_record_that_is_set_apart_for_another_or_twice_is_a_difference() -> Result<()> {
        let letters = |offsets: &[i64]| {
            let mut outputs = Outputs::default();
            for offset in offsets {
                outputs::set_apart(&mut outputs.dead_letters, outputs::unusable(0, *offset));
            }
            outputs
        };
        let (right, other, twice) = (letters(&[7, 9]), letters(&[7, 8]), letters(&[7, 9, 9]));
        right.equals(&letters(&[9, 7]))?;
        ensure!(other.equals(&right).is_err() && twice.equals(&right).is_err());
        ensure!((other.beyond(&right), right.beyond(&other), twice.beyond(&right)) == (1, 1, 1));
        Ok(())
    }
}
