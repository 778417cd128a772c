//! The runtime's metrics, each declared once, recorded per batch or per commit.

use prometheus::{
    Histogram, HistogramOpts, IntCounter, IntCounterVec, IntGaugeVec, Opts, Registry,
};

use crate::error::{Error, Result};

/// Buckets of a commit, in seconds.
const COMMIT_BUCKETS: [f64; 20] = [
    0.001, 0.002, 0.003, 0.005, 0.007, 0.01, 0.0125, 0.015, 0.0175, 0.02, 0.025, 0.03, 0.04, 0.05,
    0.075, 0.1, 0.2, 0.5, 2.0, 10.0,
];
/// Buckets of an event's way from its arrival to its commit, in seconds.
const LATENCY_BUCKETS: [f64; 11] = [0.01, 0.025, 0.05, 0.1, 0.15, 0.25, 0.5, 1.0, 5.0, 30.0, 300.0];

/// Buckets of a late record's lateness, in seconds.
const LATENESS_BUCKETS: [f64; 8] = [1.0, 5.0, 15.0, 60.0, 300.0, 3_600.0, 21_600.0, 86_400.0];

/// The metrics of one application. Clones share them.
#[derive(Clone)]
pub struct Metrics {
    /// Counters of records.
    pub records: RecordMetrics,
    /// From the first output produced to the transaction committed.
    pub commit_duration: Histogram,
    /// Commits, by outcome.
    pub commits: IntCounterVec,
    /// From a record's own timestamp to its commit.
    pub end_to_end_latency: Histogram,
    /// Records until the task's stores are restored.
    pub restore_remaining: IntGaugeVec,
    /// Records restored.
    pub restore_records: IntCounter,
    /// Records between a standby and the ends of its topics.
    pub standby_lag: IntGaugeVec,
    /// Records that a standby or view has of its task.
    pub standby_records: IntGaugeVec,
    /// Records that wait in the source.
    pub consumer_lag: IntGaugeVec,
    /// How long an open transaction has held back the readers of a topic, in seconds.
    pub stable_offset_held: IntGaugeVec,
    /// Rounds in which the stores were written to disk.
    pub store_writes: IntCounter,
    /// Bytes of all stores on disk.
    pub store_size: IntGaugeVec,
    /// Bytes of decoded state.
    pub cache: IntGaugeVec,
    /// Committed bytes that wait for the disk.
    pub overlay: IntGaugeVec,
    /// 1 for the state a task is in.
    pub task_state: IntGaugeVec,
    /// Rebalances.
    pub rebalances: IntCounter,
    /// Workers started again after an error, by reaction.
    pub restarts: IntCounterVec,
}

/// Counters of records.
#[derive(Clone)]
pub struct RecordMetrics {
    /// Dead letters that could not be written at all.
    pub dead_letters_refused: IntCounter,
    /// Records processed.
    pub processed: IntCounterVec,
    /// Records that went to the dead letters, by reason.
    pub dropped: IntCounterVec,
    /// Events that processors counted, by name.
    pub events: IntCounterVec,
    /// Output records written, by topic.
    pub written: IntCounterVec,
    /// Records that came after their window had closed.
    pub late: IntCounter,
    /// How far those were behind.
    pub lateness: Histogram,
}

impl Metrics {
    /// Registers all of them under `prefix`.
    pub fn new(prefix: &str, registry: &Registry) -> Result<Self> {
        let register = Register { prefix, registry };
        Ok(Self {
            records: RecordMetrics::new(&register)?,
            commit_duration: register.histogram(
                "commit_duration_seconds",
                "From the first output produced to the transaction committed.",
                &COMMIT_BUCKETS,
            )?,
            commits: register.counters("commits_total", "Commits by outcome.", &["outcome"])?,
            end_to_end_latency: register.histogram(
                "end_to_end_latency_seconds",
                "From the timestamp of a commit's newest source record to its commit.",
                &LATENCY_BUCKETS,
            )?,
            restore_remaining: register.by_task(
                "restore_remaining_records",
                "Records until the task's stores are restored.",
            )?,
            restore_records: register.counter("restore_records_total", "Records restored.")?,
            standby_lag: register.by_task(
                "standby_lag_records",
                "Records between a standby or view and the ends of its topics.",
            )?,
            standby_records: register.by_task(
                "standby_records",
                "Records that a standby or view has taken since it began to follow the task.",
            )?,
            consumer_lag: register.gauges(
                "consumer_lag_records",
                "Records of the source that are not yet processed.",
                &["topic", "partition"],
            )?,
            stable_offset_held: register.gauges(
                "stable_offset_held_seconds",
                "How long an open transaction has held back the readers of a topic.",
                &["topic", "partition"],
            )?,
            store_writes: register.counter(
                "store_writes_total",
                "Rounds in which the state stores were written to disk.",
            )?,
            store_size: register.gauges(
                "store_size_bytes",
                "Bytes of the state stores on disk.",
                &["store"],
            )?,
            cache: register.by_task("cache_bytes", "Bytes of decoded state of a task.")?,
            overlay: register
                .by_task("overlay_bytes", "Committed bytes of a task that are not yet on disk.")?,
            task_state: register.gauges(
                "task_state",
                "1 for the state that a task is in.",
                &["task", "state"],
            )?,
            rebalances: register.counter("rebalances_total", "Rebalances of this member.")?,
            restarts: register.counters(
                "worker_restarts_total",
                "Workers that rejoined after an error, by its kind.",
                &["error"],
            )?,
        })
    }
}

impl RecordMetrics {
    fn new(register: &Register<'_>) -> Result<Self> {
        Ok(Self {
            dead_letters_refused: register.counter(
                "dead_letters_refused_total",
                "Dead letters of which their topic refused even the headers: the log has them.",
            )?,
            processed: register.counters(
                "records_processed_total",
                "Records processed.",
                &["task"],
            )?,
            dropped: register.counters(
                "records_dropped_total",
                "Records that could not be processed and went to the dead letters.",
                &["reason"],
            )?,
            events: register.counters(
                "record_events_total",
                "What processors noticed of records that were not dropped.",
                &["event"],
            )?,
            written: register.counters(
                "records_written_total",
                "Records committed to output topics.",
                &["topic"],
            )?,
            late: register.counter(
                "records_late_total",
                "Records that came after their window had closed.",
            )?,
            lateness: register.histogram(
                "record_lateness_seconds",
                "How far late records were behind.",
                &LATENESS_BUCKETS,
            )?,
        })
    }
}

struct Register<'a> {
    prefix: &'a str,
    registry: &'a Registry,
}

impl Register<'_> {
    fn opts(&self, name: &str, help: &str) -> Opts {
        Opts::new(format!("{}_{name}", self.prefix), help)
    }

    fn add<M: Clone + prometheus::core::Collector + 'static>(
        &self,
        metric: prometheus::Result<M>,
    ) -> Result<M> {
        let failed = |error: prometheus::Error| Error::Invalid(format!("metric: {error}"));
        let metric = metric.map_err(failed)?;
        self.registry.register(Box::new(metric.clone())).map_err(failed)?;
        Ok(metric)
    }

    fn counter(&self, name: &str, help: &str) -> Result<IntCounter> {
        self.add(IntCounter::with_opts(self.opts(name, help)))
    }

    fn counters(&self, name: &str, help: &str, labels: &[&str]) -> Result<IntCounterVec> {
        self.add(IntCounterVec::new(self.opts(name, help), labels))
    }

    fn by_task(&self, name: &str, help: &str) -> Result<IntGaugeVec> {
        self.gauges(name, help, &["task"])
    }

    fn gauges(&self, name: &str, help: &str, labels: &[&str]) -> Result<IntGaugeVec> {
        self.add(IntGaugeVec::new(self.opts(name, help), labels))
    }

    fn histogram(&self, name: &str, help: &str, buckets: &[f64]) -> Result<Histogram> {
        let opts = HistogramOpts::from(self.opts(name, help)).buckets(buckets.to_vec());
        self.add(Histogram::with_opts(opts))
    }
}
