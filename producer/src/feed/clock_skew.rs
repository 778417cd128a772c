//! The skew of this machine's clock against the venue's clock.
//!
//! ```text
//! asked ───── answered        by our clock
//!        Date                 by the venue's, cut to a second
//! ```
//!
//! The processor refuses an event whose event time is more than five seconds ahead of its receive
//! time. So the venue's clock is the reference, and the brokers' clocks do not matter. The event
//! times in the feed would not do: a fast clock looks like a slow network there.
//!
//! Time is an argument, except for [`ClockCheck`].

use std::fmt;
use std::time::Duration;

use jiff::fmt::rfc2822::DateTimeParser;
use reqwest::header::DATE;
use schemas::Timestamp;
use venues::Venue;

use crate::clock;
use crate::metrics::Metrics;

/// The bound must be less: the processor refuses events that are so far ahead of our clock.
pub const MAX_BOUND: Duration = Duration::from_secs(5);
/// The time between two measurements while the clock is right. A clock that jumps costs the events
/// of so long, which the processor keeps as dead letters.
const EVERY: Duration = Duration::from_secs(30);
/// The time before one that was not right is measured again: one answer alone decides nothing.
const AGAIN: Duration = Duration::from_secs(1);
/// An answer that takes longer is too imprecise.
const ANSWER_WITHIN: Duration = Duration::from_secs(5);
/// The part of a second that a `Date` omits.
const SECOND_MS: i64 = 1_000;
static PARSER: DateTimeParser = DateTimeParser::new();

/// The lead of our clock over the venue's, in milliseconds: at least and at most.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Skew {
    least: i64,
    most: i64,
}

impl Skew {
    /// By an answer with that `Date`. `None` when that is no date.
    ///
    /// ```
    /// use producer::feed::clock_skew::Skew;
    /// use schemas::Timestamp;
    /// let date = "Sun, 29 Nov 2026 22:30:10 GMT";
    /// let at = |text| Timestamp::parse_rfc3339(text).ok_or("a time");
    /// let (asked, answered) = (at("2026-11-29T22:30:03Z")?, at("2026-11-29T22:30:03.200Z")?);
    /// let skew = Skew::of(asked, date, answered).ok_or("a date")?;
    /// assert_eq!(skew.to_string(), "6.8 to 8.0 s behind");
    /// # Ok::<(), &str>(())
    /// ```
    pub fn of(asked: Timestamp, date: &str, answered: Timestamp) -> Option<Self> {
        let date = PARSER.parse_timestamp(date).ok()?.as_millisecond();
        // It was written between the two, up to a second after its time.
        Some(Self { least: asked.0 - (date + SECOND_MS), most: answered.0 - date })
    }

    /// It is certain that the clock is off by more.
    pub fn exceeds(self, bound: Duration) -> bool {
        let bound = i64::try_from(bound.as_millis()).unwrap_or(i64::MAX);
        self.least > bound || self.most < -bound
    }

    /// The middle of the possible range, in seconds.
    pub fn seconds(self) -> f64 {
        let millis = i32::try_from(i64::midpoint(self.least, self.most)).unwrap_or(i32::MAX);
        f64::from(millis) / 1_000.0
    }
}

impl fmt::Display for Skew {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (least, most, side) = if self.least + self.most < 0 {
            (-self.most, -self.least, "behind")
        } else {
            (self.least, self.most, "ahead")
        };
        let tenths = |millis: i64| millis.max(0) / 100;
        let (least, most) = (tenths(least), tenths(most));
        write!(f, "{}.{} to {}.{} s {side}", least / 10, least % 10, most / 10, most % 10)
    }
}

/// The clock is off: nothing may be published with it.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "the clock of this machine is {skew} by that of {venue} ({url}), more than --max-clock-skew \
     {bound:?}: the processor would refuse its events; synchronise it by NTP and start again"
)]
pub struct ClockSkewed {
    skew: Skew,
    venue: &'static str,
    url: String,
    bound: Duration,
}

/// Measures the clock.
#[derive(Clone, Debug)]
pub struct ClockCheck {
    venue: Venue,
    url: String,
    bound: Duration,
    client: reqwest::Client,
}

impl ClockCheck {
    /// By the venue's requests at that address.
    pub fn new(venue: Venue, rest_url: &str, bound: Duration) -> reqwest::Result<Self> {
        let client = reqwest::Client::builder().timeout(ANSWER_WITHIN).build()?;
        Ok(Self {
            venue,
            url: format!("{rest_url}{}", venue.adapter().endpoints.time_path),
            bound,
            client,
        })
    }

    /// Measures once, and once more where the clock is off.
    pub async fn check(&self, metrics: &Metrics) -> Result<(), ClockSkewed> {
        for pause in [AGAIN, Duration::ZERO] {
            let Some(skew) = self.measure().await else { return Ok(()) };
            metrics.clock_skew.with_label_values(&[self.venue.as_str()]).set(skew.seconds());
            if !skew.exceeds(self.bound) {
                return Ok(());
            }
            if pause.is_zero() {
                let (venue, url) = (self.venue.as_str(), self.url.clone());
                return Err(ClockSkewed { skew, venue, url, bound: self.bound });
            }
            tokio::time::sleep(pause).await;
        }
        Ok(())
    }

    /// Measures for ever; returns when the clock is off.
    pub async fn watch(&self, metrics: &Metrics) -> ClockSkewed {
        loop {
            tokio::time::sleep(EVERY).await;
            if let Err(skewed) = self.check(metrics).await {
                return skewed;
            }
        }
    }

    /// By any answer: a refusal has a date as well.
    async fn measure(&self) -> Option<Skew> {
        let asked = clock::now();
        let answer = self.client.get(&self.url).send().await;
        let answered = clock::now();
        let skew = answer.map(|answer| {
            let date = answer.headers().get(DATE).and_then(|date| date.to_str().ok());
            date.and_then(|date| Skew::of(asked, date, answered))
        });
        match skew {
            Ok(Some(skew)) => Some(skew),
            Ok(None) => {
                tracing::warn!(url = self.url, "the clock is not checked: the answer has no date");
                None
            }
            Err(error) => {
                tracing::warn!(url = self.url, %error, "the clock is not checked: no answer");
                None
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const DATE: &str = "Thu, 01 Jan 1970 00:01:40 GMT";

    fn skew(asked: i64, answered: i64) -> Skew {
        Skew::of(Timestamp(asked), DATE, Timestamp(answered)).unwrap()
    }

    #[test]
    fn what_a_date_leaves_out_and_the_way_there_and_back_decide_nothing() {
        let bound = Duration::from_secs(3);
        // Behind: the answer came before the venue's clock less the bound.
        assert!(!skew(96_000, 97_000).exceeds(bound));
        assert!(skew(96_000, 96_999).exceeds(bound));
        // Ahead: it was asked for after the end of the venue's second and the bound.
        assert!(!skew(104_000, 104_100).exceeds(bound));
        assert!(skew(104_001, 104_100).exceeds(bound));
        assert!(!skew(90_000, 110_000).exceeds(bound), "a slow answer says nothing");
        assert_eq!(Skew::of(Timestamp(1), "yesterday", Timestamp(2)), None);
    }

    #[test]
    fn a_skew_is_said_with_its_side() {
        assert_eq!(skew(93_000, 93_200).to_string(), "6.8 to 8.0 s behind");
        assert_eq!(skew(110_000, 110_200).to_string(), "9.0 to 10.2 s ahead");
        assert_eq!(skew(100_400, 100_500).to_string(), "0.0 to 0.6 s behind");
        assert!((skew(93_000, 93_200).seconds() + 7.4).abs() < 1e-9);
    }
}
