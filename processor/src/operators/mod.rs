//! The operators of the topology. None does I/O or reads a clock.

#![deny(clippy::float_arithmetic)]

mod candles;
mod entry;
mod latest;
mod pairs;
mod rules;

pub use crate::interval::Interval;
pub use candles::{
    CandleStores, Candles, Carrier, FeedState, Gap, STEP_WINDOWS, Seen, Window, merge, single,
};
pub use entry::{Entry, entry};
pub use latest::LatestPrices;
pub use pairs::{Pair, PairCache};
pub use rules::{REVISION_HORIZON_MS, is_closed};

/// The result of taking a record.
type Result<T, E = streams::Failure> = std::result::Result<T, E>;
