//! What the targets share: how a venue's messages are checked.

use schemas::{Codec, MarketEvent, PairKey, Timestamp};
use venues::{Malformed, Message, Parsed, UNKNOWN, Venue};

/// When every frame arrives.
const AT: Timestamp = Timestamp(1_723_161_254_087);

/// Any text is read by a venue's adapter, and what comes out can be sent.
pub fn venue(venue: Venue, data: &[u8]) {
    // As the socket has it: a frame that is not UTF-8 never reaches an adapter.
    let Ok(text) = std::str::from_utf8(data) else { return };
    let mut out = Vec::new();
    match venue.parse(text, AT, &mut out) {
        Ok(()) => out.iter().for_each(|parsed| check(venue, parsed)),
        Err(malformed) => assert!(Malformed::LABELS.contains(&malformed.label())),
    }
}

fn check(venue: Venue, parsed: &Parsed) {
    assert!(venue.adapter().kinds.contains(&parsed.kind) || parsed.kind == UNKNOWN, "{}", parsed.kind);
    if let Message::Event(pair, event) = &parsed.message {
        survives(pair, event);
    }
}

/// An event that was read is the same after its way through a topic.
pub fn survives(pair: &PairKey, event: &MarketEvent) {
    let codec = Codec::offline();
    assert_eq!(codec.decode::<PairKey>(&codec.to_bytes(pair)).as_ref(), Ok(pair));
    assert_eq!(codec.decode::<MarketEvent>(&codec.to_bytes(event)).as_ref(), Ok(event));
}
