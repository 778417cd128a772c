//! What an administrator does: topic settings, group settings, deletion; and raw records.

use std::collections::BTreeMap;
use std::time::Duration;

use anyhow::{Context, Result, bail};
use rdkafka::admin::{AdminClient, AdminOptions, AlterConfig, ResourceSpecifier};
use rdkafka::client::DefaultClientContext;
use rdkafka::config::ClientConfig;
use rdkafka::producer::{BaseProducer, BaseRecord, Producer as _};
use rdkafka::topic_partition_list::{Offset, TopicPartitionList};

const ANSWER: Duration = Duration::from_secs(20);

fn options() -> AdminOptions {
    AdminOptions::new().operation_timeout(Some(ANSWER))
}

fn admin(bootstrap: &str) -> Result<AdminClient<DefaultClientContext>> {
    Ok(ClientConfig::new().set("bootstrap.servers", bootstrap).create()?)
}

/// The admin client answers from a thread of its own.
fn block_on<F: Future>(future: F) -> Result<F::Output> {
    Ok(tokio::runtime::Builder::new_current_thread().build()?.block_on(future))
}

/// The settings of a topic.
pub fn topic_settings(bootstrap: &str, topic: &str) -> Result<BTreeMap<String, String>> {
    let admin = admin(bootstrap)?;
    let described =
        block_on(admin.describe_configs(&[ResourceSpecifier::Topic(topic)], &options()))??;
    let resource = described.into_iter().next().context("no answer")??;
    let entries = resource.entries.into_iter();
    Ok(entries.filter_map(|entry| Some((entry.name, entry.value?))).collect())
}

/// Deletes topics and groups; what is not there is no error.
pub fn delete(bootstrap: &str, topics: &[String], groups: &[String]) -> Result<()> {
    let admin = admin(bootstrap)?;
    let groups: Vec<&str> = groups.iter().map(String::as_str).collect();
    let _ = block_on(admin.delete_groups(&groups, &options()))?;
    let topics: Vec<&str> = topics.iter().map(String::as_str).collect();
    let _ = block_on(admin.delete_topics(&topics, &options()))?;
    Ok(())
}

/// Gives a topic this one setting, and the broker's defaults otherwise.
pub fn set(bootstrap: &str, topic: &str, name: &str, value: &str) -> Result<()> {
    let config = AlterConfig::new(ResourceSpecifier::Topic(topic)).set(name, value);
    let results = block_on(admin(bootstrap)?.alter_configs(&[config], &options()))??;
    results.into_iter().try_for_each(|result| match result {
        Ok(_) => Ok(()),
        Err((_, code)) => bail!("{name}={value} of {topic}: {code}"),
    })
}

/// Deletes the records of each partition before these offsets, as retention does.
pub fn delete_records(bootstrap: &str, topic: &str, before: &[i64]) -> Result<()> {
    let mut list = TopicPartitionList::new();
    for (partition, offset) in (0..).zip(before) {
        list.add_partition_offset(topic, partition, Offset::Offset(*offset))?;
    }
    let deleted = block_on(admin(bootstrap)?.delete_records(&list, &options()))??;
    deleted.elements().iter().try_for_each(|element| Ok(element.error()?))
}

/// A record's key and value.
pub type Row = (Vec<u8>, Option<Vec<u8>>);

/// Writes raw records, one after the other, to one partition.
pub fn write(bootstrap: &str, topic: &str, partition: i32, records: &[Row]) -> Result<()> {
    let producer: BaseProducer = ClientConfig::new()
        .set("bootstrap.servers", bootstrap)
        .set("enable.idempotence", "true")
        // As large as any topic takes them.
        .set("message.max.bytes", "2000000")
        .create()?;
    for (key, value) in records {
        let mut record = BaseRecord::<[u8], [u8]>::to(topic).partition(partition).key(key);
        if let Some(value) = value {
            record = record.payload(value);
        }
        producer.send(record).map_err(|(error, _)| error)?;
    }
    producer.flush(ANSWER)?;
    Ok(())
}
