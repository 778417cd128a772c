//! The processor: `events` in, `latest` and candles out.
//!
//! Read [`topology`] first: it is one page, and all other modules follow from it.

pub mod api;
pub mod cli;
pub mod compute;
pub mod config;
pub mod interval;
pub mod layouts;
pub mod operators;
pub mod store_keys;
pub mod topology;
