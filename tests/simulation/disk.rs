//! A member's disk: stores that outlive the process, and what may happen to them.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use streams::record::Offset;
use streams::store::{ChangeRef, KeyValue, MemoryStore, Store};
use streams::{Error, Result};

use super::log::Pairs;

/// No write is going to be torn.
const WHOLE: usize = usize::MAX;

/// One store. Clones are the same store.
#[derive(Clone)]
pub(crate) struct Disk(Arc<State>);

struct State {
    /// Swapped when the disk falls back; one thread, so never waited for.
    memory: Mutex<MemoryStore>,
    /// How many changes and positions get through before the power fails.
    torn: AtomicUsize,
}

impl Default for Disk {
    fn default() -> Self {
        Self(Arc::new(State { memory: Mutex::default(), torn: AtomicUsize::new(WHOLE) }))
    }
}

impl Disk {
    fn memory(&self) -> std::sync::MutexGuard<'_, MemoryStore> {
        self.0.memory.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The power fails after that many more changes and positions.
    pub(crate) fn tear(&self, after: usize) {
        self.0.torn.store(after, Ordering::Relaxed);
    }

    /// The power does not fail.
    pub(crate) fn mend(&self) {
        self.tear(WHOLE);
    }

    /// Everything on it.
    pub(crate) fn pairs(&self) -> Result<Pairs> {
        Ok(self.range(&[], &[0xff; 64], usize::MAX)?.into_iter().collect())
    }

    /// Its state now, to fall back to.
    pub(crate) fn snapshot(&self) -> Result<MemoryStore> {
        let copy = MemoryStore::default();
        let pairs = self.pairs()?;
        let changes: Vec<_> = pairs.iter().map(|(k, v)| (&k[..], Some(&v[..]))).collect();
        copy.apply(&changes, self.position()?)?;
        Ok(copy)
    }

    /// Falls back to an older state.
    pub(crate) fn fall_back(&self, older: MemoryStore) {
        *self.memory() = older;
    }
}

impl Store for Disk {
    fn get(&self, key: &[u8]) -> Result<Option<Vec<u8>>> {
        self.memory().get(key)
    }

    fn range(&self, from: &[u8], to: &[u8], limit: usize) -> Result<Vec<KeyValue>> {
        self.memory().range(from, to, limit)
    }

    fn apply(&self, changes: &[ChangeRef<'_>], position: Option<Offset>) -> Result<()> {
        let torn = self.0.torn.swap(WHOLE, Ordering::Relaxed);
        let cost = changes.len() + usize::from(position.is_some());
        if torn == WHOLE || cost <= torn {
            self.tear(if torn == WHOLE { WHOLE } else { torn - cost });
            return self.memory().apply(changes, position);
        }
        self.memory().apply(&changes[..torn.min(changes.len())], None)?;
        Err(Error::Unavailable("the power failed".into()))
    }

    fn position(&self) -> Result<Option<Offset>> {
        self.memory().position()
    }

    fn expire(&self, before: &[u8]) -> Result<()> {
        self.memory().expire(before)
    }
}
