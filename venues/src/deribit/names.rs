//! What the names of Deribit's instruments say: class, base and quote.
//!
//! The instrument's name is the base. Inverse futures are priced in USD, options in the coin, linear
//! instruments (`BTC_USDC-…`) in the currency behind the underscore.

use schemas::PairKey;

use super::NAME;
use crate::instrument::Class;
use crate::malformed::{Malformed, Result};

/// The class of an instrument by its name.
pub(super) fn class(name: &str) -> Class {
    let parts: Vec<&str> = name.split('-').collect();
    match parts[..] {
        [_] => Class::Spot,
        [_, "PERPETUAL"] => Class::Perpetual,
        [_, _] => Class::Future,
        [_, _, _, "C" | "P"] => Class::Option,
        _ => Class::Combo,
    }
}

/// The pair of an instrument: its name, and what its price counts.
pub(super) fn pair(name: &str) -> Result<PairKey> {
    let underlying = name.split('-').next().unwrap_or_default();
    let quote = match (underlying.split_once('_'), class(name)) {
        (Some((_, quote)), _) => quote,
        (None, Class::Perpetual | Class::Future) => "USD",
        // A spread of futures.
        (None, Class::Combo) if name.contains("-FS-") => "USD",
        (None, Class::Option | Class::Combo) => underlying,
        (None, Class::Spot) => return Err(Malformed::BadProduct(name.into())),
    };
    if underlying.is_empty() {
        return Err(Malformed::BadProduct(name.into()));
    }
    Ok(PairKey::new(name, quote, NAME).checked()?)
}

/// A future that is paid in the coin: its amounts are USD.
pub(super) fn is_inverse(pair: &PairKey) -> bool {
    pair.quote == "USD"
}
