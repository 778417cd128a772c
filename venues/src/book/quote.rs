//! Values that a book publishes: the best bid and ask, the best levels, and the reasons for silence.
//!
//! Every value is exact. A division is rounded once, half to even at 10⁻¹⁸.

use schemas::{Decimal, Timestamp};

use super::frame::Level;

schemas::named! {
    /// The evidence that a book is the venue's own.
    #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
    pub enum Proof {
        /// The venue's checksum of the state is that of the book.
        Checksum = "CHECKSUM",
        /// The ids of the frames have no gap.
        Sequence = "SEQUENCE",
        /// The venue gives none.
        None = "NONE",
    }
}

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
    /// (bid + ask) ÷ 2; `None` when a side is empty.
    pub fn mid(&self) -> Option<Decimal> {
        let (bid, ask) = self.bid.zip(self.ask)?;
        Decimal::weighted_mean([(bid.price, Decimal::ONE), (ask.price, Decimal::ONE)])
    }

    /// ask − bid, in units of the quote; `None` when a side is empty.
    pub fn spread(&self) -> Option<Decimal> {
        let (bid, ask) = self.bid.zip(self.ask)?;
        ask.price.checked_sub(bid.price)
    }

    /// (bid × `ask_size` + ask × `bid_size`) ÷ (`bid_size` + `ask_size`); `None` when a side is empty.
    pub fn microprice(&self) -> Option<Decimal> {
        let (bid, ask) = self.bid.zip(self.ask)?;
        Decimal::weighted_mean([(bid.price, ask.size), (ask.price, bid.size)])
    }

    /// (`bid_size` − `ask_size`) ÷ (`bid_size` + `ask_size`), from −1 to 1. An empty side has the size
    /// zero; `None` when both are empty.
    pub fn imbalance(&self) -> Option<Decimal> {
        let size = |side: Option<Level>| side.map_or(Decimal::ZERO, |level| level.size);
        let minus_one = Decimal::ZERO.checked_sub(Decimal::ONE)?;
        Decimal::weighted_mean([(Decimal::ONE, size(self.bid)), (minus_one, size(self.ask))])
    }
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

#[cfg(test)]
mod tests {
    use super::*;

    /// Mid, spread, microprice and imbalance of a bid and an ask, each `price size`.
    fn measures(bid: &str, ask: &str) -> [Option<String>; 4] {
        let level = |text: &str| {
            let (price, size) = text.split_once(' ')?;
            Some(Level { price: price.parse().ok()?, size: size.parse().ok()? })
        };
        let (bid, ask) = (level(bid), level(ask));
        let quote = Quote { bid, ask, sequence: None, proof: Proof::None, event_time: None };
        let all = [quote.mid(), quote.spread(), quote.microprice(), quote.imbalance()];
        all.map(|value| value.map(|value| value.to_string()))
    }

    #[test]
    fn measures_are_exact_and_rounded_half_to_even() {
        let shown = |texts: [&str; 4]| texts.map(|text| Some(text.to_owned()));
        for (bid, ask, expected) in [
            ("1 1", "2 2", ["1.5", "1", "1.333333333333333333", "-0.333333333333333333"]),
            ("1 2", "2 1", ["1.5", "1", "1.666666666666666667", "0.333333333333333333"]),
            (
                "61837.63 3.78826",
                "61837.64 1.54698",
                ["61837.635", "0.01", "61837.637100449089450521", "0.420089817890104288"],
            ),
            ("1 1", "1.000000000000000001 1", ["1", "0.000000000000000001", "1", "0"]),
            (
                "1.000000000000000001 5",
                "1.000000000000000002 5",
                ["1.000000000000000002", "0.000000000000000001", "1.000000000000000002", "0"],
            ),
            ("-0.5 1", "0.5 3", ["0", "1", "-0.25", "-0.5"]),
        ] {
            assert_eq!(measures(bid, ask), shown(expected), "{bid} / {ask}");
        }
    }

    #[test]
    fn an_empty_side_has_an_imbalance_only() {
        assert_eq!(measures("1 1", ""), [None, None, None, Some("1".into())]);
        assert_eq!(measures("", "1 7"), [None, None, None, Some("-1".into())]);
        assert_eq!(measures("", ""), [None, None, None, None]);
    }
}
