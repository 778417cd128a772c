//! The values of metric labels: all of them are constants, so metrics stay bounded.

use venues::Venue;

/// The reason of a dead letter that Kafka refused as a record.
pub const REFUSED: &str = "refused";

/// The exchanges and the venue of chains, and one label for every other exchange: names from outside
/// must not become labels.
pub const EXCHANGES: [&str; Venue::ALL.len() + 2] = {
    let mut labels = ["other"; Venue::ALL.len() + 2];
    let mut index = 0;
    while index < Venue::ALL.len() {
        labels[index] = Venue::ALL[index].as_str();
        index += 1;
    }
    labels[index] = venues::ethereum::NAME;
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
    /// The kind of a frame of a node.
    #[derive(Clone, Copy, Debug, PartialEq, Eq)]
    pub enum NodeFrame {
        /// A subscription's: a head or a log.
        Notification = "notification",
        /// Anything else that is text: an answer to a request, or garbage.
        Answer = "answer",
        /// Bytes, which no node sends.
        Binary = "binary",
    }
}

schemas::named! {
    /// A method of JSON-RPC that a node is asked for.
    #[derive(Clone, Copy, Debug, PartialEq, Eq)]
    pub enum Method {
        /// The id of the chain.
        ChainId = "eth_chainId",
        /// Heads or logs from now on.
        Subscribe = "eth_subscribe",
        /// The number of the newest block.
        BlockNumber = "eth_blockNumber",
        /// A block by its number.
        BlockByNumber = "eth_getBlockByNumber",
        /// A block by its hash.
        BlockByHash = "eth_getBlockByHash",
        /// The logs of past blocks.
        Logs = "eth_getLogs",
        /// A fact of a pool or of a token.
        Call = "eth_call",
        /// Any other.
        Other = "other",
    }
}

impl Method {
    /// The method of that name.
    pub fn of(name: &str) -> Self {
        Self::parse(name).unwrap_or(Self::Other)
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
