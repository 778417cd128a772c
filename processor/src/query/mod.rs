//! What the processor answers over HTTP: health, metrics, and reads of its own partitions.
//!
//! Reads see committed state only. A member answers for the partitions that it owns; what it does
//! not find it says so of, with the partitions that it looked in.

pub mod read;
mod routes;
pub mod stream;

pub use routes::{Served, router};
