//! What this product computes: `events` in, `latest` and candles out.
//!
//! Read [`topology`] first: it is one page, and everything else hangs from it.

pub mod ask;
pub mod candles;
pub mod config;
pub mod layout;
pub mod operators;
pub mod pairs;
pub mod query;
pub mod topology;
pub mod trades;
