//! The settings of the sink, and its errors.

use std::path::PathBuf;
use std::time::Duration;

/// Settings on which the invariants rest; they cannot be changed from outside.
pub const FIXED: [&str; 6] = [
    "acks",
    "bootstrap.servers",
    "enable.idempotence",
    "message.timeout.ms",
    "partitioner",
    "request.required.acks",
];

/// The settings of the sink.
#[derive(Clone, Debug)]
pub struct SinkConfig {
    /// `host:port`, comma separated.
    pub bootstrap_servers: String,
    /// The prefix of topic names.
    pub topic_prefix: String,
    /// Records in the queue at most.
    pub queue_max_messages: u32,
    /// Kilobytes in the queue at most.
    pub queue_max_kbytes: u32,
    /// A broker that has not answered in this time at start is away.
    pub connect_timeout: Duration,
    /// The time for the last records at the end.
    pub flush_timeout: Duration,
    /// The spool, if records wait on disk.
    pub spool: Option<SpoolConfig>,
    /// Books are followed: their topics must exist.
    pub follows_books: bool,
    /// Whole tickers are followed: their topic must exist.
    pub follows_tickers: bool,
    /// The pools of a chain are followed: their topic must exist.
    pub follows_swaps: bool,
    /// Further settings of the client.
    pub overrides: Vec<(String, String)>,
}

/// The directory and the size of the spool.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SpoolConfig {
    /// The directory.
    pub dir: PathBuf,
    /// The most bytes of its files.
    pub max_bytes: u64,
}

/// The result of publishing.
pub type Result<T, E = SinkError> = std::result::Result<T, E>;

/// The reason for which publishing failed; each message tells what to do.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SinkError {
    /// The client refuses its settings.
    #[error("the Kafka client refuses its settings: {0}; correct --kafka")]
    Settings(String),
    /// No broker answered at start.
    #[error(
        "Kafka at {address} does not answer within {seconds} s: {reason}; start it or set \
         --bootstrap-servers"
    )]
    Unreachable {
        /// Where.
        address: String,
        /// The time waited.
        seconds: u64,
        /// The client's words.
        reason: String,
    },
    /// Kafka answers, and not to this client; or it cannot be trusted.
    #[error("Kafka at {address} refuses this client: {reason}")]
    Denied {
        /// Where.
        address: String,
        /// Why, and the way out.
        reason: String,
    },
    /// A topic is not there.
    #[error(
        "topic {0} does not exist, or this user may not write to it: create it with 'processor \
         topics create', or allow that user Write on it"
    )]
    MissingTopic(String),
    /// The client cannot go on.
    #[error("the Kafka client failed for good: {0}; start again")]
    Fatal(String),
    /// The spool cannot be written or read.
    #[error("the spool failed: {0}; set another --spool-dir, or make room for it")]
    Spool(String),
    /// The process ended before the broker had everything.
    #[error("{0} records were not delivered: Kafka did not take them in time")]
    Undelivered(i64),
    /// The broker refused records, and their dead letters too.
    #[error(
        "Kafka refused {0} records and their dead letters: see the log, and correct the topics' \
         max.message.bytes or their access"
    )]
    Refused(u64),
}
