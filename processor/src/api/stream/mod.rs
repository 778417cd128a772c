//! Changes as they are committed, over WebSocket and server-sent events.
//!
//! ```text
//! engine ──Changes──► hub (one thread) ──bounded queue each──► WebSocket or SSE task ──► client
//!                      │    └─ scanners read the rows that a subscription begins with
//!                      │ dirty keys, the newest value of each
//!                      └ each tick: a row is encoded once, a pattern's message is made once,
//!                        and every subscriber of the pattern gets the same bytes
//! ```
//!
//! | the client sends | the server answers |
//! |---|---|
//! | `{"op":"subscribe","id":1,"channel":"latest","exchange":"*","base":"BTC","quote":"*"}` | `subscribed`, `snapshot` in parts, then `update` |
//! | the same with `"channel":"candles","interval":"1m"` | the newest candles of each pair, then every candle that changes |
//! | the same with `"channel":"quotes"` or `"book"` | the top of each book, or its levels |
//! | the same with `"channel":"options"`, `"currency"`, `"expiry"` and `"instrument"` | the newest ticker of each option |
//! | the same with `"resume":TOKEN` | `resumed` with the changes since, or `gone` and a `snapshot` |
//! | `{"op":"unsubscribe","id":1}` | `unsubscribed` |
//! | `{"op":"ping"}` | `pong` |
//!
//! Every `update` has the subscription's next `sequence`, so a client detects a missing one. It
//! also has a `resume` token: every change before the token has been sent. The stores hold the
//! newest value of each key, so updates are conflated, which is the contract of a compacted topic.
//!
//! A snapshot may hold a key twice when it changed during the scan: the later row is the newer one.
//!
//! Invariants:
//! - A client never waits for another: its queue is bounded, and a client that reads too slowly is
//!   disconnected with the reason.
//! - The engine never waits for a client. The hub waits neither for a client nor for a store.
//! - A token is sent only with or after every change before it.

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

/// The streaming routes. A test compares them with `openapi.json`.
pub(super) fn routes() -> [(&'static str, MethodRouter<StreamService>); 3] {
    [
        ("/v1/stream", get(socket::upgrade)),
        ("/v1/events", get(events::events)),
        ("/v1/health", get(health::health)),
    ]
}
