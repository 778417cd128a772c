//! Which broker does what: who leads a partition, who coordinates a group or a transaction, and
//! whether all copies are there.

use std::time::Duration;

use anyhow::{Context, Result, ensure};
use rdkafka::config::ClientConfig;
use rdkafka::consumer::{BaseConsumer, Consumer as _};
use rdkafka::metadata::{Metadata, MetadataTopic};

const ANSWER: Duration = Duration::from_secs(20);

fn metadata(bootstrap: &str) -> Result<Metadata> {
    let client: BaseConsumer = ClientConfig::new().set("bootstrap.servers", bootstrap).create()?;
    Ok(client.fetch_metadata(None, ANSWER)?)
}

/// The broker that leads a partition.
pub fn leader(bootstrap: &str, topic: &str, partition: i32) -> Result<i32> {
    leader_of(&metadata(bootstrap)?, topic, |_| Ok(partition))
}

/// The broker that keeps a group's offsets and members.
pub fn group_coordinator(bootstrap: &str, group: &str) -> Result<i32> {
    leader_of(&metadata(bootstrap)?, "__consumer_offsets", |count| place(group, count))
}

/// The broker that keeps the state of a producer's transactions.
pub fn transaction_coordinator(bootstrap: &str, transactional_id: &str) -> Result<i32> {
    let place = |count| place(transactional_id, count);
    leader_of(&metadata(bootstrap)?, "__transaction_state", place)
}

fn leader_of(
    metadata: &Metadata,
    topic: &str,
    partition: impl Fn(i32) -> Result<i32>,
) -> Result<i32> {
    let found = metadata.topics().iter().find(|found| found.name() == topic);
    let partitions = found.with_context(|| format!("there is no {topic}"))?.partitions();
    let wanted = partition(i32::try_from(partitions.len())?)?;
    let partition = partitions.iter().find(|found| found.id() == wanted);
    let leader = partition.with_context(|| format!("{topic} has no {wanted}"))?.leader();
    ensure!(leader >= 0, "nobody leads {topic}/{wanted}");
    Ok(leader)
}

/// Where a name belongs: Java's hash of a string, as the broker takes it.
fn place(name: &str, count: i32) -> Result<i32> {
    let add = |hash: i32, unit: u16| hash.wrapping_mul(31).wrapping_add(i32::from(unit));
    let hash = name.encode_utf16().fold(0, add);
    hash.checked_abs().unwrap_or(0).checked_rem(count).context("no partitions")
}

/// Every partition of these topics, and of the broker's own, is led and has all its copies in sync.
pub fn is_whole(bootstrap: &str, prefix: &str) -> Result<bool> {
    let metadata = metadata(bootstrap)?;
    let ours = |name: &str| name.starts_with(prefix) || name.starts_with("__");
    let partitions = metadata.topics().iter().filter(|topic| ours(topic.name()));
    Ok(partitions
        .flat_map(MetadataTopic::partitions)
        .all(|found| found.leader() >= 0 && found.isr().len() == found.replicas().len()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_hashes_as_in_java() -> Result<()> {
        // "polygenelubricants".hashCode() is the smallest number there is; "hello" is 99162322.
        ensure!(place("polygenelubricants", 8)? == 0 && place("hello", 1000)? == 322);
        Ok(())
    }
}
