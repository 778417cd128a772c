//! The stores of a task, by name.

use schemas::LatestPrice;
use streams::store::StoreHandle;

use super::candles::{Feed, Window};

/// The stores of a task.
#[derive(Clone)]
pub struct TaskStores {
    /// The newest price by pair: also the pair's clock.
    pub latest: StoreHandle<LatestPrice>,
    /// Candles of one minute: the only tier that events reach.
    pub minutes: StoreHandle<Window>,
    /// Merged from closed minutes.
    pub hours: StoreHandle<Window>,
    /// Merged from closed minutes.
    pub days: StoreHandle<Window>,
    /// The state of each exchange's feed, and the own states of pairs.
    pub feeds: StoreHandle<Feed>,
}
