//! The records that travel: events, keys, exact decimals, their Avro form and the topic table.
//!
//! Every other crate speaks these types, and none of them writes down a topic name, a schema or
//! a scale of its own.
//!
//! | type | on the wire | key of |
//! |---|---|---|
//! | [`PairKey`] | `avro/pair_key.avsc` | `events`, `latest` |
//! | [`MarketEvent`], [`FeedMark`] | `avro/market_event.avsc`, `avro/feed_mark.avsc` | |
//! | [`LatestPrice`] | `avro/latest_price.avsc` | |
//! | [`CandleKey`] | `avro/candle_key.avsc` | `ohlc_1m`, `ohlc_1h`, `ohlc_1d` |
//! | [`Candle`] | `avro/candle.avsc` | |
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
pub mod candle;
mod clock;
pub mod codec;
pub mod decimal;
pub mod event;
pub mod json;
pub mod kind;
pub mod latest;
pub mod mark;
mod named;
pub mod pair;
pub mod registry;
pub mod time;
pub mod topic;

pub use candle::{Candle, CandleKey, Status};
pub use codec::{Codec, DecodeError};
pub use decimal::Decimal;
pub use event::{Basis, MarketEvent, TakerSide, VolumeSource};
pub use kind::Kind;
pub use latest::LatestPrice;
pub use mark::{FeedMark, PairChange, Part};
pub use pair::PairKey;
pub use time::Timestamp;
