//! The newest ticker of a future or perpetual with the facts of the instrument.

use crate::fields::{copy_fields, copy_stated, record};
use crate::instrument::{Class, InstrumentName, OPEN};
use crate::{Decimal, Instrument, Ticker, Timestamp};

record! {
    /// The newest state of the future or perpetual in its key.
    ///
    /// Numbers are `None` as in [`Ticker`].
    #[derive(Clone, Debug, PartialEq, Eq)]
    pub struct Derivative {
        /// Future or perpetual.
        pub class: Class,
        /// The currency of the underlying.
        pub currency: String,
        /// The settlement currency; `None` until the listing is known.
        pub settlement_currency: Option<String>,
        /// When it expires; `None` for a perpetual.
        pub expiry_time: Option<Timestamp>,
        /// The size of one contract: in the base currency, for inverse futures in USD. `None` until
        /// the listing is known.
        pub contract_size: Option<Decimal>,
        /// The step of prices; `None` until the listing is known.
        pub tick_size: Option<Decimal>,
        /// The venue's own valuation.
        pub mark_price: Option<Decimal>,
        /// The price of the last trade.
        pub last_price: Option<Decimal>,
        /// The best bid; `None` for an empty side.
        pub bid: Option<Decimal>,
        /// The amount at the best bid: in the base currency, for inverse futures in USD.
        pub bid_size: Option<Decimal>,
        /// The best ask; `None` for an empty side.
        pub ask: Option<Decimal>,
        /// The amount at the best ask, in the unit of `bid_size`.
        pub ask_size: Option<Decimal>,
        /// Open interest, in the unit of `bid_size`.
        pub open_interest: Option<Decimal>,
        /// The venue's index of the currency.
        pub index_price: Option<Decimal>,
        /// The price of the last settlement.
        pub settlement_price: Option<Decimal>,
        /// The lowest price that the venue accepts.
        pub min_price: Option<Decimal>,
        /// The highest price that the venue accepts.
        pub max_price: Option<Decimal>,
        /// The interest rate of the venue's option model.
        pub interest_rate: Option<Decimal>,
        /// The price of delivery if the instrument expired now.
        pub estimated_delivery_price: Option<Decimal>,
        /// The funding rate of a perpetual now.
        pub current_funding: Option<Decimal>,
        /// The funding rate of a perpetual over the last 8 hours.
        pub funding_8h: Option<Decimal>,
        /// Rolling 24 hours, in units of the base currency.
        pub volume: Option<Decimal>,
        /// Rolling 24 hours, in USD.
        pub volume_usd: Option<Decimal>,
        /// Over 24 hours, in percent.
        pub price_change: Option<Decimal>,
        /// The highest price of 24 hours.
        pub high: Option<Decimal>,
        /// The lowest price of 24 hours.
        pub low: Option<Decimal>,
        /// [`OPEN`], [`CLOSED`](crate::instrument::CLOSED) after the end of the
        /// instrument, else the venue's word in upper case.
        pub state: String,
        /// When the instrument ended.
        pub closed_at: Option<Timestamp>,
        /// The venue's time of the ticker.
        pub event_time: Timestamp,
        /// When we received it, by our clock.
        pub received_at: Timestamp,
    }
}

impl Derivative {
    /// The future or perpetual of a name, without a ticker; `None` when the name is an option's.
    pub fn named(name: &InstrumentName) -> Option<Self> {
        (name.class != Class::Option).then(|| Self {
            class: name.class,
            currency: name.currency.clone(),
            settlement_currency: None,
            expiry_time: name.expiry_time,
            contract_size: None,
            tick_size: None,
            mark_price: None,
            last_price: None,
            bid: None,
            bid_size: None,
            ask: None,
            ask_size: None,
            open_interest: None,
            index_price: None,
            settlement_price: None,
            min_price: None,
            max_price: None,
            interest_rate: None,
            estimated_delivery_price: None,
            current_funding: None,
            funding_8h: None,
            volume: None,
            volume_usd: None,
            price_change: None,
            high: None,
            low: None,
            state: OPEN.into(),
            closed_at: None,
            event_time: Timestamp(0),
            received_at: Timestamp(0),
        })
    }

    /// Takes over all that the ticker says: also that a value is no longer known.
    pub fn take(&mut self, ticker: &Ticker) {
        copy_fields! { ticker => self;
            mark_price last_price bid bid_size ask ask_size open_interest index_price
            settlement_price min_price max_price interest_rate estimated_delivery_price
            current_funding funding_8h volume volume_usd price_change high low event_time
            received_at
        }
        self.state = ticker.state.as_deref().unwrap_or(OPEN).to_uppercase();
    }

    /// Takes over the facts of the listing, those that it states.
    pub fn take_facts(&mut self, listed: &Instrument) {
        self.currency.clone_from(&listed.currency);
        copy_stated! { listed => self; expiry_time settlement_currency contract_size tick_size }
    }
}
