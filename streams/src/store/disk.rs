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
//! after it, so there is no way to go on within the process; whoever starts it again, with room on
//! the disk, restores the tail.

use std::io::ErrorKind;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use super::engine::{Opening, Openings, no_room, read_position, unreadable};
use super::{ChangeRef, Pair, Store};
use crate::error::{Error, Result};
use crate::record::Offset;

/// Entries of a leaf. Small leaves keep the write of one key cheap; sled's own examples use it.
const LEAF: usize = 1024;
/// Changes handed to sled at once: larger batches hold their memory (measured with sled 0.34,
/// and a bound does not cost the newer one anything).
const MAX_BATCH: usize = 500;

/// Ten years. Stores are flushed when they are written, and at no other time. Without an interval
/// sled flushes whenever a handle is dropped, that of a finished range included: on the thread that
/// reads, and after a failed write it waits there for ever.
const FLUSH_EVERY_MS: usize = 10 * 365 * 86_400_000;

const POSITION: [u8; 1] = [0];
const PAIR: u8 = 1;
const MADE: [u8; 1] = [2];

/// The database of one state directory; its trees are the stores.
///
/// A sled handle belongs to one thread at a time, so each store takes a clone of its own; the lock
/// guards the cloning.
pub struct Database {
    db: Mutex<sled::Db<LEAF>>,
    openings: Openings,
    /// Held for a flush, one at a time. True once one has failed: sled would let the next one wait
    /// for it for ever.
    flushing: Arc<Mutex<bool>>,
}

impl Database {
    /// Opens or creates the database in `path`, with that much memory for its cache.
    pub fn open(path: &std::path::Path, cache_bytes: usize) -> Result<Self> {
        let config = sled::Config::new()
            .path(path)
            .cache_capacity_bytes(cache_bytes)
            .flush_every_ms(Some(FLUSH_EVERY_MS));
        let opened = |db| Self {
            db: Mutex::new(db),
            openings: Openings::default(),
            flushing: Arc::default(),
        };
        config.open().map(opened).map_err(|error| {
            // Of a full disk: what is there is as it was.
            if is_full(&error) { no_room(&error) } else { unreadable(path, &error) }
        })
    }

    /// The store of that name; see [`super::engine::Database::store`].
    pub fn store(&self, name: &str) -> Result<Disk> {
        let db = self.db.lock().unwrap_or_else(PoisonError::into_inner);
        let tree = made(&db, name).map_err(|error| failed(&db, &error))?;
        let (opening, flushing) = (self.openings.open(name), Arc::clone(&self.flushing));
        Ok(Disk { tree: Mutex::new(tree), db: Mutex::new(db.clone()), opening, flushing })
    }

    /// Bytes on disk.
    pub fn size_bytes(&self) -> u64 {
        let db = self.db.lock().unwrap_or_else(PoisonError::into_inner);
        db.size_on_disk().unwrap_or(0)
    }
}

/// A tree that something was written to: sled evicts the leaf of one to which nothing was, and whoever
/// reads it then spins for ever (found by `make takeover`).
fn made(db: &sled::Db<LEAF>, name: &str) -> std::io::Result<sled::Tree<LEAF>> {
    let tree = db.open_tree(name)?;
    if tree.get(MADE)?.is_none() {
        // Dirty until it is flushed, and not evicted before.
        tree.insert(MADE, [])?;
    }
    Ok(tree)
}

/// Ordered pairs in one sled tree.
///
/// A sled handle belongs to one thread at a time. The tree's lock is held for one operation or one
/// bounded batch, never across a flush, so that readers wait for neither.
pub struct Disk {
    tree: Mutex<sled::Tree<LEAF>>,
    db: Mutex<sled::Db<LEAF>>,
    opening: Opening,
    flushing: Arc<Mutex<bool>>,
}

impl Disk {
    fn tree(&self) -> MutexGuard<'_, sled::Tree<LEAF>> {
        self.tree.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn flush(&self) -> Result<()> {
        let mut has_failed = self.flushing.lock().unwrap_or_else(PoisonError::into_inner);
        let db = self.db();
        if *has_failed {
            return Err(no_room(&std::io::Error::other("a write before this one has failed")));
        }
        let flushed = db.flush();
        *has_failed = flushed.is_err();
        flushed.map(|_| ()).map_err(|error| failed(&db, &error))
    }

    fn db(&self) -> MutexGuard<'_, sled::Db<LEAF>> {
        self.db.lock().unwrap_or_else(PoisonError::into_inner)
    }

    #[expect(clippy::needless_pass_by_value, reason = "it is the argument of map_err")]
    fn failed(&self, error: std::io::Error) -> Error {
        failed(&self.db(), &error)
    }
}

/// A database that has failed cannot be closed: a handle that is never dropped keeps it open.
fn failed(db: &sled::Db<LEAF>, error: &std::io::Error) -> Error {
    std::mem::forget(db.clone());
    no_room(error)
}

/// There is no room on the disk.
pub(super) fn is_full(error: &std::io::Error) -> bool {
    use ErrorKind::{FileTooLarge, QuotaExceeded, StorageFull};
    matches!(error.kind(), StorageFull | QuotaExceeded | FileTooLarge)
}

fn pair_key(key: &[u8]) -> Vec<u8> {
    let mut full = Vec::with_capacity(key.len() + 1);
    full.push(PAIR);
    full.extend_from_slice(key);
    full
}

impl Store for Disk {
    fn get(&self, key: &[u8]) -> Result<Option<Vec<u8>>> {
        let value = self.tree().get(pair_key(key)).map_err(|error| self.failed(error))?;
        Ok(value.map(|value| value.to_vec()))
    }

    fn range(&self, from: &[u8], to: &[u8], limit: usize) -> Result<Vec<Pair>> {
        if from >= to {
            return Ok(Vec::new());
        }
        let tree = self.tree();
        let pairs = tree.range(pair_key(from)..pair_key(to)).take(limit);
        pairs
            .map(|pair| pair.map(|(key, value)| (key[1..].to_vec(), value.to_vec())))
            .collect::<std::io::Result<_>>()
            .map_err(|error| self.failed(error))
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
            let write = || self.tree().apply_batch(batch).map_err(|error| self.failed(error));
            self.opening.write(write)?;
        }
        let Some(position) = position else {
            return Ok(());
        };
        self.flush()?;
        self.opening.write(|| {
            let position = position.0.to_be_bytes();
            self.tree().insert(POSITION, position).map_err(|error| self.failed(error))
        })?;
        self.flush()
    }

    fn position(&self) -> Result<Option<Offset>> {
        let Some(bytes) = self.tree().get(POSITION).map_err(|error| self.failed(error))? else {
            return Ok(None);
        };
        read_position(&bytes).map(Some)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The least that sled takes: a byte for each of its shards.
    const CACHE_BYTES: usize = 256;

    /// More leaves than shards: each shard has one to evict.
    fn fill(store: &Disk) -> Result<()> {
        let keys: Vec<_> = (0..400_000_u32).map(u32::to_be_bytes).collect();
        let changes: Vec<ChangeRef<'_>> =
            keys.iter().map(|key| (&key[..], Some(&[0][..]))).collect();
        store.apply(&changes, Some(Offset(1)))
    }

    /// Without what is written to a new tree, a look after the second filling never ends.
    #[test]
    fn an_empty_store_can_be_read_while_others_fill_the_cache() -> Result<()> {
        let directory = tempfile::tempdir().expect("a directory");
        for _opening in 0..2 {
            let database = Database::open(directory.path(), CACHE_BYTES)?;
            let (empty, full) = (database.store("empty")?, database.store("full")?);
            for _filling in 0..3 {
                fill(&full)?;
                // sled hears of accesses by the handful.
                for _look in 0..100 {
                    assert_eq!(empty.get(b"key")?, None);
                }
            }
            assert_eq!(empty.range(&[], &[0xff], 10)?, []);
            assert_eq!(empty.position()?, None);
        }
        Ok(())
    }
}
