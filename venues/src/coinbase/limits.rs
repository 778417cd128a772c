//! The limits of Coinbase for one address (table: `crate::Limits`).

use std::time::Duration;

use crate::limits::Limits;

/// The limits of feeds.
pub(super) const LIMITS: Limits = Limits {
    streams: 50,
    connections: 20,
    messages_in_10s: 100,
    attempts: 480,
    window: Duration::from_mins(1),
};

/// The time between two requests for history: half of eight requests a second.
pub(super) const HISTORY_PACE: Duration = Duration::from_millis(250);
