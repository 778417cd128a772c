//! What feeds the log: live venues, recordings, handed-in prices, a simulator and a load.
//!
//! ```text
//! feed (socket) ──┐
//! replay (files) ─┴→ pipeline ─ exchange adapters ─┐
//! price_event (standard input) ────────────────────┼→ Output ─→ sink ─→ Kafka
//! load (seed) ─────────────────────────────────────┘
//! ```
//!
//! [`exchange`] is pure, [`pipeline`] and [`marks`] are values, [`feed`] holds the only client
//! socket, [`sink`] is the only file that names the Kafka client, [`clock`] the only one that
//! reads the time. `tests/` runs the real feed against the [`simulator`] without Kafka.
//!
//! # What this does not do
//!
//! It keeps nothing on disk unless a [`spool`] is asked for: while the broker is away events wait in
//! a bounded queue in memory, and when that is full the feed is not read. What a feed missed is
//! marked, and fetched ([`backfill`]) where the venue has trades over REST and their ids are dense.

pub mod backfill;
pub mod backfill_coinbase;
pub mod backoff;
pub mod batch;
pub mod capture;
pub mod clock;
pub mod config;
pub mod exchange;
pub mod feed;
pub mod lines;
pub mod load;
pub mod marks;
pub mod metrics;
pub mod pipeline;
pub mod price_event;
pub mod replay;
pub mod run;
pub mod shuffle;
pub mod signal;
pub mod simulator;
pub mod sink;
pub mod sink_config;
pub mod spool;
pub mod spool_outbox;
pub mod spool_parcel;
#[cfg(test)]
mod test_data;
pub mod units;
