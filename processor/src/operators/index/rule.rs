//! The rule by which the prices of several exchanges become one.
//!
//! 1. Stale prices are left out: older than a minute.
//! 2. Outliers are left out: further than 5 % from the median of the fresh prices.
//! 3. The price is the median of the rest. Of an even number it is the lower of the two in the middle,
//!    because that price has been traded.

use schemas::{Decimal, Index, Timestamp};
use serde::Serialize;

/// The age from which a price is stale: its exchange has stopped, or the pair hardly trades.
pub const STALE_AFTER_MS: i64 = 60_000;
/// The age from which an exchange is no member any more: as long as ended instruments stay in `latest`.
pub(super) const FORGOTTEN_AFTER_MS: i64 = 7 * 24 * 3_600_000;
/// One part in so many (5 %) from the median is an outlier: exchanges of one pair differ by a few
/// tenths of a percent while money can move between them.
pub const OUTLIER_PART: u128 = 20;

/// The reason for which a price does not count.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Unused {
    /// It is too old.
    Stale,
    /// It is too far from the others.
    Outlier,
}

impl Unused {
    /// The name in records.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Stale => Index::STALE,
            Self::Outlier => Index::OUTLIER,
        }
    }
}

/// A price and its time.
pub type Quoted = (Decimal, Timestamp);

/// One price of several exchanges.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Consolidated {
    /// `None` when all are stale.
    pub price: Option<Decimal>,
    /// Highest minus lowest of the fresh prices, outliers too; `None` when all are stale, or when it does
    /// not fit.
    pub spread: Option<Decimal>,
    /// For each price in turn the reason for which it does not count.
    pub unused: Vec<Option<Unused>>,
}

/// One price of these, as of a time.
///
/// ```
/// use processor::operators::{Unused, consolidate};
/// use schemas::{Decimal, Timestamp};
/// let quoted = |price: &str, ms| (price.parse::<Decimal>().unwrap(), Timestamp(ms));
/// let prices = [quoted("100", 0), quoted("101", 90_000), quoted("102", 90_000), quoted("120", 90_000)];
/// let one = consolidate(Timestamp(90_000), &prices);
/// assert_eq!(one.price, "101".parse().ok());
/// assert_eq!(one.spread, "19".parse().ok());
/// assert_eq!(one.unused, [Some(Unused::Stale), None, None, Some(Unused::Outlier)]);
/// ```
pub fn consolidate(as_of: Timestamp, prices: &[Quoted]) -> Consolidated {
    let age = |time: Timestamp| as_of.0.saturating_sub(time.0);
    let stale = |&(_, time): &Quoted| (age(time) > STALE_AFTER_MS).then_some(Unused::Stale);
    let mut unused: Vec<Option<Unused>> = prices.iter().map(stale).collect();
    let fresh = used(prices, &unused);
    let Some(middle) = median(&fresh) else {
        return Consolidated { unused, ..Consolidated::default() };
    };
    let spread = fresh.last().zip(fresh.first()).and_then(|(high, low)| high.checked_sub(*low));
    for ((price, _), reason) in prices.iter().zip(&mut unused) {
        let distance = price.units().abs_diff(middle.units());
        if reason.is_none() && distance > middle.units().unsigned_abs() / OUTLIER_PART {
            *reason = Some(Unused::Outlier);
        }
    }
    Consolidated { price: median(&used(prices, &unused)), spread, unused }
}

/// The prices that count, in order.
fn used(prices: &[Quoted], unused: &[Option<Unused>]) -> Vec<Decimal> {
    let used = prices.iter().zip(unused).filter(|(_, reason)| reason.is_none());
    let mut used: Vec<Decimal> = used.map(|((price, _), _)| *price).collect();
    used.sort_unstable();
    used
}

/// The lower median.
fn median(sorted: &[Decimal]) -> Option<Decimal> {
    sorted.get(sorted.len().checked_sub(1)? / 2).copied()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn one(prices: &[(&str, i64)]) -> (Option<String>, Vec<Option<Unused>>) {
        let quoted = prices.iter().map(|(price, time)| (price.parse().unwrap(), Timestamp(*time)));
        let newest = prices.iter().map(|(_, time)| *time).max().unwrap_or(0);
        let one = consolidate(Timestamp(newest), &quoted.collect::<Vec<_>>());
        (one.price.map(|price| price.to_string()), one.unused)
    }

    #[test]
    fn the_price_is_the_lower_median_of_fresh_prices_without_outliers() {
        assert_eq!(one(&[]), (None, vec![]));
        assert_eq!(one(&[("7", 0)]), (Some("7".into()), vec![None]));
        assert_eq!(one(&[("100", 0), ("101", 0)]).0.as_deref(), Some("100"));
        assert_eq!(one(&[("101", 0), ("100", 0), ("102", 0)]).0.as_deref(), Some("101"));
        let stale = one(&[("90", 0), ("100", 60_001), ("101", 60_001)]);
        assert_eq!(stale, (Some("100".into()), vec![Some(Unused::Stale), None, None]));
        // The median of the fresh is 95; 100 is just past 5 % of it, by 0.25.
        let outlier = one(&[("100", 0), ("95", 0), ("106", 0), ("94.999999999", 60_000)]);
        assert_eq!(outlier.1, [Some(Unused::Outlier), None, Some(Unused::Outlier), None]);
        assert_eq!(outlier.0.as_deref(), Some("94.999999999"));
    }

    #[test]
    fn exactly_the_bounds_count() {
        let used = one(&[("100", 0), ("105", 0), ("95", 60_000)]);
        assert_eq!(used, (Some("100".into()), vec![None, None, None]));
    }

    proptest! {
        #[test]
        fn the_order_of_the_prices_changes_nothing(
            prices in prop::collection::vec((1i64..2_000, 0i64..120_000), 1..8), turn in 0usize..8,
        ) {
            let quoted = |list: &[(i64, i64)]| -> Vec<Quoted> {
                let price = |units: i64| Decimal::from_units(units.into()).unwrap();
                list.iter().map(|(units, time)| (price(*units), Timestamp(*time))).collect()
            };
            let mut turned = prices.clone();
            turned.rotate_left(turn % prices.len());
            let as_of = Timestamp(120_000);
            let (one, other) = (consolidate(as_of, &quoted(&prices)), consolidate(as_of, &quoted(&turned)));
            prop_assert_eq!((one.price, one.spread), (other.price, other.spread));
        }
    }
}
