//! The flags, their environment variables, and the rules that they obey.

mod http;
mod migrate;
mod pairs;
mod query;
mod reset;

use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use ::cli::kafka::topic_prefix;
use ::cli::log::Log;
use ::cli::secret::Setting;
use ::cli::units::{positive_bytes as bytes, positive_duration as duration};
use anyhow::Result;
use clap::{Args, Parser, Subcommand, ValueEnum};
use schemas::topic::{DEFAULT_PARTITIONS, Topic};
use streams::runtime::{self, GroupProtocol, Guarantee, ResetOffsets};
use streams::store::Engine;

pub use ::cli::kafka::{Kafka, SchemaRegistry};
pub use http::{Http, read_token};
pub use migrate::MigrateCommand;
pub use pairs::{ChangePairs, Pairs};
pub use query::{
    BookQuery, CandlesQuery, ChainQuery, Format, IndexQuery, OptionQuery, PoolQuery, Query, Server,
    Source, SpreadsQuery, SurfaceQuery, SwapQuery, TokenQuery, TokensQuery,
};
pub use reset::ResetCommand;

use crate::api::{HistoryUrl, stream};
use crate::compute::Printed;
use crate::operators::{FINAL, Interval};
use crate::topology::{CONFIRMATIONS, Named, Topologies};

/// Turns market events into latest prices and candles, exactly once.
#[derive(Debug, Parser)]
#[command(version, about)]
pub struct Cli {
    /// Logging.
    #[command(flatten)]
    pub log: Log,
    /// The command to run.
    #[command(subcommand)]
    pub command: Command,
}

/// The commands.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Run a member of the processor group.
    Run(Box<Run>),
    /// Follow the output topics and answer reads, outside any group.
    Serve(Box<Serve>),
    /// Compute all topics from captures and trade files, without a broker.
    ///
    /// Prints JSON Lines {"key":{…},"value":{…}} of one topic: decimals are strings, times are
    /// milliseconds, bytes are base64, "value":null is a tombstone. The records are those that the
    /// topic would hold: an hour or a day is the merge of its closed minutes. Dead letters have
    /// "headers" too. Lines and frames that cannot be read become dead letters.
    Compute(Compute),
    /// Compute candles from captures and trade files, without a broker: a short form of compute.
    ///
    /// An hour or a day is merged with its open minutes, as readers of the API see it.
    Candles(Candles),
    /// Ask a member or a view, over HTTP.
    #[command(subcommand)]
    Query(Query),
    /// Look after the topics.
    #[command(subcommand)]
    Topics(TopicsCommand),
    /// Set a pair back, or end it, by a record in the log.
    #[command(subcommand)]
    Pairs(Pairs),
    /// Compute a sub-topology anew: delete its offsets and create its output topics again, while no member
    /// runs. Members then need new state directories.
    Reset(ResetCommand),
    /// Move the application to topics with another number of partitions, under another prefix, while no
    /// member runs.
    Migrate(MigrateCommand),
}

/// Settings shared by `run` and `serve`.
#[derive(Args, Clone, Debug)]
pub struct Stores {
    /// Where the schema registry is.
    #[command(flatten)]
    pub registry: SchemaRegistry,
    /// The address of metrics, health and reads.
    #[arg(long, env = "LISTEN", default_value = "127.0.0.1:8080")]
    pub listen: SocketAddr,
    /// Committed state per store that waits for the disk; at this size it is written early.
    #[arg(long, env = "OVERLAY_MAX", default_value = "32MiB", value_parser = bytes)]
    pub overlay_max: usize,
    /// Time between writes of the state stores: what a crash restores from the topics.
    #[arg(long, env = "FLUSH_INTERVAL", default_value = "5s", value_parser = duration)]
    pub flush_interval: Duration,
    /// Settings of streaming.
    #[command(flatten)]
    pub stream: stream::StreamOptions,
    /// The database of candles older than the topics' retention, with the sink's tables, as
    /// postgresql://USER@HOST:PORT/DATABASE. It is never printed.
    #[arg(long, env = "HISTORY_URL", hide_env_values = true,
        value_parser = |text: &str| Ok::<_, std::convert::Infallible>(HistoryUrl::new(text)))]
    pub history_url: Option<HistoryUrl>,
    /// Memory of the store database: one half caches reads, the other buffers writes.
    #[arg(long, env = "STORE_CACHE", default_value = "64MiB", value_parser = bytes)]
    pub store_cache: usize,
    /// The engine that keeps the stores on disk: fjall, or sled. A state directory keeps the engine that
    /// created it; without this flag a new one gets fjall.
    #[arg(long, env = "STORE_ENGINE", value_parser = engine)]
    pub store_engine: Option<Engine>,
    /// State that a restoring thread buffers in memory before it waits for the disk.
    #[arg(long, env = "RESTORE_MAX", default_value = "1GiB", value_parser = bytes)]
    pub restore_max: usize,
}

/// `processor serve`.
#[derive(Args, Clone, Debug)]
pub struct Serve {
    /// Where Kafka is.
    #[command(flatten)]
    pub kafka: Kafka,
    /// Settings shared with `run`.
    #[command(flatten)]
    pub stores: Stores,
    /// Settings of the HTTP server.
    #[command(flatten)]
    pub http: Http,
    /// The name of its folder in the state directory; no group of that name is joined.
    #[arg(long, env = "VIEW_ID", default_value = "view")]
    pub view_id: String,
    /// Where state stores live; each process needs its own.
    #[arg(long, env = "STATE_DIR", default_value = ".run/state/view")]
    pub state_dir: PathBuf,
    /// The sub-topologies to follow, separated by commas: prices, quotes, options, swaps and index. Only
    /// their topics need to exist.
    #[arg(long, env = "PROCESSOR_TOPOLOGIES", default_value_t = Topologies::ALL)]
    pub topologies: Topologies,
}

/// `processor run`.
#[derive(Args, Clone, Debug)]
pub struct Run {
    /// Where Kafka is.
    #[command(flatten)]
    pub kafka: Kafka,
    /// Settings shared with `serve`.
    #[command(flatten)]
    pub stores: Stores,
    /// Settings of the HTTP server.
    #[command(flatten)]
    pub http: Http,
    /// Put before the names of `events`, `quotes` and `books` instead of the prefix of every topic: several
    /// installations may compute from the same input.
    #[arg(long, env = "INPUT_PREFIX", value_parser = topic_prefix)]
    pub input_prefix: Option<String>,
    /// The consumer group, and the prefix of transactional ids.
    #[arg(long, env = "APPLICATION_ID", default_value = "processor")]
    pub application_id: String,
    /// Where state stores live; each process needs its own.
    #[arg(long, env = "STATE_DIR", default_value = ".run/state/processor")]
    pub state_dir: PathBuf,
    /// Worker threads, each a member of the group.
    #[arg(long, env = "THREADS", default_value_t = 1)]
    pub threads: usize,
    /// Exactly once, or at least once.
    #[arg(long, env = "PROCESSING_GUARANTEE", value_enum,
        default_value_t = ProcessingGuarantee::ExactlyOnceV2)]
    pub processing_guarantee: ProcessingGuarantee,
    /// The assignor of partitions: the members (classic) or the broker (consumer, KIP-848).
    #[arg(long, env = "GROUP_PROTOCOL", value_enum, default_value_t = Protocol::Classic)]
    pub group_protocol: Protocol,
    /// This member's name in the group over restarts (static membership, KIP-345), unique in the group:
    /// a member that is back within the session timeout goes on without a rebalance.
    #[arg(long, env = "GROUP_INSTANCE_ID", value_parser = instance_id)]
    pub group_instance_id: Option<String>,
    /// Time between commits.
    #[arg(long, env = "COMMIT_INTERVAL", default_value = "100ms", value_parser = duration)]
    pub commit_interval: Duration,
    /// Decoded state held by one task; reaching it commits early.
    #[arg(long, env = "CACHE_MAX", default_value = "64MiB", value_parser = bytes)]
    pub cache_max: usize,
    /// The broker aborts a transaction that is open for longer.
    #[arg(long, env = "TRANSACTION_TIMEOUT", default_value = "10s", value_parser = duration)]
    pub transaction_timeout: Duration,
    /// Silence after which the group gives a classic member's partitions away.
    #[arg(long, env = "SESSION_TIMEOUT", default_value = "45s", value_parser = duration)]
    pub session_timeout: Duration,
    /// Keep the partitions of other members warm: a takeover replays only the last moments, and
    /// every partition can be read here.
    #[arg(long, env = "STANDBY")]
    pub standby: bool,
    /// The position to start from when the group's offsets have expired or were deleted although
    /// the stores hold state. Without it such a member does not start. With offsets it has no
    /// effect.
    #[arg(long, env = "RESET_OFFSETS", value_enum)]
    pub reset_offsets: Option<Reset>,
    /// The sub-topologies to run, separated by commas: prices (latest prices and candles), quotes (newest
    /// quotes and spreads of order books), options (options, futures and perpetuals), swaps (pools and
    /// tokens) and index (the consolidated price; with prices). Only their topics need to exist.
    #[arg(long, env = "PROCESSOR_TOPOLOGIES", default_value_t = Topologies::PRICES)]
    pub topologies: Topologies,
    /// Blocks on top of a block whose swaps are counted, 0 to 64: more wait longer and retract less.
    #[arg(long, env = "CONFIRMATIONS", default_value_t = CONFIRMATIONS,
        value_parser = clap::value_parser!(i64).range(0..=FINAL))]
    pub confirmations: i64,
    /// Sub-topologies that the group has run and that nobody shall run any more, separated by commas.
    /// Without it a member that lacks one of them does not start.
    #[arg(long, env = "REMOVED_TOPOLOGIES")]
    pub removed_topologies: Option<Topologies>,
}

/// See [`ResetOffsets`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Reset {
    /// After the last event that the stores hold: no event is lost or counted twice.
    Position,
    /// At the first event of the topic: trades without an id are counted twice.
    Earliest,
    /// After the last event of the topic: unprocessed events are lost.
    Latest,
}

/// See [`Guarantee`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
#[value(rename_all = "snake_case")]
pub enum ProcessingGuarantee {
    /// Outputs and offsets in one transaction.
    ExactlyOnceV2,
    /// Outputs first, then offsets.
    AtLeastOnce,
}

/// See [`GroupProtocol`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Protocol {
    /// Cooperative-sticky.
    Classic,
    /// KIP-848.
    Consumer,
}

/// `processor compute`.
#[derive(Args, Clone, Debug)]
pub struct Compute {
    /// The files.
    #[command(flatten)]
    pub recorded: Recorded,
    /// The records to print.
    #[arg(long, env = "PRINT", value_name = "TOPIC", help = print_help())]
    pub print: Printed,
    /// Print every record in the order written, with a commit every 100,000 records; without it
    /// the last record of each key, in the order of keys.
    #[arg(long, env = "CHANGES")]
    pub changes: bool,
    /// A capture with recorded listings, or the pools of a chain: a JSON object for each line, with chain,
    /// pool, token0, token1, fee, symbols and decimals. Each listed option, future and perpetual has a row of
    /// `options` or `derivatives`, with its contract size and tick size; all other output is the same
    /// without it. A warning counts the pairs of the files that it does not list.
    #[arg(long, env = "LISTING", value_name = "FILE")]
    pub listing: Option<PathBuf>,
}

/// Recorded files.
#[derive(Args, Clone, Debug)]
pub struct Recorded {
    /// Captures of the producer and trade files, JSON Lines, plain or zstd, in this order; `-` is
    /// standard input, for trades only.
    #[arg(required = true, value_name = "FILE")]
    pub files: Vec<PathBuf>,
}

/// `processor candles`.
#[derive(Args, Clone, Debug)]
pub struct Candles {
    /// The files.
    #[command(flatten)]
    pub recorded: Recorded,
    /// Which candles: 1m, 1h or 1d.
    #[arg(long, env = "INTERVAL", default_value = "1m", value_parser = interval)]
    pub interval: Interval,
    /// Without candles that are still open.
    #[arg(long, env = "CLOSED")]
    pub closed: bool,
}

/// `processor topics`.
#[derive(Debug, Subcommand)]
pub enum TopicsCommand {
    /// Create the topics that are missing, and check those that are there.
    Create(CreateTopics),
    /// Print the topic table, a line each: name, cleanup, retention in milliseconds.
    List {
        /// Put before the name of every topic.
        #[arg(long, env = "TOPIC_PREFIX", default_value = "", value_parser = topic_prefix)]
        topic_prefix: String,
    },
}

/// `processor topics create`.
#[derive(Args, Clone, Debug)]
pub struct CreateTopics {
    /// Where Kafka is.
    #[command(flatten)]
    pub kafka: Kafka,
    /// Partitions of every topic.
    #[arg(long, env = "PARTITIONS", default_value_t = DEFAULT_PARTITIONS,
        value_parser = clap::value_parser!(i32).range(1..=1024))]
    pub partitions: i32,
    /// Copies of each partition.
    #[arg(long, env = "REPLICATION_FACTOR", default_value_t = 1,
        value_parser = clap::value_parser!(i32).range(1..=16))]
    pub replication_factor: i32,
    /// The consumer group whose repartition topics are created too: by default `processor`, and none with a
    /// --topic-prefix.
    #[arg(long, env = "APPLICATION_ID")]
    pub application_id: Option<String>,
}

impl CreateTopics {
    /// The group whose repartition topics are created: several installations share a cluster, so one with a
    /// prefix has to name its own.
    pub fn group(&self) -> Option<&str> {
        let default = self.kafka.topic_prefix.is_empty().then_some("processor");
        self.application_id.as_deref().or(default)
    }
}

impl Run {
    /// The engine's settings.
    pub fn runtime(&self) -> runtime::AppConfig {
        runtime::AppConfig {
            application_id: self.application_id.clone(),
            bootstrap_servers: self.kafka.bootstrap_servers.clone(),
            state_dir: self.state_dir.clone(),
            threads: self.threads,
            processing_guarantee: match self.processing_guarantee {
                ProcessingGuarantee::ExactlyOnceV2 => Guarantee::ExactlyOnceV2,
                ProcessingGuarantee::AtLeastOnce => Guarantee::AtLeastOnce,
            },
            group_protocol: match self.group_protocol {
                Protocol::Classic => GroupProtocol::Classic,
                Protocol::Consumer => GroupProtocol::Consumer,
            },
            group_instance_id: self.group_instance_id.clone(),
            commit_interval: self.commit_interval,
            cache_max_bytes: self.cache_max,
            overlay_max_bytes: self.stores.overlay_max,
            flush_interval: self.stores.flush_interval,
            store_cache_bytes: self.stores.store_cache,
            store_engine: self.stores.store_engine,
            restore_max_bytes: self.stores.restore_max,
            transaction_timeout: self.transaction_timeout,
            session_timeout: self.session_timeout,
            standby: self.standby,
            reset_offsets: self.reset_offsets.map(|reset| match reset {
                Reset::Position => ResetOffsets::Position,
                Reset::Earliest => ResetOffsets::Earliest,
                Reset::Latest => ResetOffsets::Latest,
            }),
            removed_sources: self.removed_sources(),
            dead_letters_topic: Topic::DeadLetters.name(&self.kafka.topic_prefix),
            kafka: Setting::pairs(&self.kafka.settings),
        }
    }
}

impl Run {
    /// The topics that the removed sub-topologies read.
    fn removed_sources(&self) -> Vec<String> {
        let prefix = self.input_prefix.as_ref().unwrap_or(&self.kafka.topic_prefix);
        let is_removed = |named: &Named| self.removed_topologies.is_some_and(|one| one.has(*named));
        let removed = Named::ALL.into_iter().filter(is_removed);
        let mut sources: Vec<String> = removed.flat_map(|named| named.sources(prefix)).collect();
        // A repartition topic has the group's name.
        let of_group = sources.iter().filter(|source| source.ends_with("-repartition"));
        let of_group = of_group.map(|source| format!("{}-{source}", self.application_id));
        sources.extend(of_group.collect::<Vec<_>>());
        sources
    }
}

impl Serve {
    /// The view's settings.
    pub fn runtime(&self) -> runtime::StoreConfig {
        runtime::StoreConfig {
            application_id: self.view_id.clone(),
            bootstrap_servers: self.kafka.bootstrap_servers.clone(),
            state_dir: self.state_dir.clone(),
            overlay_max_bytes: self.stores.overlay_max,
            flush_interval: self.stores.flush_interval,
            store_cache_bytes: self.stores.store_cache,
            store_engine: self.stores.store_engine,
            restore_max_bytes: self.stores.restore_max,
            kafka: Setting::pairs(&self.kafka.settings),
        }
    }
}

fn print_help() -> String {
    format!("The records to print, by their topic: {}", Printed::names())
}

/// A name that Kafka takes as `group.instance.id`.
fn instance_id(text: &str) -> Result<String, String> {
    const MAX: usize = 200;
    let legal = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '_' | '-');
    if (1..=MAX).contains(&text.len()) && text.chars().all(legal) {
        return Ok(text.into());
    }
    Err(format!("an instance id has 1 to {MAX} letters, digits, '.', '_' and '-'"))
}

fn engine(text: &str) -> Result<Engine> {
    Ok(text.parse()?)
}

fn interval(text: &str) -> Result<Interval> {
    Interval::parse(text).ok_or_else(|| anyhow::anyhow!("an interval is 1m, 1h or 1d"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_flags_are_consistent() {
        use clap::CommandFactory as _;
        Cli::command().debug_assert();
    }
}
