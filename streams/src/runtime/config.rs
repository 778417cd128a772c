//! The settings of an application and of a view, with Kafka's names.

use std::path::PathBuf;
use std::time::Duration;

use crate::error::{Error, Result};
use crate::store::Engine;

/// A restoring task's waiting records, in bytes, beyond which its partition is paused.
const BUFFER_MAX_BYTES: usize = 4 << 20;

/// Kafka Streams' default of `repartition.purge.interval.ms`.
const PURGE_INTERVAL: Duration = Duration::from_secs(30);

/// How a commit ties outputs to consumed offsets.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Guarantee {
    /// Outputs, changelogs and offsets in one Kafka transaction.
    ExactlyOnceV2,
    /// Outputs first, then offsets: a crash in between repeats outputs.
    AtLeastOnce,
}

/// How group members agree on who owns what.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum GroupProtocol {
    /// Cooperative-sticky assignment by the members.
    Classic,
    /// KIP-848: assignment by the broker.
    Consumer,
}

/// Where a partition goes on whose group has no offset although its stores hold state.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ResetOffsets {
    /// Behind the last record that the stores hold.
    Position,
    /// At the first record of the source: what the stores hold is processed again.
    Earliest,
    /// Behind the last record of the source: what was not processed never will be.
    Latest,
}

/// The settings of one application.
#[derive(Clone, Debug)]
pub struct AppConfig {
    /// The consumer group, and the prefix of transactional ids.
    pub application_id: String,
    /// `host:port`, separated by commas.
    pub bootstrap_servers: String,
    /// Where stores live; one process at a time.
    pub state_dir: PathBuf,
    /// Worker threads, each a member of the group.
    pub threads: usize,
    /// Exactly once or at least once.
    pub processing_guarantee: Guarantee,
    /// Classic or KIP-848.
    pub group_protocol: GroupProtocol,
    /// Static membership (KIP-345): a name that is unique in the group and the same over restarts. Each
    /// thread is the instance `{id}-{thread}`.
    pub group_instance_id: Option<String>,
    /// Time between commits.
    pub commit_interval: Duration,
    /// Bytes of decoded state in the caches of one task; reaching it commits early.
    pub cache_max_bytes: usize,
    /// Committed bytes of one store that wait for the disk; reaching it writes early.
    pub overlay_max_bytes: usize,
    /// Time between writes of a store.
    pub flush_interval: Duration,
    /// Memory that the database may keep of what was read and written.
    pub store_cache_bytes: usize,
    /// The storage engine; `None` is that of the state directory, and the default in a new one.
    pub store_engine: Option<Engine>,
    /// State that a thread gathers in memory while it restores, before it waits for the disk.
    pub restore_max_bytes: usize,
    /// The broker aborts a transaction that is open for longer.
    pub transaction_timeout: Duration,
    /// Silence after which the group gives a classic member's partitions away.
    pub session_timeout: Duration,
    /// Keep the partitions of other members warm, so that taking them over replays moments only.
    pub standby: bool,
    /// Where to go on when the group's offsets are lost; `None` refuses. With offsets, and with empty
    /// stores, it changes nothing.
    pub reset_offsets: Option<ResetOffsets>,
    /// Sources that the group has read and shall not read any more. Without its name here, the absence of
    /// such a source is an error at the start.
    pub removed_sources: Vec<String>,
    /// Where records go that cannot be processed.
    pub dead_letters_topic: String,
    /// Raw client settings, applied last.
    pub kafka: Vec<(String, String)>,
}

impl AppConfig {
    /// Exactly once, one thread, the classic protocol, and a commit every 100 ms.
    pub fn new(
        application_id: impl Into<String>,
        bootstrap_servers: impl Into<String>,
        state_dir: impl Into<PathBuf>,
        dead_letters_topic: impl Into<String>,
    ) -> Self {
        Self {
            application_id: application_id.into(),
            bootstrap_servers: bootstrap_servers.into(),
            state_dir: state_dir.into(),
            threads: 1,
            processing_guarantee: Guarantee::ExactlyOnceV2,
            group_protocol: GroupProtocol::Classic,
            group_instance_id: None,
            commit_interval: Duration::from_millis(100),
            cache_max_bytes: 16 << 20,
            overlay_max_bytes: 16 << 20,
            flush_interval: Duration::from_secs(5),
            store_cache_bytes: 16 << 20,
            store_engine: None,
            restore_max_bytes: 64 << 20,
            transaction_timeout: Duration::from_secs(10),
            session_timeout: Duration::from_secs(15),
            standby: false,
            reset_offsets: None,
            removed_sources: Vec::new(),
            dead_letters_topic: dead_letters_topic.into(),
            kafka: Vec::new(),
        }
    }

    /// The rules that hold before anything connects; the message is the rule.
    pub fn validate(&self) -> Result<()> {
        self.stores().validate()?;
        ensure((1..=64).contains(&self.threads), "threads must be 1 to 64")?;
        ensure(
            self.commit_interval >= Duration::from_millis(10),
            "commit_interval must be at least 10ms: below about 50ms the broker answers with \
             CONCURRENT_TRANSACTIONS",
        )?;
        ensure(self.cache_max_bytes >= 1 << 20, "cache_max_bytes must be at least 1MiB")?;
        ensure(
            self.flush_interval >= self.commit_interval,
            "flush_interval must be at least commit_interval",
        )?;
        ensure(
            self.transaction_timeout > self.commit_interval,
            "transaction_timeout must exceed commit_interval",
        )?;
        ensure(
            self.session_timeout > self.transaction_timeout,
            "session_timeout must exceed transaction_timeout: a member that is given up must have \
             no transaction left",
        )
    }

    /// The settings of a worker.
    pub(super) fn settings(&self) -> WorkerSettings {
        WorkerSettings {
            guarantee: self.processing_guarantee,
            commit_interval: self.commit_interval,
            cache_max_bytes: self.cache_max_bytes,
            buffer_max_bytes: BUFFER_MAX_BYTES,
            purge_interval: PURGE_INTERVAL,
            disk: self.stores().disk_settings(),
        }
    }

    /// The settings that an application shares with a view.
    pub(super) fn stores(&self) -> StoreConfig {
        StoreConfig {
            application_id: self.application_id.clone(),
            bootstrap_servers: self.bootstrap_servers.clone(),
            state_dir: self.state_dir.clone(),
            overlay_max_bytes: self.overlay_max_bytes,
            flush_interval: self.flush_interval,
            store_cache_bytes: self.store_cache_bytes,
            store_engine: self.store_engine,
            restore_max_bytes: self.restore_max_bytes,
            kafka: self.kafka.clone(),
        }
    }
}

/// The settings of a [`View`](super::View): it keeps stores, and writes to no topic.
#[derive(Clone, Debug)]
pub struct StoreConfig {
    /// Names the view's folder in the state directory. No group of that name is joined.
    pub application_id: String,
    /// `host:port`, separated by commas.
    pub bootstrap_servers: String,
    /// Where stores live; one process at a time.
    pub state_dir: PathBuf,
    /// Bytes of one store that wait for the disk; reaching it writes early, twice as much waits.
    pub overlay_max_bytes: usize,
    /// Time between writes of a store.
    pub flush_interval: Duration,
    /// Memory that the database may keep of what was read and written.
    pub store_cache_bytes: usize,
    /// The storage engine; `None` is that of the state directory, and the default in a new one.
    pub store_engine: Option<Engine>,
    /// State that a thread gathers in memory while it restores, before it waits for the disk.
    pub restore_max_bytes: usize,
    /// Raw client settings, applied last.
    pub kafka: Vec<(String, String)>,
}

impl StoreConfig {
    /// When stores are written.
    pub(super) const fn disk_settings(&self) -> DiskSettings {
        DiskSettings {
            overlay_max_bytes: self.overlay_max_bytes,
            flush_interval: self.flush_interval,
            restore_max_bytes: self.restore_max_bytes,
        }
    }

    /// The rules that hold before anything connects; the message is the rule.
    pub fn validate(&self) -> Result<()> {
        ensure(!self.application_id.is_empty(), "application_id must not be empty")?;
        ensure(!self.bootstrap_servers.is_empty(), "bootstrap_servers must not be empty")?;
        ensure(self.overlay_max_bytes >= 1 << 20, "overlay_max_bytes must be at least 1MiB")?;
        ensure(self.restore_max_bytes >= 1 << 20, "restore_max_bytes must be at least 1MiB")?;
        settings_are_named(&self.kafka)
    }
}

/// When a worker commits, and the memory that it may use.
#[derive(Clone, Copy, Debug)]
pub struct WorkerSettings {
    /// How a commit ties outputs to offsets.
    pub guarantee: Guarantee,
    /// Time between commits.
    pub commit_interval: Duration,
    /// Bytes of decoded state in the caches of one task; reaching it commits early.
    pub cache_max_bytes: usize,
    /// Bytes of records that wait for a restoring task, beyond which its partition is paused.
    pub buffer_max_bytes: usize,
    /// Time between two deletions of what is committed in repartition topics.
    pub purge_interval: Duration,
    /// When stores are written.
    pub disk: DiskSettings,
}

/// When stores are written to disk.
#[derive(Clone, Copy, Debug)]
pub struct DiskSettings {
    /// Bytes of one store that wait for the disk; reaching it writes early.
    pub overlay_max_bytes: usize,
    /// Time between writes of a store.
    pub flush_interval: Duration,
    /// Bytes of restored state in memory, before a restore waits for the disk.
    pub restore_max_bytes: usize,
}

/// The error does not quote the setting: it may be half of a password that held the separator.
pub(super) fn settings_are_named(kafka: &[(String, String)]) -> Result<()> {
    ensure(
        kafka.iter().all(|(key, _)| !key.is_empty()),
        "a Kafka setting is KEY=VALUE, and one has no key: correct --kafka; a value cannot hold the \
         separator of the list",
    )
}

fn ensure(holds: bool, rule: &str) -> Result<()> {
    if holds { Ok(()) } else { Err(Error::Invalid(rule.into())) }
}
