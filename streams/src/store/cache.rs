//! The record cache: what a task has changed since its last commit, decoded.
//!
//! A value is decoded when it is first touched and encoded once a commit, however many records
//! changed it in between. Reads go through to the committed state. `drain` gives the changes and
//! leaves the values as clean entries; an abort discards everything.
//!
//! Invariants:
//! - Dirty entries are never evicted, clean ones may go at any commit.
//! - `bytes` is an estimate of what is held, exact as of the last commit; the task commits early
//!   when it reaches the bound.

use std::cell::{Cell, RefCell};
use std::rc::Rc;
use std::sync::Arc;

use rustc_hash::FxHashMap;

use super::Committed;
use crate::changelog::Layout;
use crate::error::{Error, Result};

/// Bytes that an entry costs beyond its key and its value: the slot, the map entry, the list.
const ENTRY_BYTES: usize = 64;

struct Slot<V> {
    key: Box<[u8]>,
    value: Option<V>,
    /// Bytes of the value when it was last read or written.
    encoded: usize,
    dirty: bool,
}

/// Where a store's cache had a key when it was last looked for.
///
/// Whoever looks for the same key again and again keeps one beside it and saves the hash. It may be
/// of another key or long out of date: the key is compared, so a wrong hint costs a look and nothing
/// else.
#[derive(Debug)]
pub struct Hint(Cell<usize>);

impl Default for Hint {
    /// Of nothing yet.
    fn default() -> Self {
        Self(Cell::new(usize::MAX))
    }
}

/// The uncommitted, decoded state of one store.
pub struct Cache<V> {
    layout: Arc<Layout<V>>,
    committed: Arc<Committed>,
    index: FxHashMap<Box<[u8]>, u32>,
    slots: Vec<Slot<V>>,
    dirty: Vec<u32>,
    bytes: usize,
    /// Clean entries are dropped at a commit when the cache holds more than this.
    max_bytes: usize,
}

impl<V> Cache<V> {
    /// An empty cache in front of `committed`.
    pub fn new(layout: Arc<Layout<V>>, committed: Arc<Committed>, max_bytes: usize) -> Self {
        Self {
            layout,
            committed,
            index: FxHashMap::default(),
            slots: Vec::new(),
            dirty: Vec::new(),
            bytes: 0,
            max_bytes,
        }
    }

    /// The slot of `key`, read through on the first touch.
    fn slot(&mut self, key: &[u8]) -> Result<usize> {
        if let Some(&slot) = self.index.get(key) {
            return Ok(slot as usize);
        }
        let bytes = self.committed.get(key)?;
        let value = bytes.as_deref().map(|bytes| self.layout.decode(bytes)).transpose()?;
        let slot = self.slots.len();
        let index = u32::try_from(slot)
            .map_err(|_| Error::Invalid("more than 2^32 cached keys: lower --cache-max".into()))?;
        let encoded = bytes.map_or(0, |bytes| bytes.len());
        self.bytes += 2 * key.len() + ENTRY_BYTES + size_of::<V>() + encoded;
        self.index.insert(key.into(), index);
        self.slots.push(Slot { key: key.into(), value, encoded, dirty: false });
        Ok(slot)
    }

    /// The slot of `key`, looked for where it was before.
    fn slot_near(&mut self, hint: &Hint, key: &[u8]) -> Result<usize> {
        let guess = hint.0.get();
        if self.slots.get(guess).is_some_and(|slot| *slot.key == *key) {
            return Ok(guess);
        }
        let slot = self.slot(key)?;
        hint.0.set(slot);
        Ok(slot)
    }

    fn read<R>(&self, slot: usize, read: impl FnOnce(Option<&V>) -> R) -> R {
        read(self.slots[slot].value.as_ref())
    }

    fn update_if<R>(
        &mut self,
        index: usize,
        change: impl FnOnce(&mut Option<V>) -> (bool, R),
    ) -> R {
        let slot = &mut self.slots[index];
        let (changed, result) = change(&mut slot.value);
        if changed && !slot.dirty {
            slot.dirty = true;
            // A slot's index came from a u32.
            self.dirty.push(u32::try_from(index).unwrap_or(u32::MAX));
        }
        result
    }

    /// Gives every change since the last drain, in the order of first touch, and marks all as
    /// clean. The value is encoded into `scratch`.
    pub fn drain(&mut self, mut give: impl FnMut(&[u8], Option<&[u8]>)) {
        let mut scratch = Vec::new();
        for index in std::mem::take(&mut self.dirty) {
            let slot = &mut self.slots[index as usize];
            slot.dirty = false;
            match &slot.value {
                Some(value) => {
                    scratch.clear();
                    self.layout.encode(value, &mut scratch);
                    self.bytes = self.bytes - slot.encoded + scratch.len();
                    slot.encoded = scratch.len();
                    give(&slot.key, Some(&scratch));
                }
                None => give(&slot.key, None),
            }
        }
    }

    /// Forgets everything when it holds more than its bound; only between a commit and the next
    /// change, when all of it is clean.
    pub fn trim(&mut self) {
        debug_assert!(self.dirty.is_empty(), "trimmed with uncommitted changes");
        if self.bytes > self.max_bytes {
            self.discard();
        }
    }

    /// Forgets everything, uncommitted changes too.
    pub fn discard(&mut self) {
        self.index = FxHashMap::default();
        self.slots = Vec::new();
        self.dirty = Vec::new();
        self.bytes = 0;
    }

    /// An estimate of what is held.
    pub const fn bytes(&self) -> usize {
        self.bytes
    }
}

/// A processor's access to one of its stores. Clones share the store.
pub struct StoreHandle<V>(Rc<RefCell<Cache<V>>>);

impl<V> Clone for StoreHandle<V> {
    fn clone(&self) -> Self {
        Self(Rc::clone(&self.0))
    }
}

impl<V> StoreHandle<V> {
    pub(crate) fn new(cache: Cache<V>) -> Self {
        Self(Rc::new(RefCell::new(cache)))
    }

    pub(crate) fn cache(&self) -> &Rc<RefCell<Cache<V>>> {
        &self.0
    }

    /// Looks at the value of `key`.
    pub fn read<R>(&self, key: &[u8], read: impl FnOnce(Option<&V>) -> R) -> Result<R> {
        let mut cache = self.0.borrow_mut();
        let slot = cache.slot(key)?;
        Ok(cache.read(slot, read))
    }

    /// [`Self::read`], looking first where the key was before.
    pub fn read_near<R>(
        &self,
        hint: &Hint,
        key: &[u8],
        read: impl FnOnce(Option<&V>) -> R,
    ) -> Result<R> {
        let mut cache = self.0.borrow_mut();
        let slot = cache.slot_near(hint, key)?;
        Ok(cache.read(slot, read))
    }

    /// Changes the value of `key`; `None` deletes it. The key counts as changed in any case.
    pub fn update<R>(&self, key: &[u8], change: impl FnOnce(&mut Option<V>) -> R) -> Result<R> {
        self.update_if(key, |value| (true, change(value)))
    }

    /// Looks at the value of `key` and says whether it was changed.
    pub fn update_if<R>(
        &self,
        key: &[u8],
        change: impl FnOnce(&mut Option<V>) -> (bool, R),
    ) -> Result<R> {
        let mut cache = self.0.borrow_mut();
        let slot = cache.slot(key)?;
        Ok(cache.update_if(slot, change))
    }

    /// [`Self::update_if`], looking first where the key was before.
    pub fn update_if_near<R>(
        &self,
        hint: &Hint,
        key: &[u8],
        change: impl FnOnce(&mut Option<V>) -> (bool, R),
    ) -> Result<R> {
        let mut cache = self.0.borrow_mut();
        let slot = cache.slot_near(hint, key)?;
        Ok(cache.update_if(slot, change))
    }

    /// Committed pairs of a key range, without what this task has not yet committed.
    pub fn committed_range(
        &self,
        from: &[u8],
        to: &[u8],
        limit: usize,
    ) -> Result<Vec<(Vec<u8>, V)>> {
        let cache = self.0.borrow();
        let pairs = cache.committed.range(from, to, limit)?;
        pairs.into_iter().map(|(key, value)| Ok((key, cache.layout.decode(&value)?))).collect()
    }
}
