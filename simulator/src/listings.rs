//! The instruments that each simulated venue lists, and their tick sizes.
//!
//! Coinbase, Binance, Kraken and Bitstamp list the same twenty markets under their own names, Coinbase thirty
//! more: as many as its busiest fifty. Deribit lists two perpetuals, some futures, and 1,488 options by default,
//! whose expiries depend on the time.

use crate::clock;
use crate::surface::black76::Contract;
use crate::surface::currency::first_index;
use crate::surface::instrument::{Kind, Name};
use crate::surface::listing;
use crate::surface::number::whole;
use crate::surface::settings::SurfaceSettings;
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

/// The further products of Coinbase.
const MORE: [Listing; 30] = [
    ("ETC-USD", 2_012, 2, 8, 5_000_000_000),
    ("NEAR-USD", 5_214, 3, 3, 20_000),
    ("APT-USD", 9_012, 2, 2, 900),
    ("ARB-USD", 6_213, 4, 2, 9_000),
    ("OP-USD", 1_641, 3, 2, 6_000),
    ("SUI-USD", 19_874, 4, 1, 300),
    ("INJ-USD", 21_034, 3, 2, 500),
    ("TIA-USD", 5_311, 3, 2, 1_500),
    ("SEI-USD", 4_127, 4, 1, 9_000),
    ("ALGO-USD", 13_211, 5, 0, 8_000),
    ("ICP-USD", 8_012, 3, 4, 1_200_000),
    ("HBAR-USD", 5_432, 5, 1, 90_000),
    ("VET-USD", 22_134, 6, 0, 40_000),
    ("GRT-USD", 15_423, 4, 2, 600_000),
    ("STX-USD", 17_654, 4, 2, 50_000),
    ("IMX-USD", 13_245, 4, 4, 90_000_000),
    ("RENDER-USD", 5_123, 3, 2, 1_800),
    ("FET-USD", 13_456, 4, 1, 7_000),
    ("MKR-USD", 123_456, 2, 6, 80_000),
    ("LDO-USD", 11_234, 3, 2, 9_000),
    ("CRV-USD", 27_654, 4, 2, 300_000),
    ("COMP-USD", 4_512, 2, 3, 2_200),
    ("SNX-USD", 1_543, 3, 3, 700_000),
    ("SAND-USD", 2_654, 4, 2, 400_000),
    ("MANA-USD", 2_876, 4, 2, 350_000),
    ("AXS-USD", 4_765, 3, 3, 21_000),
    ("PEPE-USD", 1_012, 8, 0, 90_000_000),
    ("BONK-USD", 2_213, 8, 0, 40_000_000),
    ("WIF-USD", 22_341, 4, 2, 45_000),
    ("JTO-USD", 23_412, 4, 1, 430),
];

/// A product that is not listed above: 100.00 with two and eight decimals.
const OTHER: Ticks = (10_000, 2, 8, 100_000_000);

/// The decimals, and the typical size in tenths of a contract, of an option.
const OPTION: (u8, u8, i64) = (4, 1, 25);
/// The volatility in percent and the years by which trades of an option begin. Its quotes come from the
/// surface, its trades from a walk that begins here.
const FIRST: (f64, f64) = (60.0, 30.0 / 365.0);
/// The least price at which trades of an option begin, in ticks.
const LEAST: i64 = 5;
/// An inverse future of the dearer coin, in dollars.
const DEAR: Ticks = (618_375, 1, 1, 50_000);
/// An inverse future of the cheaper coin, in dollars.
const CHEAP: Ticks = (268_010, 2, 1, 20_000);

/// The names of everything that a venue lists now, by this machine's clock.
pub fn names(venue: Venue) -> Vec<String> {
    names_at(venue, clock::now_micros(), &SurfaceSettings::default())
}

/// The names of everything that a venue lists at a time, or lists later while it runs.
pub fn names_at(venue: Venue, now_us: i64, surface: &SurfaceSettings) -> Vec<String> {
    let listed = LISTINGS.iter().map(|listing| listing.0);
    match venue {
        Venue::Coinbase => {
            listed.chain(MORE.iter().map(|listing| listing.0)).map(str::to_owned).collect()
        }
        Venue::Kraken => listed.map(|name| name.replace('-', "/")).collect(),
        // In dollars of another kind; the last one would be those dollars themselves.
        Venue::Binance => listed
            .filter(|name| !name.starts_with("USDT"))
            .map(|name| name.replace('-', "").replace("USD", "USDT"))
            .collect(),
        Venue::Bitstamp => listed.map(|name| name.replace('-', "").to_lowercase()).collect(),
        Venue::Deribit => listing::names(now_us, surface),
    }
}

/// The ticks of a name of any venue.
pub(crate) fn ticks(name: &str) -> Ticks {
    match Name::parse(name) {
        Some(Name { kind: Kind::Option { strike, is_call }, currency, .. }) => {
            return option_ticks(currency, strike, is_call);
        }
        Some(Name { currency: "BTC", .. }) => return DEAR,
        Some(Name { currency: "ETH", .. }) => return CHEAP,
        _ => {}
    }
    let plain = |name: &str| name.to_uppercase().replace(['-', '/'], "").replace("USDT", "USD");
    let wanted = plain(name);
    LISTINGS
        .iter()
        .chain(&MORE)
        .find(|listing| plain(listing.0) == wanted)
        .map_or(OTHER, |&(_, price, decimals, size_decimals, size)| {
            (price, decimals, size_decimals, size)
        })
}

fn option_ticks(currency: &str, strike: f64, is_call: bool) -> Ticks {
    let (decimals, size_decimals, size) = OPTION;
    let (iv, years) = FIRST;
    let contract = Contract { forward: first_index(currency), strike, years, is_call };
    let ticks = whole(contract.price(iv) * 10f64.powi(i32::from(decimals)));
    (ticks.max(LEAST), decimals, size_decimals, size)
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn coinbase_lists_fifty_products() {
        assert_eq!(names(Venue::Coinbase).len(), 50);
    }

    #[test]
    fn every_name_has_ticks_and_stands_once() {
        for venue in Venue::ALL {
            let names = names_at(venue, 0, &SurfaceSettings::default());
            assert_eq!(names.iter().collect::<BTreeSet<_>>().len(), names.len(), "{venue}");
            assert!(names.iter().all(|name| ticks(name) != OTHER), "{venue}");
        }
    }
}
