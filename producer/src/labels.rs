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

schemas::named! {
    /// The reason for which a connection ended.
    #[derive(Clone, Copy, Debug, PartialEq, Eq)]
    pub enum Cause {
        /// It could not be connected.
        Connect = "connect",
        /// The venue refused the subscription.
        Refused = "refused",
        /// The venue was rate limiting.
        Limited = "limited",
        /// The venue closed it.
        Closed = "closed",
        /// The socket failed.
        Lost = "lost",
        /// It was silent for too long.
        Stale = "stale",
        /// A class of instruments was silent for too long.
        Quiet = "quiet",
    }
}

schemas::named! {
    /// The reason for which a gap was not backfilled.
    #[derive(Clone, Copy, Debug, PartialEq, Eq)]
    pub enum GaveUp {
        /// Too many gaps wait.
        QueueFull = "queue_full",
        /// The venue does not have all of the missing trades.
        Absent = "absent",
        /// The gap is too long.
        TooLong = "too_long",
        /// The venue refused, or did not answer after all attempts.
        Failed = "failed",
        /// The venue's answer is malformed.
        Malformed = "malformed",
        /// The process stopped.
        Stopped = "stopped",
    }
}

schemas::named! {
    /// The reason for which there is no snapshot of a book.
    #[derive(Clone, Copy, Debug, PartialEq, Eq)]
    pub enum NoSnapshot {
        /// The venue was rate limiting.
        Limited = "limited",
        /// The venue did not answer, or not to the end.
        Unavailable = "unavailable",
        /// The venue refused the request.
        Refused = "refused",
        /// The answer is too large.
        TooLarge = "too_large",
        /// The answer is not a snapshot.
        Malformed = "malformed",
        /// The snapshot that follows a subscription did not come.
        Late = "late",
        /// Too many requests wait.
        QueueFull = "queue_full",
    }
}
