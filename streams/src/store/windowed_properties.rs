//! Properties of windowed stores: on every engine they hold what a plain map keeps of its newest
//! windows, whatever is written, closed, opened again and restored.

use std::sync::Arc;

use proptest::collection::vec;
use proptest::prelude::*;

use super::engine::{Database, Engine};
use super::properties::{Model, borrowed, model_apply, model_range};
use super::{Cache, Committed, MemoryStore, Store, StoreHandle};
use crate::changelog::Layout;
use crate::error::Result;
use crate::record::{Change, Offset};
use crate::retention::Retention;

/// With spans of two segments.
const KEPT: Retention = Retention::of_segments(8);
const SPAN: u64 = 2;
/// Greater than every key.
const END: [u8; 8] = [u8::MAX; 8];

/// A map with an expiry clock.
#[derive(Clone, Debug, Default)]
struct Windows {
    pairs: Model,
    newest: u64,
}

impl Windows {
    fn apply(&mut self, changes: &[Change]) {
        for (key, value) in changes {
            self.newest = self.newest.max(Retention::segment(key));
            model_apply(&mut self.pairs, &[(key.clone(), value.clone())]);
            let kept = Retention::first_key(KEPT.first_kept(self.newest));
            self.pairs = self.pairs.split_off(&kept[..]);
        }
    }

    fn get(&self, key: &[u8]) -> Option<Vec<u8>> {
        self.pairs.get(key).cloned()
    }

    fn range(&self, from: &[u8], to: &[u8], limit: usize) -> Vec<(Vec<u8>, Vec<u8>)> {
        model_range(&self.pairs, from, to, limit)
    }
}

/// A key of one of few segments, with one of few pairs.
fn key(segment: u64, pair: u8) -> Vec<u8> {
    [&Retention::first_key(segment)[..], &[pair]].concat()
}

fn any_key() -> impl Strategy<Value = Vec<u8>> {
    (0..30_u64, 0..3_u8).prop_map(|(segment, pair)| key(segment, pair))
}

fn changes() -> impl Strategy<Value = Vec<Change>> {
    // Tombstones are rare: the clock of a restart is that of the pairs that there are.
    vec((any_key(), vec(any::<u8>(), 0..4).prop_map(Some)), 0..8)
}

#[derive(Clone, Debug)]
enum Turn {
    Commit(Vec<Change>),
    /// Freezes and writes.
    Write,
    Get(Vec<u8>),
    Range(Vec<u8>, Vec<u8>, usize),
    /// The process dies: the overlay is gone, and the changelog is replayed from the position.
    Crash,
}

fn turn() -> impl Strategy<Value = Turn> {
    prop_oneof![
        4 => changes().prop_map(Turn::Commit),
        3 => Just(Turn::Write),
        2 => any_key().prop_map(Turn::Get),
        3 => (any_key(), any_key(), 0..9_usize).prop_map(|(a, b, limit)| Turn::Range(a, b, limit)),
        1 => Just(Turn::Crash),
    ]
}

/// The store under test: in memory, or a database in a directory.
enum Disk {
    Memory(MemoryStore),
    Directory(Engine, tempfile::TempDir),
}

impl Disk {
    fn open(&self) -> Result<Committed> {
        Committed::windowed(self.store()?, KEPT)
    }

    fn store(&self) -> Result<Box<dyn Store>> {
        match self {
            Self::Memory(store) => Ok(Box::new(store.clone())),
            Self::Directory(engine, directory) => {
                Database::open(*engine, directory.path(), 1 << 20)?.windowed("store", KEPT)
            }
        }
    }

    /// Segments that may still be held though they have expired.
    const fn slack(&self) -> u64 {
        match self {
            Self::Directory(Engine::Fjall, _) => SPAN,
            Self::Memory(_) | Self::Directory(..) => 0,
        }
    }
}

fn windowed_equals_a_map(disk: &Disk, turns: &[Turn]) -> Result<(), TestCaseError> {
    let (mut model, mut changelog) = (Windows::default(), Vec::<Change>::new());
    let mut committed = Some(disk.open()?);
    for turn in turns {
        let Some(store) = &committed else {
            return Err(TestCaseError::fail("it is open"));
        };
        match turn {
            Turn::Commit(changes) => {
                store.commit(borrowed(changes));
                model.apply(changes);
                changelog.extend_from_slice(changes);
            }
            Turn::Write => {
                store.freeze(Offset(i64::try_from(changelog.len())?));
                store.write_frozen()?;
            }
            Turn::Get(key) => prop_assert_eq!(store.get(key)?, model.get(key)),
            Turn::Range(from, to, limit) => {
                prop_assert_eq!(store.range(from, to, *limit)?, model.range(from, to, *limit));
            }
            Turn::Crash => {
                committed = None;
                let store = committed.insert(disk.open()?);
                let position = usize::try_from(store.position()?.unwrap_or_default().0)?;
                store.commit(borrowed(&changelog[position..]));
            }
        }
    }
    let Some(store) = committed else {
        return Err(TestCaseError::fail("it is open"));
    };
    prop_assert_eq!(store.range(&[], &END, usize::MAX)?, model.range(&[], &END, usize::MAX));
    // The disk has the kept pairs and at most the rest of a span. One call of sled removes few pairs, so
    // there are many calls.
    for _call in 0..40 {
        store.freeze(Offset(i64::try_from(changelog.len())?));
        store.write_frozen()?;
    }
    drop(store);
    let held = disk.store()?.range(&[], &END, usize::MAX)?;
    let first = KEPT.first_kept(model.newest);
    let segments = held.iter().map(|(key, _)| Retention::segment(key));
    prop_assert!(segments.into_iter().all(|segment| segment + disk.slack() >= first));
    let kept: Model =
        held.into_iter().filter(|(key, _)| Retention::segment(key) >= first).collect();
    prop_assert_eq!(kept, model.pairs);
    Ok(())
}

#[derive(Clone, Debug)]
enum Touch {
    Add(Vec<u8>),
    Remove(Vec<u8>),
    Read(Vec<u8>),
}

fn touch() -> impl Strategy<Value = (Touch, bool, bool)> {
    let touch = prop_oneof![
        4 => any_key().prop_map(Touch::Add),
        1 => any_key().prop_map(Touch::Remove),
        3 => any_key().prop_map(Touch::Read),
    ];
    (touch, any::<bool>(), prop::bool::weighted(0.1))
}

/// A processor's view of a windowed store, and the changes that it makes.
struct Seen {
    handle: StoreHandle<u8>,
    committed: Arc<Committed>,
    changelog: Model,
    answers: Vec<Vec<(Vec<u8>, u8)>>,
    expired: u64,
}

impl Seen {
    fn new() -> Result<Self> {
        let encode = |value: &u8, out: &mut Vec<u8>| out.push(*value);
        let decode = |bytes: &[u8]| bytes.first().copied().ok_or_else(|| "nothing".to_owned());
        let layout = Arc::new(Layout::new("topic", encode, decode).with_retention(KEPT));
        let committed = Committed::windowed(Box::new(MemoryStore::default()), KEPT)?;
        let committed = Arc::new(committed);
        let handle = StoreHandle::new(Cache::new(layout, Arc::clone(&committed)));
        let (changelog, answers) = (Model::new(), Vec::new());
        Ok(Self { handle, committed, changelog, answers, expired: 0 })
    }

    fn touch(&mut self, touch: &Touch) -> Result<()> {
        match touch {
            Touch::Add(key) => {
                let mut entry = self.handle.entry(key)?;
                let value = entry.map_or(1, |value| value.wrapping_add(1));
                *entry = Some(value);
            }
            Touch::Remove(key) => self.handle.remove(key)?,
            Touch::Read(key) => {
                let value = self.handle.get(key)?.map(|value| *value);
                let mut answer: Vec<_> =
                    value.map(|value| (key.clone(), value)).into_iter().collect();
                answer.extend(self.handle.range(key, &END, 4)?);
                self.answers.push(answer);
            }
        }
        Ok(())
    }

    fn commit(&mut self) {
        let mut cache = self.handle.cache().borrow_mut();
        let mut changes = Vec::new();
        cache.drain(|(key, value)| changes.push((key.to_vec(), value.map(<[u8]>::to_vec))));
        self.expired += cache.take_expired();
        cache.trim(200);
        self.committed.commit(borrowed(&changes));
        for (key, value) in changes {
            match value {
                Some(value) => self.changelog.insert(key, value),
                None => self.changelog.remove(&key),
            };
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]

    #[test]
    fn a_windowed_store_equals_a_map_of_its_newest_windows(turns in vec(turn(), 1..30)) {
        windowed_equals_a_map(&Disk::Memory(MemoryStore::default()), &turns)?;
        for engine in Engine::ALL {
            windowed_equals_a_map(&Disk::Directory(engine, tempfile::tempdir()?), &turns)?;
        }
    }

    #[test]
    fn what_a_processor_sees_of_windows_does_not_depend_on_commits(touches in vec(touch(), 1..60)) {
        let [mut one, mut other] = [Seen::new()?, Seen::new()?];
        for (touch, commits, both) in &touches {
            one.touch(touch)?;
            other.touch(touch)?;
            if *commits || *both {
                one.commit();
            }
            if *both {
                other.commit();
            }
        }
        one.commit();
        other.commit();
        prop_assert_eq!(&one.answers, &other.answers);
        prop_assert_eq!(&one.changelog, &other.changelog);
        prop_assert_eq!(one.expired, other.expired);
    }
}
