//! A row of `options` or of `derivatives`, and when it changes by the clock alone.
//!
//! ```text
//!           ENDED, or an hour after expiry and newest ticker        7 days of stream time
//! OPEN ───────────────────────────────────────────────► CLOSED ──────────────────────────► no row
//!   ▲                                                     │
//!   └────── LISTED after the end, and before the expiry ──┘
//! ```
//!
//! All of a row's state is in the row, so that it survives a restart: `closed_at` is when the
//! instrument ended, and `received_at` of a closed row is the stream time at which it closed.

use schemas::instrument::{CLOSED, Class, InstrumentName, OPEN};
use schemas::{Derivative, Instrument, OptionState, Ticker, Timestamp};

use crate::operators::rules::{ENDED_KEPT_MS, LAST_WORDS_MS};

/// The times of a row.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Life {
    /// `None` for a perpetual.
    pub(super) expiry: Option<Timestamp>,
    /// Of the newest ticker; `None` before the first.
    pub(super) newest: Option<Timestamp>,
    /// When the instrument ended.
    pub(super) closed_at: Option<Timestamp>,
    /// Of a closed row, the stream time at which it closed.
    pub(super) received_at: Timestamp,
}

impl Life {
    /// When an instrument without a word of its end has ended: at its expiry, or with a ticker that
    /// came after it.
    pub(super) fn end(self) -> Option<Timestamp> {
        self.expiry.map(|expiry| expiry.max(self.newest.unwrap_or(expiry)))
    }

    /// The stream time at which the row closes or is deleted; `None` while no time does.
    pub(super) fn due(self) -> Option<Timestamp> {
        let later = |time: Timestamp, ms: i64| Timestamp(time.0.saturating_add(ms));
        match self.closed_at {
            Some(_) => Some(later(self.received_at, ENDED_KEPT_MS)),
            None => self.end().map(|end| later(end, LAST_WORDS_MS)),
        }
    }
}

/// A row of either table.
pub(super) trait Row: Clone + PartialEq + 'static {
    /// The row of an instrument without a ticker; `None` when its class is of the other table.
    fn named(name: &InstrumentName) -> Option<Self>;

    /// Takes over all that a ticker says.
    fn take(&mut self, ticker: &Ticker);

    /// Takes over the facts that a listing states.
    fn learn(&mut self, listed: &Instrument);

    /// The times.
    fn life(&self) -> Life;

    /// Sets the state, the end and the times of the row, in this order.
    fn set(&mut self, state: &str, closed_at: Option<Timestamp>, received_at: Timestamp);

    /// Sets the times of a row without a ticker to those of its listing.
    fn begin(&mut self, listed: &Instrument);
}

macro_rules! row {
    ($Row:ty, $expiry:expr) => {
        impl Row for $Row {
            fn named(name: &InstrumentName) -> Option<Self> {
                <$Row>::named(name)
            }

            fn take(&mut self, ticker: &Ticker) {
                <$Row>::take(self, ticker);
            }

            fn learn(&mut self, listed: &Instrument) {
                self.take_facts(listed);
            }

            fn life(&self) -> Life {
                let told = [
                    self.mark_price,
                    self.last_price,
                    self.bid,
                    self.ask,
                    self.open_interest,
                    self.index_price,
                ];
                let has_ticker = told.iter().any(Option::is_some);
                let expiry: fn(&Self) -> Option<Timestamp> = $expiry;
                Life {
                    expiry: expiry(self),
                    newest: has_ticker.then_some(self.event_time),
                    closed_at: self.closed_at,
                    received_at: self.received_at,
                }
            }

            fn set(&mut self, state: &str, closed_at: Option<Timestamp>, received_at: Timestamp) {
                state.clone_into(&mut self.state);
                self.closed_at = closed_at;
                self.received_at = received_at;
            }

            fn begin(&mut self, listed: &Instrument) {
                self.event_time = listed.event_time;
                self.received_at = listed.received_at;
            }
        }
    };
}

row!(OptionState, |row| Some(row.expiry_time));
row!(Derivative, |row| row.expiry_time.filter(|_| row.class != Class::Perpetual));

/// The row of a listed instrument; the name has what the listing does not state.
pub(super) fn listed<R: Row>(name: Option<&InstrumentName>, listed: &Instrument) -> Option<R> {
    let known = InstrumentName {
        class: listed.class,
        currency: listed.currency.clone(),
        expiry_time: listed.expiry_time.or(name.and_then(|name| name.expiry_time)),
        strike: listed.strike.or(name.and_then(|name| name.strike)),
        right: listed.right.or(name.and_then(|name| name.right)),
    };
    let mut row = R::named(&known)?;
    row.learn(listed);
    row.begin(listed);
    Some(row)
}

/// Ends a row.
pub(super) fn close(row: &mut impl Row, at: Timestamp, now: Timestamp) {
    row.set(CLOSED, Some(at), now);
}

/// Takes back the end of a row.
pub(super) fn reopen(row: &mut impl Row, listed: &Instrument) {
    row.set(OPEN, None, listed.received_at);
}

/// Takes a ticker, which changes no end.
pub(super) fn take(row: &mut impl Row, ticker: &Ticker, now: Timestamp) {
    let closed_at = row.life().closed_at;
    row.take(ticker);
    if closed_at.is_some() {
        row.set(CLOSED, closed_at, now);
    }
}
