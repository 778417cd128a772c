//! Properties of stores under any sequence of operations.

use std::collections::BTreeMap;
use std::ops::Bound;
use std::sync::Arc;

use proptest::collection::vec;
use proptest::prelude::*;

use super::engine::{Database, Engine};
use super::{Cache, Change, ChangeRef, Committed, Hint, KeyValue, MemoryStore, Store, StoreHandle};
use crate::changelog::Layout;
use crate::error::{Error, Result};
use crate::record::Offset;

/// Memory of a test's database.
const CACHE_BYTES: usize = 1 << 20;
/// The same, and none: sled is opened again with every write.
const CACHES: [usize; 2] = [CACHE_BYTES, 0];

pub(super) type Model = BTreeMap<Vec<u8>, Vec<u8>>;

#[derive(Clone, Debug)]
enum Operation {
    Apply(Vec<Change>, Option<i64>),
    Get(Vec<u8>),
    Range(Vec<u8>, Vec<u8>, usize),
    Reopen,
}

/// Few and short, so that they meet.
fn key() -> impl Strategy<Value = Vec<u8>> {
    vec(prop_oneof![Just(0), Just(1), Just(0xfe), Just(0xff)], 0..3)
}

fn changes() -> impl Strategy<Value = Vec<Change>> {
    vec((key(), proptest::option::of(vec(any::<u8>(), 0..4))), 0..8)
}

fn operation() -> impl Strategy<Value = Operation> {
    prop_oneof![
        4 => (changes(), proptest::option::of(0..1_000_i64))
            .prop_map(|(changes, position)| Operation::Apply(changes, position)),
        2 => key().prop_map(Operation::Get),
        4 => (key(), key(), 0..9_usize).prop_map(|(a, b, limit)| Operation::Range(a, b, limit)),
        1 => Just(Operation::Reopen),
    ]
}

pub(super) fn borrowed(changes: &[Change]) -> impl Iterator<Item = ChangeRef<'_>> {
    changes.iter().map(|(key, value)| (&key[..], value.as_deref()))
}

pub(super) fn model_apply(model: &mut Model, changes: &[Change]) {
    for (key, value) in changes {
        match value {
            Some(value) => model.insert(key.clone(), value.clone()),
            None => model.remove(key),
        };
    }
}

pub(super) fn model_range(model: &Model, from: &[u8], to: &[u8], limit: usize) -> Vec<KeyValue> {
    if from >= to {
        return Vec::new();
    }
    let bounds = (Bound::Included(from), Bound::Excluded(to));
    let pairs = model.range::<[u8], _>(bounds).take(limit);
    pairs.map(|(key, value)| (key.clone(), value.clone())).collect()
}

/// The same operations on memory and on disk, which is closed and opened now and then.
fn memory_equals_disk(
    engine: Engine,
    cache_bytes: usize,
    operations: &[Operation],
) -> Result<(), TestCaseError> {
    let directory = tempfile::tempdir()?;
    let open = || -> Result<_> {
        let database = Database::open(engine, directory.path(), cache_bytes)?;
        let disk = database.store("store")?;
        Ok((disk, database))
    };
    let memory = MemoryStore::default();
    let mut opened = open()?;
    for operation in operations {
        match operation {
            Operation::Apply(changes, position) => {
                let changes: Vec<_> = borrowed(changes).collect();
                memory.apply(&changes, position.map(Offset))?;
                opened.0.apply(&changes, position.map(Offset))?;
            }
            Operation::Get(key) => prop_assert_eq!(memory.get(key)?, opened.0.get(key)?),
            Operation::Range(from, to, limit) => {
                let expected = memory.range(from, to, *limit)?;
                prop_assert_eq!(expected, opened.0.range(from, to, *limit)?);
            }
            Operation::Reopen => {
                // A change without a position may be lost by a crash, not by a close.
                drop(opened);
                opened = open()?;
            }
        }
        prop_assert_eq!(memory.position()?, opened.0.position()?);
    }
    let all = memory.range(&[], &[0xff; 4], usize::MAX)?;
    prop_assert_eq!(all, opened.0.range(&[], &[0xff; 4], usize::MAX)?);
    Ok(())
}

#[derive(Clone, Debug)]
enum Turn {
    Commit(Vec<Change>),
    Freeze,
    Write,
    Get(Vec<u8>),
    Range(Vec<u8>, Vec<u8>, usize),
    /// The process dies: the overlay is gone, and the changelog is replayed from the position.
    Crash,
}

fn turn() -> impl Strategy<Value = Turn> {
    prop_oneof![
        4 => changes().prop_map(Turn::Commit),
        2 => Just(Turn::Freeze),
        2 => Just(Turn::Write),
        2 => key().prop_map(Turn::Get),
        3 => (key(), key(), 0..9_usize).prop_map(|(a, b, limit)| Turn::Range(a, b, limit)),
        1 => Just(Turn::Crash),
    ]
}

/// The store behind a `Committed`, which outlives it.
struct Kept(std::sync::Arc<MemoryStore>);

impl Store for Kept {
    fn get(&self, key: &[u8]) -> Result<Option<Vec<u8>>> {
        self.0.get(key)
    }
    fn range(&self, from: &[u8], to: &[u8], limit: usize) -> Result<Vec<KeyValue>> {
        self.0.range(from, to, limit)
    }
    fn apply(&self, changes: &[ChangeRef<'_>], position: Option<Offset>) -> Result<()> {
        self.0.apply(changes, position)
    }
    fn position(&self) -> Result<Option<Offset>> {
        self.0.position()
    }
}

fn end(changelog: &[Change]) -> Offset {
    Offset(i64::try_from(changelog.len()).unwrap_or(i64::MAX))
}

/// A committed state against a plain map, and its store against the fold of the changelog.
fn committed_equals_a_map(turns: &[Turn]) -> Result<(), TestCaseError> {
    let disk = std::sync::Arc::new(MemoryStore::default());
    let open = || Committed::new(Box::new(Kept(std::sync::Arc::clone(&disk))));
    let (mut committed, mut model, mut changelog) = (open(), Model::new(), Vec::new());
    for turn in turns {
        match turn {
            Turn::Commit(changes) => {
                committed.commit(borrowed(changes));
                model_apply(&mut model, changes);
                changelog.extend_from_slice(changes);
            }
            Turn::Freeze => {
                committed.freeze(end(&changelog));
            }
            Turn::Write => committed.write_frozen()?,
            Turn::Get(key) => prop_assert_eq!(committed.get(key)?, model.get(key).cloned()),
            Turn::Range(from, to, limit) => {
                let expected = model_range(&model, from, to, *limit);
                prop_assert_eq!(committed.range(from, to, *limit)?, expected);
            }
            Turn::Crash => {
                committed = open();
                let position = usize::try_from(committed.position()?.unwrap_or_default().0)?;
                committed.commit(borrowed(&changelog[position..]));
            }
        }
        let position = usize::try_from(disk.position()?.unwrap_or_default().0)?;
        let mut fold = Model::new();
        model_apply(&mut fold, &changelog[..position]);
        let stored: Model = disk.range(&[], &[0xff; 4], usize::MAX)?.into_iter().collect();
        prop_assert_eq!(stored, fold);
    }
    let all: Model = committed.range(&[], &[0xff; 4], usize::MAX)?.into_iter().collect();
    prop_assert_eq!(all, model);
    Ok(())
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]

    #[test]
    fn a_store_in_memory_equals_one_on_disk(operations in vec(operation(), 1..30)) {
        for (engine, cache_bytes) in
            Engine::ALL.into_iter().flat_map(|engine| CACHES.map(|bytes| (engine, bytes)))
        {
            memory_equals_disk(engine, cache_bytes, &operations)?;
        }
    }
}

#[derive(Clone, Debug)]
enum Touch {
    Set(Vec<u8>, Option<Vec<u8>>, bool),
    Read(Vec<u8>),
    /// A commit, after which the cache holds no more than that, and so many without a touch.
    Commit(usize, usize),
    Discard,
}

fn touch() -> impl Strategy<Value = Touch> {
    let value = || proptest::option::of(vec(any::<u8>(), 0..40));
    prop_oneof![
        6 => (key(), value(), any::<bool>()).prop_map(|(k, v, near)| Touch::Set(k, v, near)),
        4 => key().prop_map(Touch::Read),
        3 => (0..1_500_usize, 0..1_000_usize).prop_map(|(max, quiet)| Touch::Commit(max, quiet)),
        1 => Just(Touch::Discard),
    ]
}

/// A cache before a committed state.
fn cached() -> (StoreHandle<Vec<u8>>, Arc<Committed>) {
    let encode = |value: &Vec<u8>, out: &mut Vec<u8>| out.extend_from_slice(value);
    let layout = Arc::new(Layout::new("topic", encode, |bytes| Ok(bytes.to_vec())));
    let committed = Arc::new(Committed::new(Box::new(MemoryStore::default())));
    (StoreHandle::new(Cache::new(layout, Arc::clone(&committed))), committed)
}

/// With one hint for all keys, against a plain map.
fn cached_equals_a_map(touches: &[Touch]) -> Result<(), TestCaseError> {
    let (handle, committed) = cached();
    let (mut model, mut settled, hint) = (Model::new(), Model::new(), Hint::default());
    for touch in touches {
        match touch {
            Touch::Set(key, value, near) => {
                let mut entry = if *near && model.contains_key(key) {
                    handle.entry_near(&hint, key)?
                } else if *near {
                    handle.new_entry_near(&hint, key)?
                } else {
                    handle.entry(key)?
                };
                prop_assert_eq!(entry.as_ref(), model.get(key));
                if *entry != *value {
                    entry.clone_from(value);
                }
                model_apply(&mut model, &[(key.clone(), value.clone())]);
            }
            Touch::Read(key) => {
                let value = handle.get_near(&hint, key)?;
                prop_assert_eq!(value.as_deref(), model.get(key));
                drop(value);
                let pairs = model.range(key.clone()..).take(3);
                let pairs: Vec<_> =
                    pairs.map(|(key, value)| (key.clone(), value.clone())).collect();
                prop_assert_eq!(handle.range(key, &[0xff; 4], 3)?, pairs);
            }
            Touch::Commit(max_bytes, quiet) => {
                let mut cache = handle.cache().borrow_mut();
                cache.drain(|change| committed.commit([change].into_iter()));
                cache.trim(*max_bytes);
                prop_assert!(cache.bytes() <= *max_bytes);
                settled.clone_from(&model);
                let all = committed.range(&[], &[0xff; 4], usize::MAX)?;
                prop_assert_eq!(all.into_iter().collect::<Model>(), settled.clone());
                for _quiet in 0..*quiet {
                    cache.trim(usize::MAX);
                }
            }
            Touch::Discard => {
                handle.cache().borrow_mut().discard();
                model.clone_from(&settled);
            }
        }
    }
    Ok(())
}

#[test]
fn a_store_in_use_is_refused_and_not_a_panic() -> Result<()> {
    let (handle, _committed) = cached();
    let held = handle.entry(b"held")?;
    let uses = [
        handle.get(b"other").map(drop),
        handle.entry(b"other").map(drop),
        handle.remove(b"other"),
        handle.range(b"", b"z", 1).map(drop),
    ];
    assert!(uses.iter().all(|used| matches!(used, Err(Error::Invalid(_)))), "{uses:?}");
    drop(held);
    handle.remove(b"other")
}

#[test]
fn what_is_not_touched_for_long_leaves_the_cache() -> Result<()> {
    let (handle, _committed) = cached();
    handle.get(b"hot")?;
    let one = handle.cache().borrow().bytes();
    for old in 0..1_000_u16 {
        handle.get(&old.to_be_bytes())?;
    }
    assert!(handle.cache().borrow().capacity() >= 1_000);
    for _commit in 0..3_000 {
        handle.get(b"hot")?;
        handle.cache().borrow_mut().trim(usize::MAX);
    }
    assert_eq!(handle.cache().borrow().bytes(), one);
    let capacity = handle.cache().borrow().capacity();
    assert!(capacity < 10, "room for {capacity} entries is kept");
    assert!(handle.get(b"hot")?.is_none(), "it was never there");
    Ok(())
}

proptest! {
    #[test]
    fn a_cache_equals_a_map_whatever_it_gives_up(touches in vec(touch(), 1..80)) {
        cached_equals_a_map(&touches)?;
    }

    #[test]
    fn what_is_committed_equals_a_map_whatever_is_written(turns in vec(turn(), 1..60)) {
        committed_equals_a_map(&turns)?;
    }

    #[test]
    fn the_bytes_in_front_of_a_store_come_and_go(turns in vec(changes(), 1..20)) {
        let committed = Committed::new(Box::new(MemoryStore::default()));
        let mut before = 0;
        for changes in &turns {
            committed.commit(borrowed(changes));
            let values: usize = changes.iter().map(|(_, v)| v.as_ref().map_or(0, Vec::len)).sum();
            prop_assert!(committed.overlay_bytes() <= before + values + changes.len() * 200);
            before = committed.overlay_bytes();
        }
        committed.freeze(Offset(1));
        committed.write_frozen()?;
        prop_assert_eq!(committed.overlay_bytes(), 0);
    }
}
