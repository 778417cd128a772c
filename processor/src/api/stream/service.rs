//! The state that the streaming routes share, and its settings.

use std::sync::Arc;
use std::sync::atomic::AtomicU64;

use clap::Args;
use tokio::sync::Semaphore;

use super::client_queue::HubHandle;
use super::metrics::StreamMetrics;
use super::origin::{Origins, origin};
use crate::api::ReadService;

/// Settings of streaming.
#[derive(Args, Clone, Debug)]
pub struct StreamOptions {
    /// Updates of one key per second that a streaming client gets at most; the newest value wins.
    #[arg(long, env = "STREAM_UPDATES_PER_SECOND", default_value_t = 4,
        value_parser = clap::value_parser!(u32).range(1..=20))]
    pub stream_updates_per_second: u32,
    /// Streaming clients; one more is refused with 503.
    #[arg(long, env = "STREAM_MAX_CLIENTS", default_value_t = 10_000,
        value_parser = clap::value_parser!(u32).range(1..=100_000))]
    pub stream_max_clients: u32,
    /// Web origins that may stream besides this server's own, as scheme and host, separated by
    /// commas; * allows all.
    #[arg(long, env = "ALLOWED_ORIGINS", value_delimiter = ',', value_parser = origin)]
    pub allowed_origins: Vec<String>,
}

/// The state that the streaming routes share. Clones share it.
#[derive(Clone)]
pub(crate) struct StreamService {
    pub(super) reads: ReadService,
    pub(super) hub: HubHandle,
    /// A permit for each client.
    pub(super) client_permits: Arc<Semaphore>,
    /// The next client's number.
    pub(super) next: Arc<AtomicU64>,
    pub(super) origins: Arc<Origins>,
    pub(super) metrics: StreamMetrics,
}

impl StreamService {
    /// Joins the reads with a hub that has been started.
    pub(super) fn new(
        reads: &ReadService,
        hub: HubHandle,
        metrics: StreamMetrics,
        options: &StreamOptions,
    ) -> Self {
        let clients = usize::try_from(options.stream_max_clients).unwrap_or(usize::MAX);
        Self {
            reads: reads.clone(),
            hub,
            client_permits: Arc::new(Semaphore::new(clients.min(Semaphore::MAX_PERMITS))),
            next: Arc::default(),
            origins: Arc::new(Origins::new(options.allowed_origins.clone())),
            metrics,
        }
    }
}
