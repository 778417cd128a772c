//! Every handle of one sled database, so that it can be closed and opened again.
//!
//! sled 1.0.0-alpha.124 keeps in memory what a process has written, whatever the capacity of its
//! cache: it pages a leaf out only while the leaf is clean and was not written since it was read, and
//! its eviction after a flush looks for dirty leaves, of which the flush leaves none. Minutes of 5,000
//! pairs would cost 2 GB a day.
//!
//! Written bytes are therefore counted, each key once. At the bound the database is flushed, closed and
//! opened again, with new handles. Readers wait for 20 to 40 ms meanwhile.
//!
//! Leaves that change all the time are read again at once, and sled pages clean leaves out at its
//! capacity: with less memory each read would load a leaf, which costs more than 100 CPU-µs an event
//! with 1,000,000 keys. Bound and capacity are therefore at least [`ROUNDS`] times the bytes of each
//! store's last write.
//!
//! Order of locks: `flushing`, `stores`, each `tree`, `db`.

use std::collections::HashSet;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::time::Duration;

use rustc_hash::FxBuildHasher;

use crate::error::{Error, Result};
use crate::record::ChangeRef;
use crate::store::disk::{is_full, no_room, unreadable};
use crate::store::layer::hash;

/// Entries of a leaf. Small leaves keep the write of one key cheap; sled's own examples use it.
const LEAF: usize = 1024;
/// Ten years. Stores are flushed when they are written, and at no other time. Without an interval
/// sled flushes whenever a handle is dropped, that of a finished range included: on the thread that
/// reads, and after a failed write it waits there for ever.
const FLUSH_EVERY_MS: usize = 10 * 365 * 86_400_000;
/// Bytes of an entry of a leaf beside key and value: unused places in the leaf, and rounding by the
/// allocator.
const ENTRY_BYTES: usize = 96;
/// Writes of all stores that are held, however large they are. None in tests, so that each is followed
/// by another opening where no memory is given.
const ROUNDS: usize = if cfg!(test) { 0 } else { 4 };
/// One key of so many is counted, for all of them.
const SAMPLE: usize = 16;
/// The least that sled takes: a byte for each of its shards.
const MIN_CACHE: usize = 256;
const MADE: [u8; 1] = [2];
/// Attempts to lock the directory. A child process of another thread has a copy of the lock that was
/// just given up, from its fork until its exec.
const LOCK_ATTEMPTS: usize = 100;
/// Between two attempts.
const LOCK_PAUSE: Duration = Duration::from_millis(10);

type Db = sled::Db<LEAF>;
/// One store's tree.
pub(super) type Tree = sled::Tree<LEAF>;

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// A database and all handles of its trees.
///
/// A sled handle belongs to one thread at a time, so each store has one of its own behind a lock.
pub(super) struct TreeHandles {
    path: PathBuf,
    /// Half of the memory that there is.
    half: usize,
    /// `None` once it could not be opened again.
    db: Mutex<Option<Db>>,
    stores: Mutex<Vec<Weak<TreeHandle>>>,
    /// Held for a flush, one at a time. True once one has failed: sled would let the next one wait
    /// for it for ever.
    flushing: Mutex<bool>,
    written: Mutex<Written>,
}

/// The changes that sled has taken since it was opened.
#[derive(Default)]
struct Written {
    /// Hashes of store and key, of those that are counted.
    keys: HashSet<u64, FxBuildHasher>,
    bytes: usize,
}

impl Written {
    fn add(&mut self, key: u64, bytes: usize) {
        if (key >> 32).is_multiple_of(SAMPLE as u64) && self.keys.insert(key) {
            self.bytes += bytes * SAMPLE;
        }
    }
}

/// One store's tree, whichever opening of the database it is of.
pub(super) struct TreeHandle {
    name: String,
    /// Bytes of the last write that came to its end.
    round: AtomicUsize,
    /// Held for one operation or one bounded batch, never across a flush, so that readers wait for
    /// neither. `None` once the database could not be opened again.
    tree: Mutex<Option<Tree>>,
}

impl TreeHandles {
    /// Opens or creates the database in `path`. Half of the memory is for what is read, and half for
    /// what is written.
    pub(super) fn open(path: &Path, cache_bytes: usize) -> Result<Self> {
        let half = cache_bytes / 2;
        Ok(Self {
            path: path.to_owned(),
            half,
            db: Mutex::new(Some(open(path, half)?)),
            stores: Mutex::default(),
            flushing: Mutex::default(),
            written: Mutex::default(),
        })
    }

    /// A handle of the store of that name.
    pub(super) fn store(&self, name: &str) -> Result<Arc<TreeHandle>> {
        // The lock keeps the database open until the tree is in the list.
        let mut stores = lock(&self.stores);
        let tree = self.with_db(|db| made(db, name))?;
        let (name, tree) = (name.to_owned(), Mutex::new(Some(tree)));
        let handle = Arc::new(TreeHandle { name, round: AtomicUsize::new(0), tree });
        stores.retain(|handle| handle.strong_count() > 0);
        stores.push(Arc::downgrade(&handle));
        Ok(handle)
    }

    /// Does something to a store.
    pub(super) fn with<R>(
        &self,
        handle: &TreeHandle,
        act: impl FnOnce(&Tree) -> io::Result<R>,
    ) -> Result<R> {
        let tree = lock(&handle.tree);
        let tree = tree.as_ref().ok_or_else(closed)?;
        act(tree).map_err(|error| self.failed(&error))
    }

    /// There is a tree of that name, as far as it can be read.
    pub(super) fn has_tree(&self, name: &str) -> bool {
        self.with_db(|db| db.contains_tree(name)).unwrap_or(false)
    }

    fn with_db<R>(&self, act: impl FnOnce(&Db) -> io::Result<R>) -> Result<R> {
        let db = lock(&self.db);
        let db = db.as_ref().ok_or_else(closed)?;
        act(db).map_err(|error| failed(db, &error))
    }

    /// Notes what a store is given.
    pub(super) fn note(&self, handle: &TreeHandle, changes: &[ChangeRef<'_>]) {
        let (store, mut written) = (hash(handle.name.as_bytes()), lock(&self.written));
        let mut round = 0;
        for (key, value) in changes {
            let bytes = key.len() + value.map_or(0, <[u8]>::len) + ENTRY_BYTES;
            written.add(hash(key) ^ store, bytes);
            round += bytes;
        }
        handle.round.store(round, Ordering::Relaxed);
    }

    /// Brings what is written to the disk.
    pub(super) fn flush(&self) -> Result<()> {
        self.flush_alone(&mut lock(&self.flushing))
    }

    fn flush_alone(&self, has_failed: &mut bool) -> Result<()> {
        if *has_failed {
            return Err(no_room(&"a write before this one has failed"));
        }
        // A handle of its own, so that no other thread waits for the lock during the flush.
        let db = lock(&self.db).clone().ok_or_else(closed)?;
        let flushed = db.flush();
        *has_failed = flushed.is_err();
        flushed.map(|_| ()).map_err(|error| failed(&db, &error))
    }

    /// Closes and opens the database when it holds too much of what was written; it is flushed then.
    pub(super) fn reopen_if_due(&self) -> Result<()> {
        let mut flushing = lock(&self.flushing);
        let stores = lock(&self.stores);
        let handles: Vec<_> = stores.iter().filter_map(Weak::upgrade).collect();
        let round: usize = handles.iter().map(|handle| handle.round.load(Ordering::Relaxed)).sum();
        let bound = self.half.max(ROUNDS * round);
        let held = lock(&self.written).bytes;
        if held < bound {
            return Ok(());
        }
        tracing::debug!(held, bound, "the state store is opened again");
        let mut trees: Vec<_> = handles.iter().map(|handle| lock(&handle.tree)).collect();
        // All trees are locked. Later writes are flushed before the close: a handle that cannot flush
        // when it is dropped blocks for ever.
        self.flush_alone(&mut flushing)?;
        for tree in &mut trees {
            **tree = None;
        }
        let mut db = lock(&self.db);
        *db = None;
        let opened = open(&self.path, bound)?;
        for (handle, tree) in handles.iter().zip(&mut trees) {
            **tree = Some(made(&opened, &handle.name).map_err(|error| failed(&opened, &error))?);
        }
        *db = Some(opened);
        *lock(&self.written) = Written::default();
        Ok(())
    }

    /// Bytes on disk.
    pub(super) fn size_bytes(&self) -> u64 {
        self.with_db(Db::size_on_disk).unwrap_or(0)
    }

    fn failed(&self, error: &io::Error) -> Error {
        match &*lock(&self.db) {
            Some(db) => failed(db, error),
            None => no_room(error),
        }
    }
}

fn open(path: &Path, capacity: usize) -> Result<Db> {
    let config = sled::Config::new()
        .path(path)
        .cache_capacity_bytes(capacity.max(MIN_CACHE))
        .flush_every_ms(Some(FLUSH_EVERY_MS));
    let mut opened = config.open();
    for _ in 0..LOCK_ATTEMPTS {
        if !opened.as_ref().is_err_and(|error| error.kind() == io::ErrorKind::WouldBlock) {
            break;
        }
        pause();
        opened = config.open();
    }
    opened.map_err(|error| {
        // Of a full disk: what is there is as it was.
        if is_full(&error) { no_room(&error) } else { unreadable(path, &error) }
    })
}

#[expect(clippy::disallowed_methods, reason = "the disk is an edge, and the attempts are counted")]
fn pause() {
    std::thread::sleep(LOCK_PAUSE);
}

/// Opens a tree and writes an entry to it: sled evicts the leaf of an empty tree, and a read of it then
/// spins for ever.
fn made(db: &Db, name: &str) -> io::Result<Tree> {
    let tree = db.open_tree(name)?;
    if tree.get(MADE)?.is_none() {
        // Dirty until it is flushed, and not evicted before.
        tree.insert(MADE, [])?;
    }
    Ok(tree)
}

/// A database that has failed cannot be closed: a handle that is never dropped keeps it open.
fn failed(db: &Db, error: &io::Error) -> Error {
    std::mem::forget(db.clone());
    no_room(error)
}

fn closed() -> Error {
    no_room(&"it could not be opened again")
}
