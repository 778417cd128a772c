//! The ids that a candle has counted, so that each counts once, in any order.
//!
//! Dense ids collapse: a minute of ten thousand trades in order is one range. An id belongs to one
//! event time and so to one window. The set is part of the candle, and duplicates are recognised
//! for as long as a candle may be revised.
//!
//! ```text
//! bytes   (gap from the range before, length - 1) for each range, as Avro longs
//! ```
//!
//! Cost: the next id of a dense sequence, O(1); any other, O(log n) to find and O(n) to insert,
//! with n at most `MAX_RANGES`.
//!
//! Invariant: ranges are sorted, and neither overlap nor touch.

use schemas::avro::{self, Reader};

/// Ranges per candle, about 20 KiB. Beyond it a minute of sparse ids still counts every trade, but
/// cannot recognise duplicates, which is counted as `seen_overflow`.
pub(super) const MAX_RANGES: usize = 4096;

/// The result of adding an id.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Seeing {
    /// It is new.
    New,
    /// It was in the set.
    Duplicate,
    /// The set is full.
    Overflow,
}

/// A set of ids as ranges.
///
/// ```
/// use processor::operators::Seen;
/// let mut seen = Seen::default();
/// for id in [7, 8, 10, 9] {
///     seen.insert(id);
/// }
/// assert_eq!(seen.ranges(), [(7, 10)]);
/// assert!(seen.contains(8) && !seen.contains(11));
/// ```
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Seen(Vec<(i64, i64)>);

impl Seen {
    /// The ranges, first and last id of each.
    pub fn ranges(&self) -> &[(i64, i64)] {
        &self.0
    }

    /// The number of ranges that end before `id`.
    fn before(&self, id: i64) -> usize {
        match self.0.last() {
            Some(&(_, last)) if last < id => self.0.len(),
            _ => self.0.partition_point(|&(_, last)| last < id),
        }
    }

    /// Whether the id is in the set.
    pub fn contains(&self, id: i64) -> bool {
        self.0.get(self.before(id)).is_some_and(|&(first, _)| first <= id)
    }

    /// How many of the `count` ids from `first` on are in the set.
    pub fn count_within(&self, first: i64, count: i64) -> i64 {
        let Some(last) = first.checked_add(count - 1) else {
            return 0;
        };
        let from = self.before(first);
        let over = self.0[from..].iter().take_while(|&&(start, _)| start <= last);
        over.map(|&(start, end)| end.min(last) - start.max(first) + 1).sum()
    }

    /// The result that [`Self::insert`] would return.
    pub fn look(&self, id: i64) -> Seeing {
        let at = self.before(id);
        if self.0.get(at).is_some_and(|&(first, _)| first <= id) {
            return Seeing::Duplicate;
        }
        let touches = self.touches_before(at, id) || self.touches_after(at, id);
        if touches || self.0.len() < MAX_RANGES { Seeing::New } else { Seeing::Overflow }
    }

    fn touches_before(&self, at: usize, id: i64) -> bool {
        at > 0 && self.0[at - 1].1.checked_add(1) == Some(id)
    }

    fn touches_after(&self, at: usize, id: i64) -> bool {
        self.0.get(at).is_some_and(|&(first, _)| id.checked_add(1) == Some(first))
    }

    /// Adds the id.
    pub fn insert(&mut self, id: i64) -> Seeing {
        let seeing = self.look(id);
        if seeing != Seeing::New {
            return seeing;
        }
        let at = self.before(id);
        match (self.touches_before(at, id), self.touches_after(at, id)) {
            (true, true) => {
                self.0[at - 1].1 = self.0[at].1;
                self.0.remove(at);
            }
            (true, false) => self.0[at - 1].1 = id,
            (false, true) => self.0[at].0 = id,
            (false, false) => self.0.insert(at, (id, id)),
        }
        debug_assert!(self.0.windows(2).all(|pair| pair[0].1 < pair[1].0), "sorted, apart");
        seeing
    }

    /// Appends the set as Avro bytes.
    pub fn write(&self, out: &mut Vec<u8>) {
        let mut body = Vec::with_capacity(self.0.len() * 4);
        let mut end = 0i64;
        for &(first, last) in &self.0 {
            avro::long(&mut body, first.wrapping_sub(end));
            avro::long(&mut body, last.wrapping_sub(first));
            end = last;
        }
        avro::bytes(out, &body);
    }

    /// Reads the set; `None` when the bytes are not one.
    pub fn read(bytes: &[u8]) -> Option<Self> {
        let mut reader = Reader::new(bytes);
        let mut ranges = Vec::new();
        let mut end = 0i64;
        while !reader.is_empty() {
            let first = end.wrapping_add(reader.long().ok()?);
            let last = first.checked_add(reader.long().ok()?)?;
            let apart = ranges.last().is_none_or(|&(_, before): &(i64, i64)| before < first);
            if last < first || !apart || ranges.len() == MAX_RANGES {
                return None;
            }
            ranges.push((first, last));
            end = last;
        }
        Some(Self(ranges))
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn it_is_the_set_of_ids_in_whatever_order(ids: Vec<i8>) {
            let mut seen = Seen::default();
            let mut model = BTreeSet::new();
            for id in ids.into_iter().map(i64::from) {
                let expected = if model.insert(id) { Seeing::New } else { Seeing::Duplicate };
                prop_assert_eq!(seen.insert(id), expected);
            }
            let listed: Vec<i64> = seen.ranges().iter().flat_map(|&(a, b)| a..=b).collect();
            let within = model.range(-7i64..13).count();
            prop_assert_eq!(seen.count_within(-7, 20), i64::try_from(within)?);
            prop_assert_eq!(listed, model.into_iter().collect::<Vec<_>>());
            let mut bytes = Vec::new();
            seen.write(&mut bytes);
            let body = Reader::new(&bytes).bytes().map(<[u8]>::to_vec);
            prop_assert_eq!(body.ok().and_then(|body| Seen::read(&body)), Some(seen));
        }

        #[test]
        fn arbitrary_bytes_never_panic(bytes: Vec<u8>) {
            let _ = Seen::read(&bytes);
        }
    }

    #[test]
    fn the_extremes_do_not_overflow() {
        let mut seen = Seen::default();
        for id in [i64::MAX, i64::MIN, i64::MAX, i64::MIN + 1, i64::MAX - 1] {
            seen.insert(id);
        }
        assert_eq!(seen.ranges(), [(i64::MIN, i64::MIN + 1), (i64::MAX - 1, i64::MAX)]);
        let mut bytes = Vec::new();
        seen.write(&mut bytes);
        let body = Reader::new(&bytes).bytes().unwrap().to_vec();
        assert_eq!(Seen::read(&body), Some(seen));
    }

    #[test]
    fn beyond_the_bound_an_id_is_not_remembered() {
        let mut seen = Seen::default();
        let bound = i64::try_from(MAX_RANGES).unwrap();
        for id in 0..bound {
            assert_eq!(seen.insert(id * 2), Seeing::New);
        }
        assert_eq!(seen.insert(bound * 4), Seeing::Overflow);
        assert_eq!(seen.insert(1), Seeing::New);
        assert_eq!(seen.insert(2), Seeing::Duplicate);
    }
}
