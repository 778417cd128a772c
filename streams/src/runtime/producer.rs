//! The producing side of a commit: everything a commit holds, in one transaction.
//!
//! ```text
//! begin ► produce ► flush ► send_offsets ► commit
//! ```
//!
//! A producer that failed is dropped. The next one's `init_transactions` aborts its open transaction.

use std::cell::Cell;
use std::sync::OnceLock;
use std::time::{Duration, Instant};

use rdkafka::client::ClientContext;
use rdkafka::config::{ClientConfig, RDKafkaLogLevel};
use rdkafka::consumer::ConsumerGroupMetadata;
use rdkafka::error::{KafkaError, KafkaResult, RDKafkaErrorCode};
use rdkafka::message::{Header, Message as _, OwnedHeaders};
use rdkafka::producer::{BaseProducer, BaseRecord, DeliveryResult, Producer, ProducerContext};
use rdkafka::topic_partition_list::TopicPartitionList;

use super::clock;
use super::config::{AppConfig, Guarantee};
use super::dead_letter_limit::{CutStep, DeadLetterLimit, REFUSALS};
use super::errors::{self, Transactional};
use super::librdkafka::{self, TopicHandle};
use super::lost_offsets;
use crate::dead_letter::{Cut, cut};
use crate::error::{Error, Result};
use crate::partitioner;
use crate::record::{RepartitionRecord, SubTopologyId, TaskId};
use crate::task::{Commit, DeadLetter};
use crate::topology::{SubTopology, Topology};

/// A single call of the transaction protocol.
const CALL_TIMEOUT: Duration = Duration::from_secs(10);
/// The same call again, at most so often: about a minute with the time-outs.
const MAX_RETRIES: usize = 6;
/// Between two attempts of a call.
const RETRY_PAUSE: Duration = Duration::from_millis(100);
/// One round of waiting for deliveries.
const FLUSH_STEP: Duration = Duration::from_millis(100);
/// Longer than a commit takes to hand its records over; no more than half of the time to deliver them.
const LINGER: Duration = Duration::from_millis(500);
/// Records in librdkafka's queue: a commit hands over all of its own at once.
const QUEUE_RECORDS: &str = "500000";
/// The same in KiB.
const QUEUE_KIB: &str = "262144";

#[derive(Default)]
struct Context {
    /// The topic of the first of the records that were not delivered, and why it was not.
    undelivered: OnceLock<(String, KafkaError)>,
}

impl ClientContext for Context {
    fn log(&self, level: RDKafkaLogLevel, facility: &str, message: &str) {
        errors::log(level, facility, message);
    }

    fn error(&self, error: KafkaError, reason: &str) {
        tracing::warn!(%error, reason, "producer client error");
    }
}

impl ProducerContext for Context {
    type DeliveryOpaque = ();

    fn delivery(&self, result: &DeliveryResult<'_>, (): ()) {
        if let Err((error, record)) = result {
            let topic = record.topic();
            tracing::warn!(topic, %error, "a record was not delivered");
            let _ = self.undelivered.set((topic.to_owned(), error.clone()));
        }
    }
}

/// The topics of one sub-topology.
struct Outputs {
    source: String,
    /// Partitions of the source.
    partitions: i32,
    stores: Vec<(String, TopicHandle)>,
    sinks: Vec<TopicHandle>,
    repartitions: Vec<SubTopologyId>,
}

impl Outputs {
    fn new(producer: &BaseProducer<Context>, shape: &SubTopology, partitions: i32) -> Result<Self> {
        let topic = |name: &str| TopicHandle::new(producer.client(), name);
        let store = |topic_of: &str| Ok((topic_of.to_owned(), topic(topic_of)?));
        Ok(Self {
            source: shape.source().to_owned(),
            partitions,
            stores: shape.stores().iter().map(|one| store(&one.topic)).collect::<Result<_>>()?,
            sinks: shape.sinks().iter().map(|name| topic(name)).collect::<Result<_>>()?,
            repartitions: shape.repartitions().to_vec(),
        })
    }
}

/// Writes commits.
pub(super) struct OutputProducer {
    // Dropped in this order: handles must go before their client.
    /// By sub-topology.
    outputs: Vec<Outputs>,
    producer: BaseProducer<Context>,
    dead_letters_topic: String,
    letters: DeadLetterLimit,
    /// How much of a dead letter was taken when this producer was made.
    step: CutStep,
    guarantee: Guarantee,
    delivery_timeout: Duration,
    /// When the commit under way began.
    began: Cell<Instant>,
}

impl OutputProducer {
    /// A producer whose earlier incarnation, if any, is fenced from here on. `partitions` of the sources,
    /// by sub-topology.
    pub(super) fn new(
        config: &AppConfig,
        topology: &Topology,
        partitions: &[i32],
        letters: &DeadLetterLimit,
        transactional_id: &str,
    ) -> Result<Self> {
        // Deliveries must have failed before the transaction may time out.
        let delivery_timeout = config.transaction_timeout * 4 / 5;
        let mut client = ClientConfig::new();
        client
            .set("bootstrap.servers", &config.bootstrap_servers)
            .set("client.id", transactional_id)
            .set("enable.idempotence", "true")
            .set("compression.type", "lz4")
            // The flush of a commit sends, not the clock: what a task writes leaves in one batch, and
            // the client's thread sleeps in between.
            .set("linger.ms", LINGER.min(delivery_timeout / 2).as_millis().to_string())
            .set("queue.buffering.max.messages", QUEUE_RECORDS)
            .set("queue.buffering.max.kbytes", QUEUE_KIB)
            // Offsets are sent to a group's coordinator without regard to the call's timeout: when it
            // has died, the client looks for the next one once the state of any connection changes
            // (librdkafka#5456, #5511). One that is closed because nothing happens is such a change.
            .set("connections.max.idle.ms", CALL_TIMEOUT.as_millis().to_string())
            .set("message.timeout.ms", delivery_timeout.as_millis().to_string())
            // A report for each delivered record costs more than the record.
            .set("delivery.report.only.error", "true");
        if config.processing_guarantee == Guarantee::ExactlyOnceV2 {
            let timeout = config.transaction_timeout.as_millis().to_string();
            client.set("transactional.id", transactional_id).set("transaction.timeout.ms", timeout);
        }
        for (name, value) in &config.kafka {
            client.set(name, value);
        }
        let producer: BaseProducer<Context> =
            client.create_with_context(Context::default()).map_err(errors::setting)?;
        let outputs = topology.sub_topologies().iter().zip(partitions);
        let outputs = outputs.map(|(shape, count)| Outputs::new(&producer, shape, *count));
        let this = Self {
            outputs: outputs.collect::<Result<_>>()?,
            dead_letters_topic: config.dead_letters_topic.clone(),
            letters: letters.clone(),
            step: letters.step(),
            guarantee: config.processing_guarantee,
            delivery_timeout,
            began: Cell::new(clock::instant()),
            producer,
        };
        if this.is_transactional() {
            this.call("init_transactions", || this.producer.init_transactions(CALL_TIMEOUT))?;
        }
        Ok(this)
    }

    fn is_transactional(&self) -> bool {
        self.guarantee == Guarantee::ExactlyOnceV2
    }

    /// Opens a transaction.
    pub(super) fn begin(&self) -> Result<()> {
        self.began.set(clock::instant());
        if self.is_transactional() {
            self.call("begin_transaction", || self.producer.begin_transaction())?;
        }
        Ok(())
    }

    /// Hands over all records of one task's commit.
    pub(super) fn produce(&self, task: TaskId, commit: &Commit) -> Result<()> {
        let (outputs, partition) = (&self.outputs[task.sub_topology.0], task.partition.0);
        let consumed = commit.consumed.as_ref().map(lost_offsets::encode);
        for ((name, topic), changes) in outputs.stores.iter().zip(&commit.changes) {
            let mut records = changes.iter().map(|change| (change.topic_key, change.value));
            // The last record carries the position of the source in a header.
            let Some(consumed) = &consumed else {
                self.give(topic, partition, records)?;
                continue;
            };
            let before = records.by_ref().take(changes.len().saturating_sub(1));
            self.give(topic, partition, before)?;
            if let Some((key, value)) = records.next() {
                self.give_last(name, partition, (key, value), consumed)?;
            }
        }
        for (topic, records) in outputs.sinks.iter().zip(&commit.outputs) {
            let records = records.iter().map(|out| (out.key.as_slice(), out.value.as_deref()));
            self.give(topic, partition, records)?;
        }
        for (target, records) in outputs.repartitions.iter().zip(&commit.repartitioned) {
            records.iter().try_for_each(|record| self.repartition(*target, record))?;
        }
        commit.dead_letters.iter().try_for_each(|letter| self.bury(task, letter))
    }

    /// Hands over one record of a repartition topic, with the time of its event. librdkafka's batch call
    /// has no timestamps.
    fn repartition(&self, target: SubTopologyId, one: &RepartitionRecord) -> Result<()> {
        let Outputs { source, partitions, .. } = &self.outputs[target.0];
        let partition = partitioner::partition(&one.record.key, *partitions).0;
        self.send(|| {
            let mut record = BaseRecord::<[u8], [u8]>::to(source)
                .partition(partition)
                .timestamp(one.timestamp.0)
                .key(&one.record.key);
            record.payload = one.record.value.as_deref();
            record
        })
    }

    /// Hands over one record, which `record` makes again while there is no room for it.
    fn send<'a>(&self, record: impl Fn() -> BaseRecord<'a, [u8], [u8]>) -> Result<()> {
        loop {
            match self.producer.send(record()) {
                Ok(()) => return Ok(()),
                Err((KafkaError::MessageProduction(RDKafkaErrorCode::QueueFull), _)) => {
                    self.make_room()?;
                }
                Err((error, _)) => return Err(self.failed(error)),
            }
        }
    }

    fn give<'a>(
        &self,
        topic: &TopicHandle,
        partition: i32,
        records: impl Iterator<Item = (&'a [u8], Option<&'a [u8]>)>,
    ) -> Result<()> {
        topic.produce(partition, records, |code| match code {
            RDKafkaErrorCode::QueueFull => self.make_room(),
            code => Err(self.failed(KafkaError::MessageProduction(code))),
        })
    }

    /// Hands over one record with the source's position in a header.
    fn give_last(
        &self,
        topic: &str,
        partition: i32,
        (key, value): (&[u8], Option<&[u8]>),
        consumed: &str,
    ) -> Result<()> {
        self.send(|| {
            let header = Header { key: lost_offsets::HEADER, value: Some(consumed) };
            let headers = OwnedHeaders::new().insert(header);
            let mut record =
                BaseRecord::<[u8], [u8]>::to(topic).partition(partition).key(key).headers(headers);
            record.payload = value;
            record
        })
    }

    /// Writes a record to the dead letters with its position and reason, cut to the limit.
    fn bury(&self, task: TaskId, letter: &DeadLetter) -> Result<()> {
        let (topic, partition) = (&self.outputs[task.sub_topology.0].source, task.partition.0);
        let mut step = self.step;
        while let Some(limit) = step.limit().filter(|_| self.has_time_for(step)) {
            let cut = cut(&letter.key, letter.value.as_deref(), limit);
            match self.producer.send(self.letter(topic, partition, letter, &cut)) {
                Ok(()) if step.is_alone() => return self.flush(),
                Ok(()) => return Ok(()),
                Err((KafkaError::MessageProduction(code), _)) => match code {
                    RDKafkaErrorCode::QueueFull => self.make_room()?,
                    // The client's own bound: nothing was sent, and no transaction is lost.
                    RDKafkaErrorCode::MessageSizeTooLarge => step = step.next(),
                    code => return Err(self.failed(KafkaError::MessageProduction(code))),
                },
                Err((error, _)) => return Err(self.failed(error)),
            }
        }
        self.letters.give_up(topic, partition, letter);
        Ok(())
    }

    /// Dead letters that are sent one by one take at most half of a commit's time: many of them would
    /// make every transaction time out.
    fn has_time_for(&self, step: CutStep) -> bool {
        !step.is_alone() || self.began.get().elapsed() < self.delivery_timeout / 2
    }

    fn letter<'a>(
        &'a self,
        topic: &str,
        partition: i32,
        letter: &DeadLetter,
        cut: &Cut<'a>,
    ) -> BaseRecord<'a, [u8], [u8]> {
        let position = [partition.to_string(), letter.offset.to_string()];
        let known = [
            ("topic", topic),
            ("partition", &position[0]),
            ("offset", &position[1]),
            ("reason", letter.reason),
        ];
        let whole = cut.headers.iter().map(|(name, value)| (*name, value.as_str()));
        let headers =
            known.into_iter().chain(whole).fold(OwnedHeaders::new(), |all, (key, value)| {
                all.insert(Header { key, value: Some(value) })
            });
        let mut record = BaseRecord::to(&self.dead_letters_topic)
            .partition(partition)
            .key(cut.key)
            .headers(headers);
        record.payload = cut.value;
        record
    }

    fn make_room(&self) -> Result<()> {
        self.producer.poll(Duration::from_millis(1));
        self.check_deliveries()
    }

    fn check_deliveries(&self) -> Result<()> {
        let undelivered = self.producer.context().undelivered.get();
        undelivered.map_or(Ok(()), |(_, error)| Err(self.failed(error.clone())))
    }

    /// The cause of a failed record. A lost transaction fails every record and gives its reason only to
    /// another call.
    fn failed(&self, error: KafkaError) -> Error {
        let error = self.reason().unwrap_or(error);
        let code = error.rdkafka_error_code();
        if code.is_some_and(|code| REFUSALS.contains(&code)) && self.is_of_dead_letters() {
            self.letters.refused_at(self.step);
            return Error::Unavailable(format!(
                "topic {} refuses dead letters: {error}; less of each is written from here on, and \
                 a larger max.message.bytes of the topic keeps more",
                self.dead_letters_topic
            ));
        }
        errors::plain(error)
    }

    fn reason(&self) -> Option<KafkaError> {
        let lost = self.is_transactional().then(|| self.producer.begin_transaction().err())??;
        Some(lost).filter(|lost| lost.rdkafka_error_code() != Some(RDKafkaErrorCode::State))
    }

    /// The first undelivered record is a dead letter. librdkafka reports the record a moment after the
    /// loss of the transaction.
    fn is_of_dead_letters(&self) -> bool {
        let undelivered = &self.producer.context().undelivered;
        if undelivered.get().is_none() {
            self.producer.poll(FLUSH_STEP);
        }
        undelivered.get().is_some_and(|(topic, _)| *topic == self.dead_letters_topic)
    }

    /// Waits until everything handed over is delivered.
    pub(super) fn flush(&self) -> Result<()> {
        let started = clock::instant();
        while !librdkafka::flush(self.producer.client(), FLUSH_STEP) {
            self.producer.poll(Duration::ZERO);
            self.check_deliveries()?;
            if started.elapsed() > self.delivery_timeout + CALL_TIMEOUT {
                return Err(Error::Unavailable(format!(
                    "records were not delivered in {:?}: check the brokers",
                    started.elapsed()
                )));
            }
        }
        self.producer.poll(Duration::ZERO);
        self.check_deliveries()
    }

    /// Ties the consumed offsets to the open transaction.
    pub(super) fn send_offsets(
        &self,
        offsets: &TopicPartitionList,
        group: &ConsumerGroupMetadata,
    ) -> Result<()> {
        self.call("send_offsets_to_transaction", || {
            self.producer.send_offsets_to_transaction(offsets, group, CALL_TIMEOUT)
        })
    }

    /// Commits the open transaction.
    pub(super) fn commit(&self) -> Result<()> {
        let call = || self.producer.commit_transaction(CALL_TIMEOUT);
        self.call("commit_transaction", call).map_err(|error| match error {
            // The broker may have committed it: the restore finds out.
            Error::Unavailable(reason) => Error::Indeterminate(reason),
            error => error,
        })
    }

    fn call(&self, name: &str, call: impl Fn() -> KafkaResult<()>) -> Result<()> {
        let mut last = String::new();
        for _ in 0..MAX_RETRIES {
            match call() {
                Ok(()) => return Ok(()),
                Err(error) => match errors::transactional(&error) {
                    Transactional::Retry(reason) => {
                        tracing::info!(call = name, error = %reason, "a call is tried again");
                        last = reason;
                        self.producer.poll(Duration::ZERO);
                        clock::wait(RETRY_PAUSE);
                    }
                    Transactional::Failed(error) => return Err(error),
                },
            }
        }
        Err(Error::Unavailable(format!("{name} after {MAX_RETRIES} attempts: {last}")))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::topology::Builder;

    /// An address without a server: no test of this module connects.
    const NOBODY: &str = "127.0.0.1:1";

    fn config() -> AppConfig {
        // Only with this guarantee it is made without a broker.
        let processing_guarantee = Guarantee::AtLeastOnce;
        AppConfig { processing_guarantee, ..AppConfig::new("test", NOBODY, "unused", "dead") }
    }

    fn producer() -> Result<OutputProducer> {
        let topology = Topology::new(|builder: &mut Builder| {
            let _ = builder.source("words", |_| Ok(()));
        });
        let refused = prometheus::IntCounter::new("refused", "Refused.");
        let letters =
            DeadLetterLimit::new(refused.map_err(|error| Error::Invalid(error.to_string()))?);
        OutputProducer::new(&config(), &topology?, &[1], &letters, "test")
    }

    /// An error as librdkafka gives it when the same call may be made again.
    fn retriable() -> KafkaError {
        let producer: BaseProducer = ClientConfig::new()
            .set("bootstrap.servers", NOBODY)
            .set("transactional.id", "test")
            .create()
            .expect("a client needs no broker");
        producer.init_transactions(Duration::from_millis(1)).expect_err("nobody answers")
    }

    #[test]
    fn a_call_is_made_again_so_often_and_no_more() -> Result<()> {
        let (producer, error, calls) = (producer()?, retriable(), Cell::new(0));
        let result = producer.call("name", || {
            calls.set(calls.get() + 1);
            Err(error.clone())
        });
        assert_eq!(calls.get(), MAX_RETRIES);
        let Err(Error::Unavailable(said)) = result else { panic!("{result:?}") };
        assert!(said.starts_with("name after 6 attempts: "), "{said}");
        Ok(())
    }

    #[test]
    fn a_call_that_succeeds_is_not_made_again() -> Result<()> {
        let (producer, error, calls) = (producer()?, retriable(), Cell::new(0));
        producer.call("name", || {
            calls.set(calls.get() + 1);
            if calls.get() < 3 { Err(error.clone()) } else { Ok(()) }
        })?;
        assert_eq!(calls.get(), 3);
        Ok(())
    }

    #[test]
    fn a_call_that_cannot_succeed_is_made_once() -> Result<()> {
        let (producer, calls) = (producer()?, Cell::new(0));
        let result = producer.call("name", || {
            calls.set(calls.get() + 1);
            Err(KafkaError::MessageProduction(RDKafkaErrorCode::ProducerFenced))
        });
        assert_eq!(calls.get(), 1);
        assert!(matches!(result, Err(Error::Fenced(_))), "{result:?}");
        Ok(())
    }
}
