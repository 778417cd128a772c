//! The Avro schemas by name: what a record is.

crate::named! {
    /// The schemas, one for each `.avsc` file, by their records' names within the namespace `market`.
    #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
    pub enum Kind {
        /// `pair_key.avsc`
        PairKey = "PairKey",
        /// `candle_key.avsc`
        CandleKey = "CandleKey",
        /// `market_event.avsc`
        MarketEvent = "MarketEvent",
        /// `latest_price.avsc`
        LatestPrice = "LatestPrice",
        /// `candle.avsc`
        Candle = "Candle",
        /// `feed_mark.avsc`
        FeedMark = "FeedMark",
        /// `quote.avsc`
        Quote = "Quote",
        /// `book.avsc`
        Book = "Book",
        /// `top_of_book.avsc`
        TopOfBook = "TopOfBook",
        /// `spread_key.avsc`
        SpreadKey = "SpreadKey",
        /// `spread.avsc`
        Spread = "Spread",
        /// `ticker.avsc`
        Ticker = "Ticker",
        /// `instrument.avsc`
        Instrument = "Instrument",
        /// `option_state.avsc`
        OptionState = "OptionState",
        /// `option_minute_key.avsc`
        OptionMinuteKey = "OptionMinuteKey",
        /// `option_minute.avsc`
        OptionMinute = "OptionMinute",
        /// `derivative.avsc`
        Derivative = "Derivative",
        /// `pool_key.avsc`
        PoolKey = "PoolKey",
        /// `pool.avsc`
        Pool = "Pool",
        /// `swap.avsc`
        Swap = "Swap",
        /// `chain_head.avsc`
        ChainHead = "ChainHead",
        /// `pool_minute_key.avsc`
        PoolMinuteKey = "PoolMinuteKey",
        /// `pool_minute.avsc`
        PoolMinute = "PoolMinute",
        /// `token_key.avsc`
        TokenKey = "TokenKey",
        /// `token_bucket_key.avsc`
        TokenBucketKey = "TokenBucketKey",
        /// `token_bucket.avsc`
        TokenBucket = "TokenBucket",
        /// `token_leg.avsc`
        TokenLeg = "TokenLeg",
        /// `swap_status_key.avsc`
        SwapStatusKey = "SwapStatusKey",
        /// `swap_state.avsc`
        SwapState = "SwapState",
        /// `index_key.avsc`
        IndexKey = "IndexKey",
        /// `index.avsc`
        Index = "Index",
        /// `index_leg.avsc`
        IndexLeg = "IndexLeg",
    }
}

impl Kind {
    /// The text of its `.avsc` file.
    pub const fn schema(self) -> &'static str {
        match self {
            Self::PairKey => include_str!("../avro/pair_key.avsc"),
            Self::CandleKey => include_str!("../avro/candle_key.avsc"),
            Self::MarketEvent => include_str!("../avro/market_event.avsc"),
            Self::LatestPrice => include_str!("../avro/latest_price.avsc"),
            Self::Candle => include_str!("../avro/candle.avsc"),
            Self::FeedMark => include_str!("../avro/feed_mark.avsc"),
            Self::Quote => include_str!("../avro/quote.avsc"),
            Self::Book => include_str!("../avro/book.avsc"),
            Self::TopOfBook => include_str!("../avro/top_of_book.avsc"),
            Self::SpreadKey => include_str!("../avro/spread_key.avsc"),
            Self::Spread => include_str!("../avro/spread.avsc"),
            Self::Ticker => include_str!("../avro/ticker.avsc"),
            Self::Instrument => include_str!("../avro/instrument.avsc"),
            Self::OptionState => include_str!("../avro/option_state.avsc"),
            Self::OptionMinuteKey => include_str!("../avro/option_minute_key.avsc"),
            Self::OptionMinute => include_str!("../avro/option_minute.avsc"),
            Self::Derivative => include_str!("../avro/derivative.avsc"),
            Self::PoolKey => include_str!("../avro/pool_key.avsc"),
            Self::Pool => include_str!("../avro/pool.avsc"),
            Self::Swap => include_str!("../avro/swap.avsc"),
            Self::ChainHead => include_str!("../avro/chain_head.avsc"),
            Self::PoolMinuteKey => include_str!("../avro/pool_minute_key.avsc"),
            Self::PoolMinute => include_str!("../avro/pool_minute.avsc"),
            Self::TokenKey => include_str!("../avro/token_key.avsc"),
            Self::TokenBucketKey => include_str!("../avro/token_bucket_key.avsc"),
            Self::TokenBucket => include_str!("../avro/token_bucket.avsc"),
            Self::TokenLeg => include_str!("../avro/token_leg.avsc"),
            Self::SwapStatusKey => include_str!("../avro/swap_status_key.avsc"),
            Self::SwapState => include_str!("../avro/swap_state.avsc"),
            Self::IndexKey => include_str!("../avro/index_key.avsc"),
            Self::Index => include_str!("../avro/index.avsc"),
            Self::IndexLeg => include_str!("../avro/index_leg.avsc"),
        }
    }
}
