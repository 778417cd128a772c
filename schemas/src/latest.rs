//! The newest price of a pair.

use crate::avro::{self, Malformed, Reader, Record};
use crate::kind::Kind;
use crate::{Basis, Decimal, MarketEvent, Timestamp, VolumeSource};

/// The newest price by event time, beside the newest stated volumes.
///
/// The volumes keep a time of their own: trades carry none, and would otherwise wipe what the
/// last ticker said.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LatestPrice {
    /// In units of the quote.
    pub price: Decimal,
    /// In units of the base, when the price is a trade's.
    pub size: Option<Decimal>,
    /// The trade's id, when the price is a trade's.
    pub trade_id: Option<i64>,
    /// The source of the price.
    pub basis: Basis,
    /// Rolling 24 hours, in units of the base.
    pub base_volume_24h: Option<Decimal>,
    /// Rolling 24 hours, in units of the quote.
    pub quote_volume_24h: Option<Decimal>,
    /// Where the two volumes come from.
    pub volume_source: VolumeSource,
    /// Event time of the two volumes.
    pub volume_time: Option<Timestamp>,
    /// When the price was made, by the exchange's clock.
    pub event_time: Timestamp,
    /// When we received it.
    pub received_at: Timestamp,
    /// Orders events of one event time: trade id, else sequence, else source offset.
    pub tie: i64,
}

impl LatestPrice {
    /// The first price of a pair: that of an event.
    pub fn of(event: &MarketEvent, tie: i64) -> Self {
        Self {
            price: event.price,
            size: event.size,
            trade_id: event.trade_id,
            basis: event.basis,
            base_volume_24h: event.base_volume_24h,
            quote_volume_24h: event.quote_volume_24h,
            volume_source: event.volume_source,
            volume_time: event.has_volumes().then_some(event.event_time),
            event_time: event.event_time,
            received_at: event.received_at,
            tie,
        }
    }
}

impl Record for LatestPrice {
    const KIND: Kind = Kind::LatestPrice;

    fn write(&self, out: &mut Vec<u8>) {
        avro::decimal(out, self.price);
        avro::optional(out, self.size, avro::decimal);
        avro::optional(out, self.trade_id, avro::long);
        avro::string(out, self.basis.as_str());
        avro::optional(out, self.base_volume_24h, avro::decimal);
        avro::optional(out, self.quote_volume_24h, avro::decimal);
        avro::string(out, self.volume_source.as_str());
        avro::optional(out, self.volume_time, |out, time| avro::long(out, time.0));
        avro::long(out, self.event_time.0);
        avro::long(out, self.received_at.0);
        avro::long(out, self.tie);
    }

    fn read(reader: &mut Reader<'_>) -> Result<Self, Malformed> {
        Ok(Self {
            price: reader.decimal()?,
            size: reader.optional(Reader::decimal)?,
            trade_id: reader.optional(Reader::long)?,
            basis: reader.named(Basis::parse)?,
            base_volume_24h: reader.optional(Reader::decimal)?,
            quote_volume_24h: reader.optional(Reader::decimal)?,
            volume_source: reader.named(VolumeSource::parse)?,
            volume_time: reader.optional(|reader| reader.long().map(Timestamp))?,
            event_time: Timestamp(reader.long()?),
            received_at: Timestamp(reader.long()?),
            tie: reader.long()?,
        })
    }
}
