//! The Kafka client of the sink: its settings, its first metadata request, and denied access.

use std::collections::BTreeMap;
use std::time::Duration;

use rdkafka::config::{ClientConfig, RDKafkaLogLevel};
use rdkafka::error::{KafkaError, RDKafkaErrorCode};
use rdkafka::producer::{Producer, ProducerContext, ThreadedProducer};
use streams::runtime::ConnectionRefusal;

use crate::clock::Stopwatch;
use crate::sink::config::{Result, SinkConfig, SinkError};

/// Between two looks at why no broker has answered.
const LOOK: Duration = Duration::from_millis(500);

/// The user lacks an ACL: no record of this topic is taken until a person adds it.
pub(crate) fn is_denied(error: &KafkaError) -> bool {
    error.rdkafka_error_code() == Some(RDKafkaErrorCode::TopicAuthorizationFailed)
}

/// The settings of the client.
pub(crate) fn settings(config: &SinkConfig) -> ClientConfig {
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
pub(crate) fn topics<C: ProducerContext>(
    client: &ThreadedProducer<C>,
    config: &SinkConfig,
    patience: Duration,
    denials: &ConnectionRefusal,
) -> Result<BTreeMap<String, i32>> {
    let watch = Stopwatch::start();
    let metadata = loop {
        let left = patience.saturating_sub(watch.elapsed());
        let address = config.bootstrap_servers.clone();
        match (client.client().fetch_metadata(None, left.min(LOOK)), denials.last()) {
            (Ok(metadata), _) => break metadata,
            // It would be tried again for as long as the client lives.
            (Err(_), Some(reason)) => return Err(SinkError::Denied { address, reason }),
            (Err(error), None) if left <= LOOK => {
                let (seconds, reason) = (patience.as_secs(), error.to_string());
                return Err(SinkError::Unreachable { address, seconds, reason });
            }
            (Err(_), None) => {}
        }
    };
    let count = |topic: &rdkafka::metadata::MetadataTopic| i32::try_from(topic.partitions().len());
    let topics = metadata.topics().iter();
    Ok(topics.filter_map(|topic| Some((topic.name().to_owned(), count(topic).ok()?))).collect())
}
