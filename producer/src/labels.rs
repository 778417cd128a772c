//! The values of metric labels: all of them are constants, so metrics stay bounded.

use venues::Venue;

/// The reason of a dead letter that Kafka refused as a record.
pub const REFUSED: &str = "refused";

/// The venues, and one label for every other exchange: names from outside must not become labels.
pub const EXCHANGES: [&str; Venue::ALL.len() + 1] = {
    let mut labels = ["other"; Venue::ALL.len() + 1];
    let mut index = 0;
    while index < Venue::ALL.len() {
        labels[index] = Venue::ALL[index].as_str();
        index += 1;
    }
    labels
};

/// The index of an exchange's label in [`EXCHANGES`], which travels with each record.
pub fn exchange(name: &str) -> usize {
    EXCHANGES.iter().position(|label| *label == name).unwrap_or(EXCHANGES.len() - 1)
}

/// The reason for which a connection ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Cause {
    /// It could not be connected.
    Connect,
    /// The venue refused the subscription.
    Refused,
    /// The venue was rate limiting.
    Limited,
    /// The venue closed it.
    Closed,
    /// The socket failed.
    Lost,
    /// It was silent for too long.
    Stale,
    /// A class of instruments was silent for too long.
    Quiet,
}

impl Cause {
    /// Every cause.
    pub const ALL: [Self; 7] = [
        Self::Connect,
        Self::Refused,
        Self::Limited,
        Self::Closed,
        Self::Lost,
        Self::Stale,
        Self::Quiet,
    ];

    /// The label in metrics.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Connect => "connect",
            Self::Refused => "refused",
            Self::Limited => "limited",
            Self::Closed => "closed",
            Self::Lost => "lost",
            Self::Stale => "stale",
            Self::Quiet => "quiet",
        }
    }
}

/// The reason for which a gap was not backfilled.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum GaveUp {
    /// Too many gaps wait.
    QueueFull,
    /// The venue does not have all of the missing trades.
    Absent,
    /// The gap is too long.
    TooLong,
    /// The venue refused, or did not answer after all attempts.
    Failed,
    /// The venue's answer is malformed.
    Malformed,
    /// The process stopped.
    Stopped,
}

impl GaveUp {
    /// Every reason.
    pub const ALL: [Self; 6] = [
        Self::QueueFull,
        Self::Absent,
        Self::TooLong,
        Self::Failed,
        Self::Malformed,
        Self::Stopped,
    ];

    /// The label in metrics.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::QueueFull => "queue_full",
            Self::Absent => "absent",
            Self::TooLong => "too_long",
            Self::Failed => "failed",
            Self::Malformed => "malformed",
            Self::Stopped => "stopped",
        }
    }
}
