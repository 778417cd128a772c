//! The constants of the candle rules, each with its reason.

use schemas::Timestamp;
use schemas::topic::Topic;
use streams::window::TumblingWindows;

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

/// The interval of a candle. UTC, aligned to the epoch, as with all venues.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Interval {
    /// One minute.
    Minute,
    /// One hour.
    Hour,
    /// One day.
    Day,
}

impl Interval {
    /// Every interval, shortest first.
    pub const ALL: [Self; 3] = [Self::Minute, Self::Hour, Self::Day];

    /// The name in APIs.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Minute => "1m",
            Self::Hour => "1h",
            Self::Day => "1d",
        }
    }

    /// The interval of that name.
    pub fn parse(text: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|interval| interval.as_str() == text)
    }

    /// In milliseconds.
    pub const fn length_ms(self) -> i64 {
        match self {
            Self::Minute => 60_000,
            Self::Hour => 3_600_000,
            Self::Day => 86_400_000,
        }
    }

    /// The topic of its candles.
    pub const fn topic(self) -> Topic {
        match self {
            Self::Minute => Topic::Ohlc1m,
            Self::Hour => Topic::Ohlc1h,
            Self::Day => Topic::Ohlc1d,
        }
    }

    /// The first instant of the window that holds `time`.
    pub fn start(self, time: Timestamp) -> Timestamp {
        let start = TumblingWindows::new(self.length_ms())
            .map(|windows| windows.start(streams::record::Timestamp(time.0)).0);
        // The lengths above are positive.
        Timestamp(start.unwrap_or(time.0))
    }
}

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

/// Whether some minute closes between two readings of a clock.
#[inline]
pub(super) fn closes_minute(from: Timestamp, to: Timestamp) -> bool {
    let minute = Interval::Minute;
    let last_closed =
        |clock: Timestamp| minute.start(Timestamp(clock.0 - minute.length_ms() - GRACE_MS));
    last_closed(from) < last_closed(to)
}
