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
pub mod instrument;
pub mod json;
pub mod kind;
pub mod latest;
pub mod mark;
mod named;
pub mod option_minute;
pub mod option_state;
pub mod pair;
pub mod quote;
pub mod registry;
pub mod spread;
pub mod ticker;
pub mod time;
pub mod top_of_book;
pub mod topic;
mod weighted_sum;

pub use book::{Book, BookLevel, Proof};
pub use candle::{Candle, CandleKey, Status};
pub use codec::{Codec, DecodeError};
pub use decimal::Decimal;
pub use derivative::Derivative;
pub use event::{Basis, MarketEvent, TakerSide, TradeDetails, VolumeSource};
pub use instrument::{Class, Instrument, InstrumentName, InstrumentState, Right};
pub use kind::Kind;
pub use latest::LatestPrice;
pub use mark::{FeedMark, PairChange, Part};
pub use option_minute::{OptionMinute, OptionMinuteKey};
pub use option_state::OptionState;
pub use pair::PairKey;
pub use quote::Quote;
pub use spread::{Spread, SpreadKey};
pub use ticker::Ticker;
pub use time::Timestamp;
pub use top_of_book::{BookState, TopOfBook};
pub use weighted_sum::WeightedSum;
