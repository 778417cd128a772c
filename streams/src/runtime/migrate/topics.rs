//! A whole topic as its readers see it.

use rdkafka::config::ClientConfig;
use rdkafka::consumer::{BaseConsumer, Consumer as _};
use rdkafka::error::KafkaError;
use rdkafka::message::BorrowedMessage;
use rdkafka::topic_partition_list::{Offset, TopicPartitionList};

use super::super::errors;
use super::super::lost_offsets::{ANSWER, wait_decided};
use crate::error::{Error, Result};

/// Records between two lines of the log.
const PROGRESS_RECORDS: u64 = 1_000_000;

/// Gives every committed record of a topic to `take`, those of a partition in order. Returns their number.
///
/// # Errors
/// [`Error::Unavailable`] when the broker does not answer, and those of `take`.
pub(super) fn read_all(
    client: &ClientConfig,
    (topic, partitions): (&str, i32),
    mut take: impl FnMut(&BorrowedMessage<'_>) -> Result<()>,
) -> Result<u64> {
    let mut client = client.clone();
    // Assigning needs a name; nothing is ever committed under it.
    client.set("group.id", format!("{topic}-migration"));
    client.set("enable.partition.eof", "true");
    // It also sees the ends of transactions that are open.
    let probe = client.clone().set("isolation.level", "read_uncommitted").create();
    let probe: BaseConsumer = probe.map_err(errors::setting)?;
    let reader = client.set("isolation.level", "read_committed").create();
    let reader: BaseConsumer = reader.map_err(errors::setting)?;
    let mut list = TopicPartitionList::new();
    let mut open = 0;
    for partition in 0..partitions {
        let ends = probe.fetch_watermarks(topic, partition, ANSWER);
        let (first, end) = ends.map_err(errors::plain)?;
        wait_decided(&reader, topic, partition, end)?;
        if first < end {
            list.add_partition_offset(topic, partition, Offset::Beginning)
                .map_err(errors::plain)?;
            open += 1;
        }
    }
    reader.assign(&list).map_err(errors::plain)?;
    let mut count = 0;
    while open > 0 {
        match reader.poll(ANSWER) {
            Some(Ok(record)) => {
                take(&record)?;
                count += 1;
                if count % PROGRESS_RECORDS == 0 {
                    tracing::info!(topic, records = count, "reading");
                }
            }
            Some(Err(KafkaError::PartitionEOF(_))) => open -= 1,
            Some(Err(error)) => errors::consumer(&error)?,
            None => {
                return Err(Error::Unavailable(format!(
                    "{topic}: no record and no end in {ANSWER:?}; it is safe to repeat the command"
                )));
            }
        }
    }
    Ok(count)
}
