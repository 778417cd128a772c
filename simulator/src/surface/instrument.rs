//! An instrument by its name, and its life: listed, open, closed.

use super::expiry;

/// The kind of an instrument that the surface quotes.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Kind {
    /// `BTC-27NOV26-60000-C`.
    Option {
        /// In dollars.
        strike: f64,
        /// A call, not a put.
        is_call: bool,
    },
    /// `BTC-27NOV26`.
    Future,
    /// `BTC-PERPETUAL`.
    Perpetual,
}

/// The name of an instrument, parsed.
#[derive(Clone, Debug, PartialEq)]
pub struct Name<'a> {
    /// The coin.
    pub currency: &'a str,
    /// The kind.
    pub kind: Kind,
    /// The part of the name that is a date.
    pub expiry: Option<&'a str>,
    /// In milliseconds since the epoch; `None` for a perpetual.
    pub expiry_ms: Option<i64>,
}

impl<'a> Name<'a> {
    /// `None` for a name of another venue, a spot market and a combination.
    ///
    /// ```
    /// use simulator::surface::instrument::{Kind, Name};
    ///
    /// let name = Name::parse("XRP-27NOV26-1d02-P").map(|name| name.kind);
    /// assert_eq!(name, Some(Kind::Option { strike: 1.02, is_call: false }));
    /// assert!(Name::parse("ETH-BTC").is_none());
    /// ```
    pub fn parse(name: &'a str) -> Option<Self> {
        let parts: Vec<&str> = name.split('-').collect();
        let (currency, kind, date) = match parts[..] {
            [currency, "PERPETUAL"] => (currency, Kind::Perpetual, None),
            [currency, date] => (currency, Kind::Future, Some(date)),
            [currency, date, strike, side @ ("C" | "P")] => {
                // A strike with a fraction has `d` for the point.
                let strike: f64 = strike.replace('d', ".").parse().ok()?;
                let positive = strike.is_finite() && strike > 0.0;
                let kind = positive.then_some(Kind::Option { strike, is_call: side == "C" })?;
                (currency, kind, Some(date))
            }
            _ => return None,
        };
        let expiry_ms = match date {
            Some(date) => Some(expiry::time_ms(expiry::parse(date)?)),
            None => None,
        };
        Some(Self { currency, kind, expiry: date, expiry_ms })
    }
}

/// Where an instrument is in its life.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Life {
    /// It is not listed yet.
    Pending,
    /// It is listed and traded.
    Open,
    /// It has expired or was delisted, in this tick.
    Closed(u64),
}

/// An instrument of the surface.
#[derive(Clone, Debug)]
pub struct Instrument {
    /// The index of its currency.
    pub currency: usize,
    /// The kind.
    pub kind: Kind,
    /// In milliseconds since the epoch; `None` for a perpetual.
    pub expiry_ms: Option<i64>,
    /// The part of the name that is a date.
    pub expiry: Option<String>,
    /// A future has the same expiry, so the underlying is traded.
    pub has_future: bool,
    /// When it was listed, in milliseconds since the epoch.
    pub listed_ms: i64,
    /// It was listed since the last settlement, so it has no settlement price.
    pub is_new: bool,
    /// Where it is in its life.
    pub life: Life,
    /// When it becomes open, in microseconds since the epoch.
    pub opens_us: i64,
    /// When it becomes closed, in microseconds since the epoch; of a closed one, when it did.
    pub closes_us: Option<i64>,
    /// The expiry by which it is valued, in milliseconds since the epoch.
    pub valued_ms: i64,
}

impl Instrument {
    /// Closes it in a tick. No ticker of it is later than that, and no word of its end is earlier.
    pub(super) fn close(&mut self, tick: u64, now_us: i64) {
        (self.life, self.closes_us) = (Life::Closed(tick), Some(now_us));
    }

    /// The time of a ticker: of a closed instrument, that of its end.
    pub fn ticker_us(&self, now_us: i64) -> i64 {
        let ended = self.closes_us.filter(|_| matches!(self.life, Life::Closed(_)));
        ended.map_or(now_us, |end| end.min(now_us))
    }

    /// It is an option.
    pub fn is_option(&self) -> bool {
        matches!(self.kind, Kind::Option { .. })
    }
}
