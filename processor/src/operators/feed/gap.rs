//! A gap of a feed: a span of time, and the lost ids where ids are dense.
//!
//! ```text
//! bytes  pair | from | until | ids?: first, count, missing        as Avro bytes and longs
//! ```
//!
//! Invariant: of the ids at least one and at most all are missing.

use schemas::avro::{self, Reader};
use schemas::{FeedMark, Timestamp};

use super::carriers::Content;

/// A gap of a feed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Gap {
    /// The store key of the pair; empty for the whole exchange, or in the pair's own state.
    pub pair: Box<[u8]>,
    /// The beginning.
    pub from: Timestamp,
    /// The end, exclusive.
    pub until: Timestamp,
    /// The first lost id and the number of lost ids, where ids are dense.
    pub ids: Option<(i64, i64)>,
    /// The number of these ids that have not arrived.
    pub missing: i64,
}

impl Gap {
    /// The gap of a mark, if it has one. `pair` is empty for the whole exchange.
    pub fn of(mark: &FeedMark, pair: &[u8]) -> Option<Self> {
        let (from, until) = (mark.gap_from?, mark.gap_until?);
        // Ids are those of one pair; a count without an id cannot be counted down.
        let ids = mark.first_missing_id.zip(mark.missing);
        let ids = ids.filter(|&(first, count)| {
            count > 0 && !pair.is_empty() && first.checked_add(count).is_some()
        });
        let missing = ids.map_or(0, |(_, count)| count);
        (from < until).then(|| Self { pair: pair.into(), from, until, ids, missing })
    }

    /// Whether it has the same pair, span and ids.
    pub(super) fn is_same(&self, other: &Self) -> bool {
        (&self.pair, self.from, self.until, self.ids)
            == (&other.pair, other.from, other.until, other.ids)
    }

    /// Whether each of its ids has arrived. An id that came twice with different times is counted
    /// twice.
    pub(super) const fn is_complete(&self) -> bool {
        self.ids.is_some() && self.missing <= 0
    }

    /// Whether it concerns windows of that pair and content. Dense ids are those of trades, so they
    /// do not concern anything else.
    pub(super) fn concerns(&self, pair: &[u8], content: Content) -> bool {
        let of_content = content == Content::Trades || self.ids.is_none();
        of_content && (self.pair.is_empty() || *self.pair == *pair)
    }

    pub(super) fn overlaps(&self, start: Timestamp, end: Timestamp) -> bool {
        self.from < end && start < self.until
    }

    /// Whether it lost that id.
    pub fn lost(&self, id: i64) -> bool {
        // The difference of two ids may need 65 bits.
        self.ids
            .is_some_and(|(first, count)| first <= id && id.abs_diff(first) < count.unsigned_abs())
    }

    pub(super) fn write(&self, out: &mut Vec<u8>) {
        avro::bytes(out, &self.pair);
        avro::long(out, self.from.0);
        avro::long(out, self.until.0);
        avro::optional(out, self.ids, |out, (first, count)| {
            avro::long(out, first);
            avro::long(out, count);
            avro::long(out, self.missing);
        });
    }

    pub(super) fn read(reader: &mut Reader<'_>) -> Option<Self> {
        let pair = reader.bytes().ok()?.into();
        let (from, until) = (Timestamp(reader.long().ok()?), Timestamp(reader.long().ok()?));
        let ids = reader.optional(|reader| Ok((reader.long()?, reader.long()?, reader.long()?)));
        let ids = ids.ok()?;
        if let Some((first, count, missing)) = ids {
            first.checked_add(count)?;
            (0 < missing && missing <= count).then_some(())?;
        }
        Some(Self {
            pair,
            from,
            until,
            ids: ids.map(|(first, count, _)| (first, count)),
            missing: ids.map_or(0, |(_, _, missing)| missing),
        })
    }
}
