//! READ THIS FIRST: the whole computation on one page.
//!
//! ```text
//! events          ──► prices    latest, ohlc_1m, ohlc_1h, ohlc_1d, late            tasks 0_n
//! quotes          ──► quotes    top_of_book, spreads_1m, spreads_1h, spreads_1d    tasks 1_n
//! books           ──► a table that readers use
//! option_tickers  ──► options   options, options_1m, derivatives                   tasks 3_n
//! swaps           ──► swaps     pools, pool_1m                                     tasks 4_n
//!   token-legs    ──► tokens    token_5m, token_1h                                 tasks 5_n
//!   swap-status   ──► swap_status                                                  tasks 6_n
//! ```
//!
//! Tasks are numbered in the order of their sources. A new sub-topology comes last, so that the tasks and
//! the table of installations without it keep their numbers. `token-legs` and `swap-status` are
//! repartition topics, which the task of a swap's pool writes.
//!
//! Each choice of `--topologies` has a page of its own: `topology/prices.rs`, `topology/quotes.rs`,
//! `topology/options.rs` and `topology/swaps.rs`. They share no store. Each store publishes its changes once: the topic that
//! consumers read is the changelog that restores the store.

mod index;
mod options;
mod prices;
mod quotes;
mod selection;
mod swaps;

use std::sync::Arc;

use schemas::Codec;
use schemas::topic::Topic;
use streams::{Result, Topology};

pub use selection::{Named, Topologies};

use crate::operators::STEP_WINDOWS;

/// The name of a topic's store: the topic's own, without the prefix.
pub const fn store_name(topic: Topic) -> &'static str {
    topic.base_name()
}

/// The parts that each sub-topology is wired with.
struct Wiring {
    codec: Arc<Codec>,
    /// Before the names of the topics that producers write.
    input_prefix: String,
    /// Before the names of all others.
    prefix: String,
    step_windows: usize,
    /// Blocks on top of a block whose swaps are counted.
    confirmations: i64,
}

/// Blocks on top of a block whose swaps are counted, unless `--confirmations` says otherwise: one, because
/// most reorganisations replace the newest block alone.
pub const CONFIRMATIONS: i64 = 1;

/// The chosen sub-topologies over topics whose names begin with `prefix`.
pub fn topology(codec: &Arc<Codec>, prefix: &str, topologies: Topologies) -> Result<Topology> {
    topology_from(codec, prefix, prefix, topologies)
}

/// The same, with the input topics of another prefix.
pub fn topology_from(
    codec: &Arc<Codec>,
    input_prefix: &str,
    prefix: &str,
    topologies: Topologies,
) -> Result<Topology> {
    topology_in_steps(codec, input_prefix, prefix, topologies, STEP_WINDOWS)
}

/// [`topology_from`] with another bound on the windows per step of a mark. Tests use it to show that the
/// bound changes no record.
pub fn topology_in_steps(
    codec: &Arc<Codec>,
    input_prefix: &str,
    prefix: &str,
    topologies: Topologies,
    step_windows: usize,
) -> Result<Topology> {
    wire(
        Wiring {
            codec: Arc::clone(codec),
            input_prefix: input_prefix.to_owned(),
            prefix: prefix.to_owned(),
            step_windows,
            confirmations: CONFIRMATIONS,
        },
        topologies,
    )
}

/// [`topology_from`] that counts a swap once so many blocks are on top of its own.
pub fn topology_confirmed(
    codec: &Arc<Codec>,
    input_prefix: &str,
    prefix: &str,
    topologies: Topologies,
    confirmations: i64,
) -> Result<Topology> {
    wire(
        Wiring {
            codec: Arc::clone(codec),
            input_prefix: input_prefix.to_owned(),
            prefix: prefix.to_owned(),
            step_windows: STEP_WINDOWS,
            confirmations,
        },
        topologies,
    )
}

fn wire(wiring: Wiring, topologies: Topologies) -> Result<Topology> {
    Topology::new(move |builder| {
        let priced = topologies.has(Named::Prices).then(|| prices::wire(builder, &wiring));
        if topologies.has(Named::Quotes) {
            quotes::wire(builder, &wiring);
        }
        if topologies.has(Named::Options) {
            options::wire(builder, &wiring);
        }
        if topologies.has(Named::Swaps) {
            swaps::wire(builder, &wiring);
        }
        // Last, so that the tasks of the others keep their numbers.
        if let Some(priced) = priced.filter(|_| topologies.has(Named::Index)) {
            index::wire(builder, &wiring, &priced);
        }
    })
}
