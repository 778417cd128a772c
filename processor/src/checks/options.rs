//! The divergence of a row of `options` from Black-76, and that of a call and a put from parity.

use schemas::instrument::Right;
use schemas::{Decimal, OptionState, PairKey};

use super::black76::{Black76, years};

/// The largest relative difference between the underlying prices of a call and a put that are
/// compared. Their tickers come one by one: prices of two moments differ more than the model.
const SAME_UNDERLYING: f64 = 1e-5;

/// The difference of an option's mark and delta from the model.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Divergence {
    /// Of the mark price, in units of the underlying: the coin.
    pub mark_coin: f64,
    /// Of delta; `None` when the venue does not send it.
    pub delta: Option<f64>,
}

/// A mark price in coin with its forward.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Mark {
    /// The price in units of the underlying.
    pub coin: f64,
    /// The price of the underlying.
    pub forward: f64,
}

/// The nearest number of floating point.
#[expect(clippy::cast_precision_loss, reason = "a model needs 16 digits of the 38")]
pub fn float(value: Decimal) -> f64 {
    value.units() as f64 / 1e18
}

/// The model of an open option, of the moment of its ticker; `None` without a volatility, an
/// underlying price, or time to its expiry.
pub fn model(option: &OptionState) -> Option<Black76> {
    let positive = |value: Option<Decimal>| value.filter(|value| value.is_positive()).map(float);
    let left = option.expiry_time.0.saturating_sub(option.event_time.0);
    if left <= 0 || option.closed_at.is_some() {
        return None;
    }
    Some(Black76 {
        right: option.right,
        forward: positive(option.underlying_price)?,
        strike: positive(Some(option.strike))?,
        volatility: positive(option.mark_iv)? / 100.0,
        years: years(left),
    })
}

/// The mark of an open option. One that is quoted in its own currency has its price in coin; the
/// price of any other is divided by the underlying.
pub fn mark(pair: &PairKey, option: &OptionState) -> Option<Mark> {
    let forward = option.underlying_price.filter(|price| price.is_positive()).map(float)?;
    let price = float(option.mark_price.filter(|_| option.closed_at.is_none())?);
    let coin = if pair.quote == option.currency { price } else { price / forward };
    Some(Mark { coin, forward })
}

/// The divergence of an option; `None` where the model cannot be computed.
pub fn divergence(pair: &PairKey, option: &OptionState) -> Option<Divergence> {
    let (model, mark) = (model(option)?, mark(pair, option)?);
    Some(Divergence {
        mark_coin: (mark.coin - model.price()).abs(),
        delta: option.delta.map(|delta| (float(delta) - model.delta()).abs()),
    })
}

/// The difference of a call less a put from `1 − K/F`, in coin; `None` when their underlying prices
/// are of two moments.
pub fn parity(call: Mark, put: Mark, strike: Decimal) -> Option<f64> {
    let forward = f64::midpoint(call.forward, put.forward);
    let is_same = (call.forward - put.forward).abs() <= forward * SAME_UNDERLYING;
    is_same.then(|| (call.coin - put.coin - (1.0 - float(strike) / forward)).abs())
}

/// The call and the put of one strike.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Strike {
    call: Option<Mark>,
    put: Option<Mark>,
}

impl Strike {
    /// Adds one side.
    pub(super) fn add(&mut self, right: Right, mark: Mark) {
        match right {
            Right::Call => self.call = Some(mark),
            Right::Put => self.put = Some(mark),
        }
    }

    /// The divergence from parity, with both sides.
    pub(super) fn parity(&self, strike: Decimal) -> Option<f64> {
        parity(self.call?, self.put?, strike)
    }
}
