//! What the processor answers over HTTP: health, metrics, and reads of its own partitions.
//!
//! ```text
//! connections ─► guard, metrics ─► routes ─► latest, candles, exchanges, bases ─► served (one read) ─► read (the stores)
//!                               └─ params: what is asked             └─ extent: how old the answer is
//!                               └─ answer: JSON, CSV, Arrow, 304     error: why there is none
//! ```
//!
//! Candles older than what is here come from `history`, where a database is named.
//!
//! Reads see committed state only. A member answers for the partitions that it has; what it does
//! not find it says so of, with the partitions that it looked in. An answer says how old it is.

mod answer;
mod arrow;
mod bases;
mod budget;
mod candles;
mod clock;
mod connections;
mod error;
mod exchanges;
mod extent;
mod fill;
mod guard;
mod history;
mod latest;
mod metrics;
mod openapi;
mod params;
mod places;
mod rate;
pub mod read;
mod routes;
mod rows;
mod served;
pub mod stream;
#[cfg(test)]
mod tests;
mod tls;

pub use budget::Budget;
pub use clock::now;
pub use connections::{Limits, serve};
pub use error::Refusal;
pub use guard::{Guards, Token};
pub use history::{History, HistoryUrl};
pub use metrics::Connections;
pub use routes::router;
pub use served::Served;
pub use tls::server_config;
