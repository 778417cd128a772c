//! The topic table: names, partitions, cleanup and retention, here and nowhere else.
//!
//! All topics of one installation have the same number of partitions: the state of a partition of
//! `events` is kept in the same partition of every output.

use std::time::Duration;

use crate::kind::Kind;

/// Partitions of every topic unless `--partitions` says otherwise.
pub const DEFAULT_PARTITIONS: i32 = 4;

const DAY: Duration = Duration::from_hours(24);

/// The broker's treatment of old records.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Cleanup {
    /// Deleted after the retention.
    Delete(Duration),
    /// The newest of each key is kept for ever.
    Compact,
    /// The newest of each key is kept for the retention.
    CompactDelete(Duration),
}

crate::named! {
    /// The topics.
    #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
    pub enum Topic {
        /// Trades, price samples and feed marks, as they came.
        Events = "events",
        /// The newest price of each pair.
        Latest = "latest",
        /// Candles of one minute.
        Ohlc1m = "ohlc_1m",
        /// Candles of one hour.
        Ohlc1h = "ohlc_1h",
        /// Candles of one day.
        Ohlc1d = "ohlc_1d",
        /// Events behind the revision horizon.
        Late = "late",
        /// Records that cannot be processed, as they came, with the reason in their headers.
        DeadLetters = "dead_letters",
        /// Private to the processor: how far each feed is known to be healthy.
        Feeds = "processor-feeds-changelog",
        /// Best bids and asks and the marks of their feeds, as they came.
        Quotes = "quotes",
        /// The best levels of each pair's order book.
        Books = "books",
        /// The newest quote of each pair.
        TopOfBook = "top_of_book",
        /// Spreads of one minute.
        Spreads1m = "spreads_1m",
        /// Spreads of one hour.
        Spreads1h = "spreads_1h",
        /// Spreads of one day.
        Spreads1d = "spreads_1d",
        /// Private to the processor: how far each feed of quotes is known to be healthy.
        QuoteFeeds = "processor-quote-feeds-changelog",
        /// Tickers of options, futures and perpetuals, the facts of instruments and the marks of their
        /// feeds, as they came.
        OptionTickers = "option_tickers",
        /// The newest ticker of each option, with its facts.
        Options = "options",
        /// The last ticker of each option in each minute.
        Options1m = "options_1m",
        /// The newest ticker of each future and perpetual, with its facts.
        Derivatives = "derivatives",
        /// Swaps of pools, heads of chains and facts of pools, as they came.
        Swaps = "swaps",
        /// The facts of each pool.
        Pools = "pools",
        /// The swaps of each pool in each minute.
        PoolMinutes = "pool_1m",
        /// The volume of each token in five minutes.
        Token5m = "token_5m",
        /// The volume of each token in an hour.
        Token1h = "token_1h",
        /// The status of each swap of a transaction.
        SwapStatus = "swap_status",
        /// The consolidated price of each pair.
        Index = "index",
        /// Private to the processor: the pairs whose newest price has not gone to the index.
        IndexDue = "processor-index-due-changelog",
        /// Private to the processor: the swaps that a reorganisation can still change.
        SwapInstances = "processor-swap-instances-changelog",
        /// Private to the processor: the newest blocks of each chain.
        ChainBlocks = "processor-chain-blocks-changelog",
        /// Private to the processor: the pools of each bucket of a token.
        TokenPools = "processor-token-pools-changelog",
    }
}

impl Topic {
    /// The topics that Connect sinks into a table of the same name.
    pub const SUNK: [Self; 17] = [
        Self::Latest,
        Self::Ohlc1m,
        Self::Ohlc1h,
        Self::Ohlc1d,
        Self::TopOfBook,
        Self::Spreads1m,
        Self::Spreads1h,
        Self::Spreads1d,
        Self::Options,
        Self::Options1m,
        Self::Derivatives,
        Self::Pools,
        Self::PoolMinutes,
        Self::Token5m,
        Self::Token1h,
        Self::SwapStatus,
        Self::Index,
    ];

    /// The topics that hold feed marks beside records of another schema.
    pub const MARKED: [Self; 3] = [Self::Events, Self::Quotes, Self::OptionTickers];

    /// The topics that hold the facts of instruments beside records of another schema.
    pub const LISTED: [Self; 1] = [Self::OptionTickers];

    /// The topics that hold heads of chains and facts of pools beside swaps.
    pub const CHAINS: [Self; 1] = [Self::Swaps];

    /// The name without a prefix.
    pub const fn base_name(self) -> &'static str {
        self.as_str()
    }

    /// The name in an installation whose topics begin with `prefix`.
    pub fn name(self, prefix: &str) -> String {
        format!("{prefix}{}", self.base_name())
    }

    /// The schemas of key and value; `None` where the bytes are whatever came.
    pub const fn kinds(self) -> Option<(Kind, Kind)> {
        match self {
            Self::Events | Self::Late => Some((Kind::PairKey, Kind::MarketEvent)),
            Self::Latest => Some((Kind::PairKey, Kind::LatestPrice)),
            Self::Ohlc1m | Self::Ohlc1h | Self::Ohlc1d => Some((Kind::CandleKey, Kind::Candle)),
            Self::Feeds | Self::QuoteFeeds => Some((Kind::PairKey, Kind::FeedMark)),
            Self::Quotes => Some((Kind::PairKey, Kind::Quote)),
            Self::Books => Some((Kind::PairKey, Kind::Book)),
            Self::TopOfBook => Some((Kind::PairKey, Kind::TopOfBook)),
            Self::Spreads1m | Self::Spreads1h | Self::Spreads1d => {
                Some((Kind::SpreadKey, Kind::Spread))
            }
            Self::OptionTickers => Some((Kind::PairKey, Kind::Ticker)),
            Self::Options => Some((Kind::PairKey, Kind::OptionState)),
            Self::Options1m => Some((Kind::OptionMinuteKey, Kind::OptionMinute)),
            Self::Derivatives => Some((Kind::PairKey, Kind::Derivative)),
            Self::Swaps => Some((Kind::PoolKey, Kind::Swap)),
            Self::Pools => Some((Kind::PoolKey, Kind::Pool)),
            Self::PoolMinutes => Some((Kind::PoolMinuteKey, Kind::PoolMinute)),
            Self::Token5m | Self::Token1h => Some((Kind::TokenBucketKey, Kind::TokenBucket)),
            Self::SwapStatus => Some((Kind::SwapStatusKey, Kind::SwapState)),
            Self::Index => Some((Kind::IndexKey, Kind::Index)),
            // Private state has the processor's own bytes.
            Self::DeadLetters
            | Self::SwapInstances
            | Self::ChainBlocks
            | Self::TokenPools
            | Self::IndexDue => None,
        }
    }

    /// The broker's treatment of old records.
    ///
    /// A window's topic keeps it far longer than its window and the revision horizon: the topic
    /// is also the changelog.
    pub const fn cleanup(self) -> Cleanup {
        match self {
            // One record a frame: a tenfold of the trades.
            Self::Quotes => Cleanup::Delete(DAY),
            Self::Events | Self::Late | Self::OptionTickers | Self::Swaps => {
                Cleanup::Delete(DAY.saturating_mul(7))
            }
            Self::SwapStatus => Cleanup::CompactDelete(DAY.saturating_mul(7)),
            Self::DeadLetters => Cleanup::Delete(DAY.saturating_mul(30)),
            Self::Ohlc1m
            | Self::Spreads1m
            | Self::Options1m
            | Self::PoolMinutes
            | Self::Token5m
            | Self::TokenPools => Cleanup::CompactDelete(DAY.saturating_mul(30)),
            Self::Ohlc1h | Self::Spreads1h | Self::Token1h => {
                Cleanup::CompactDelete(DAY.saturating_mul(730))
            }
            Self::Latest
            | Self::Ohlc1d
            | Self::Feeds
            | Self::Books
            | Self::TopOfBook
            | Self::Spreads1d
            | Self::QuoteFeeds
            | Self::Options
            | Self::Derivatives
            | Self::Pools
            | Self::Index
            | Self::IndexDue
            | Self::SwapInstances
            | Self::ChainBlocks => Cleanup::Compact,
        }
    }

    /// The broker's settings for it.
    pub fn settings(self) -> Vec<(&'static str, String)> {
        let (policy, retention) = match self.cleanup() {
            Cleanup::Delete(retention) => ("delete", Some(retention)),
            Cleanup::Compact => ("compact", None),
            Cleanup::CompactDelete(retention) => ("compact,delete", Some(retention)),
        };
        let retention = retention.map_or("-1".into(), |time| time.as_millis().to_string());
        vec![("cleanup.policy", policy.into()), ("retention.ms", retention)]
    }
}
