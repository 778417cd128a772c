//! The command line of the producer: flags, their environment variables, and their rules.
//!
//! Strings end here: after [`Config::validate`] every value is typed and in range.

mod by_venue;
mod chain;
mod simulate;

use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use anyhow::{Context, ensure};
use clap::{ArgAction, Args, Parser, Subcommand};
use cli::kafka::{Kafka, SchemaRegistry};
use cli::log::Log;
use cli::secret::Setting;
use cli::units::{self, Share};

use venues::Channel;

pub use self::by_venue::ByVenue;
pub use self::chain::ChainRunConfig;
pub use self::simulate::{SimulateConfig, Simulated};
use crate::feed::backoff::Backoff;
use crate::feed::capture::{Capture, Capturing};
use crate::feed::clock_skew::MAX_BOUND;
use crate::feed::session::Timeouts;
use crate::feed::{CircuitBreaker, FeedConfig, RotationConfig};
use crate::input::load::Load;
use crate::plan::ConnectionPlan;
use crate::plan::pools::ChainConfig;
use crate::plan::selection::FollowConfig;
use crate::sink::config::{FIXED, SinkConfig, SpoolConfig};
use crate::sink::spool;

/// Publishes market data to Kafka: live, recorded, simulated or from standard input.
#[derive(Debug, Parser)]
#[command(version, about)]
pub struct Config {
    /// Logging.
    #[command(flatten)]
    pub log: Log,
    /// The command.
    #[command(subcommand)]
    pub command: Command,
}

/// The commands.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Publish a venue's live feed until stopped.
    Run(Box<ByVenue<RunConfig, ChainRunConfig>>),
    /// Print the connections of a plan and their share of the venue's limits.
    Plan(Box<ByVenue<FollowConfig, ChainConfig>>),
    /// Simulate a venue: its protocol on a WebSocket, a seeded market, faults on demand.
    Simulate(Box<SimulateConfig>),
    /// Publish recorded captures and trade files.
    Replay(ReplayConfig),
    /// Publish `PriceEvent` JSON Lines from standard input.
    PriceEvents(PriceEventsConfig),
    /// Publish synthetic trades and price samples: load for measurements and tests.
    Load(LoadConfig),
}

/// Kafka and the schema registry.
#[derive(Clone, Debug, Args)]
#[command(mut_arg("settings", |setting| {
    setting
        .env("PRODUCER_KAFKA")
        .value_delimiter(';')
        .help("A further setting of the Kafka client, key=value; repeatable, or separated by ';'")
}))]
pub struct KafkaConfig {
    /// Kafka.
    #[command(flatten)]
    pub cluster: Kafka,
    /// The schema registry.
    #[command(flatten)]
    pub registry: SchemaRegistry,
    /// Records in the queue to the broker; a full queue stops the reading of the feed.
    #[arg(long, env = "PRODUCER_QUEUE_MAX_MESSAGES", default_value_t = 100_000,
          value_parser = clap::value_parser!(u32).range(1..=10_000_000))]
    pub queue_max_messages: u32,
    /// Kilobytes in the queue to the broker.
    #[arg(long, env = "PRODUCER_QUEUE_MAX_KBYTES", default_value_t = 262_144,
          value_parser = clap::value_parser!(u32).range(1..=2_097_151))]
    pub queue_max_kbytes: u32,
    /// Time for a broker to answer at start.
    #[arg(long, env = "PRODUCER_CONNECT_TIMEOUT", default_value = "10s", value_parser = units::duration)]
    pub connect_timeout: Duration,
    /// Time for the last records at the end.
    #[arg(long, env = "PRODUCER_FLUSH_TIMEOUT", default_value = "30s", value_parser = units::duration)]
    pub flush_timeout: Duration,
    /// Directory in which records wait for Kafka on disk; without it they wait in memory.
    #[arg(long, env = "PRODUCER_SPOOL_DIR", value_name = "DIR")]
    pub spool_dir: Option<PathBuf>,
    /// Size of the spool; a full spool stops the reading of the feed.
    #[arg(long, env = "PRODUCER_SPOOL_MAX", default_value = "1GiB", value_parser = units::bytes)]
    pub spool_max: u64,
}

/// Publish a venue's live feed until stopped.
#[derive(Clone, Debug, Args)]
pub struct RunConfig {
    /// The selection of instruments.
    #[command(flatten)]
    pub follow: FollowConfig,
    /// Silence of a connection after which it is replaced.
    #[arg(long, env = "PRODUCER_STALE_AFTER", default_value = "10s", value_parser = units::duration)]
    pub stale_after: Duration,
    /// Silence of a class of instruments, such as options, after which the connection is replaced.
    #[arg(long, env = "PRODUCER_QUIET_AFTER", default_value = "5m", value_parser = units::duration)]
    pub quiet_after: Duration,
    /// Age at which a connection is replaced; 23h at Binance, which closes it after 24h, else never.
    #[arg(long, env = "PRODUCER_ROTATE_AFTER", value_parser = units::duration)]
    pub rotate_after: Option<Duration>,
    /// Time in which a connection and its replacement are both read.
    #[arg(long, env = "PRODUCER_ROTATE_OVERLAP", default_value = "2s", value_parser = units::duration)]
    pub rotate_overlap: Duration,
    /// Fetch the trades that the feed missed from --rest-url.
    #[arg(long, env = "PRODUCER_BACKFILL", value_name = "BOOL", default_value_t = true,
          action = ArgAction::Set)]
    pub backfill: bool,
    /// Largest skew of this machine's clock against the venue's; beyond it the producer stops.
    #[arg(long, env = "PRODUCER_MAX_CLOCK_SKEW", default_value = "3s", value_parser = units::duration)]
    pub max_clock_skew: Duration,
    /// Settings of every live feed.
    #[command(flatten)]
    pub live: LiveConfig,
}

/// Settings of every live feed.
#[derive(Clone, Debug, Args)]
pub struct LiveConfig {
    /// Consecutive refusals after which connecting pauses for --breaker-pause.
    #[arg(long, env = "PRODUCER_BREAKER_AFTER", default_value_t = 5,
          value_parser = clap::value_parser!(u32).range(1..))]
    pub breaker_after: u32,
    /// Pause after too many refusals.
    #[arg(long, env = "PRODUCER_BREAKER_PAUSE", default_value = "5m", value_parser = units::duration)]
    pub breaker_pause: Duration,
    /// Longest first wait before reconnecting; it doubles with each failure.
    #[arg(long, env = "PRODUCER_BACKOFF_FIRST", default_value = "500ms", value_parser = units::duration)]
    pub backoff_first: Duration,
    /// Longest wait before reconnecting.
    #[arg(long, env = "PRODUCER_BACKOFF_CAP", default_value = "30s", value_parser = units::duration)]
    pub backoff_cap: Duration,
    /// Directory for a capture of every frame, for `producer replay`.
    #[arg(long, env = "PRODUCER_CAPTURE", value_name = "DIR")]
    pub capture: Option<PathBuf>,
    /// Size of the captures of a venue; beyond it the oldest file is deleted.
    #[arg(long, env = "PRODUCER_CAPTURE_MAX", default_value = "10GiB", value_parser = units::bytes)]
    pub capture_max: u64,
    /// Address of /metrics and /healthz.
    #[arg(long, env = "PRODUCER_METRICS", default_value = "127.0.0.1:9101")]
    pub metrics: SocketAddr,
    /// Kafka.
    #[command(flatten)]
    pub kafka: KafkaConfig,
}

/// Publish recorded captures and trade files.
#[derive(Clone, Debug, Args)]
pub struct ReplayConfig {
    /// Captures and trade files, plain or zstd, in this order.
    #[arg(required = true, value_name = "FILE")]
    pub files: Vec<PathBuf>,
    /// Speed: 1 is the recorded speed, 10 is ten times as fast; without it as fast as possible.
    #[arg(long, env = "REPLAY_SPEED")]
    pub speed: Option<f64>,
    /// Reorder events, by less than this much event time.
    #[arg(long, env = "REPLAY_SHUFFLE_WITHIN", value_name = "DURATION", value_parser = units::duration)]
    pub shuffle_within: Option<Duration>,
    /// Share of events to publish twice, such as 5%.
    #[arg(long, env = "REPLAY_REPEAT", value_name = "PERCENT", value_parser = units::share)]
    pub repeat: Option<Share>,
    /// Seed of the disorder.
    #[arg(long, env = "REPLAY_SEED", default_value_t = 1)]
    pub seed: u64,
    /// Listing file of the pools of an ethereum capture; the answers in the capture without it.
    #[arg(long, env = "REPLAY_LISTING", value_name = "FILE")]
    pub listing: Option<PathBuf>,
    /// Kafka.
    #[command(flatten)]
    pub kafka: KafkaConfig,
}

/// Publish `PriceEvent` JSON Lines from standard input.
#[derive(Clone, Debug, Args)]
pub struct PriceEventsConfig {
    /// Kafka.
    #[command(flatten)]
    pub kafka: KafkaConfig,
}

/// Publish synthetic trades and price samples: load for measurements and tests.
#[derive(Clone, Debug, Args)]
pub struct LoadConfig {
    /// The events.
    #[command(flatten)]
    pub load: Load,
    /// Events per second; 0 is as fast as possible.
    #[arg(long, env = "LOAD_RATE", default_value_t = 0)]
    pub rate: u32,
    /// Event time of the first trade, in milliseconds since the epoch. The default is the latest time
    /// with which no event is ahead of the clock, because the processor refuses such events.
    #[arg(long, env = "LOAD_START_MS", value_name = "MS")]
    pub start_ms: Option<i64>,
    /// Kafka.
    #[command(flatten)]
    pub kafka: KafkaConfig,
}

impl Config {
    /// Checks the rules between values. Called once, before anything connects.
    pub fn validate(&self) -> anyhow::Result<()> {
        match &self.command {
            Command::Run(run) => match &**run {
                ByVenue::Market(run) => run.validate(),
                ByVenue::Chain(run) => run.validate(),
            },
            Command::Plan(follow) => match &**follow {
                ByVenue::Market(follow) => follow.validate(),
                ByVenue::Chain(chain) => chain.validate(),
            },
            Command::Simulate(simulate) => simulate.validate(),
            Command::Replay(replay) => replay.validate(),
            Command::PriceEvents(price_events) => price_events.kafka.validate(),
            Command::Load(load) => load.kafka.validate(),
        }
    }
}

impl RunConfig {
    fn validate(&self) -> anyhow::Result<()> {
        self.follow.validate()?;
        ensure!(!self.stale_after.is_zero(), "--stale-after must be longer than nothing");
        ensure!(!self.quiet_after.is_zero(), "--quiet-after must be longer than nothing");
        ensure!(
            self.rotate_after.is_none_or(|after| after > self.rotate_overlap),
            "--rotate-after must be longer than --rotate-overlap"
        );
        ensure!(
            !self.max_clock_skew.is_zero() && self.max_clock_skew < MAX_BOUND,
            "--max-clock-skew must be longer than nothing and less than {MAX_BOUND:?}"
        );
        self.live.validate()
    }

    /// The feed of one connection of a plan.
    pub fn feed(&self, connection: ConnectionPlan) -> anyhow::Result<FeedConfig> {
        Ok(FeedConfig {
            url: self.follow.url(),
            venue: self.follow.venue,
            connection,
            followed: self.follow.followed(),
            max_streams: self.follow.budget().streams,
            timeouts: Timeouts { stale_after: self.stale_after, quiet_after: self.quiet_after },
            backoff: self.live.backoff()?,
            rotation: RotationConfig {
                after: self.rotate_after.or(self.follow.venue.adapter().liveness.lifetime),
                overlap: self.rotate_overlap,
            },
            breaker: self.live.breaker(),
        })
    }

    /// The address for missed trades, if they are fetched.
    pub fn backfill_url(&self) -> Option<String> {
        self.backfill.then(|| self.follow.history_url())
    }

    /// The capture and its thread, with --capture.
    pub fn capture(&self) -> anyhow::Result<Option<Capturing>> {
        self.live.capture(self.follow.venue.as_str())
    }

    /// The settings of the sink: with books and tickers their topics must exist.
    pub fn sink(&self) -> SinkConfig {
        let follows_books = self.follow.flags.channels.has(Channel::Book);
        let follows_tickers = self.follow.follows_tickers();
        SinkConfig { follows_books, follows_tickers, ..self.live.kafka.sink() }
    }
}

impl LiveConfig {
    fn validate(&self) -> anyhow::Result<()> {
        self.backoff()?;
        self.kafka.validate()
    }

    /// The capture of a venue and its thread, with --capture.
    fn capture(&self, venue: &'static str) -> anyhow::Result<Option<Capturing>> {
        let Some(dir) = &self.capture else {
            return Ok(None);
        };
        let started = Capture::start(dir, venue, self.capture_max);
        started
            .map(Some)
            .with_context(|| format!("cannot write to {}: choose another --capture", dir.display()))
    }

    /// The waits between connections.
    pub fn backoff(&self) -> anyhow::Result<Backoff> {
        Backoff::new(self.backoff_first, self.backoff_cap)
            .map_err(|error| anyhow::anyhow!("--backoff-first and --backoff-cap: {error}"))
    }

    /// The rule by which connecting is paused.
    pub fn breaker(&self) -> CircuitBreaker {
        CircuitBreaker { after: self.breaker_after, pause: self.breaker_pause }
    }
}

impl ReplayConfig {
    fn validate(&self) -> anyhow::Result<()> {
        let speed = self.speed.unwrap_or(1.0);
        ensure!(speed.is_finite() && speed > 0.0, "--speed must be greater than 0");
        ensure!(
            self.speed.is_none() || self.disorder().is_none(),
            "--speed cannot keep the time of events that --shuffle-within or --repeat move"
        );
        self.kafka.validate()
    }

    /// The disorder of --shuffle-within and --repeat, if any.
    pub fn disorder(&self) -> Option<crate::input::shuffle::Disorder> {
        if self.shuffle_within.is_none() && self.repeat.is_none() {
            return None;
        }
        Some(crate::input::shuffle::Disorder {
            within: self.shuffle_within.unwrap_or_default(),
            repeat: self.repeat.unwrap_or_default(),
        })
    }
}

impl KafkaConfig {
    fn validate(&self) -> anyhow::Result<()> {
        let servers = self.cluster.bootstrap_servers.trim();
        ensure!(!servers.is_empty(), "--bootstrap-servers must not be empty");
        let registry = &self.registry.schema_registry_url;
        ensure!(
            registry.starts_with("http://") || registry.starts_with("https://"),
            "--schema-registry-url must begin with http:// or https://"
        );
        ensure!(!self.connect_timeout.is_zero(), "--connect-timeout must be longer than nothing");
        ensure!(
            self.spool_max >= spool::MIN_BYTES,
            "--spool-max must be {} KiB at least",
            spool::MIN_BYTES >> 10
        );
        for setting in &self.cluster.settings {
            ensure!(
                !setting.key.is_empty(),
                "--kafka: a setting is KEY=VALUE, and one has no key; a value cannot hold ';'"
            );
            ensure!(
                !FIXED.contains(&setting.key.as_str()),
                "--kafka {} cannot be changed: the delivery guarantees depend on it; remove it",
                setting.key
            );
        }
        Ok(())
    }

    /// The settings of the sink.
    pub fn sink(&self) -> SinkConfig {
        SinkConfig {
            bootstrap_servers: self.cluster.bootstrap_servers.clone(),
            topic_prefix: self.cluster.topic_prefix.clone(),
            queue_max_messages: self.queue_max_messages,
            queue_max_kbytes: self.queue_max_kbytes,
            connect_timeout: self.connect_timeout,
            flush_timeout: self.flush_timeout,
            spool: self.spool_dir.clone().map(|dir| SpoolConfig { dir, max_bytes: self.spool_max }),
            follows_books: false,
            follows_tickers: false,
            follows_swaps: false,
            overrides: Setting::pairs(&self.cluster.settings),
        }
    }
}

#[cfg(test)]
#[path = "config_tests.rs"]
mod tests;
