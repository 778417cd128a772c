//! The limits of Deribit for one address (table: `crate::Limits`).

use std::time::Duration;

use crate::limits::Limits;

/// The limits of feeds.
pub(super) const LIMITS: Limits = Limits {
    streams: 500,
    connections: 30,
    messages_in_10s: 33,
    attempts: 60,
    window: Duration::from_mins(1),
};

/// The time between two requests for history: a fifth of 20 requests a second.
pub(super) const HISTORY_PACE: Duration = Duration::from_millis(250);
