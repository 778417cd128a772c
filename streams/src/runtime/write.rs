//! Records written by a command-line tool, outside any task and transaction.

use std::sync::OnceLock;
use std::time::Duration;

use rdkafka::client::ClientContext;
use rdkafka::config::{ClientConfig, RDKafkaLogLevel};
use rdkafka::error::KafkaError;
use rdkafka::producer::{BaseProducer, BaseRecord, DeliveryResult, Producer as _, ProducerContext};

use super::{admin, errors};
use crate::error::{Error, Result};

/// After this time without an answer the command fails.
const TIMEOUT: Duration = Duration::from_secs(15);

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

/// Writes records and waits until the broker has them all.
pub fn write_records(
    bootstrap_servers: &str,
    settings: &[(String, String)],
    topic: &str,
    records: &[NewRecord],
) -> Result<()> {
    admin::check_access(bootstrap_servers, settings)?;
    let mut client = ClientConfig::new();
    client
        .set("bootstrap.servers", bootstrap_servers)
        .set("enable.idempotence", "true")
        .set("message.timeout.ms", TIMEOUT.as_millis().to_string());
    for (name, value) in settings {
        client.set(name, value);
    }
    let producer: BaseProducer<Deliveries> =
        client.create_with_context(Deliveries::default()).map_err(errors::setting)?;
    let failed = |error: &KafkaError| {
        let way_out = error.rdkafka_error_code().and_then(errors::way_out);
        Error::Unavailable(match way_out {
            Some(way_out) => format!("nothing is written to {topic}: {error}; {way_out}"),
            None => format!(
                "the records were not all written to {topic}: {error}; is Kafka at \
                 {bootstrap_servers}? it is safe to repeat the command"
            ),
        })
    };
    for record in records {
        let new = BaseRecord::to(topic).partition(record.partition);
        let new = new.key(&record.key).payload(&record.value);
        producer.send(new).map_err(|(error, _)| failed(&error))?;
    }
    // Deliveries fail before the wait is over.
    producer.flush(TIMEOUT * 2).map_err(|error| failed(&error))?;
    producer.context().0.get().map_or(Ok(()), |error| Err(failed(error)))
}
