//! The records of a store's topic, to the partitions of its copy.

use std::collections::BTreeMap;

use rdkafka::message::Message as _;
use rdkafka::producer::BaseRecord;

use super::super::write::Writer;
use super::topics::read_all;
use super::{Migration, Moved, Placement};
use crate::error::{Error, Result};
use crate::partitioner;

/// Keys of one store that stand in every partition: feeds of exchanges. More are taken for a mistake.
const MAX_SHARED_KEYS: usize = 10_000;

/// Keys that stand in every partition: the newest value in each that has one.
#[derive(Default)]
pub(super) struct Shared(BTreeMap<Vec<u8>, BTreeMap<i32, Vec<u8>>>);

impl Shared {
    /// Takes the newest record of a partition.
    pub(super) fn take(&mut self, partition: i32, key: &[u8], value: Option<&[u8]>) -> Result<()> {
        if !self.0.contains_key(key) && self.0.len() >= MAX_SHARED_KEYS {
            return Err(Error::Invalid(format!(
                "more than {MAX_SHARED_KEYS} keys stand in every partition: this is no state of an \
                 application that this version writes"
            )));
        }
        let of_key = self.0.entry(key.to_vec()).or_default();
        match value {
            Some(value) => of_key.insert(partition, value.to_vec()),
            None => of_key.remove(&partition),
        };
        Ok(())
    }

    /// Each key with its values for the new partitions.
    pub(super) fn merged(
        self,
        store: &str,
        placement: &Placement<'_>,
    ) -> Result<BTreeMap<Vec<u8>, Vec<Vec<u8>>>> {
        let all = self.0.into_iter().filter(|(_, values)| !values.is_empty());
        all.map(|(key, values)| {
            let values: Vec<_> = values.into_values().collect();
            Ok((key, (placement.merge)(store, &values)?))
        })
        .collect()
    }
}

/// Copies a store's topic. Returns the number of its records.
pub(super) fn store(
    migration: &Migration<'_>,
    moved: &Moved,
    placement: &Placement<'_>,
) -> Result<u64> {
    let config = &migration.config;
    let [from, to] = &moved.topics;
    let writer = Writer::new(config.bootstrap_servers, config.kafka, to)?;
    let mut shared = Shared::default();
    let count = read_all(&migration.client, (from, moved.partitions), |record| {
        let key = record.key().unwrap_or_default();
        let Some(source_key) = (placement.source_key)(&moved.store, key)? else {
            return shared.take(record.partition(), key, record.payload());
        };
        let partition = partitioner::partition(&source_key, config.partitions).0;
        writer.write(|| {
            let mut copy = BaseRecord::<[u8], [u8]>::to(to).partition(partition).key(key);
            copy.payload = record.payload();
            copy.timestamp = record.timestamp().to_millis();
            copy
        })
    })?;
    for (key, values) in shared.merged(&moved.store, placement)? {
        for (partition, value) in (0..config.partitions).zip(&values) {
            writer.write(|| {
                BaseRecord::<[u8], [u8]>::to(to).partition(partition).key(&key).payload(value)
            })?;
        }
    }
    writer.finish()?;
    tracing::info!(from, to, records = count, "copied");
    Ok(count)
}
