//! The producer: live venues, recordings, prices on standard input and synthetic load to Kafka.
//!
//! ```text
//! plan ─→ feed ───────────────────────────────┐
//! input: replay ─┴→ venues: adapter, pipeline ─┤
//! input: price_event, load ───────────────────┴→ Output ─→ sink ─→ Kafka
//! ```
//!
//! - [`commands`] are the entry points, one for each subcommand of [`config`].
//! - [`plan`] decides which connection carries which streams, within the venue's limits.
//! - [`feed`] has the only client sockets.
//! - [`input`] reads files and standard input, and makes load.
//! - [`sink`] alone names the Kafka client.
//! - [`clock`] alone reads the time.
//!
//! The venues' protocols are the crate `venues`. `tests/` runs the real feed against the crate
//! `simulator`, without Kafka.
//!
//! # What this does not do
//!
//! Without `--spool-dir` nothing is kept on disk: while the broker is away, events wait in a
//! bounded queue in memory, and a full queue stops the reading of the feed. Trades that a feed
//! missed are marked and fetched ([`feed::backfill`]). Trades while no producer ran are neither.

pub mod clock;
pub mod commands;
pub mod config;
pub mod feed;
pub mod input;
pub mod labels;
pub mod metrics;
pub mod plan;
pub mod sink;
#[cfg(test)]
mod test_data;
