//! The marks of a feed: how far it is healthy, and the trades that it lost.
//!
//! The key says whom it concerns: the exchange alone, all of the feed; a pair, a gap of that pair
//! which of several connections carries it, or a change of the pair itself, and nothing else. What
//! earlier versions did not have is read as not stated.

use crate::Timestamp;
use crate::avro::{self, Malformed, Reader, Record};
use crate::kind::Kind;

/// In the order of the schema.
const PARTS: [Part; 4] = [Part::Connection, Part::Trades, Part::Tickers, Part::Book];

/// In the order of the schema.
const CHANGES: [PairChange; 2] = [PairChange::Ended, PairChange::Reset];

/// A change of the pair that is a mark's key, at the mark's `healthy_until`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PairChange {
    /// The venue no longer lists it: an option that expired.
    Ended,
    /// A person sets its clock back: what is newer never happened.
    Reset,
}

/// The content of a mark of one connection of several.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Part {
    /// The clock of the connection, and of no other.
    Connection,
    /// Trades of the pair that is the key come over the connection, from `healthy_from` on.
    Trades,
    /// So do its price samples.
    Tickers,
    /// So does its order book. Without `healthy_from`, the book is out of sync after
    /// `healthy_until`; with a gap, it was.
    Book,
}

impl Part {
    /// The symbol of the schema.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Connection => "CONNECTION",
            Self::Trades => "TRADES",
            Self::Tickers => "TICKERS",
            Self::Book => "BOOK",
        }
    }
}

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
    /// The feed was healthy in `[healthy_from, healthy_until)` without a break, where stated.
    pub healthy_from: Option<Timestamp>,
    /// The first trade id that the gap lost, where ids are dense.
    pub first_missing_id: Option<i64>,
    /// How many ids it lost, from there on without a break.
    pub missing: Option<i64>,
    /// The processor's own, in its private changelog: empty in the log.
    pub state: Vec<u8>,
    /// The feed is one connection of several; without it, the mark speaks for all of the exchange.
    pub part: Option<Part>,
    /// With a pair as its key: the mark is of the pair itself, and says nothing of a feed.
    pub change: Option<PairChange>,
}

impl FeedMark {
    /// A mark of a feed that is healthy up to `until` and says nothing else.
    pub fn healthy(feed: impl Into<String>, until: Timestamp, received_at: Timestamp) -> Self {
        Self {
            feed: feed.into(),
            healthy_until: until,
            gap_from: None,
            gap_until: None,
            reason: String::new(),
            received_at,
            healthy_from: None,
            first_missing_id: None,
            missing: None,
            state: Vec::new(),
            part: None,
            change: None,
        }
    }

    /// A mark that the pair that is its key changes at `time`.
    pub fn of_pair(
        change: PairChange,
        feed: impl Into<String>,
        time: Timestamp,
        received_at: Timestamp,
    ) -> Self {
        Self { change: Some(change), ..Self::healthy(feed, time, received_at) }
    }
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
        avro::optional(out, self.healthy_from, |out, time| avro::long(out, time.0));
        avro::optional(out, self.first_missing_id, avro::long);
        avro::optional(out, self.missing, avro::long);
        avro::bytes(out, &self.state);
        avro::optional(out, self.part, |out, part| avro::long(out, part as i64));
        avro::optional(out, self.change, |out, change| avro::long(out, change as i64));
    }

    fn read(reader: &mut Reader<'_>) -> Result<Self, Malformed> {
        Ok(Self {
            feed: reader.string()?.to_owned(),
            healthy_until: Timestamp(reader.long()?),
            gap_from: reader.optional(|reader| reader.long().map(Timestamp))?,
            gap_until: reader.optional(|reader| reader.long().map(Timestamp))?,
            reason: reader.string()?.to_owned(),
            received_at: Timestamp(reader.long()?),
            healthy_from: reader.optional(|reader| reader.long().map(Timestamp))?,
            first_missing_id: reader.optional(Reader::long)?,
            missing: reader.optional(Reader::long)?,
            state: reader.bytes()?.to_vec(),
            part: reader.optional(|reader| reader.symbol(&PARTS))?,
            change: reader.optional(|reader| reader.symbol(&CHANGES))?,
        })
    }
}
