//! What a person or a script may set: flags, their environment variables, their rules.
//!
//! Strings stop here: past [`Config::validate`] every value is typed and in range.

mod simulate;

use std::io;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::thread::JoinHandle;
use std::time::Duration;

use anyhow::{Context, ensure};
use clap::{ArgAction, Args, Parser, Subcommand, ValueEnum};
use schemas::registry::{Access, Login};
use schemas::setting::{Address, Setting};

pub use self::simulate::SimulateConfig;
use crate::feed::backoff::Backoff;
use crate::feed::capture::Capture;
use crate::feed::clock_skew::MAX_BOUND;
use crate::feed::session::Timeouts;
use crate::feed::{CircuitBreaker, FeedConfig, RotationConfig};
use crate::input::load::{Ids, Pick};
use crate::plan::ConnectionPlan;
use crate::plan::selection::FollowConfig;
use crate::sink::config::{FIXED, SinkConfig, SpoolConfig};
use crate::sink::spool;
use crate::units::{self, Share};

/// Feeds the log with market data: live, recorded, simulated or handed in.
#[derive(Debug, Parser)]
#[command(version, about)]
pub struct Config {
    /// How log lines look.
    #[arg(long, env = "LOG_FORMAT", value_enum, default_value = "text", global = true)]
    pub log_format: LogFormat,
    /// What to do.
    #[command(subcommand)]
    pub command: Command,
}

/// How log lines look.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum LogFormat {
    /// For people.
    Text,
    /// One JSON object a line.
    Json,
}

/// What to do.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Publish a venue's live feed until stopped.
    Run(Box<RunConfig>),
    /// Print which connection would carry what, and how much of the budget that takes.
    Plan(FollowConfig),
    /// Be a venue: its protocol on a real WebSocket, a seeded market, faults on demand.
    Simulate(SimulateConfig),
    /// Publish recorded captures and trade files.
    Replay(ReplayConfig),
    /// Publish `PriceEvent` JSON Lines from standard input.
    PriceEvents(PriceEventsConfig),
    /// Publish synthetic trades and price samples: load for measurements and tests.
    Load(LoadConfig),
}

/// Where Kafka and the schema registry are.
#[derive(Clone, Debug, Args)]
pub struct KafkaConfig {
    /// Kafka brokers, host:port, comma separated.
    #[arg(long, env = "KAFKA_BOOTSTRAP_SERVERS", default_value = "127.0.0.1:9092")]
    pub bootstrap_servers: String,
    /// Schema registry.
    #[arg(
        long,
        env = "SCHEMA_REGISTRY_URL",
        hide_env_values = true,
        default_value = "http://127.0.0.1:8081/apis/ccompat/v7"
    )]
    pub schema_registry_url: Address,
    /// A file of PEM certificates that may sign the schema registry's, beside the public authorities.
    #[arg(long, env = "SCHEMA_REGISTRY_CA", value_name = "FILE")]
    pub schema_registry_ca: Option<PathBuf>,
    /// The user of the schema registry, as USER:PASSWORD. It is never printed.
    #[arg(
        long,
        env = "SCHEMA_REGISTRY_USER",
        hide_env_values = true,
        value_name = "USER:PASSWORD"
    )]
    pub schema_registry_user: Option<Login>,
    /// What the names of all topics begin with.
    #[arg(long, env = "TOPIC_PREFIX", default_value = "")]
    pub topic_prefix: String,
    /// Records that may wait for the broker; a full queue stops the reading of the feed.
    #[arg(long, env = "PRODUCER_QUEUE_MAX_MESSAGES", default_value_t = 100_000,
          value_parser = clap::value_parser!(u32).range(1..=10_000_000))]
    pub queue_max_messages: u32,
    /// Kilobytes that may wait for the broker.
    #[arg(long, env = "PRODUCER_QUEUE_MAX_KBYTES", default_value_t = 262_144,
          value_parser = clap::value_parser!(u32).range(1..=2_097_151))]
    pub queue_max_kbytes: u32,
    /// How long a broker may take to answer at start.
    #[arg(long, env = "PRODUCER_CONNECT_TIMEOUT", default_value = "10s", value_parser = units::duration)]
    pub connect_timeout: Duration,
    /// How long the last records may take at the end.
    #[arg(long, env = "PRODUCER_FLUSH_TIMEOUT", default_value = "30s", value_parser = units::duration)]
    pub flush_timeout: Duration,
    /// A directory in which records wait on disk until Kafka has them; without it they wait in memory.
    #[arg(long, env = "PRODUCER_SPOOL_DIR", value_name = "DIR")]
    pub spool_dir: Option<PathBuf>,
    /// Bytes that may wait there; a full spool stops the reading of the feed.
    #[arg(long, env = "PRODUCER_SPOOL_MAX", default_value = "1GiB", value_parser = units::bytes)]
    pub spool_max: u64,
    /// A further setting of the Kafka client, key=value; repeatable, or separated by ';'.
    #[arg(
        long = "kafka",
        env = "PRODUCER_KAFKA",
        value_delimiter = ';',
        value_name = "KEY=VALUE",
        hide_env_values = true
    )]
    pub kafka: Vec<Setting>,
}

/// Publish a venue's live feed until stopped.
#[derive(Clone, Debug, Args)]
pub struct RunConfig {
    /// What to follow.
    #[command(flatten)]
    pub follow: FollowConfig,
    /// Silence after which the connection is given up and made again.
    #[arg(long, env = "PRODUCER_STALE_AFTER", default_value = "10s", value_parser = units::duration)]
    pub stale_after: Duration,
    /// Silence of a class of instruments, such as options, after which the connection is made again.
    #[arg(long, env = "PRODUCER_QUIET_AFTER", default_value = "5m", value_parser = units::duration)]
    pub quiet_after: Duration,
    /// Age at which a connection is replaced; 23h at Binance, which ends it after 24, else never.
    #[arg(long, env = "PRODUCER_ROTATE_AFTER", value_parser = units::duration)]
    pub rotate_after: Option<Duration>,
    /// How long a connection and its replacement are both read.
    #[arg(long, env = "PRODUCER_ROTATE_OVERLAP", default_value = "2s", value_parser = units::duration)]
    pub rotate_overlap: Duration,
    /// Refusals in a row after which nothing is tried for --breaker-pause.
    #[arg(long, env = "PRODUCER_BREAKER_AFTER", default_value_t = 5,
          value_parser = clap::value_parser!(u32).range(1..))]
    pub breaker_after: u32,
    /// How long nothing is tried after too many refusals.
    #[arg(long, env = "PRODUCER_BREAKER_PAUSE", default_value = "5m", value_parser = units::duration)]
    pub breaker_pause: Duration,
    /// The longest first wait before connecting again; it doubles with each failure.
    #[arg(long, env = "PRODUCER_BACKOFF_FIRST", default_value = "500ms", value_parser = units::duration)]
    pub backoff_first: Duration,
    /// The longest wait before connecting again.
    #[arg(long, env = "PRODUCER_BACKOFF_CAP", default_value = "30s", value_parser = units::duration)]
    pub backoff_cap: Duration,
    /// Fetch the trades that the feed missed over the venue's requests, at --rest-url.
    #[arg(long, env = "PRODUCER_BACKFILL", value_name = "BOOL", default_value_t = true,
          action = ArgAction::Set)]
    pub backfill: bool,
    /// How far this machine's clock may be off, by the venue's: beyond it nothing is published.
    #[arg(long, env = "PRODUCER_MAX_CLOCK_SKEW", default_value = "3s", value_parser = units::duration)]
    pub max_clock_skew: Duration,
    /// A directory for every frame as it came, for `producer replay`.
    #[arg(long, env = "PRODUCER_CAPTURE", value_name = "DIR")]
    pub capture: Option<PathBuf>,
    /// Bytes of the captures of a venue; beyond it the oldest file is deleted.
    #[arg(long, env = "PRODUCER_CAPTURE_MAX", default_value = "10GiB", value_parser = units::bytes)]
    pub capture_max: u64,
    /// Where /metrics and /healthz are served.
    #[arg(long, env = "PRODUCER_METRICS", default_value = "127.0.0.1:9101")]
    pub metrics: SocketAddr,
    /// Where to publish.
    #[command(flatten)]
    pub kafka: KafkaConfig,
}

/// Publish recorded captures and trade files.
#[derive(Clone, Debug, Args)]
pub struct ReplayConfig {
    /// Captures and trade files, plain or zstd, in this order.
    #[arg(required = true, value_name = "FILE")]
    pub files: Vec<PathBuf>,
    /// 1 is the recorded speed, 10 is ten times as fast; as fast as possible without it.
    #[arg(long, env = "REPLAY_SPEED")]
    pub speed: Option<f64>,
    /// Put events out of order, by less than this much event time.
    #[arg(long, env = "REPLAY_SHUFFLE_WITHIN", value_name = "DURATION", value_parser = units::duration)]
    pub shuffle_within: Option<Duration>,
    /// Publish so many of the events twice, such as 5%.
    #[arg(long, env = "REPLAY_REPEAT", value_name = "PERCENT", value_parser = units::share)]
    pub repeat: Option<Share>,
    /// Decides the disorder.
    #[arg(long, env = "REPLAY_SEED", default_value_t = 1)]
    pub seed: u64,
    /// Where to publish.
    #[command(flatten)]
    pub kafka: KafkaConfig,
}

/// Publish `PriceEvent` JSON Lines from standard input.
#[derive(Clone, Debug, Args)]
pub struct PriceEventsConfig {
    /// Where to publish.
    #[command(flatten)]
    pub kafka: KafkaConfig,
}

/// Publish synthetic trades and price samples: load for measurements and tests.
#[derive(Clone, Debug, Args)]
pub struct LoadConfig {
    /// Trades and price samples in all.
    #[arg(long, env = "LOAD_EVENTS", default_value_t = 1_000_000, value_parser = clap::value_parser!(u64).range(1..))]
    pub events: u64,
    /// Pairs that they are spread over.
    #[arg(long, env = "LOAD_KEYS", default_value_t = 5_000, value_parser = clap::value_parser!(u32).range(1..=1_000_000))]
    pub keys: u32,
    /// The ids of trades. Candles count an id once and a trade without an id each time it is processed.
    #[arg(long, env = "LOAD_IDS", value_enum, default_value_t = Ids::Dense)]
    pub ids: Ids,
    /// Out of a hundred events, how many are price samples; the others are trades.
    #[arg(long, env = "LOAD_SAMPLES_PERCENT", default_value_t = 0, value_parser = clap::value_parser!(u32).range(..=100))]
    pub samples_percent: u32,
    /// Events a second of real time; 0 is as fast as possible.
    #[arg(long, env = "LOAD_RATE", default_value_t = 0)]
    pub rate: u32,
    /// Decides the events.
    #[arg(long, env = "LOAD_SEED", default_value_t = 1)]
    pub seed: u64,
    /// Events in a second of event time.
    #[arg(long, env = "LOAD_EVENT_RATE", default_value_t = 75_000, value_parser = clap::value_parser!(u32).range(1..))]
    pub event_rate: u32,
    /// Which pair trades next.
    #[arg(long, env = "LOAD_PICK", value_enum, default_value_t = Pick::Uniform)]
    pub pick: Pick,
    /// Out of a hundred events, how many bear an earlier time than those before them.
    #[arg(long, env = "LOAD_DISORDER_PERCENT", default_value_t = 0, value_parser = clap::value_parser!(u32).range(..=100))]
    pub disorder_percent: u32,
    /// How much earlier at most, in milliseconds: within the grace of a minute, none is late.
    #[arg(long, env = "LOAD_DISORDER_MS", default_value_t = 4_000, value_parser = clap::value_parser!(u32).range(1..))]
    pub disorder_ms: u32,
    /// Event time of the first trade, in milliseconds since the epoch. Without it the latest at which
    /// no event is ahead of the clock: the processor refuses those.
    #[arg(long, env = "LOAD_START_MS", value_name = "MS")]
    pub start_ms: Option<i64>,
    /// Where to publish.
    #[command(flatten)]
    pub kafka: KafkaConfig,
}

impl Config {
    /// The rules that hold between values. Called once, before anything connects.
    pub fn validate(&self) -> anyhow::Result<()> {
        match &self.command {
            Command::Run(run) => run.validate(),
            Command::Plan(follow) => follow.validate(),
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
        self.backoff()?;
        self.kafka.validate()
    }

    /// The feed of one connection of a plan.
    pub fn feed(&self, connection: ConnectionPlan) -> anyhow::Result<FeedConfig> {
        Ok(FeedConfig {
            url: self.follow.url(),
            venue: self.follow.venue,
            connection,
            max_streams: self.follow.budget().streams,
            timeouts: Timeouts { stale_after: self.stale_after, quiet_after: self.quiet_after },
            backoff: self.backoff()?,
            rotation: RotationConfig {
                after: self.rotate_after.or(self.follow.venue.adapter().liveness.lifetime),
                overlap: self.rotate_overlap,
            },
            breaker: CircuitBreaker { after: self.breaker_after, pause: self.breaker_pause },
        })
    }

    /// Where missed trades are fetched, if anywhere.
    pub fn backfill_url(&self) -> Option<String> {
        self.backfill.then(|| self.follow.history_url())
    }

    /// The capture that is asked for, and its thread.
    pub fn capture(&self) -> anyhow::Result<Option<(Capture, JoinHandle<io::Result<()>>)>> {
        let Some(dir) = &self.capture else {
            return Ok(None);
        };
        let started = Capture::start(dir, self.follow.venue, self.capture_max);
        started
            .map(Some)
            .with_context(|| format!("cannot write to {}: choose another --capture", dir.display()))
    }

    /// The waits between connections.
    pub fn backoff(&self) -> anyhow::Result<Backoff> {
        Backoff::new(self.backoff_first, self.backoff_cap)
            .map_err(|error| anyhow::anyhow!("--backoff-first and --backoff-cap: {error}"))
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

    /// The disorder that is asked for, if any.
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
        ensure!(!self.bootstrap_servers.trim().is_empty(), "--bootstrap-servers must not be empty");
        ensure!(
            self.schema_registry_url.starts_with("http://")
                || self.schema_registry_url.starts_with("https://"),
            "--schema-registry-url must begin with http:// or https://"
        );
        let legal = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '_' | '-');
        ensure!(
            self.topic_prefix.chars().all(legal) && self.topic_prefix.len() <= 100,
            "--topic-prefix may have 100 letters, digits, '.', '_' and '-'"
        );
        ensure!(!self.connect_timeout.is_zero(), "--connect-timeout must be longer than nothing");
        ensure!(
            self.spool_max >= spool::MIN_BYTES,
            "--spool-max must be {} KiB at least",
            spool::MIN_BYTES >> 10
        );
        for setting in &self.kafka {
            ensure!(
                !setting.key.is_empty(),
                "--kafka: a setting is KEY=VALUE, and one has no key; a value cannot hold ';'"
            );
            ensure!(
                !FIXED.contains(&setting.key.as_str()),
                "--kafka {} cannot be changed: nothing would hold what the producer promises",
                setting.key
            );
        }
        Ok(())
    }

    /// How the schema registry is spoken to.
    pub fn registry_access(&self) -> Access {
        Access { ca: self.schema_registry_ca.clone(), login: self.schema_registry_user.clone() }
    }

    /// The sink's part.
    pub fn sink(&self) -> SinkConfig {
        SinkConfig {
            bootstrap_servers: self.bootstrap_servers.clone(),
            topic_prefix: self.topic_prefix.clone(),
            queue_max_messages: self.queue_max_messages,
            queue_max_kbytes: self.queue_max_kbytes,
            connect_timeout: self.connect_timeout,
            flush_timeout: self.flush_timeout,
            spool: self.spool_dir.clone().map(|dir| SpoolConfig { dir, max_bytes: self.spool_max }),
            overrides: Setting::pairs(&self.kafka),
        }
    }
}

#[cfg(test)]
#[path = "config_tests.rs"]
mod tests;
