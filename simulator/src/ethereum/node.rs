//! The node: it listens, lets the chain grow, and serves each client.

use std::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use anyhow::Context as _;
use serde_json::Value;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::broadcast;
use tokio::time::{MissedTickBehavior, interval, sleep, timeout};

use super::chain::{Chain, Step};
use super::connection;
use super::settings::ChainSettings;
use crate::book::truth_file::TruthFile;
use crate::clock;
use crate::faults::{Faults, hits};
use crate::http::{self, Head, Response};
use crate::shared::HANDSHAKE_WITHIN;

/// Steps that a slow client may be behind before the node closes its connection.
const MAX_BEHIND: usize = 16_384;
/// The pause after a client could not be accepted: out of sockets, most likely.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);
/// Microseconds in a second.
const SECOND_US: u64 = 1_000_000;

/// The chain, its load and its faults.
#[derive(Clone, Debug)]
pub struct EthereumConfig {
    /// The seed of the chain: equal seeds make equal blocks.
    pub seed: u64,
    /// Swaps a second over all pools; a transaction of eight has two.
    pub rate: u32,
    /// The faults of connections, logs and requests.
    pub faults: Faults,
    /// The chain and its faults.
    pub chain: ChainSettings,
    /// The file of the truth.
    pub truth: Option<std::path::PathBuf>,
}

impl EthereumConfig {
    /// A chain without faults.
    pub fn new(seed: u64) -> Self {
        let chain = ChainSettings::default();
        Self { seed, rate: 50, faults: Faults::default(), chain, truth: None }
    }
}

/// The state that all connections share.
pub(super) struct Shared {
    /// Guards the one chain: held to let it grow and hand the steps to the broadcast, and to answer a
    /// request, so that an answer and the steps after it fit together. Never held across an await.
    chain: Mutex<Chain>,
    pub(super) steps: broadcast::Sender<Arc<Step>>,
    pub(super) faults: Faults,
    halted: AtomicBool,
    requests: AtomicU64,
    refused: AtomicU32,
    subscriptions: AtomicU64,
}

impl Shared {
    pub(super) fn chain(&self) -> MutexGuard<'_, Chain> {
        self.chain.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The next request is refused as one too many.
    pub(super) fn is_limited(&self) -> bool {
        let count = self.requests.fetch_add(1, Ordering::Relaxed) + 1;
        hits(self.faults.limit_requests_every, count)
    }

    /// The faults refuse this subscription.
    pub(super) fn refuses_subscription(&self) -> bool {
        let most = self.faults.refuse_first;
        most > 0 && self.refused.fetch_add(1, Ordering::Relaxed) < most
    }

    /// The id of the next subscription.
    pub(super) fn subscription(&self) -> String {
        let number = self.subscriptions.fetch_add(1, Ordering::Relaxed);
        super::word::hash(0, 9, number)[..34].to_owned()
    }

    /// No more swaps, and no reorganisation but those that are asked for.
    pub(super) fn halt(&self) {
        self.halted.store(true, Ordering::Relaxed);
        self.chain().settle();
    }

    /// A reorganisation, now.
    pub(super) fn reorganise(&self, depth: u32) {
        let mut chain = self.chain();
        let time_s = chain.head().time_s;
        for step in chain.reorganise(depth, time_s) {
            // An error means that no client is connected.
            let _ = self.steps.send(Arc::new(step));
        }
    }
}

/// A node that listens.
pub struct Node {
    listener: TcpListener,
    shared: Arc<Shared>,
    rate: u32,
    truth: Option<TruthFile>,
}

/// Controls a running node.
#[derive(Clone)]
pub struct NodeHandle(Arc<Shared>);

impl NodeHandle {
    /// No more swaps, and no reorganisation but those that are asked for; empty blocks go on.
    pub fn halt(&self) {
        self.0.halt();
    }

    /// A reorganisation of this depth, now.
    pub fn reorganise(&self, depth: u32) {
        self.0.reorganise(depth);
    }

    /// The lines of the pools, as a listing has them.
    pub fn pools(&self) -> Vec<Value> {
        let chain = self.0.chain();
        let id = chain.settings().chain_id;
        chain.pools().iter().map(|pool| pool.listing(id)).collect()
    }
}

impl Node {
    /// Listens at `address`.
    pub async fn bind(address: &str, config: &EthereumConfig) -> anyhow::Result<Self> {
        let listener = TcpListener::bind(address).await.with_context(|| {
            format!("cannot listen at {address}: choose another --listen or free the port")
        })?;
        let mut chain = Chain::new(config.seed, &config.chain, first_time_s(config));
        let truth = config.truth.as_deref().map(TruthFile::create).transpose()?;
        if truth.is_some() {
            chain.keep_lines();
        }
        let shared = Shared {
            chain: Mutex::new(chain),
            steps: broadcast::Sender::new(MAX_BEHIND),
            faults: config.faults,
            halted: AtomicBool::new(false),
            requests: AtomicU64::new(0),
            refused: AtomicU32::new(0),
            subscriptions: AtomicU64::new(0),
        };
        Ok(Self { listener, shared: Arc::new(shared), rate: config.rate, truth })
    }

    /// The address of the node.
    pub fn url(&self) -> anyhow::Result<String> {
        Ok(format!("ws://{}", self.listener.local_addr()?))
    }

    /// The handle that controls the node while it runs.
    pub fn handle(&self) -> NodeHandle {
        NodeHandle(Arc::clone(&self.shared))
    }

    /// Serves until it is dropped.
    pub async fn run(self) {
        let mut connections = tokio::task::JoinSet::new();
        connections.spawn(grow(Arc::clone(&self.shared), self.rate, self.truth));
        loop {
            match self.listener.accept().await {
                Ok((socket, _)) => {
                    let shared = Arc::clone(&self.shared);
                    connections.spawn(serve(socket, shared));
                }
                Err(error) => {
                    tracing::warn!(%error, "cannot accept a client");
                    sleep(ACCEPT_PAUSE).await;
                }
            }
            while connections.try_join_next().is_some() {}
        }
    }
}

fn first_time_s(config: &EthereumConfig) -> u64 {
    now_s(&config.faults).saturating_sub(config.chain.chain_age.as_secs())
}

/// Now by the node's clock, in seconds since the epoch.
fn now_s(faults: &Faults) -> u64 {
    let now = u64::try_from(clock::now_micros()).unwrap_or_default() / SECOND_US;
    now + faults.clock_ahead.as_secs()
}

/// Makes blocks, for ever. Blocks that were missed are made up for.
async fn grow(shared: Arc<Shared>, rate: u32, mut truth: Option<TruthFile>) {
    let settings = shared.chain().settings().clone();
    let mut ticks = interval(settings.block_every);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Burst);
    // In millionths of a swap; a transaction has nine eighths of one.
    let per_block = u64::from(rate) * u64::try_from(settings.block_every.as_micros()).unwrap_or(1);
    let step_s = settings.block_time.map(|step| step.as_secs_f64());
    let first_s = shared.chain().head().time_s;
    let (mut due, mut count, mut withheld) = (0u64, 0u64, 0u64);
    loop {
        ticks.tick().await;
        if !shared.halted.load(Ordering::Relaxed) {
            due += per_block;
        }
        let swaps = due / SECOND_US;
        due %= SECOND_US;
        count += 1;
        withheld += 1;
        let into = settings.behind_every.map_or(0, |every| count % (every + settings.behind_for));
        let is_behind = settings.behind_every.is_some_and(|every| into >= every);
        let lines = {
            let mut chain = shared.chain();
            let transactions = swaps * 8 / 9 + u64::from(!swaps.is_multiple_of(9));
            let mut steps = chain.trade(transactions);
            if !is_behind {
                for place in (0..withheld).rev() {
                    let number = count - place;
                    let now = now_s(&shared.faults);
                    #[expect(
                        clippy::cast_precision_loss,
                        clippy::cast_possible_truncation,
                        clippy::cast_sign_loss,
                        reason = "seconds of a chain"
                    )]
                    let time = |step: f64| first_s + (number as f64 * step) as u64;
                    let time_s = step_s.map_or(now, |step| time(step).min(now));
                    steps.extend(chain.advance(time_s, place == 0));
                }
                withheld = 0;
            }
            for step in steps {
                // An error means that no client is connected.
                let _ = shared.steps.send(Arc::new(step));
            }
            chain.take_lines()
        };
        if let Some(file) = &mut truth
            && let Err(error) = file.append(&lines)
        {
            tracing::error!(%error, "cannot write the truth; it is incomplete from here on");
            truth = None;
        }
    }
}

/// One client: a request for the pools, or a connection from handshake to end.
async fn serve(socket: TcpStream, shared: Arc<Shared>) {
    let _ = socket.set_nodelay(true);
    let Ok(Some(head)) = timeout(HANDSHAKE_WITHIN, Head::peek(&socket)).await else { return };
    if !head.upgrade {
        let answer = match head.path.as_str() {
            "/pools" => Response::ok(NodeHandle(shared).pools().into()),
            path => Response::not_found(format!("{path}: GET /pools lists the pools").into()),
        };
        let _ = timeout(HANDSHAKE_WITHIN, http::reply(socket, &answer, clock::now_micros())).await;
        return;
    }
    tracing::info!("client connected");
    let why = connection::serve(socket, shared).await;
    tracing::info!(why, "client gone");
}
