//! A store's topic and its copy, compared by key: the last values are the same, each in the partition of
//! its source's key.
//!
//! Memory is bounded: a topic of more than [`KEYS_A_PASS`] records is compared in several passes, each for
//! a share of the keys. Values are compared by 128 bits of two hashes.

use std::collections::HashMap;
use std::hash::{DefaultHasher, Hash as _, Hasher as _};

use rdkafka::message::Message as _;

use super::copy::Shared;
use super::topics::read_all;
use super::{Migration, Moved, Placement};
use crate::error::{Error, Result};
use crate::partitioner;

/// Keys in memory at a time, 40 bytes each.
const KEYS_A_PASS: u64 = 5_000_000;

type Digest = [u64; 2];

/// The last values by key, of those keys that belong to a pass.
struct Last {
    pass: u64,
    passes: u64,
    values: HashMap<Digest, Digest>,
}

impl Last {
    fn take(&mut self, partition: i32, key: &[u8], value: Option<&[u8]>) {
        let digest = digest(&[&partition.to_be_bytes(), key]);
        if digest[0] % self.passes != self.pass {
            return;
        }
        match value {
            Some(value) => self.values.insert(digest, self::digest(&[value])),
            None => self.values.remove(&digest),
        };
    }
}

fn digest(parts: &[&[u8]]) -> Digest {
    [1u8, 2].map(|seed| {
        let mut hasher = DefaultHasher::new();
        seed.hash(&mut hasher);
        parts.hash(&mut hasher);
        hasher.finish()
    })
}

/// Checks that the copy holds what the store's topic of `records` holds.
pub(super) fn is_equal(
    migration: &Migration<'_>,
    moved: &Moved,
    placement: &Placement<'_>,
    records: u64,
) -> Result<()> {
    let passes = records.div_ceil(KEYS_A_PASS).max(1);
    let (count, [from, to]) = (migration.config.partitions, &moved.topics);
    for pass in 0..passes {
        let last = || Last { pass, passes, values: HashMap::new() };
        let (mut expected, mut actual, mut shared) = (last(), last(), Shared::default());
        read_all(&migration.client, (from, moved.partitions), |record| {
            let key = record.key().unwrap_or_default();
            match (placement.source_key)(&moved.store, key)? {
                Some(source_key) => {
                    let partition = partitioner::partition(&source_key, count).0;
                    expected.take(partition, key, record.payload());
                }
                None => shared.take(record.partition(), key, record.payload())?,
            }
            Ok(())
        })?;
        for (key, values) in shared.merged(&moved.store, placement)? {
            for (partition, value) in (0..count).zip(&values) {
                expected.take(partition, &key, Some(value));
            }
        }
        read_all(&migration.client, (to, count), |record| {
            actual.take(record.partition(), record.key().unwrap_or_default(), record.payload());
            Ok(())
        })?;
        if expected.values != actual.values {
            let differ = expected.values.iter().filter(|(k, v)| actual.values.get(*k) != Some(v));
            return Err(Error::Invalid(format!(
                "topic {to} is no copy of {from}: {} keys differ, {} are there of {}; another program \
                 writes to one of them; delete the topics of the new prefix and repeat the command",
                differ.count(),
                actual.values.len(),
                expected.values.len()
            )));
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn passes_share_the_keys_and_the_last_value_counts() {
        let passes = 3;
        let keys: Vec<[u8; 1]> = (0..60).map(|key| [key]).collect();
        let mut found = 0;
        for pass in 0..passes {
            let mut last = Last { pass, passes, values: HashMap::new() };
            for key in &keys {
                last.take(0, key, Some(b"first"));
                last.take(0, key, Some(b"last"));
            }
            assert!(last.values.values().all(|value| *value == digest(&[b"last"])));
            assert!(!last.values.is_empty() && last.values.len() < keys.len());
            found += last.values.len();
            for key in &keys {
                last.take(0, key, None);
            }
            assert!(last.values.is_empty());
        }
        assert_eq!(found, keys.len());
        assert_ne!(digest(&[b"ab", b"c"]), digest(&[b"a", b"bc"]));
    }
}
