//! The way to Kafka, and the only file that names its client.
//!
//! ```text
//! Output ─ encode ─→ librdkafka's queue (bounded) ─ lz4, idempotent, acks=all ─→ broker
//!            │    ▲      │ full: wait, count, never drop             │
//!            ▼    │      └──────── delivery callbacks: counted ◀─────┘
//!       spool, if asked for (disk, bounded)
//! ```
//!
//! Invariants:
//! - A record is in the queue until the broker has it or refuses it for good: there is no
//!   delivery timeout, an outage of any length loses nothing.
//! - A full queue makes [`Sink::publish`] wait. It returns without the record only when the
//!   process is stopping or the client has failed for good.
//! - With a spool, everything goes through it, so that order is kept; a full queue is then no
//!   reason to wait, and a full spool is. After such a wait the exchange's feed is marked.
//! - Key routing is murmur2 on the key's bytes, as every Java client does it. Records carry the
//!   time of publishing, not of the event: retention counts from it.
//!
//! Everything blocks; a live feed calls it from a thread of its own.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use prometheus::{Histogram, IntCounter};
use rdkafka::client::ClientContext;
use rdkafka::config::{ClientConfig, RDKafkaLogLevel};
use rdkafka::error::{KafkaError, RDKafkaErrorCode};
use rdkafka::message::{Header, Message, OwnedHeaders};
use rdkafka::producer::{BaseRecord, DeliveryResult, Producer, ProducerContext, ThreadedProducer};
use schemas::avro::Record;
use schemas::topic::Topic;
use schemas::{Codec, FeedMark, PairKey, Timestamp};

use crate::clock::{self, Stopwatch};
use crate::metrics::Metrics;
use crate::pipeline::{DeadLetter, Output};
use crate::sink_config::{LABELS, Label, SinkConfig, SinkError};
use crate::spool::Push;
use crate::spool_outbox::{Delivered, Outbox, Tag};
use crate::spool_parcel::{Parcel, Target, headers};
use crate::spool_start;

/// How long a full queue is left alone before the next try.
const FULL_WAIT: Duration = Duration::from_millis(5);

/// Waits of [`FULL_WAIT`] for the callbacks of records that are delivered: a second.
const CALLBACK_WAITS: u32 = 200;

/// Of a dead letter so much is kept: with its headers it stays below the megabyte that brokers
/// take, so that no input can stop the producer by being refused.
const MAX_DEAD_LETTER_BYTES: usize = 900 << 10;

/// Counts what became of each record.
struct Deliveries {
    metrics: Arc<Metrics>,
    /// By [`Label`].
    published: Vec<IntCounter>,
    /// By [`Label`].
    latency: Vec<Histogram>,
    /// Names of the topics, for the labels of what arrived.
    events: String,
    /// Told of every record that came out of the spool.
    delivered: Delivered,
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
    type DeliveryOpaque = Box<Tag>;

    fn delivery(&self, result: &DeliveryResult<'_>, tag: Box<Tag>) {
        let (message, error) = match result {
            Ok(message) => (message, None),
            Err((error, message)) => (message, Some(error)),
        };
        match error {
            None if message.topic() == self.events => {
                self.published[tag.label].inc();
                if let Some(received) = tag.received {
                    self.latency[tag.label].observe(clock::seconds(received, clock::now()));
                }
            }
            None => {}
            // Stopped with the record in hand, which is in the spool or told of as undelivered.
            Some(error) if is_purged(error) => {}
            Some(error) => {
                self.metrics.delivery_failures.inc();
                tracing::error!(topic = message.topic(), %error, "record refused by kafka");
            }
        }
        if tag.number > 0 && !error.is_some_and(is_purged) {
            self.delivered.done(tag.number);
        }
        // Last: an empty queue says that everything before it is counted.
        self.metrics.queue_bytes.sub(size(message.key(), message.payload()));
        self.metrics.queue_messages.dec();
    }
}

/// The client was stopped with the record in its hands: nobody knows what became of it.
fn is_purged(error: &KafkaError) -> bool {
    use RDKafkaErrorCode::{PurgeInflight, PurgeQueue};
    matches!(error.rdkafka_error_code(), Some(PurgeInflight | PurgeQueue))
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
    outbox: Option<Outbox>,
    /// When what is being published was read from a feed.
    received: Option<Timestamp>,
    /// The process is stopping: a full queue is no longer waited for.
    stopping: Arc<AtomicBool>,
    /// Reused for every record.
    key: Vec<u8>,
    value: Vec<u8>,
}

impl Sink {
    /// Connects, and makes sure that the topics exist. With a spool that has seen Kafka before, a
    /// Kafka that is away is no reason not to begin.
    pub fn connect(
        config: &SinkConfig,
        codec: Codec,
        metrics: Arc<Metrics>,
    ) -> Result<Self, SinkError> {
        let events = Topic::Events.name(&config.topic_prefix);
        let dead_letters = Topic::DeadLetters.name(&config.topic_prefix);
        let delivered = Delivered::default();
        let context = Deliveries {
            metrics: Arc::clone(&metrics),
            delivered: delivered.clone(),
            published: LABELS.map(|label| metrics.published.with_label_values(&[label])).into(),
            latency: LABELS.map(|label| metrics.latency.with_label_values(&[label])).into(),
            events: events.clone(),
            connected: AtomicBool::new(false),
        };
        let client: ThreadedProducer<Deliveries> = settings(config)
            .create_with_context(context)
            .map_err(|error| SinkError::Settings(error.to_string()))?;
        let outbox = config.spool.as_ref();
        let outbox = outbox.map(|spool| Outbox::open(spool, delivered, Arc::clone(&metrics)));
        let ask = |patience| topics(&client, config, patience);
        let partitions = spool_start::partitions(config, &codec, ask)?;
        client.context().connected.store(true, Ordering::Relaxed);
        Ok(Self {
            partitions,
            outbox: outbox.transpose()?,
            client,
            codec,
            metrics,
            events,
            dead_letters,
            flush_timeout: config.flush_timeout,
            received: None,
            stopping: Arc::default(),
            key: Vec::new(),
            value: Vec::new(),
        })
    }

    /// Set to true, it ends every wait for a full queue.
    pub fn stopping(&self) -> Arc<AtomicBool> {
        Arc::clone(&self.stopping)
    }

    /// Queues what a feed has just read: the time from there to Kafka's answer is measured.
    pub fn publish_live(&mut self, output: &Output) -> Result<(), SinkError> {
        self.received = output.received_at();
        let published = self.publish(output);
        self.received = None;
        published
    }

    /// Queues one output, waiting while the queue is full.
    pub fn publish(&mut self, output: &Output) -> Result<(), SinkError> {
        match output {
            Output::Event { pair, event } => self.event(pair, event),
            Output::Mark { exchange, mark } => {
                self.encode(&PairKey::feed(*exchange), mark);
                (0..self.partitions).try_for_each(|partition| {
                    self.send(Target::Partition(partition), exchange, Vec::new())
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
        self.send(Target::Key, exchange, Vec::new())
    }

    /// A key in the wire format.
    pub fn key(&self, pair: &PairKey) -> Vec<u8> {
        self.codec.to_bytes(pair)
    }

    /// Waits until the broker has everything that was queued. What it does not take in time is kept
    /// in the spool, if there is one, and is lost otherwise, which is an error.
    pub fn finish(&mut self) -> Result<(), SinkError> {
        let stopping = self.stopping.load(Ordering::Relaxed);
        let patience = if stopping { Duration::ZERO } else { self.flush_timeout };
        let kept = self.empty_spool(patience)?;
        if kept == 0 && self.client.flush(patience).is_ok() {
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
        let waiting = if kept > 0 { 0 } else { self.metrics.queue_messages.get() };
        let refused = self.metrics.delivery_failures.get();
        match (waiting, refused) {
            (0, 0) => Ok(()),
            (0, refused) => Err(SinkError::Refused(refused)),
            (waiting, _) => Err(SinkError::Undelivered(waiting)),
        }
    }

    /// Works on the spool until it is empty; how many records are left.
    fn empty_spool(&mut self, patience: Duration) -> Result<u64, SinkError> {
        let watch = Stopwatch::start();
        while self.pending() && watch.elapsed() < patience {
            self.idle()?;
        }
        let left = self.outbox.as_ref().map_or(0, Outbox::len);
        if left > 0 {
            tracing::warn!(records = left, "kept in the spool: the next start sends them");
        }
        Ok(left)
    }

    /// The spool holds something.
    pub fn pending(&self) -> bool {
        self.outbox.as_ref().is_some_and(|outbox| !outbox.is_empty())
    }

    /// Works on the spool for a moment, while there is nothing to publish.
    pub fn idle(&mut self) -> Result<(), SinkError> {
        if let Some(mut outbox) = self.outbox.take() {
            let pumped = self.pump(&mut outbox);
            self.outbox = Some(outbox);
            pumped?;
        }
        self.client.poll(FULL_WAIT);
        Ok(())
    }

    fn event<R: Record>(&mut self, pair: &PairKey, event: &R) -> Result<(), SinkError> {
        self.encode(pair, event);
        self.send(Target::Key, &pair.exchange, Vec::new())
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
        let length = letter.raw.len().to_string();
        self.send(Target::DeadLetters, letter.venue, headers(letter, &length))
    }

    /// Sends the key and value that stand in the buffers.
    fn send(
        &mut self,
        target: Target,
        venue: &str,
        headers: Vec<(&str, &str)>,
    ) -> Result<(), SinkError> {
        let outbox = self.outbox.take();
        let key: &[u8] = if target == Target::DeadLetters { &[] } else { &self.key };
        let parcel = Parcel { target, venue, key, value: &self.value, headers };
        let Some(mut outbox) = outbox else {
            return self.queue(&parcel);
        };
        let sent = self.spool(&mut outbox, &parcel);
        self.outbox = Some(outbox);
        sent
    }

    /// Queues a record, waiting while the queue is full.
    fn queue(&self, parcel: &Parcel<'_>) -> Result<(), SinkError> {
        while !self.offer(parcel, 0, self.received)? {
            if self.stopping.load(Ordering::Relaxed) {
                return Err(SinkError::Undelivered(self.metrics.queue_messages.get()));
            }
            self.wait();
        }
        Ok(())
    }

    fn wait(&self) {
        self.client.poll(FULL_WAIT);
        self.metrics.backpressure.inc_by(FULL_WAIT.as_secs_f64());
    }

    /// Puts a record into the spool, waiting while that is full, and marks the feed that had to wait.
    fn spool(&self, outbox: &mut Outbox, parcel: &Parcel<'_>) -> Result<(), SinkError> {
        let Some(stopped) = self.keep(outbox, parcel)? else {
            return self.pump(outbox);
        };
        let now = clock::now();
        let mark = FeedMark {
            gap_from: Some(stopped),
            gap_until: Some(Timestamp(now.0.max(stopped.0 + 1))),
            reason: "the spool was full and the feed was not read".into(),
            // Of the feed's clock it says nothing.
            ..FeedMark::healthy("sink", Timestamp(1), now)
        };
        let (key, value) =
            (self.codec.to_bytes(&PairKey::feed(parcel.venue)), self.codec.to_bytes(&mark));
        for partition in 0..self.partitions {
            let target = Target::Partition(partition);
            let venue = parcel.venue;
            let mark = Parcel { target, venue, key: &key, value: &value, headers: Vec::new() };
            self.keep(outbox, &mark)?;
        }
        self.pump(outbox)
    }

    /// Puts a record into the spool; since when that was full, if it was.
    fn keep(
        &self,
        outbox: &mut Outbox,
        parcel: &Parcel<'_>,
    ) -> Result<Option<Timestamp>, SinkError> {
        let mut full = None;
        while outbox.push(self.received.unwrap_or_else(clock::now), parcel)? == Push::Full {
            full.get_or_insert_with(clock::now);
            if self.stopping.load(Ordering::Relaxed) {
                return Err(SinkError::Undelivered(1));
            }
            self.pump(outbox)?;
            self.wait();
        }
        Ok(full)
    }

    /// Moves what the client's queue takes out of the spool, and lets go of what Kafka has.
    fn pump(&self, outbox: &mut Outbox) -> Result<(), SinkError> {
        while let Some(record) = outbox.head()? {
            let parcel = Parcel::read(&record.bytes).ok_or_else(|| {
                SinkError::Spool(format!("record {} is of another version", record.number))
            })?;
            if !self.offer(&parcel, record.number, Some(record.at))? {
                break;
            }
            outbox.sent();
        }
        outbox.settle(clock::now())
    }

    /// Offers a record to the client's queue; false when that is full.
    fn offer(
        &self,
        parcel: &Parcel<'_>,
        number: u64,
        received: Option<Timestamp>,
    ) -> Result<bool, SinkError> {
        let dead = parcel.target == Target::DeadLetters;
        let topic = if dead { &self.dead_letters } else { &self.events };
        let tag = Box::new(Tag { label: Label::of(parcel.venue).0, number, received });
        let mut record = BaseRecord::with_opaque_to(topic, tag).payload(parcel.value);
        if !dead {
            record = record.key(parcel.key);
        }
        if let Target::Partition(partition) = parcel.target {
            record = record.partition(partition);
        }
        if !parcel.headers.is_empty() {
            record = record.headers(kafka_headers(&parcel.headers));
        }
        // Before it is queued: the callback may be faster than the next line.
        let bytes = size(record.key, record.payload);
        self.metrics.queue_messages.inc();
        self.metrics.queue_bytes.add(bytes);
        let Err((error, _)) = self.client.send(record) else {
            return Ok(true);
        };
        self.metrics.queue_messages.dec();
        self.metrics.queue_bytes.sub(bytes);
        if error.rdkafka_error_code() == Some(RDKafkaErrorCode::QueueFull) {
            return Ok(false);
        }
        Err(self.refusal(&error))
    }

    fn refusal(&self, error: &KafkaError) -> SinkError {
        let fatal = self.client.client().fatal_error().map(|(_, reason)| reason);
        SinkError::Fatal(fatal.unwrap_or_else(|| error.to_string()))
    }
}

fn kafka_headers(fields: &[(&str, &str)]) -> OwnedHeaders {
    fields.iter().fold(OwnedHeaders::new(), |headers, &(key, value)| {
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
fn topics(
    client: &ThreadedProducer<Deliveries>,
    config: &SinkConfig,
    patience: Duration,
) -> Result<BTreeMap<String, i32>, SinkError> {
    let unreachable = |error: KafkaError| SinkError::Unreachable {
        address: config.bootstrap_servers.clone(),
        seconds: patience.as_secs(),
        reason: error.to_string(),
    };
    let metadata = client.client().fetch_metadata(None, patience).map_err(unreachable)?;
    let count = |topic: &rdkafka::metadata::MetadataTopic| i32::try_from(topic.partitions().len());
    let topics = metadata.topics().iter();
    Ok(topics.filter_map(|topic| Some((topic.name().to_owned(), count(topic).ok()?))).collect())
}

#[cfg(test)]
#[path = "sink_tests.rs"]
mod tests;
