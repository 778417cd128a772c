//! The consolidated price of a pair over its exchanges.
//!
//! ```text
//! prices:  event ─► LatestPrices ─► IndexLegs ─ each second of stream time ─► index-legs
//! index:   leg ─► Index: member, rule ─► store index
//!                   ▲ stream time: a member becomes stale, or is forgotten
//! ```
//!
//! Invariants:
//! - A member of the index is the newest price of its exchange, a second of stream time late at most.
//! - A stale member never counts, also when no leg of its pair comes any more.

mod indexes;
mod legs;
mod rule;

pub use indexes::{IndexLegEntry, Indexes, index_leg_entry};
pub use legs::IndexLegs;
pub use rule::{Consolidated, OUTLIER_PART, Quoted, STALE_AFTER_MS, Unused, consolidate};
