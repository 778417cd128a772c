//! The protocols of the venues, as pure values.
//!
//! ```text
//! subscriptions ──→ text frames to send
//! text frame ─ parse ─→ Message ─ Pipeline ─→ Output: event, mark, gap, dead letter
//! text frame ─ parse ─→ BookMessage ─ Book ─→ Outcome: quote, resync
//! listing, history ──→ requests to send; their answers ─ parse ─→ instruments, trades
//! text frame of a node ─ Follower ─→ Output: swap, head, pool, dead letter; requests to send
//! ```
//!
//! Each venue is one folder and one table, [`Adapter`], reached by [`Venue::adapter`]. To add a
//! venue, add its folder, its variant of [`Venue`], and its simulator (`CONTRIBUTING.md`).
//!
//! An adapter holds no socket, reads no clock and has no state: a recorded capture and a live feed
//! take the same path.
//!
//! Invariants:
//! - A number stays text until it is an exact `Decimal`; floats do not occur here.
//! - Each message is parsed to exactly one of: events, a heartbeat, an acknowledgement, a refusal,
//!   ignored with a reason, [`Malformed`] with a reason.
//! - Labels (kinds, reasons) are constants, so metrics stay bounded.
//!
//! # What this does not do
//!
//! Values are not judged. A price of zero, a volatility of 999 % or a trade in year 1 is passed on: the
//! processor decides what is dirty, with the record's position at hand.

mod adapter;
pub mod binance;
pub mod bitstamp;
pub mod book;
mod channel;
pub mod coinbase;
pub mod deribit;
pub mod ethereum;
mod fields;
pub mod history;
mod instrument;
pub mod kraken;
mod limits;
mod malformed;
mod message;
pub mod pipeline;
pub mod recording;
mod request;
#[cfg(test)]
mod test_data;
mod venue;

pub use adapter::{
    Adapter, Books, Endpoints, Listing, Liveness, StreamsOf, Subscriptions, Tickers,
};
pub use channel::{Channel, Channels, Follow, TickerInterval, UnknownChannel, UnknownInterval};
pub use fields::{decimal, integer, optional, scalar};
pub use instrument::{Class, Instrument, ListingChange};
pub use limits::Limits;
pub use malformed::Malformed;
pub use message::{Control, Ignored, Message, NullField, Parsed, Subscription, UNKNOWN};
pub use request::{HttpRequest, Request, SocketRequest};
pub use venue::{AnyVenue, Venue};
