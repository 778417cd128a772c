//! Stretches of time in which a connection was healthy.
//!
//! Invariant: they are sorted, neither overlap nor touch, and are at most [`MAX_STRETCHES`].

use schemas::Timestamp;
use schemas::avro::{self, Reader};

/// Stretches kept: the outages of a day, or of weeks unless the feed is broken. Beyond it the
/// oldest is forgotten, and coverage that is measured again is less.
const MAX_STRETCHES: usize = 64;

/// From the first time to before the second.
pub(crate) type Span = (Timestamp, Timestamp);

/// The healthy stretches of one connection.
///
/// ```text
/// bytes  count | (from, length)*        as Avro longs
/// ```
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Stretches(Vec<Span>);

impl Stretches {
    /// Adds a stretch, in any order, and joins it to those that it touches.
    pub(super) fn add(&mut self, (mut from, mut until): Span) {
        if from >= until {
            return;
        }
        self.0.retain(|&(a, b)| {
            let apart = b < from || until < a;
            if !apart {
                from = from.min(a);
                until = until.max(b);
            }
            apart
        });
        let at = self.0.partition_point(|&(a, _)| a < from);
        self.0.insert(at, (from, until));
        if self.0.len() > MAX_STRETCHES {
            self.0.remove(0);
        }
    }

    /// Cuts all after `at`.
    pub(super) fn cut(&mut self, at: Timestamp) {
        self.0.retain(|&(from, _)| from < at);
        if let Some((_, until)) = self.0.last_mut() {
            *until = at.min(*until);
        }
    }

    /// All stretches, in order.
    pub(super) fn spans(&self) -> &[Span] {
        &self.0
    }

    /// The end of the last one.
    pub(super) fn end(&self) -> Option<Timestamp> {
        self.0.last().map(|&(_, until)| until)
    }

    pub(super) fn write(&self, out: &mut Vec<u8>) {
        write_count(out, self.0.len());
        for (from, until) in &self.0 {
            avro::long(out, from.0);
            avro::long(out, until.0 - from.0);
        }
    }

    pub(super) fn read(reader: &mut Reader<'_>) -> Option<Self> {
        let mut read = Self::default();
        for _ in 0..count(reader, MAX_STRETCHES)? {
            let from = reader.long().ok()?;
            let until = from.checked_add(reader.long().ok()?)?;
            let apart = read.end().is_none_or(|before| before.0 < from);
            if !apart || until <= from {
                return None;
            }
            read.0.push((Timestamp(from), Timestamp(until)));
        }
        Some(read)
    }
}

pub(super) fn write_count(out: &mut Vec<u8>, count: usize) {
    avro::long(out, count.cast_signed() as i64);
}

/// Reads a count, of at most `most`.
pub(super) fn count(reader: &mut Reader<'_>, most: usize) -> Option<usize> {
    usize::try_from(reader.long().ok()?).ok().filter(|count| *count <= most)
}

/// The union of spans: each millisecond once.
pub(crate) fn union(mut spans: Vec<Span>) -> Vec<Span> {
    spans.sort_unstable();
    let mut joined: Vec<Span> = Vec::with_capacity(spans.len());
    for (from, until) in spans {
        match joined.last_mut() {
            Some(last) if from <= last.1 => last.1 = last.1.max(until),
            _ => joined.push((from, until)),
        }
    }
    joined
}
