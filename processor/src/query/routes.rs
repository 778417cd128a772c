//! Which address answers what.

use std::sync::Arc;

use axum::extract::{DefaultBodyLimit, State};
use axum::http::{StatusCode, Uri, header};
use axum::middleware::from_fn_with_state;
use axum::response::{IntoResponse, Response};
use axum::routing::{MethodRouter, get};
use axum::{Extension, Router};
use prometheus::{Encoder as _, TextEncoder};
use tokio::sync::Semaphore;
use tower_http::CompressionLevel;
use tower_http::compression::CompressionLayer;
use tower_http::compression::predicate::{And, DefaultPredicate, Predicate as _, SizeAbove};

use super::connections::Line;
use super::error::Refusal;
use super::guard::{Gate, Guards, allowed, in_time};
use super::metrics::{Metrics, watch};
use super::served::Served;
use super::stream::page_router;
use super::{bases, candles, exchanges, latest, openapi};

/// Bytes of a body: 1,000 pairs of the longest names, and JSON around them.
pub(super) const MAX_BODY: usize = 512 << 10;
/// Bytes from which an answer is compressed: less fits in one packet as it is.
const COMPRESSED_FROM: u16 = 1024;

/// Every route, those of `streaming` among them. Its metrics are registered: once a process.
pub fn router(served: Served, guards: &Guards, streaming: Router) -> prometheus::Result<Router> {
    let watched = Metrics::new(&served.registry)?;
    let gate = Gate::new(guards, served.now, &served.budget);
    let served = Served { reads: Arc::new(Semaphore::new(guards.max_reads)), ..served };
    let reads = reads().into_iter().fold(Router::new(), |routes, (path, route)| {
        // Another method is refused before it is asked who asks.
        routes.route(path, route)
    });
    let guarded = reads
        .route_layer(from_fn_with_state(gate.clone(), in_time))
        .with_state(served.clone())
        // They last as long as their clients.
        .merge(streaming)
        .route_layer(from_fn_with_state(gate, allowed));
    let probes = Router::new()
        .route("/healthz", get(|| async { "ok\n" }))
        .route("/readyz", get(ready))
        .route("/metrics", get(metrics));
    Ok(probes
        .with_state(served)
        .merge(guarded)
        .merge(page_router())
        .fallback(unknown)
        .method_not_allowed_fallback(|| async { Refusal::method() })
        .layer(DefaultBodyLimit::max(MAX_BODY))
        .layer(compression())
        .layer(guards.cors())
        .layer(from_fn_with_state(watched, watch)))
}

/// The reads. `openapi.json` says of each what a test shows.
pub(super) fn reads() -> [(&'static str, MethodRouter<Served>); 6] {
    [
        ("/v1/latest", get(latest::one).post(latest::many)),
        ("/v1/candles", get(candles::candles)),
        ("/v1/exchanges", get(exchanges::exchanges)),
        ("/v1/exchanges/{exchange}/pairs", get(exchanges::pairs)),
        ("/v1/bases/{base}", get(bases::base)),
        ("/v1/openapi.json", get(openapi::document)),
    ]
}

/// What is not compressed already, is no stream of events, and is worth it.
fn compression() -> CompressionLayer<And<DefaultPredicate, SizeAbove>> {
    let worth_it = DefaultPredicate::new().and(SizeAbove::new(COMPRESSED_FROM));
    CompressionLayer::new().quality(CompressionLevel::Fastest).compress_when(worth_it)
}

async fn unknown(uri: Uri) -> Refusal {
    let path: String = uri.path().chars().take(200).collect();
    Refusal::not_found(format!("{path}: no such route; /v1/openapi.json lists them"))
}

async fn ready(State(served): State<Served>) -> Response {
    if served.queries.is_ready() {
        return "ready\n".into_response();
    }
    let restoring: usize = served.queries.members().iter().map(|member| member.restoring).sum();
    let answer = format!("not ready: {restoring} tasks restoring, or the group not joined\n");
    (StatusCode::SERVICE_UNAVAILABLE, answer).into_response()
}

async fn metrics(
    State(served): State<Served>,
    line: Option<Extension<Line>>,
) -> Result<Response, Refusal> {
    let mut text = Vec::new();
    let encoded = TextEncoder::new().encode(&served.registry.gather(), &mut text);
    encoded.map_err(|error| Refusal::broken(&error))?;
    let line = line.map(|Extension(line)| line);
    let text = served.budget.answer(text.into(), line.as_ref()).ok_or_else(Refusal::no_memory)?;
    Ok(([(header::CONTENT_TYPE, prometheus::TEXT_FORMAT)], text).into_response())
}
