//! The sub-topologies by name, and the choice of those that a process runs.

use std::fmt;
use std::str::FromStr;

use schemas::topic::Topic;

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
    }
}

impl Named {
    /// The topic that it reads.
    pub const fn source(self) -> Topic {
        match self {
            Self::Prices => Topic::Events,
            Self::Quotes => Topic::Quotes,
            Self::Options => Topic::OptionTickers,
        }
    }
}

/// The sub-topologies that a process runs; at least one.
///
/// ```
/// use processor::topology::{Named, Topologies};
/// let chosen: Topologies = "quotes".parse()?;
/// assert!(chosen.has(Named::Quotes) && !chosen.has(Named::Prices));
/// assert_eq!(Topologies::ALL.to_string(), "prices,quotes,options");
/// # Ok::<(), String>(())
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Topologies {
    prices: bool,
    quotes: bool,
    options: bool,
}

impl Topologies {
    /// Prices alone: the default of a group. The classic protocol's assignor balances the partitions of
    /// all topics together, so that a member may get those of one topic only.
    pub const PRICES: Self = Self { prices: true, ..Self::NONE };
    /// Every one.
    pub const ALL: Self = Self { prices: true, quotes: true, options: true };
    /// The beginning of a choice.
    const NONE: Self = Self { prices: false, quotes: false, options: false };

    /// Whether it is among them.
    pub const fn has(self, named: Named) -> bool {
        match named {
            Named::Prices => self.prices,
            Named::Quotes => self.quotes,
            Named::Options => self.options,
        }
    }

    /// The same and one more.
    #[must_use]
    const fn and(self, named: Named) -> Self {
        match named {
            Named::Prices => Self { prices: true, ..self },
            Named::Quotes => Self { quotes: true, ..self },
            Named::Options => Self { options: true, ..self },
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
                error.ends_with("is no sub-topology; name one or more of prices, quotes, options"),
                "{error}"
            );
        }
    }
}
