//! The changes of a store between two commits.

/// Changes of one store, drained for a commit, in one arena.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct StoreChanges {
    bytes: Vec<u8>,
    /// Where topic key, store key and value end; without a value, a tombstone.
    ends: Vec<(usize, usize, Option<usize>)>,
}

/// One change of a store, as it stands in the topic and in the store.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct StoreChange<'a> {
    /// The key of the topic's record.
    pub topic_key: &'a [u8],
    /// The key in the store.
    pub store_key: &'a [u8],
    /// `None` is a tombstone.
    pub value: Option<&'a [u8]>,
}

impl StoreChanges {
    /// Appends a change; `topic_key` writes the key of the topic's record.
    pub(crate) fn push<E>(
        &mut self,
        topic_key: impl FnOnce(&mut Vec<u8>) -> Result<(), E>,
        store_key: &[u8],
        value: Option<&[u8]>,
    ) -> Result<(), E> {
        topic_key(&mut self.bytes)?;
        let topic_key_end = self.bytes.len();
        self.bytes.extend_from_slice(store_key);
        let store_key_end = self.bytes.len();
        let value_end = value.map(|value| {
            self.bytes.extend_from_slice(value);
            self.bytes.len()
        });
        self.ends.push((topic_key_end, store_key_end, value_end));
        Ok(())
    }

    /// Every change, in the order of first touch.
    pub fn iter(&self) -> impl Iterator<Item = StoreChange<'_>> {
        let mut start = 0;
        self.ends.iter().map(move |&(topic_key, store_key, value)| {
            let change = StoreChange {
                topic_key: &self.bytes[start..topic_key],
                store_key: &self.bytes[topic_key..store_key],
                value: value.map(|end| &self.bytes[store_key..end]),
            };
            start = value.unwrap_or(store_key);
            change
        })
    }

    /// How many changes.
    pub fn len(&self) -> usize {
        self.ends.len()
    }

    /// No change.
    pub fn is_empty(&self) -> bool {
        self.ends.is_empty()
    }

    pub(crate) fn clear(&mut self) {
        self.bytes.clear();
        self.ends.clear();
    }
}
