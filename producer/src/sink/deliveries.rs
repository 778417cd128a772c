//! The delivery reports of the Kafka client: a record is acknowledged or refused.
//!
//! Called on the client's threads, so nothing here blocks.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use prometheus::{Histogram, IntCounter};
use rdkafka::client::ClientContext;
use rdkafka::config::RDKafkaLogLevel;
use rdkafka::error::{KafkaError, RDKafkaErrorCode};
use rdkafka::message::{Headers as _, Message as _};
use rdkafka::producer::{DeliveryResult, ProducerContext};
use streams::runtime::ConnectionRefusal;

use crate::clock;
use crate::labels::EXCHANGES;
use crate::metrics::Metrics;
use crate::sink::client::is_denied;
use crate::sink::outbox::Delivered;
use crate::sink::parcel::{PairTopic, Tag, Target};
use crate::sink::refused::{Refusals, Refused};

/// Counts the outcome of each record.
pub(crate) struct Deliveries {
    metrics: Arc<Metrics>,
    /// By label.
    published: Vec<IntCounter>,
    /// By label.
    quotes: Vec<IntCounter>,
    /// By label.
    books: Vec<IntCounter>,
    /// By label.
    tickers: Vec<IntCounter>,
    /// By label.
    swaps: Vec<IntCounter>,
    /// By label.
    latency: Vec<Histogram>,
    /// Told of every record that came out of the spool.
    pub(crate) delivered: Delivered,
    /// The records that Kafka refused.
    pub(crate) refusals: Refusals,
    /// Refusals that a person has to correct.
    pub(crate) denials: ConnectionRefusal,
    /// The broker has answered once; before that, an error is told to the one who connects.
    pub(crate) connected: AtomicBool,
}

impl Deliveries {
    /// Counts delivered records, and reports spooled ones to `delivered`.
    pub(crate) fn new(metrics: Arc<Metrics>, delivered: Delivered) -> Self {
        Self {
            published: EXCHANGES.map(|label| metrics.published.with_label_values(&[label])).into(),
            quotes: EXCHANGES.map(|label| metrics.books.quotes.with_label_values(&[label])).into(),
            books: EXCHANGES.map(|label| metrics.books.books.with_label_values(&[label])).into(),
            tickers: EXCHANGES
                .map(|label| metrics.tickers.published.with_label_values(&[label]))
                .into(),
            swaps: EXCHANGES
                .map(|label| metrics.chains.published.with_label_values(&[label]))
                .into(),
            latency: EXCHANGES.map(|label| metrics.latency.with_label_values(&[label])).into(),
            metrics,
            delivered,
            refusals: Refusals::default(),
            denials: ConnectionRefusal::default(),
            connected: AtomicBool::new(false),
        }
    }
}

impl ClientContext for Deliveries {
    fn log(&self, _: RDKafkaLogLevel, facility: &str, message: &str) {
        tracing::debug!(facility, message, "kafka client");
        if !self.connected.load(Ordering::Relaxed) {
            self.denials.connection(None, message);
        }
    }

    fn error(&self, error: KafkaError, reason: &str) {
        if self.connected.load(Ordering::Relaxed) {
            tracing::warn!(%error, reason, "kafka client error");
        } else {
            self.denials.connection(error.rdkafka_error_code(), reason);
        }
    }
}

impl ProducerContext for Deliveries {
    type DeliveryOpaque = Box<Tag>;

    fn delivery(&self, result: &DeliveryResult<'_>, tag: Box<Tag>) {
        let (message, error) = match result {
            Ok(message) => (message, None),
            Err((error, message)) => (message, Some(error)),
        };
        match error {
            None => self.arrived(&tag),
            // Purged at the stop: the record is in the spool, or reported as undelivered.
            Some(error) if is_purged(error) => {}
            // No record of the topic is taken: the sink ends, and the spool keeps what it has.
            Some(error) if is_denied(error) => {
                let topic = message.topic();
                self.denials.set(format!(
                    "its user may not write to {topic}; allow that user Write on the topic"
                ));
                if tag.number == 0 {
                    self.metrics.undeliverable.inc();
                }
            }
            Some(error) => {
                let headers = message.headers().into_iter().flat_map(|headers| headers.iter());
                let text = |bytes: Option<&[u8]>| {
                    String::from_utf8_lossy(bytes.unwrap_or_default()).into_owned()
                };
                self.refusals.push(Refused {
                    key: message.key().unwrap_or_default().to_vec(),
                    value: message.payload().unwrap_or_default().to_vec(),
                    headers: headers.map(|one| (one.key.to_owned(), text(one.value))).collect(),
                    tag: *tag,
                    detail: error.to_string(),
                    of_batch: concerns_a_batch(error),
                });
            }
        }
        if tag.number > 0 && error.is_none() {
            self.delivered.done(tag.number);
        }
        // Last: an empty queue means that everything before it is counted.
        self.metrics.queue_bytes.sub(size(message.key(), message.payload()));
        self.metrics.queue_messages.dec();
    }
}

impl Deliveries {
    /// Counts a record that the broker has, and its time since the socket.
    fn arrived(&self, tag: &Tag) {
        let (Target::Key(topic) | Target::Partition(topic, _)) = tag.target else { return };
        let counter = match topic {
            PairTopic::Events => &self.published,
            PairTopic::Quotes => &self.quotes,
            PairTopic::OptionTickers => &self.tickers,
            PairTopic::Swaps => &self.swaps,
            // A book is published when its second is over, so its age is not a latency.
            PairTopic::Books => return self.books[tag.label].inc(),
        };
        counter[tag.label].inc();
        if let Some(received) = tag.received {
            self.latency[tag.label].observe(clock::seconds(received, clock::now()));
        }
    }
}

/// The client was stopped while it had the record: the outcome is unknown.
fn is_purged(error: &KafkaError) -> bool {
    use RDKafkaErrorCode::{PurgeInflight, PurgeQueue};
    matches!(error.rdkafka_error_code(), Some(PurgeInflight | PurgeQueue))
}

/// The size or the form of a batch is refused as a whole, whichever record of it is at fault.
fn concerns_a_batch(error: &KafkaError) -> bool {
    use RDKafkaErrorCode::{
        InvalidMessage, InvalidMessageSize, InvalidRecord, InvalidTimestamp, MessageBatchTooLarge,
        MessageSizeTooLarge, PolicyViolation,
    };
    matches!(
        error.rdkafka_error_code(),
        Some(
            InvalidMessage
                | InvalidMessageSize
                | InvalidRecord
                | InvalidTimestamp
                | MessageBatchTooLarge
                | MessageSizeTooLarge
                | PolicyViolation
        )
    )
}

/// Bytes of key and value, for the gauge of the queue.
pub(crate) fn size(key: Option<&[u8]>, value: Option<&[u8]>) -> i64 {
    let bytes = key.map_or(0, <[u8]>::len) + value.map_or(0, <[u8]>::len);
    i64::try_from(bytes).unwrap_or(i64::MAX)
}
