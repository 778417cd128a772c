//! A seeded chain, served as a node of Ethereum serves it: JSON-RPC on a WebSocket.
//!
//! The chain has pools of Uniswap v2 and v3 whose prices walk at random. All connections see the same
//! chain; it goes on whether a client listens or not.
//!
//! ```text
//! Chain ─ a block each --block-every ─→ steps ─ broadcast ─→ connection: filters, faults ─→ socket
//!   ├──────────── answers: blocks, logs, calls ─────────────────────────────────────────→ socket
//!   └─ lines ─→ --truth FILE: every block with its swaps, and every change of the head
//! ```
//!
//! | file | content |
//! |---|---|
//! | `chain.rs` | blocks, waiting transactions, reorganisations: a value without a clock |
//! | `pool.rs`, `walk.rs` | tokens and pools; the swap of one moment |
//! | `frames.rs`, `word.rs` | heads, logs and words of 256 bits as a node writes them |
//! | `answer.rs`, `filter.rs` | requests of a client |
//! | `connection.rs`, `node.rs` | sockets and faults |
//!
//! Invariants:
//! - The seed decides blocks, hashes and swaps; the clock decides only times.
//! - A transaction is in at most one block of the canonical chain.
//! - A block that returns has the hash and the log indexes that it had.

mod answer;
mod chain;
mod connection;
mod filter;
mod frames;
mod node;
pub mod pool;
pub mod settings;
mod truth;
mod walk;
mod word;

pub use self::answer::{Answer, Control, answer};
pub use self::chain::{Block, Chain, FIRST, Log, LogBody, Step, Transaction};
pub use self::filter::Filter;
pub use self::node::{EthereumConfig, Node, NodeHandle};
