//! Values that a book publishes: the best bid and ask, the best levels, and the reasons for silence.
//!
//! The measures of a quote are those of its record (`schemas::quote`).

pub use schemas::Proof;
use schemas::{BookLevel, Decimal, Timestamp, quote};

use super::frame::Level;

schemas::named! {
    /// The reason for which a book is out of sync.
    #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
    pub enum Reason {
        /// The venue's checksum is another one.
        Checksum = "CHECKSUM",
        /// A frame is missing or cannot be read.
        SequenceGap = "SEQUENCE_GAP",
        /// The snapshot is older than the first update, so changes between them are missing.
        StaleSnapshot = "STALE_SNAPSHOT",
        /// The best bid is above the best ask after a whole frame.
        Crossed = "CROSSED",
        /// The connection ended.
        Disconnected = "DISCONNECTED",
    }
}

/// The best bid and the best ask.
///
/// ```
/// use schemas::Decimal;
/// use venues::book::{Level, Proof, Quote};
/// let level = |price: &str, size: &str| -> Result<_, schemas::decimal::ParseDecimalError> {
///     Ok(Some(Level { price: price.parse()?, size: size.parse()? }))
/// };
/// let (bid, ask) = (level("10.0", "3")?, level("10.4", "1")?);
/// let quote = Quote { bid, ask, sequence: None, proof: Proof::None, event_time: None };
/// let text = |value: Option<Decimal>| value.map(|value| value.to_string());
/// assert_eq!(text(quote.spread()).as_deref(), Some("0.4"));
/// assert_eq!(text(quote.mid()).as_deref(), Some("10.2"));
/// assert_eq!(text(quote.microprice()).as_deref(), Some("10.3"));
/// assert_eq!(text(quote.imbalance()).as_deref(), Some("0.5"));
/// # Ok::<(), schemas::decimal::ParseDecimalError>(())
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Quote {
    /// `None` for an empty side.
    pub bid: Option<Level>,
    /// `None` for an empty side.
    pub ask: Option<Level>,
    /// The venue's id of the state: Binance's `u`, Deribit's `change_id`, Bitstamp's
    /// `microtimestamp`. `None` where the venue has none.
    pub sequence: Option<i64>,
    /// The evidence for this state.
    pub proof: Proof,
    /// The venue's time of the frame. `None` where the frame has none.
    pub event_time: Option<Timestamp>,
}

impl Quote {
    /// See [`quote::mid`].
    pub fn mid(&self) -> Option<Decimal> {
        quote::mid(self.bid.map(published), self.ask.map(published))
    }

    /// See [`quote::spread`].
    pub fn spread(&self) -> Option<Decimal> {
        quote::spread(self.bid.map(published), self.ask.map(published))
    }

    /// See [`quote::microprice`].
    pub fn microprice(&self) -> Option<Decimal> {
        quote::microprice(self.bid.map(published), self.ask.map(published))
    }

    /// See [`quote::imbalance`].
    pub fn imbalance(&self) -> Option<Decimal> {
        quote::imbalance(self.bid.map(published), self.ask.map(published))
    }
}

/// The level as records have it.
pub(crate) const fn published(level: Level) -> BookLevel {
    BookLevel { price: level.price, size: level.size }
}

/// The best levels of a book.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Depth {
    /// From the best to the worst.
    pub bids: Vec<Level>,
    /// From the best to the worst.
    pub asks: Vec<Level>,
    /// No level is missing among them. A snapshot with a limit does not have the levels behind it,
    /// so a market that has moved that far shows only the levels that have changed since.
    pub is_complete: bool,
    /// The id of the state, as in [`Quote::sequence`].
    pub sequence: Option<i64>,
    /// The evidence for this state.
    pub proof: Proof,
    /// The venue's time of the newest frame.
    pub event_time: Option<Timestamp>,
}
