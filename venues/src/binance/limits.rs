//! The limits of Binance for one address (table: `crate::Limits`).

use std::time::Duration;

use crate::limits::Limits;

/// The limits of feeds.
pub(super) const LIMITS: Limits = Limits {
    streams: 1024,
    connections: 300,
    messages_in_10s: 50,
    attempts: 300,
    window: Duration::from_mins(5),
};

/// The time between two requests for history: half of 240 requests a minute (6,000 of weight, 25 each).
pub(super) const HISTORY_PACE: Duration = Duration::from_millis(500);
