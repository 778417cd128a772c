//! The intervals of candles and spreads, and the first instant of each window.

use schemas::Timestamp;
use schemas::topic::Topic;
use streams::window::TumblingWindows;

/// The interval of a candle or of spreads. UTC, aligned to the epoch, as with all venues.
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

    /// The topic of its spreads.
    pub const fn spreads_topic(self) -> Topic {
        match self {
            Self::Minute => Topic::Spreads1m,
            Self::Hour => Topic::Spreads1h,
            Self::Day => Topic::Spreads1d,
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
