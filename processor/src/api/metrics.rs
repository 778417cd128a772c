//! The metrics of the routes, and the log of requests.
//!
//! Labels are bounded: a route is its pattern, and a status is its class.

use axum::extract::{MatchedPath, Request, State};
use axum::middleware::Next;
use axum::response::Response;
use prometheus::core::Collector;
use prometheus::{HistogramOpts, HistogramVec, IntCounterVec, IntGauge, Opts, Registry};

use super::clock;

/// Seconds: a read from memory, one from disk, a large page, and a client's own timeout.
const BUCKETS: [f64; 12] =
    [0.0001, 0.000_25, 0.0005, 0.001, 0.0025, 0.005, 0.01, 0.05, 0.1, 0.5, 1.0, 10.0];
/// The label of requests that match no route.
const UNMATCHED: &str = "unmatched";

/// Registers a metric that was made.
pub(super) fn registered<M: Collector + Clone + 'static>(
    registry: &Registry,
    metric: prometheus::Result<M>,
) -> prometheus::Result<M> {
    let metric = metric?;
    registry.register(Box::new(metric.clone()))?;
    Ok(metric)
}

/// The metrics of routes. They are registered once per process.
#[derive(Clone)]
pub(super) struct RouteMetrics {
    duration: HistogramVec,
}

impl RouteMetrics {
    pub(super) fn new(registry: &Registry) -> prometheus::Result<Self> {
        let options = HistogramOpts::new(
            "processor_http_request_duration_seconds",
            "Time from a request to its answer, by route and class of status.",
        );
        let options = options.buckets(BUCKETS.to_vec());
        let duration = HistogramVec::new(options, &["method", "route", "status"]);
        Ok(Self { duration: registered(registry, duration)? })
    }
}

/// Reasons to refuse or close a connection: the overall limit, the limit per address, a TLS
/// handshake or a request that takes too long, an answer that is not read, or one that is read too
/// slowly while memory is short.
const DROPPED: [&str; 6] = ["full", "address", "handshake", "idle", "write", "memory"];

/// The metrics of connections. Clones share them.
#[derive(Clone)]
pub struct ConnectionMetrics {
    pub(super) open: IntGauge,
    dropped: IntCounterVec,
}

impl ConnectionMetrics {
    /// Registers the metrics.
    pub fn new(registry: &Registry) -> prometheus::Result<Self> {
        let open = IntGauge::new("processor_http_connections", "ConnectionMetrics of readers.");
        let open = registered(registry, open)?;
        let options = Opts::new(
            "processor_http_connections_dropped_total",
            "ConnectionMetrics refused or ended by this process, by reason.",
        );
        let dropped = registered(registry, IntCounterVec::new(options, &["reason"]))?;
        for reason in DROPPED {
            dropped.with_label_values(&[reason]);
        }
        Ok(Self { open, dropped })
    }

    pub(super) fn dropped(&self, reason: &str) {
        self.dropped.with_label_values(&[reason]).inc();
    }

    #[cfg(test)]
    pub(super) fn count(&self, reason: &str) -> u64 {
        self.dropped.with_label_values(&[reason]).get()
    }
}

/// The gauge of [`Budget`](super::Budget).
pub(super) fn reader_memory() -> prometheus::Result<IntGauge> {
    let help = "Memory of answers and messages that readers have not taken yet.";
    IntGauge::new("processor_reader_memory_bytes", help)
}

/// Queries of the history, by outcome.
pub(super) fn history_reads(registry: &Registry) -> prometheus::Result<IntCounterVec> {
    let options = Opts::new(
        "processor_history_reads_total",
        "Reads of candles from PostgreSQL: read, away, or skipped while it is away.",
    );
    registered(registry, IntCounterVec::new(options, &["outcome"]))
}

const fn class(status: u16) -> &'static str {
    match status {
        ..200 => "1xx",
        200..300 => "2xx",
        300..400 => "3xx",
        400..500 => "4xx",
        _ => "5xx",
    }
}

/// The label of a method; extension methods share one.
fn method(request: &Request) -> &'static str {
    match request.method().as_str() {
        "GET" => "GET",
        "HEAD" => "HEAD",
        "POST" => "POST",
        "OPTIONS" => "OPTIONS",
        _ => "other",
    }
}

/// Measures and logs each request.
pub(super) async fn watch(
    State(metrics): State<RouteMetrics>,
    request: Request,
    next: Next,
) -> Response {
    let started = clock::instant();
    let method = method(&request);
    let route = request.extensions().get::<MatchedPath>().cloned();
    let response = next.run(request).await;
    let route = route.as_ref().map_or(UNMATCHED, MatchedPath::as_str);
    let (status, elapsed) = (response.status().as_u16(), started.elapsed());
    let labels = [method, route, class(status)];
    metrics.duration.with_label_values(&labels).observe(elapsed.as_secs_f64());
    tracing::debug!(target: "access", method, route, status, us = elapsed.as_micros(), "request");
    response
}
