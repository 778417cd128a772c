//! The instruments that the simulated Deribit lists at a time, by their names.

use jiff::civil::Date;

use super::currency::first_index;
use super::expiry;
use super::number::{float, whole};
use super::settings::SurfaceSettings;

/// Expiries at the start.
pub const EXPIRIES: usize = 12;
/// Expiries that are listed while it runs, at most.
pub const LATER: usize = 8;
/// Futures of a currency, on the next month ends.
const FUTURES: usize = 4;
/// Strikes of an expiry up to which they are twice as far apart.
const FEW_STRIKES: usize = 40;

/// The expiries that are listed while it runs, the nearest first.
pub fn later(now_us: i64) -> Vec<Date> {
    expiry::later(now_us, &expiry::listed(now_us, EXPIRIES), LATER)
}

/// The perpetual, the futures and the options of each currency: those of the start, then those that
/// are listed while it runs.
pub fn names(now_us: i64, settings: &SurfaceSettings) -> Vec<String> {
    let dates = expiry::listed(now_us, EXPIRIES);
    let all = usize::try_from(settings.options).unwrap_or(0).div_ceil(2);
    let currencies = settings.currencies.len().max(1);
    let mut names = Vec::new();
    for (number, currency) in settings.currencies.iter().enumerate() {
        let pairs = all / currencies + usize::from(number < all % currencies);
        names.push(format!("{currency}-PERPETUAL"));
        let month_ends = dates.iter().filter(|date| expiry::is_month_end(**date)).take(FUTURES);
        names.extend(month_ends.map(|date| format!("{currency}-{}", expiry::name(*date))));
        let most = pairs.div_ceil(EXPIRIES);
        for (number, date) in dates.iter().enumerate() {
            let strikes = pairs / EXPIRIES + usize::from(number < pairs % EXPIRIES);
            names.extend(options(currency, *date, strikes, most));
        }
        if settings.list_every.is_some() {
            for date in later(now_us) {
                names.extend(options(currency, date, most, most));
            }
        }
    }
    names
}

/// A call and a put of each strike, around the index of the start.
fn options(currency: &str, date: Date, strikes: usize, most: usize) -> Vec<String> {
    let index = first_index(currency);
    let step = step(index, most);
    let middle = whole(index / float(step)) * step;
    let lowest = middle - step * i64::try_from(most / 2).unwrap_or(0);
    let lowest = lowest.max(step);
    let strikes = (0..i64::try_from(strikes).unwrap_or(0)).map(|number| lowest + number * step);
    let date = expiry::name(date);
    let of = |strike: i64| ["C", "P"].map(|side| format!("{currency}-{date}-{strike}-{side}"));
    strikes.flat_map(of).collect()
}

/// The distance of two strikes: some 3 % of the index, or half of it where there are many.
fn step(index: f64, strikes: usize) -> i64 {
    let few = match whole(index) {
        ..1_000 => 4,
        1_000..10_000 => 100,
        _ => 2_000,
    };
    if strikes > FEW_STRIKES { few / 2 } else { few }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;
    use std::time::Duration;

    use super::*;

    /// 30 November 2026, 18:27 UTC.
    const NOW: i64 = 1_796_063_220_000_000;

    #[test]
    fn as_many_options_are_listed_as_asked_for() {
        for (options, currencies, products) in
            [(1_488, vec!["BTC", "ETH"], 1_498), (1_500, vec!["BTC"], 1_505), (4, vec!["SOL"], 9)]
        {
            let currencies = currencies.into_iter().map(str::to_owned).collect();
            let settings = SurfaceSettings { options, currencies, ..SurfaceSettings::default() };
            let names = names(NOW, &settings);
            assert_eq!(names.len(), products, "{names:?}");
            assert_eq!(names.iter().collect::<BTreeSet<_>>().len(), products);
        }
        let list_every = Some(Duration::from_secs(1));
        let settings = SurfaceSettings { list_every, options: 24, ..SurfaceSettings::default() };
        assert_eq!(names(NOW, &settings).len(), 2 * (5 + 12 + LATER * 2));
    }
}
