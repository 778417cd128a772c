//! The channels of a pair that a feed follows, the depth of its books and the interval of its tickers.

use std::fmt;
use std::str::FromStr;

schemas::named! {
    /// A kind of data that a venue sends of a pair.
    #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
    pub enum Channel {
        /// Trade prints.
        Trades = "trades",
        /// Price samples, and whole tickers where the venue has them.
        Ticker = "ticker",
        /// The order book.
        Book = "book",
    }
}

schemas::named! {
    /// The interval at which a venue sends the whole ticker of an instrument.
    #[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord)]
    pub enum TickerInterval {
        /// One message each 2 s, while the ticker changes.
        Agg2 = "agg2",
        /// One message each 100 ms at most.
        #[default]
        Ms100 = "100ms",
    }
}

impl TickerInterval {
    /// Messages of an instrument in ten seconds, at most.
    pub const fn messages_in_10s(self) -> usize {
        match self {
            Self::Agg2 => 5,
            Self::Ms100 => 100,
        }
    }
}

impl fmt::Display for TickerInterval {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// A name that is none of an interval.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "there is no interval '{0}': name one of {list}",
    list = TickerInterval::ALL.map(TickerInterval::as_str).join(", ")
)]
pub struct UnknownInterval(String);

impl FromStr for TickerInterval {
    type Err = UnknownInterval;

    fn from_str(text: &str) -> Result<Self, UnknownInterval> {
        Self::parse(text).ok_or_else(|| UnknownInterval(text.into()))
    }
}

/// A set of channels. A text names at least one.
///
/// ```
/// use venues::{Channel, Channels};
/// let channels: Channels = "book,trades".parse()?;
/// assert!(channels.has(Channel::Book) && !channels.has(Channel::Ticker));
/// assert_eq!(channels.to_string(), "trades,book");
/// assert_eq!(Channels::default().to_string(), "trades,ticker");
/// assert!("trades,quotes".parse::<Channels>().is_err());
/// # Ok::<(), venues::UnknownChannel>(())
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Channels {
    chosen: [bool; Channel::ALL.len()],
}

impl Channels {
    /// Every channel.
    pub const ALL: Self = Self { chosen: [true; Channel::ALL.len()] };

    /// The channel is one of them.
    pub const fn has(self, channel: Channel) -> bool {
        self.chosen[channel as usize]
    }

    /// The others.
    #[must_use]
    pub const fn without(mut self, channel: Channel) -> Self {
        self.chosen[channel as usize] = false;
        self
    }
}

impl Default for Channels {
    /// Trades and tickers.
    fn default() -> Self {
        Self { chosen: [true, true, false] }
    }
}

impl fmt::Display for Channels {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let chosen = Channel::ALL.into_iter().filter(|one| self.has(*one));
        f.write_str(&chosen.map(Channel::as_str).collect::<Vec<_>>().join(","))
    }
}

/// A name that is none of a channel.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "there is no channel '{0}': name one or more of {list}, separated by commas",
    list = Channel::ALL.map(Channel::as_str).join(", ")
)]
pub struct UnknownChannel(String);

impl FromStr for Channels {
    type Err = UnknownChannel;

    fn from_str(text: &str) -> Result<Self, UnknownChannel> {
        let mut chosen = [false; Channel::ALL.len()];
        for name in text.split(',').map(str::trim) {
            let channel = Channel::parse(name).ok_or_else(|| UnknownChannel(name.into()))?;
            chosen[channel as usize] = true;
        }
        Ok(Self { chosen })
    }
}

/// The data that a feed follows of each of its pairs.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Follow {
    /// The channels.
    pub channels: Channels,
    /// Levels of a side of each book, one of [`Books::depths`](crate::Books::depths); `None` is the
    /// venue's default.
    pub depth: Option<usize>,
    /// The interval of tickers, where the venue offers a choice.
    pub interval: TickerInterval,
}

impl Follow {
    /// Every channel at the venue's default depth.
    pub const ALL: Self =
        Self { channels: Channels::ALL, depth: None, interval: TickerInterval::Ms100 };

    /// The channel is followed.
    pub const fn has(self, channel: Channel) -> bool {
        self.channels.has(channel)
    }
}

#[cfg(test)]
#[path = "channel_tests.rs"]
mod tests;
