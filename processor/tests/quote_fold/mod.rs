//! A naive fold of quotes and marks of one exchange.
//!
//! Every quote is kept with its time in force. A window is computed from the whole history whenever it
//! is asked for. Only the marks of a window (gap, coverage, status, revision) are kept, because they
//! are those of the moment at which the window closed or a mark changed them.

use std::collections::{BTreeMap, BTreeSet};

use schemas::{
    BookState, Decimal, PairKey, Proof, Quote, Spread, SpreadKey, Status, Timestamp, TopOfBook,
    WeightedSum,
};

const MINUTE: i64 = 60_000;
const LENGTHS: [i64; 3] = [MINUTE, 60 * MINUTE, 1_440 * MINUTE];
const GRACE: i64 = 5_000;

/// A quote in force from `since`, until the next one or a loss of sync.
#[derive(Clone)]
struct Held {
    quote: Quote,
    since: i64,
    until: Option<i64>,
    /// The mean of the last ten mids.
    mean: Option<i128>,
}

#[derive(Clone, Default)]
struct Marks {
    gap: bool,
    coverage: Option<i64>,
    closed: bool,
    revision: i32,
    /// The newest quote when the window closed, and the end of its force as far as it was known.
    newest: Option<(usize, i64)>,
}

#[derive(Default)]
pub(crate) struct Fold {
    held: BTreeMap<PairKey, Vec<Held>>,
    /// The loss of pairs that had no quote before: its time, and when it was told.
    never: BTreeMap<PairKey, (i64, i64)>,
    /// Pairs whose newest quote is no longer in force.
    lost: BTreeSet<PairKey>,
    gaps: BTreeMap<PairKey, Vec<(i64, i64)>>,
    healthy: Vec<(i64, i64)>,
    clock: Option<i64>,
    marks: BTreeMap<(PairKey, i64, i64), Marks>,
}

fn units(value: Option<Decimal>) -> Option<i128> {
    value.map(Decimal::units)
}

fn decimal(units: i128) -> Decimal {
    Decimal::from_units(units).unwrap_or_else(|| panic!("{units} has more than 38 digits"))
}

/// Rounded half to even.
fn divide(dividend: i128, divisor: i128) -> i128 {
    let (quotient, rest) = (dividend.div_euclid(divisor), dividend.rem_euclid(divisor));
    match (rest * 2).cmp(&divisor) {
        std::cmp::Ordering::Less => quotient,
        std::cmp::Ordering::Equal => quotient + (quotient & 1),
        std::cmp::Ordering::Greater => quotient + 1,
    }
}

fn spread(quote: &Quote) -> Option<i128> {
    Some(units(quote.ask)? - units(quote.bid)?)
}

fn mid(quote: &Quote) -> Option<i128> {
    Some(divide(units(quote.ask)? + units(quote.bid)?, 2))
}

/// Sizes of the test are small multiples, so that the products fit.
fn microprice(quote: &Quote) -> Option<i128> {
    let (bid, ask) = (units(quote.bid)?, units(quote.ask)?);
    let (bid_size, ask_size) = (units(quote.bid_size)?, units(quote.ask_size)?);
    let all = bid_size + ask_size;
    (all > 0).then(|| divide(bid * ask_size + ask * bid_size, all))
}

fn imbalance(quote: &Quote) -> Option<i128> {
    let (bid, ask) = (units(quote.bid_size).unwrap_or(0), units(quote.ask_size).unwrap_or(0));
    (bid + ask > 0).then(|| divide((bid - ask) * 1_000_000_000_000_000_000, bid + ask))
}

impl Fold {
    /// The time by which windows of a pair close.
    fn time(&self, pair: &PairKey) -> Option<i64> {
        let own = self.held.get(pair).and_then(|held| held.last());
        own.map(|last| last.until.unwrap_or(last.since)).max(self.clock)
    }

    pub(crate) fn quote(&mut self, pair: &PairKey, quote: &Quote) {
        let oldest_open = self.clock.map(|clock| (clock - GRACE).div_euclid(MINUTE) * MINUTE);
        let held = self.held.entry(pair.clone()).or_default();
        let own = held.last().map(|last| last.until.unwrap_or(last.since));
        let own = own.or_else(|| self.never.remove(pair).map(|(at, _)| at));
        let since = [own, oldest_open].into_iter().flatten().fold(quote.event_time.0, i64::max);
        if let Some(last) = held.last_mut() {
            last.until.get_or_insert(since);
        }
        let mut mids: Vec<i128> = held.iter().rev().filter_map(|held| mid(&held.quote)).collect();
        mids.extend(mid(quote));
        // The newest first, and the one at hand.
        mids.rotate_right(usize::from(mid(quote).is_some()));
        mids.truncate(10);
        let count = i128::try_from(mids.len()).unwrap_or(0);
        let mean = (count > 0).then(|| divide(mids.iter().sum(), count));
        held.push(Held { quote: *quote, since, until: None, mean });
        self.lost.remove(pair);
        self.update(None);
    }

    /// The sync was lost at a time, by a mark of another time.
    pub(crate) fn lost(&mut self, pair: &PairKey, at: i64, told: i64) {
        if !self.held.contains_key(pair) {
            self.never.entry(pair.clone()).or_insert((at, told));
        }
        let last = self.held.get_mut(pair).and_then(|held| held.last_mut());
        if let Some(last) = last.filter(|last| last.until.is_none()) {
            last.until = Some(last.since.max(at));
            self.lost.insert(pair.clone());
        }
        self.update(None);
    }

    pub(crate) fn gap(&mut self, pair: &PairKey, from: i64, until: i64) {
        let last = self.held.get(pair).and_then(|held| held.last());
        if last.is_none_or(|last| until > last.since) {
            self.lost(pair, from, until);
        }
        let gaps = self.gaps.entry(pair.clone()).or_default();
        if !gaps.contains(&(from, until)) {
            gaps.push((from, until));
            self.update(Some((pair, from, until)));
        }
    }

    pub(crate) fn clock(&mut self, from: Option<i64>, until: i64) {
        if self.clock.is_none_or(|clock| clock < until) {
            self.healthy
                .extend(from.map(|from| (from, until)).filter(|(from, until)| from < until));
        }
        self.clock = self.clock.max(Some(until));
        self.update(None);
    }

    /// The milliseconds of a window that are healthy and in no gap; `None` when no clock tells of
    /// health.
    fn coverage(&self, pair: &PairKey, start: i64, end: i64) -> Option<i64> {
        let gaps = self.gaps.get(pair).into_iter().flatten();
        let mut edges: BTreeSet<i64> = [start, end].into();
        let all = gaps.clone().chain(&self.healthy);
        edges.extend(
            all.flat_map(|(from, until)| [*from, *until]).filter(|at| (start..end).contains(at)),
        );
        let edges: Vec<i64> = edges.into_iter().collect();
        let holds = |(from, until): &(i64, i64), at: i64| (*from..*until).contains(&at);
        let pieces = edges.windows(2).filter(|piece| {
            let is_healthy = self.healthy.iter().any(|span| holds(span, piece[0]));
            is_healthy && !gaps.clone().any(|span| holds(span, piece[0]))
        });
        (!self.healthy.is_empty()).then(|| pieces.map(|piece| piece[1] - piece[0]).sum())
    }

    fn has_gap(&self, pair: &PairKey, start: i64, end: i64) -> bool {
        let mut gaps = self.gaps.get(pair).into_iter().flatten();
        gaps.any(|(from, until)| *from < end && start < *until)
    }

    /// Brings the marks of all windows to this moment; `told` is a gap that has just become known.
    fn update(&mut self, told: Option<(&PairKey, i64, i64)>) {
        // The state of a feed begins with its first mark.
        let has_feed = self.clock.is_some() || !self.gaps.is_empty();
        let mut marks = std::mem::take(&mut self.marks);
        for (pair, held) in &self.held {
            let time = self.time(pair).unwrap_or(i64::MIN);
            let is_closed = |start: i64, length: i64| start + length + GRACE <= time;
            let minutes: BTreeSet<i64> =
                held.iter().map(|held| held.since.div_euclid(MINUTE) * MINUTE).collect();
            for length in LENGTHS {
                let starts: BTreeSet<i64> = minutes
                    .iter()
                    .filter(|minute| length == MINUTE || is_closed(**minute, MINUTE))
                    .map(|minute| minute.div_euclid(length) * length)
                    .collect();
                for start in starts {
                    let (end, key) = (start + length, (pair.clone(), length, start));
                    let known = marks.contains_key(&key);
                    let one = marks.entry(key).or_default();
                    if !known && has_feed {
                        one.gap = self.has_gap(pair, start, end);
                    }
                    if is_closed(start, length) && !one.closed {
                        one.closed = true;
                        one.gap = self.has_gap(pair, start, end);
                        one.coverage = self.coverage(pair, start, end);
                        let newest = held.len() - 1;
                        one.newest = Some((newest, held[newest].until.unwrap_or(end)));
                    }
                    let over = told
                        .is_some_and(|(of, from, until)| of == pair && from < end && start < until);
                    if over {
                        let coverage =
                            if one.closed { self.coverage(pair, start, end) } else { None };
                        if one.closed && (one.coverage, one.gap) != (coverage, true) {
                            one.revision += 1;
                        }
                        (one.gap, one.coverage) = (true, coverage);
                    }
                }
            }
        }
        self.marks = marks;
    }

    pub(crate) fn tops(&self) -> BTreeMap<PairKey, TopOfBook> {
        let top = |(pair, held): (&PairKey, &Vec<Held>)| {
            let last = held.last()?;
            let day = |at: i64| at.div_euclid(LENGTHS[2]);
            let today = held.iter().filter(|one| day(one.since) == day(last.since));
            let mut mids: Vec<Decimal> =
                held.iter().rev().filter_map(|one| mid(&one.quote)).take(10).map(decimal).collect();
            mids.reverse();
            let quote = last.quote;
            let top = TopOfBook {
                bid: quote.bid,
                bid_size: quote.bid_size,
                ask: quote.ask,
                ask_size: quote.ask_size,
                max_spread: today
                    .filter_map(|one| spread(&one.quote))
                    .map(i128::abs)
                    .max()
                    .map(decimal),
                sequence: quote.sequence,
                state: if self.lost.contains(pair) {
                    BookState::OutOfSync
                } else {
                    BookState::InSync
                },
                event_time: quote.event_time,
                received_at: quote.received_at,
                since: Timestamp(last.since),
                clock: Timestamp(last.until.unwrap_or(last.since)),
                max_spread_day: Timestamp(day(last.since) * LENGTHS[2]),
                mids,
            };
            // The measures of the record are those of this fold.
            assert_eq!(units(top.mid_mean_10()), last.mean);
            assert_eq!(units(top.spread()), spread(&quote));
            assert_eq!(units(top.mid()), mid(&quote));
            Some((pair.clone(), top))
        };
        let never = self.never.iter().map(|(pair, (at, told))| {
            let empty = Quote::empty(Proof::None, Timestamp(*at));
            let top = TopOfBook {
                bid: empty.bid,
                bid_size: empty.bid_size,
                ask: empty.ask,
                ask_size: empty.ask_size,
                max_spread: None,
                sequence: None,
                state: BookState::OutOfSync,
                event_time: Timestamp(*at),
                received_at: Timestamp(*told),
                since: Timestamp(*at),
                clock: Timestamp(*at),
                max_spread_day: Timestamp(at.div_euclid(LENGTHS[2]) * LENGTHS[2]),
                mids: Vec::new(),
            };
            (pair.clone(), top)
        });
        self.held.iter().filter_map(top).chain(never).collect()
    }

    /// The windows of a length, from the history.
    pub(crate) fn windows(&self, length: i64) -> BTreeMap<SpreadKey, Spread> {
        let all = self.marks.iter().filter(|((_, of, _), _)| *of == length);
        let window = |((pair, _, start), marks): (&(PairKey, i64, i64), &Marks)| {
            let key = SpreadKey { pair: pair.clone(), open_time: Timestamp(*start) };
            let status = match (marks.closed, marks.revision) {
                (false, _) => Status::Open,
                (true, 0) => Status::Closed,
                (true, _) => Status::Revised,
            };
            let spread = Spread {
                gap: marks.gap,
                coverage_ms: marks.coverage,
                status,
                revision: marks.revision,
                ..self.window(pair, *start, length)
            };
            (key, spread)
        };
        all.map(window).collect()
    }

    /// The minutes of a window that are closed; the window itself when it is a minute.
    fn window(&self, pair: &PairKey, start: i64, length: i64) -> Spread {
        let minutes = self.marks.iter().filter(|((of, of_length, minute), marks)| {
            let is_in = (start..start + length).contains(minute) && *of_length == MINUTE;
            of == pair && is_in && (length == MINUTE || marks.closed)
        });
        let held = &self.held[pair];
        let (mut whole, mut seen) = (Spread::default(), Vec::<(i128, i128)>::new());
        let (mut weights, mut last) = (Vec::<(i128, i128, i64)>::new(), None);
        for ((_, _, minute), marks) in minutes {
            let end = minute + MINUTE;
            for (index, one) in held.iter().enumerate() {
                let came = (*minute..end).contains(&one.since);
                // The newest quote counts when its minute closes, and is then not counted again.
                let until = match marks.newest {
                    Some((newest, until)) if newest == index => until,
                    None if index + 1 == held.len() => one.since,
                    _ => one.until.unwrap_or(end),
                };
                let ms = until.min(end) - one.since.max(*minute);
                whole.updates += i64::from(came);
                if came {
                    last = Some(one);
                }
                let Some((spread, mid)) = spread(&one.quote).zip(mid(&one.quote)) else { continue };
                if came || ms > 0 {
                    seen.push((spread, mid));
                }
                if ms > 0 {
                    weights.push((spread, mid, ms));
                }
            }
        }
        let spreads = || seen.iter().map(|(spread, _)| *spread);
        let mids = || seen.iter().map(|(_, mid)| *mid);
        whole.spread_min = spreads().min().map(decimal);
        whole.spread_max = spreads().max().map(decimal);
        whole.spread_max_abs = spreads().map(i128::abs).max().map(decimal);
        whole.mid_open = mids().next().map(decimal);
        whole.mid_high = mids().max().map(decimal);
        whole.mid_low = mids().min().map(decimal);
        whole.mid_close = mids().next_back().map(decimal);
        whole.spread_last = spreads().next_back().map(decimal);
        whole.counted_ms = weights.iter().map(|(_, _, ms)| ms).sum();
        whole.spread_sum = sum(weights.iter().map(|(spread, _, ms)| (*spread, *ms)));
        whole.mid_sum = sum(weights.iter().map(|(_, mid, ms)| (*mid, *ms)));
        if let Some(last) = last {
            whole.mid_mean_10 = last.mean.map(decimal);
            whole.microprice = microprice(&last.quote).map(decimal);
            whole.imbalance = imbalance(&last.quote).map(decimal);
        }
        let mean = |of: i128| divide(of, i128::from(whole.counted_ms));
        let total = |of: fn(&(i128, i128, i64)) -> i128| weights.iter().map(of).sum::<i128>();
        if whole.counted_ms > 0 {
            assert_eq!(
                units(whole.spread_mean()),
                Some(mean(total(|one| one.0 * i128::from(one.2))))
            );
            assert_eq!(units(whole.mid_mean()), Some(mean(total(|one| one.1 * i128::from(one.2)))));
        }
        whole
    }
}

fn sum(terms: impl Iterator<Item = (i128, i64)>) -> WeightedSum {
    let mut sum = WeightedSum::default();
    for (value, ms) in terms {
        sum.add(decimal(value), u32::try_from(ms).unwrap_or(0));
    }
    sum
}
