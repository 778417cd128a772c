//! Stretches of time in which a connection was healthy.
//!
//! Invariant: they are sorted, neither overlap nor touch, and are at most [`MAX_STRETCHES`].

use schemas::Timestamp;
use schemas::avro::{self, Reader};

/// Healthy stretches remembered: the outages of a day, and of any but a broken feed those of weeks.
/// Beyond it the oldest is forgotten, and coverage that is measured again counts less.
const MAX_STRETCHES: usize = 64;

/// From here to before there.
pub(crate) type Span = (Timestamp, Timestamp);

/// What one connection has told of its health.
///
/// ```text
/// bytes  count | (from, length)*        as Avro longs
/// ```
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Stretches(Vec<Span>);

impl Stretches {
    /// Adds a stretch, joined to those that it touches, in whatever order they are told.
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

    /// Forgets what is after `at`.
    pub(super) fn cut(&mut self, at: Timestamp) {
        self.0.retain(|&(from, _)| from < at);
        if let Some((_, until)) = self.0.last_mut() {
            *until = at.min(*until);
        }
    }

    /// All of them, in order.
    pub(super) fn spans(&self) -> &[Span] {
        &self.0
    }

    /// Where the last one ends.
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

/// A count that is written, of so many at most.
pub(super) fn count(reader: &mut Reader<'_>, most: usize) -> Option<usize> {
    usize::try_from(reader.long().ok()?).ok().filter(|count| *count <= most)
}

/// The spans joined: each millisecond once, however many tell of it.
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
