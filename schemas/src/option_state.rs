//! The newest ticker of an option with the facts of the instrument.

use crate::fields::{copy_fields, copy_stated, record};
use crate::instrument::{InstrumentName, OPEN, Right};
use crate::{Decimal, Instrument, Ticker, Timestamp};

record! {
    /// The newest state of the option in its key.
    ///
    /// Numbers are `None` as in [`Ticker`].
    #[derive(Clone, Debug, PartialEq, Eq)]
    pub struct OptionState {
        /// The currency of the underlying.
        pub currency: String,
        /// When it expires.
        pub expiry_time: Timestamp,
        /// The strike.
        pub strike: Decimal,
        /// Call or put.
        pub right: Right,
        /// The settlement currency; `None` until the listing is known.
        pub settlement_currency: Option<String>,
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
        /// Implied volatility of the mark price, in percent.
        pub mark_iv: Option<Decimal>,
        /// Implied volatility of the bid, in percent. Zero beside a bid is the venue's value.
        pub bid_iv: Option<Decimal>,
        /// Implied volatility of the ask, in percent.
        pub ask_iv: Option<Decimal>,
        /// Change of the price with the underlying.
        pub delta: Option<Decimal>,
        /// Change of delta with the underlying.
        pub gamma: Option<Decimal>,
        /// Change of the price with one percentage point of volatility.
        pub vega: Option<Decimal>,
        /// Change of the price with one day.
        pub theta: Option<Decimal>,
        /// Change of the price with one percentage point of interest.
        pub rho: Option<Decimal>,
        /// Open interest, in the unit of `bid_size`.
        pub open_interest: Option<Decimal>,
        /// The forward for the option's expiry.
        pub underlying_price: Option<Decimal>,
        /// The future or index that gives `underlying_price`.
        pub underlying_index: Option<String>,
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

impl OptionState {
    /// The option of a name, without a ticker; `None` when the name is not an option's.
    ///
    /// ```
    /// use schemas::{Instrument, OptionState, instrument::InstrumentName};
    /// let name = InstrumentName::parse("XRP_USDC-25DEC26-1d02-C").ok_or("an option")?;
    /// let option = OptionState::named(&name).ok_or("an option")?;
    /// assert_eq!((option.currency.as_str(), option.strike.to_string().as_str()), ("XRP", "1.02"));
    /// # Ok::<(), &str>(())
    /// ```
    pub fn named(name: &InstrumentName) -> Option<Self> {
        Some(Self {
            currency: name.currency.clone(),
            expiry_time: name.expiry_time?,
            strike: name.strike?,
            right: name.right?,
            settlement_currency: None,
            contract_size: None,
            tick_size: None,
            mark_price: None,
            last_price: None,
            bid: None,
            bid_size: None,
            ask: None,
            ask_size: None,
            mark_iv: None,
            bid_iv: None,
            ask_iv: None,
            delta: None,
            gamma: None,
            vega: None,
            theta: None,
            rho: None,
            open_interest: None,
            underlying_price: None,
            underlying_index: None,
            index_price: None,
            settlement_price: None,
            min_price: None,
            max_price: None,
            interest_rate: None,
            estimated_delivery_price: None,
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
            mark_price last_price bid bid_size ask ask_size mark_iv bid_iv ask_iv delta gamma
            vega theta rho open_interest underlying_price underlying_index index_price
            settlement_price min_price max_price interest_rate estimated_delivery_price volume
            volume_usd price_change high low event_time received_at
        }
        self.state = ticker.state.as_deref().unwrap_or(OPEN).to_uppercase();
    }

    /// Takes over the facts of the listing, those that it states.
    pub fn take_facts(&mut self, listed: &Instrument) {
        self.currency.clone_from(&listed.currency);
        self.expiry_time = listed.expiry_time.unwrap_or(self.expiry_time);
        self.strike = listed.strike.unwrap_or(self.strike);
        self.right = listed.right.unwrap_or(self.right);
        copy_stated! { listed => self; settlement_currency contract_size tick_size }
    }
}
