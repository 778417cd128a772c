//! The best bid and ask of an order book, and their measures.
//!
//! Every value is exact. A division is rounded once, half to even at 10⁻¹⁸.

use crate::avro::{self, Malformed, Reader, Record};
use crate::book::{BookLevel, Proof};
use crate::kind::Kind;
use crate::{Decimal, Timestamp};

/// The best bid and ask of the pair in its key. An empty side has neither price nor size.
///
/// ```
/// use schemas::{Decimal, Proof, Quote, Timestamp};
/// let decimal = |text: &str| text.parse::<Decimal>().ok();
/// let quote = Quote {
///     bid: decimal("10.0"),
///     bid_size: decimal("3"),
///     ask: decimal("10.4"),
///     ask_size: decimal("1"),
///     ..Quote::empty(Proof::None, Timestamp(0))
/// };
/// let text = |value: Option<Decimal>| value.map(|value| value.to_string());
/// assert_eq!(text(quote.spread()).as_deref(), Some("0.4"));
/// assert_eq!(text(quote.mid()).as_deref(), Some("10.2"));
/// assert_eq!(text(quote.microprice()).as_deref(), Some("10.3"));
/// assert_eq!(text(quote.imbalance()).as_deref(), Some("0.5"));
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Quote {
    /// The best bid, in units of the quote.
    pub bid: Option<Decimal>,
    /// The size at the best bid, in units of the base.
    pub bid_size: Option<Decimal>,
    /// The best ask, in units of the quote.
    pub ask: Option<Decimal>,
    /// The size at the best ask, in units of the base.
    pub ask_size: Option<Decimal>,
    /// The venue's id of this state of the book; `None` where the venue has none.
    pub sequence: Option<i64>,
    /// The evidence for this state.
    pub proof: Proof,
    /// The venue's time of the frame; the time of receipt where the frame has none.
    pub event_time: Timestamp,
    /// When we received it, by our clock.
    pub received_at: Timestamp,
}

impl Quote {
    /// A quote of an empty book.
    pub const fn empty(proof: Proof, time: Timestamp) -> Self {
        Self {
            bid: None,
            bid_size: None,
            ask: None,
            ask_size: None,
            sequence: None,
            proof,
            event_time: time,
            received_at: time,
        }
    }

    /// The best bid with its size.
    pub fn best_bid(&self) -> Option<BookLevel> {
        BookLevel::of(self.bid, self.bid_size)
    }

    /// The best ask with its size.
    pub fn best_ask(&self) -> Option<BookLevel> {
        BookLevel::of(self.ask, self.ask_size)
    }

    /// See [`spread`].
    pub fn spread(&self) -> Option<Decimal> {
        spread(self.best_bid(), self.best_ask())
    }

    /// See [`mid`].
    pub fn mid(&self) -> Option<Decimal> {
        mid(self.best_bid(), self.best_ask())
    }

    /// See [`microprice`].
    pub fn microprice(&self) -> Option<Decimal> {
        microprice(self.best_bid(), self.best_ask())
    }

    /// See [`imbalance`].
    pub fn imbalance(&self) -> Option<Decimal> {
        imbalance(self.best_bid(), self.best_ask())
    }
}

/// (bid + ask) ÷ 2; `None` when a side is empty.
pub fn mid(bid: Option<BookLevel>, ask: Option<BookLevel>) -> Option<Decimal> {
    let (bid, ask) = bid.zip(ask)?;
    Decimal::weighted_mean([(bid.price, Decimal::ONE), (ask.price, Decimal::ONE)])
}

/// ask − bid, in units of the quote; `None` when a side is empty.
pub fn spread(bid: Option<BookLevel>, ask: Option<BookLevel>) -> Option<Decimal> {
    let (bid, ask) = bid.zip(ask)?;
    ask.price.checked_sub(bid.price)
}

/// (bid × `ask_size` + ask × `bid_size`) ÷ (`bid_size` + `ask_size`); `None` when a side is empty.
pub fn microprice(bid: Option<BookLevel>, ask: Option<BookLevel>) -> Option<Decimal> {
    let (bid, ask) = bid.zip(ask)?;
    Decimal::weighted_mean([(bid.price, ask.size), (ask.price, bid.size)])
}

/// (`bid_size` − `ask_size`) ÷ (`bid_size` + `ask_size`), from −1 to 1. An empty side has the size
/// zero; `None` when both are empty.
pub fn imbalance(bid: Option<BookLevel>, ask: Option<BookLevel>) -> Option<Decimal> {
    let size = |side: Option<BookLevel>| side.map_or(Decimal::ZERO, |level| level.size);
    let minus_one = Decimal::ZERO.checked_sub(Decimal::ONE)?;
    Decimal::weighted_mean([(Decimal::ONE, size(bid)), (minus_one, size(ask))])
}

impl Record for Quote {
    const KIND: Kind = Kind::Quote;

    fn write(&self, out: &mut Vec<u8>) {
        for value in [self.bid, self.bid_size, self.ask, self.ask_size] {
            avro::optional(out, value, avro::decimal);
        }
        avro::optional(out, self.sequence, avro::long);
        avro::string(out, self.proof.as_str());
        avro::long(out, self.event_time.0);
        avro::long(out, self.received_at.0);
    }

    fn read(reader: &mut Reader<'_>) -> Result<Self, Malformed> {
        Ok(Self {
            bid: reader.optional(Reader::decimal)?,
            bid_size: reader.optional(Reader::decimal)?,
            ask: reader.optional(Reader::decimal)?,
            ask_size: reader.optional(Reader::decimal)?,
            sequence: reader.optional(Reader::long)?,
            proof: reader.named(Proof::parse)?,
            event_time: Timestamp(reader.long()?),
            received_at: Timestamp(reader.long()?),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Mid, spread, microprice and imbalance of a bid and an ask, each `price size`.
    fn measures(bid: &str, ask: &str) -> [Option<String>; 4] {
        let level = |text: &str| {
            let (price, size) = text.split_once(' ')?;
            Some((price.parse().ok()?, size.parse().ok()?))
        };
        let ((bid, bid_size), (ask, ask_size)) = (level(bid).unzip(), level(ask).unzip());
        let empty = Quote::empty(Proof::None, Timestamp(0));
        let quote = Quote { bid, bid_size, ask, ask_size, ..empty };
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
