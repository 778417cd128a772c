//! The stores of a task, all of which the candles need.

use schemas::LatestPrice;
use streams::store::StoreHandle;

use super::Window;
use crate::operators::FeedState;

/// The stores of a task: those of the candles, and the latest prices as their clock.
#[derive(Clone)]
pub struct CandleStores {
    /// The newest price by pair: also the pair's clock.
    pub latest: StoreHandle<LatestPrice>,
    /// Candles of one minute: the only tier that events reach.
    pub minutes: StoreHandle<Window>,
    /// Merged from closed minutes.
    pub hours: StoreHandle<Window>,
    /// Merged from closed minutes.
    pub days: StoreHandle<Window>,
    /// The state of each exchange's feed, and the own states of pairs.
    pub feeds: StoreHandle<FeedState>,
}
