//! The records that travel: events, keys, exact decimals, their Avro form and the topic table.
//!
//! Every other crate speaks these types, and none of them writes down a topic name, a schema or
//! a scale of its own.
//!
//! | type | on the wire | key of |
//! |---|---|---|
//! | [`PairKey`] | `avro/pair_key.avsc` | `events`, `latest`, `quotes`, `books`, `top_of_book`, `option_tickers`, `options`, `derivatives` |
//! | [`MarketEvent`], [`FeedMark`] | `avro/market_event.avsc`, `avro/feed_mark.avsc` | |
//! | [`LatestPrice`] | `avro/latest_price.avsc` | |
//! | [`CandleKey`] | `avro/candle_key.avsc` | `ohlc_1m`, `ohlc_1h`, `ohlc_1d` |
//! | [`Candle`] | `avro/candle.avsc` | |
//! | [`Quote`] | `avro/quote.avsc` | |
//! | [`Book`] | `avro/book.avsc` | |
//! | [`TopOfBook`] | `avro/top_of_book.avsc` | |
//! | [`SpreadKey`] | `avro/spread_key.avsc` | `spreads_1m`, `spreads_1h`, `spreads_1d` |
//! | [`Spread`] | `avro/spread.avsc` | |
//! | [`Ticker`], [`Instrument`] | `avro/ticker.avsc`, `avro/instrument.avsc` | |
//! | [`OptionState`] | `avro/option_state.avsc` | |
//! | [`OptionMinuteKey`] | `avro/option_minute_key.avsc` | `options_1m` |
//! | [`OptionMinute`] | `avro/option_minute.avsc` | |
//! | [`Derivative`] | `avro/derivative.avsc` | |
//! | [`PoolKey`] | `avro/pool_key.avsc` | `swaps`, `pools` |
//! | [`Swap`], [`ChainHead`], [`Pool`] | `avro/swap.avsc`, `avro/chain_head.avsc`, `avro/pool.avsc` | |
//! | [`PoolMinuteKey`] | `avro/pool_minute_key.avsc` | `pool_1m` |
//! | [`PoolMinute`] | `avro/pool_minute.avsc` | |
//! | [`TokenKey`], [`TokenLeg`] | `avro/token_key.avsc`, `avro/token_leg.avsc` | the repartition topic `token-legs` |
//! | [`TokenBucketKey`] | `avro/token_bucket_key.avsc` | `token_5m`, `token_1h` |
//! | [`TokenBucket`] | `avro/token_bucket.avsc` | |
//! | [`SwapStatusKey`] | `avro/swap_status_key.avsc` | `swap_status` and the repartition topic `swap-status` |
//! | [`SwapState`] | `avro/swap_state.avsc` | |
//! | [`IndexKey`] | `avro/index_key.avsc` | `index` and the repartition topic `index-legs` |
//! | [`Index`], [`IndexLeg`] | `avro/index.avsc`, `avro/index_leg.avsc` | |
//!
//! Bytes stop at [`codec`]: past it everything is typed. The `.avsc` files are the single source;
//! the hand-written encoders are held to them by golden bytes and by the reference implementation.
//!
//! # What this does not do
//!
//! It computes nothing of markets beyond exact arithmetic, and talks to no broker. The one thing
//! that reaches out is [`registry`].

#![deny(clippy::float_arithmetic)]

pub mod absent;
pub mod avro;
pub mod book;
pub mod candle;
mod clock;
pub mod codec;
pub mod decimal;
pub mod derivative;
pub mod event;
mod fields;
pub mod index;
pub mod instrument;
pub mod integer;
pub mod json;
pub mod kind;
pub mod latest;
pub mod mark;
mod named;
pub mod option_minute;
pub mod option_state;
pub mod pair;
pub mod pool;
pub mod pool_minute;
pub mod price;
pub mod quote;
pub mod registry;
pub mod spread;
pub mod swap;
pub mod swap_state;
pub mod ticker;
pub mod time;
pub mod token;
pub mod top_of_book;
pub mod topic;
mod weighted_sum;

pub use book::{Book, BookLevel, Proof};
pub use candle::{Candle, CandleKey, Status};
pub use codec::{Codec, DecodeError};
pub use decimal::Decimal;
pub use derivative::Derivative;
pub use event::{Basis, MarketEvent, TakerSide, TradeDetails, VolumeSource};
pub use index::{Index, IndexKey, IndexLeg, IndexMember};
pub use instrument::{Class, Instrument, InstrumentName, InstrumentState, Right};
pub use integer::Integer;
pub use kind::Kind;
pub use latest::LatestPrice;
pub use mark::{FeedMark, PairChange, Part};
pub use option_minute::{OptionMinute, OptionMinuteKey};
pub use option_state::OptionState;
pub use pair::PairKey;
pub use pool::{Pool, PoolKey, PoolProtocol};
pub use pool_minute::{MinuteStatus, PoolMinute, PoolMinuteKey};
pub use quote::Quote;
pub use spread::{Spread, SpreadKey};
pub use swap::{ChainHead, Swap, SwapStatus};
pub use swap_state::{SwapState, SwapStatusKey};
pub use ticker::Ticker;
pub use time::Timestamp;
pub use token::{TokenBucket, TokenBucketKey, TokenKey, TokenLeg};
pub use top_of_book::{BookState, TopOfBook};
pub use weighted_sum::WeightedSum;
