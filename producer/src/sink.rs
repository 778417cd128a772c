//! The way to Kafka, and the only file that names its client.
//!
//! ```text
//! Output ─ encode ─→ librdkafka's queue (bounded) ─ lz4, idempotent, acks=all ─→ broker
//!                        │ full: wait, count, never drop             │
//!                        └──────── delivery callbacks: counted ◀─────┘
//! ```
//!
//! Invariants:
//! - A record is in the queue until the broker has it or refuses it for good: there is no
//!   delivery timeout, an outage of any length loses nothing.
//! - A full queue makes [`Sink::publish`] wait. It returns without the record only when the
//!   process is stopping or the client has failed for good.
//! - Key routing is murmur2 on the key's bytes, as every Java client does it. Records carry the
//!   time of publishing, not of the event: retention counts from it.
//!
//! Everything blocks; a live feed calls it from a thread of its own.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use prometheus::IntCounter;
use rdkafka::client::ClientContext;
use rdkafka::config::{ClientConfig, RDKafkaLogLevel};
use rdkafka::error::{KafkaError, RDKafkaErrorCode};
use rdkafka::message::{Header, Message, OwnedHeaders};
use rdkafka::producer::{BaseRecord, DeliveryResult, Producer, ProducerContext, ThreadedProducer};
use schemas::avro::Record;
use schemas::topic::Topic;
use schemas::{Codec, PairKey};

use crate::exchange::Venue;
use crate::metrics::Metrics;
use crate::pipeline::{DeadLetter, Output};

/// How long a full queue is left alone before the next try.
const FULL_WAIT: Duration = Duration::from_millis(5);

/// Waits of [`FULL_WAIT`] for the callbacks of records that are delivered: a second.
const CALLBACK_WAITS: u32 = 200;

/// Of a dead letter so much is kept: with its headers it stays below the megabyte that brokers
/// take, so that no input can stop the producer by being refused.
const MAX_DEAD_LETTER_BYTES: usize = 900 << 10;

/// Settings on which the invariants rest; they cannot be changed from outside.
pub const FIXED: [&str; 6] = [
    "acks",
    "bootstrap.servers",
    "enable.idempotence",
    "message.timeout.ms",
    "partitioner",
    "request.required.acks",
];

/// Where Kafka is and how to speak to it.
#[derive(Clone, Debug)]
pub struct SinkConfig {
    /// `host:port`, comma separated.
    pub bootstrap_servers: String,
    /// What the topics' names begin with.
    pub topic_prefix: String,
    /// Records in the queue at most.
    pub queue_max_messages: u32,
    /// Kilobytes in the queue at most.
    pub queue_max_kbytes: u32,
    /// A broker that has not answered in this time at start is away.
    pub connect_timeout: Duration,
    /// How long the last records may take at the end.
    pub flush_timeout: Duration,
    /// Further settings of the client.
    pub overrides: Vec<(String, String)>,
}

/// Why nothing more can be published; each message names the way out.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SinkError {
    /// The client refuses its settings.
    #[error("the Kafka client refuses its settings: {0}; correct --kafka")]
    Settings(String),
    /// No broker answered at start.
    #[error(
        "Kafka at {address} does not answer within {seconds} s: {reason}; start it or set \
         --bootstrap-servers"
    )]
    Unreachable {
        /// Where.
        address: String,
        /// How long it was waited for.
        seconds: u64,
        /// The client's words.
        reason: String,
    },
    /// A topic is not there.
    #[error("topic {0} does not exist: create it with 'processor topics create'")]
    MissingTopic(String),
    /// The client cannot go on.
    #[error("the Kafka client failed for good: {0}; start again")]
    Fatal(String),
    /// The process ended before the broker had everything.
    #[error("{0} records were not delivered: Kafka did not take them in time")]
    Undelivered(i64),
    /// The broker refused records for good.
    #[error("Kafka refused {0} records for good: see the log")]
    Refused(u64),
}

/// Counts what became of each record.
struct Deliveries {
    metrics: Arc<Metrics>,
    /// By [`Label`].
    published: Vec<IntCounter>,
    /// Names of the topics, for the labels of what arrived.
    events: String,
    /// The broker has answered once; before that, an error is told to the one who connects.
    connected: AtomicBool,
}

impl ClientContext for Deliveries {
    fn log(&self, _: RDKafkaLogLevel, facility: &str, message: &str) {
        tracing::debug!(facility, message, "kafka client");
    }

    fn error(&self, error: KafkaError, reason: &str) {
        if self.connected.load(Ordering::Relaxed) {
            tracing::warn!(%error, reason, "kafka is not well");
        }
    }
}

impl ProducerContext for Deliveries {
    /// The index of the record's [`Label`].
    type DeliveryOpaque = usize;

    fn delivery(&self, result: &DeliveryResult<'_>, label: usize) {
        let (message, error) = match result {
            Ok(message) => (message, None),
            Err((error, message)) => (message, Some(error)),
        };
        match error {
            None if message.topic() == self.events => {
                self.published[label].inc();
            }
            None => {}
            Some(error) => {
                self.metrics.delivery_failures.inc();
                tracing::error!(topic = message.topic(), %error, "record refused by kafka");
            }
        }
        // Last: an empty queue says that everything before it is counted.
        self.metrics.queue_bytes.sub(size(message.key(), message.payload()));
        self.metrics.queue_messages.dec();
    }
}

/// The venue's label in metrics, which travels with each record: its index in [`LABELS`].
#[derive(Clone, Copy)]
struct Label(usize);

/// The venues and, for everything that is none, one label together: names that come from outside
/// must not become labels.
const LABELS: [&str; Venue::ALL.len() + 1] = [
    Venue::Coinbase.as_str(),
    Venue::Binance.as_str(),
    Venue::Kraken.as_str(),
    Venue::Deribit.as_str(),
    "other",
];

impl Label {
    fn of(exchange: &str) -> Self {
        Self(LABELS.iter().position(|label| *label == exchange).unwrap_or(LABELS.len() - 1))
    }
}

fn size(key: Option<&[u8]>, value: Option<&[u8]>) -> i64 {
    let bytes = key.map_or(0, <[u8]>::len) + value.map_or(0, <[u8]>::len);
    i64::try_from(bytes).unwrap_or(i64::MAX)
}

/// Publishes to the topics of one installation.
pub struct Sink {
    client: ThreadedProducer<Deliveries>,
    codec: Codec,
    metrics: Arc<Metrics>,
    events: String,
    dead_letters: String,
    partitions: i32,
    flush_timeout: Duration,
    /// The process is stopping: a full queue is no longer waited for.
    stopping: Arc<AtomicBool>,
    /// Reused for every record.
    key: Vec<u8>,
    value: Vec<u8>,
}

impl Sink {
    /// Connects, and makes sure that the topics exist.
    pub fn connect(
        config: &SinkConfig,
        codec: Codec,
        metrics: Arc<Metrics>,
    ) -> Result<Self, SinkError> {
        let events = Topic::Events.name(&config.topic_prefix);
        let dead_letters = Topic::DeadLetters.name(&config.topic_prefix);
        let context = Deliveries {
            metrics: Arc::clone(&metrics),
            published: LABELS.map(|label| metrics.published.with_label_values(&[label])).into(),
            events: events.clone(),
            connected: AtomicBool::new(false),
        };
        let client: ThreadedProducer<Deliveries> = settings(config)
            .create_with_context(context)
            .map_err(|error| SinkError::Settings(error.to_string()))?;
        let found = partitions(&client, config)?;
        client.context().connected.store(true, Ordering::Relaxed);
        let count = |topic: &String| {
            found.get(topic).copied().ok_or_else(|| SinkError::MissingTopic(topic.clone()))
        };
        count(&dead_letters)?;
        Ok(Self {
            partitions: count(&events)?,
            client,
            codec,
            metrics,
            events,
            dead_letters,
            flush_timeout: config.flush_timeout,
            stopping: Arc::default(),
            key: Vec::new(),
            value: Vec::new(),
        })
    }

    /// Set to true, it ends every wait for a full queue.
    pub fn stopping(&self) -> Arc<AtomicBool> {
        Arc::clone(&self.stopping)
    }

    /// Queues one output, waiting while the queue is full.
    pub fn publish(&mut self, output: &Output) -> Result<(), SinkError> {
        match output {
            Output::Event { pair, event } => self.event(pair, event),
            Output::Mark { exchange, mark } => {
                self.encode(&PairKey::feed(*exchange), mark);
                (0..self.partitions).try_for_each(|partition| {
                    self.send(Target::Partition(partition), Label::of(exchange), None)
                })
            }
            Output::Gap { pair, mark } => self.event(pair, mark),
            Output::DeadLetter(letter) => self.dead_letter(letter),
        }
    }

    /// Queues a record of `events` whose key is in the wire format already.
    pub fn publish_keyed<R: Record>(
        &mut self,
        key: &[u8],
        value: &R,
        exchange: &str,
    ) -> Result<(), SinkError> {
        self.key.clear();
        self.key.extend_from_slice(key);
        self.value.clear();
        self.codec.encode(value, &mut self.value);
        self.send(Target::Key, Label::of(exchange), None)
    }

    /// A key in the wire format.
    pub fn key(&self, pair: &PairKey) -> Vec<u8> {
        self.codec.to_bytes(pair)
    }

    /// Waits until the broker has everything that was queued.
    pub fn finish(&self) -> Result<(), SinkError> {
        let stopping = self.stopping.load(Ordering::Relaxed);
        let patience = if stopping { Duration::ZERO } else { self.flush_timeout };
        if self.client.flush(patience).is_ok() {
            // The client is done; the last callbacks may still be on their way.
            for _ in 0..CALLBACK_WAITS {
                if self.metrics.queue_messages.get() == 0 {
                    break;
                }
                self.client.poll(FULL_WAIT);
            }
        }
        if let Some((_, reason)) = self.client.client().fatal_error() {
            return Err(SinkError::Fatal(reason));
        }
        let waiting = self.metrics.queue_messages.get();
        let refused = self.metrics.delivery_failures.get();
        match (waiting, refused) {
            (0, 0) => Ok(()),
            (0, refused) => Err(SinkError::Refused(refused)),
            (waiting, _) => Err(SinkError::Undelivered(waiting)),
        }
    }

    fn event<R: Record>(&mut self, pair: &PairKey, event: &R) -> Result<(), SinkError> {
        self.encode(pair, event);
        self.send(Target::Key, Label::of(&pair.exchange), None)
    }

    fn encode<R: Record>(&mut self, pair: &PairKey, value: &R) {
        self.key.clear();
        self.codec.encode(pair, &mut self.key);
        self.value.clear();
        self.codec.encode(value, &mut self.value);
    }

    fn dead_letter(&mut self, letter: &DeadLetter) -> Result<(), SinkError> {
        self.metrics.dead_letters.with_label_values(&[letter.venue, letter.reason]).inc();
        tracing::debug!(venue = letter.venue, reason = letter.detail, "dead letter");
        let raw = letter.raw.as_bytes();
        self.value.clear();
        self.value.extend_from_slice(&raw[..raw.len().min(MAX_DEAD_LETTER_BYTES)]);
        self.send(Target::DeadLetters, Label::of(letter.venue), Some(letter))
    }

    /// Queues the key and value that stand in the buffers.
    fn send(
        &self,
        target: Target,
        label: Label,
        letter: Option<&DeadLetter>,
    ) -> Result<(), SinkError> {
        let topic =
            if matches!(target, Target::DeadLetters) { &self.dead_letters } else { &self.events };
        let mut record = BaseRecord::with_opaque_to(topic, label.0).payload(&self.value[..]);
        match target {
            Target::Key => record = record.key(&self.key[..]),
            Target::Partition(partition) => {
                record = record.key(&self.key[..]).partition(partition);
            }
            Target::DeadLetters => {}
        }
        record.headers = letter.map(headers);
        // Before it is queued: the callback may be faster than the next line.
        let bytes = size(record.key, record.payload);
        self.metrics.queue_messages.inc();
        self.metrics.queue_bytes.add(bytes);
        while let Err((error, refused)) = self.client.send(record) {
            let full = error.rdkafka_error_code() == Some(RDKafkaErrorCode::QueueFull);
            if !full || self.stopping.load(Ordering::Relaxed) {
                self.metrics.queue_messages.dec();
                self.metrics.queue_bytes.sub(bytes);
                return Err(self.refusal(&error, full));
            }
            self.client.poll(FULL_WAIT);
            self.metrics.backpressure.inc_by(FULL_WAIT.as_secs_f64());
            record = refused;
        }
        Ok(())
    }

    fn refusal(&self, error: &KafkaError, full: bool) -> SinkError {
        if full {
            return SinkError::Undelivered(self.metrics.queue_messages.get());
        }
        let fatal = self.client.client().fatal_error().map(|(_, reason)| reason);
        SinkError::Fatal(fatal.unwrap_or_else(|| error.to_string()))
    }
}

/// Where the buffers go.
#[derive(Clone, Copy)]
enum Target {
    /// To `events`, by key.
    Key,
    /// To `events`, to this partition.
    Partition(i32),
    /// To `dead_letters`, the value alone.
    DeadLetters,
}

/// What a dead letter says of itself.
fn headers(letter: &DeadLetter) -> OwnedHeaders {
    let bytes = letter.raw.len().to_string();
    let fields = [
        ("source", "producer"),
        ("venue", letter.venue),
        ("reason", letter.reason),
        ("detail", &letter.detail),
        // Of the whole, which may be longer than what is kept.
        ("bytes", &bytes),
    ];
    fields.into_iter().fold(OwnedHeaders::new(), |headers, (key, value)| {
        headers.insert(Header { key, value: Some(value) })
    })
}

fn settings(config: &SinkConfig) -> ClientConfig {
    let mut settings = ClientConfig::new();
    settings
        .set("bootstrap.servers", &config.bootstrap_servers)
        .set("client.id", "producer")
        .set("enable.idempotence", "true")
        .set("acks", "all")
        .set("compression.type", "lz4")
        .set("linger.ms", "5")
        .set("partitioner", "murmur2_random")
        // For ever: an outage must not lose what waits.
        .set("message.timeout.ms", "0")
        .set("queue.buffering.max.messages", config.queue_max_messages.to_string())
        .set("queue.buffering.max.kbytes", config.queue_max_kbytes.to_string())
        .set_log_level(RDKafkaLogLevel::Warning);
    for (key, value) in &config.overrides {
        settings.set(key, value);
    }
    settings
}

/// The topics and their partition counts. All are asked for, not ours by name: asking for a topic
/// may create it.
fn partitions(
    client: &ThreadedProducer<Deliveries>,
    config: &SinkConfig,
) -> Result<BTreeMap<String, i32>, SinkError> {
    let metadata =
        client.client().fetch_metadata(None, config.connect_timeout).map_err(|error| {
            SinkError::Unreachable {
                address: config.bootstrap_servers.clone(),
                seconds: config.connect_timeout.as_secs(),
                reason: error.to_string(),
            }
        })?;
    let count = |topic: &rdkafka::metadata::MetadataTopic| i32::try_from(topic.partitions().len());
    let topics = metadata.topics().iter();
    Ok(topics.filter_map(|topic| Some((topic.name().to_owned(), count(topic).ok()?))).collect())
}

#[cfg(test)]
#[path = "sink_tests.rs"]
mod tests;
