//! Rules that both engines on disk share: fencing of earlier owners, errors, the position.
//!
//! Two threads of a process may hold the same store for a moment. The epoch makes sure that the
//! earlier one can no longer write to it.

use std::collections::HashMap;
use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};
use std::{fmt, io};

use crate::error::{Error, Result};
use crate::record::Offset;

/// The latest epoch of each store, by name. An epoch is locked while its store is written.
#[derive(Default)]
pub(super) struct Epochs(Mutex<HashMap<String, Arc<Mutex<u64>>>>);

impl Epochs {
    /// Begins the next epoch of a store, which fences the earlier ones.
    pub(super) fn open(&self, name: &str) -> Epoch {
        let mut all = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let latest = Arc::clone(all.entry(name.to_owned()).or_default());
        let number = {
            let mut latest = latest.lock().unwrap_or_else(PoisonError::into_inner);
            *latest += 1;
            *latest
        };
        Epoch { number, latest }
    }
}

/// One owner's time with a store.
pub(super) struct Epoch {
    number: u64,
    latest: Arc<Mutex<u64>>,
}

impl Epoch {
    /// Runs `write` unless a later epoch has begun, and lets none begin meanwhile.
    ///
    /// # Errors
    /// [`Error::Fenced`] when a later epoch has begun.
    pub(super) fn write<R>(&self, write: impl FnOnce() -> Result<R>) -> Result<R> {
        let latest = self.latest.lock().unwrap_or_else(PoisonError::into_inner);
        if *latest != self.number {
            return Err(Error::Fenced("the state store has another owner".into()));
        }
        write()
    }
}

/// A write to the disk has failed.
pub(super) fn no_room(error: &dyn fmt::Display) -> Error {
    Error::Invalid(format!(
        "state store: {error}; make room on the disk of --state-dir, or move the state to another, \
         and start again"
    ))
}

/// The database cannot be read.
pub(super) fn unreadable(path: &Path, error: &dyn fmt::Display) -> Error {
    Error::Corrupt(format!(
        "state directory {}: {error}; move it away and its stores are restored from the topics",
        path.display()
    ))
}

/// Decodes the position that a store holds.
pub(super) fn read_position(bytes: &[u8]) -> Result<Offset> {
    let bytes = bytes
        .try_into()
        .map_err(|_| Error::Corrupt("the position of a state store does not have 8 bytes; move --state-dir away and its stores are restored from the topics".into()))?;
    Ok(Offset(i64::from_be_bytes(bytes)))
}

/// The disk, or the user's part of it, is full.
pub(super) fn is_full(error: &io::Error) -> bool {
    use io::ErrorKind::{FileTooLarge, QuotaExceeded, StorageFull};
    matches!(error.kind(), StorageFull | QuotaExceeded | FileTooLarge)
}
