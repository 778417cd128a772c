//! A venue on a real socket: its protocol, a seeded market, faults on demand.
//!
//! Any client can be pointed at it. The market goes on whether somebody listens or not, and all
//! connections see the same one, so trade ids are dense across reconnects and what a client
//! missed is really missing. Requests are answered on the same port: what is listed, and the
//! trades of the past, those that faults kept from the feed included.
//!
//! ```text
//! Market ─ one task, every 10 ms ─→ broadcast ─→ connection: session, faults ─→ socket
//!   └────────────────────── requests, http: listing, history ───────────────→ socket
//! ```

pub mod binance;
pub mod book;
pub mod coinbase;
pub mod config;
mod connection;
pub mod deribit;
pub mod faults;
pub mod http;
pub mod kraken;
pub mod listings;
pub mod market;
mod requests;
pub mod session;

use std::collections::HashMap;
use std::net::{IpAddr, SocketAddr};
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use anyhow::Context;
use serde_json::Value;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::broadcast;
use tokio::time::{MissedTickBehavior, interval, sleep, timeout};

use self::deribit::Credits;
use self::faults::Faults;
use self::http::{Answer, Head};
use self::market::{Market, Product, Trade};
use self::requests::Requests;
use crate::budget::{Budget, Gate};
use crate::clock::{self, Stopwatch};
use crate::exchange::{Change, Venue};

/// A handshake that takes longer is given up.
const HANDSHAKE_WITHIN: Duration = Duration::from_secs(5);
/// How often trades are made, in milliseconds.
const STEP_MS: u64 = 10;
/// Trades that a slow client may be behind before it is cut, as a venue would do it.
const MAX_BEHIND: usize = 65_536;
/// Changes of instruments that a client may be behind.
const MAX_NEWS: usize = 1024;

/// What to simulate.
#[derive(Clone, Debug)]
pub struct SimulatorConfig {
    /// Whose protocol.
    pub venue: Venue,
    /// Decides the market.
    pub seed: u64,
    /// The products; everything that the venue lists when empty.
    pub products: Vec<String>,
    /// Trades a second over all products.
    pub rate: u32,
    /// Send every subscribed ticker this often, where the venue sends them at an interval; with
    /// each trade without it.
    pub tickers_every: Option<Duration>,
    /// What goes wrong.
    pub faults: Faults,
}

impl SimulatorConfig {
    /// A venue with nothing wrong.
    pub fn of(venue: Venue) -> Self {
        Self {
            venue,
            seed: 1,
            products: Vec::new(),
            rate: 50,
            tickers_every: None,
            faults: Faults::default(),
        }
    }
}

/// A simulator that listens.
pub struct Simulator {
    listener: TcpListener,
    shared: Arc<Shared>,
    rate: u32,
}

/// What all connections have in common.
struct Shared {
    venue: Venue,
    /// Guards the one market: held to make the trades of a step and hand them to the broadcast,
    /// and to answer a request, so that an answer and the trades after it fit together. Never
    /// held across an await.
    market: Mutex<Market>,
    /// Names and tick sizes, which do not change.
    products: Vec<Product>,
    trades: broadcast::Sender<Arc<Trade>>,
    news: broadcast::Sender<Change>,
    tickers_every: Option<Duration>,
    faults: Faults,
    refused: AtomicU32,
    limited: AtomicU32,
    /// The market stands still.
    halted: AtomicBool,
    /// Guards a few numbers of the requests that were no handshakes; never held across an await.
    requests: Mutex<Requests>,
    credits: Arc<Mutex<Credits>>,
    /// Guards the attempts of the last minutes, by address; never held across an await.
    attempts: Mutex<HashMap<IpAddr, Gate>>,
    /// Guards the number of connections, by address; never held across an await.
    open: Mutex<HashMap<IpAddr, usize>>,
    watch: Stopwatch,
}

impl Shared {
    /// The venue's clock.
    fn now_us(&self) -> i64 {
        now_us(&self.faults)
    }

    fn market(&self) -> MutexGuard<'_, Market> {
        self.market.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn requests(&self) -> MutexGuard<'_, Requests> {
        self.requests.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// What a client hears that is turned away at the door.
    fn turned_away(&self, address: IpAddr, head: &Head, now_us: i64) -> Option<Answer> {
        let open = self.open.lock().unwrap_or_else(PoisonError::into_inner);
        let full = open.get(&address).is_some_and(|open| *open > deribit::CONNECTIONS);
        drop(open);
        if head.upgrade {
            let wait = self.handshake_refused(address);
            let full = (self.venue == Venue::Deribit && full).then_some(1);
            return wait.or(full).map(|seconds| Answer::limited(Value::Null).after(seconds));
        }
        if self.venue == Venue::Deribit && full {
            return Some(deribit::limited());
        }
        self.requests().refusal(&self.faults, now_us)
    }

    /// The seconds for which a client is to wait with its handshake.
    fn handshake_refused(&self, address: IpAddr) -> Option<u64> {
        if takes(&self.limited, self.faults.limit_first) {
            return Some(self.faults.retry_after.as_secs());
        }
        if !matches!(self.venue, Venue::Binance | Venue::Kraken) {
            return None;
        }
        let mut attempts = self.attempts.lock().unwrap_or_else(PoisonError::into_inner);
        let gate = attempts.entry(address).or_insert_with(|| Gate::new(Budget::of(self.venue)));
        let refused = gate.attempt(self.watch.elapsed()).err();
        refused.map(|wait| wait.as_secs().max(1))
    }
}

/// Now, by the clock of a venue with these faults, in microseconds since the epoch.
fn now_us(faults: &Faults) -> i64 {
    let ahead = i64::try_from(faults.clock_ahead.as_micros()).unwrap_or_default();
    clock::now_micros() + ahead
}

/// One more of the first so many.
fn takes(count: &AtomicU32, most: u32) -> bool {
    most > 0 && count.fetch_add(1, Ordering::Relaxed) < most
}

/// A connection of an address, for as long as it lives.
struct Open {
    shared: Arc<Shared>,
    address: IpAddr,
}

impl Open {
    fn new(shared: &Arc<Shared>, address: IpAddr) -> Self {
        let mut open = shared.open.lock().unwrap_or_else(PoisonError::into_inner);
        *open.entry(address).or_default() += 1;
        drop(open);
        Self { shared: Arc::clone(shared), address }
    }
}

impl Drop for Open {
    fn drop(&mut self) {
        let mut open = self.shared.open.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(count) = open.get_mut(&self.address) {
            *count -= 1;
        }
    }
}

/// Tells a running simulator what happens.
#[derive(Clone)]
pub struct Handle(Arc<Shared>);

impl Handle {
    /// An instrument comes or goes.
    pub fn announce(&self, change: Change) {
        // An error only says that nobody listens.
        let _ = self.0.news.send(change);
    }

    /// The market stands still from now on.
    pub fn halt(&self) {
        self.0.halted.store(true, Ordering::Relaxed);
    }

    /// How many requests were one too many, and how many came before the time that the refusal of
    /// another had named.
    pub fn refused(&self) -> (u64, u64) {
        self.0.requests().refused()
    }

    /// A trade as the market made it: id, price and size as text.
    pub fn made(&self, product: &str) -> Vec<(u64, String, String)> {
        let market = self.0.market();
        let Some(index) = market.find(product) else { return Vec::new() };
        let product = &market.products()[index];
        let text = |trade: &Trade| (trade.id, product.price(trade.price), product.size(trade.size));
        market.history(index).map(text).collect()
    }
}

impl Simulator {
    /// Listens at `address`.
    pub async fn bind(address: &str, config: &SimulatorConfig) -> anyhow::Result<Self> {
        let names = if config.products.is_empty() {
            listings::names(config.venue)
        } else {
            config.products.clone()
        };
        for name in &names {
            config.venue.pair(name).with_context(|| format!("--products {name}"))?;
        }
        let listener = TcpListener::bind(address).await.with_context(|| {
            format!("cannot listen at {address}: choose another --listen or free the port")
        })?;
        let now = now_us(&config.faults);
        let market = Market::new(config.seed, &names, now)?.forgetting(config.faults.forget_every);
        let shared = Shared {
            venue: config.venue,
            products: market.products().to_vec(),
            market: Mutex::new(market),
            trades: broadcast::Sender::new(MAX_BEHIND),
            news: broadcast::Sender::new(MAX_NEWS),
            tickers_every: config.tickers_every,
            faults: config.faults,
            refused: AtomicU32::new(0),
            limited: AtomicU32::new(0),
            halted: AtomicBool::new(false),
            requests: Mutex::new(Requests::new(config.venue, now)),
            credits: Arc::new(Mutex::new(Credits::new(now))),
            attempts: Mutex::default(),
            open: Mutex::default(),
            watch: Stopwatch::start(),
        };
        Ok(Self { listener, shared: Arc::new(shared), rate: config.rate })
    }

    /// Where its feed is.
    pub fn url(&self) -> anyhow::Result<String> {
        Ok(format!("ws://{}", self.listener.local_addr()?))
    }

    /// How many products there are.
    pub fn products(&self) -> usize {
        self.shared.products.len()
    }

    /// Tells it what happens while it runs.
    pub fn handle(&self) -> Handle {
        Handle(Arc::clone(&self.shared))
    }

    /// Serves until it is dropped.
    pub async fn run(self) {
        let mut connections = tokio::task::JoinSet::new();
        connections.spawn(trade(Arc::clone(&self.shared), self.rate));
        loop {
            match self.listener.accept().await {
                Ok((socket, peer)) => {
                    let shared = Arc::clone(&self.shared);
                    connections.spawn(serve(socket, peer, shared));
                }
                Err(error) => {
                    tracing::warn!(%error, "cannot accept a client");
                    // Out of sockets, most likely: some have to be closed first.
                    sleep(Duration::from_millis(STEP_MS)).await;
                }
            }
            while connections.try_join_next().is_some() {}
        }
    }
}

/// Makes trades at the rate, for ever. Steps that were missed are made up for.
async fn trade(shared: Arc<Shared>, rate: u32) {
    let mut steps = interval(Duration::from_millis(STEP_MS));
    steps.set_missed_tick_behavior(MissedTickBehavior::Burst);
    // In thousandths of a trade.
    let (mut due, per_step) = (0u64, u64::from(rate) * STEP_MS);
    loop {
        steps.tick().await;
        if shared.halted.load(Ordering::Relaxed) {
            continue;
        }
        due += per_step;
        let now = shared.now_us();
        let mut market = shared.market();
        while due >= 1000 {
            due -= 1000;
            // An error only says that nobody listens.
            let _ = shared.trades.send(Arc::new(market.trade(now)));
        }
    }
}

/// One client: a request that is answered, or a feed from handshake to end.
async fn serve(socket: TcpStream, peer: SocketAddr, shared: Arc<Shared>) {
    let _ = socket.set_nodelay(true);
    let _open = Open::new(&shared, peer.ip());
    let Ok(Some(head)) = timeout(HANDSHAKE_WITHIN, Head::peek(&socket)).await else { return };
    let now = shared.now_us();
    if let Some(refusal) = shared.turned_away(peer.ip(), &head, now) {
        tracing::info!(%peer, seconds = refusal.retry_after(), "client turned away");
        let _ = timeout(HANDSHAKE_WITHIN, http::reply(socket, &refusal, now)).await;
        return;
    }
    if !head.upgrade {
        let answer =
            session::answer(shared.venue, &head.path, &head.query(), &shared.market(), now);
        let _ = timeout(HANDSHAKE_WITHIN, http::reply(socket, &answer, now)).await;
        return;
    }
    tracing::info!(%peer, "client connected");
    let why = connection::serve(socket, shared).await;
    tracing::info!(%peer, why, "client gone");
}
