//! The ticker of an option, a future or a perpetual: all that the venue says of it.

use crate::fields::record;
use crate::{Decimal, Timestamp};

record! {
    /// All that a venue's ticker says of the instrument in its key.
    ///
    /// A number is `None` when the venue does not send it, when it stands for an empty side, and
    /// when it does not fit [`Decimal`]. Zero is a value. Prices are in units of the quote: the
    /// coin for an inverse option. Volatilities are in percent.
    ///
    /// ```
    /// use schemas::{Codec, Ticker, Timestamp};
    /// let mark_price = Some("0.0425".parse()?);
    /// let ticker = Ticker { mark_price, event_time: Timestamp(5), ..Ticker::default() };
    /// let codec = Codec::offline();
    /// assert_eq!(codec.decode::<Ticker>(&codec.to_bytes(&ticker))?, ticker);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    #[derive(Clone, Debug, Default, PartialEq, Eq)]
    pub struct Ticker {
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
        /// The venue's word, for example `open`.
        pub state: Option<String>,
        /// The venue's time.
        pub event_time: Timestamp,
        /// When we received it, by our clock.
        pub received_at: Timestamp,
    }
}
