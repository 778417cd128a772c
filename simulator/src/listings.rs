//! The instruments that each simulated venue lists, and their tick sizes.
//!
//! Coinbase, Binance, Kraken and Bitstamp list the same twenty markets under their own names. Deribit lists
//! two perpetuals, some futures, and 1,488 options.

use crate::venue::Venue;

/// Name, price in ticks, price decimals, size decimals, typical size in size units.
type Listing = (&'static str, i64, u8, u8, i64);

/// Price in ticks, price decimals, size decimals, typical size in size units.
pub(crate) type Ticks = (i64, u8, u8, i64);

/// A change of the listing.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ListingChange {
    /// An instrument can be traded from now on.
    Listed(String),
    /// An instrument has expired or was delisted.
    Ended(String),
}

/// The products listed by default, with the tick sizes of the venue.
const LISTINGS: [Listing; 20] = [
    ("BTC-USD", 6_183_763, 2, 8, 2_000_000),
    ("ETH-USD", 268_012, 2, 8, 40_000_000),
    ("SOL-USD", 15_542, 2, 8, 900_000_000),
    ("XRP-USD", 61_230, 4, 6, 250_000_000),
    ("ADA-USD", 34_420, 4, 8, 30_000_000_000),
    ("DOGE-USD", 10_412, 5, 1, 5_000),
    ("AVAX-USD", 2_321, 2, 8, 700_000_000),
    ("LINK-USD", 10_634, 3, 2, 1_500),
    ("LTC-USD", 6_098, 2, 8, 150_000_000),
    ("DOT-USD", 4_718, 3, 8, 3_000_000_000),
    ("UNI-USD", 6_215, 3, 6, 20_000_000),
    ("ATOM-USD", 4_871, 3, 2, 4_000),
    ("BCH-USD", 34_512, 2, 8, 20_000_000),
    ("XLM-USD", 97_812, 6, 8, 80_000_000_000),
    ("AAVE-USD", 10_045, 2, 3, 700),
    ("FIL-USD", 3_712, 3, 3, 30_000),
    ("SHIB-USD", 1_389, 8, 0, 4_000_000),
    ("ETH-BTC", 4_334, 5, 8, 20_000_000),
    ("BTC-EUR", 5_661_204, 2, 8, 1_000_000),
    ("USDT-USD", 99_987, 5, 2, 50_000),
];

/// A product that is not listed above: 100.00 with two and eight decimals.
const OTHER: Ticks = (10_000, 2, 8, 100_000_000);

/// An option: 0.0535 of its coin, in tenths of a contract.
const OPTION: Ticks = (535, 4, 1, 25);
/// An inverse future of the dearer coin, in dollars.
const DEAR: Ticks = (618_375, 1, 1, 50_000);
/// An inverse future of the cheaper coin, in dollars.
const CHEAP: Ticks = (268_010, 2, 1, 20_000);

/// Expiries of Deribit's instruments, the nearest first.
const EXPIRIES: [&str; 12] = [
    "22NOV26", "23NOV26", "24NOV26", "27NOV26", "4DEC26", "11DEC26", "25DEC26", "29JAN27",
    "26FEB27", "26MAR27", "25JUN27", "24SEP27",
];
/// Expiries that futures have as well.
const FUTURES: [&str; 4] = ["27NOV26", "25DEC26", "26MAR27", "25JUN27"];
/// Strikes of an expiry.
const STRIKES: u32 = 31;

/// The names of everything that a venue lists.
pub fn names(venue: Venue) -> Vec<String> {
    let listed = LISTINGS.iter().map(|listing| listing.0);
    match venue {
        Venue::Coinbase => listed.map(str::to_owned).collect(),
        Venue::Kraken => listed.map(|name| name.replace('-', "/")).collect(),
        // In dollars of another kind; the last one would be those dollars themselves.
        Venue::Binance => listed
            .filter(|name| !name.starts_with("USDT"))
            .map(|name| name.replace('-', "").replace("USD", "USDT"))
            .collect(),
        Venue::Bitstamp => listed.map(|name| name.replace('-', "").to_lowercase()).collect(),
        Venue::Deribit => deribit(),
    }
}

fn deribit() -> Vec<String> {
    let mut names = Vec::new();
    for (currency, lowest, step) in [("BTC", 40_000, 2_000), ("ETH", 1_500, 100)] {
        names.push(format!("{currency}-PERPETUAL"));
        names.extend(FUTURES.iter().map(|expiry| format!("{currency}-{expiry}")));
        for expiry in EXPIRIES {
            for strike in (0..STRIKES).map(|number| lowest + number * step) {
                names.extend(["C", "P"].map(|side| format!("{currency}-{expiry}-{strike}-{side}")));
            }
        }
    }
    names
}

/// The ticks of a name of any venue.
pub(crate) fn ticks(name: &str) -> Ticks {
    let parts: Vec<&str> = name.split('-').collect();
    match parts[..] {
        [_, _, _, "C" | "P"] => return OPTION,
        ["BTC", end] if end == "PERPETUAL" || FUTURES.contains(&end) => return DEAR,
        ["ETH", end] if end == "PERPETUAL" || FUTURES.contains(&end) => return CHEAP,
        _ => {}
    }
    let plain = |name: &str| name.to_uppercase().replace(['-', '/'], "").replace("USDT", "USD");
    let wanted = plain(name);
    LISTINGS
        .iter()
        .find(|listing| plain(listing.0) == wanted)
        .map_or(OTHER, |&(_, price, decimals, size_decimals, size)| {
            (price, decimals, size_decimals, size)
        })
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn every_name_has_ticks_and_stands_once() {
        for venue in Venue::ALL {
            let names = names(venue);
            assert_eq!(names.iter().collect::<BTreeSet<_>>().len(), names.len(), "{venue}");
            assert!(names.iter().all(|name| ticks(name) != OTHER), "{venue}");
        }
    }
}
