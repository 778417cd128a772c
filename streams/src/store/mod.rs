//! State stores: the state of a partition, with the changelog position up to which it is complete.
//!
//! ```text
//! processor ─► Cache (typed, uncommitted) ─► Commit ─► post_commit ─► overlay (committed, in memory)
//!                 └────── reads through ──────────────────────────────┘ └─► Store (disk), every few seconds
//! ```
//!
//! Invariants:
//! - store == fold(changelog[.. position]): an uncommitted write is never in overlay or store.
//! - A batch may be applied in parts as long as its position comes last: records are whole
//!   values, so replaying from an older position overwrites to the same end.
//! - There is no `put`: a store changes only by [`Store::apply`], and forgets only what is hidden from
//!   every reader ([`crate::retention`]).

pub mod cache;
pub mod committed;
mod disk;
pub mod engine;
pub mod fjall;
pub mod freshness;
mod layer;
pub mod memory;
#[cfg(test)]
mod properties;
pub mod sled;
#[cfg(test)]
mod windowed_properties;

pub use self::fjall::FjallStore;
pub use self::sled::SledStore;
pub use cache::{Cache, Hint, StoreEntry, StoreHandle, ValueRef};
pub use committed::Committed;
pub use engine::Engine;
pub use freshness::{Freshness, Moment};
pub use memory::MemoryStore;

use crate::error::Result;
use crate::record::Offset;
pub use crate::record::{Change, ChangeRef, KeyValue};

/// Ordered keys and values of one store and partition, and a position.
///
/// All implementations are real: [`MemoryStore`] serves tests, files without a broker and small views,
/// [`SledStore`] and [`FjallStore`] everything that must survive; [`engine`] says which of them.
pub trait Store: Send + Sync {
    /// The value of `key`.
    fn get(&self, key: &[u8]) -> Result<Option<Vec<u8>>>;

    /// At most `limit` pairs with `from <= key < to`, in key order.
    fn range(&self, from: &[u8], to: &[u8], limit: usize) -> Result<Vec<KeyValue>>;

    /// Applies `changes`, then the position, so that the position never claims a change that is
    /// not there, whenever the process dies.
    fn apply(&self, changes: &[ChangeRef<'_>], position: Option<Offset>) -> Result<()>;

    /// The next changelog offset that this store has not seen; `None` in a new store.
    fn position(&self) -> Result<Option<Offset>>;

    /// Forgets pairs with `key < before`, which are not read any more. A store may keep some of them for
    /// a while; one that is not windowed keeps all.
    fn expire(&self, _before: &[u8]) -> Result<()> {
        Ok(())
    }
}
