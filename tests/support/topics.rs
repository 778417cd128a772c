//! Topics as a reader of committed records sees them.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use rdkafka::config::ClientConfig;
use rdkafka::consumer::{BaseConsumer, Consumer as _};
use rdkafka::error::{KafkaError, RDKafkaErrorCode};
use rdkafka::message::{Headers as _, Message as _};
use rdkafka::topic_partition_list::{Offset, TopicPartitionList};

use super::wait::wait_until;

/// One answer of the broker.
const ANSWER: Duration = Duration::from_secs(20);
/// A whole topic: also the time in which a dead member's transaction is aborted.
const WHOLE: Duration = Duration::from_mins(1);

/// A record.
#[derive(Clone, Debug)]
pub struct Record {
    /// Where it was read.
    pub partition: i32,
    /// Its place there.
    pub offset: i64,
    /// The key.
    pub key: Vec<u8>,
    /// The value; `None` is a tombstone.
    pub value: Option<Vec<u8>>,
    /// The headers, as text.
    pub headers: BTreeMap<String, String>,
}

fn consumer(bootstrap: &str, group: &str, isolation: &str) -> Result<BaseConsumer> {
    Ok(ClientConfig::new()
        .set("bootstrap.servers", bootstrap)
        .set("group.id", group)
        .set("isolation.level", isolation)
        .set("enable.auto.commit", "false")
        .set("enable.partition.eof", "true")
        .set("auto.offset.reset", "error")
        .create()?)
}

/// The number of partitions of each topic of the broker.
pub fn list(bootstrap: &str) -> Result<BTreeMap<String, usize>> {
    let metadata = consumer(bootstrap, "tests", "read_committed")?.fetch_metadata(None, ANSWER)?;
    let topics = metadata.topics().iter();
    Ok(topics.map(|topic| (topic.name().to_owned(), topic.partitions().len())).collect())
}

fn partitions(consumer: &BaseConsumer, topic: &str) -> Result<i32> {
    let metadata = consumer.fetch_metadata(Some(topic), ANSWER)?;
    let found = metadata.topics().first().map_or(0, |topic| topic.partitions().len());
    ensure!(found > 0, "topic {topic} does not exist");
    Ok(i32::try_from(found)?)
}

/// First and next offset of a partition. A partition of a new topic may still be without a leader.
fn watermarks(consumer: &BaseConsumer, topic: &str, partition: i32) -> Result<(i64, i64)> {
    wait_until(&format!("{topic}/{partition} to have a leader"), WHOLE, || {
        match consumer.fetch_watermarks(topic, partition, ANSWER) {
            Ok(marks) => Ok(Some(marks)),
            Err(error)
                if error.rdkafka_error_code().is_some_and(|code| SETTLING.contains(&code)) =>
            {
                Ok(None)
            }
            Err(error) => Err(error.into()),
        }
    })
}

/// What brokers answer while they hear of a topic, elect its leaders, or are busy.
const SETTLING: [RDKafkaErrorCode; 6] = [
    RDKafkaErrorCode::OperationTimedOut,
    RDKafkaErrorCode::RequestTimedOut,
    RDKafkaErrorCode::NotLeaderForPartition,
    RDKafkaErrorCode::LeaderNotAvailable,
    RDKafkaErrorCode::UnknownTopicOrPartition,
    RDKafkaErrorCode::UnknownPartition,
];

/// The end of each partition, transactions' markers and all.
pub fn ends(bootstrap: &str, topic: &str) -> Result<Vec<i64>> {
    let consumer = consumer(bootstrap, "tests", "read_uncommitted")?;
    let partitions = 0..partitions(&consumer, topic)?;
    partitions.map(|p| Ok(watermarks(&consumer, topic, p)?.1)).collect()
}

/// The partitions with an open transaction: what a reader of committed records is told is the last
/// stable offset.
pub fn undecided(bootstrap: &str, topic: &str) -> Result<BTreeSet<i32>> {
    let consumer = consumer(bootstrap, "tests", "read_committed")?;
    let mut open = BTreeSet::new();
    for (partition, end) in (0..).zip(ends(bootstrap, topic)?) {
        if consumer.fetch_watermarks(topic, partition, ANSWER)?.1 < end {
            open.insert(partition);
        }
    }
    Ok(open)
}

/// The end of each partition, once no transaction is open before it.
fn decided_ends(bootstrap: &str, topic: &str) -> Result<Vec<i64>> {
    let consumer = consumer(bootstrap, "tests", "read_committed")?;
    let ends = ends(bootstrap, topic)?;
    wait_until(&format!("open transactions in {topic}"), WHOLE, || {
        for (partition, end) in (0..).zip(&ends) {
            // What a reader of committed records is told is the last stable offset.
            if watermarks(&consumer, topic, partition)?.1 < *end {
                return Ok(None);
            }
        }
        Ok(Some(()))
    })?;
    Ok(ends)
}

/// Every committed record up to the end of the topic, by partition and offset.
pub fn read(bootstrap: &str, topic: &str) -> Result<Vec<Record>> {
    let ends = decided_ends(bootstrap, topic)?;
    let consumer = consumer(bootstrap, "tests", "read_committed")?;
    let mut assignment = TopicPartitionList::new();
    for (partition, _) in (0..).zip(&ends) {
        assignment.add_partition_offset(topic, partition, Offset::Beginning)?;
    }
    consumer.assign(&assignment)?;
    let mut open: BTreeSet<i32> = (0..).zip(&ends).map(|(partition, _)| partition).collect();
    let (mut records, started) = (Vec::new(), Instant::now());
    while !open.is_empty() {
        ensure!(started.elapsed() < WHOLE, "{topic} was not read to its ends {ends:?}");
        match consumer.poll(ANSWER) {
            None => {}
            Some(Err(KafkaError::PartitionEOF(partition))) => {
                open.remove(&partition);
            }
            // The client connects again.
            Some(Err(error)) if is_moving(&error) => {}
            Some(Err(error)) => return Err(error).with_context(|| format!("reading {topic}")),
            Some(Ok(message)) => records.push(Record {
                partition: message.partition(),
                offset: message.offset(),
                key: message.key().unwrap_or_default().to_vec(),
                value: message.payload().map(<[u8]>::to_vec),
                headers: headers(&message),
            }),
        }
    }
    records.sort_by_key(|record| (record.partition, record.offset));
    Ok(records)
}

fn headers(message: &rdkafka::message::BorrowedMessage<'_>) -> BTreeMap<String, String> {
    let Some(headers) = message.headers() else { return BTreeMap::new() };
    let text = |value: Option<&[u8]>| String::from_utf8_lossy(value.unwrap_or_default()).into();
    headers.iter().map(|header| (header.key.to_owned(), text(header.value))).collect()
}

/// Clients that ask for committed offsets, by broker and group. They are kept: librdkafka may abort
/// the process when a client is destroyed while its group's coordinator is being looked up.
static ASKING: Mutex<BTreeMap<(String, String), Arc<BaseConsumer>>> = Mutex::new(BTreeMap::new());

fn asking(bootstrap: &str, group: &str) -> Result<Arc<BaseConsumer>> {
    let mut clients = ASKING.lock().unwrap_or_else(PoisonError::into_inner);
    let id = (bootstrap.to_owned(), group.to_owned());
    if let Some(client) = clients.get(&id) {
        return Ok(Arc::clone(client));
    }
    let client = Arc::new(consumer(bootstrap, group, "read_committed")?);
    clients.insert(id, Arc::clone(&client));
    Ok(client)
}

/// What a client hears while a coordinator moves from one broker to another, or a broker is busy.
const MOVING: [RDKafkaErrorCode; 7] = [
    RDKafkaErrorCode::OperationTimedOut,
    RDKafkaErrorCode::RequestTimedOut,
    RDKafkaErrorCode::BrokerTransportFailure,
    RDKafkaErrorCode::AllBrokersDown,
    RDKafkaErrorCode::NotCoordinator,
    RDKafkaErrorCode::CoordinatorNotAvailable,
    RDKafkaErrorCode::CoordinatorLoadInProgress,
];

fn is_moving(error: &KafkaError) -> bool {
    error.rdkafka_error_code().is_some_and(|code| MOVING.contains(&code))
}

/// The offsets that a group has committed; nothing while its coordinator moves.
pub fn committed(bootstrap: &str, group: &str, topic: &str) -> Result<Vec<i64>> {
    let consumer = asking(bootstrap, group)?;
    let mut asked = TopicPartitionList::new();
    asked.add_partition_range(topic, 0, partitions(&consumer, topic)? - 1);
    let found = match consumer.committed_offsets(asked, ANSWER) {
        // The coordinator has moved and is looked for, or reads its log: nothing is known for now.
        Err(error) if is_moving(&error) => return Ok(Vec::new()),
        found => found?,
    };
    let offset = |offset| if let Offset::Offset(offset) = offset { offset } else { 0 };
    Ok(found.elements().iter().map(|element| offset(element.offset())).collect())
}
