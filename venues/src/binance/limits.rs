//! The limits of Binance for one address (table: `crate::Limits`).

use std::time::Duration;

use super::book;
use crate::channel::Follow;
use crate::limits::Limits;

/// The limits of feeds.
pub(super) const LIMITS: Limits = Limits {
    streams: 1024,
    connections: 300,
    messages_in_10s: 50,
    attempts: 300,
    window: Duration::from_mins(5),
};

/// The time of one unit of weight, of half of the 6,000 a minute: the other half is that of history.
const WEIGHT_PACE: Duration = Duration::from_millis(20);

/// The time between two requests for snapshots. Their weight grows in steps with the levels (Binance
/// spot API, "Order book").
pub(super) fn snapshot_pace(follow: Follow) -> Duration {
    let weight = match book::limit(follow) {
        ..=100 => 5,
        101..=500 => 25,
        501..=1_000 => 50,
        _ => 250,
    };
    WEIGHT_PACE * weight
}

/// The time between two requests for history: half of 240 requests a minute (6,000 of weight, 25 each).
pub(super) const HISTORY_PACE: Duration = Duration::from_millis(500);
