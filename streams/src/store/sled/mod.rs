//! A store on disk: one sled tree.
//!
//! ```text
//! 0x00          position, i64 big-endian
//! 0x01 | key    value
//! 0x02          nothing: the tree was made
//! ```
//!
//! The position is written and flushed after the changes that it claims, so a process that dies
//! between the two finds an older position and replays.
//!
//! A write that fails ends the application. sled keeps its first error for good and cannot be closed
//! after it, so the process cannot go on. The next start, with room on the disk, restores the rest.

mod handles;

use std::sync::Arc;

use self::handles::{TreeHandle, TreeHandles};
use super::Store;
use super::disk::{Epoch, Epochs, read_position};
use crate::error::Result;
use crate::record::{ChangeRef, KeyValue, Offset};

/// Changes handed to sled at once: larger batches hold their memory (measured with sled 0.34,
/// and a bound does not cost the newer one anything).
const MAX_BATCH: usize = 500;

/// Pairs that are removed while a tree is locked.
const MAX_REMOVED: usize = if cfg!(test) { 2 } else { 500 };
/// Parts of [`MAX_REMOVED`] expired pairs that one write of a store removes.
const EXPIRED_PARTS: usize = if cfg!(test) { 2 } else { 400 };

const POSITION: [u8; 1] = [0];
const PAIR: u8 = 1;

/// The database of one state directory; its trees are the stores.
pub struct SledDatabase {
    handles: Arc<TreeHandles>,
    epochs: Epochs,
}

impl SledDatabase {
    /// Opens or creates the database in `path`, with that much memory for what it holds of it.
    pub fn open(path: &std::path::Path, cache_bytes: usize) -> Result<Self> {
        let handles = Arc::new(TreeHandles::open(path, cache_bytes)?);
        Ok(Self { handles, epochs: Epochs::default() })
    }

    /// The store of that name; see [`super::engine::Database::store`].
    pub fn store(&self, name: &str) -> Result<SledStore> {
        let (handle, epoch) = (self.handles.store(name)?, self.epochs.open(name));
        Ok(SledStore { handle, handles: Arc::clone(&self.handles), epoch })
    }

    /// There is a store of that name that was written.
    pub fn has_store(&self, name: &str) -> bool {
        self.handles.has_tree(name)
            && self.store(name).and_then(|store| store.position()).is_ok_and(|at| at.is_some())
    }

    /// Empties the store of that name, which nobody has open. The tree stays: sled cannot open a
    /// database again after `drop_tree`.
    pub fn remove_store(&self, name: &str) -> Result<()> {
        let store = self.store(name)?;
        while store.remove_before(&[PAIR + 1])? {}
        self.handles.with(&store.handle, |tree| tree.remove(POSITION))?;
        self.handles.flush()
    }

    /// Bytes on disk.
    pub fn size_bytes(&self) -> u64 {
        self.handles.size_bytes()
    }
}

/// Ordered pairs in one sled tree.
pub struct SledStore {
    handle: Arc<TreeHandle>,
    handles: Arc<TreeHandles>,
    epoch: Epoch,
}

fn pair_key(key: &[u8]) -> Vec<u8> {
    let mut full = Vec::with_capacity(key.len() + 1);
    full.push(PAIR);
    full.extend_from_slice(key);
    full
}

impl SledStore {
    /// Removes the first pairs with `key < end`; false when these were all. One at a time: a batch of
    /// deletes leaves the emptied leaves in the index for good.
    fn remove_before(&self, end: &[u8]) -> Result<bool> {
        let remove = |tree: &handles::Tree| {
            let keys = tree.range([PAIR]..).keys().take(MAX_REMOVED);
            let expired = |key: &std::io::Result<sled::InlineArray>| {
                key.as_ref().map_or(true, |key| **key < *end)
            };
            let keys = keys.take_while(expired).collect::<std::io::Result<Vec<_>>>()?;
            keys.iter().try_for_each(|key| tree.remove(key).map(drop))?;
            Ok(keys.len() == MAX_REMOVED)
        };
        self.epoch.write(|| self.handles.with(&self.handle, remove))
    }
}

impl Store for SledStore {
    fn get(&self, key: &[u8]) -> Result<Option<Vec<u8>>> {
        let value = self.handles.with(&self.handle, |tree| tree.get(pair_key(key)))?;
        Ok(value.map(|value| value.to_vec()))
    }

    fn range(&self, from: &[u8], to: &[u8], limit: usize) -> Result<Vec<KeyValue>> {
        if from >= to {
            return Ok(Vec::new());
        }
        let end = pair_key(to);
        self.handles.with(&self.handle, |tree| {
            // sled looks for the next pair of a range with an end in all leaves behind it.
            let pairs = tree.range(pair_key(from)..).take(limit);
            let within = |pair: &std::io::Result<(sled::InlineArray, _)>| {
                pair.as_ref().map_or(true, |(key, _)| **key < *end)
            };
            let owned = |(key, value): (sled::InlineArray, sled::InlineArray)| {
                (key[1..].to_vec(), value.to_vec())
            };
            pairs.take_while(within).map(|pair| pair.map(owned)).collect()
        })
    }

    fn apply(&self, changes: &[ChangeRef<'_>], position: Option<Offset>) -> Result<()> {
        for part in changes.chunks(MAX_BATCH) {
            let mut batch = sled::Batch::default();
            for (key, value) in part {
                match value {
                    Some(value) => batch.insert(pair_key(key), *value),
                    None => batch.remove(pair_key(key)),
                }
            }
            let write = || self.handles.with(&self.handle, |tree| tree.apply_batch(batch));
            self.epoch.write(write)?;
        }
        self.handles.note(&self.handle, changes);
        let Some(position) = position else {
            return Ok(());
        };
        self.handles.flush()?;
        let position = position.0.to_be_bytes();
        let write = || self.handles.with(&self.handle, |tree| tree.insert(POSITION, position));
        self.epoch.write(write)?;
        self.handles.flush()?;
        self.handles.reopen_if_due()
    }

    fn expire(&self, before: &[u8]) -> Result<()> {
        let end = pair_key(before);
        for _part in 0..EXPIRED_PARTS {
            if !self.remove_before(&end)? {
                break;
            }
        }
        Ok(())
    }

    fn position(&self) -> Result<Option<Offset>> {
        let bytes = self.handles.with(&self.handle, |tree| tree.get(POSITION))?;
        bytes.map(|bytes| read_position(&bytes)).transpose()
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicBool, Ordering};

    use super::*;

    /// The least that sled takes: a byte for each of its shards.
    const CACHE_BYTES: usize = 256;

    /// More leaves than shards: each shard has one to evict. Without a position, so that the database
    /// is not opened again, which would bring back what was evicted.
    fn fill(store: &SledStore) -> Result<()> {
        let keys: Vec<_> = (0..400_000_u32).map(u32::to_be_bytes).collect();
        let changes: Vec<ChangeRef<'_>> =
            keys.iter().map(|key| (&key[..], Some(&[0][..]))).collect();
        store.apply(&changes, None)
    }

    /// Without what is written to a new tree, a look after the second filling never ends.
    #[test]
    fn an_empty_store_can_be_read_while_others_fill_the_cache() -> Result<()> {
        let directory = tempfile::tempdir().expect("a directory");
        for _opening in 0..2 {
            let database = SledDatabase::open(directory.path(), CACHE_BYTES)?;
            let (empty, full) = (database.store("empty")?, database.store("full")?);
            for _filling in 0..3 {
                fill(&full)?;
                // sled records accesses in batches.
                for _look in 0..100 {
                    assert_eq!(empty.get(b"key")?, None);
                }
            }
            assert_eq!(empty.range(&[], &[0xff], 10)?, []);
            assert_eq!(empty.position()?, None);
        }
        Ok(())
    }

    /// Two threads read a key that changes all the time, while the database is opened again.
    #[test]
    fn a_store_is_read_while_its_database_is_opened_again() -> Result<()> {
        const ROUNDS: i64 = 40;
        let directory = tempfile::tempdir().expect("a directory");
        // The least that there is: it is opened again with every write.
        let database = SledDatabase::open(directory.path(), 0)?;
        let (store, other) = (database.store("store")?, database.store("other")?);
        let ends = AtomicBool::new(false);
        let read = |store: &SledStore| -> Result<usize> {
            let (mut newest, mut looks) = (0, 0);
            while !ends.load(Ordering::Relaxed) {
                let number = store.get(b"key")?.map_or(0, |value| i64::from(value[0]));
                assert!(number >= newest, "{number} after {newest}");
                assert_eq!(other.range(&[], &[0xff], 10)?, []);
                (newest, looks) = (number, looks + 1);
            }
            Ok(looks)
        };
        std::thread::scope(|scope| {
            let readers: Vec<_> = (0..2).map(|_| scope.spawn(|| read(&store))).collect();
            let written = (1..=ROUNDS).try_for_each(|round| {
                let value = [u8::try_from(round).unwrap_or(u8::MAX)];
                store.apply(&[(b"key", Some(&value))], Some(Offset(round)))
            });
            ends.store(true, Ordering::Relaxed);
            for reader in readers {
                assert!(reader.join().expect("a reader")? > 0);
            }
            written
        })?;
        assert_eq!(store.position()?, Some(Offset(ROUNDS)));
        Ok(())
    }
}
