//! The volatility surface from which the simulated Deribit quotes its options, seeded.
//!
//! A value without a clock: it advances in ticks of a tenth of a second up to the time that it is
//! given. All quotes of a currency come from one index and one surface, so that calls and puts, strikes
//! and expiries agree.
//!
//! ```text
//! Currency ── index, level of volatility: one step a tick
//!   └ forward, smile ─→ Contract (Black-76) ─→ mark, greeks ─→ bid and ask ─→ Quote
//! names, settings ─→ Instrument: Pending ─→ Open ─→ Closed
//! ```
//!
//! Invariants:
//! - The seed, the names and the ticks decide every number; only the time to expiry is an argument.
//! - An instrument is closed once, and stays closed.
//! - A mark is the value by Black-76 of the volatility and the forward that stand beside it.
//!
//! Trades and order books do not come from here: they are the market's, as at the other venues.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::time::Duration;

pub mod black76;
pub(crate) mod currency;
pub mod expiry;
pub mod instrument;
pub mod listing;
pub(crate) mod number;
pub mod quote;
pub mod settings;

use currency::Currency;
use instrument::{Instrument, Kind, Life, Name};
use settings::SurfaceSettings;

/// Microseconds of a tick.
pub const TICK_US: i64 = 100_000;
/// Ticks after which an instrument has another quote.
pub const QUOTED_EVERY: u64 = 10;
/// Ticks between two messages of a channel that aggregates (`agg2`): two seconds.
pub const AGGREGATED_EVERY: u64 = 20;
/// Ticks that are made up for at once: an hour. A machine that slept longer goes on from there.
const MAX_BEHIND: i64 = 36_000;
/// Days that are left of an instrument whose expiry was past at the start, for its value.
const LEFT_DAYS: i64 = 30;
/// Days for which an instrument of the start has been listed.
const LISTED_DAYS: i64 = 7;
/// Milliseconds of a day.
const DAY_MS: i64 = 86_400_000;
/// Lines of the truth that wait to be written; a tick makes some hundreds.
const MAX_LINES: usize = 200_000;

/// The options, futures and perpetuals of a market, by the index of the product.
#[derive(Debug)]
pub struct Surface {
    seed: u64,
    currencies: Vec<Currency>,
    instruments: Vec<Option<Instrument>>,
    start_us: i64,
    now_us: i64,
    ticks: u64,
    /// To be written, when there is a file.
    lines: Option<VecDeque<String>>,
}

impl Surface {
    /// The surface of these products at a time. Products with other names are not on it.
    pub fn new(seed: u64, names: &[&str], now_us: i64, settings: &SurfaceSettings) -> Self {
        let parsed: Vec<Option<Name<'_>>> = names.iter().map(|name| Name::parse(name)).collect();
        let coins: BTreeSet<&str> = parsed.iter().flatten().map(|name| name.currency).collect();
        let currencies: Vec<Currency> =
            coins.iter().map(|name| Currency::new(name, seed)).collect();
        let lives = lives(&parsed, now_us, settings);
        let futures: BTreeSet<(&str, &str)> = parsed
            .iter()
            .flatten()
            .filter(|name| name.kind == Kind::Future)
            .filter_map(|name| Some((name.currency, name.expiry?)))
            .collect();
        let instruments = parsed.iter().map(|name| {
            let name = name.as_ref()?;
            let currency = currencies.iter().position(|one| one.name == name.currency)?;
            let span = name.expiry_ms.and_then(|expiry| lives.get(&(name.currency, expiry)));
            let span = span.copied().unwrap_or_default();
            let is_past = name.expiry_ms.is_some_and(|expiry| expiry <= now_us / 1000);
            let valued = now_us / 1000 + LEFT_DAYS * DAY_MS;
            Some(Instrument {
                currency,
                kind: name.kind,
                expiry_ms: name.expiry_ms,
                expiry: name.expiry.map(str::to_owned),
                has_future: name
                    .expiry
                    .is_some_and(|date| futures.contains(&(name.currency, date))),
                listed_ms: span
                    .opens_us
                    .map_or(now_us / 1000 - LISTED_DAYS * DAY_MS, |at| at / 1000),
                is_new: span.opens_us.is_some(),
                life: if span.opens_us.is_some() { Life::Pending } else { Life::Open },
                opens_us: span.opens_us.unwrap_or(now_us),
                closes_us: span.closes_us,
                valued_ms: if is_past { valued } else { name.expiry_ms.unwrap_or(valued) },
            })
        });
        let instruments = instruments.collect();
        Self { seed, currencies, instruments, start_us: now_us, now_us, ticks: 0, lines: None }
    }

    /// Lets time pass up to `now_us`; what is listed and what ends by then.
    pub fn advance(&mut self, now_us: i64) -> Vec<(usize, Life)> {
        if self.currencies.is_empty() {
            return Vec::new();
        }
        let due = (now_us - self.start_us).div_euclid(TICK_US) - self.ticks.cast_signed();
        if due > MAX_BEHIND {
            self.start_us += (due - MAX_BEHIND) * TICK_US;
        }
        if due > 0 {
            self.now_us = now_us;
        }
        let mut changes = Vec::new();
        for _ in 0..due.min(MAX_BEHIND) {
            self.ticks += 1;
            self.currencies.iter_mut().for_each(Currency::step);
            let (ticks, time_us) = (self.ticks, self.start_us + self.ticks.cast_signed() * TICK_US);
            for (index, instrument) in self.instruments.iter_mut().enumerate() {
                let Some(instrument) = instrument else { continue };
                match instrument.life {
                    Life::Pending if instrument.opens_us <= time_us => instrument.life = Life::Open,
                    Life::Open if instrument.closes_us.is_some_and(|at| at <= time_us) => {
                        instrument.close(ticks, now_us);
                    }
                    _ => continue,
                }
                changes.push((index, instrument.life));
            }
        }
        changes
    }

    /// The time of the newest tick, in microseconds since the epoch.
    pub fn now_us(&self) -> i64 {
        self.now_us
    }

    /// The ticks so far.
    pub fn ticks(&self) -> u64 {
        self.ticks
    }

    /// The instrument of a product, if it is on the surface.
    pub fn instrument(&self, product: usize) -> Option<&Instrument> {
        self.instruments.get(product)?.as_ref()
    }

    /// A product can be traded. One that is not on the surface always can.
    pub fn is_open(&self, product: usize) -> bool {
        self.instrument(product).is_none_or(|instrument| instrument.life == Life::Open)
    }

    /// A product was listed, whether it has ended since or not.
    pub fn is_known(&self, product: usize) -> bool {
        self.instrument(product).is_none_or(|instrument| instrument.life != Life::Pending)
    }

    /// Lists a product before its time.
    pub fn list(&mut self, product: usize) {
        if let Some(Some(instrument)) = self.instruments.get_mut(product)
            && instrument.life == Life::Pending
        {
            instrument.life = Life::Open;
        }
    }

    /// Ends a product before its time. Its last ticker comes with the next tick.
    pub fn end(&mut self, product: usize, now_us: i64) {
        if let Some(Some(instrument)) = self.instruments.get_mut(product)
            && instrument.life == Life::Open
        {
            instrument.close(self.ticks + 1, now_us);
        }
    }

    /// A quote of a product is due in a tick: ten a second have their turn, one after the other.
    pub fn is_due(&self, product: usize, tick: u64, every: u64) -> bool {
        match self.instrument(product).map(|instrument| instrument.life) {
            Some(Life::Open) => (tick + product as u64).is_multiple_of(every),
            Some(Life::Closed(closed)) => closed == tick,
            Some(Life::Pending) | None => false,
        }
    }

    /// The index of the currency of that name, in dollars.
    pub fn index(&self, currency: &str) -> Option<f64> {
        self.currencies.iter().find(|one| one.name == currency).map(Currency::index)
    }

    /// Keeps lines for a file from now on.
    pub fn keep_lines(&mut self) {
        self.lines = Some(VecDeque::new());
    }

    /// Lines are kept.
    pub fn keeps_lines(&self) -> bool {
        self.lines.is_some()
    }

    /// Keeps a line, if lines are kept.
    pub fn note(&mut self, line: String) {
        let Some(lines) = &mut self.lines else { return };
        if lines.len() >= MAX_LINES {
            lines.pop_front();
        }
        lines.push_back(line);
    }

    /// Takes the lines that are to be written.
    pub fn take_lines(&mut self) -> Vec<String> {
        self.lines.as_mut().map(|lines| lines.drain(..).collect()).unwrap_or_default()
    }
}

/// When the instruments of an expiry become open, if not at once, and when they become closed.
#[derive(Clone, Copy, Debug, Default)]
struct Span {
    opens_us: Option<i64>,
    closes_us: Option<i64>,
}

/// The spans by currency and expiry.
fn lives<'a>(
    names: &[Option<Name<'a>>],
    now_us: i64,
    settings: &SurfaceSettings,
) -> BTreeMap<(&'a str, i64), Span> {
    let mut lives: BTreeMap<(&str, i64), Span> = BTreeMap::new();
    let mut order: BTreeMap<&str, (i64, i64)> = BTreeMap::new();
    let expiries: BTreeSet<(&str, i64)> =
        names.iter().flatten().filter_map(|name| Some((name.currency, name.expiry_ms?))).collect();
    let is_later = later(now_us, settings);
    for (currency, expiry_ms) in expiries {
        let (ended, listed) = order.entry(currency).or_default();
        let at_expiry = (expiry_ms * 1000 > now_us).then_some(expiry_ms * 1000);
        let mut span = Span { opens_us: None, closes_us: at_expiry };
        if is_later.contains(&expiry_ms) {
            *listed += 1;
            span.opens_us = settings.list_every.map(|every| now_us + micros(every) * *listed);
        } else if let Some(every) = settings.expire_every {
            *ended += 1;
            let early = now_us + micros(every) * *ended;
            span.closes_us = Some(at_expiry.map_or(early, |at| at.min(early)));
        }
        lives.insert((currency, expiry_ms), span);
    }
    lives
}

/// The expiries that are listed while it runs.
fn later(now_us: i64, settings: &SurfaceSettings) -> BTreeSet<i64> {
    if settings.list_every.is_none() {
        return BTreeSet::new();
    }
    listing::later(now_us).into_iter().map(expiry::time_ms).collect()
}

fn micros(span: Duration) -> i64 {
    i64::try_from(span.as_micros()).unwrap_or(i64::MAX / 1_000_000)
}

#[cfg(test)]
#[path = "surface_tests.rs"]
mod tests;
