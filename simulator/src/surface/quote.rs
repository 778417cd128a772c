//! The quote of one instrument: mark, greeks, bid and ask, and the other numbers of a ticker.

use super::black76::{Contract, Greeks};
use super::currency::share;
use super::instrument::{Instrument, Kind};
use super::number::{float, rounded, whole};
use super::{QUOTED_EVERY, Surface};
use crate::best::mixed;

/// Milliseconds of a year, as the venue counts it.
const YEAR_MS: i64 = 365 * 86_400_000;
/// The least time to expiry that has a value, in milliseconds.
const LEAST_LEFT_MS: i64 = 1_000;
/// The tick of an option below [`COARSE_FROM`], in coins.
pub const TICK: f64 = 0.0001;
/// The tick of an option from there on.
pub const COARSE_TICK: f64 = 0.0005;
/// The price from which the coarse tick holds.
pub const COARSE_FROM: f64 = 0.005;
/// One of this many quotes has no bid, and one no ask, beside those too cheap for a bid.
const EMPTY: u64 = 16;
/// One of this many instruments has no open interest.
const UNTOUCHED: u64 = 6;
/// The distance of the least and the largest price that the venue accepts, in coins.
const BAND: f64 = 0.04;

/// The numbers that stand beside a trade.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Quoted {
    /// The index, in cents.
    pub index: i64,
    /// The volatility that explains the price of an option, in hundredths of a percent.
    pub iv: i64,
}

/// One side of a quote.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Side {
    /// In coins.
    pub price: f64,
    /// In tenths of a contract.
    pub amount: i64,
    /// The volatility that explains the price, in percent; zero where none does.
    pub iv: f64,
}

/// The quote of an option.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct OptionQuote {
    /// In coins, with the digits of [`Surface::decimals`].
    pub mark_price: f64,
    /// In percent.
    pub mark_iv: f64,
    /// The change of the mark with each input.
    pub greeks: Greeks,
    /// `None`: nobody buys.
    pub bid: Option<Side>,
    /// `None`: nobody sells.
    pub ask: Option<Side>,
    /// In dollars.
    pub forward: f64,
    /// The least price that the venue accepts, in coins.
    pub min_price: f64,
    /// The largest price that the venue accepts, in coins.
    pub max_price: f64,
    /// `None`: the instrument has been listed since the last settlement.
    pub settlement_price: Option<f64>,
}

/// The quote of a future or a perpetual; bid and ask are those of its order book.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct FutureQuote {
    /// In dollars.
    pub mark_price: f64,
    /// In dollars.
    pub settlement_price: f64,
    /// The funding of this moment and of the last eight hours, of a perpetual.
    pub funding: Option<(f64, f64)>,
}

impl Surface {
    /// The numbers beside a trade of a product at a price in ticks, and a time.
    pub(crate) fn quoted(&self, product: usize, price: i64, now_us: i64) -> Quoted {
        let Some(instrument) = self.instrument(product) else { return Quoted::default() };
        let currency = &self.currencies[instrument.currency];
        let iv = match instrument.kind {
            Kind::Option { strike, is_call } => {
                let years = years(instrument, now_us);
                let forward = currency.forward(years);
                let price = float(price) * TICK;
                Contract { forward, strike, years, is_call }.implied(price).unwrap_or(0.0)
            }
            Kind::Future | Kind::Perpetual => 0.0,
        };
        Quoted { index: whole(currency.index() * 100.0), iv: whole(iv * 100.0) }
    }

    /// Digits of a mark price after the point.
    pub fn decimals(&self, instrument: &Instrument) -> u8 {
        if self.currencies[instrument.currency].name == "BTC" { 8 } else { 6 }
    }

    /// The index of an instrument's currency, in dollars.
    pub fn index_of(&self, instrument: &Instrument) -> f64 {
        self.currencies[instrument.currency].index()
    }

    /// The name of an instrument's underlying: a future, or a synthetic one where there is none.
    pub fn underlying(&self, instrument: &Instrument) -> String {
        let coin = &self.currencies[instrument.currency].name;
        let prefix = if instrument.has_future { "" } else { "SYN." };
        format!("{prefix}{coin}-{}", instrument.expiry.as_deref().unwrap_or_default())
    }

    /// Contracts that are held, in tenths. They change by the minute.
    pub fn open_interest(&self, product: usize) -> i64 {
        let of_product = mixed(self.seed ^ product as u64);
        if of_product.is_multiple_of(UNTOUCHED) {
            return 0;
        }
        let moves = mixed(of_product ^ (self.ticks / 600)) % 50;
        ((of_product >> 8) % 20_000 + 50 + moves).cast_signed()
    }

    /// The quote of an option at a time; `None` for everything else.
    pub fn option(&self, product: usize, now_us: i64) -> Option<OptionQuote> {
        let instrument = self.instrument(product)?;
        let Kind::Option { strike, is_call } = instrument.kind else { return None };
        let currency = &self.currencies[instrument.currency];
        let years = years(instrument, now_us);
        let forward = currency.forward(years);
        let mark_iv = currency.iv(strike, forward, years, instrument.valued_ms);
        let contract = Contract { forward, strike, years, is_call };
        let decimals = self.decimals(instrument);
        let least = 10f64.powi(-i32::from(decimals));
        let mark_price = rounded(contract.price(mark_iv), decimals).max(least);
        let (bid, ask) = self.sides(product, &contract, mark_price);
        // As of a day ago, the index a little elsewhere.
        let settled = mark_price * (0.9 + 0.2 * share(self.seed ^ product as u64));
        let is_new = instrument.is_new || mixed(product as u64).is_multiple_of(8);
        Some(OptionQuote {
            mark_price,
            mark_iv,
            greeks: contract.greeks(mark_iv),
            bid,
            ask,
            forward,
            min_price: down(mark_price - BAND).max(TICK),
            max_price: up(mark_price + BAND),
            settlement_price: (!is_new).then_some(rounded(settled, 4)),
        })
    }

    /// Bid and ask around a mark, on the ticks of the venue.
    fn sides(&self, product: usize, of: &Contract, mark: f64) -> (Option<Side>, Option<Side>) {
        let number = (self.ticks + product as u64) / QUOTED_EVERY;
        let bits = mixed(self.seed ^ mixed(product as u64) ^ number);
        let half = TICK.max(mark * (0.005 + 0.03 * share(bits)));
        let side = |price: f64, bits: u64| {
            let amount = (1 + bits % 500).cast_signed();
            let iv = of.implied(price).map_or(0.0, |iv| rounded(iv, 2));
            Side { price, amount, iv }
        };
        let (below, above) = (down(mark - half), up(mark + half));
        let has_bid = below >= TICK && !(bits >> 16).is_multiple_of(EMPTY);
        let has_ask = !(bits >> 24).is_multiple_of(EMPTY);
        (has_bid.then(|| side(below, bits >> 32)), has_ask.then(|| side(above, bits >> 40)))
    }

    /// The quote of a future or a perpetual at a time; `None` for everything else.
    pub fn future(&self, product: usize, now_us: i64) -> Option<FutureQuote> {
        let instrument = self.instrument(product)?;
        let currency = &self.currencies[instrument.currency];
        let (mark_price, funding) = match instrument.kind {
            Kind::Option { .. } => return None,
            Kind::Future => (currency.forward(years(instrument, now_us)), None),
            Kind::Perpetual => {
                // A premium of up to two basis points either way, another each second.
                let bits = mixed(self.seed ^ (self.ticks / QUOTED_EVERY) ^ product as u64);
                let premium = (share(bits) - 0.5) * 4e-4;
                let mark = rounded(currency.index() * (1.0 + premium), 2);
                (mark, Some((rounded(premium / 2.0, 8), rounded(premium, 8))))
            }
        };
        let settlement_price = rounded(mark_price * 0.998, 2);
        Some(FutureQuote { mark_price, settlement_price, funding })
    }
}

/// The time to expiry in years.
fn years(instrument: &Instrument, now_us: i64) -> f64 {
    float((instrument.valued_ms - now_us / 1000).max(LEAST_LEFT_MS)) / float(YEAR_MS)
}

/// The venue's tick at a price, in units of [`TICK`].
fn tick(price: f64) -> f64 {
    if price < COARSE_FROM { 1.0 } else { COARSE_TICK / TICK }
}

/// The next price below on the venue's ticks.
fn down(price: f64) -> f64 {
    let tick = tick(price);
    float(whole((price / TICK / tick).floor() * tick)) * TICK
}

/// The next price above on the venue's ticks.
fn up(price: f64) -> f64 {
    let tick = tick(price);
    float(whole((price / TICK / tick).ceil() * tick)) * TICK
}
