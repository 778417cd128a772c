//! A store on disk: one fjall keyspace, a log-structured merge tree.
//!
//! ```text
//! 0x00          position, i64 big-endian
//! 0x01 | key    value
//! ```
//!
//! A long sorted run, which is what a store is mostly given, becomes one new table, past journal and
//! memory tables, and holds its own position: it is there as a whole or not at all. Short ones go
//! through the journal, position last; the journal keeps their order, so what is lost when a machine
//! dies is the end of it, which the next start restores.
//!
//! A write that fails ends the application: fjall refuses all further ones.

mod segmented;

use std::path::Path;
use std::sync::Arc;

use self::segmented::SegmentedStore;
use super::Store;
use super::disk::{Epoch, Epochs, is_full, no_room, read_position, unreadable};
use crate::error::{Error, Result};
use crate::record::{ChangeRef, KeyValue, Offset};
use crate::retention::Retention;

/// Changes of a run that becomes a table; a table for each handful would cost more to merge than the
/// journal does to write. Few in tests, so that both ways are met.
const RUN: usize = if cfg!(test) { 4 } else { 4096 };
/// Changes of one entry of the journal.
const MAX_BATCH: usize = 4096;
/// Bytes that short runs gather in memory for each store before they become a table.
const MEMTABLE_BYTES: u64 = 4 << 20;
/// The least that fjall takes: what an opening may have to read again.
const JOURNAL_BYTES: u64 = 64 << 20;
/// Merges tables and writes memory tables; more would compete with the workers.
const THREADS: usize = 1;

const POSITION: [u8; 1] = [0];
const PAIR: u8 = 1;

/// The database of one state directory; its keyspaces are the stores.
pub struct FjallDatabase {
    db: fjall::Database,
    epochs: Epochs,
}

impl FjallDatabase {
    /// Opens or creates the database in `path`, with that much memory for its cache.
    pub fn open(path: &Path, cache_bytes: usize) -> Result<Self> {
        let db = fjall::Database::builder(path)
            .cache_size(cache_bytes as u64)
            .max_journaling_size(JOURNAL_BYTES)
            .worker_threads(THREADS)
            .open();
        match db {
            Ok(db) => Ok(Self { db, epochs: Epochs::default() }),
            Err(fjall::Error::Io(error)) if is_full(&error) => Err(no_room(&error)),
            Err(error) => Err(unreadable(path, &error)),
        }
    }

    /// The store of that name; see [`super::engine::Database::store`].
    pub fn store(&self, name: &str) -> Result<FjallStore> {
        let options = || fjall::KeyspaceCreateOptions::default().max_memtable_size(MEMTABLE_BYTES);
        let keyspace = self.db.keyspace(name, options).map_err(failed)?;
        Ok(FjallStore { keyspace, db: self.db.clone(), epoch: self.epochs.open(name) })
    }

    /// [`Self::store`] of a windowed store.
    pub fn windowed(self: &Arc<Self>, name: &str, retention: Retention) -> Result<Box<dyn Store>> {
        Ok(Box::new(SegmentedStore::open(Arc::clone(self), name, retention)?))
    }

    /// There is a store of that name.
    pub fn has_store(&self, name: &str) -> bool {
        self.db.keyspace_exists(name)
    }

    /// Removes the store of that name, which nobody has open.
    pub fn remove_store(&self, name: &str) -> Result<()> {
        if self.has_store(name) {
            let keyspace = self.db.keyspace(name, Default::default).map_err(failed)?;
            self.db.delete_keyspace(keyspace).map_err(failed)?;
        }
        Ok(())
    }

    /// Bytes on disk.
    pub fn size_bytes(&self) -> u64 {
        self.db.disk_space().unwrap_or(0)
    }
}

/// Ordered pairs in one keyspace.
pub struct FjallStore {
    keyspace: fjall::Keyspace,
    db: fjall::Database,
    epoch: Epoch,
}

#[expect(clippy::needless_pass_by_value, reason = "it is the argument of map_err")]
fn failed(error: fjall::Error) -> Error {
    no_room(&error)
}

fn pair_key(key: &[u8]) -> fjall::Slice {
    [&[PAIR], key].concat().into()
}

impl FjallStore {
    /// As one new table.
    fn ingest(&self, changes: &[ChangeRef<'_>], position: Option<Offset>) -> Result<()> {
        let write = || {
            let mut run = self.keyspace.start_ingestion()?;
            if let Some(position) = position {
                // Its key is before all others.
                run.write(POSITION, position.0.to_be_bytes())?;
            }
            for (key, value) in changes {
                match value {
                    Some(value) => run.write(pair_key(key), *value)?,
                    None => run.write_tombstone(pair_key(key))?,
                }
            }
            Ok::<_, fjall::Error>(run)
        };
        let run = write().map_err(failed)?;
        // Until then nobody sees any of it.
        self.epoch.write(|| run.finish().map_err(failed))
    }

    /// Through the journal.
    fn batch(&self, changes: &[ChangeRef<'_>], position: Option<Offset>) -> Result<()> {
        for part in changes.chunks(MAX_BATCH) {
            let mut batch = self.db.batch();
            for (key, value) in part {
                match value {
                    Some(value) => batch.insert(&self.keyspace, pair_key(key), *value),
                    None => batch.remove(&self.keyspace, pair_key(key)),
                }
            }
            self.epoch.write(|| batch.commit().map_err(failed))?;
        }
        let Some(position) = position else {
            return Ok(());
        };
        self.epoch.write(|| {
            let position = position.0.to_be_bytes();
            self.keyspace.insert(POSITION, position).map_err(failed)
        })?;
        self.db.persist(fjall::PersistMode::SyncAll).map_err(failed)
    }
}

impl Store for FjallStore {
    fn get(&self, key: &[u8]) -> Result<Option<Vec<u8>>> {
        let value = self.keyspace.get(pair_key(key)).map_err(failed)?;
        Ok(value.map(|value| value.to_vec()))
    }

    fn range(&self, from: &[u8], to: &[u8], limit: usize) -> Result<Vec<KeyValue>> {
        if from >= to {
            return Ok(Vec::new());
        }
        let pairs = self.keyspace.range(pair_key(from)..pair_key(to)).take(limit);
        pairs
            .map(|pair| pair.into_inner().map(|(key, value)| (key[1..].to_vec(), value.to_vec())))
            .collect::<fjall::Result<_>>()
            .map_err(failed)
    }

    fn apply(&self, changes: &[ChangeRef<'_>], position: Option<Offset>) -> Result<()> {
        let is_run = changes.len() >= RUN && changes.is_sorted_by(|(a, _), (b, _)| a < b);
        if is_run { self.ingest(changes, position) } else { self.batch(changes, position) }
    }

    fn position(&self) -> Result<Option<Offset>> {
        let bytes = self.keyspace.get(POSITION).map_err(failed)?;
        bytes.map(|bytes| read_position(&bytes)).transpose()
    }
}
