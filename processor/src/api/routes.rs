//! The routes and their layers.

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

use super::connections::ConnectionHandle;
use super::error::{Refusal, Result};
use super::guard::{AccessPolicy, Guard, MAX_BODY, allowed, in_time};
use super::metrics::{RouteMetrics, watch};
use super::read_service::ReadService;
use super::reads::{
    bases, book, candles, derivatives, exchanges, index, latest, option_history, options, pools,
    quotes, spreads, surface, swaps, tokens,
};
use super::{openapi, page};

/// The size from which an answer is compressed: a smaller one fits in one packet.
const COMPRESSED_FROM: u16 = 1024;

/// Builds every route, with those of `streaming`. It registers their metrics, so it runs once per
/// process.
pub fn router(
    service: ReadService,
    guards: &AccessPolicy,
    streaming: Router,
) -> prometheus::Result<Router> {
    let watched = RouteMetrics::new(&service.registry)?;
    let gate = Guard::new(guards, service.now, &service.budget);
    let service = ReadService { reads: Arc::new(Semaphore::new(guards.max_reads)), ..service };
    let reads = reads().into_iter().fold(Router::new(), |routes, (path, route)| {
        // `route_layer` runs after method matching: a wrong method gets 405 before authentication.
        routes.route(path, route)
    });
    let guarded = reads
        .route_layer(from_fn_with_state(gate.clone(), in_time))
        .with_state(service.clone())
        // Streams last as long as their clients, so they have no timeout.
        .merge(streaming)
        .route_layer(from_fn_with_state(gate, allowed));
    let probes = Router::new()
        .route("/healthz", get(|| async { "ok\n" }))
        .route("/readyz", get(ready))
        .route("/metrics", get(metrics));
    Ok(probes
        .with_state(service)
        .merge(guarded)
        .merge(page::router())
        .fallback(unknown)
        .method_not_allowed_fallback(|| async { Refusal::method() })
        .layer(DefaultBodyLimit::max(MAX_BODY))
        .layer(compression())
        .layer(guards.cors())
        .layer(from_fn_with_state(watched, watch)))
}

/// The reads. A test compares them with `openapi.json`.
pub(super) fn reads() -> [(&'static str, MethodRouter<ReadService>); 20] {
    [
        ("/v1/latest", get(latest::one).post(latest::many)),
        ("/v1/candles", get(candles::candles)),
        ("/v1/quotes", get(quotes::one).post(quotes::many)),
        ("/v1/book", get(book::book)),
        ("/v1/spreads", get(spreads::spreads)),
        ("/v1/options", get(options::options)),
        ("/v1/options/{instrument}", get(options::one)),
        ("/v1/options/{instrument}/history", get(option_history::history)),
        ("/v1/surface", get(surface::surface)),
        ("/v1/derivatives", get(derivatives::derivatives)),
        ("/v1/tokens", get(tokens::tokens)),
        ("/v1/tokens/{token}", get(tokens::one)),
        ("/v1/pools", get(pools::pools)),
        ("/v1/pools/{pool}/candles", get(pools::candles)),
        ("/v1/swaps/{tx}", get(swaps::swaps)),
        ("/v1/exchanges", get(exchanges::exchanges)),
        ("/v1/exchanges/{exchange}/pairs", get(exchanges::pairs)),
        ("/v1/bases/{base}", get(bases::base)),
        ("/v1/index", get(index::indexes)),
        ("/v1/openapi.json", get(openapi::document)),
    ]
}

/// Compresses answers that are large enough, are not compressed already and are no event stream.
fn compression() -> CompressionLayer<And<DefaultPredicate, SizeAbove>> {
    let worth_it = DefaultPredicate::new().and(SizeAbove::new(COMPRESSED_FROM));
    CompressionLayer::new().quality(CompressionLevel::Fastest).compress_when(worth_it)
}

async fn unknown(uri: Uri) -> Refusal {
    let path: String = uri.path().chars().take(200).collect();
    Refusal::not_found(format!("{path}: no such route; /v1/openapi.json lists them"))
}

async fn ready(State(service): State<ReadService>) -> Response {
    if service.queries.is_ready() {
        return "ready\n".into_response();
    }
    let restoring: usize = service.queries.members().iter().map(|member| member.restoring).sum();
    let answer = format!("not ready: {restoring} tasks restoring, or the group not joined\n");
    (StatusCode::SERVICE_UNAVAILABLE, answer).into_response()
}

async fn metrics(
    State(service): State<ReadService>,
    handle: Option<Extension<ConnectionHandle>>,
) -> Result<Response> {
    let mut text = Vec::new();
    let encoded = TextEncoder::new().encode(&service.registry.gather(), &mut text);
    encoded.map_err(|error| Refusal::broken(&error))?;
    let handle = handle.map(|Extension(handle)| handle);
    let text =
        service.budget.answer(text.into(), handle.as_ref()).ok_or_else(Refusal::no_memory)?;
    Ok(([(header::CONTENT_TYPE, prometheus::TEXT_FORMAT)], text).into_response())
}
