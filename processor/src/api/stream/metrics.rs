//! The metrics of streaming.

use prometheus::{
    Histogram, HistogramOpts, IntCounter, IntCounterVec, IntGauge, IntGaugeVec, Opts, Registry,
};

use crate::api::metrics::registered;

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
    pub(super) fn new(registry: &Registry) -> prometheus::Result<Self> {
        let opts = |name: &str, help: &str| Opts::new(format!("processor_stream_{name}"), help);
        let counter = |name, help| registered(registry, IntCounter::with_opts(opts(name, help)));
        let gauge = |name, help| registered(registry, IntGauge::with_opts(opts(name, help)));
        let help = "StreamService clients by transport.";
        let clients = IntGaugeVec::new(opts("clients", help), &["transport"]);
        let help = "StreamService clients sent away, by reason.";
        let dropped = IntCounterVec::new(opts("clients_dropped_total", help), &["reason"]);
        let help = "From the first change of a tick to the end of its fan-out.";
        let delivery = HistogramOpts::from(opts("delivery_seconds", help));
        let delivery = Histogram::with_opts(delivery.buckets(DELIVERY_BUCKETS.to_vec()));
        Ok(Self {
            clients: registered(registry, clients)?,
            subscriptions: gauge("subscriptions", "Subscriptions of all streaming clients.")?,
            dropped: registered(registry, dropped)?,
            messages: counter(
                "messages_total",
                "Messages given to the queues of streaming clients.",
            )?,
            malformed: counter(
                "malformed_total",
                "Messages of streaming clients that could not be parsed.",
            )?,
            lost: counter(
                "lost_total",
                "Times that streaming fell behind the engine and read the stores again.",
            )?,
            backlog: gauge("backlog_keys", "Changed keys that the last tick left to the next.")?,
            scanned: counter(
                "scanned_rows_total",
                "Rows read for the first messages of subscriptions.",
            )?,
            delivery: registered(registry, delivery)?,
        })
    }
}
