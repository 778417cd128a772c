//! The processor: `events` and `quotes` in; newest prices, candles, newest quotes and spreads out.
//!
//! Read [`topology`] first: it has a page for each sub-topology, and all other modules follow from it.

pub mod api;
pub mod cli;
pub mod compute;
pub mod config;
pub mod interval;
pub mod layouts;
pub mod migrate;
pub mod operators;
pub mod store_keys;
pub mod topology;
