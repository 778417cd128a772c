//! Topics read from their beginning to what is their end now, record by record.
//!
//! Millions of records go through: nothing is kept here, and each partition's come in order.

use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, ensure};
use rdkafka::config::ClientConfig;
use rdkafka::consumer::{BaseConsumer, Consumer as _};
use rdkafka::error::KafkaError;
use rdkafka::message::Message as _;
use rdkafka::topic_partition_list::{Offset, TopicPartitionList};

/// One answer of the broker.
const ANSWER: Duration = Duration::from_secs(20);
/// Without a record for so long, a topic cannot be read to its end.
const STALLED: Duration = Duration::from_mins(1);

/// Which records are seen.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Isolation {
    /// All of them.
    Uncommitted,
    /// Those whose transaction was committed.
    Committed,
}

/// A record as it stands in the topic.
#[derive(Clone, Copy, Debug)]
pub struct Row<'a> {
    /// The partition.
    pub partition: i32,
    /// The key.
    pub key: &'a [u8],
    /// The value; `None` is a tombstone.
    pub value: Option<&'a [u8]>,
}

/// A consumer outside any group, with further settings of the client.
pub fn consumer(
    bootstrap: &str,
    isolation: Isolation,
    settings: &[(&str, &str)],
) -> Result<BaseConsumer> {
    let isolation = match isolation {
        Isolation::Uncommitted => "read_uncommitted",
        Isolation::Committed => "read_committed",
    };
    let mut config = ClientConfig::new();
    config
        .set("bootstrap.servers", bootstrap)
        .set("group.id", "bench")
        .set("isolation.level", isolation)
        .set("enable.auto.commit", "false")
        .set("enable.auto.offset.store", "false")
        .set("enable.partition.eof", "true")
        .set("auto.offset.reset", "error");
    for (name, value) in settings {
        config.set(*name, *value);
    }
    Ok(config.create()?)
}

/// Assigns every partition of a topic, each at the offset that `start` gives. Returns their number.
pub fn assign(
    consumer: &BaseConsumer,
    topic: &str,
    mut start: impl FnMut(i32) -> Result<Offset>,
) -> Result<i32> {
    let partitions = partitions(consumer, topic)?;
    let mut assignment = TopicPartitionList::new();
    for partition in 0..partitions {
        assignment.add_partition_offset(topic, partition, start(partition)?)?;
    }
    consumer.assign(&assignment)?;
    Ok(partitions)
}

/// Assigns every partition of these topics, each at its end.
pub fn ends(consumer: &BaseConsumer, topics: &[&str]) -> Result<()> {
    let mut assignment = TopicPartitionList::new();
    for topic in topics {
        for partition in 0..partitions(consumer, topic)? {
            let (_, end) = consumer.fetch_watermarks(topic, partition, ANSWER)?;
            assignment.add_partition_offset(topic, partition, Offset::Offset(end))?;
        }
    }
    Ok(consumer.assign(&assignment)?)
}

fn partitions(consumer: &BaseConsumer, topic: &str) -> Result<i32> {
    let metadata = consumer.fetch_metadata(Some(topic), ANSWER)?;
    let found = metadata.topics().first().map_or(0, |topic| topic.partitions().len());
    ensure!(found > 0, "topic {topic} does not exist");
    Ok(i32::try_from(found)?)
}

/// Gives every record to `take`; returns how many there were.
pub fn read(
    bootstrap: &str,
    topic: &str,
    isolation: Isolation,
    mut take: impl FnMut(Row<'_>) -> Result<()>,
) -> Result<u64> {
    let consumer = consumer(bootstrap, isolation, &[])?;
    let mut open = assign(&consumer, topic, |_| Ok(Offset::Beginning))?;
    let (mut records, mut progress) = (0, Instant::now());
    while open > 0 {
        match consumer.poll(ANSWER) {
            None => {
                ensure!(progress.elapsed() < STALLED, "{topic} could not be read to its end");
                continue;
            }
            Some(Err(KafkaError::PartitionEOF(_))) => open -= 1,
            Some(Err(error)) => return Err(error).with_context(|| format!("reading {topic}")),
            Some(Ok(message)) => {
                records += 1;
                take(Row {
                    partition: message.partition(),
                    key: message.key().unwrap_or_default(),
                    value: message.payload(),
                })?;
            }
        }
        progress = Instant::now();
    }
    Ok(records)
}
