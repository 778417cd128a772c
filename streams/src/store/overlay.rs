//! What is committed but not yet on disk, in front of the store that will hold it.
//!
//! ```text
//! post_commit ─► live ──freeze(position)──► frozen ──write_frozen──► store
//! reads:         live,   then                frozen,   then          store
//! ```
//!
//! A key changed a hundred times between two freezes is written once. Invariants:
//! - Every committed change is in live, frozen or store.
//! - The position given to `freeze` covers nothing that is not in live at that moment, in frozen
//!   or in the store; the store gets it only after the frozen changes.

use std::collections::BTreeSet;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, RwLock};

use rustc_hash::FxHashMap;

use super::{Change, Freshness, Pair, Store};
use crate::error::Result;
use crate::record::Offset;

/// Bytes that an entry costs beyond its key and value: two pointers, two lengths, two map slots.
const ENTRY_BYTES: usize = 96;

/// Changes by key. `order` holds the same keys sorted, and is touched only when a key is new.
#[derive(Debug, Default)]
struct Layer {
    changes: FxHashMap<Arc<[u8]>, Option<Vec<u8>>>,
    order: BTreeSet<Arc<[u8]>>,
    bytes: usize,
}

impl Layer {
    fn set(&mut self, key: &[u8], value: Option<&[u8]>) {
        if let Some(held) = self.changes.get_mut(key) {
            self.bytes -= held.as_ref().map_or(0, Vec::len);
            match (held.as_mut(), value) {
                (Some(held), Some(value)) => {
                    held.clear();
                    held.extend_from_slice(value);
                }
                _ => *held = value.map(<[u8]>::to_vec),
            }
        } else {
            let key: Arc<[u8]> = key.into();
            self.bytes += key.len() + ENTRY_BYTES;
            self.order.insert(Arc::clone(&key));
            self.changes.insert(key, value.map(<[u8]>::to_vec));
        }
        self.bytes += value.map_or(0, <[u8]>::len);
    }

    /// The changes within a range, in key order.
    fn range(&self, from: &[u8], to: &[u8]) -> impl Iterator<Item = (&[u8], Option<&[u8]>)> {
        let bounds = (std::ops::Bound::Included(from), std::ops::Bound::Excluded(to));
        self.order.range::<[u8], _>(bounds).filter_map(|key| {
            let value = self.changes.get(key)?;
            Some((key.as_ref(), value.as_deref()))
        })
    }
}

/// The committed state of one store and partition, readable from any thread.
pub struct Committed {
    /// Written by the task's thread once a commit, read by queries; held for one operation.
    layers: RwLock<Layers>,
    /// One writer of the store at a time: the background writer or the closing task.
    writing: Mutex<()>,
    store: Box<dyn Store>,
    freshness: Freshness,
}

#[derive(Default)]
struct Layers {
    live: Layer,
    frozen: Option<(Arc<Layer>, Offset)>,
}

impl Committed {
    /// `store` with nothing in front of it.
    pub fn new(store: Box<dyn Store>) -> Self {
        let freshness = Freshness::default();
        Self { layers: RwLock::default(), writing: Mutex::default(), store, freshness }
    }

    fn layers(&self) -> std::sync::RwLockReadGuard<'_, Layers> {
        self.layers.read().unwrap_or_else(PoisonError::into_inner)
    }

    fn writer(&self) -> MutexGuard<'_, ()> {
        self.writing.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The committed value of `key`.
    pub fn get(&self, key: &[u8]) -> Result<Option<Vec<u8>>> {
        {
            let layers = self.layers();
            let frozen = layers.frozen.as_ref().map(|(layer, _)| layer.as_ref());
            for layer in std::iter::once(&layers.live).chain(frozen) {
                if let Some(change) = layer.changes.get(key) {
                    return Ok(change.clone());
                }
            }
        }
        self.store.get(key)
    }

    /// At most `limit` committed pairs with `from <= key < to`, in key order.
    pub fn range(&self, from: &[u8], to: &[u8], limit: usize) -> Result<Vec<Pair>> {
        if from >= to {
            return Ok(Vec::new());
        }
        // Taken before the store is read: what moves to the store meanwhile is seen twice, with
        // the same value, and never missed.
        let mut changes = std::collections::BTreeMap::new();
        {
            let layers = self.layers();
            let frozen = layers.frozen.iter().flat_map(|(layer, _)| layer.range(from, to));
            for (key, value) in frozen.chain(layers.live.range(from, to)) {
                changes.insert(key.to_vec(), value.map(<[u8]>::to_vec));
            }
        }
        // Each deleted key may hide one pair of the store.
        let hidden = changes.values().filter(|value| value.is_none()).count();
        let stored = self.store.range(from, to, limit.saturating_add(hidden))?;
        for (key, value) in stored {
            changes.entry(key).or_insert(Some(value));
        }
        let pairs = changes.into_iter().filter_map(|(key, value)| Some((key, value?)));
        Ok(pairs.take(limit).collect())
    }

    /// Takes committed changes.
    pub fn commit<'a>(&self, changes: impl Iterator<Item = (&'a [u8], Option<&'a [u8]>)>) {
        let mut layers = self.layers.write().unwrap_or_else(PoisonError::into_inner);
        for (key, value) in changes {
            layers.live.set(key, value);
        }
    }

    /// Bytes in front of the store.
    pub fn overlay_bytes(&self) -> usize {
        let layers = self.layers();
        layers.live.bytes + layers.frozen.as_ref().map_or(0, |(layer, _)| layer.bytes)
    }

    /// Sets the changes so far apart, to be written up to `position`. False, and nothing done,
    /// while an earlier freeze is not yet written.
    pub fn freeze(&self, position: Offset) -> bool {
        let mut layers = self.layers.write().unwrap_or_else(PoisonError::into_inner);
        if layers.frozen.is_some() {
            return false;
        }
        self.freshness.claims(position);
        let live = std::mem::take(&mut layers.live);
        layers.frozen = Some((Arc::new(live), position));
        true
    }

    /// Writes what is frozen, sorted, its position last. Blocks: off the processing path.
    pub fn write_frozen(&self) -> Result<()> {
        let _one_at_a_time = self.writer();
        let Some((layer, position)) = self.layers().frozen.clone() else {
            return Ok(());
        };
        let sorted = layer
            .order
            .iter()
            .filter_map(|key| layer.changes.get(key).map(|value| (key.to_vec(), value.clone())));
        self.store.apply(&sorted.collect::<Vec<_>>(), Some(position))?;
        self.layers.write().unwrap_or_else(PoisonError::into_inner).frozen = None;
        Ok(())
    }

    /// Restored changes, straight into the store: nothing is in front of it yet.
    pub fn restore(&self, changes: &[Change], position: Option<Offset>) -> Result<()> {
        let _one_at_a_time = self.writer();
        self.store.apply(changes, position)
    }

    /// How far it has come, overlay and all.
    pub const fn freshness(&self) -> &Freshness {
        &self.freshness
    }

    /// The store's position: what is in front of it is not counted.
    pub fn position(&self) -> Result<Option<Offset>> {
        self.store.position()
    }
}
