//! The limits of Bitstamp for one address (table: `crate::Limits`).

use std::time::Duration;

use crate::channel::Follow;
use crate::limits::Limits;

/// The limits of feeds. The venue documents 400 requests a second and 10,000 in ten minutes, and
/// nothing about streams or connections: a connection subscribes its streams in ten seconds.
pub(super) const LIMITS: Limits = Limits {
    streams: 100,
    connections: 20,
    messages_in_10s: 100,
    attempts: 60,
    window: Duration::from_mins(1),
};

/// The time between two requests for snapshots: 6,000 of the 10,000 requests in ten minutes.
pub(super) fn snapshot_pace(_: Follow) -> Duration {
    Duration::from_millis(100)
}
