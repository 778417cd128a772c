//! What a feed knows of itself: how far it is healthy, and what it lost.

use crate::Timestamp;
use crate::avro::{self, Malformed, Reader, Record};
use crate::codec::Kind;

/// A feed's clock, and a gap when there was one, in the same log as its events.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FeedMark {
    /// The feed within the exchange: its connection or shard.
    pub feed: String,
    /// All events of the feed up to here stand in the log before this mark.
    pub healthy_until: Timestamp,
    /// The feed lost what happened in `[gap_from, gap_until)`.
    pub gap_from: Option<Timestamp>,
    /// Where the gap ends.
    pub gap_until: Option<Timestamp>,
    /// Why, for people.
    pub reason: String,
    /// When we made the mark, by our clock.
    pub received_at: Timestamp,
}

impl Record for FeedMark {
    const KIND: Kind = Kind::FeedMark;

    fn write(&self, out: &mut Vec<u8>) {
        avro::string(out, &self.feed);
        avro::long(out, self.healthy_until.0);
        avro::optional(out, self.gap_from, |out, time| avro::long(out, time.0));
        avro::optional(out, self.gap_until, |out, time| avro::long(out, time.0));
        avro::string(out, &self.reason);
        avro::long(out, self.received_at.0);
    }

    fn read(reader: &mut Reader<'_>) -> Result<Self, Malformed> {
        Ok(Self {
            feed: reader.string()?.to_owned(),
            healthy_until: Timestamp(reader.long()?),
            gap_from: reader.optional(|reader| reader.long().map(Timestamp))?,
            gap_until: reader.optional(|reader| reader.long().map(Timestamp))?,
            reason: reader.string()?.to_owned(),
            received_at: Timestamp(reader.long()?),
        })
    }
}
