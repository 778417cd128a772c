//! A store on disk: one sled tree.
//!
//! ```text
//! 0x00          position, i64 big-endian
//! 0x01 | key    value
//! ```
//!
//! The position is written and flushed after the changes that it claims, so a process that dies
//! between the two finds an older position and replays.
//!
//! A write that fails ends the application. sled keeps its first error for good and cannot be closed
//! after it, so there is no way to go on within the process; whoever starts it again, with room on
//! the disk, restores the tail.

use std::collections::HashMap;
use std::io::ErrorKind;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use super::{Change, Pair, Store};
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

/// The database of one state directory; its trees are the stores.
///
/// A sled handle belongs to one thread at a time, so each store takes a clone of its own; the lock
/// guards the cloning.
pub struct Database {
    db: Mutex<sled::Db<LEAF>>,
    /// By name: how often the store was opened. The number is locked while the store is written.
    openings: Mutex<HashMap<String, Arc<Mutex<u64>>>>,
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
        let opened =
            |db| Self { db: Mutex::new(db), openings: Mutex::default(), flushing: Arc::default() };
        config.open().map(opened).map_err(|error| match error.kind() {
            // What is there is as it was.
            ErrorKind::StorageFull | ErrorKind::QuotaExceeded | ErrorKind::FileTooLarge => {
                no_room(&error)
            }
            _ => Error::Corrupt(format!(
                "state directory {}: {error}; move it away and its stores are restored from the \
                 topics",
                path.display()
            )),
        })
    }

    /// The store of that name. Who opened it before can write to it no more: a thread that has lost
    /// a partition to another thread of this process may not know yet.
    pub fn store(&self, name: &str) -> Result<Disk> {
        let db = self.db.lock().unwrap_or_else(PoisonError::into_inner);
        let tree = db.open_tree(name).map_err(|error| failed(&db, &error))?;
        let mut openings = self.openings.lock().unwrap_or_else(PoisonError::into_inner);
        let latest = Arc::clone(openings.entry(name.to_owned()).or_default());
        let opening = {
            let mut latest = latest.lock().unwrap_or_else(PoisonError::into_inner);
            *latest += 1;
            *latest
        };
        let flushing = Arc::clone(&self.flushing);
        Ok(Disk { tree: Mutex::new(tree), db: Mutex::new(db.clone()), opening, latest, flushing })
    }

    /// Bytes on disk.
    pub fn size_bytes(&self) -> u64 {
        let db = self.db.lock().unwrap_or_else(PoisonError::into_inner);
        db.size_on_disk().unwrap_or(0)
    }
}

/// Ordered pairs in one sled tree.
///
/// A sled handle belongs to one thread at a time. The tree's lock is held for one operation or one
/// bounded batch, never across a flush, so that readers wait for neither.
pub struct Disk {
    tree: Mutex<sled::Tree<LEAF>>,
    db: Mutex<sled::Db<LEAF>>,
    opening: u64,
    latest: Arc<Mutex<u64>>,
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

fn no_room(error: &std::io::Error) -> Error {
    Error::Invalid(format!(
        "state store: {error}; make room on the disk of --state-dir, or move the state to another, \
         and start again"
    ))
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

    fn apply(&self, changes: &[Change], position: Option<Offset>) -> Result<()> {
        let latest = self.latest.lock().unwrap_or_else(PoisonError::into_inner);
        if *latest != self.opening {
            return Err(Error::Fenced("the state store was opened again".into()));
        }
        for part in changes.chunks(MAX_BATCH) {
            let mut batch = sled::Batch::default();
            for (key, value) in part {
                match value {
                    Some(value) => batch.insert(pair_key(key), value.as_slice()),
                    None => batch.remove(pair_key(key)),
                }
            }
            self.tree().apply_batch(batch).map_err(|error| self.failed(error))?;
        }
        if let Some(position) = position {
            self.flush()?;
            self.tree()
                .insert(POSITION, position.0.to_be_bytes())
                .map_err(|error| self.failed(error))?;
            self.flush()?;
        }
        Ok(())
    }

    fn position(&self) -> Result<Option<Offset>> {
        let Some(bytes) = self.tree().get(POSITION).map_err(|error| self.failed(error))? else {
            return Ok(None);
        };
        let bytes = bytes
            .as_ref()
            .try_into()
            .map_err(|_| Error::Corrupt("the position of a state store is not a number".into()))?;
        Ok(Some(Offset(i64::from_be_bytes(bytes))))
    }
}
