//! The record cache: what a task has changed since its last commit, decoded.
//!
//! A value is decoded when it is first touched and encoded once a commit, however many records
//! changed it in between. Reads go through to the committed state. `drain` gives the changes and
//! leaves the values as clean entries; an abort discards everything.
//!
//! A clock goes round the entries, a little further at each commit, and as far as it must when there
//! is no room: who was touched since its last visit stays for another, who was not goes. A hot key is
//! met often enough to stay; what passed by once, and a window that has closed, is not.
//!
//! Invariants:
//! - Dirty entries are never evicted, clean ones may go at any commit.
//! - `bytes` is an estimate of what is held, exact as of the last commit; the task commits early
//!   when it reaches the bound.

use std::cell::{Cell, RefCell};
use std::collections::BTreeSet;
use std::rc::Rc;
use std::sync::Arc;

use hashbrown::HashTable;

use super::layer::hash;
use super::{ChangeRef, Committed};
use crate::changelog::Layout;
use crate::error::{Error, Result};

/// Bytes that an entry costs beyond its slot, its key and what its value holds elsewhere: its place
/// in the index with what that keeps free, and what the allocator rounds up.
const ENTRY_BYTES: usize = 26;

/// Commits in which the clock goes round once when there is room: a minute of the default interval.
const ROUND_COMMITS: usize = 600;

/// Slots that are kept, however few of them are used. Few in tests, so that they move.
const MIN_SLOTS: usize = if cfg!(test) { 4 } else { 4096 };

struct Slot<V> {
    hash: u64,
    key: Box<[u8]>,
    value: Option<V>,
    /// Bytes of the value when it was last read or written.
    encoded: usize,
    dirty: bool,
    /// Since the clock last came by.
    touched: bool,
}

/// The hash of a slot's key, as the index asks for it when it grows.
fn hashes<V>(slots: &[Option<Slot<V>>]) -> impl Fn(&u32) -> u64 {
    |at| slots[*at as usize].as_ref().map_or(0, |slot| slot.hash)
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

/// A value, and the bytes that it was decoded from.
type Found<V> = Result<(Option<V>, usize)>;

/// The uncommitted, decoded state of one store.
pub struct Cache<V> {
    layout: Arc<Layout<V>>,
    committed: Arc<Committed>,
    index: HashTable<u32>,
    slots: Vec<Option<Slot<V>>>,
    /// Slots that hold nothing.
    free: Vec<u32>,
    dirty: Vec<u32>,
    /// Where the clock goes on.
    hand: usize,
    /// Parts of a visit that are due: each commit adds one for each slot.
    due: usize,
    bytes: usize,
}

impl<V> Cache<V> {
    /// An empty cache in front of `committed`.
    pub fn new(layout: Arc<Layout<V>>, committed: Arc<Committed>) -> Self {
        Self {
            layout,
            committed,
            index: HashTable::new(),
            slots: Vec::new(),
            free: Vec::new(),
            dirty: Vec::new(),
            hand: 0,
            due: 0,
            bytes: 0,
        }
    }

    /// The slot of `key`; on the first touch `look` says what is in it, and how long that was.
    fn slot(&mut self, key: &[u8], look: impl FnOnce(&Self) -> Found<V>) -> Result<usize> {
        let hash = hash(key);
        let is_it = |&slot: &u32| self.is_at(slot as usize, key);
        if let Some(&slot) = self.index.find(hash, is_it) {
            return Ok(slot as usize);
        }
        let (value, encoded) = look(self)?;
        let slot = Slot { hash, key: key.into(), value, encoded, dirty: false, touched: false };
        self.bytes += Self::cost(&slot);
        let at = match self.free.pop() {
            Some(at) => at,
            None => u32::try_from(self.slots.len()).map_err(|_| {
                Error::Invalid("more than 2^32 cached keys: lower --cache-max".into())
            })?,
        };
        if at as usize == self.slots.len() {
            self.slots.push(Some(slot));
        } else {
            self.slots[at as usize] = Some(slot);
        }
        self.index.insert_unique(hash, at, hashes(&self.slots));
        Ok(at as usize)
    }

    /// The committed value of `key`.
    fn committed(&self, key: &[u8]) -> Found<V> {
        self.committed.read(key, |bytes| {
            let value = bytes.map(|bytes| self.layout.decode(bytes)).transpose()?;
            Ok((value, bytes.map_or(0, <[u8]>::len)))
        })?
    }

    const fn cost(slot: &Slot<V>) -> usize {
        size_of::<Option<Slot<V>>>() + slot.key.len() + ENTRY_BYTES + slot.encoded
    }

    fn is_at(&self, slot: usize, key: &[u8]) -> bool {
        self.slots.get(slot).and_then(Option::as_ref).is_some_and(|slot| *slot.key == *key)
    }

    /// The slot of `key`, looked for where it was before.
    fn slot_near(
        &mut self,
        hint: &Hint,
        key: &[u8],
        look: impl FnOnce(&Self) -> Found<V>,
    ) -> Result<usize> {
        let guess = hint.0.get();
        if self.is_at(guess, key) {
            return Ok(guess);
        }
        let slot = self.slot(key, look)?;
        hint.0.set(slot);
        Ok(slot)
    }

    fn read<R>(&mut self, index: usize, read: impl FnOnce(Option<&V>) -> R) -> R {
        let slot = self.slots[index].as_mut();
        read(slot.and_then(|slot| {
            slot.touched = true;
            slot.value.as_ref()
        }))
    }

    fn update_if<R>(
        &mut self,
        index: usize,
        change: impl FnOnce(&mut Option<V>) -> (bool, R),
    ) -> R {
        let Some(slot) = &mut self.slots[index] else {
            // No slot that was just found is free.
            return change(&mut None).1;
        };
        slot.touched = true;
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
    pub fn drain(&mut self, mut give: impl FnMut(ChangeRef<'_>)) {
        let mut scratch = Vec::new();
        for index in std::mem::take(&mut self.dirty) {
            let Some(slot) = &mut self.slots[index as usize] else {
                continue;
            };
            slot.dirty = false;
            match &slot.value {
                Some(value) => {
                    scratch.clear();
                    self.layout.encode(value, &mut scratch);
                    self.bytes = self.bytes - slot.encoded + scratch.len();
                    slot.encoded = scratch.len();
                    give((&slot.key, Some(&scratch)));
                }
                None => give((&slot.key, None)),
            }
        }
    }

    /// Forgets clean entries that were not touched for long, and as many more as it takes to hold no
    /// more than `max_bytes`; only between a commit and the next change, when all of it is clean.
    pub fn trim(&mut self, max_bytes: usize) {
        debug_assert!(self.dirty.is_empty(), "trimmed with uncommitted changes");
        self.due += self.slots.len();
        for _visit in 0..self.due / ROUND_COMMITS {
            self.visit();
        }
        self.due %= ROUND_COMMITS;
        while self.bytes > max_bytes {
            self.visit();
        }
    }

    /// Gives back the slots that a burst has left empty. Hints lead elsewhere from then on, which
    /// costs each a look.
    fn move_together(&mut self) {
        self.slots.retain(Option::is_some);
        self.slots.shrink_to_fit();
        self.free = Vec::new();
        self.index = HashTable::with_capacity(self.slots.len());
        for (at, slot) in (0..).zip(self.slots.iter().flatten()) {
            self.index.insert_unique(slot.hash, at, hashes(&self.slots));
        }
    }

    /// The clock comes by at one slot.
    fn visit(&mut self) {
        if self.hand >= self.slots.len() {
            self.hand = 0;
            if self.slots.len() >= MIN_SLOTS && self.free.len() > self.slots.len() / 4 * 3 {
                self.move_together();
            }
        }
        let at = self.hand;
        self.hand += 1;
        match self.slots.get_mut(at) {
            Some(Some(slot)) if slot.touched => slot.touched = false,
            Some(Some(_)) => self.evict(at),
            Some(None) | None => {}
        }
    }

    fn evict(&mut self, at: usize) {
        let Some(slot) = self.slots[at].take() else {
            return;
        };
        self.bytes -= Self::cost(&slot);
        if let Ok(entry) = self.index.find_entry(slot.hash, |index| *index as usize == at) {
            self.free.push(entry.remove().0);
        }
    }

    /// Forgets everything, uncommitted changes too.
    pub fn discard(&mut self) {
        *self = Self::new(Arc::clone(&self.layout), Arc::clone(&self.committed));
    }

    /// An estimate of what is held.
    pub const fn bytes(&self) -> usize {
        self.bytes
    }

    /// Slots for entries, used or not.
    #[cfg(test)]
    pub(super) const fn capacity(&self) -> usize {
        self.slots.capacity()
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
        self.read_near(&Hint::default(), key, read)
    }

    /// [`Self::read`], looking first where the key was before.
    pub fn read_near<R>(
        &self,
        hint: &Hint,
        key: &[u8],
        read: impl FnOnce(Option<&V>) -> R,
    ) -> Result<R> {
        let mut cache = self.0.borrow_mut();
        let slot = cache.slot_near(hint, key, |cache| cache.committed(key))?;
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
        self.update_if_near(&Hint::default(), key, change)
    }

    /// [`Self::update_if`], looking first where the key was before.
    pub fn update_if_near<R>(
        &self,
        hint: &Hint,
        key: &[u8],
        change: impl FnOnce(&mut Option<V>) -> (bool, R),
    ) -> Result<R> {
        let mut cache = self.0.borrow_mut();
        let slot = cache.slot_near(hint, key, |cache| cache.committed(key))?;
        Ok(cache.update_if(slot, change))
    }

    /// [`Self::update_if_near`] of a key that the caller knows to have no value: nothing is read to
    /// find that out.
    pub fn create_if_near<R>(
        &self,
        hint: &Hint,
        key: &[u8],
        change: impl FnOnce(&mut Option<V>) -> (bool, R),
    ) -> Result<R> {
        let mut cache = self.0.borrow_mut();
        let slot = cache.slot_near(hint, key, |cache| {
            debug_assert_eq!(cache.committed.get(key)?, None, "a key that was to be new is not");
            Ok((None, 0))
        })?;
        Ok(cache.update_if(slot, change))
    }

    /// The keys of a range that have a value, in order and at most `limit`: what this task has not yet
    /// committed included, so that it does not depend on when it commits.
    ///
    /// It looks at every uncommitted change, and is for what happens rarely.
    pub fn keys(&self, from: &[u8], to: &[u8], limit: usize) -> Result<Vec<Vec<u8>>> {
        let cache = self.0.borrow();
        let dirty = cache.dirty.iter().filter_map(|&at| cache.slots[at as usize].as_ref());
        let dirty: Vec<_> = dirty.filter(|slot| from <= &*slot.key && &*slot.key < to).collect();
        let deleted = dirty.iter().filter(|slot| slot.value.is_none()).count();
        // Of the committed ones no more are left out than were deleted since.
        let committed = cache.committed.range(from, to, limit.saturating_add(deleted))?;
        let mut keys: BTreeSet<Vec<u8>> = committed.into_iter().map(|(key, _)| key).collect();
        for slot in dirty {
            if slot.value.is_some() {
                keys.insert(slot.key.to_vec());
            } else {
                keys.remove(&*slot.key);
            }
        }
        Ok(keys.into_iter().take(limit).collect())
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
