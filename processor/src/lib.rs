//! The processor: `events`, `quotes` and `option_tickers` in; newest prices, candles, newest quotes,
//! spreads, options and derivatives out.
//!
//! Read [`topology`] first: it has a page for each sub-topology, and all other modules follow from it.

pub mod api;
pub mod checks;
pub mod cli;
pub mod compute;
pub mod config;
pub mod index_rows;
pub mod interval;
pub mod layouts;
pub mod migrate;
pub mod operators;
pub mod option_rows;
pub mod store_keys;
pub mod topology;
