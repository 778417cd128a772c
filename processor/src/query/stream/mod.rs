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

mod door;
mod encode;
mod events;
mod groups;
mod health;
mod hub;
mod lines;
mod metrics;
mod origin;
mod page;
mod pattern;
mod plan;
mod protocol;
mod scans;
mod snapshot;
mod socket;
mod token;

use std::sync::Arc;
use std::sync::atomic::AtomicU64;

use anyhow::Result;
use axum::Router;
use axum::routing::{MethodRouter, get};
use clap::Args;
use streams::runtime::Stop;
use tokio::sync::Semaphore;

use super::Served;
use door::Door;
use metrics::Metrics;
use origin::{Origins, origin};
pub(super) use page::router as page_router;

/// What streaming is told.
#[derive(Args, Clone, Debug)]
pub struct Options {
    /// How often a second a key is told to streaming clients at most; its newest value wins.
    #[arg(long, env = "STREAM_UPDATES_PER_SECOND", default_value_t = 4,
        value_parser = clap::value_parser!(u32).range(1..=20))]
    pub stream_updates_per_second: u32,
    /// Streaming clients at once; one more is refused with 503.
    #[arg(long, env = "STREAM_MAX_CLIENTS", default_value_t = 10_000,
        value_parser = clap::value_parser!(u32).range(1..=100_000))]
    pub stream_max_clients: u32,
    /// Web origins besides our own that may stream, a scheme and a host each, separated by commas;
    /// * is any.
    #[arg(long, env = "ALLOWED_ORIGINS", value_delimiter = ',', value_parser = origin)]
    pub allowed_origins: Vec<String>,
}

/// What the streaming routes share.
#[derive(Clone)]
pub(super) struct Streaming {
    served: Served,
    door: Door,
    /// A permit for each client.
    places: Arc<Semaphore>,
    /// The next client's number.
    next: Arc<AtomicU64>,
    origins: Arc<Origins>,
    metrics: Metrics,
}

/// The streaming routes and `/v1/health`, and the hub behind them, which ends when it is
/// told to stop.
pub fn router(served: &Served, options: &Options, stop: &Stop) -> Result<Router> {
    let metrics = Metrics::new(&served.registry)?;
    let updates = options.stream_updates_per_second;
    let door = hub::start(served, updates, metrics.clone(), stop.clone())?;
    let streaming = Streaming {
        served: served.clone(),
        door,
        places: Arc::new(Semaphore::new(usize::try_from(options.stream_max_clients)?)),
        next: Arc::default(),
        origins: Arc::new(Origins::new(options.allowed_origins.clone())),
        metrics,
    };
    let routes =
        routes().into_iter().fold(Router::new(), |all, (path, route)| all.route(path, route));
    Ok(routes.with_state(streaming))
}

/// The streaming routes. `openapi.json` says of each what a test shows.
pub(super) fn routes() -> [(&'static str, MethodRouter<Streaming>); 3] {
    [
        ("/v1/stream", get(socket::upgrade)),
        ("/v1/events", get(events::events)),
        ("/v1/health", get(health::health)),
    ]
}
