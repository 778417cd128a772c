//! The venues on real sockets: their protocols, a seeded market, faults on demand.
//!
//! Any client can connect. The market trades whether a client listens or not, and all connections
//! see the same market. Trade ids are dense across reconnects, so a trade that a client missed is
//! really missing. HTTP requests are answered on the same port: the listing and the trades of the
//! past, including those that faults kept from the feed.
//!
//! ```text
//! Market ─ one task, every 10 ms ─→ broadcast ─→ connection: session, faults ─→ socket
//!   └──────────────── limits, http: listing, history, snapshots ────────────→ socket
//! Surface ─ each tick of 100 ms ─→ tickers, listings ─────────────────────────→ socket (Deribit)
//! ```
//!
//! `ethereum/` is apart: a chain and its node, which speak JSON-RPC and have no market of products.
//!
//! Invariant: this crate does not use the adapters that it tests.

mod best;
pub mod binance;
pub mod bitstamp;
pub mod book;
mod bucket;
mod clock;
pub mod coinbase;
mod config;
mod connection;
pub mod deribit;
pub mod ethereum;
pub mod faults;
pub mod http;
pub mod kraken;
pub mod limits;
pub mod listings;
pub mod market;
pub mod product;
pub mod reply;
pub mod session;
mod shared;
mod simulator;
pub mod surface;
pub mod text;
mod venue;

pub use self::config::SimulatorConfig;
pub use self::listings::ListingChange;
pub use self::simulator::{Handle, ShownQuote, Simulator};
pub use self::venue::Venue;
