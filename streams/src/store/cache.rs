//! The record cache: the decoded state that a task has used since its last commit.
//!
//! A value is decoded at its first use and encoded once a commit, however many records change it in
//! between. A read that misses the cache goes to the committed state. `drain` yields the changes and
//! keeps the values as clean entries. `discard` drops everything.
//!
//! Eviction is CLOCK (second chance): a hand moves over the slots at each commit, further when memory
//! is short. It clears the mark of an entry that was used since its last visit and evicts the others.
//!
//! Invariants:
//! - Only clean entries are evicted, and only at a commit.
//! - `bytes` is an estimate, exact as of the last commit; the task commits early at the bound.
//! - The windows that a processor sees do not depend on when the task commits: uncommitted changes move
//!   the expiry clock as well. What is written to a window that has expired is dropped and counted, as in
//!   Kafka Streams.

use std::cell::{Cell, RefCell, RefMut};
use std::collections::BTreeMap;
use std::ops::{Deref, DerefMut};
use std::rc::Rc;
use std::sync::Arc;

use hashbrown::HashTable;

use super::Committed;
use super::layer::hash;
use crate::changelog::Layout;
use crate::error::{Error, Result};
use crate::record::ChangeRef;
use crate::retention::{ExpiryClock, Retention};

/// Bytes of an entry beside its slot, key and encoded value: its share of the index, and rounding by
/// the allocator.
const ENTRY_BYTES: usize = 26;

/// Commits in which the hand visits every slot once while memory is free: a minute of the default
/// commit interval.
const ROUND_COMMITS: usize = 600;

/// Below this number of slots the cache is not compacted. Low in tests, so that it is.
const MIN_SLOTS: usize = if cfg!(test) { 4 } else { 4096 };

struct Slot<V> {
    hash: u64,
    /// `None` while the slot is free.
    key: Option<Box<[u8]>>,
    value: Option<V>,
    /// Bytes of the value when it was last decoded or encoded.
    encoded: usize,
    dirty: bool,
    /// Used since the hand's last visit.
    used: bool,
}

/// The hash of a slot's key, for the index to grow.
fn hashes<V>(slots: &[Slot<V>]) -> impl Fn(&u32) -> u64 {
    |slot| slots[*slot as usize].hash
}

/// The slot where a store's cache last had a key.
///
/// A caller that uses the same key often keeps a hint beside it and saves the hash. The key is
/// compared, so a hint that is out of date costs one comparison and nothing else.
#[derive(Debug)]
pub struct Hint(Cell<usize>);

impl Default for Hint {
    /// Of no slot yet.
    fn default() -> Self {
        Self(Cell::new(usize::MAX))
    }
}

/// The slot of windows that have expired.
const EXPIRED: usize = usize::MAX;

/// The changes since the last drain.
#[derive(Default)]
struct Changed {
    /// Slots, in the order of their first change.
    slots: Vec<u32>,
    /// The largest segment among all changes, of a windowed store.
    newest: u64,
    /// Writes to windows that have expired.
    expired: u64,
}

impl Changed {
    /// The slot of that key is changed for the first time.
    fn note(&mut self, at: usize, key: Option<&[u8]>) {
        let Some(key) = key else {
            self.expired += 1;
            return;
        };
        self.newest = self.newest.max(Retention::segment(key));
        // A slot's number came from a u32.
        self.slots.push(u32::try_from(at).unwrap_or(u32::MAX));
    }
}

/// A value, and how many bytes it was decoded from.
type Decoded<V> = Result<(Option<V>, usize)>;

/// The uncommitted, decoded state of one store.
pub struct Cache<V> {
    layout: Arc<Layout<V>>,
    committed: Arc<Committed>,
    index: HashTable<u32>,
    slots: Vec<Slot<V>>,
    free: Vec<u32>,
    changed: Changed,
    /// Given out for every window that has expired.
    expired: Slot<V>,
    /// The next slot that the hand visits.
    hand: usize,
    /// Visits that are due, times [`ROUND_COMMITS`].
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
            changed: Changed::default(),
            expired: Slot::free(),
            hand: 0,
            due: 0,
            bytes: 0,
        }
    }

    /// Uncommitted changes included.
    #[inline]
    fn clock(&self) -> ExpiryClock {
        let newest = self.changed.newest.max(self.committed.newest_segment());
        let retention = self.committed.retention();
        let first_kept = retention.map_or(0, |retention| retention.first_kept(newest));
        ExpiryClock { newest, first_kept }
    }

    #[inline]
    fn is_expired(&self, key: &[u8]) -> bool {
        let first = self.clock().first_kept;
        first > 0 && Retention::segment(key) < first
    }

    /// The slot of `key`, first looked for at the hint; `decode` gives the value of a new entry.
    fn slot(
        &mut self,
        hint: &Hint,
        key: &[u8],
        decode: impl FnOnce(&Self) -> Decoded<V>,
    ) -> Result<usize> {
        let mut at = hint.0.get();
        if !self.is_at(at, key) {
            at = self.find_or_insert(key, decode)?;
            hint.0.set(at);
        }
        self.slots[at].used = true;
        Ok(at)
    }

    fn is_at(&self, slot: usize, key: &[u8]) -> bool {
        self.slots.get(slot).is_some_and(|slot| slot.key.as_deref() == Some(key))
    }

    fn find_or_insert(
        &mut self,
        key: &[u8],
        decode: impl FnOnce(&Self) -> Decoded<V>,
    ) -> Result<usize> {
        let hash = hash(key);
        let is_it = |&slot: &u32| self.is_at(slot as usize, key);
        if let Some(&slot) = self.index.find(hash, is_it) {
            return Ok(slot as usize);
        }
        let (value, encoded) = decode(self)?;
        let key = Some(key.into());
        let slot = Slot { hash, key, value, encoded, dirty: false, used: false };
        self.bytes += slot.bytes();
        let at = match self.free.pop() {
            Some(at) => at,
            None => u32::try_from(self.slots.len()).map_err(|_| {
                Error::Invalid("more than 2^32 cached keys: lower --cache-max".into())
            })?,
        };
        if at as usize == self.slots.len() {
            self.slots.push(slot);
        } else {
            self.slots[at as usize] = slot;
        }
        self.index.insert_unique(hash, at, hashes(&self.slots));
        Ok(at as usize)
    }

    /// The committed value of `key`.
    fn committed(&self, key: &[u8]) -> Decoded<V> {
        self.committed.read(key, |bytes| {
            let value = bytes.map(|bytes| self.layout.decode(bytes)).transpose()?;
            Ok((value, bytes.map_or(0, <[u8]>::len)))
        })?
    }

    /// Gives every change since the last drain, in the order of their first change, and marks all
    /// entries as clean.
    pub fn drain(&mut self, mut give: impl FnMut(ChangeRef<'_>)) {
        let mut scratch = Vec::new();
        for index in std::mem::take(&mut self.changed.slots) {
            let slot = &mut self.slots[index as usize];
            slot.dirty = false;
            let key = slot.key.as_deref().unwrap_or_default();
            match &slot.value {
                Some(value) => {
                    scratch.clear();
                    self.layout.encode(value, &mut scratch);
                    self.bytes = self.bytes - slot.encoded + scratch.len();
                    slot.encoded = scratch.len();
                    give((key, Some(&scratch)));
                }
                None => give((key, None)),
            }
        }
    }

    /// Evicts entries that were not used for long, and then as many as it takes to hold no more than
    /// `max_bytes`. Called between a commit and the next change, when all entries are clean.
    pub fn trim(&mut self, max_bytes: usize) {
        debug_assert!(self.changed.slots.is_empty(), "trimmed with uncommitted changes");
        self.due += self.slots.len();
        for _visit in 0..self.due / ROUND_COMMITS {
            self.visit();
        }
        self.due %= ROUND_COMMITS;
        while self.bytes > max_bytes {
            self.visit();
        }
    }

    /// Frees the slots that a burst has left empty. Existing hints miss once afterwards.
    fn compact(&mut self) {
        self.slots.retain(|slot| slot.key.is_some());
        self.slots.shrink_to_fit();
        self.free = Vec::new();
        self.index = HashTable::with_capacity(self.slots.len());
        for (at, slot) in (0..).zip(&self.slots) {
            self.index.insert_unique(slot.hash, at, hashes(&self.slots));
        }
    }

    /// Moves the hand by one slot.
    fn visit(&mut self) {
        if self.hand >= self.slots.len() {
            self.hand = 0;
            if self.slots.len() >= MIN_SLOTS && self.free.len() > self.slots.len() / 4 * 3 {
                self.compact();
            }
        }
        let at = self.hand;
        self.hand += 1;
        if let Some(slot) = self.slots.get_mut(at)
            && !std::mem::take(&mut slot.used)
        {
            self.evict(at);
        }
    }

    fn evict(&mut self, at: usize) {
        let slot = &mut self.slots[at];
        let bytes = slot.bytes();
        if slot.key.take().is_none() {
            return;
        }
        slot.value = None;
        self.bytes -= bytes;
        if let Ok(entry) = self.index.find_entry(slot.hash, |index| *index as usize == at) {
            self.free.push(entry.remove().0);
        }
    }

    /// Writes to expired windows since the last call.
    pub fn take_expired(&mut self) -> u64 {
        std::mem::take(&mut self.changed.expired)
    }

    /// Drops all entries, with their uncommitted changes.
    pub fn discard(&mut self) {
        *self = Self::new(Arc::clone(&self.layout), Arc::clone(&self.committed));
    }

    /// An estimate of the memory held.
    pub const fn bytes(&self) -> usize {
        self.bytes
    }

    /// Slots, free ones included.
    #[cfg(test)]
    pub(super) const fn capacity(&self) -> usize {
        self.slots.capacity()
    }
}

impl<V> Slot<V> {
    const fn free() -> Self {
        Self { hash: 0, key: None, value: None, encoded: 0, dirty: false, used: false }
    }

    fn bytes(&self) -> usize {
        size_of::<Self>()
            + self.key.as_ref().map_or(0, |key| key.len())
            + ENTRY_BYTES
            + self.encoded
    }
}

/// A processor's access to one of its stores. Clones share the store.
///
/// A value that was returned by [`Self::get`] or [`Self::entry`] borrows the whole store: until it is
/// dropped, every other use of the store is [`Error::Invalid`].
///
/// ```
/// # fn example(counts: &streams::store::StoreHandle<u64>) -> streams::Result<()> {
/// *counts.entry(b"word")?.get_or_insert(0) += 1;
/// let count: Option<u64> = counts.get(b"word")?.map(|count| *count);
/// # Ok(())
/// # }
/// ```
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

    /// The value of `key`.
    pub fn get(&self, key: &[u8]) -> Result<Option<ValueRef<'_, V>>> {
        self.get_near(&Hint::default(), key)
    }

    /// [`Self::get`], first looked for at the hint.
    pub fn get_near(&self, hint: &Hint, key: &[u8]) -> Result<Option<ValueRef<'_, V>>> {
        let mut cache = self.0.try_borrow_mut().map_err(in_use)?;
        if cache.is_expired(key) {
            return Ok(None);
        }
        let slot = cache.slot(hint, key, |cache| cache.committed(key))?;
        Ok(RefMut::filter_map(cache, |cache| cache.slots[slot].value.as_mut()).ok().map(ValueRef))
    }

    /// How far the windows of the store have come, uncommitted changes included. The window of a key whose
    /// segment is not kept has no value, and a write to it is dropped.
    #[inline]
    pub fn clock(&self) -> Result<ExpiryClock> {
        Ok(self.0.try_borrow().map_err(in_use)?.clock())
    }

    /// The value of `key`, to change it.
    pub fn entry(&self, key: &[u8]) -> Result<StoreEntry<'_, V>> {
        self.entry_near(&Hint::default(), key)
    }

    /// [`Self::entry`], first looked for at the hint.
    pub fn entry_near(&self, hint: &Hint, key: &[u8]) -> Result<StoreEntry<'_, V>> {
        self.entry_of(hint, key, |cache| cache.committed(key))
    }

    /// [`Self::entry_near`] of a key that the caller knows to have no value, which saves a read of the
    /// committed state.
    pub fn new_entry_near(&self, hint: &Hint, key: &[u8]) -> Result<StoreEntry<'_, V>> {
        self.entry_of(hint, key, |cache| {
            debug_assert_eq!(cache.committed.get(key)?, None, "a key that was to be new is not");
            Ok((None, 0))
        })
    }

    fn entry_of(
        &self,
        hint: &Hint,
        key: &[u8],
        decode: impl FnOnce(&Cache<V>) -> Decoded<V>,
    ) -> Result<StoreEntry<'_, V>> {
        let mut cache = self.0.try_borrow_mut().map_err(in_use)?;
        let at = if cache.is_expired(key) {
            cache.expired = Slot::free();
            EXPIRED
        } else {
            cache.slot(hint, key, decode)?
        };
        let (slot, changed) = RefMut::map_split(cache, |cache| {
            let slot = if at == EXPIRED { &mut cache.expired } else { &mut cache.slots[at] };
            (slot, &mut cache.changed)
        });
        Ok(StoreEntry { slot, changed, at })
    }

    /// Deletes `key`.
    pub fn remove(&self, key: &[u8]) -> Result<()> {
        *self.entry(key)? = None;
        Ok(())
    }

    /// At most `limit` pairs with `from <= key < to`, in key order, uncommitted changes included: the
    /// result does not depend on when the task commits.
    ///
    /// It looks at every uncommitted change of the store, so it is not for every record.
    pub fn range(&self, from: &[u8], to: &[u8], limit: usize) -> Result<Vec<(Vec<u8>, V)>>
    where
        V: Clone,
    {
        let cache = self.0.try_borrow().map_err(in_use)?;
        let first = Retention::first_key(cache.clock().first_kept);
        let from = from.max(if cache.committed.retention().is_some() { &first } else { &[] });
        let dirty = cache.changed.slots.iter().map(|&at| &cache.slots[at as usize]);
        let dirty = dirty.filter_map(|slot| Some((slot.key.as_deref()?, slot.value.as_ref())));
        let dirty: Vec<_> = dirty.filter(|(key, _)| from <= *key && *key < to).collect();
        let deleted = dirty.iter().filter(|(_, value)| value.is_none()).count();
        // Each deleted key may hide one committed pair.
        let committed = cache.committed.range(from, to, limit.saturating_add(deleted))?;
        let mut pairs: BTreeMap<_, _> = committed
            .into_iter()
            .map(|(key, value)| Ok((key, cache.layout.decode(&value)?)))
            .collect::<Result<_>>()?;
        for (key, value) in dirty {
            if let Some(value) = value {
                pairs.insert(key.to_vec(), value.clone());
            } else {
                pairs.remove(key);
            }
        }
        Ok(pairs.into_iter().take(limit).collect())
    }
}

fn in_use<E>(_: E) -> Error {
    Error::Invalid(
        "a processor uses a store while it holds one of its values: drop the value first".into(),
    )
}

/// A value of a store, borrowed.
pub struct ValueRef<'a, V>(RefMut<'a, V>);

impl<V> Deref for ValueRef<'_, V> {
    type Target = V;

    fn deref(&self) -> &V {
        &self.0
    }
}

/// The value of one key, borrowed from its store: an `Option<V>`, `None` when there is none.
///
/// Mutable access marks the key as changed, and the next commit writes it. Where a value may stay as
/// it is, look through a shared reference first (`as_ref`, `&*entry`).
pub struct StoreEntry<'a, V> {
    slot: RefMut<'a, Slot<V>>,
    changed: RefMut<'a, Changed>,
    at: usize,
}

impl<V> Deref for StoreEntry<'_, V> {
    type Target = Option<V>;

    fn deref(&self) -> &Option<V> {
        &self.slot.value
    }
}

impl<V> DerefMut for StoreEntry<'_, V> {
    fn deref_mut(&mut self) -> &mut Option<V> {
        if !self.slot.dirty {
            self.slot.dirty = true;
            self.changed.note(self.at, self.slot.key.as_deref());
        }
        &mut self.slot.value
    }
}
