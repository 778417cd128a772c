//! The committed state of a store: an overlay in memory in front of the store on disk.
//!
//! ```text
//! post_commit ─► live ──freeze(position)──► frozen ──write_frozen──► written, and the store
//! reads:         live,   then                frozen,   then          written,    then the store
//! ```
//!
//! A key that changes a hundred times between two freezes is written once. The layer that was written
//! last stays in memory until the next one is: its keys are likely to be read again, and a read of the
//! store takes ten times as long. Invariants:
//! - Every committed change is in live, frozen or store.
//! - The position given to `freeze` covers nothing that is not in live at that moment, in frozen
//!   or in the store; the store gets it only after the frozen changes.
//! - What is in written is in the store as well.
//! - What has expired is in none of the answers, also where it is still held.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, RwLock};

use super::layer::Layer;
use super::{Freshness, Store};
use crate::error::Result;
use crate::record::{KeyValue, Offset};
use crate::retention::{self, BITS, Retention};

/// A larger layer is dropped once it is written: that of a restore would fill the memory.
const MAX_WRITTEN: usize = 48 << 20;
/// Greater than every key of a windowed store.
const AFTER_WINDOWS: [u8; 9] = [u8::MAX; 9];

/// Changes in front of a store, with the end of what is known of them.
type Page = (BTreeMap<Vec<u8>, Option<Vec<u8>>>, Vec<u8>);

/// The committed state of one store and partition, readable from any thread.
pub struct Committed {
    /// Written by the task's thread once a commit, read by queries; held for one operation.
    layers: RwLock<Layers>,
    /// One writer of the store at a time: the background writer or the closing task.
    writing: Mutex<()>,
    store: Box<dyn Store>,
    freshness: Freshness,
    /// Of a windowed store.
    retention: Option<Retention>,
    /// The expiry clock: the largest segment among the changes.
    newest: AtomicU64,
}

#[derive(Default)]
struct Layers {
    live: Layer,
    frozen: Option<(Arc<Layer>, Offset)>,
    written: Option<Arc<Layer>>,
}

impl Committed {
    /// `store` with nothing in front of it.
    pub fn new(store: Box<dyn Store>) -> Self {
        Self {
            layers: RwLock::default(),
            writing: Mutex::default(),
            store,
            freshness: Freshness::default(),
            retention: None,
            newest: AtomicU64::new(0),
        }
    }

    /// The same of a windowed store. The expiry clock goes on from the newest window that it has.
    pub fn windowed(store: Box<dyn Store>, retention: Retention) -> Result<Self> {
        let mut newest = 0;
        for bit in (0..BITS).rev() {
            let segment = newest | 1 << bit;
            if !store.range(&Retention::first_key(segment), &AFTER_WINDOWS, 1)?.is_empty() {
                newest = segment;
            }
        }
        let (retention, newest) = (Some(retention), AtomicU64::new(newest));
        Ok(Self { retention, newest, ..Self::new(store) })
    }

    fn layers(&self) -> std::sync::RwLockReadGuard<'_, Layers> {
        self.layers.read().unwrap_or_else(PoisonError::into_inner)
    }

    fn writer(&self) -> MutexGuard<'_, ()> {
        self.writing.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// How long a windowed store keeps its windows.
    pub const fn retention(&self) -> Option<Retention> {
        self.retention
    }

    /// The expiry clock of a windowed store.
    pub fn newest_segment(&self) -> u64 {
        self.newest.load(Ordering::Relaxed)
    }

    /// The first key that has not expired, of a windowed store.
    fn first_kept(&self) -> Option<[u8; retention::PREFIX]> {
        let first = self.retention?.first_kept(self.newest_segment());
        Some(Retention::first_key(first))
    }

    fn is_expired(&self, key: &[u8]) -> bool {
        self.first_kept().is_some_and(|first| *key < first[..])
    }

    /// The committed value of `key`.
    pub fn get(&self, key: &[u8]) -> Result<Option<Vec<u8>>> {
        self.read(key, |value| value.map(<[u8]>::to_vec))
    }

    /// Gives the committed value of `key` to `read`, which is not to take long.
    pub fn read<R>(&self, key: &[u8], read: impl FnOnce(Option<&[u8]>) -> R) -> Result<R> {
        if self.is_expired(key) {
            return Ok(read(None));
        }
        {
            let layers = self.layers();
            let frozen = layers.frozen.as_ref().map(|(layer, _)| layer.as_ref());
            let written = layers.written.as_deref();
            for layer in std::iter::once(&layers.live).chain(frozen).chain(written) {
                if let Some(change) = layer.get(key) {
                    return Ok(read(change));
                }
            }
        }
        Ok(read(self.store.get(key)?.as_deref()))
    }

    /// At most `limit` committed pairs with `from <= key < to`, in key order.
    pub fn range(&self, from: &[u8], to: &[u8], limit: usize) -> Result<Vec<KeyValue>> {
        let first = self.first_kept();
        let first = first.as_ref().map_or(from, |first| from.max(first));
        let (mut pairs, mut from) = (Vec::new(), first.to_vec());
        while from.as_slice() < to && pairs.len() < limit {
            let wanted = limit - pairs.len();
            // Polled before the store is read: what moves to the store meanwhile is seen twice,
            // with the same value, and never missed.
            let (mut changes, end) = self.changes(&from, to, wanted);
            // Each deleted key may hide one pair of the store.
            let hidden = changes.values().filter(|value| value.is_none()).count();
            let stored = self.store.range(&from, &end, wanted.saturating_add(hidden))?;
            for (key, value) in stored {
                changes.entry(key).or_insert(Some(value));
            }
            let visible = changes.into_iter().filter_map(|(key, value)| Some((key, value?)));
            pairs.extend(visible.take(wanted));
            from = end;
        }
        Ok(pairs)
    }

    /// The first changes in front of the store, at most `limit` of a layer, and the key before
    /// which there are no others.
    fn changes(&self, from: &[u8], to: &[u8], limit: usize) -> Page {
        let layers = self.layers();
        let (mut changes, mut end) = (BTreeMap::new(), to.to_vec());
        // The newer layer last: its changes stand.
        let frozen = layers.frozen.as_ref().map(|(layer, _)| layer.as_ref());
        for layer in frozen.into_iter().chain([&layers.live]) {
            let (mut count, mut last) = (0, Vec::new());
            layer.range(from, to, limit, |key, value| {
                count += 1;
                last.clear();
                last.extend_from_slice(key);
                changes.insert(key.to_vec(), value.map(<[u8]>::to_vec));
            });
            if count == limit {
                // There may be more of it behind its last one.
                last.push(0);
                end = end.min(last);
            }
        }
        drop(changes.split_off(&end));
        (changes, end)
    }

    /// Takes committed changes, but for those of windows that have expired.
    pub fn commit<'a>(&self, changes: impl Iterator<Item = (&'a [u8], Option<&'a [u8]>)>) {
        let mut layers = self.layers.write().unwrap_or_else(PoisonError::into_inner);
        let Some(retention) = self.retention else {
            changes.for_each(|(key, value)| layers.live.set(key, value));
            return;
        };
        let mut newest = self.newest_segment();
        for (key, value) in changes {
            let segment = Retention::segment(key);
            newest = newest.max(segment);
            if segment >= retention.first_kept(newest) {
                layers.live.set(key, value);
            }
        }
        self.newest.store(newest, Ordering::Relaxed);
    }

    /// Bytes in front of the store.
    pub fn overlay_bytes(&self) -> usize {
        let layers = self.layers();
        layers.live.bytes() + layers.frozen.as_ref().map_or(0, |(layer, _)| layer.bytes())
    }

    /// Bytes in front of the store that no freeze has set apart.
    pub fn live_bytes(&self) -> usize {
        self.layers().live.bytes()
    }

    /// Freezes the live changes, to be written up to `position`. False, without an effect, while an
    /// earlier freeze is not yet written.
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

    /// Writes the frozen layer, sorted, its position last, and lets the store forget what has expired.
    /// Blocks: called by a background thread.
    pub fn write_frozen(&self) -> Result<()> {
        let _one_at_a_time = self.writer();
        let Some((layer, position)) = self.layers().frozen.clone() else {
            return Ok(());
        };
        let (sorted, first) = (layer.sorted(), self.first_kept());
        match first {
            None => self.store.apply(&sorted, Some(position))?,
            Some(first) => {
                let expired = sorted.partition_point(|(key, _)| *key < &first[..]);
                self.store.apply(&sorted[expired..], Some(position))?;
                self.store.expire(&first)?;
            }
        }
        let stays = Some(layer).filter(|layer| layer.bytes() <= MAX_WRITTEN);
        let mut layers = self.layers.write().unwrap_or_else(PoisonError::into_inner);
        layers.frozen = None;
        let before = std::mem::replace(&mut layers.written, stays);
        drop(layers);
        // Dropped without the lock: it may be large, and readers wait for the lock.
        drop(before);
        Ok(())
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
