//! Black-76 with an interest rate of zero: how the venue values its options.
//!
//! Values without a clock. Prices are in coins of the underlying, volatilities in percent a year; the
//! greeks have the venue's units: vega and rho in dollars for one percentage point, theta in dollars a
//! day. As at the venue, theta of an option's last day is that of the rest of the day, and no option
//! loses more than its value.
//!
//! ```text
//! d1 = (ln(F/K) + σ²T/2) / (σ√T)      d2 = d1 − σ√T
//! call = N(d1) − K/F · N(d2)           put = K/F · N(−d2) − N(−d1)
//! ```

use std::f64::consts::{FRAC_1_SQRT_2, PI};

/// The lowest volatility that a price is explained by, in percent.
const MIN_IV: f64 = 0.01;
/// The highest volatility that the venue states, in percent.
pub const MAX_IV: f64 = 999.0;
/// Halvings of the range above: 999 / 2³⁰ is a millionth of a percent.
const HALVINGS: u32 = 30;
/// Days of a year, as the venue counts them.
const DAYS: f64 = 365.0;

/// An option, its forward and the time that is left.
///
/// ```
/// use simulator::surface::black76::Contract;
///
/// let call = Contract { forward: 60_000.0, strike: 60_000.0, years: 0.25, is_call: true };
/// let put = Contract { is_call: false, ..call };
/// assert!((call.price(80.0) - put.price(80.0)).abs() < 1e-12);
/// assert!((call.implied(call.price(80.0)).unwrap_or(0.0) - 80.0).abs() < 1e-4);
/// ```
#[derive(Clone, Copy, Debug)]
pub struct Contract {
    /// The price of the underlying at expiry, in dollars.
    pub forward: f64,
    /// In dollars.
    pub strike: f64,
    /// The time to the expiry, in years of 365 days.
    pub years: f64,
    /// A call, not a put.
    pub is_call: bool,
}

/// The change of the value with each input.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Greeks {
    /// With the forward.
    pub delta: f64,
    /// Of delta, with the forward.
    pub gamma: f64,
    /// In dollars, for one percentage point of volatility.
    pub vega: f64,
    /// In dollars, for one day or what is left of it: no more than the value.
    pub theta: f64,
    /// In dollars, for one percentage point of the interest rate.
    pub rho: f64,
}

impl Contract {
    /// The value in coins at a volatility in percent.
    pub fn price(&self, iv: f64) -> f64 {
        let (above, below) = self.distances(iv);
        let ratio = self.strike / self.forward;
        if self.is_call {
            normal(above) - ratio * normal(below)
        } else {
            ratio * normal(-below) - normal(-above)
        }
    }

    /// The greeks at a volatility in percent.
    pub fn greeks(&self, iv: f64) -> Greeks {
        let (above, below) = self.distances(iv);
        let (sigma, root) = (iv / 100.0, self.years.sqrt());
        let density = (-above * above / 2.0).exp() / (2.0 * PI).sqrt();
        let sign = if self.is_call { 1.0 } else { -1.0 };
        Greeks {
            delta: sign * normal(sign * above),
            gamma: density / (self.forward * sigma * root),
            vega: self.forward * density * root / 100.0,
            theta: -self.decay(density, sigma, root).min(self.price(iv) * self.forward),
            rho: sign * self.strike * self.years * normal(sign * below) / 100.0,
        }
    }

    /// The volatility in percent that explains a price in coins: `None` below the least value, at
    /// most [`MAX_IV`].
    pub fn implied(&self, price: f64) -> Option<f64> {
        if price <= self.price(MIN_IV) {
            return None;
        }
        let (mut low, mut high) = (MIN_IV, MAX_IV);
        for _ in 0..HALVINGS {
            let middle = f64::midpoint(low, high);
            if self.price(middle) < price { low = middle } else { high = middle }
        }
        Some(high)
    }

    /// The value in dollars that a day takes, or the rest of the last day: by the slope of now.
    fn decay(&self, density: f64, sigma: f64, root: f64) -> f64 {
        let days = (self.years * DAYS).min(1.0);
        self.forward * density * sigma / (2.0 * root) / DAYS * days
    }

    /// d1 and d2.
    fn distances(&self, iv: f64) -> (f64, f64) {
        let spread = iv / 100.0 * self.years.sqrt();
        let above = (self.forward / self.strike).ln() / spread + spread / 2.0;
        (above, above - spread)
    }
}

/// The probability that a standard normal number is below.
fn normal(x: f64) -> f64 {
    libm::erfc(-x * FRAC_1_SQRT_2) / 2.0
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_price_below_the_least_value_has_no_volatility_and_a_huge_one_the_largest() {
        let call = Contract { forward: 64_023.94, strike: 28_000.0, years: 0.187, is_call: true };
        assert_eq!(call.implied(0.562), None, "less than 1 − K/F");
        assert!(call.implied(0.5985).is_some_and(|iv| iv > 100.0));
        assert!(call.implied(2.0).is_some_and(|iv| (iv - MAX_IV).abs() < 1e-3));
    }

    #[test]
    fn greeks_are_the_slopes_of_the_value_in_dollars() {
        for is_call in [true, false] {
            let at = Contract { forward: 2_413.36, strike: 2_560.0, years: 0.034, is_call };
            let (iv, greeks) = (67.35, at.greeks(67.35));
            let dollars = |at: Contract, iv| at.price(iv) * at.forward;
            let with = |forward| dollars(Contract { forward, ..at }, iv);
            let delta = (with(at.forward + 0.01) - with(at.forward - 0.01)) / 0.02;
            assert!((delta - greeks.delta).abs() < 1e-6, "{delta} {greeks:?}");
            let vega = dollars(at, iv + 0.5) - dollars(at, iv - 0.5);
            assert!((vega - greeks.vega).abs() < 1e-3, "{vega} {greeks:?}");
            let tomorrow = Contract { years: at.years - 0.01 / DAYS, ..at };
            let theta = (dollars(tomorrow, iv) - dollars(at, iv)) / 0.01;
            assert!((theta - greeks.theta).abs() < 1e-2, "{theta} {greeks:?}");
        }
    }
}
