//! Which address answers what.

use axum::Router;
use axum::extract::State;
use axum::http::{StatusCode, Uri, header};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use prometheus::{Encoder as _, TextEncoder};

use super::error::Refusal;
use super::served::Served;
use super::{bases, candles, exchanges, latest};

/// Bytes of a body: 1,000 pairs of the longest names, and JSON around them.
const MAX_BODY: usize = 512 << 10;

/// Every route.
pub fn router(served: Served) -> Router {
    let probes = Router::new()
        .route("/healthz", get(|| async { "ok\n" }))
        .route("/readyz", get(ready))
        .route("/metrics", get(metrics));
    probes
        .merge(reads())
        .fallback(unknown)
        .method_not_allowed_fallback(|| async { Refusal::method() })
        .layer(axum::extract::DefaultBodyLimit::max(MAX_BODY))
        .with_state(served)
}

fn reads() -> Router<Served> {
    Router::new()
        .route("/v1/latest", get(latest::one).post(latest::many))
        .route("/v1/candles", get(candles::candles))
        .route("/v1/exchanges", get(exchanges::exchanges))
        .route("/v1/exchanges/{exchange}/pairs", get(exchanges::pairs))
        .route("/v1/bases/{base}", get(bases::base))
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

async fn metrics(State(served): State<Served>) -> Result<Response, Refusal> {
    let mut text = Vec::new();
    let encoded = TextEncoder::new().encode(&served.registry.gather(), &mut text);
    encoded.map_err(|error| Refusal::broken(&error))?;
    Ok(([(header::CONTENT_TYPE, prometheus::TEXT_FORMAT)], text).into_response())
}
