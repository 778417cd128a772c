//! Records written by a command-line tool, outside any task and transaction.

use std::sync::OnceLock;
use std::time::Duration;

use rdkafka::client::ClientContext;
use rdkafka::config::RDKafkaLogLevel;
use rdkafka::error::{KafkaError, RDKafkaErrorCode};
use rdkafka::producer::{BaseProducer, BaseRecord, DeliveryResult, Producer as _, ProducerContext};

use super::{admin, errors};
use crate::error::{Error, Result};

/// After this time without an answer the command fails.
const TIMEOUT: Duration = Duration::from_secs(15);
/// Between two looks for room in the queue.
const ROOM: Duration = Duration::from_millis(100);

/// A record to be written.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NewRecord {
    /// Where.
    pub partition: i32,
    /// In the wire format.
    pub key: Vec<u8>,
    /// In the wire format.
    pub value: Vec<u8>,
}

#[derive(Default)]
struct Deliveries(OnceLock<KafkaError>);

impl ClientContext for Deliveries {
    fn log(&self, level: RDKafkaLogLevel, facility: &str, message: &str) {
        errors::log(level, facility, message);
    }
}

impl ProducerContext for Deliveries {
    type DeliveryOpaque = ();

    fn delivery(&self, result: &DeliveryResult<'_>, (): ()) {
        if let Err((error, _)) = result {
            let _ = self.0.set(error.clone());
        }
    }
}

/// A producer of one topic. Its first failure is the answer of every later call.
pub(super) struct Writer<'a> {
    bootstrap_servers: &'a str,
    topic: &'a str,
    producer: BaseProducer<Deliveries>,
}

impl<'a> Writer<'a> {
    /// A producer without a transaction.
    pub(super) fn new(
        bootstrap_servers: &'a str,
        settings: &[(String, String)],
        topic: &'a str,
    ) -> Result<Self> {
        admin::check_access(bootstrap_servers, settings)?;
        let mut client = admin::settings(bootstrap_servers, settings);
        client
            .set("enable.idempotence", "true")
            .set("message.timeout.ms", TIMEOUT.as_millis().to_string());
        let producer = client.create_with_context(Deliveries::default());
        Ok(Self { bootstrap_servers, topic, producer: producer.map_err(errors::setting)? })
    }

    /// Hands over one record, which `record` makes again while the queue has no room. A record in the
    /// queue is delivered or fails within [`TIMEOUT`], so the wait ends.
    pub(super) fn write<'r>(&self, record: impl Fn() -> BaseRecord<'r, [u8], [u8]>) -> Result<()> {
        loop {
            self.check()?;
            match self.producer.send(record()) {
                Ok(()) => return Ok(()),
                Err((KafkaError::MessageProduction(RDKafkaErrorCode::QueueFull), _)) => {
                    self.producer.poll(ROOM);
                }
                Err((error, _)) => return Err(self.failed(&error)),
            }
        }
    }

    /// Waits until the broker has every record.
    pub(super) fn finish(&self) -> Result<()> {
        // Deliveries fail before the wait is over.
        self.producer.flush(TIMEOUT * 2).map_err(|error| self.failed(&error))?;
        self.check()
    }

    fn check(&self) -> Result<()> {
        self.producer.context().0.get().map_or(Ok(()), |error| Err(self.failed(error)))
    }

    fn failed(&self, error: &KafkaError) -> Error {
        let way_out = error.rdkafka_error_code().and_then(errors::way_out);
        let Self { bootstrap_servers, topic, .. } = self;
        Error::Unavailable(match way_out {
            Some(way_out) => format!("nothing is written to {topic}: {error}; {way_out}"),
            None => format!(
                "the records were not all written to {topic}: {error}; is Kafka at \
                 {bootstrap_servers}? it is safe to repeat the command"
            ),
        })
    }
}

/// Writes records and waits until the broker has them all.
pub fn write_records(
    bootstrap_servers: &str,
    settings: &[(String, String)],
    topic: &str,
    records: &[NewRecord],
) -> Result<()> {
    let writer = Writer::new(bootstrap_servers, settings, topic)?;
    for record in records {
        writer.write(|| {
            let new = BaseRecord::<[u8], [u8]>::to(topic).partition(record.partition);
            new.key(&record.key).payload(&record.value)
        })?;
    }
    writer.finish()
}
