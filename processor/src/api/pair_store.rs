//! A store whose keys are pairs: the value of one pair, or of every pair of a prefix.

use schemas::avro::Record;
use schemas::topic::Topic;
use schemas::{Codec, PairKey};
use streams::store::Committed;
use streams::{Error, Result};

use crate::store_keys;
use crate::topology::store_name;

/// Pairs per page of a scan.
const PAGE: usize = 4096;

/// One partition of a store.
#[derive(Clone, Copy)]
pub(super) struct PairStore<'a> {
    codec: &'a Codec,
    store: &'a Committed,
    topic: Topic,
}

impl<'a> PairStore<'a> {
    /// The store of a topic.
    pub(super) const fn new(codec: &'a Codec, store: &'a Committed, topic: Topic) -> Self {
        Self { codec, store, topic }
    }

    /// The error of a store with this defect.
    pub(super) fn corrupt(&self, reason: impl std::fmt::Display) -> Error {
        Error::Corrupt(format!("store {}: {reason}", store_name(self.topic)))
    }

    fn decode<V: Record>(&self, bytes: &[u8]) -> Result<V> {
        self.codec.decode(bytes).map_err(|error| self.corrupt(error))
    }

    /// The bytes of a key's value.
    pub(super) fn bytes(&self, key: &[u8]) -> Result<Option<Vec<u8>>> {
        self.store.get(key)
    }

    /// The value of a pair.
    pub(super) fn get<V: Record>(&self, pair: &PairKey) -> Result<Option<V>> {
        self.bytes(&store_keys::pair_key(pair))?.map(|bytes| self.decode(&bytes)).transpose()
    }

    /// Gives every key that begins with `prefix`, and the bytes of its value, in key order.
    pub(super) fn visit_keys(
        &self,
        prefix: &[u8],
        mut each: impl FnMut(&[u8], &[u8]) -> Result<()>,
    ) -> Result<()> {
        let mut from = prefix.to_vec();
        let to = store_keys::after_prefix(prefix);
        loop {
            let page = self.store.range(&from, &to, PAGE)?;
            for (key, value) in &page {
                each(key, value)?;
            }
            match page.last() {
                Some((key, _)) if page.len() == PAGE => {
                    from.clone_from(key);
                    from.push(0);
                }
                _ => return Ok(()),
            }
        }
    }

    /// Gives every pair whose store key begins with `prefix`, and the bytes of its value, in key order.
    pub(super) fn visit(
        &self,
        prefix: &[u8],
        mut each: impl FnMut(PairKey, &[u8]) -> Result<()>,
    ) -> Result<()> {
        self.visit_keys(prefix, |key, value| {
            let pair = store_keys::read_pair(key);
            each(pair.ok_or_else(|| self.corrupt("a key is not a pair"))?, value)
        })
    }

    /// The pairs whose store keys begin with `prefix`, in key order.
    pub(super) fn pairs(&self, prefix: &[u8]) -> Result<Vec<PairKey>> {
        let mut found = Vec::new();
        self.visit(prefix, |pair, _| {
            found.push(pair);
            Ok(())
        })?;
        Ok(found)
    }

    /// Gives every pair whose store key begins with `prefix`, and its value, in key order.
    pub(super) fn visit_values<V: Record>(
        &self,
        prefix: &[u8],
        mut each: impl FnMut(PairKey, V),
    ) -> Result<()> {
        self.visit(prefix, |pair, value| {
            each(pair, self.decode(value)?);
            Ok(())
        })
    }

    /// The values of the pairs whose store keys begin with `prefix`, in key order.
    pub(super) fn values<V: Record>(&self, prefix: &[u8]) -> Result<Vec<(PairKey, V)>> {
        let mut found = Vec::new();
        self.visit_values(prefix, |pair, value| found.push((pair, value)))?;
        Ok(found)
    }
}
