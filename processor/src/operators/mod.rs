//! The steps of the topology, one operator a file, none of which does I/O or reads a clock.

#![deny(clippy::float_arithmetic)]

mod candles;
mod changes;
mod entry;
mod feed;
mod gap;
mod gaps;
mod index;
mod latest;
mod merge;
mod pairs;
mod parts;
mod rules;
mod seen;
mod stretches;
mod window;
mod work;

pub use candles::Candles;
pub use entry::{Entry, entry};
pub use feed::Feed;
pub use gap::Gap;
pub use latest::LatestPrices;
pub use merge::{merge, single};
pub use pairs::{Pair, Pairs};
pub use parts::Carrier;
pub use rules::{Interval, REVISION_HORIZON_MS, is_closed};
pub use seen::Seen;
pub use window::Window;
pub use work::STEP_WINDOWS;

use schemas::LatestPrice;
use streams::store::StoreHandle;

/// The stores of a task.
#[derive(Clone)]
pub struct Stores {
    /// The newest price by pair: also the pair's clock.
    pub latest: StoreHandle<LatestPrice>,
    /// Candles of one minute: the only tier that events reach.
    pub minutes: StoreHandle<Window>,
    /// Merged from closed minutes.
    pub hours: StoreHandle<Window>,
    /// Merged from closed minutes.
    pub days: StoreHandle<Window>,
    /// How far each exchange's feed is known to be healthy, and what it lost; of a pair, which of
    /// several connections carries it.
    pub feeds: StoreHandle<Feed>,
}
