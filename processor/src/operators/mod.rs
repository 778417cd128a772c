//! The operators of the topology. None does I/O or reads a clock.

#![deny(clippy::float_arithmetic)]

mod candles;
mod ended;
mod entry;
mod feed;
mod index;
mod latest;
mod options;
mod pairs;
mod quotes;
mod rules;
mod swaps;
mod windows_over;

pub use crate::interval::Interval;
pub use candles::{CandleStores, Candles, Seen, Window, merge, single};
pub use entry::{Entry, entry};
pub use feed::{Carrier, Content, FeedState, Gap, STEP_WINDOWS};
pub use index::{
    Consolidated, IndexLegEntry, IndexLegs, Indexes, OUTLIER_PART, Quoted, STALE_AFTER_MS, Unused,
    consolidate, index_leg_entry,
};
pub use latest::LatestPrices;
pub use options::{OptionEntry, OptionStores, Options, option_entry};
pub use pairs::{Pair, PairCache};
pub use quotes::{QuoteEntry, QuoteStores, Quotes, merge_spreads, quote_entry};
pub use rules::{REVISION_HORIZON_MS, is_closed};
pub use swaps::{
    FINAL, Flag, Height, Instance, LegEntry, Route, StatusEntry, SwapEntry, SwapOutput,
    SwapStatuses, SwapStores, Swaps, TokenStores, Tokens, leg_entry, status_entry, swap_entry,
};

/// The result of taking a record.
type Result<T, E = streams::Failure> = std::result::Result<T, E>;
