//! Every metric of the producer, declared once.
//!
//! All label values are constants, and each series exists with zero from the start: otherwise an
//! alert on a counter that never counted would not fire.

mod books;
mod chains;
mod tickers;

use std::sync::atomic::{AtomicI64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use prometheus::core::Collector;
use prometheus::{
    Counter, Encoder, Gauge, GaugeVec, HistogramOpts, HistogramVec, IntCounter, IntCounterVec,
    IntGauge, IntGaugeVec, Opts, Registry, TextEncoder,
};
use schemas::{Basis, Timestamp};
use venues::ethereum::NoEffect;
use venues::pipeline::{Count, Produced};
use venues::{Class, Ignored, Malformed, UNKNOWN, Venue};

pub use self::books::BookMetrics;
pub use self::chains::ChainMetrics;
pub use self::tickers::TickerMetrics;
use crate::labels::{Cause, GaveUp, NodeFrame, REFUSED};

/// A metric's name and its help line.
type Named = (&'static str, &'static str);

const RECEIVED: Named = ("producer_events_received_total", "Messages read from the feed.");
const PARSED: Named =
    ("producer_events_parsed_total", "Trades and price samples made of messages.");
const REPEATED: Named = (
    "producer_events_repeated_total",
    "Trades and samples left out because another connection had brought them.",
);
const PUBLISHED: Named =
    ("producer_events_published_total", "Records of the venue that the broker acknowledged.");
const DEAD_LETTERS: Named = (
    "producer_dead_letters_total",
    "Malformed messages and refused records, kept in dead_letters.",
);
const IGNORED: Named = ("producer_events_ignored_total", "Messages that nothing here needs.");
const SEQUENCE_GAPS: Named =
    ("producer_sequence_gaps_total", "Times that trade ids jumped: trades were missed.");
const RECONNECTS: Named = ("producer_reconnects_total", "Connections lost or not made.");
const ROTATIONS: Named =
    ("producer_rotations_total", "Connections replaced before the venue ended them.");
const REFUSED_STREAMS: Named =
    ("producer_streams_refused_total", "Streams that the venue did not grant.");
const CONNECTIONS: Named = ("producer_connections", "Connections that stand.");
const BREAKERS: Named =
    ("producer_breakers_open", "Feeds that pause because they were refused over and over.");
const INSTRUMENTS: Named = ("producer_instruments", "Instruments subscribed.");
const QUEUE_MESSAGES: Named = ("producer_queue_messages", "Records waiting for the broker.");
const QUEUE_BYTES: Named = ("producer_queue_bytes", "Bytes waiting for the broker.");
const STALENESS: Named = (
    "producer_feed_staleness_seconds",
    "Time since the last frame, of the connection that has waited longest.",
);
const CLASS_STALENESS: Named =
    ("producer_class_staleness_seconds", "Time since the last event of a class of instruments.");
const DELIVERY_FAILURES: Named = (
    "producer_delivery_failures_total",
    "Records that the broker refused, which became dead letters.",
);
const UNDELIVERABLE: Named = (
    "producer_undeliverable_total",
    "Dead letters that the broker refused: kept beside the spool, or lost without one.",
);
const BACKPRESSURE: Named =
    ("producer_backpressure_seconds_total", "Time in which a full queue held up the feed.");

const CLOCK_SKEW: Named =
    ("producer_clock_skew_seconds", "How far this machine's clock is ahead of the venue's.");

const LATENCY: Named = (
    "producer_publish_latency_seconds",
    "From the arrival of a message at the socket to Kafka's acknowledgement of its record.",
);
/// Upper bounds of the latencies that are told apart: close together where a healthy broker is, up
/// to an outage that a spool has outlived.
const LATENCIES: [f64; 24] = [
    0.001, 0.002, 0.003, 0.005, 0.007, 0.01, 0.015, 0.02, 0.03, 0.04, 0.05, 0.07, 0.1, 0.15, 0.2,
    0.3, 0.5, 1.0, 2.0, 5.0, 15.0, 60.0, 300.0, 3600.0,
];

const BACKFILLED: Named =
    ("producer_backfilled_trades_total", "Missed trades that were fetched from the venue.");
const BACKFILL_GIVEN_UP: Named = ("producer_backfill_given_up_total", "Gaps that were not filled.");
const SPOOL_RECORDS: Named = ("producer_spool_records", "Spooled records that Kafka lacks.");
const SPOOL_BYTES: Named = ("producer_spool_bytes", "Bytes of the spool's files.");
const SPOOL_AGE: Named =
    ("producer_spool_age_seconds", "How long the oldest spooled record has waited.");
const SPOOL_CUT: Named =
    ("producer_spool_cut_bytes_total", "Bytes of records that a crash tore, cut off the spool.");
const SPOOL_DAMAGED: Named =
    ("producer_spool_damaged_bytes_total", "Bytes of damaged spool records, which were skipped.");

/// The metrics of one process.
#[derive(Debug)]
pub struct Metrics {
    registry: Registry,
    /// Messages read, by venue and kind.
    pub received: IntCounterVec,
    /// Trades and price samples made of them, by venue and basis.
    pub parsed: IntCounterVec,
    /// Trades and samples left out because another connection had brought them, by venue.
    pub repeated: IntCounterVec,
    /// Records acknowledged by the broker in `events`, by venue.
    pub published: IntCounterVec,
    /// From the socket to the broker's acknowledgement, by venue.
    pub latency: HistogramVec,
    /// Malformed input and refused records, by venue and reason.
    pub dead_letters: IntCounterVec,
    /// Messages left out, by venue and reason.
    pub ignored: IntCounterVec,
    /// Gaps in dense trade ids, by venue.
    pub sequence_gaps: IntCounterVec,
    /// Connections lost, by venue and cause.
    pub reconnects: IntCounterVec,
    /// Connections replaced before the venue ended them, by venue.
    pub rotations: IntCounterVec,
    /// Streams that the venue did not grant, by venue.
    pub refused_streams: IntCounterVec,
    /// Connections that stand, by venue.
    pub connections: IntGaugeVec,
    /// Feeds that have given up for a long while because they were refused over and over, by venue.
    pub breakers: IntGaugeVec,
    /// Instruments that are subscribed, by venue.
    pub instruments: IntGaugeVec,
    /// Records that the broker refused, which became dead letters.
    pub delivery_failures: IntCounter,
    /// Dead letters that the broker refused.
    pub undeliverable: IntCounter,
    /// Records in the queue to the broker.
    pub queue_messages: IntGauge,
    /// Bytes of keys and values in the queue to the broker.
    pub queue_bytes: IntGauge,
    /// Time in which a full queue held up the feed.
    pub backpressure: Counter,
    /// Metrics of the spool and of backfill.
    pub recovery: Recovery,
    /// Metrics of order books.
    pub books: BookMetrics,
    /// Metrics of whole tickers.
    pub tickers: TickerMetrics,
    /// Metrics of chains.
    pub chains: ChainMetrics,
    /// The lead of this machine's clock over the venue's, by venue.
    pub clock_skew: GaugeVec,
    staleness: GaugeVec,
    class_staleness: GaugeVec,
    /// When each connection's last frame came. Guards a short list: it is added to when a feed
    /// begins, and read when metrics are.
    watched: Mutex<Vec<LastFrame>>,
    /// The time of the last event of each class, in milliseconds since the epoch; 0 before the first.
    last_of_class: [AtomicI64; Class::ALL.len()],
}

/// The time of the last frame, in milliseconds since the epoch; 0 before the first.
#[derive(Clone, Debug, Default)]
pub struct LastFrame(Arc<AtomicI64>);

impl LastFrame {
    /// It came now.
    pub fn set(&self, at: Timestamp) {
        self.0.store(at.0, Ordering::Relaxed);
    }
}

/// Declares metrics in a registry.
struct Declaring(Registry);

impl Declaring {
    fn add<M: Collector + Clone + 'static>(
        &self,
        metric: prometheus::Result<M>,
    ) -> prometheus::Result<M> {
        let metric = metric?;
        self.0.register(Box::new(metric.clone()))?;
        Ok(metric)
    }

    fn counters(&self, named: Named, labels: &[&str]) -> prometheus::Result<IntCounterVec> {
        self.add(IntCounterVec::new(Opts::new(named.0, named.1), labels))
    }

    fn gauges(&self, named: Named) -> prometheus::Result<IntGaugeVec> {
        self.add(IntGaugeVec::new(Opts::new(named.0, named.1), &["venue"]))
    }

    fn gauge(&self, named: Named) -> prometheus::Result<IntGauge> {
        self.add(IntGauge::new(named.0, named.1))
    }

    fn counter(&self, named: Named) -> prometheus::Result<IntCounter> {
        self.add(IntCounter::new(named.0, named.1))
    }

    fn latency(&self, named: Named) -> prometheus::Result<HistogramVec> {
        let options = HistogramOpts::new(named.0, named.1).buckets(LATENCIES.into());
        self.add(HistogramVec::new(options, &["venue"]))
    }

    fn seconds(&self, named: Named, labels: &[&str]) -> prometheus::Result<GaugeVec> {
        self.add(GaugeVec::new(Opts::new(named.0, named.1), labels))
    }
}

/// Metrics of the spool and of backfill.
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
    /// The age of the oldest record in the spool.
    pub spool_age: Gauge,
    /// Bytes of torn records that were cut off the spool.
    pub spool_cut: IntCounter,
    /// Bytes of damaged records in the spool, which were skipped and kept.
    pub spool_damaged: IntCounter,
}

impl Recovery {
    fn new(to: &Declaring) -> prometheus::Result<Self> {
        Ok(Self {
            backfilled: to.counters(BACKFILLED, &["venue"])?,
            backfill_given_up: to.counters(BACKFILL_GIVEN_UP, &["venue", "reason"])?,
            spool_records: to.gauge(SPOOL_RECORDS)?,
            spool_bytes: to.gauge(SPOOL_BYTES)?,
            spool_age: to.add(Gauge::new(SPOOL_AGE.0, SPOOL_AGE.1))?,
            spool_cut: to.counter(SPOOL_CUT)?,
            spool_damaged: to.counter(SPOOL_DAMAGED)?,
        })
    }
}

impl Metrics {
    /// All of them, at zero.
    pub fn new() -> prometheus::Result<Self> {
        let to = Declaring(Registry::new());
        Ok(Self {
            received: to.counters(RECEIVED, &["venue", "kind"])?,
            parsed: to.counters(PARSED, &["venue", "basis"])?,
            repeated: to.counters(REPEATED, &["venue"])?,
            published: to.counters(PUBLISHED, &["venue"])?,
            latency: to.latency(LATENCY)?,
            dead_letters: to.counters(DEAD_LETTERS, &["venue", "reason"])?,
            ignored: to.counters(IGNORED, &["venue", "reason"])?,
            sequence_gaps: to.counters(SEQUENCE_GAPS, &["venue"])?,
            reconnects: to.counters(RECONNECTS, &["venue", "cause"])?,
            rotations: to.counters(ROTATIONS, &["venue"])?,
            refused_streams: to.counters(REFUSED_STREAMS, &["venue"])?,
            connections: to.gauges(CONNECTIONS)?,
            breakers: to.gauges(BREAKERS)?,
            instruments: to.gauges(INSTRUMENTS)?,
            queue_messages: to.gauge(QUEUE_MESSAGES)?,
            queue_bytes: to.gauge(QUEUE_BYTES)?,
            clock_skew: to.seconds(CLOCK_SKEW, &["venue"])?,
            staleness: to.seconds(STALENESS, &["venue"])?,
            class_staleness: to.seconds(CLASS_STALENESS, &["venue", "class"])?,
            delivery_failures: to.counter(DELIVERY_FAILURES)?,
            undeliverable: to.counter(UNDELIVERABLE)?,
            backpressure: to.add(Counter::new(BACKPRESSURE.0, BACKPRESSURE.1))?,
            recovery: Recovery::new(&to)?,
            books: BookMetrics::new(&to)?,
            tickers: TickerMetrics::new(&to)?,
            chains: ChainMetrics::new(&to)?,
            watched: Mutex::default(),
            last_of_class: Default::default(),
            registry: to.0,
        })
    }

    /// Makes every series of an exchange exist.
    pub fn declare(&self, venue: Venue) {
        let name = venue.as_str();
        self.declare_feed(name);
        for kind in venue.adapter().kinds.iter().copied().chain([UNKNOWN]) {
            self.received.with_label_values(&[name, kind]);
        }
        for reason in Ignored::ALL {
            self.ignored.with_label_values(&[name, reason.as_str()]);
        }
        for reason in GaveUp::ALL {
            self.recovery.backfill_given_up.with_label_values(&[name, reason.as_str()]);
        }
        for basis in [Basis::Trade, Basis::Ticker] {
            self.parsed.with_label_values(&[name, basis.as_str()]);
        }
        for counter in [
            &self.published,
            &self.recovery.backfilled,
            &self.sequence_gaps,
            &self.repeated,
            &self.rotations,
            &self.refused_streams,
        ] {
            counter.with_label_values(&[name]);
        }
        self.books.declare(name);
        self.tickers.declare(name);
        self.clock_skew.with_label_values(&[name]).set(0.0);
    }

    /// Makes every series of chains exist.
    pub fn declare_chain(&self) {
        let name = venues::ethereum::NAME;
        self.declare_feed(name);
        for kind in NodeFrame::ALL {
            self.received.with_label_values(&[name, kind.as_str()]);
        }
        for reason in NoEffect::ALL {
            self.ignored.with_label_values(&[name, reason.as_str()]);
        }
        self.chains.declare(name);
    }

    /// Makes the series of any feed exist.
    fn declare_feed(&self, name: &'static str) {
        for reason in Malformed::LABELS.into_iter().chain([REFUSED]) {
            self.dead_letters.with_label_values(&[name, reason]);
        }
        for cause in Cause::ALL {
            self.reconnects.with_label_values(&[name, cause.as_str()]);
        }
        for gauge in [&self.connections, &self.breakers, &self.instruments] {
            gauge.with_label_values(&[name]);
        }
        self.latency.with_label_values(&[name]);
        self.staleness(name).set(0.0);
    }

    /// A place for the last frame of one more connection.
    pub fn watch(&self) -> LastFrame {
        let last = LastFrame::default();
        self.watched.lock().unwrap_or_else(PoisonError::into_inner).push(last.clone());
        last
    }

    /// Counts what frames of a venue produced; the counts are taken out.
    pub fn count(&self, venue: Venue, produced: &mut Produced) {
        let venue = venue.as_str();
        for count in produced.counts.drain(..) {
            match count {
                Count::Received(kind) => self.received.with_label_values(&[venue, kind]).inc(),
                Count::Event(basis, class, at) => {
                    self.parsed.with_label_values(&[venue, basis.as_str()]).inc();
                    self.last_of_class[class as usize].store(at.0, Ordering::Relaxed);
                }
                Count::Ignored(reason) => {
                    self.ignored.with_label_values(&[venue, reason.as_str()]).inc();
                }
                Count::Gap => self.sequence_gaps.with_label_values(&[venue]).inc(),
                Count::BookFrame => self.books.frames.with_label_values(&[venue]).inc(),
                Count::Checksum => self.books.checksums.with_label_values(&[venue]).inc(),
                Count::Resync(reason) => {
                    self.books.resyncs.with_label_values(&[venue, reason.as_str()]).inc();
                }
                Count::Ticker(class) => {
                    self.tickers.read.with_label_values(&[venue, class.as_str()]).inc();
                }
                Count::NullField(reason) => {
                    self.tickers.fields_null.with_label_values(&[venue, reason.as_str()]).inc();
                }
                Count::Instrument(state) => {
                    self.tickers.instruments.with_label_values(&[venue, state.as_str()]).inc();
                }
            }
        }
    }

    /// The text form, with the feed's staleness as of `now`.
    pub fn render(&self, venue: &str, now: Timestamp) -> prometheus::Result<Vec<u8>> {
        let seconds = |last: i64| {
            let millis = u32::try_from((now.0 - last).max(0)).unwrap_or(u32::MAX);
            f64::from(millis) / 1000.0
        };
        let watched = self.watched.lock().unwrap_or_else(PoisonError::into_inner);
        let frames = watched.iter().map(|last| last.0.load(Ordering::Relaxed));
        if let Some(oldest) = frames.filter(|last| *last > 0).min() {
            self.staleness(venue).set(seconds(oldest));
        }
        drop(watched);
        for class in Class::ALL {
            let last = self.last_of_class[class as usize].load(Ordering::Relaxed);
            if last > 0 {
                let labels = [venue, class.as_str()];
                self.class_staleness.with_label_values(&labels).set(seconds(last));
            }
        }
        let mut text = Vec::new();
        TextEncoder::new().encode(&self.registry.gather(), &mut text)?;
        Ok(text)
    }

    fn staleness(&self, venue: &str) -> Gauge {
        self.staleness.with_label_values(&[venue])
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_series_of_a_venue_exists_before_anything_happened() -> anyhow::Result<()> {
        let metrics = Metrics::new()?;
        metrics.declare(Venue::Coinbase);
        let text = String::from_utf8(metrics.render("coinbase", Timestamp(1))?)?;
        for series in [
            "producer_events_received_total{kind=\"match\",venue=\"coinbase\"} 0",
            "producer_events_published_total{venue=\"coinbase\"} 0",
            "producer_dead_letters_total{reason=\"not_json\",venue=\"coinbase\"} 0",
            "producer_events_ignored_total{reason=\"quote_only\",venue=\"coinbase\"} 0",
            "producer_sequence_gaps_total{venue=\"coinbase\"} 0",
            "producer_reconnects_total{cause=\"stale\",venue=\"coinbase\"} 0",
            "producer_events_parsed_total{basis=\"TRADE\",venue=\"coinbase\"} 0",
            "producer_events_repeated_total{venue=\"coinbase\"} 0",
            "producer_rotations_total{venue=\"coinbase\"} 0",
            "producer_streams_refused_total{venue=\"coinbase\"} 0",
            "producer_connections{venue=\"coinbase\"} 0",
            "producer_breakers_open{venue=\"coinbase\"} 0",
            "producer_instruments{venue=\"coinbase\"} 0",
            "producer_publish_latency_seconds_count{venue=\"coinbase\"} 0",
            "producer_delivery_failures_total 0",
            "producer_undeliverable_total 0",
            "producer_queue_messages 0",
            "producer_queue_bytes 0",
            "producer_feed_staleness_seconds{venue=\"coinbase\"} 0",
            "producer_backpressure_seconds_total 0",
            "producer_clock_skew_seconds{venue=\"coinbase\"} 0",
            "producer_books{venue=\"coinbase\"} 0",
            "producer_books_out_of_sync{venue=\"coinbase\"} 0",
            "producer_book_out_of_sync_seconds_total{venue=\"coinbase\"} 0",
            "producer_book_frames_total{venue=\"coinbase\"} 0",
            "producer_book_resyncs_total{reason=\"CHECKSUM\",venue=\"coinbase\"} 0",
            "producer_book_checksums_verified_total{venue=\"coinbase\"} 0",
            "producer_book_snapshots_fetched_total{venue=\"coinbase\"} 0",
            "producer_book_snapshots_failed_total{reason=\"limited\",venue=\"coinbase\"} 0",
            "producer_quotes_published_total{venue=\"coinbase\"} 0",
            "producer_books_published_total{venue=\"coinbase\"} 0",
            "producer_tickers_read_total{class=\"option\",venue=\"coinbase\"} 0",
            "producer_tickers_repeated_total{venue=\"coinbase\"} 0",
            "producer_instrument_records_total{state=\"ENDED\",venue=\"coinbase\"} 0",
            "producer_listings_fetched_total{venue=\"coinbase\"} 0",
            "producer_listings_failed_total{venue=\"coinbase\"} 0",
            "producer_option_tickers_published_total{venue=\"coinbase\"} 0",
        ] {
            assert!(text.contains(series), "{series} is not in\n{text}");
        }
        Ok(())
    }

    #[test]
    fn every_series_of_a_chain_exists_before_anything_happened() -> anyhow::Result<()> {
        let metrics = Metrics::new()?;
        metrics.declare_chain();
        let text = String::from_utf8(metrics.render("ethereum", Timestamp(1))?)?;
        for series in [
            "producer_events_received_total{kind=\"notification\",venue=\"ethereum\"} 0",
            "producer_dead_letters_total{reason=\"not_json\",venue=\"ethereum\"} 0",
            "producer_events_ignored_total{reason=\"other_event\",venue=\"ethereum\"} 0",
            "producer_reconnects_total{cause=\"stale\",venue=\"ethereum\"} 0",
            "producer_connections{venue=\"ethereum\"} 0",
            "producer_instruments{venue=\"ethereum\"} 0",
            "producer_publish_latency_seconds_count{venue=\"ethereum\"} 0",
            "producer_feed_staleness_seconds{venue=\"ethereum\"} 0",
            "producer_swaps_read_total{status=\"REMOVED\",venue=\"ethereum\"} 0",
            "producer_swap_records_published_total{venue=\"ethereum\"} 0",
            "producer_chain_heads_read_total{venue=\"ethereum\"} 0",
            "producer_chain_gaps_total{venue=\"ethereum\"} 0",
            "producer_chain_reorganisation_depth_blocks_count{venue=\"ethereum\"} 0",
            "producer_chain_requests_total{method=\"eth_getLogs\",venue=\"ethereum\"} 0",
            "producer_chain_errors_total{method=\"eth_subscribe\",venue=\"ethereum\"} 0",
            "producer_pools_refused_total{venue=\"ethereum\"} 0",
        ] {
            assert!(text.contains(series), "{series} is not in\n{text}");
        }
        Ok(())
    }

    #[test]
    fn staleness_is_that_of_the_connection_that_has_waited_longest() -> anyhow::Result<()> {
        let metrics = Metrics::new()?;
        let (first, second) = (metrics.watch(), metrics.watch());
        metrics.watch();
        first.set(Timestamp(10_000));
        second.set(Timestamp(12_000));
        let event = Count::Event(Basis::Ticker, Class::Option, Timestamp(11_000));
        let mut produced = Produced { outputs: Vec::new(), counts: vec![event] };
        metrics.count(Venue::Deribit, &mut produced);
        let text = String::from_utf8(metrics.render("coinbase", Timestamp(12_500))?)?;
        assert!(text.contains("producer_feed_staleness_seconds{venue=\"coinbase\"} 2.5"), "{text}");
        let class = "producer_class_staleness_seconds{class=\"option\",venue=\"coinbase\"} 1.5";
        assert!(text.contains(class), "{text}");
        Ok(())
    }
}
