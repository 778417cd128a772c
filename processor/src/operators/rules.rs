//! The constants of the candle rules, each with its reason.

use schemas::Timestamp;
use streams::window::TumblingWindows;

use crate::interval::Interval;

/// How long a window stays open after its end, so that the ordinary disorder of a feed causes no
/// revisions. It is wider than the skew between a venue's channels and shorter than a reader's
/// patience.
pub(super) const GRACE_MS: i64 = 5_000;
/// How far an event may be behind its pair's clock and still revise a candle. Venues bust and
/// backfill trades within a day.
pub const REVISION_HORIZON_MS: i64 = 24 * 60 * 60 * 1000;
/// How far an event's time may be ahead of the local clock. More is a broken clock, and one such
/// record would close every window of its pair.
pub(super) const MAX_AHEAD_MS: i64 = 5_000;
/// Exclusive bound of times: 9999-01-01T00:00:00Z. The calendars of `PostgreSQL`, Arrow and JSON
/// readers hold it, and a day or a grace added to it does not wrap.
pub(super) const END_OF_TIME: Timestamp = Timestamp(253_370_764_800_000);

/// How long an ended instrument is kept in `latest`, in stream time. Readers see its last price,
/// and sinks get it within the retention of `events`.
pub(super) const ENDED_KEPT_MS: i64 = 7 * 24 * 60 * 60 * 1000;
/// A venue's last tickers of an instrument follow its end. A later event means that it is back.
pub(super) const LAST_WORDS_MS: i64 = 60 * 60 * 1000;

/// Whether the window that starts at `start` has closed by `clock`.
///
/// ```
/// use processor::operators::{Interval, is_closed};
/// use schemas::Timestamp;
/// let closed = |clock| is_closed(Interval::Minute, Timestamp(0), Timestamp(clock));
/// assert_eq!([64_999, 65_000].map(closed), [false, true]);
/// ```
pub fn is_closed(interval: Interval, start: Timestamp, clock: Timestamp) -> bool {
    TumblingWindows::new(interval.length_ms()).is_some_and(|windows| {
        let at = streams::record::Timestamp;
        windows.is_closed(at(start.0), GRACE_MS, at(clock.0))
    })
}

/// The beginning of the first minute that has not closed by `clock`.
pub(super) fn first_open_minute(clock: Timestamp) -> Timestamp {
    Interval::Minute.start(Timestamp(clock.0.saturating_sub(GRACE_MS)))
}

/// Whether some minute closes between two readings of a clock.
#[inline]
pub(super) fn closes_minute(from: Timestamp, to: Timestamp) -> bool {
    let minute = Interval::Minute;
    let last_closed =
        |clock: Timestamp| minute.start(Timestamp(clock.0 - minute.length_ms() - GRACE_MS));
    last_closed(from) < last_closed(to)
}
