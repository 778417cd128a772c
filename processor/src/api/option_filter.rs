//! The filters of reads of options: currency, expiry, right, strikes and state.
//!
//! A currency or expiry that no option here has is a 404 that names those that exist: a misspelled
//! name must not look like an empty market.

use std::collections::{BTreeMap, BTreeSet};

use schemas::instrument::{CLOSED, Class, InstrumentName, Right};
use schemas::{Decimal, OptionState, PairKey, Timestamp};
use serde::Serialize;

use super::error::{Refusal, Result};
use super::params::{Params, part};
use super::rows::{AsText, Time};

/// Expiries in the list of an answer: years of dailies, weeklies and quarterlies of every currency.
const MAX_EXPIRIES: usize = 500;
/// Currencies and expiries that a refusal names: as many as a person reads.
const MAX_NAMED: usize = 50;
/// The length of `2026-12-25`, the day of a time as text.
const DAY: usize = 10;
/// Milliseconds of a day.
const DAY_MS: i64 = 86_400_000;

/// The day on which an option expires, UTC: its first instant.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct ExpiryDay(i64);

impl ExpiryDay {
    /// Reads `2026-12-25`, or `25DEC26` as venues write it.
    pub(super) fn parse(text: &str) -> Option<Self> {
        let of_venue = || {
            let name = InstrumentName::parse(&format!("X-{}", text.to_ascii_uppercase()))?;
            name.expiry_time.filter(|_| name.class == Class::Future)
        };
        let is_day = text.len() == DAY && text.bytes().all(|b| b.is_ascii_digit() || b == b'-');
        let time = is_day.then(|| Timestamp::parse_rfc3339(&format!("{text}T00:00:00Z"))).flatten();
        time.or_else(of_venue).map(Self::of)
    }

    /// The day of an expiry.
    pub(super) const fn of(time: Timestamp) -> Self {
        Self(time.0 - time.0.rem_euclid(DAY_MS))
    }
}

impl std::fmt::Display for ExpiryDay {
    /// As the parameter `expiry` takes it.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let text = Timestamp(self.0).to_string();
        f.write_str(text.get(..DAY).unwrap_or(&text))
    }
}

/// Reads the parameter `expiry`.
pub(super) fn expiry(params: &Params) -> Result<Option<ExpiryDay>> {
    let Some(text) = params.get("expiry") else {
        return Ok(None);
    };
    ExpiryDay::parse(text).map(Some).ok_or_else(|| {
        Refusal::bad(format!("expiry: {text:?} is no day: send it as 2026-12-25 or as 25DEC26"))
    })
}

/// The states that are asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum StateFilter {
    /// Every option.
    Any,
    /// Those that have not ended.
    Open,
    /// Those that have ended.
    Closed,
}

impl StateFilter {
    /// Reads the parameter `state`.
    pub(super) fn read(params: &Params) -> Result<Self> {
        let words = [("any", Self::Any), ("open", Self::Open), ("closed", Self::Closed)];
        params.word("state", &words)
    }

    /// Whether it has a state.
    pub(super) fn has(self, state: &str) -> bool {
        match self {
            Self::Any => true,
            Self::Open => state != CLOSED,
            Self::Closed => state == CLOSED,
        }
    }
}

/// The market of an option: the options of one market and expiry are one chain and one smile.
#[derive(Clone, Debug, Default)]
pub(super) struct MarketFilter {
    /// The currency of the underlying; `None` is any, as below.
    pub(super) currency: Option<String>,
    /// The currency of the price.
    pub(super) quote: Option<String>,
    /// The venue.
    pub(super) exchange: Option<String>,
}

impl MarketFilter {
    /// The parameters that it reads.
    pub(super) const NAMES: [&'static str; 3] = ["currency", "quote", "exchange"];

    /// Reads the parameters.
    pub(super) fn new(params: &Params) -> Result<Self> {
        let read = |name: &str| params.get(name).map(|value| part(name, value)).transpose();
        let [currency, quote, exchange] = Self::NAMES.map(read);
        Ok(Self { currency: currency?, quote: quote?, exchange: exchange? })
    }

    /// Whether an instrument of the currency is of it.
    pub(super) fn has(&self, pair: &PairKey, currency: &str) -> bool {
        let is = |wanted: &Option<String>, value: &str| {
            wanted.as_ref().is_none_or(|wanted| wanted == value)
        };
        is(&self.currency, currency) && is(&self.quote, &pair.quote) && self.is_of(&pair.exchange)
    }

    fn is_of(&self, exchange: &str) -> bool {
        self.exchange.as_ref().is_none_or(|wanted| wanted == exchange)
    }
}

/// Whether it is digits, with or without a fraction. The document of the routes says the same.
fn is_strike(text: &str) -> bool {
    let digits = |part: &str| !part.is_empty() && part.bytes().all(|byte| byte.is_ascii_digit());
    match text.split_once('.') {
        Some((whole, fraction)) => digits(whole) && digits(fraction),
        None => digits(text),
    }
}

/// The strikes and the rights within an expiry.
#[derive(Clone, Copy, Debug)]
pub(super) struct StrikeFilter {
    right: Option<Right>,
    from: Option<Decimal>,
    to: Option<Decimal>,
}

impl StrikeFilter {
    /// The parameters that it reads.
    pub(super) const NAMES: [&'static str; 3] = ["right", "strike_from", "strike_to"];

    /// Reads the parameters.
    pub(super) fn new(params: &Params) -> Result<Self> {
        let strike = |name: &str| {
            let Some(text) = params.get(name) else { return Ok(None) };
            let strike = is_strike(text).then(|| text.parse::<Decimal>().ok()).flatten();
            strike.map(Some).ok_or_else(|| {
                Refusal::bad(format!("{name}: {text:?} is no strike: send digits, as in 1.02"))
            })
        };
        let (from, to) = (strike("strike_from")?, strike("strike_to")?);
        if from.zip(to).is_some_and(|(from, to)| from > to) {
            return Err(Refusal::bad("strike_from: is above strike_to"));
        }
        let rights = [Right::Call, Right::Put].map(|right| (right.as_str(), Some(right)));
        let right = match params.get("right") {
            Some(_) => params.word("right", &rights)?,
            None => None,
        };
        Ok(Self { right, from, to })
    }

    /// Whether it has an option. Both ends of the strikes are in it.
    pub(super) fn has(&self, option: &OptionState) -> bool {
        self.right.is_none_or(|right| right == option.right)
            && self.from.is_none_or(|from| from <= option.strike)
            && self.to.is_none_or(|to| option.strike <= to)
    }
}

/// A market and an expiry, in the order of answers.
type SmileKey = (String, Timestamp, String, String);

/// The currencies that a scan has seen, and whether one of its instruments is of the market.
#[derive(Default)]
pub(super) struct Currencies {
    named: BTreeSet<String>,
    is_here: bool,
}

impl Currencies {
    /// Records an instrument. Returns whether it is of the market.
    pub(super) fn add(&mut self, market: &MarketFilter, pair: &PairKey, currency: &str) -> bool {
        if !self.named.contains(currency) && self.named.len() < MAX_NAMED {
            self.named.insert(currency.to_owned());
        }
        let has = market.has(pair, currency);
        self.is_here |= has;
        has
    }

    /// The refusal of a market of which no instrument is here, if it is one; `class` is that of the
    /// instruments.
    pub(super) fn missing(&self, market: &MarketFilter, class: &str) -> Option<Refusal> {
        let MarketFilter { currency, quote, exchange } = market;
        let parts = [("currency", currency), ("quote", quote), ("exchange", exchange)];
        let asked =
            parts.map(|(name, value)| value.as_ref().map(|value| format!("{name} {value}")));
        let asked: Vec<String> = asked.into_iter().flatten().collect();
        if self.is_here || asked.is_empty() {
            return None;
        }
        let named: Vec<String> = self.named.iter().cloned().collect();
        let remedy = if named.is_empty() {
            "follow a currency with producer run --venue deribit --currency BTC, and compute it with \
             processor run --topologies prices,options"
                .to_owned()
        } else {
            format!("choose one of the currencies {}, or ask a view", named.join(", "))
        };
        let reason = format!("{}: no {class} here is of it: {remedy}", asked.join(", "));
        Some(Refusal::not_found(reason).with("currencies", named))
    }
}

/// The currencies and expiries of the options that a scan has seen.
#[derive(Default)]
pub(super) struct Seen {
    currencies: Currencies,
    /// Options, and those that have not ended.
    expiries: BTreeMap<SmileKey, (usize, usize)>,
    /// Whether the market has more expiries than fit.
    is_cut: bool,
}

/// An expiry of a market, and the number of its options.
#[derive(Serialize)]
pub(super) struct ExpiryRow<'a> {
    exchange: &'a str,
    currency: &'a str,
    quote: &'a str,
    expiry: AsText<ExpiryDay>,
    expiry_time: Time,
    options: usize,
    open: usize,
}

impl Seen {
    /// Counts an option. Returns whether it is of the market.
    pub(super) fn add(
        &mut self,
        market: &MarketFilter,
        pair: &PairKey,
        option: &OptionState,
    ) -> bool {
        if !self.currencies.add(market, pair, &option.currency) {
            return false;
        }
        let is_open = usize::from(StateFilter::Open.has(&option.state));
        let (currency, quote, exchange) = (&option.currency, &pair.quote, &pair.exchange);
        let key = (currency.clone(), option.expiry_time, exchange.clone(), quote.clone());
        if let Some((options, open)) = self.expiries.get_mut(&key) {
            *options += 1;
            *open += is_open;
        } else if self.expiries.len() < MAX_EXPIRIES {
            self.expiries.insert(key, (1, is_open));
        } else {
            self.is_cut = true;
        }
        true
    }

    /// The expiries of the market.
    pub(super) fn expiries(&self) -> Vec<ExpiryRow<'_>> {
        let rows = self.expiries.iter().map(|(key, (options, open))| {
            let (currency, expiry_time, exchange, quote) = key;
            ExpiryRow {
                exchange,
                currency,
                quote,
                expiry: AsText(ExpiryDay::of(*expiry_time)),
                expiry_time: AsText(*expiry_time),
                options: *options,
                open: *open,
            }
        });
        rows.collect()
    }

    /// The refusal of a market or an expiry that no option here has, if it is one.
    pub(super) fn missing(
        &self,
        market: &MarketFilter,
        expiry: Option<ExpiryDay>,
    ) -> Option<Refusal> {
        if let Some(refusal) = self.currencies.missing(market, "option") {
            return Some(refusal);
        }
        let wanted = expiry?;
        let days: BTreeSet<i64> =
            self.expiries.keys().map(|(_, time, ..)| ExpiryDay::of(*time).0).collect();
        if days.contains(&wanted.0) || self.is_cut {
            return None;
        }
        let named = days.iter().take(MAX_NAMED).map(|day| ExpiryDay(*day).to_string());
        let named: Vec<String> = named.collect();
        let more = if days.len() > named.len() { ", …" } else { "" };
        let reason = format!(
            "expiry {wanted}: no option here expires on that day: {}{more}",
            if named.is_empty() {
                "there are no options here".to_owned()
            } else {
                format!("choose one of {}", named.join(", "))
            }
        );
        Some(Refusal::not_found(reason).with("expiries", named))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_day_is_read_in_both_notations() {
        for text in ["2026-12-25", "25DEC26", "25dec26"] {
            let day = ExpiryDay::parse(text).map(|day| day.to_string());
            assert_eq!(day.as_deref(), Some("2026-12-25"), "{text}");
        }
        assert_eq!(
            ExpiryDay::parse("5JAN27").map(|day| day.to_string()).as_deref(),
            Some("2027-01-05")
        );
        for text in [
            "",
            "2026-12",
            "2026-13-01",
            "2026-02-30",
            "31FEB26",
            "PERPETUAL",
            "25DEC26-1-C",
            "25DEC",
            "2026-12-25T00:00:00Z",
            "1766649600000",
            "25DEC2026",
        ] {
            assert_eq!(ExpiryDay::parse(text), None, "{text}");
        }
    }

    #[test]
    fn an_expiry_belongs_to_its_day_in_utc() {
        let day = ExpiryDay::parse("1970-01-02");
        assert_eq!(day, Some(ExpiryDay::of(Timestamp(DAY_MS))));
        assert_eq!(day, Some(ExpiryDay::of(Timestamp(2 * DAY_MS - 1))));
        assert_ne!(day, Some(ExpiryDay::of(Timestamp(DAY_MS - 1))));
    }
}
