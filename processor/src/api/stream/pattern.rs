//! A subscription's pattern: a channel, and a pair of which each part may be `*`.
//!
//! A pattern of options has two more parts, the currency and the expiry. The name of the instrument
//! says both, so that the deletion of an option reaches the same subscribers as its tickers.
//!
//! A pattern of tokens or swaps has a chain, in the place of the exchange, and an address, in that of
//! the base. A pattern of the index has no exchange.

use schemas::instrument::InstrumentName;
use schemas::topic::Topic;
use schemas::{PairKey, pair};

use crate::api::option_filter::ExpiryDay;
use crate::api::swap_params::is_address;
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
    /// The newest ticker of each option.
    Options,
    /// The five-minute buckets of each token.
    Tokens,
    /// The status of each swap.
    Swaps,
    /// The consolidated price of each pair.
    Index,
}

/// The number of channels.
pub(super) const CHANNELS: usize = 10;

impl Channel {
    /// Every channel. A resume token has the index, so a new channel is added at the end.
    pub(super) const ALL: [Self; CHANNELS] = [
        Self::Latest,
        Self::Candles(Interval::Minute),
        Self::Candles(Interval::Hour),
        Self::Candles(Interval::Day),
        Self::Quotes,
        Self::Book,
        Self::Options,
        Self::Tokens,
        Self::Swaps,
        Self::Index,
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
            Self::Options => 6,
            Self::Tokens => 7,
            Self::Swaps => 8,
            Self::Index => 9,
        }
    }

    /// The topic whose changes it carries.
    pub(super) const fn topic(self) -> Topic {
        match self {
            Self::Latest => Topic::Latest,
            Self::Candles(interval) => interval.topic(),
            Self::Quotes => Topic::TopOfBook,
            Self::Book => Topic::Books,
            Self::Options => Topic::Options,
            Self::Tokens => Topic::Token5m,
            Self::Swaps => Topic::SwapStatus,
            Self::Index => Topic::Index,
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
        let mut without_interval = Self::ALL.into_iter().filter(|one| one.interval().is_none());
        if let Some(channel) = without_interval.find(|channel| channel.name() == name) {
            return match interval {
                None => Ok(channel),
                Some(_) => Err(format!("channel {name} has no interval")),
            };
        }
        if name != Self::Candles(Interval::Minute).name() {
            let names = "latest, candles, quotes, book, options, tokens, swaps or index";
            return Err(format!("channel is not {names}"));
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
            Self::Options => Topic::Options.base_name(),
            Self::Tokens => "tokens",
            Self::Swaps => "swaps",
            Self::Index => Topic::Index.base_name(),
        }
    }

    /// The length of its candles, if it has candles.
    pub(super) const fn interval(self) -> Option<Interval> {
        match self {
            Self::Candles(interval) => Some(interval),
            _ => None,
        }
    }

    /// Rows of one snapshot. A book has fifty levels, an index about ten members and an option forty fields,
    /// so the limit keeps their snapshots within the bytes that may wait for a client.
    pub(super) const fn max_rows(self) -> usize {
        match self {
            Self::Book => 1_000,
            Self::Index => 2_000,
            Self::Options => 5_000,
            Self::Latest | Self::Candles(_) | Self::Quotes | Self::Tokens | Self::Swaps => 20_000,
        }
    }

    /// The parts that its patterns have, as clients name them.
    const fn part_names(self) -> &'static [&'static str] {
        match self {
            Self::Options => &["instrument", "currency", "expiry", "quote", "exchange"],
            Self::Tokens => &["chain", "token"],
            Self::Swaps => &["chain", "pool"],
            Self::Index => &["base", "quote"],
            Self::Latest | Self::Candles(_) | Self::Quotes | Self::Book => {
                &["exchange", "base", "quote"]
            }
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

/// The parts of a pattern as a client sends them.
#[derive(Clone, Debug, Default)]
pub(super) struct AskedParts {
    /// The base; `None` and `*` are any, as in the fields below.
    pub(super) base: Option<String>,
    /// The quote.
    pub(super) quote: Option<String>,
    /// The exchange.
    pub(super) exchange: Option<String>,
    /// The currency of an option's underlying.
    pub(super) currency: Option<String>,
    /// The day on which an option expires.
    pub(super) expiry: Option<String>,
    /// The name of an option, which is the base of its pair.
    pub(super) instrument: Option<String>,
    /// The chain of a token or a swap.
    pub(super) chain: Option<String>,
    /// The address of a token.
    pub(super) token: Option<String>,
    /// The address of a swap's pool.
    pub(super) pool: Option<String>,
}

impl AskedParts {
    /// Each part by its name.
    const fn named(&self) -> [(&'static str, &Option<String>); 9] {
        [
            ("base", &self.base),
            ("quote", &self.quote),
            ("exchange", &self.exchange),
            ("currency", &self.currency),
            ("expiry", &self.expiry),
            ("instrument", &self.instrument),
            ("chain", &self.chain),
            ("token", &self.token),
            ("pool", &self.pool),
        ]
    }

    /// The parts in the places of a pattern: see [`Pattern`].
    fn placed(self, channel: Channel) -> Result<Self, String> {
        let known = channel.part_names();
        let given = self.named().into_iter().filter(|(_, part)| part.is_some());
        if let Some((part, _)) = given.into_iter().find(|(part, _)| !known.contains(part)) {
            let (name, known) = (channel.name(), known.join(", "));
            return Err(format!("channel {name} has no {part}: send {known}"));
        }
        Ok(match channel {
            Channel::Options => Self { base: self.instrument.clone(), ..self },
            Channel::Tokens => {
                Self { base: address("token", self.token.clone())?, ..self.of_chain()? }
            }
            Channel::Swaps => {
                Self { base: address("pool", self.pool.clone())?, ..self.of_chain()? }
            }
            _ => self,
        })
    }

    fn of_chain(self) -> Result<Self, String> {
        let is_chain = |text: &str| text == ANY || text.parse::<i64>().is_ok_and(|id| id > 0);
        if self.chain.as_deref().is_some_and(|chain| !is_chain(chain)) {
            return Err("chain is not * or the id of a chain, a number from 1".into());
        }
        Ok(Self { exchange: self.chain.clone(), ..self })
    }
}

/// Parses the address of a token or a pool.
fn address(name: &str, text: Option<String>) -> Result<Option<String>, String> {
    let Some(text) = text.filter(|text| text != ANY) else { return Ok(None) };
    let found = is_address(&text);
    found.map(Some).ok_or_else(|| format!("{name} is not * or 0x and 40 hexadecimal digits"))
}

/// The number of parts of a pattern.
pub(super) const PARTS: usize = 5;

/// A channel and the pairs within it.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) struct Pattern {
    /// The channel.
    pub(super) channel: Channel,
    /// The base, or the address of a token or a pool; `None` is any, as in the fields below.
    pub(super) base: Option<String>,
    /// The quote.
    pub(super) quote: Option<String>,
    /// The exchange, or the chain of a token or a swap.
    pub(super) exchange: Option<String>,
    /// The currency of an option.
    pub(super) currency: Option<String>,
    /// The day on which an option expires, as in `2026-12-25`.
    pub(super) expiry: Option<String>,
}

/// Parses the day of an expiry.
fn day(text: Option<String>) -> Result<Option<String>, String> {
    let Some(text) = part("expiry", text)? else { return Ok(None) };
    let day =
        ExpiryDay::parse(&text).ok_or("expiry is not *, or a day as 2026-12-25 or 25DEC26")?;
    Ok(Some(day.to_string()))
}

/// The currency and the day of expiry that the name of an option says.
pub(super) fn market(name: &str) -> Option<(String, String)> {
    let InstrumentName { currency, expiry_time, .. } = InstrumentName::parse(name)?;
    Some((currency, ExpiryDay::of(expiry_time?).to_string()))
}

impl Pattern {
    /// Checks the parts.
    pub(super) fn new(channel: Channel, asked: AskedParts) -> Result<Self, String> {
        let asked = asked.placed(channel)?;
        let base = if channel == Channel::Options { "instrument" } else { "base" };
        Ok(Self {
            channel,
            base: part(base, asked.base)?,
            quote: part("quote", asked.quote)?,
            exchange: part("exchange", asked.exchange)?,
            currency: part("currency", asked.currency)?,
            expiry: day(asked.expiry)?,
        })
    }

    /// The only pair that it matches, if no part is `*`. That of an index has no exchange.
    pub(super) fn pair(&self) -> Option<PairKey> {
        let exchange = match self.channel {
            Channel::Index => "",
            _ => self.exchange.as_deref()?,
        };
        Some(PairKey::new(self.base.as_ref()?, self.quote.as_ref()?, exchange))
    }

    /// Whether the pair matches.
    pub(super) fn matches(&self, pair: &PairKey) -> bool {
        let is =
            |part: &Option<String>, value: &String| part.as_ref().is_none_or(|part| part == value);
        // The deletion of a swap does not say its pool, so it is for every subscriber of the chain.
        let is_unnamed = self.channel == Channel::Swaps && pair.base.is_empty();
        (is_unnamed || is(&self.base, &pair.base))
            && is(&self.quote, &pair.quote)
            && is(&self.exchange, &pair.exchange)
            && (self.currency.is_none() && self.expiry.is_none()
                || market(&pair.base).is_some_and(|(currency, expiry)| {
                    is(&self.currency, &currency) && is(&self.expiry, &expiry)
                }))
    }

    /// Its parts in a fixed order; the currency and the expiry are the last.
    pub(super) const fn named(&self) -> [&Option<String>; PARTS] {
        [&self.base, &self.quote, &self.exchange, &self.currency, &self.expiry]
    }

    /// Its parts by name, as a client would write them.
    pub(super) fn parts(&self) -> Vec<(&'static str, &str)> {
        let exchange = ("exchange", &self.exchange);
        let parts = match self.channel {
            Channel::Options => {
                let market = [("currency", &self.currency), ("expiry", &self.expiry)];
                let name = [("instrument", &self.base), ("quote", &self.quote)];
                [&[exchange][..], &market, &name].concat()
            }
            Channel::Tokens => vec![("chain", &self.exchange), ("token", &self.base)],
            Channel::Swaps => vec![("chain", &self.exchange), ("pool", &self.base)],
            Channel::Index => vec![("base", &self.base), ("quote", &self.quote)],
            _ => vec![exchange, ("base", &self.base), ("quote", &self.quote)],
        };
        parts.into_iter().map(|(name, part)| (name, part.as_deref().unwrap_or(ANY))).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn options(currency: &str, expiry: &str, instrument: &str) -> Result<Pattern, String> {
        let [currency, expiry, instrument] =
            [currency, expiry, instrument].map(|part| Some(part.to_owned()));
        let parts = AskedParts { currency, expiry, instrument, ..AskedParts::default() };
        Pattern::new(Channel::Options, parts)
    }

    #[test]
    fn a_pattern_of_options_matches_currency_expiry_and_name() -> Result<(), String> {
        let pair = |name: &str| PairKey::new(name, "BTC", "deribit");
        let call = pair("BTC-25DEC26-100000-C");
        for (pattern, matches) in [
            (options("*", "*", "*")?, true),
            (options("BTC", "2026-12-25", "*")?, true),
            (options("BTC", "25dec26", "BTC-25DEC26-100000-C")?, true),
            (options("ETH", "*", "*")?, false),
            (options("*", "2026-12-26", "*")?, false),
            (options("BTC", "*", "BTC-25DEC26-100000-P")?, false),
        ] {
            assert_eq!(pattern.matches(&call), matches, "{pattern:?}");
        }
        let linear = pair("BTC_USDC-25DEC26-100000-C");
        assert!(options("BTC", "25DEC26", "*")?.matches(&linear));
        // A name of another form has no currency that could match.
        assert!(!options("BTC", "*", "*")?.matches(&pair("BTC-25DEC26-1x-C")));
        assert!(options("*", "*", "*")?.matches(&pair("BTC-25DEC26-1x-C")));
        Ok(())
    }

    #[test]
    fn a_pattern_says_its_parts_as_the_client_named_them() -> Result<(), String> {
        let parts = options("BTC", "25DEC26", "*")?;
        let expected = [
            ("exchange", "*"),
            ("currency", "BTC"),
            ("expiry", "2026-12-25"),
            ("instrument", "*"),
            ("quote", "*"),
        ];
        assert_eq!(parts.parts(), expected);
        Ok(())
    }

    #[test]
    fn a_part_of_another_channel_is_refused() {
        let asked = |channel, part: &str| {
            let mut parts = AskedParts::default();
            let field = match part {
                "base" => &mut parts.base,
                "currency" => &mut parts.currency,
                "expiry" => &mut parts.expiry,
                _ => &mut parts.instrument,
            };
            *field = Some("*".into());
            Pattern::new(channel, parts).err().unwrap_or_default()
        };
        assert!(asked(Channel::Options, "base").contains("send instrument"));
        for part in ["currency", "expiry", "instrument"] {
            let error = asked(Channel::Latest, part);
            assert!(error.contains(part) && error.contains("latest"), "{error}");
            assert_eq!(asked(Channel::Options, part), "");
        }
        assert!(options("BTC", "25FOO26", "*").is_err_and(|error| error.contains("2026-12-25")));
    }
}
