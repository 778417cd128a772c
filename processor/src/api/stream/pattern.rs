//! A subscription's pattern: a channel, and a pair of which each part may be `*`.

use schemas::topic::Topic;
use schemas::{PairKey, pair};

use crate::operators::Interval;
use crate::topology::store_name;

/// Matches any value of a part.
const ANY: &str = "*";

/// A store whose changes clients may subscribe to.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(super) enum Channel {
    /// The newest price of each pair.
    Latest,
    /// Candles.
    Candles(Interval),
    /// The top of each book.
    Quotes,
    /// The book of each pair.
    Book,
}

/// The number of channels.
pub(super) const CHANNELS: usize = 6;

impl Channel {
    /// Every channel. A resume token has the index, so a new channel is added at the end.
    pub(super) const ALL: [Self; CHANNELS] = [
        Self::Latest,
        Self::Candles(Interval::Minute),
        Self::Candles(Interval::Hour),
        Self::Candles(Interval::Day),
        Self::Quotes,
        Self::Book,
    ];

    /// Its index in [`Self::ALL`].
    pub(super) const fn index(self) -> usize {
        match self {
            Self::Latest => 0,
            Self::Candles(Interval::Minute) => 1,
            Self::Candles(Interval::Hour) => 2,
            Self::Candles(Interval::Day) => 3,
            Self::Quotes => 4,
            Self::Book => 5,
        }
    }

    /// The topic whose changes it carries.
    pub(super) const fn topic(self) -> Topic {
        match self {
            Self::Latest => Topic::Latest,
            Self::Candles(interval) => interval.topic(),
            Self::Quotes => Topic::TopOfBook,
            Self::Book => Topic::Books,
        }
    }

    /// The store's name.
    pub(super) const fn store(self) -> &'static str {
        store_name(self.topic())
    }

    /// The channel of a store, if it has one.
    pub(super) fn of_store(store: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|channel| channel.store() == store)
    }

    /// Parses the name of a channel and the interval.
    pub(super) fn parse(name: &str, interval: Option<&str>) -> Result<Self, String> {
        let without_interval = [Self::Latest, Self::Quotes, Self::Book];
        if let Some(channel) = without_interval.into_iter().find(|channel| channel.name() == name) {
            return match interval {
                None => Ok(channel),
                Some(_) => Err(format!("channel {name} has no interval")),
            };
        }
        if name != Self::Candles(Interval::Minute).name() {
            return Err("channel is not latest, candles, quotes or book".into());
        }
        let interval = interval.unwrap_or(Interval::Minute.as_str());
        let interval = Interval::parse(interval).ok_or("interval is not 1m, 1h or 1d")?;
        Ok(Self::Candles(interval))
    }

    /// The name in messages.
    pub(super) const fn name(self) -> &'static str {
        match self {
            Self::Latest => Topic::Latest.base_name(),
            Self::Candles(_) => "candles",
            Self::Quotes => "quotes",
            Self::Book => "book",
        }
    }

    /// The length of its candles, if it has candles.
    pub(super) const fn interval(self) -> Option<Interval> {
        match self {
            Self::Candles(interval) => Some(interval),
            Self::Latest | Self::Quotes | Self::Book => None,
        }
    }

    /// Rows of one snapshot. A book has fifty levels, so the limit keeps its snapshot within the bytes
    /// that may wait for a client.
    pub(super) const fn max_rows(self) -> usize {
        match self {
            Self::Book => 1_000,
            Self::Latest | Self::Candles(_) | Self::Quotes => 20_000,
        }
    }
}

/// Parses one part of a pair.
fn part(name: &str, text: Option<String>) -> Result<Option<String>, String> {
    match text {
        None => Ok(None),
        Some(text) if text == ANY => Ok(None),
        Some(text) if (1..=pair::MAX_PART_BYTES).contains(&text.len()) => Ok(Some(text)),
        Some(_) => Err(format!("{name} is not * or 1 to {} bytes", pair::MAX_PART_BYTES)),
    }
}

/// A channel and the pairs within it.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) struct Pattern {
    /// The channel.
    pub(super) channel: Channel,
    /// The base; `None` is any, as in the fields below.
    pub(super) base: Option<String>,
    /// The quote.
    pub(super) quote: Option<String>,
    /// The exchange.
    pub(super) exchange: Option<String>,
}

impl Pattern {
    /// Checks the parts.
    pub(super) fn new(
        channel: Channel,
        base: Option<String>,
        quote: Option<String>,
        exchange: Option<String>,
    ) -> Result<Self, String> {
        Ok(Self {
            channel,
            base: part("base", base)?,
            quote: part("quote", quote)?,
            exchange: part("exchange", exchange)?,
        })
    }

    /// The only pair that it matches, if no part is `*`.
    pub(super) fn pair(&self) -> Option<PairKey> {
        Some(PairKey::new(self.base.as_ref()?, self.quote.as_ref()?, self.exchange.as_ref()?))
    }

    /// Whether the pair matches.
    pub(super) fn matches(&self, pair: &PairKey) -> bool {
        let is = |part: &Option<String>, value| part.as_ref().is_none_or(|part| part == value);
        is(&self.base, &pair.base)
            && is(&self.quote, &pair.quote)
            && is(&self.exchange, &pair.exchange)
    }

    /// Its parts by name, as a client would write them.
    pub(super) fn parts(&self) -> [(&'static str, &str); 3] {
        let parts = [("exchange", &self.exchange), ("base", &self.base), ("quote", &self.quote)];
        parts.map(|(name, part)| (name, part.as_deref().unwrap_or(ANY)))
    }
}
