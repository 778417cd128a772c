//! The limits that a venue sets for one address.
//!
//! | venue | streams per connection | connections | messages | connection attempts |
//! |---|---|---|---|---|
//! | Coinbase | 50: "spread products over sockets" | 20: their handshakes take 3 s at 8 requests/s | 10/s of 100/s documented | 8/s: 480 a minute |
//! | Binance | 1024, documented | 300: as many as may be opened in 5 minutes | 5/s, documented | 300 in 5 minutes, documented |
//! | Kraken | 400: not documented | 20: well below what an address may open | 2/s: "dynamic" | 150 in 10 minutes, documented (Cloudflare) |
//! | Deribit | 500: not documented | 30 of 32, which include HTTP | 3.3/s, documented | 60 a minute: not documented |
//! | Bitstamp | 100: not documented | 20: not documented | 10/s of 400/s documented | 60 a minute: not documented |
//!
//! An undocumented limit is small enough that a lost connection costs little. A flag overrides
//! each of them. Each venue's numbers are in `<venue>/limits.rs`.

use std::time::Duration;

/// The limits of one address at a venue.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Streams per connection.
    pub streams: usize,
    /// Connections at a time.
    pub connections: usize,
    /// Requests in ten seconds, over all connections.
    pub messages_in_10s: u32,
    /// Connection attempts within [`Self::window`].
    pub attempts: usize,
    /// The time in which attempts are counted.
    pub window: Duration,
}

impl Limits {
    /// The time from one request to the next.
    pub fn pace(&self) -> Duration {
        Duration::from_secs(10) / self.messages_in_10s.max(1)
    }
}
