//! The sub-topologies by name, and the choice of those that a process runs.

use std::fmt;
use std::str::FromStr;

use schemas::topic::Topic;

/// The name of the repartition topic of the legs of tokens.
pub(super) const LEGS: &str = "token-legs";
/// The name of the repartition topic of the statuses of swaps.
pub(super) const STATUSES: &str = "swap-status";
/// The name of the repartition topic of the prices of exchanges.
pub(super) const INDEX_LEGS: &str = "index-legs";

schemas::named! {
    /// A sub-topology.
    #[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
    pub enum Named {
        /// Latest prices and candles, from `events`.
        Prices = "prices",
        /// Newest quotes and spreads, from `quotes`.
        Quotes = "quotes",
        /// Options, their minutes, futures and perpetuals, from `option_tickers`.
        Options = "options",
        /// Pools, their minutes, tokens and the status of swaps, from `swaps`.
        Swaps = "swaps",
        /// The consolidated price of each pair, from the latest prices of `prices`.
        Index = "index",
    }
}

impl Named {
    /// The topics that its sub-topologies read: first the one that the others are fed by. A repartition
    /// topic has no prefix here, and `{application_id}-` in a group.
    pub fn sources(self, input_prefix: &str) -> Vec<String> {
        let repartition = |name: &str| format!("{name}-repartition");
        match self {
            Self::Prices => vec![Topic::Events.name(input_prefix)],
            Self::Quotes => vec![Topic::Quotes.name(input_prefix)],
            Self::Options => vec![Topic::OptionTickers.name(input_prefix)],
            Self::Swaps => {
                vec![Topic::Swaps.name(input_prefix), repartition(LEGS), repartition(STATUSES)]
            }
            Self::Index => vec![repartition(INDEX_LEGS)],
        }
    }
}

/// The sub-topologies that a process runs; at least one.
///
/// ```
/// use processor::topology::{Named, Topologies};
/// let chosen: Topologies = "quotes".parse()?;
/// assert!(chosen.has(Named::Quotes) && !chosen.has(Named::Prices));
/// assert_eq!(Topologies::ALL.to_string(), "prices,quotes,options,swaps,index");
/// # Ok::<(), String>(())
/// ```
#[expect(clippy::struct_excessive_bools, reason = "one for each name")]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Topologies {
    prices: bool,
    quotes: bool,
    options: bool,
    swaps: bool,
    index: bool,
}

impl Topologies {
    /// Prices alone: the default of a group. The classic protocol's assignor balances the partitions of
    /// all topics together, so that a member may get those of one topic only.
    pub const PRICES: Self = Self { prices: true, ..Self::NONE };
    /// Every one.
    pub const ALL: Self =
        Self { prices: true, quotes: true, options: true, swaps: true, index: true };
    /// The beginning of a choice.
    const NONE: Self =
        Self { prices: false, quotes: false, options: false, swaps: false, index: false };

    /// Whether it is among them.
    pub const fn has(self, named: Named) -> bool {
        match named {
            Named::Prices => self.prices,
            Named::Quotes => self.quotes,
            Named::Options => self.options,
            Named::Swaps => self.swaps,
            Named::Index => self.index,
        }
    }

    /// The same and one more.
    #[must_use]
    const fn and(self, named: Named) -> Self {
        match named {
            Named::Prices => Self { prices: true, ..self },
            Named::Quotes => Self { quotes: true, ..self },
            Named::Options => Self { options: true, ..self },
            Named::Swaps => Self { swaps: true, ..self },
            Named::Index => Self { index: true, ..self },
        }
    }
}

impl From<Named> for Topologies {
    /// One alone.
    fn from(named: Named) -> Self {
        Self::NONE.and(named)
    }
}

impl FromStr for Topologies {
    type Err = String;

    /// Reads names separated by commas, in any order.
    fn from_str(text: &str) -> Result<Self, String> {
        let names = Named::ALL.map(Named::as_str).join(", ");
        let mut chosen = Self::NONE;
        for name in text.split(',').map(str::trim) {
            let named = Named::parse(name).ok_or_else(|| {
                format!("{name:?} is no sub-topology; name one or more of {names}")
            })?;
            chosen = chosen.and(named);
        }
        if chosen.index && !chosen.prices {
            return Err(
                "index needs prices, whose latest prices it reads; name both: prices,index".into(),
            );
        }
        Ok(chosen)
    }
}

impl fmt::Display for Topologies {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let chosen = Named::ALL.into_iter().filter(|named| self.has(*named));
        f.write_str(&chosen.map(Named::as_str).collect::<Vec<_>>().join(","))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_list_is_read_in_any_order_and_written_in_one() {
        for (text, expected) in [
            ("prices", "prices"),
            ("quotes", "quotes"),
            ("quotes, prices", "prices,quotes"),
            ("prices,prices", "prices"),
            ("options,quotes,prices", "prices,quotes,options"),
            ("index,swaps,prices", "prices,swaps,index"),
        ] {
            assert_eq!(text.parse::<Topologies>().map(|one| one.to_string()), Ok(expected.into()));
        }
        assert_eq!(Topologies::from(Named::Quotes), "quotes".parse().unwrap());
        assert_eq!(Topologies::ALL.to_string().parse(), Ok(Topologies::ALL));
    }

    #[test]
    fn a_name_that_does_not_exist_is_refused_with_those_that_do() {
        for text in ["", "books", "prices,", "Prices"] {
            let error = text.parse::<Topologies>().unwrap_err();
            assert!(
                error.ends_with(
                    "is no sub-topology; name one or more of prices, quotes, options, swaps, index"
                ),
                "{error}"
            );
        }
    }

    #[test]
    fn the_index_is_refused_without_prices() {
        let error = "index,swaps".parse::<Topologies>().unwrap_err();
        assert!(error.starts_with("index needs prices"), "{error}");
    }
}
