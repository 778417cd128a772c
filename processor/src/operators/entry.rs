//! Bytes become entries here, and what cannot be used stops here.
//!
//! | reason | what |
//! |---|---|
//! | `corrupt` | not Avro in the wire format, or another record than the topic holds |
//! | `unknown_schema` | the registry knows no such schema |
//! | `invalid_key` | a part of the pair is not a name (`schemas::pair`), or a mark's key is neither an exchange nor a pair |
//! | `tombstone` | no value |
//! | `bad_price` | zero or less |
//! | `bad_size` | less than zero |
//! | `bad_time` | 1970 or before, year 1, or ahead of our clock or of the record's timestamp |
//!
//! Source: Coinbase has sent year 1, Kraken 1970 for pairs that never traded.

use std::cell::RefCell;
use std::rc::Rc;

use schemas::{Basis, Codec, DecodeError, FeedMark, Kind, MarketEvent, PairKey, Timestamp};
use streams::record::SourceRecord;
use streams::{Error, Failure};

use super::pairs::{Pair, Pairs, is_key_of_mark};
use super::rules::MAX_AHEAD_MS;

/// What the log holds, checked.
#[derive(Clone, Debug)]
pub enum Entry {
    /// A trade or a price sample.
    Event {
        /// Of what.
        pair: Rc<Pair>,
        /// What happened.
        event: MarketEvent,
    },
    /// What a feed knows of itself.
    Mark {
        /// Whom it concerns, as a store key: an exchange without a pair, or one pair.
        feed: Box<[u8]>,
        /// What it knows.
        mark: FeedMark,
    },
}

impl Entry {
    /// The store key of the pair or feed.
    pub fn pair(&self) -> &[u8] {
        match self {
            Self::Event { pair, .. } => pair.key(),
            Self::Mark { feed, .. } => feed,
        }
    }

    /// The event, if it is one.
    pub const fn event(&self) -> Option<&MarketEvent> {
        match self {
            Self::Event { event, .. } => Some(event),
            Self::Mark { .. } => None,
        }
    }
}

fn failure(error: DecodeError) -> Failure {
    match error {
        DecodeError::Unavailable(reason) => {
            Failure::Stop(Error::Unavailable(format!("schema registry: {reason}")))
        }
        DecodeError::UnknownSchema(_) => Failure::Drop("unknown_schema"),
        DecodeError::Corrupt | DecodeError::WrongSchema(..) => Failure::Drop("corrupt"),
    }
}

/// Reads one record of `events`; what its key says may be known from `pairs`.
pub fn entry(
    codec: &Codec,
    pairs: &RefCell<Pairs>,
    record: &SourceRecord<'_>,
) -> Result<Entry, Failure> {
    let value = record.value.ok_or(Failure::Drop("tombstone"))?;
    match codec.kind(value).map_err(failure)? {
        Some(Kind::MarketEvent) => {
            let pair = pairs.borrow_mut().get(record.key, || {
                let key = codec.body::<PairKey>(record.key).map_err(failure)?;
                Pair::read(&key).ok_or(Failure::Drop("invalid_key"))
            })?;
            let event = codec.decode(value).map_err(failure)?;
            check(&event, record)?;
            Ok(Entry::Event { pair, event })
        }
        Some(Kind::FeedMark) => {
            let feed: Box<[u8]> = codec.body::<PairKey>(record.key).map_err(failure)?.into();
            if !is_key_of_mark(&feed) {
                return Err(Failure::Drop("invalid_key"));
            }
            let mark: FeedMark = codec.decode(value).map_err(failure)?;
            for time in [Some(mark.healthy_until), mark.gap_from, mark.gap_until] {
                time.map_or(Ok(()), |time| check_time(time, mark.received_at, record))?;
            }
            Ok(Entry::Mark { feed, mark })
        }
        _ => Err(Failure::Drop("corrupt")),
    }
}

fn check(event: &MarketEvent, record: &SourceRecord<'_>) -> Result<(), Failure> {
    if !event.price.is_positive() {
        return Err(Failure::Drop("bad_price"));
    }
    if event.size.is_some_and(schemas::Decimal::is_negative)
        || (event.basis == Basis::Trade && event.size.is_none())
    {
        return Err(Failure::Drop("bad_size"));
    }
    check_time(event.event_time, event.received_at, record)
}

/// Refuses a time that would put a pair's clock in the future: the time at which we received the
/// record may itself be ahead, so the record's own timestamp bounds it as well. Both are in the log, so
/// a replay refuses the same records.
///
/// The timestamp is the producer's clock too, unless the topic has `LogAppendTime`; but the broker
/// refuses one that is ahead of its own clock by more than `message.timestamp.after.max.ms`, an hour by
/// default. A clock that is wrong by less passes: `processor pairs reset` repairs what it did.
fn check_time(
    time: Timestamp,
    received_at: Timestamp,
    record: &SourceRecord<'_>,
) -> Result<(), Failure> {
    // Writers of before Kafka 0.10 state none.
    let written = Some(record.timestamp.0).filter(|written| *written > 0);
    let now = written.map_or(received_at.0, |written| written.min(received_at.0));
    if time.0 <= 0 || time.0 > now.saturating_add(MAX_AHEAD_MS) {
        return Err(Failure::Drop("bad_time"));
    }
    Ok(())
}
