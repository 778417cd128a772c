//! The storage engines, of which a state directory has one.
//!
//! | | sled | fjall |
//! |---|---|---|
//! | is | a B-tree of leaves | a log-structured merge tree |
//! | opening | runs the command `sync`, of all file systems | reads its own files |
//! | what was written | stays in memory until the database is opened again | leaves it |
//! | a key that is not there | reads a leaf | asks a filter |
//! | a sorted run | rewrites the leaves it meets | is one new table |
//!
//! fjall is the default for these reasons. A directory keeps the engine that it was made with: the runtime
//! remembers its name.

use std::fmt;
use std::path::Path;
use std::str::FromStr;
use std::sync::Arc;

use super::Store;
use super::fjall::FjallDatabase;
use super::sled::SledDatabase;
use crate::error::{Error, Result};
use crate::retention::Retention;

/// An engine.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Engine {
    /// sled.
    Sled,
    /// fjall.
    #[default]
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
        found.ok_or_else(|| {
            Error::Invalid(format!("store engine {name:?} does not exist: use sled or fjall"))
        })
    }
}

/// The database of one state directory.
pub enum Database {
    /// Kept by sled; a handle of it is large.
    Sled(Box<SledDatabase>),
    /// Kept by fjall.
    Fjall(Arc<FjallDatabase>),
}

impl Database {
    /// Opens or creates the database in `path`, with that much memory for its cache.
    pub fn open(engine: Engine, path: &Path, cache_bytes: usize) -> Result<Self> {
        match engine {
            Engine::Sled => {
                SledDatabase::open(path, cache_bytes).map(|database| Self::Sled(Box::new(database)))
            }
            Engine::Fjall => FjallDatabase::open(path, cache_bytes)
                .map(|database| Self::Fjall(Arc::new(database))),
        }
    }

    /// Opens the store of that name, and fences its earlier owner: a thread that has lost a partition
    /// to another thread of this process may not know yet.
    pub fn store(&self, name: &str) -> Result<Box<dyn Store>> {
        Ok(match self {
            Self::Sled(database) => Box::new(database.store(name)?),
            Self::Fjall(database) => Box::new(database.store(name)?),
        })
    }

    /// [`Self::store`] of a windowed store.
    pub fn windowed(&self, name: &str, retention: Retention) -> Result<Box<dyn Store>> {
        match self {
            Self::Sled(database) => Ok(Box::new(database.store(name)?)),
            Self::Fjall(database) => database.windowed(name, retention),
        }
    }

    /// There is a store of that name.
    pub fn has_store(&self, name: &str) -> bool {
        match self {
            Self::Sled(database) => database.has_store(name),
            Self::Fjall(database) => database.has_store(name),
        }
    }

    /// Removes the store of that name, which nobody has open.
    pub fn remove_store(&self, name: &str) -> Result<()> {
        match self {
            Self::Sled(database) => database.remove_store(name),
            Self::Fjall(database) => database.remove_store(name),
        }
    }

    /// Bytes on disk.
    pub fn size_bytes(&self) -> u64 {
        match self {
            Self::Sled(database) => database.size_bytes(),
            Self::Fjall(database) => database.size_bytes(),
        }
    }
}
