//! The input of everything: one trade print or one price sample.

use crate::avro::{self, Malformed, Reader, Record};
use crate::kind::Kind;
use crate::{Decimal, Timestamp};

crate::named! {
    /// The source of a price. The two never mix: it is part of a candle's key.
    #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
    pub enum Basis {
        /// A trade print.
        Trade = "TRADE",
        /// A ticker, a polled price or a `PriceEvent`: no size.
        Ticker = "TICKER",
    }
}

/// The side that took liquidity.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TakerSide {
    /// The taker bought.
    Buy,
    /// The taker sold.
    Sell,
}

crate::named! {
    /// Where rolling volumes come from.
    #[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
    pub enum VolumeSource {
        /// As the exchange stated them.
        Exchange = "EXCHANGE",
        /// Computed from what it stated.
        Derived = "DERIVED",
        /// There are none.
        #[default]
        None = "NONE",
    }
}

/// What few trades have. It stands apart, because most events have none of it and pay for its size.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct TradeDetails {
    /// Implied volatility of an option's trade, in percent.
    pub iv: Option<Decimal>,
    /// The exchange's index of the currency at the trade.
    pub index_price: Option<Decimal>,
    /// The liquidated side, in the exchange's words: `M`, `T` or `MT`.
    pub liquidation: Option<String>,
    /// The block trade that it is part of.
    pub block_trade_id: Option<String>,
    /// The combo that it is a leg of.
    pub combo_id: Option<String>,
}

impl TradeDetails {
    /// The fields of the schema.
    const FIELDS: usize = 5;

    /// The details of an event; `None` without any.
    pub fn boxed(self) -> Option<Box<Self>> {
        (self != Self::default()).then(|| Box::new(self))
    }

    fn write(&self, out: &mut Vec<u8>) {
        for value in [self.iv, self.index_price] {
            avro::optional(out, value, avro::decimal);
        }
        for text in [&self.liquidation, &self.block_trade_id, &self.combo_id] {
            avro::optional(out, text.as_deref(), avro::string);
        }
    }

    fn read(reader: &mut Reader<'_>) -> Result<Self, Malformed> {
        Ok(Self {
            iv: reader.optional(Reader::decimal)?,
            index_price: reader.optional(Reader::decimal)?,
            liquidation: reader.optional(owned)?,
            block_trade_id: reader.optional(owned)?,
            combo_id: reader.optional(owned)?,
        })
    }
}

/// One trade print or price sample of the pair in its key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MarketEvent {
    /// In units of the quote.
    pub price: Decimal,
    /// In units of the base; a price sample has none.
    pub size: Option<Decimal>,
    /// The exchange's id, unique per pair.
    pub trade_id: Option<i64>,
    /// The exchange's message sequence of the pair.
    pub sequence: Option<i64>,
    /// The side that took liquidity, where known.
    pub taker_side: Option<TakerSide>,
    /// Rolling 24 hours, in units of the base. Never differenced into candles.
    pub base_volume_24h: Option<Decimal>,
    /// Rolling 24 hours, in units of the quote.
    pub quote_volume_24h: Option<Decimal>,
    /// Where the two volumes come from.
    pub volume_source: VolumeSource,
    /// When it happened, by the exchange's clock.
    pub event_time: Timestamp,
    /// When we received it, by our clock.
    pub received_at: Timestamp,
    /// Trade or sample.
    pub basis: Basis,
    /// What few trades have; `None` where this one has nothing of it.
    pub details: Option<Box<TradeDetails>>,
}

/// Bits of a sample's digest. With the milliseconds until the year 2248 above it, a number fills 63.
const DIGEST_BITS: u32 = 20;
/// FNV-1a of 64 bits: written down here because what it gives is kept for years.
const FNV_OFFSET: u64 = 0xcbf2_9ce4_8422_2325;
const FNV_PRIME: u64 = 0x0000_0100_0000_01b3;

impl MarketEvent {
    /// A trade print with nothing optional but its size.
    pub const fn trade(price: Decimal, size: Decimal, time: Timestamp) -> Self {
        Self {
            price,
            size: Some(size),
            trade_id: None,
            sequence: None,
            taker_side: None,
            base_volume_24h: None,
            quote_volume_24h: None,
            volume_source: VolumeSource::None,
            event_time: time,
            received_at: time,
            basis: Basis::Trade,
            details: None,
        }
    }

    /// A price sample with nothing optional.
    pub fn sample(price: Decimal, time: Timestamp) -> Self {
        Self { size: None, basis: Basis::Ticker, ..Self::trade(price, Decimal::ZERO, time) }
    }

    /// The event with the exchange's own volumes of 24 hours, as far as it tells them.
    #[must_use]
    pub fn with_volumes(self, base: Option<Decimal>, quote: Option<Decimal>) -> Self {
        let known = base.is_some() || quote.is_some();
        Self {
            base_volume_24h: base,
            quote_volume_24h: quote,
            volume_source: if known { VolumeSource::Exchange } else { VolumeSource::None },
            ..self
        }
    }

    /// The volumes of 24 hours are known, or one of them.
    pub const fn has_volumes(&self) -> bool {
        self.base_volume_24h.is_some() || self.quote_volume_24h.is_some()
    }

    /// The exchange's own number of this event: the trade's id, else the message's sequence.
    pub fn id(&self) -> Option<i64> {
        self.trade_id.or(self.sequence)
    }

    /// Tells this event from the others of its pair, basis and minute: the exchange's number, or of a
    /// price sample without one its time and a digest of what it says. Two samples of the same
    /// millisecond that differ are taken for one once in a million. `None` of a trade without a
    /// number: two equal trades may be two.
    ///
    /// ```
    /// use schemas::{Decimal, MarketEvent, Timestamp};
    /// let sample = || MarketEvent::sample(Decimal::ONE, Timestamp(1_700_000_000_000));
    /// let resent = MarketEvent { received_at: Timestamp(1_700_000_009_000), ..sample() };
    /// assert_eq!(sample().identity(), resent.identity());
    /// let next = MarketEvent { base_volume_24h: Some(Decimal::ONE), ..sample() };
    /// assert_ne!(sample().identity(), next.identity());
    /// assert_eq!(MarketEvent { sequence: Some(7), ..sample() }.identity(), Some(7));
    /// ```
    pub fn identity(&self) -> Option<i64> {
        self.id().or_else(|| (self.basis == Basis::Ticker).then(|| self.digest()))
    }

    /// Above [`DIGEST_BITS`] the time, below it a digest: those of a minute are near each other, so
    /// that a set of them is short. It is kept in candles: another digest would count again what
    /// the one before has counted.
    fn digest(&self) -> i64 {
        let mut digest = FNV_OFFSET;
        let mut add = |part: Option<Decimal>| {
            let known = [u8::from(part.is_some())];
            let units = part.map_or(0, Decimal::units).to_le_bytes();
            for byte in known.into_iter().chain(units) {
                digest = (digest ^ u64::from(byte)).wrapping_mul(FNV_PRIME);
            }
        };
        [Some(self.price), self.base_volume_24h, self.quote_volume_24h]
            .into_iter()
            .for_each(&mut add);
        let folded =
            (digest ^ (digest >> DIGEST_BITS) ^ (digest >> (2 * DIGEST_BITS))).cast_signed();
        (self.event_time.0 << DIGEST_BITS) | (folded & ((1 << DIGEST_BITS) - 1))
    }
}

impl Record for MarketEvent {
    const KIND: Kind = Kind::MarketEvent;

    fn write(&self, out: &mut Vec<u8>) {
        avro::decimal(out, self.price);
        avro::optional(out, self.size, avro::decimal);
        avro::optional(out, self.trade_id, avro::long);
        avro::optional(out, self.sequence, avro::long);
        avro::optional(out, self.taker_side, |out, side| avro::long(out, side as i64));
        avro::optional(out, self.base_volume_24h, avro::decimal);
        avro::optional(out, self.quote_volume_24h, avro::decimal);
        avro::long(out, self.volume_source as i64);
        avro::long(out, self.event_time.0);
        avro::long(out, self.received_at.0);
        avro::long(out, self.basis as i64);
        match &self.details {
            Some(details) => details.write(out),
            None => avro::nulls(out, TradeDetails::FIELDS),
        }
    }

    fn read(reader: &mut Reader<'_>) -> Result<Self, Malformed> {
        Ok(Self {
            price: reader.decimal()?,
            size: reader.optional(Reader::decimal)?,
            trade_id: reader.optional(Reader::long)?,
            sequence: reader.optional(Reader::long)?,
            taker_side: reader
                .optional(|reader| reader.symbol(&[TakerSide::Buy, TakerSide::Sell]))?,
            base_volume_24h: reader.optional(Reader::decimal)?,
            quote_volume_24h: reader.optional(Reader::decimal)?,
            volume_source: reader.symbol(&[
                VolumeSource::Exchange,
                VolumeSource::Derived,
                VolumeSource::None,
            ])?,
            event_time: Timestamp(reader.long()?),
            received_at: Timestamp(reader.long()?),
            basis: reader.symbol(&[Basis::Trade, Basis::Ticker])?,
            details: if reader.nulls(TradeDetails::FIELDS) {
                None
            } else {
                TradeDetails::read(reader)?.boxed()
            },
        })
    }
}

fn owned(reader: &mut Reader<'_>) -> Result<String, Malformed> {
    reader.string().map(str::to_owned)
}
