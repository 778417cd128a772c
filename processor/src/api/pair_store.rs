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

    fn corrupt(&self, reason: impl std::fmt::Display) -> Error {
        Error::Corrupt(format!("store {}: {reason}", store_name(self.topic)))
    }

    fn decode<V: Record>(&self, bytes: &[u8]) -> Result<V> {
        self.codec.decode(bytes).map_err(|error| self.corrupt(error))
    }

    /// The bytes of a pair's value.
    pub(super) fn bytes(&self, pair: &PairKey) -> Result<Option<Vec<u8>>> {
        self.store.get(&store_keys::pair_key(pair))
    }

    /// The value of a pair.
    pub(super) fn get<V: Record>(&self, pair: &PairKey) -> Result<Option<V>> {
        self.bytes(pair)?.map(|bytes| self.decode(&bytes)).transpose()
    }

    /// Gives every pair whose store key begins with `prefix`, and the bytes of its value, in key order.
    pub(super) fn visit(
        &self,
        prefix: &[u8],
        mut each: impl FnMut(PairKey, &[u8]) -> Result<()>,
    ) -> Result<()> {
        let mut from = prefix.to_vec();
        let to = store_keys::after_prefix(prefix);
        loop {
            let page = self.store.range(&from, &to, PAGE)?;
            for (key, value) in &page {
                let pair = store_keys::read_pair(key)
                    .ok_or_else(|| self.corrupt("a key is not a pair"))?;
                each(pair, value)?;
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
