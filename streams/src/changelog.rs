//! A store's changelog is the topic that it publishes: one write serves state and readers.
//!
//! A [`Layout`] defines how a store's entries are encoded in the topic. Keys may be encoded otherwise in
//! the store, in an order that ranges need. Values are the same in both: a restore copies their bytes.
//!
//! ```text
//! processor's V ──encode──► value bytes ══ the same bytes ══► topic and store
//! store key ──to_topic──► topic key        topic key ──to_store──► store key
//! ```
//!
//! The store owns the position. Only a written freeze of the overlay moves it forward; it never moves
//! back. A position beyond the topic's end is an error: the store does not begin again.

use crate::error::{Error, Result};
use crate::record::{Batch, ChangeRef, Row};
use crate::retention::Retention;

type Map = Box<dyn Fn(&[u8], &mut Vec<u8>) -> Result<(), String> + Send + Sync>;
type Encode<V> = Box<dyn Fn(&V, &mut Vec<u8>) + Send + Sync>;
type Decode<V> = Box<dyn Fn(&[u8]) -> Result<V, String> + Send + Sync>;

/// The encoding of one store's entries in its topic.
pub struct Layout<V> {
    topic: String,
    version: u32,
    retention: Option<Retention>,
    to_topic: Map,
    to_store: Map,
    encode: Encode<V>,
    decode: Decode<V>,
}

impl<V> Layout<V> {
    /// Keys are the same in the topic and in the store.
    pub fn new(
        topic: impl Into<String>,
        encode: impl Fn(&V, &mut Vec<u8>) + Send + Sync + 'static,
        decode: impl Fn(&[u8]) -> Result<V, String> + Send + Sync + 'static,
    ) -> Self {
        let same = |key: &[u8], out: &mut Vec<u8>| {
            out.extend_from_slice(key);
            Ok(())
        };
        Self {
            topic: topic.into(),
            version: 1,
            retention: None,
            to_topic: Box::new(same),
            to_store: Box::new(same),
            encode: Box::new(encode),
            decode: Box::new(decode),
        }
    }

    /// Keys are mapped between the two; each must undo the other.
    #[must_use]
    pub fn with_keys(
        self,
        to_topic: impl Fn(&[u8], &mut Vec<u8>) -> Result<(), String> + Send + Sync + 'static,
        to_store: impl Fn(&[u8], &mut Vec<u8>) -> Result<(), String> + Send + Sync + 'static,
    ) -> Self {
        Self { to_topic: Box::new(to_topic), to_store: Box::new(to_store), ..self }
    }

    /// The version of the store's keys, 1 by default. A store of another version on disk is not used, and
    /// the store is restored from its topic.
    #[must_use]
    pub fn with_version(self, version: u32) -> Self {
        Self { version, ..self }
    }

    /// A windowed store: its keys begin with the numbers of their segments, and it keeps the newest. The
    /// topic has to hold these windows for at least as long.
    #[must_use]
    pub fn with_retention(self, retention: Retention) -> Self {
        Self { retention: Some(retention), ..self }
    }

    pub(crate) const fn version(&self) -> u32 {
        self.version
    }

    pub(crate) const fn retention(&self) -> Option<Retention> {
        self.retention
    }

    /// The topic.
    pub fn topic(&self) -> &str {
        &self.topic
    }

    pub(crate) fn encode(&self, value: &V, out: &mut Vec<u8>) {
        (self.encode)(value, out);
    }

    pub(crate) fn decode(&self, bytes: &[u8]) -> Result<V> {
        (self.decode)(bytes)
            .map_err(|reason| Error::Corrupt(format!("store of topic {}: a value cannot be decoded: {reason}; move the state directory away and the store is restored", self.topic)))
    }

    pub(crate) fn topic_key(&self, key: &[u8], out: &mut Vec<u8>) -> Result<()> {
        (self.to_topic)(key, out)
            .map_err(|reason| Error::Corrupt(format!("store of topic {}: a key cannot be encoded: {reason}; move the state directory away and the store is restored", self.topic)))
    }

    /// Appends the store's key of a record that is one of ours.
    fn check(&self, row: Row<'_>, keys: &mut Vec<u8>) -> Result<(), String> {
        (self.to_store)(row.key, keys)?;
        if let Some(value) = row.value {
            // A foreign record must be found here and not become state.
            (self.decode)(value)?;
        }
        Ok(())
    }

    /// The keys that records of the topic have in the store; their values are the same there, byte
    /// for byte.
    ///
    /// # Errors
    /// [`Error::Corrupt`] names the offset of a record that is not of this store.
    pub fn store_keys(&self, records: &Batch) -> Result<StoreKeys> {
        let mut keys = StoreKeys { bytes: Vec::with_capacity(records.bytes() / 4), ends: vec![] };
        for row in records.iter() {
            self.check(row, &mut keys.bytes).map_err(|reason| {
                Error::Corrupt(format!(
                    "topic {} offset {}: {reason}; a foreign writer? remove its records, or use \
                     another --topic-prefix",
                    self.topic, row.offset
                ))
            })?;
            keys.ends.push(keys.bytes.len());
        }
        Ok(keys)
    }
}

/// The store keys of a batch of records, in their order, in one arena.
#[derive(Debug, Default)]
pub struct StoreKeys {
    bytes: Vec<u8>,
    ends: Vec<usize>,
}

impl StoreKeys {
    /// The records that they are of, as changes of the store.
    pub fn changes<'a>(&'a self, records: &'a Batch) -> impl Iterator<Item = ChangeRef<'a>> {
        let mut start = 0;
        self.ends.iter().zip(records.iter()).map(move |(&end, row)| {
            let key = &self.bytes[start..end];
            start = end;
            (key, row.value)
        })
    }
}
