//! The limits of Kraken for one address (table: `crate::Limits`).

use std::time::Duration;

use crate::limits::Limits;

/// The limits of feeds.
pub(super) const LIMITS: Limits = Limits {
    streams: 400,
    connections: 20,
    messages_in_10s: 20,
    attempts: 150,
    window: Duration::from_mins(10),
};

/// The time between two requests for history: one request a second.
pub(super) const HISTORY_PACE: Duration = Duration::from_secs(1);
