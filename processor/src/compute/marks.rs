//! The view of feed marks, which have no topic of their own.
//!
//! ```text
//! {"kind":"GAP","part":"BOOK","reason":"SEQUENCE_GAP","from_us":1,"until_us":2}
//! ```
//!
//! | kind | meaning | span |
//! |---|---|---|
//! | `GAP` | the pair or feed lost data | the gap |
//! | `HEALTHY` | the clock of a feed, or the connection that carries a pair | its healthy time |
//! | `ENDED`, `RESET` | the pair ended, or its clock was set back | until then |
//!
//! `part` is null for a feed that is one connection. A book that is out of sync has a mark when it leaves
//! the sync and a gap when it returns; the gap says the same, so it alone is printed.

use std::fmt::Write as _;

use schemas::avro::{Reader, Record as _};
use schemas::json;
use schemas::topic::Topic;
use schemas::{Codec, FeedMark, Kind, PairChange, Part, Timestamp};

use super::computation::Written;

/// The name of the view.
pub(super) const MARKS: &str = "marks";

/// The mark that is the value of a record.
pub(super) fn mark(value: &[u8], codec: &Codec) -> Option<FeedMark> {
    let (kind, body) = codec.own(value)?;
    if kind != Kind::FeedMark {
        return None;
    }
    FeedMark::read(&mut Reader::new(body)).ok()
}

/// The view shows the mark of a record: all of `events`, and the gaps of `quotes`, whose other marks are
/// those of `events` or of the beginning of a gap.
pub(super) fn is_shown(record: &Written<'_>, mark: &FeedMark) -> bool {
    let is_of = |topic: Topic| record.topic == topic.base_name();
    is_of(Topic::Events) || (is_of(Topic::Quotes) && mark.gap_from.is_some())
}

/// Appends a mark as JSON.
pub(super) fn write(mark: &FeedMark, line: &mut String) {
    let (kind, from, until) = match (mark.change, mark.gap_from) {
        (Some(PairChange::Ended), _) => ("ENDED", None, Some(mark.healthy_until)),
        (Some(PairChange::Reset), _) => ("RESET", None, Some(mark.healthy_until)),
        (None, Some(from)) => ("GAP", Some(from), mark.gap_until),
        (None, None) => ("HEALTHY", mark.healthy_from, Some(mark.healthy_until)),
    };
    line.push_str("{\"kind\":");
    json::string(kind, line);
    line.push_str(",\"part\":");
    optional(part(mark), line);
    line.push_str(",\"reason\":");
    optional(Some(mark.reason.as_str()).filter(|reason| !reason.is_empty()), line);
    for (name, time) in [("from_us", from), ("until_us", until)] {
        let micros = time.map_or("null".into(), micros);
        let _ = write!(line, ",\"{name}\":{micros}");
    }
    line.push('}');
}

/// The lost or carried data. A gap with trade ids is of trades.
pub(super) fn part(mark: &FeedMark) -> Option<&'static str> {
    match mark.part {
        Some(Part::Connection) => Some("CONNECTION"),
        Some(Part::Trades) => Some("TRADE"),
        Some(Part::Tickers) => Some("TICKER"),
        Some(Part::Book) => Some("BOOK"),
        None => mark.first_missing_id.map(|_| "TRADE"),
    }
}

fn micros(time: Timestamp) -> String {
    time.0.saturating_mul(1000).to_string()
}

fn optional(text: Option<&str>, line: &mut String) {
    match text {
        Some(text) => json::string(text, line),
        None => line.push_str("null"),
    }
}
