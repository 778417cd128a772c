//! The bounds of the buffer, and the snapshots that it accepts after it was full.

use super::super::frame::{FrameKind, Level};
use super::*;

fn update(levels: usize) -> BookFrame {
    let level = Level { price: schemas::Decimal::ONE, size: schemas::Decimal::ONE };
    BookFrame {
        kind: FrameKind::Update,
        bids: vec![level; levels],
        asks: Vec::new(),
        span: None,
        checksum: None,
        event_time: None,
    }
}

#[test]
fn the_oldest_updates_leave_a_full_buffer_and_the_start_follows() {
    let mut buffer = Buffer::new();
    let bound = i64::try_from(MAX_UPDATES).unwrap();
    for id in 0..3 * bound {
        buffer.push(Span { after: id, last: id + 1 }, update(1), true);
    }
    assert_eq!((buffer.updates.len(), buffer.start()), (MAX_UPDATES, Some(2 * bound)));
    let at = 3 * bound;
    buffer.push(Span { after: at, last: at + 1 }, update(MAX_BUFFERED_LEVELS), true);
    assert_eq!(
        (buffer.updates.len(), buffer.levels, buffer.start()),
        (1, MAX_BUFFERED_LEVELS, Some(at))
    );
    buffer.push(Span { after: at + 1, last: at + 2 }, update(MAX_BUFFERED_LEVELS + 1), true);
    assert_eq!((buffer.updates.len(), buffer.levels, buffer.start()), (0, 0, Some(at + 2)));
}

#[test]
fn a_gap_in_a_chain_makes_older_updates_useless() {
    for (is_chained, updates, start) in [(true, 1, 12), (false, 2, 10)] {
        let mut buffer = Buffer::new();
        buffer.push(Span { after: 10, last: 11 }, update(1), is_chained);
        buffer.push(Span { after: 12, last: 13 }, update(1), is_chained);
        assert_eq!((buffer.updates.len(), buffer.start()), (updates, Some(start)));
    }
}
