//! State stores: what a partition knows, with the changelog position up to which it knows it.
//!
//! ```text
//! processor ─► Cache (typed, uncommitted) ─► Commit ─► post_commit ─► Overlay (committed, in memory)
//!                 └────── reads through ──────────────────────────────┘ └─► Store (disk), every few seconds
//! ```
//!
//! Invariants:
//! - store == fold(changelog[.. position]): an uncommitted write is never in overlay or store.
//! - A batch may be applied in parts as long as its position comes last: records are whole
//!   values, so replaying from an older position overwrites to the same end.
//! - There is no `put`: a store changes only by [`Store::apply`].

pub mod cache;
pub mod disk;
pub mod engine;
pub mod freshness;
mod handles;
mod layer;
pub mod lsm;
pub mod memory;
pub mod overlay;
#[cfg(test)]
mod properties;

pub use cache::{Cache, Hint, StoreEntry, StoreHandle, ValueRef};
pub use disk::Disk;
pub use engine::Engine;
pub use freshness::{Freshness, Moment};
pub use lsm::Lsm;
pub use memory::Memory;
pub use overlay::Committed;

use crate::error::Result;
use crate::record::Offset;

/// A key and its new value; `None` deletes it.
pub type Change = (Vec<u8>, Option<Vec<u8>>);
/// A [`Change`] whose bytes are elsewhere.
pub type ChangeRef<'a> = (&'a [u8], Option<&'a [u8]>);
/// A key and its value.
pub type Pair = (Vec<u8>, Vec<u8>);

/// Ordered keys and values of one store and partition, and a position.
///
/// All implementations are real: [`Memory`] serves tests, files without a broker and small views,
/// [`Disk`] and [`Lsm`] everything that must survive; [`engine`] says which of them.
pub trait Store: Send + Sync {
    /// The value of `key`.
    fn get(&self, key: &[u8]) -> Result<Option<Vec<u8>>>;

    /// At most `limit` pairs with `from <= key < to`, in key order.
    fn range(&self, from: &[u8], to: &[u8], limit: usize) -> Result<Vec<Pair>>;

    /// Applies `changes`, then the position, so that the position never claims a change that is
    /// not there, whenever the process dies.
    fn apply(&self, changes: &[ChangeRef<'_>], position: Option<Offset>) -> Result<()>;

    /// The next changelog offset that this store has not seen; `None` in a new store.
    fn position(&self) -> Result<Option<Offset>>;
}
