//! The metrics of streaming.

use anyhow::Result;
use prometheus::{
    Histogram, HistogramOpts, IntCounter, IntCounterVec, IntGauge, IntGaugeVec, Opts, Registry,
};

/// Buckets of the delay of a change in the hub, in seconds: most of it is waiting for the tick.
const DELIVERY_BUCKETS: [f64; 10] = [0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 10.0];

/// The metrics of the streaming routes. Clones share them.
#[derive(Clone)]
pub(super) struct StreamMetrics {
    /// Clients, by transport.
    pub(super) clients: IntGaugeVec,
    /// Subscriptions of all clients.
    pub(super) subscriptions: IntGauge,
    /// Clients that were disconnected or refused, by reason.
    pub(super) dropped: IntCounterVec,
    /// Messages queued for clients.
    pub(super) messages: IntCounter,
    /// Messages of clients that could not be parsed.
    pub(super) malformed: IntCounter,
    /// Times that the hub fell behind the engine and read the stores again.
    pub(super) lost: IntCounter,
    /// Changed keys that the last tick left to the next.
    pub(super) backlog: IntGauge,
    /// Rows read by scans.
    pub(super) scanned: IntCounter,
    /// From the first change of a tick to the end of its fan-out.
    pub(super) delivery: Histogram,
}

impl StreamMetrics {
    /// Registers the metrics.
    pub(super) fn new(registry: &Registry) -> Result<Self> {
        let opts = |name: &str, help: &str| Opts::new(format!("processor_stream_{name}"), help);
        let buckets = DELIVERY_BUCKETS.to_vec();
        let delivery = HistogramOpts::from(opts(
            "delivery_seconds",
            "From the first change of a tick to the end of its fan-out.",
        ));
        let metrics = Self {
            clients: IntGaugeVec::new(
                opts("clients", "StreamService clients by transport."),
                &["transport"],
            )?,
            subscriptions: IntGauge::with_opts(opts(
                "subscriptions",
                "Subscriptions of all streaming clients.",
            ))?,
            dropped: IntCounterVec::new(
                opts("clients_dropped_total", "StreamService clients sent away, by reason."),
                &["reason"],
            )?,
            messages: IntCounter::with_opts(opts(
                "messages_total",
                "Messages given to the queues of streaming clients.",
            ))?,
            malformed: IntCounter::with_opts(opts(
                "malformed_total",
                "Messages of streaming clients that could not be parsed.",
            ))?,
            lost: IntCounter::with_opts(opts(
                "lost_total",
                "Times that streaming fell behind the engine and read the stores again.",
            ))?,
            backlog: IntGauge::with_opts(opts(
                "backlog_keys",
                "Changed keys that the last tick left to the next.",
            ))?,
            scanned: IntCounter::with_opts(opts(
                "scanned_rows_total",
                "Rows read for the first messages of subscriptions.",
            ))?,
            delivery: Histogram::with_opts(delivery.buckets(buckets))?,
        };
        for metric in [&metrics.messages, &metrics.malformed, &metrics.lost, &metrics.scanned] {
            registry.register(Box::new(metric.clone()))?;
        }
        registry.register(Box::new(metrics.clients.clone()))?;
        registry.register(Box::new(metrics.subscriptions.clone()))?;
        registry.register(Box::new(metrics.backlog.clone()))?;
        registry.register(Box::new(metrics.dropped.clone()))?;
        registry.register(Box::new(metrics.delivery.clone()))?;
        Ok(metrics)
    }
}
