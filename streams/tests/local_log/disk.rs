//! A disk that keeps its promises and no more: it loses, tears and reorders what was not synced, forgets
//! what a failed fsync left, fills up, and dies between any two operations.

use std::any::Any;
use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::sync::{Arc, Mutex, MutexGuard};

use rand::rngs::StdRng;
use rand::{Rng as _, SeedableRng as _};
use streams::log::disk::{Disk, DiskFile};

/// Small, so that a frame has several pages.
const PAGE: usize = 64;

#[derive(Default)]
struct Inode {
    durable: Vec<u8>,
    current: Vec<u8>,
    dirty: BTreeSet<usize>,
}

/// A change of names that was not synced.
enum NameChange {
    Insert(String, usize),
    Rename(String, String),
    Remove(String),
}

/// What goes wrong, in thousandths of all operations.
#[derive(Clone, Copy, Default)]
pub(crate) struct Faults {
    pub(crate) failed_writes: u32,
    pub(crate) failed_syncs: u32,
}

struct State {
    rng: StdRng,
    inodes: Vec<Inode>,
    names: BTreeMap<String, usize>,
    durable_names: BTreeMap<String, usize>,
    changes: Vec<NameChange>,
    faults: Faults,
    /// Bytes until the disk is full.
    room: usize,
    /// Operations until the process dies.
    life: usize,
    is_locked: bool,
}

#[derive(Clone)]
pub(crate) struct FaultyDisk(Arc<Mutex<State>>);

struct Handle(Arc<Mutex<State>>, usize);

struct Lock(Arc<Mutex<State>>);

impl Drop for Lock {
    fn drop(&mut self) {
        self.0.lock().unwrap().is_locked = false;
    }
}

fn dead() -> io::Error {
    io::Error::other("the process is dead")
}

impl State {
    fn live(&mut self) -> io::Result<()> {
        self.life = self.life.saturating_sub(1);
        if self.life == 0 { Err(dead()) } else { Ok(()) }
    }

    fn fails(&mut self, thousandths: u32) -> bool {
        self.rng.random_range(0..1000) < thousandths
    }

    fn write(&mut self, id: usize, bytes: &[u8], position: usize) {
        let inode = &mut self.inodes[id];
        let end = position + bytes.len();
        if inode.current.len() < end {
            inode.current.resize(end, 0);
        }
        inode.current[position..end].copy_from_slice(bytes);
        inode.dirty.extend(position / PAGE..end.div_ceil(PAGE));
    }

    /// Writes some of the dirty pages, some of them in part, and forgets that the others are dirty.
    fn lose(&mut self, id: usize) {
        let (inode, rng) = (&mut self.inodes[id], &mut self.rng);
        let (old, new) = (inode.durable.len(), inode.current.len());
        let length = match rng.random_range(0..3) {
            0 => old,
            1 => new,
            _ => rng.random_range(old.min(new)..=old.max(new)),
        };
        inode.durable.resize(length, 0);
        for page in std::mem::take(&mut inode.dirty) {
            let start = page * PAGE;
            let mut end = (start + PAGE).min(length).min(new);
            match rng.random_range(0..5) {
                0 | 1 => continue,
                2 if end > start => end = rng.random_range(start..end),
                _ => {}
            }
            if start < end {
                inode.durable[start..end].copy_from_slice(&inode.current[start..end]);
            }
        }
    }

    fn change(names: &mut BTreeMap<String, usize>, change: &NameChange) {
        match change {
            NameChange::Insert(name, id) => _ = names.insert(name.clone(), *id),
            NameChange::Remove(name) => _ = names.remove(name),
            NameChange::Rename(from, to) => {
                if let Some(id) = names.remove(from) {
                    names.insert(to.clone(), id);
                }
            }
        }
    }

    fn apply(&mut self, change: NameChange) {
        Self::change(&mut self.names, &change);
        self.changes.push(change);
    }

    fn sync_names(&mut self, count: usize) {
        for change in self.changes.drain(..count) {
            Self::change(&mut self.durable_names, &change);
        }
    }
}

impl FaultyDisk {
    pub(crate) fn new(seed: u64) -> Self {
        Self(Arc::new(Mutex::new(State {
            rng: StdRng::seed_from_u64(seed),
            inodes: Vec::new(),
            names: BTreeMap::new(),
            durable_names: BTreeMap::new(),
            changes: Vec::new(),
            faults: Faults::default(),
            room: usize::MAX,
            life: usize::MAX,
            is_locked: false,
        })))
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap()
    }

    pub(crate) fn set_faults(&self, faults: Faults) {
        self.state().faults = faults;
    }

    pub(crate) fn set_room(&self, room: usize) {
        self.state().room = room;
    }

    /// The process dies after so many operations.
    pub(crate) fn set_life(&self, life: usize) {
        self.state().life = life;
    }

    pub(crate) fn is_dead(&self) -> bool {
        self.state().life == 0
    }

    /// The process has ended; the page cache remains.
    pub(crate) fn end_process(&self) {
        self.state().life = usize::MAX;
    }

    /// The machine has ended: what was not synced is kept page by page, as it comes.
    pub(crate) fn end_machine(&self) {
        let mut state = self.state();
        let count = state.changes.len();
        let kept = state.rng.random_range(0..=count);
        state.sync_names(kept);
        state.changes.clear();
        state.names = state.durable_names.clone();
        for id in 0..state.inodes.len() {
            state.lose(id);
            let inode = &mut state.inodes[id];
            inode.current.clone_from(&inode.durable);
        }
        state.life = usize::MAX;
    }

    pub(crate) fn bytes(&self, name: &str) -> Vec<u8> {
        let state = self.state();
        state.inodes[state.names[name]].current.clone()
    }

    /// Damages a byte on the disk.
    pub(crate) fn flip(&self, name: &str, position: usize, bits: u8) {
        let mut state = self.state();
        let id = state.names[name];
        let inode = &mut state.inodes[id];
        inode.current[position] ^= bits;
        inode.durable.clone_from(&inode.current);
    }
}

impl DiskFile for Handle {
    fn read_at(&self, buffer: &mut [u8], position: u64) -> io::Result<()> {
        let mut state = self.0.lock().unwrap();
        state.live()?;
        let start = position as usize;
        let found = state.inodes[self.1].current.get(start..start + buffer.len());
        buffer.copy_from_slice(found.ok_or(io::ErrorKind::UnexpectedEof)?);
        Ok(())
    }

    fn write_at(&self, bytes: &[u8], position: u64) -> io::Result<()> {
        let (mut state, position) = (self.0.lock().unwrap(), position as usize);
        let failed = state.faults.failed_writes;
        let is_dead = state.live().is_err();
        let room = state.room;
        if is_dead || state.fails(failed) || room < bytes.len() {
            let most = bytes.len().min(room);
            let some = state.rng.random_range(0..=most);
            state.write(self.1, &bytes[..some], position);
            return Err(match is_dead {
                true => dead(),
                false if room < bytes.len() => io::ErrorKind::StorageFull.into(),
                false => io::Error::other("a bad sector"),
            });
        }
        if room < usize::MAX {
            state.room -= bytes.len();
        }
        state.write(self.1, bytes, position);
        Ok(())
    }

    fn set_len(&self, length: u64) -> io::Result<()> {
        let mut state = self.0.lock().unwrap();
        state.live()?;
        let inode = &mut state.inodes[self.1];
        inode.current.resize(length as usize, 0);
        Ok(())
    }

    fn sync(&self) -> io::Result<()> {
        let mut state = self.0.lock().unwrap();
        state.live()?;
        let failed = state.faults.failed_syncs;
        if state.fails(failed) {
            state.lose(self.1);
            return Err(io::Error::other("fsync failed"));
        }
        let inode = &mut state.inodes[self.1];
        inode.durable.resize(inode.current.len(), 0);
        for page in std::mem::take(&mut inode.dirty) {
            let (start, end) = (page * PAGE, (page * PAGE + PAGE).min(inode.current.len()));
            if start < end {
                inode.durable[start..end].copy_from_slice(&inode.current[start..end]);
            }
        }
        Ok(())
    }

    fn length(&self) -> io::Result<u64> {
        Ok(self.0.lock().unwrap().inodes[self.1].current.len() as u64)
    }
}

impl Disk for FaultyDisk {
    fn path(&self, name: &str) -> String {
        format!("disk/{name}")
    }

    fn names(&self) -> io::Result<Vec<String>> {
        Ok(self.state().names.keys().cloned().collect())
    }

    fn create(&self, name: &str) -> io::Result<Arc<dyn DiskFile>> {
        let mut state = self.state();
        state.live()?;
        if state.room == 0 {
            return Err(io::ErrorKind::StorageFull.into());
        }
        let id = state.inodes.len();
        state.inodes.push(Inode::default());
        state.apply(NameChange::Insert(name.into(), id));
        Ok(Arc::new(Handle(Arc::clone(&self.0), id)))
    }

    fn open(&self, name: &str) -> io::Result<Arc<dyn DiskFile>> {
        let mut state = self.state();
        state.live()?;
        let id = *state.names.get(name).ok_or(io::ErrorKind::NotFound)?;
        Ok(Arc::new(Handle(Arc::clone(&self.0), id)))
    }

    fn rename(&self, from: &str, to: &str) -> io::Result<()> {
        let mut state = self.state();
        state.live()?;
        state.apply(NameChange::Rename(from.into(), to.into()));
        Ok(())
    }

    fn remove(&self, name: &str) -> io::Result<()> {
        let mut state = self.state();
        state.live()?;
        state.apply(NameChange::Remove(name.into()));
        Ok(())
    }

    fn sync(&self) -> io::Result<()> {
        let mut state = self.state();
        state.live()?;
        let count = state.changes.len();
        state.sync_names(count);
        Ok(())
    }

    fn lock(&self) -> io::Result<Box<dyn Any + Send + Sync>> {
        let mut state = self.state();
        if state.is_locked {
            return Err(io::ErrorKind::WouldBlock.into());
        }
        state.is_locked = true;
        Ok(Box::new(Lock(Arc::clone(&self.0))))
    }
}
