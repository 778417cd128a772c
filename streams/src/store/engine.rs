//! Which engine keeps the stores of a state directory.
//!
//! | | sled | fjall |
//! |---|---|---|
//! | is | a B-tree of leaves | a log-structured merge tree |
//! | for | state whose hot part fits into the caches | state that does not |
//! | a key that is not there | reads a leaf | asks a filter |
//! | a sorted run | rewrites the leaves it meets | is one new table |
//!
//! A directory keeps the engine that it was made with: the runtime remembers its name.

use std::collections::HashMap;
use std::fmt;
use std::path::Path;
use std::str::FromStr;
use std::sync::{Arc, Mutex, PoisonError};

use super::{Store, disk, lsm};
use crate::error::{Error, Result};

/// An engine.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Engine {
    /// sled.
    #[default]
    Sled,
    /// fjall.
    Fjall,
}

impl Engine {
    /// Every engine.
    pub const ALL: [Self; 2] = [Self::Sled, Self::Fjall];

    /// Its name.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Sled => "sled",
            Self::Fjall => "fjall",
        }
    }
}

impl fmt::Display for Engine {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl FromStr for Engine {
    type Err = Error;

    fn from_str(name: &str) -> Result<Self> {
        let found = Self::ALL.into_iter().find(|engine| engine.as_str() == name);
        found.ok_or_else(|| Error::Invalid("a store engine is sled or fjall".into()))
    }
}

/// The database of one state directory.
pub enum Database {
    /// Kept by sled; a handle of it is large.
    Sled(Box<disk::Database>),
    /// Kept by fjall.
    Fjall(lsm::Database),
}

impl Database {
    /// Opens or creates the database in `path`, with that much memory for its cache.
    pub fn open(engine: Engine, path: &Path, cache_bytes: usize) -> Result<Self> {
        match engine {
            Engine::Sled => disk::Database::open(path, cache_bytes)
                .map(|database| Self::Sled(Box::new(database))),
            Engine::Fjall => lsm::Database::open(path, cache_bytes).map(Self::Fjall),
        }
    }

    /// The store of that name. Who opened it before can write to it no more: a thread that has lost
    /// a partition to another thread of this process may not know yet.
    pub fn store(&self, name: &str) -> Result<Box<dyn Store>> {
        Ok(match self {
            Self::Sled(database) => Box::new(database.store(name)?),
            Self::Fjall(database) => Box::new(database.store(name)?),
        })
    }

    /// Bytes on disk.
    pub fn size_bytes(&self) -> u64 {
        match self {
            Self::Sled(database) => database.size_bytes(),
            Self::Fjall(database) => database.size_bytes(),
        }
    }
}

/// By name: how often each store was opened. A number is locked while its store is written.
#[derive(Default)]
pub(super) struct Openings(Mutex<HashMap<String, Arc<Mutex<u64>>>>);

impl Openings {
    /// Fences whoever opened it before.
    pub(super) fn open(&self, name: &str) -> Opening {
        let mut all = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let latest = Arc::clone(all.entry(name.to_owned()).or_default());
        let number = {
            let mut latest = latest.lock().unwrap_or_else(PoisonError::into_inner);
            *latest += 1;
            *latest
        };
        Opening { number, latest }
    }
}

/// One opening of a store.
pub(super) struct Opening {
    number: u64,
    latest: Arc<Mutex<u64>>,
}

impl Opening {
    /// Runs `write` while nobody opens the store anew.
    ///
    /// # Errors
    /// [`Error::Fenced`] when somebody has.
    pub(super) fn write<R>(&self, write: impl FnOnce() -> Result<R>) -> Result<R> {
        let latest = self.latest.lock().unwrap_or_else(PoisonError::into_inner);
        if *latest != self.number {
            return Err(Error::Fenced("the state store was opened again".into()));
        }
        write()
    }
}

/// What ends the application when the disk has failed.
pub(super) fn no_room(error: &dyn fmt::Display) -> Error {
    Error::Invalid(format!(
        "state store: {error}; make room on the disk of --state-dir, or move the state to another, \
         and start again"
    ))
}

/// What ends the application when the database cannot be read.
pub(super) fn unreadable(path: &Path, error: &dyn fmt::Display) -> Error {
    Error::Corrupt(format!(
        "state directory {}: {error}; move it away and its stores are restored from the topics",
        path.display()
    ))
}

/// The position of a store, as it stands in it.
pub(super) fn read_position(bytes: &[u8]) -> Result<crate::record::Offset> {
    let bytes = bytes
        .try_into()
        .map_err(|_| Error::Corrupt("the position of a state store is not a number".into()))?;
    Ok(crate::record::Offset(i64::from_be_bytes(bytes)))
}
