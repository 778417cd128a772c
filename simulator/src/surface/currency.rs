//! The market of one coin: its index, and the volatility of each expiry and strike.
//!
//! The index is a random walk that returns to where it began, so that it stays among the strikes. The
//! level of volatility is another.
//!
//! ```text
//! F(T)   = index · e^(carry · T)
//! v(T)   = long + (short − long) · e^(−4T), times the level
//! w(k)   = a + b · (ρk + √(k² + s²)),  k = ln(K/F),  w(0) = v²T     (SVI)
//! iv     = √(w/T)
//! ```

use rand::rngs::StdRng;
use rand::{Rng as _, SeedableRng as _};

use super::number::{float, rounded};
use crate::best::mixed;

/// Steps of the walk in a year, each of a tenth of a second.
const STEPS_A_YEAR: f64 = 365.0 * 86_400.0 * 10.0;
/// The volatility of the index, a year.
const INDEX_MOVES: f64 = 0.5;
/// The volatility of the level of volatility, a year.
const LEVEL_MOVES: f64 = 1.5;
/// The part of its distance by which a walk returns in a step: within an hour, most of it.
const RETURNS: f64 = 1.0 / 36_000.0;
/// At-the-money volatility of distant expiries.
const LONG: f64 = 0.62;
/// The least volatility of a strike, in percent.
const MIN_IV: f64 = 5.0;
/// The largest volatility of a strike, in percent.
const MAX_IV: f64 = 300.0;

/// A coin.
#[derive(Debug)]
pub(super) struct Currency {
    pub(super) name: String,
    first: f64,
    seed: u64,
    rng: StdRng,
    /// The logarithm of the index over its beginning.
    moved: f64,
    /// The logarithm of the level of volatility.
    level: f64,
    carry: f64,
    short: f64,
}

/// The index of a coin at the beginning, in dollars.
pub(crate) fn first_index(currency: &str) -> f64 {
    match currency {
        "BTC" => 61_837.63,
        "ETH" => 2_680.12,
        _ => 100.0,
    }
}

/// A number from zero up to one that a seed decides.
pub(super) fn share(seed: u64) -> f64 {
    float((mixed(seed) >> 12).cast_signed()) / float(1 << 52)
}

impl Currency {
    pub(super) fn new(name: &str, seed: u64) -> Self {
        let seed = name.bytes().fold(mixed(seed), |seed, byte| mixed(seed ^ u64::from(byte)));
        Self {
            name: name.into(),
            first: first_index(name),
            seed,
            rng: StdRng::seed_from_u64(seed),
            moved: 0.0,
            level: 0.0,
            carry: 0.03 + 0.05 * share(seed ^ 1),
            short: 0.45 + 0.3 * share(seed ^ 2),
        }
    }

    /// A tenth of a second passes.
    pub(super) fn step(&mut self) {
        let root = STEPS_A_YEAR.sqrt();
        self.moved += -self.moved * RETURNS + INDEX_MOVES / root * normal(&mut self.rng);
        self.level += -self.level * RETURNS + LEVEL_MOVES / root * normal(&mut self.rng);
    }

    /// The index in dollars.
    pub(super) fn index(&self) -> f64 {
        rounded(self.first * self.moved.exp(), 2)
    }

    /// The price of the coin at an expiry, in dollars.
    pub(super) fn forward(&self, years: f64) -> f64 {
        rounded(self.index() * (self.carry * years).exp(), 2)
    }

    /// The volatility of a strike in percent, with the two fraction digits that the venue states.
    pub(super) fn iv(&self, strike: f64, forward: f64, years: f64, expiry_ms: i64) -> f64 {
        let of_expiry = self.seed ^ expiry_ms.cast_unsigned();
        let at_the_money = LONG + (self.short - LONG) * (-4.0 * years).exp();
        let at_the_money = at_the_money * self.level.exp();
        let width = at_the_money * years.sqrt();
        let skew = -0.35 + 0.4 * share(of_expiry);
        let slope = width * (0.3 + 0.15 * share(of_expiry ^ 3));
        let distance = (strike / forward).ln();
        let root = (distance * distance + width * width).sqrt();
        let variance = width * width + slope * (skew * distance + root - width);
        rounded((variance / years).sqrt() * 100.0, 2).clamp(MIN_IV, MAX_IV)
    }
}

/// A number that is about normal: twelve even ones less six.
fn normal(rng: &mut StdRng) -> f64 {
    (0..12).map(|_| rng.random::<f64>()).sum::<f64>() - 6.0
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_index_moves_and_stays_among_the_strikes() {
        let mut currency = Currency::new("BTC", 7);
        let first = currency.index();
        let mut others = 0;
        for _ in 0..100_000 {
            currency.step();
            let ratio = currency.index() / first;
            assert!((0.9..1.1).contains(&ratio), "{ratio}");
            others += u32::from((ratio - 1.0).abs() > 1e-9);
        }
        assert!(others > 99_000, "{others}");
    }

    #[test]
    fn a_smile_is_lowest_near_the_money_and_wider_the_nearer_the_expiry() {
        let currency = Currency::new("BTC", 7);
        let iv = |ratio: f64, years| currency.iv(60_000.0 * ratio, 60_000.0, years, 1);
        assert!(iv(0.6, 0.1) > iv(0.95, 0.1) && iv(1.6, 0.1) > iv(1.0, 0.1));
        assert!(iv(0.6, 0.003) > iv(0.6, 0.5));
        let other = Currency::new("BTC", 8);
        let differs = (other.iv(50_000.0, 60_000.0, 0.1, 1) - iv(5.0 / 6.0, 0.1)).abs();
        assert!(differs > 0.01, "the seed decides");
    }
}
