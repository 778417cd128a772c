//! The Avro schemas by name: what a record is.

/// The schemas, one for each `.avsc` file.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Kind {
    /// `pair_key.avsc`
    PairKey,
    /// `candle_key.avsc`
    CandleKey,
    /// `market_event.avsc`
    MarketEvent,
    /// `latest_price.avsc`
    LatestPrice,
    /// `candle.avsc`
    Candle,
    /// `feed_mark.avsc`
    FeedMark,
}

impl Kind {
    /// Every schema.
    pub const ALL: [Self; 6] = [
        Self::PairKey,
        Self::CandleKey,
        Self::MarketEvent,
        Self::LatestPrice,
        Self::Candle,
        Self::FeedMark,
    ];

    /// The text of its `.avsc` file.
    pub const fn schema(self) -> &'static str {
        match self {
            Self::PairKey => include_str!("../avro/pair_key.avsc"),
            Self::CandleKey => include_str!("../avro/candle_key.avsc"),
            Self::MarketEvent => include_str!("../avro/market_event.avsc"),
            Self::LatestPrice => include_str!("../avro/latest_price.avsc"),
            Self::Candle => include_str!("../avro/candle.avsc"),
            Self::FeedMark => include_str!("../avro/feed_mark.avsc"),
        }
    }

    /// The record's name within the namespace `market`.
    pub const fn name(self) -> &'static str {
        match self {
            Self::PairKey => "PairKey",
            Self::CandleKey => "CandleKey",
            Self::MarketEvent => "MarketEvent",
            Self::LatestPrice => "LatestPrice",
            Self::Candle => "Candle",
            Self::FeedMark => "FeedMark",
        }
    }
}
