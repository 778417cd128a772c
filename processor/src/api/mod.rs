//! The HTTP server: health, metrics, reads of this member's partitions, and streams of changes.
//!
//! ```text
//! connections ─► guard, metrics ─► routes ─┬─► reads/   ─► read_service (one read) ─► store_reader
//!                                          └─► stream/  changes over WebSocket and server-sent events
//!
//! params   the parameters of a request        extent   the age of an answer
//! columns  a record as JSON, CSV and Arrow    cursor   the place of the next page
//! answer   JSON, CSV, Arrow or 304            error    the reason of a refusal
//! history  older candles from PostgreSQL      budget   the memory that readers hold
//! ```
//!
//! Reads see committed state only. A member answers for the partitions that it has. When it does
//! not find a pair, the answer lists the partitions that were searched. Each answer states its age.

mod answer;
mod book_reader;
mod book_reads;
mod book_rows;
mod budget;
mod clock;
mod columns;
mod connections;
mod cursor;
mod error;
mod exchange_cache;
mod extent;
mod guard;
mod history;
mod index_rows;
mod metrics;
mod openapi;
mod option_filter;
mod option_reads;
mod option_rows;
mod page;
mod pair_store;
mod params;
mod partition_hints;
mod rate;
mod read_service;
mod reads;
mod routes;
mod rows;
mod segments;
pub mod store_reader;
pub mod stream;
mod swap_params;
mod swap_reads;
mod swap_rows;
mod swap_windows;
#[cfg(test)]
mod tests;
mod tls;
mod token_pools;

pub use budget::Budget;
pub use clock::now;
pub use connections::{ConnectionLimits, serve};
pub use error::Refusal;
pub use guard::{AccessPolicy, AccessToken};
pub use history::{History, HistoryUrl};
pub use metrics::ConnectionMetrics;
pub use read_service::ReadService;
pub use routes::router;
pub use tls::server_config;
