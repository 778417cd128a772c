//! Changes by key, the newest of each, their bytes in one arena.
//!
//! ```text
//! index ──► entries ──► chunks     key | value | room to grow
//! hash      32 bytes    up to 1 MiB each
//! ```
//!
//! Cost: a change is one hash, one look and one copy, with no allocation of its own: a million of
//! them are taken in a restore of a second, and go away with a few hundred chunks. A value that
//! outgrows its room moves to the end with half as much room again, so what it leaves behind is
//! at most twice what it holds.
//!
//! Keys are sorted on demand only: a range sorts the keys that are new since the last range, and the
//! write to disk sorts all of them once.

use std::collections::BTreeMap;
use std::hash::Hasher as _;
use std::ops::Bound;
use std::sync::{Mutex, PoisonError};

use hashbrown::HashTable;
use rustc_hash::FxHasher;

use crate::record::ChangeRef;

/// The first chunk; each further one is twice as long, up to [`MAX_CHUNK`].
const MIN_CHUNK: usize = 4 << 10;
/// A chunk that is not full wastes less than this.
const MAX_CHUNK: usize = 1 << 20;
/// Bytes that an entry costs beyond its key and value: itself, and its place in the index with what
/// the index keeps free.
const ENTRY_BYTES: usize = size_of::<Entry>() + 10;
/// Bytes that a key costs once a range was read, beyond its own: its place in the tree.
const ORDERED_BYTES: usize = 40;
/// A value's length when there is none: the key is deleted. No record of Kafka is so long.
const DELETED: u32 = u32::MAX;
/// Bytes of a key by which a sort compares first.
const PREFIX: usize = 16;

#[derive(Clone, Copy, Debug)]
struct Entry {
    hash: u64,
    chunk: u32,
    at: u32,
    key: u32,
    value: u32,
    /// Bytes for a value, that at hand included.
    room: u32,
}

/// Changes by key.
#[derive(Debug, Default)]
pub(super) struct Layer {
    index: HashTable<u32>,
    entries: Vec<Entry>,
    chunks: Vec<Vec<u8>>,
    /// Bytes of all chunks that are used, or were.
    used: usize,
    /// Of readers only, who share the layer; held for one read.
    order: Mutex<Order>,
}

#[derive(Debug, Default)]
struct Order {
    entries: BTreeMap<Box<[u8]>, u32>,
    bytes: usize,
}

/// A length as `u32`. Records of Kafka are shorter than 2 GiB.
fn short(length: usize) -> u32 {
    u32::try_from(length).unwrap_or(DELETED)
}

/// The hash of a key.
pub(super) fn hash(key: &[u8]) -> u64 {
    let mut hasher = FxHasher::default();
    hasher.write(key);
    hasher.finish()
}

impl Layer {
    /// The change of `key`: `None` when there is none, `Some(None)` when it was deleted.
    #[expect(clippy::option_option, reason = "a deletion is a change, as in `Change`")]
    pub(super) fn get(&self, key: &[u8]) -> Option<Option<&[u8]>> {
        let found = self.find(hash(key), key)?;
        Some(self.value(&self.entries[found]))
    }

    /// Bytes held.
    pub(super) fn bytes(&self) -> usize {
        let ordered = self.order.lock().unwrap_or_else(PoisonError::into_inner).bytes;
        self.used + self.entries.len() * ENTRY_BYTES + ordered
    }

    fn find(&self, hash: u64, key: &[u8]) -> Option<usize> {
        let is_it = |&index: &u32| {
            let entry = &self.entries[index as usize];
            entry.hash == hash && self.key(entry) == key
        };
        self.index.find(hash, is_it).map(|index| *index as usize)
    }

    fn key(&self, entry: &Entry) -> &[u8] {
        let at = entry.at as usize;
        &self.chunks[entry.chunk as usize][at..at + entry.key as usize]
    }

    fn value(&self, entry: &Entry) -> Option<&[u8]> {
        let at = (entry.at + entry.key) as usize;
        let length = (entry.value != DELETED).then_some(entry.value as usize)?;
        Some(&self.chunks[entry.chunk as usize][at..at + length])
    }

    /// The newest change of `key` is this.
    pub(super) fn set(&mut self, key: &[u8], value: Option<&[u8]>) {
        let hash = hash(key);
        let Some(found) = self.find(hash, key) else {
            let entry = self.put(hash, key, value, value.map_or(0, <[u8]>::len));
            let index = short(self.entries.len());
            self.entries.push(entry);
            let entries = &self.entries;
            self.index.insert_unique(hash, index, |index| entries[*index as usize].hash);
            return;
        };
        let entry = &mut self.entries[found];
        let Some(bytes) = value else {
            entry.value = DELETED;
            return;
        };
        if bytes.len() <= entry.room as usize {
            let at = (entry.at + entry.key) as usize;
            self.chunks[entry.chunk as usize][at..at + bytes.len()].copy_from_slice(bytes);
            entry.value = short(bytes.len());
        } else {
            self.entries[found] = self.put(hash, key, value, bytes.len() + bytes.len() / 2);
        }
    }

    /// Appends key and value, with `room` for a value.
    fn put(&mut self, hash: u64, key: &[u8], value: Option<&[u8]>, room: usize) -> Entry {
        let length = key.len() + room;
        let full = self.chunks.last().is_none_or(|last| last.capacity() - last.len() < length);
        if full {
            let last = self.chunks.last().map_or(MIN_CHUNK / 2, Vec::capacity);
            let capacity = (2 * last).clamp(MIN_CHUNK, MAX_CHUNK).max(length);
            self.chunks.push(Vec::with_capacity(capacity));
        }
        let number = self.chunks.len() - 1;
        let chunk = &mut self.chunks[number];
        let at = chunk.len();
        chunk.extend_from_slice(key);
        chunk.extend_from_slice(value.unwrap_or_default());
        chunk.resize(at + length, 0);
        self.used += length;
        Entry {
            hash,
            chunk: short(number),
            at: short(at),
            key: short(key.len()),
            value: value.map_or(DELETED, |value| short(value.len())),
            room: short(room),
        }
    }

    /// The first `limit` changes with `from <= key < to`, in key order, given to `take`.
    pub(super) fn range(
        &self,
        from: &[u8],
        to: &[u8],
        limit: usize,
        mut take: impl FnMut(&[u8], Option<&[u8]>),
    ) {
        let mut order = self.order.lock().unwrap_or_else(PoisonError::into_inner);
        self.bring_up(&mut order);
        let bounds = (Bound::Included(from), Bound::Excluded(to));
        for (key, index) in order.entries.range::<[u8], _>(bounds).take(limit) {
            take(key, self.value(&self.entries[*index as usize]));
        }
    }

    /// Keys are only ever added, so the new ones are the last.
    fn bring_up(&self, order: &mut Order) {
        let known = order.entries.len();
        let new = (known..self.entries.len()).map(|index| {
            let key = self.key(&self.entries[index]);
            (Box::<[u8]>::from(key), short(index))
        });
        if known == 0 {
            // From all at once it is built sorted, which is ten times cheaper.
            order.entries = new.collect();
        } else {
            order.entries.extend(new);
        }
        let added = &self.entries[known..];
        order.bytes += added.iter().map(|e| e.key as usize + ORDERED_BYTES).sum::<usize>();
    }

    /// All changes, in key order.
    pub(super) fn sorted(&self) -> Vec<ChangeRef<'_>> {
        // Most keys differ in their first bytes, which are compared without a look at the arena.
        let mut sorted: Vec<(u128, &Entry)> =
            self.entries.iter().map(|entry| (prefix(self.key(entry)), entry)).collect();
        sorted
            .sort_unstable_by(|(a, x), (b, y)| a.cmp(b).then_with(|| self.key(x).cmp(self.key(y))));
        sorted.into_iter().map(|(_, entry)| (self.key(entry), self.value(entry))).collect()
    }
}

/// The first bytes of a key as a number in their order; a key that is shorter ends in zeros.
fn prefix(key: &[u8]) -> u128 {
    let mut first = [0; PREFIX];
    let length = key.len().min(PREFIX);
    first[..length].copy_from_slice(&key[..length]);
    u128::from_be_bytes(first)
}

#[cfg(test)]
mod tests {
    use proptest::collection::vec;
    use proptest::prelude::*;

    use super::*;

    type Model = BTreeMap<Vec<u8>, Option<Vec<u8>>>;

    fn change() -> impl Strategy<Value = (Vec<u8>, Option<Vec<u8>>)> {
        // Short keys meet, long ones share their first bytes; some values fill chunks.
        let key = prop_oneof![
            vec(0..3_u8, 0..3),
            vec(Just(7), 15..19),
            (vec(Just(7), 15..19), 0..9_u8).prop_map(|(mut key, last)| {
                key.push(last);
                key
            }),
        ];
        let value = prop_oneof![4 => vec(any::<u8>(), 0..9), 1 => vec(any::<u8>(), 0..6_000)];
        (key, proptest::option::weighted(0.8, value))
    }

    proptest! {
        #[test]
        fn a_layer_is_a_map_of_the_newest_changes(
            changes in vec((change(), any::<bool>()), 0..80), from: Vec<u8>, limit in 0..9_usize,
        ) {
            let (mut layer, mut model) = (Layer::default(), Model::new());
            for ((key, value), reads) in changes {
                let before = layer.bytes();
                layer.set(&key, value.as_deref());
                let grown = layer.bytes() - before;
                let length = value.as_ref().map_or(0, Vec::len);
                prop_assert!(grown <= key.len() + length * 3 / 2 + ENTRY_BYTES);
                model.insert(key, value);
                if reads {
                    let (mut expected, mut found) = (Vec::new(), Vec::new());
                    let to = [0xff; 4];
                    if from.as_slice() < &to[..] {
                        let bounds = (Bound::Included(&from[..]), Bound::Excluded(&to[..]));
                        let range = model.range::<[u8], _>(bounds).take(limit);
                        expected.extend(range.map(|(k, v)| (k.clone(), v.clone())));
                        let take = |k: &[u8], v: Option<&[u8]>| {
                            found.push((k.to_vec(), v.map(<[u8]>::to_vec)));
                        };
                        layer.range(&from, &to, limit, take);
                    }
                    prop_assert_eq!(found, expected);
                }
            }
            for (key, value) in &model {
                prop_assert_eq!(layer.get(key), Some(value.as_deref()));
            }
            prop_assert_eq!(layer.get(b"another"), None);
            let sorted = layer.sorted();
            let expected = model.iter().map(|(key, value)| (&key[..], value.as_deref()));
            prop_assert!(sorted.into_iter().eq(expected));
        }
    }
}
