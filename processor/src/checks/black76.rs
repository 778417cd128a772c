//! Black-76: the value of an option on a forward, and its greeks, without interest.
//!
//! ```text
//! d1 = (ln(F/K) + σ²T/2) / σ√T      d2 = d1 − σ√T
//! call = N(d1) − K/F · N(d2)        put = K/F · N(−d2) − N(−d1)        in units of the underlying
//! ```
//!
//! The greeks are in Deribit's units: delta in units of the underlying, vega for one percentage point
//! of volatility, theta for one day and rho for one percentage point of interest, all in the quote.

use std::f64::consts::{FRAC_1_SQRT_2, PI};

use schemas::instrument::Right;

/// Days of a year of the model, as Deribit counts them.
const DAYS_OF_YEAR: f64 = 365.0;
/// Percentage points of one.
const PERCENT: f64 = 100.0;

/// An option with the values that the model needs.
///
/// ```
/// use processor::checks::black76::Black76;
/// use schemas::instrument::Right;
/// let call = Black76 { right: Right::Call, forward: 100.0, strike: 100.0, volatility: 0.2, years: 1.0 };
/// let put = Black76 { right: Right::Put, ..call };
/// assert!((call.price() - 0.0796557).abs() < 1e-6);
/// assert!((call.price() - put.price()).abs() < 1e-12, "at the forward both are worth the same");
/// assert!((call.delta() - put.delta() - 1.0).abs() < 1e-12);
/// ```
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Black76 {
    /// Call or put.
    pub right: Right,
    /// The forward of the expiry; greater than zero.
    pub forward: f64,
    /// The strike; greater than zero.
    pub strike: f64,
    /// The volatility of a year, 1 for 100 percent; greater than zero.
    pub volatility: f64,
    /// The time to expiry in years; greater than zero.
    pub years: f64,
}

impl Black76 {
    /// The standard deviation of the logarithm of the forward at expiry.
    fn deviation(&self) -> f64 {
        self.volatility * self.years.sqrt()
    }

    fn d1(&self) -> f64 {
        let deviation = self.deviation();
        (self.forward / self.strike).ln() / deviation + deviation / 2.0
    }

    fn d2(&self) -> f64 {
        self.d1() - self.deviation()
    }

    /// The price in units of the underlying: the coin of an inverse option.
    pub fn price(&self) -> f64 {
        let (d1, d2, strike) = (self.d1(), self.d2(), self.strike / self.forward);
        match self.right {
            Right::Call => normal(d1) - strike * normal(d2),
            Right::Put => strike * normal(-d2) - normal(-d1),
        }
    }

    /// The change of the price in the quote with the forward.
    pub fn delta(&self) -> f64 {
        match self.right {
            Right::Call => normal(self.d1()),
            Right::Put => -normal(-self.d1()),
        }
    }

    /// The change of delta with the forward.
    pub fn gamma(&self) -> f64 {
        density(self.d1()) / (self.forward * self.deviation())
    }

    /// The change of the price in the quote with one percentage point of volatility.
    pub fn vega(&self) -> f64 {
        self.forward * density(self.d1()) * self.years.sqrt() / PERCENT
    }

    /// The change of the price in the quote with one day.
    pub fn theta(&self) -> f64 {
        let of_year =
            self.forward * density(self.d1()) * self.volatility / (2.0 * self.years.sqrt());
        -of_year / DAYS_OF_YEAR
    }

    /// The change of the price in the quote with one percentage point of interest.
    pub fn rho(&self) -> f64 {
        let discounted = self.strike * self.years / PERCENT;
        match self.right {
            Right::Call => discounted * normal(self.d2()),
            Right::Put => -discounted * normal(-self.d2()),
        }
    }
}

/// The years between two times in milliseconds.
#[expect(clippy::cast_precision_loss, reason = "a span of 9,000 years in ms has 48 bits")]
pub fn years(milliseconds: i64) -> f64 {
    milliseconds as f64 / (DAYS_OF_YEAR * 86_400_000.0)
}

/// The distribution function of the normal distribution.
fn normal(x: f64) -> f64 {
    0.5 * libm::erfc(-x * FRAC_1_SQRT_2)
}

/// The density of the normal distribution.
fn density(x: f64) -> f64 {
    (-x * x / 2.0).exp() / (2.0 * PI).sqrt()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    prop_compose! {
        fn option()(
            right in prop::sample::select(vec![Right::Call, Right::Put]), forward in 10.0..100_000.0f64,
            moneyness in 0.3..3.0f64, volatility in 0.1..3.0f64, years in 0.003..2.0f64,
        ) -> Black76 {
            Black76 { right, forward, strike: forward * moneyness, volatility, years }
        }
    }

    /// The price in the quote.
    fn quoted(option: &Black76) -> f64 {
        option.price() * option.forward
    }

    /// The slope of a function of one value of the option, from both sides.
    fn slope(of: impl Fn(f64) -> f64, step: f64) -> f64 {
        (of(step) - of(-step)) / (2.0 * step)
    }

    proptest! {
        #[test]
        fn a_call_less_a_put_is_the_forward_less_the_strike(option in option()) {
            let [call, put] = [Right::Call, Right::Put].map(|right| Black76 { right, ..option });
            let expected = 1.0 - option.strike / option.forward;
            prop_assert!((call.price() - put.price() - expected).abs() < 1e-12);
            prop_assert!(call.price() >= expected.max(0.0) - 1e-12 && call.price() <= 1.0);
        }

        #[test]
        fn the_greeks_are_the_slopes_of_the_price(option in option()) {
            let step = option.forward * 1e-4;
            let by_forward = |by: f64| Black76 { forward: option.forward + by, ..option };
            let delta = slope(|by| quoted(&by_forward(by)), step);
            prop_assert!((delta - option.delta()).abs() < 1e-4, "delta {delta} {}", option.delta());
            let gamma = slope(|by| by_forward(by).delta(), step);
            prop_assert!((gamma - option.gamma()).abs() < 1e-3 * (gamma.abs() + 1.0 / option.forward));
            let vega = slope(
                |by| quoted(&Black76 { volatility: option.volatility + by, ..option }), 1e-4,
            ) / PERCENT;
            prop_assert!((vega - option.vega()).abs() < 1e-5 * option.forward);
            let theta = -slope(|by| quoted(&Black76 { years: option.years + by, ..option }), 1e-5)
                / DAYS_OF_YEAR;
            prop_assert!((theta - option.theta()).abs() < 1e-3 * (theta.abs() + 1e-4 * option.forward));
        }
    }
}
