//! Every metric of the producer, declared once.
//!
//! All label values are constants of the code, and each series exists from the start with zero:
//! an alert on a counter that has never counted would otherwise never fire.

use std::sync::atomic::{AtomicI64, Ordering};

use prometheus::{
    Counter, Encoder, Gauge, GaugeVec, IntCounter, IntCounterVec, IntGauge, Opts, Registry,
    TextEncoder,
};
use schemas::Timestamp;

use crate::backfill::GaveUp;
use crate::exchange::{Ignored, Malformed, UNKNOWN, Venue};
use crate::feed::Cause;

/// The metrics of one process.
#[derive(Debug)]
pub struct Metrics {
    registry: Registry,
    /// Messages read, by venue and kind.
    pub received: IntCounterVec,
    /// Records acknowledged by the broker in `events`, by venue.
    pub published: IntCounterVec,
    /// Malformed input, by venue and reason.
    pub dead_letters: IntCounterVec,
    /// Messages left out, by venue and reason.
    pub ignored: IntCounterVec,
    /// Gaps in dense trade ids, by venue.
    pub sequence_gaps: IntCounterVec,
    /// Connections lost, by venue and cause.
    pub reconnects: IntCounterVec,
    /// Records that the broker refused for good.
    pub delivery_failures: IntCounter,
    /// Records in the queue to the broker.
    pub queue_messages: IntGauge,
    /// Bytes of keys and values in the queue to the broker.
    pub queue_bytes: IntGauge,
    /// Time in which a full queue held up the feed.
    pub backpressure: Counter,
    /// Of what waits on disk, and of what was fetched.
    pub recovery: Recovery,
    staleness: GaugeVec,
    /// When the last frame of the feed came, in milliseconds since the epoch; 0 before the first.
    last_frame: AtomicI64,
}

/// Metrics of what waits on disk, and of what was missed and fetched.
#[derive(Debug)]
pub struct Recovery {
    /// Missed trades that were fetched, by venue.
    pub backfilled: IntCounterVec,
    /// Gaps that were not filled, by venue and reason.
    pub backfill_given_up: IntCounterVec,
    /// Records in the spool that the broker does not have.
    pub spool_records: IntGauge,
    /// Bytes of the spool's files.
    pub spool_bytes: IntGauge,
    /// How long the oldest record in the spool has waited.
    pub spool_age: Gauge,
    /// Bytes of torn records that were cut off the spool.
    pub spool_cut: IntCounter,
}

impl Recovery {
    fn new(registry: &Registry) -> prometheus::Result<Self> {
        let counters = |name: &str, help: &str, labels: &[&str]| {
            let counters = IntCounterVec::new(Opts::new(name, help), labels)?;
            registry.register(Box::new(counters.clone()))?;
            prometheus::Result::Ok(counters)
        };
        let gauge = |name: &str, help: &str| {
            let gauge = IntGauge::new(name, help)?;
            registry.register(Box::new(gauge.clone()))?;
            prometheus::Result::Ok(gauge)
        };
        let recovery = Self {
            backfilled: counters(
                "producer_backfilled_trades_total",
                "Missed trades that were fetched from the venue.",
                &["venue"],
            )?,
            backfill_given_up: counters(
                "producer_backfill_given_up_total",
                "Gaps that were not filled.",
                &["venue", "reason"],
            )?,
            spool_records: gauge("producer_spool_records", "Spooled records that Kafka lacks.")?,
            spool_bytes: gauge("producer_spool_bytes", "Bytes of the spool's files.")?,
            spool_age: Gauge::new(
                "producer_spool_age_seconds",
                "How long the oldest spooled record has waited.",
            )?,
            spool_cut: IntCounter::new(
                "producer_spool_cut_bytes_total",
                "Bytes of records that a crash tore, cut off the spool.",
            )?,
        };
        registry.register(Box::new(recovery.spool_age.clone()))?;
        registry.register(Box::new(recovery.spool_cut.clone()))?;
        Ok(recovery)
    }
}

impl Metrics {
    /// All of them, at zero.
    pub fn new() -> prometheus::Result<Self> {
        let registry = Registry::new();
        let counters = |name: &str, help: &str, labels: &[&str]| {
            let counters = IntCounterVec::new(Opts::new(name, help), labels)?;
            registry.register(Box::new(counters.clone()))?;
            prometheus::Result::Ok(counters)
        };
        let gauge = |name: &str, help: &str| {
            let gauge = IntGauge::new(name, help)?;
            registry.register(Box::new(gauge.clone()))?;
            prometheus::Result::Ok(gauge)
        };
        let metrics = Self {
            received: counters(
                "producer_events_received_total",
                "Messages read from the feed.",
                &["venue", "kind"],
            )?,
            published: counters(
                "producer_events_published_total",
                "Records of the venue that the broker acknowledged.",
                &["venue"],
            )?,
            dead_letters: counters(
                "producer_dead_letters_total",
                "Malformed messages, kept in dead_letters.",
                &["venue", "reason"],
            )?,
            ignored: counters(
                "producer_events_ignored_total",
                "Messages that nothing here needs.",
                &["venue", "reason"],
            )?,
            sequence_gaps: counters(
                "producer_sequence_gaps_total",
                "Times that trade ids jumped: trades were missed.",
                &["venue"],
            )?,
            reconnects: counters(
                "producer_reconnects_total",
                "Connections lost or not made.",
                &["venue", "cause"],
            )?,
            queue_messages: gauge("producer_queue_messages", "Records waiting for the broker.")?,
            queue_bytes: gauge("producer_queue_bytes", "Bytes waiting for the broker.")?,
            delivery_failures: IntCounter::new(
                "producer_delivery_failures_total",
                "Records that the broker refused for good.",
            )?,
            backpressure: Counter::new(
                "producer_backpressure_seconds_total",
                "Time in which a full queue held up the feed.",
            )?,
            recovery: Recovery::new(&registry)?,
            staleness: GaugeVec::new(
                Opts::new("producer_feed_staleness_seconds", "Time since the last frame."),
                &["venue"],
            )?,
            last_frame: AtomicI64::new(0),
            registry: registry.clone(),
        };
        registry.register(Box::new(metrics.delivery_failures.clone()))?;
        registry.register(Box::new(metrics.backpressure.clone()))?;
        registry.register(Box::new(metrics.staleness.clone()))?;
        Ok(metrics)
    }

    /// Makes every series of a venue exist.
    pub fn declare(&self, venue: Venue) {
        let name = venue.as_str();
        for kind in venue.kinds().iter().copied().chain([UNKNOWN]) {
            self.received.with_label_values(&[name, kind]);
        }
        for reason in Malformed::LABELS {
            self.dead_letters.with_label_values(&[name, reason]);
        }
        for reason in Ignored::ALL {
            self.ignored.with_label_values(&[name, reason.as_str()]);
        }
        for cause in Cause::ALL {
            self.reconnects.with_label_values(&[name, cause.as_str()]);
        }
        for reason in GaveUp::ALL {
            self.recovery.backfill_given_up.with_label_values(&[name, reason.as_str()]);
        }
        self.recovery.backfilled.with_label_values(&[name]);
        self.published.with_label_values(&[name]);
        self.sequence_gaps.with_label_values(&[name]);
        self.staleness(venue).set(0.0);
    }

    /// A frame came.
    pub fn frame(&self, at: Timestamp) {
        self.last_frame.store(at.0, Ordering::Relaxed);
    }

    /// The text form, with the feed's staleness as of `now`.
    pub fn render(&self, venue: Venue, now: Timestamp) -> prometheus::Result<Vec<u8>> {
        let last = self.last_frame.load(Ordering::Relaxed);
        if last > 0 {
            let millis = u32::try_from((now.0 - last).max(0)).unwrap_or(u32::MAX);
            self.staleness(venue).set(f64::from(millis) / 1000.0);
        }
        let mut text = Vec::new();
        TextEncoder::new().encode(&self.registry.gather(), &mut text)?;
        Ok(text)
    }

    fn staleness(&self, venue: Venue) -> Gauge {
        self.staleness.with_label_values(&[venue.as_str()])
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_series_of_a_venue_exists_before_anything_happened() -> anyhow::Result<()> {
        let metrics = Metrics::new()?;
        metrics.declare(Venue::Coinbase);
        let text = String::from_utf8(metrics.render(Venue::Coinbase, Timestamp(1))?)?;
        for series in [
            "producer_events_received_total{kind=\"match\",venue=\"coinbase\"} 0",
            "producer_events_published_total{venue=\"coinbase\"} 0",
            "producer_dead_letters_total{reason=\"not_json\",venue=\"coinbase\"} 0",
            "producer_events_ignored_total{reason=\"quote_only\",venue=\"coinbase\"} 0",
            "producer_sequence_gaps_total{venue=\"coinbase\"} 0",
            "producer_reconnects_total{cause=\"stale\",venue=\"coinbase\"} 0",
            "producer_delivery_failures_total 0",
            "producer_queue_messages 0",
            "producer_queue_bytes 0",
            "producer_spool_records 0",
            "producer_spool_age_seconds 0",
            "producer_spool_cut_bytes_total 0",
            "producer_backfilled_trades_total{venue=\"coinbase\"} 0",
            "producer_backfill_given_up_total{reason=\"absent\",venue=\"coinbase\"} 0",
            "producer_feed_staleness_seconds{venue=\"coinbase\"} 0",
            "producer_backpressure_seconds_total 0",
        ] {
            assert!(text.contains(series), "{series} is not in\n{text}");
        }
        Ok(())
    }

    #[test]
    fn staleness_grows_from_the_last_frame() -> anyhow::Result<()> {
        let metrics = Metrics::new()?;
        metrics.frame(Timestamp(10_000));
        let text = String::from_utf8(metrics.render(Venue::Coinbase, Timestamp(12_500))?)?;
        assert!(text.contains("producer_feed_staleness_seconds{venue=\"coinbase\"} 2.5"), "{text}");
        Ok(())
    }
}
