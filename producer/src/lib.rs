//! What feeds the log: live venues, recordings, handed-in prices, a simulator and a load.
//!
//! ```text
//! plan ─→ feeds ──┐
//! replay (files) ─┴→ pipeline ─ exchange adapters ─┐
//! price_event (standard input) ────────────────────┼→ Output ─→ sink ─→ Kafka
//! load (seed) ─────────────────────────────────────┘
//! ```
//!
//! [`exchange`] is pure, [`pipeline`], [`marks`], [`plan`], [`budget`] and [`connection`] are
//! values, [`feed`] holds the only client sockets, [`instruments`] asks what there is, [`sink`] alone
//! names the Kafka client, and [`clock`] alone reads the time. `tests/` runs the real feed against
//! the simulator without Kafka.
//!
//! # What this does not do
//!
//! It keeps nothing on disk unless a [`spool`] is asked for: while the broker is away events wait in
//! a bounded queue in memory, and when that is full the feed is not read. What a feed missed is
//! marked and fetched ([`backfill`]); what was traded while no producer ran is neither.

pub mod backfill;
pub mod backoff;
pub mod batch;
pub mod budget;
pub mod capture;
pub mod clock;
pub mod commands;
pub mod config;
pub mod connection;
pub mod feed;
pub mod follow;
pub mod instruments;
pub mod lines;
mod listing;
pub mod load;
pub mod metrics;
pub mod plan;
pub mod price_event;
mod refused;
pub mod replay;
mod rotation;
pub mod run;
pub mod shuffle;
pub mod signal;
pub mod sink;
mod sink_client;
pub mod sink_config;
mod sink_deliveries;
pub mod skew;
mod socket;
pub mod spool;
pub mod spool_outbox;
pub mod spool_parcel;
mod spool_segment;
pub mod spool_start;
mod surroundings;
#[cfg(test)]
mod test_data;
pub mod units;
