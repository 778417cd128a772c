//! Changes as they are committed, over WebSocket and server-sent events, and the page that shows
//! them.
//!
//! ```text
//! engine ──Changes──► hub (one thread) ──bounded queue each──► WebSocket or SSE task ──► client
//!                      │    └─ scanners read what subscriptions begin with
//!                      │ dirty keys, the newest value of each
//!                      └ each tick: a row is encoded once, a pattern's message is made once,
//!                        and everybody who asked for it gets the same bytes
//! ```
//!
//! | client says | server answers |
//! |---|---|
//! | `{"op":"subscribe","id":1,"channel":"latest","exchange":"*","base":"BTC","quote":"*"}` | `subscribed`, `snapshot` in parts, then `update` |
//! | the same with `"channel":"candles","interval":"1m"` | the newest candles of each pair, then every candle that changes |
//! | the same with `"resume":TOKEN` | `resumed`: what has changed since, or `gone` and a `snapshot` |
//! | `{"op":"unsubscribe","id":1}` | `unsubscribed` |
//! | `{"op":"ping"}` | `pong` |
//!
//! Every `update` has the subscription's next `sequence`, so a client sees by itself that it has
//! missed none, and a `resume` token: what changed before it has been sent. The stores hold the
//! newest value of each key, so what is told is that value; the values between are conflated, which
//! is the contract of a compacted topic.
//!
//! A snapshot may hold a key twice, when it changed while the snapshot was read: the later row is the
//! newer one.
//!
//! Invariants:
//! - A client never waits for another: its queue is bounded, and who does not keep up is dropped
//!   with the reason.
//! - The engine never waits for a client, and the hub for neither a client nor a store that is read
//!   for one.
//! - A token is given out only with or after everything that changed before it.

mod client;
mod client_queue;
mod encode;
mod events;
mod groups;
mod health;
mod hub;
mod metrics;
mod origin;
mod pattern;
mod plan;
mod protocol;
mod recent_changes;
mod resume_token;
mod scans;
mod service;
mod snapshot;
mod socket;

use anyhow::Result;
use axum::Router;
use axum::routing::{MethodRouter, get};
use streams::runtime::Stop;

use super::ReadService;
use metrics::StreamMetrics;
pub use service::StreamOptions;
use service::StreamService;

/// Builds the streaming routes and `/v1/health`, and starts the hub, which ends with `stop`.
pub fn router(reads: &ReadService, options: &StreamOptions, stop: &Stop) -> Result<Router> {
    let metrics = StreamMetrics::new(&reads.registry)?;
    let updates = options.stream_updates_per_second;
    let hub = hub::start(reads, updates, metrics.clone(), stop.clone())?;
    let routes =
        routes().into_iter().fold(Router::new(), |all, (path, route)| all.route(path, route));
    Ok(routes.with_state(StreamService::new(reads, hub, metrics, options)))
}

/// The streaming routes. `openapi.json` says of each what a test shows.
pub(super) fn routes() -> [(&'static str, MethodRouter<StreamService>); 3] {
    [
        ("/v1/stream", get(socket::upgrade)),
        ("/v1/events", get(events::events)),
        ("/v1/health", get(health::health)),
    ]
}
