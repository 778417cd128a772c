//! The instruments of a venue and the changes of its listing.

use schemas::{Decimal, Right, Timestamp};

use crate::malformed::{Malformed, Result};

/// An instrument as a venue lists it.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Instrument {
    /// The name in the venue's notation, as [`Venue::pair`](crate::Venue::pair) takes it.
    pub name: String,
    /// The currency under which the venue lists it: the base.
    pub currency: String,
    /// The class.
    pub class: Class,
    /// It can be traded.
    pub active: bool,
    /// The settlement currency, where the venue states it.
    pub settlement_currency: Option<String>,
    /// When it expires; `None` for what does not.
    pub expiry_time: Option<Timestamp>,
    /// The strike of an option.
    pub strike: Option<Decimal>,
    /// The right of an option.
    pub right: Option<Right>,
    /// The size of one contract: in the base currency, for inverse futures in USD.
    pub contract_size: Option<Decimal>,
    /// The step of prices.
    pub tick_size: Option<Decimal>,
}

impl Instrument {
    /// An instrument without the facts of derivatives.
    pub fn new(
        name: impl Into<String>,
        currency: impl Into<String>,
        class: Class,
        active: bool,
    ) -> Self {
        Self {
            name: name.into(),
            currency: currency.into(),
            class,
            active,
            settlement_currency: None,
            expiry_time: None,
            strike: None,
            right: None,
            contract_size: None,
            tick_size: None,
        }
    }
}

/// Base and quote of a product that is written without a separator: the quote is the first known one
/// that ends it.
pub(crate) fn split_product<'a>(
    product: &'a str,
    quotes: &[&'static str],
) -> Result<(&'a str, &'static str)> {
    let split = |quote: &'static str| {
        let base = product.strip_suffix(quote).filter(|base| !base.is_empty())?;
        Some((base, quote))
    };
    let split = quotes.iter().copied().find_map(split);
    split.ok_or_else(|| Malformed::BadProduct(product.into()))
}

schemas::named! {
    /// A class of instruments: classes differ in how often they trade.
    #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
    pub enum Class {
        /// Delivered at once.
        Spot = "spot",
        /// A future without end.
        Perpetual = "perpetual",
        /// A future with an end.
        Future = "future",
        /// An option.
        Option = "option",
        /// Several of them traded as one.
        Combo = "combo",
    }
}

/// A change of the listing.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum ListingChange {
    /// The instrument can be traded from now on.
    Listed(String),
    /// The instrument has expired or was delisted.
    Ended(String),
}
