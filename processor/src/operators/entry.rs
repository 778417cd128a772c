//! Decodes and checks records: bytes become entries, and invalid records become dead letters.
//!
//! | reason | condition |
//! |---|---|
//! | `corrupt` | not Avro in the wire format, or another record than the topic holds |
//! | `unknown_schema` | the registry knows no such schema |
//! | `invalid_key` | a part of the pair is not a name (`schemas::pair`), or a mark's key is neither an exchange nor a pair |
//! | `tombstone` | no value |
//! | `bad_price` | zero or less |
//! | `bad_size` | less than zero |
//! | `bad_time` | 1970 or before, year 1, ahead of the local clock or of the record's timestamp, or beyond [`END_OF_TIME`] |
//! | `bad_mark` | a mark that contradicts itself: see [`check_mark`] |
//!
//! Source: Coinbase has sent year 1, Kraken 1970 for pairs that never traded.
//!
//! Invariant: an accepted time is in `1..END_OF_TIME`, so sums of times do not wrap.

use std::cell::RefCell;
use std::rc::Rc;

use schemas::pair::MAX_PART_BYTES;
use schemas::{Basis, Codec, DecodeError, FeedMark, Kind, MarketEvent, PairKey, Part, Timestamp};
use streams::record::SourceRecord;
use streams::{Error, Failure};

use super::pairs::{Pair, PairCache, is_key_of_mark};
use super::rules::{END_OF_TIME, MAX_AHEAD_MS};
use crate::store_keys;

/// Bytes kept of a gap's reason, which is text for people. It is cut and not refused, because the
/// gap counts.
const MAX_REASON_BYTES: usize = 512;

/// A checked record of the log.
#[derive(Clone, Debug)]
pub enum Entry {
    /// A trade or a price sample.
    Event {
        /// The pair.
        pair: Rc<Pair>,
        /// The event.
        event: MarketEvent,
    },
    /// A mark of a feed.
    Mark {
        /// Its key as a store key: an exchange without a pair, or one pair.
        feed: Box<[u8]>,
        /// The mark.
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

/// The treatment of a record that cannot be decoded.
pub(super) fn failure(error: DecodeError) -> Failure {
    match error {
        DecodeError::Unavailable(reason) => {
            Failure::Stop(Error::Unavailable(format!("schema registry: {reason}")))
        }
        DecodeError::UnknownSchema(_) => Failure::Drop("unknown_schema"),
        DecodeError::Corrupt | DecodeError::WrongSchema(..) => Failure::Drop("corrupt"),
    }
}

/// Decodes one record of `events`; `pairs` caches the pairs of keys.
pub fn entry(
    codec: &Codec,
    pairs: &RefCell<PairCache>,
    record: &SourceRecord<'_>,
) -> Result<Entry, Failure> {
    let value = record.value.ok_or(Failure::Drop("tombstone"))?;
    match codec.kind(value).map_err(failure)? {
        Some(Kind::MarketEvent) => {
            let pair = pairs.borrow_mut().get(record.key, || {
                // Encoded again, because senders may write the lengths of a key in several forms.
                let key = codec.decode::<PairKey>(record.key).map_err(failure)?;
                Pair::read(&store_keys::pair_key(&key)).ok_or(Failure::Drop("invalid_key"))
            })?;
            let event = codec.decode(value).map_err(failure)?;
            check(&event, record)?;
            Ok(Entry::Event { pair, event })
        }
        Some(Kind::FeedMark) => {
            let key = codec.decode::<PairKey>(record.key).map_err(failure)?;
            let feed = store_keys::pair_key(&key);
            if !is_key_of_mark(&feed) {
                return Err(Failure::Drop("invalid_key"));
            }
            let mut mark = codec.decode(value).map_err(failure)?;
            check_mark(&key, &mark, record, &[Part::Trades, Part::Tickers])?;
            cut(&mut mark.reason);
            Ok(Entry::Mark { feed: feed.into(), mark })
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

/// Refuses a mark that contradicts itself; `of_pairs` are the parts of the topic's marks of pairs.
///
/// | field | rule |
/// |---|---|
/// | times | as those of an event (`bad_time`); a gap's end is exclusive |
/// | `feed` | a name of at most [`MAX_PART_BYTES`] |
/// | `healthy_from` | not after `healthy_until`, unless the mark is of a pair's part |
/// | `gap_from`, `gap_until` | both or none, in order |
/// | `missing`, `first_missing_id` | at least one is missing, and the last id exists |
/// | `part` | a connection's mark is the exchange's, one of `of_pairs` is a pair's |
/// | `state` | empty: only the changelog has it |
pub(super) fn check_mark(
    key: &PairKey,
    mark: &FeedMark,
    record: &SourceRecord<'_>,
    of_pairs: &[Part],
) -> Result<(), Failure> {
    let of_feed = key.base.is_empty() && key.quote.is_empty();
    let last_of_gap = mark.gap_until.map(|until| Timestamp(until.0.saturating_sub(1)));
    let times = [Some(mark.healthy_until), mark.healthy_from, mark.gap_from, last_of_gap];
    let mut times = times.into_iter().flatten();
    times.try_for_each(|time| check_time(time, mark.received_at, record))?;
    let in_order = |from: Option<Timestamp>, until| from.is_none_or(|from| from <= until);
    let is_carrier = mark.part.is_some_and(|part| of_pairs.contains(&part));
    let is_gap = match (mark.gap_from, mark.gap_until) {
        (Some(from), Some(until)) => from < until,
        (from, until) => from.is_none() && until.is_none(),
    };
    let last_id = mark.first_missing_id.unwrap_or(0).checked_add(mark.missing.unwrap_or(0));
    let is_sound = mark.feed.len() <= MAX_PART_BYTES
        && (is_carrier || in_order(mark.healthy_from, mark.healthy_until))
        && is_gap
        && mark.missing.is_none_or(|missing| missing > 0)
        && last_id.is_some()
        && mark.part.is_none_or(|_| is_carrier != of_feed)
        && mark.state.is_empty();
    if is_sound { Ok(()) } else { Err(Failure::Drop("bad_mark")) }
}

/// Cuts a text to [`MAX_REASON_BYTES`].
pub(super) fn cut(reason: &mut String) {
    reason.truncate(reason.floor_char_boundary(MAX_REASON_BYTES));
}

/// Refuses a time that would put a pair's clock in the future. The receipt time may itself be
/// ahead, so the record's timestamp bounds it as well. Both are in the log, so a replay refuses the
/// same records.
///
/// The timestamp is the producer's clock too, unless the topic has `LogAppendTime`. The broker
/// refuses one that is ahead of its own clock by more than `message.timestamp.after.max.ms`, an
/// hour by default. A clock that is wrong by less passes: `processor pairs reset` repairs the
/// effect.
pub(super) fn check_time(
    time: Timestamp,
    received_at: Timestamp,
    record: &SourceRecord<'_>,
) -> Result<(), Failure> {
    // Writers before Kafka 0.10 state none.
    let written = Some(record.timestamp.0).filter(|written| *written > 0);
    let now = written.map_or(received_at.0, |written| written.min(received_at.0));
    let is_ahead = time.0 > now.saturating_add(MAX_AHEAD_MS);
    if time.0 <= 0 || is_ahead || time.max(received_at) >= END_OF_TIME {
        return Err(Failure::Drop("bad_time"));
    }
    Ok(())
}
