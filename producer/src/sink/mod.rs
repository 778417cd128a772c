//! Publishing to Kafka. Only the files of this folder name its client.
//!
//! ```text
//! Output ─ encode ─→ librdkafka's queue (bounded) ─ lz4, idempotent, acks=all ─→ broker
//!            │    ▲      │ full: wait, count, never drop             │
//!            ▼    │      └──────── delivery callbacks: counted ◀─────┘
//!       spool, with --spool-dir (disk, bounded)
//! ```
//!
//! Invariants:
//! - A record stays in the queue until the broker acknowledges or refuses it. There is no delivery
//!   timeout: an outage of any length loses nothing.
//! - A refused record becomes a dead letter (`refused.rs`), and leaves the spool once Kafka has
//!   that.
//! - [`Sink::publish`] waits while the queue is full. It returns without queueing only when the
//!   process stops or the client has failed for good.
//! - With a spool every record passes through it, so order is kept. Then only a full spool makes
//!   publishing wait, and the exchange's feed is marked after such a wait.
//! - Keys are partitioned by murmur2, as Java clients do. Records carry the time of publishing, not
//!   of the event: retention counts from it.
//!
//! Every call blocks; a live feed calls from a thread of its own.

mod client;
pub mod config;
mod deliveries;
pub mod outbox;
pub mod parcel;
mod publish;
mod refused;
pub mod spool;
pub mod start;

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use rdkafka::error::{KafkaError, RDKafkaErrorCode};
use rdkafka::message::{Header, OwnedHeaders};
use rdkafka::producer::{BaseRecord, Producer, ThreadedProducer};
use schemas::topic::Topic;
use schemas::{Codec, FeedMark, PairKey, Timestamp};

use self::client::{settings, topics};
use self::config::{Result, SinkConfig, SinkError};
use self::deliveries::{Deliveries, size};
use self::outbox::{Delivered, Outbox};
use self::parcel::{PairTopic, Parcel, Tag, Target};
use self::refused::{Refused, Remedy};
use self::spool::Push;
use self::start::Partitions;
use crate::clock::{self, Stopwatch};
use crate::labels::{EXCHANGES, REFUSED};
use crate::metrics::Metrics;

/// The wait of a full queue before the next try.
const FULL_WAIT: Duration = Duration::from_millis(5);

/// Waits of [`FULL_WAIT`] for the callbacks of records that are delivered: a second.
const CALLBACK_WAITS: u32 = 200;

/// The longest wait until the client has nothing in its hands, before and after a record is sent
/// alone. A broker that is away takes longer: the record may then be refused with others again.
const ALONE_WAIT: Duration = Duration::from_secs(1);

/// Publishes to the topics of one installation.
pub struct Sink {
    client: ThreadedProducer<Deliveries>,
    address: String,
    codec: Codec,
    metrics: Arc<Metrics>,
    /// The names of the topics of pairs, in the order of [`PairTopic::ALL`].
    topics: [String; PairTopic::ALL.len()],
    dead_letters: String,
    partitions: Partitions,
    flush_timeout: Duration,
    outbox: Option<Outbox>,
    /// The receive time of the record that is being published.
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
    pub fn connect(config: &SinkConfig, codec: Codec, metrics: Arc<Metrics>) -> Result<Self> {
        let dead_letters = Topic::DeadLetters.name(&config.topic_prefix);
        let delivered = Delivered::default();
        let context = Deliveries::new(Arc::clone(&metrics), delivered.clone());
        let client: ThreadedProducer<Deliveries> = settings(config)
            .create_with_context(context)
            .map_err(|error| SinkError::Settings(error.to_string()))?;
        let outbox = config.spool.as_ref();
        let outbox = outbox.map(|spool| Outbox::open(spool, delivered, Arc::clone(&metrics)));
        let ask = |patience| topics(&client, config, patience, &client.context().denials);
        let partitions = start::partitions(config, &codec, ask)?;
        client.context().connected.store(true, Ordering::Relaxed);
        // Later errors of the connections heal or come again.
        client.context().denials.take();
        Ok(Self {
            address: config.bootstrap_servers.clone(),
            partitions,
            outbox: outbox.transpose()?,
            client,
            codec,
            metrics,
            topics: PairTopic::ALL.map(|topic| topic.topic().name(&config.topic_prefix)),
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

    /// Waits until the broker has everything that was queued. What it does not take in time is kept
    /// in the spool, if there is one, and is lost otherwise, which is an error.
    pub fn finish(&mut self) -> Result<()> {
        let stopping = self.stopping.load(Ordering::Relaxed);
        let patience = if stopping { Duration::ZERO } else { self.flush_timeout };
        let kept = self.empty_spool(patience)?;
        if kept == 0 && self.flush(patience)? {
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
        self.check_denials()?;
        let refusals = i64::try_from(self.client.context().refusals.len()).unwrap_or(i64::MAX);
        let waiting =
            if kept > 0 { 0 } else { self.metrics.queue_messages.get().saturating_add(refusals) };
        let refused = self.metrics.undeliverable.get();
        match (waiting, refused) {
            (0, 0) => Ok(()),
            (0, refused) => Err(SinkError::Refused(refused)),
            (waiting, _) => Err(SinkError::Undelivered(waiting)),
        }
    }

    /// Waits until the client has nothing in its hands and nothing is refused; false when that takes
    /// longer.
    fn flush(&self, patience: Duration) -> Result<bool> {
        let watch = Stopwatch::start();
        loop {
            let left = patience.saturating_sub(watch.elapsed());
            if self.client.flush(left).is_err() {
                return Ok(false);
            }
            if self.client.context().refusals.is_empty() {
                return Ok(true);
            }
            self.remedy(None)?;
        }
    }

    /// Works on the spool until it is empty; how many records are left.
    fn empty_spool(&mut self, patience: Duration) -> Result<u64> {
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
    pub fn idle(&mut self) -> Result<()> {
        if let Some(mut outbox) = self.outbox.take() {
            let pumped = self.pump(&mut outbox);
            self.outbox = Some(outbox);
            pumped?;
        }
        self.client.poll(FULL_WAIT);
        Ok(())
    }

    /// Sends the key and value that stand in the buffers.
    fn send(&mut self, target: Target, venue: &str, headers: Vec<(&str, &str)>) -> Result<()> {
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
    fn queue(&self, parcel: &Parcel<'_>) -> Result<()> {
        self.remedy(None)?;
        while !self.offer(parcel, Tag::of(parcel, 0, self.received))? {
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
    /// Books need no mark: a venue that drops a slow connection ends it, and a lost frame breaks the
    /// proof of its book. Tickers need none either: each one is the whole state. A chain has no mark:
    /// its feed asks the node for what it missed.
    fn spool(&self, outbox: &mut Outbox, parcel: &Parcel<'_>) -> Result<()> {
        let stopped = self.keep(outbox, parcel)?;
        let Some(stopped) = stopped.filter(|_| parcel.venue != venues::ethereum::NAME) else {
            return self.pump(outbox);
        };
        let now = clock::now();
        let mark = FeedMark {
            gap_from: Some(stopped),
            gap_until: Some(Timestamp(now.0.max(stopped.0 + 1))),
            reason: "the spool was full and the feed was not read".into(),
            // The mark does not concern the feed's clock.
            ..FeedMark::healthy("sink", Timestamp(1), now)
        };
        let (key, value) =
            (self.codec.to_bytes(&PairKey::feed(parcel.venue)), self.codec.to_bytes(&mark));
        for partition in 0..self.partitions.events {
            let target = Target::Partition(PairTopic::Events, partition);
            let venue = parcel.venue;
            let mark = Parcel { target, venue, key: &key, value: &value, headers: Vec::new() };
            self.keep(outbox, &mark)?;
        }
        self.pump(outbox)
    }

    /// Puts a record into the spool; since when that was full, if it was.
    fn keep(&self, outbox: &mut Outbox, parcel: &Parcel<'_>) -> Result<Option<Timestamp>> {
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

    /// Moves spooled records to the client's queue, and releases acknowledged ones.
    fn pump(&self, outbox: &mut Outbox) -> Result<()> {
        self.remedy(Some(outbox))?;
        while let Some(record) = outbox.head()? {
            let parcel = Parcel::read(&record.bytes).ok_or_else(|| {
                SinkError::Spool(format!("record {} is of another version", record.number))
            })?;
            if !self.offer(&parcel, Tag::of(&parcel, record.number, Some(record.at)))? {
                break;
            }
            outbox.sent();
        }
        outbox.settle(clock::now())
    }

    /// Does what can be done about what Kafka has refused.
    fn remedy(&self, outbox: Option<&Outbox>) -> Result<()> {
        let refusals = &self.client.context().refusals;
        while let Some(refused) = refusals.pop() {
            let before = refused.clone();
            let sent = match refused.remedy() {
                Remedy::Again(again) => {
                    let is_alone = self.client.flush(ALONE_WAIT).is_ok();
                    let sent = self.offer(&again.parcel(), again.tag)?;
                    if is_alone {
                        // A timeout is no error: the next record is then sent with it.
                        let _ = self.client.flush(ALONE_WAIT);
                    }
                    sent
                }
                Remedy::Letter(letter) => {
                    let sent = self.offer(&letter.parcel(), letter.tag)?;
                    if sent {
                        self.metrics.delivery_failures.inc();
                        let labels = [EXCHANGES[letter.tag.label], REFUSED];
                        self.metrics.dead_letters.with_label_values(&labels).inc();
                        tracing::error!(
                            error = before.detail,
                            bytes = before.value.len(),
                            "kafka refused a record: it goes to the dead letters"
                        );
                    }
                    sent
                }
                Remedy::GiveUp(refused) => self.give_up(&refused, outbox)?,
            };
            if !sent {
                refusals.push_front(before);
                break;
            }
        }
        Ok(())
    }

    /// The record cannot be published in any form: it is kept beside the spool, if there is one.
    fn give_up(&self, refused: &Refused, outbox: Option<&Outbox>) -> Result<bool> {
        let keep = |outbox: &Outbox| outbox.keep(refused.tag.number, &refused.parcel());
        let kept = outbox.map_or(Ok(None), keep)?;
        self.metrics.undeliverable.inc();
        tracing::error!(
            error = refused.detail, headers = ?refused.headers,
            ?kept,
            "kafka refused a dead letter: correct the topic's max.message.bytes or its access"
        );
        Ok(true)
    }

    /// Offers a record to the client's queue; false when that is full.
    fn offer(&self, parcel: &Parcel<'_>, tag: Tag) -> Result<bool> {
        self.check_denials()?;
        let topic = match parcel.target {
            Target::DeadLetters => &self.dead_letters,
            Target::Key(topic) | Target::Partition(topic, _) => &self.topics[topic as usize],
        };
        let mut record = BaseRecord::with_opaque_to(topic, Box::new(tag)).payload(parcel.value);
        if parcel.target != Target::DeadLetters || !parcel.key.is_empty() {
            record = record.key(parcel.key);
        }
        if let Target::Partition(_, partition) = parcel.target {
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
        match error.rdkafka_error_code() {
            Some(RDKafkaErrorCode::QueueFull) => Ok(false),
            Some(RDKafkaErrorCode::MessageSizeTooLarge) => {
                let refused = Refused::by_client(parcel, tag, error.to_string());
                self.client.context().refusals.push(refused);
                Ok(true)
            }
            _ => Err(self.refusal(&error)),
        }
    }

    /// A topic that this user may not write to takes no record, whatever is sent.
    fn check_denials(&self) -> Result<()> {
        match self.client.context().denials.last() {
            Some(reason) => Err(SinkError::Denied { address: self.address.clone(), reason }),
            None => Ok(()),
        }
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

#[cfg(test)]
#[path = "tests.rs"]
mod tests;
