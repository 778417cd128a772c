//! The order books of a feed: which are out of sync, and how each is brought back.
//!
//! ```text
//! Control::Resync ─→ Resyncs ─ due ─┬─→ unsubscribe and subscribe, over the session
//!                       ▲           └─→ Snapshots ─ GET, paced ─→ answer ─→ Pipeline
//!                       └── quote, failure, end of the connection
//! ```
//!
//! A venue either sends the snapshot of a book when it is subscribed, or answers it to a request. Each
//! pair has its own state and its own back-off: a pair that fails does not disturb the others.

mod gauge;
mod resyncs;
pub mod snapshots;

pub(super) use gauge::SyncGauge;
pub(super) use resyncs::{Due, Resyncs, Source};
