//! A simulated venue: it listens, lets the market trade, and serves each client.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use anyhow::Context;
use tokio::net::{TcpListener, TcpStream};
use tokio::time::{MissedTickBehavior, interval, sleep, timeout};

use crate::book::Level;
use crate::book::truth::{Fault, Quote};
use crate::book::truth_file::TruthFile;
use crate::config::SimulatorConfig;
use crate::connection;
use crate::http::{self, Head};
use crate::listings::ListingChange;
use crate::market::Trade;
use crate::shared::{Event, HANDSHAKE_WITHIN, Open, Shared};

/// How often trades are made, in milliseconds.
const STEP_MS: u64 = 10;

/// A simulator that listens.
pub struct Simulator {
    listener: TcpListener,
    shared: Arc<Shared>,
    rate: u32,
    truth: Option<TruthFile>,
}

/// Controls a running simulator.
#[derive(Clone)]
pub struct Handle(Arc<Shared>);

impl Handle {
    /// Announces a change of the listing.
    pub fn announce(&self, change: ListingChange) {
        // An error means that no client is connected.
        let _ = self.0.changes.send(change);
    }

    /// Stops the market: no more trades are made.
    pub fn halt(&self) {
        self.0.halted.store(true, Ordering::Relaxed);
    }

    /// The requests over the limit, and those that came before the time that a refusal had named.
    pub fn refused(&self) -> (u64, u64) {
        self.0.requests().refused()
    }

    /// The trades of a product as the market made them: id, price and size as text.
    pub fn made(&self, product: &str) -> Vec<(u64, String, String)> {
        let market = self.0.market();
        let Some(index) = market.find(product) else { return Vec::new() };
        let product = &market.products()[index];
        let text = |trade: &Trade| (trade.id, product.price(trade.price), product.size(trade.size));
        market.history(index).map(text).collect()
    }

    /// The best bids and asks of a product as the venue showed them, oldest first: one for each book
    /// update that changed them, also if a fault kept the update from the clients.
    pub fn quotes(&self, product: &str) -> Vec<ShownQuote> {
        let market = self.0.market();
        let Some(index) = market.find(product) else { return Vec::new() };
        let product = &market.products()[index];
        let level = |level: Level| (product.price(level.price), product.size(level.size));
        let shown = |Quote { time_us, id, best }: &Quote| ShownQuote {
            time_us: *time_us,
            id: *id,
            bid: level(best.bid),
            ask: level(best.ask),
        };
        market.books().truth().quotes(index).map(shown).collect()
    }

    /// The faults of a product's book, oldest first, with the venue's time in microseconds.
    pub fn book_faults(&self, product: &str) -> Vec<(i64, Fault)> {
        let market = self.0.market();
        let index = market.find(product);
        let of = market.books().truth().faults().filter(|made| Some(made.product) == index);
        of.map(|made| (made.time_us, made.fault)).collect()
    }
}

/// The best bid and ask of a product from a time on, as the venue writes them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ShownQuote {
    /// The venue's time, in microseconds since the epoch.
    pub time_us: i64,
    /// The id of the state.
    pub id: u64,
    /// Price and size.
    pub bid: (String, String),
    /// Price and size.
    pub ask: (String, String),
}

impl Simulator {
    /// Listens at `address`.
    pub async fn bind(address: &str, config: &SimulatorConfig) -> anyhow::Result<Self> {
        let listener = TcpListener::bind(address).await.with_context(|| {
            format!("cannot listen at {address}: choose another --listen or free the port")
        })?;
        let shared = Shared::new(config)?;
        let truth = config.books.truth.as_deref().map(TruthFile::create).transpose()?;
        Ok(Self { listener, shared: Arc::new(shared), rate: config.rate, truth })
    }

    /// The address of the feed.
    pub fn url(&self) -> anyhow::Result<String> {
        Ok(format!("ws://{}", self.listener.local_addr()?))
    }

    /// The number of products.
    pub fn products(&self) -> usize {
        self.shared.products.len()
    }

    /// The handle that controls the simulator while it runs.
    pub fn handle(&self) -> Handle {
        Handle(Arc::clone(&self.shared))
    }

    /// Serves until it is dropped.
    pub async fn run(self) {
        let mut connections = tokio::task::JoinSet::new();
        connections.spawn(trade(Arc::clone(&self.shared), self.rate, self.truth));
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

/// Makes trades at the rate and shows the books, for ever. Steps that were missed are made up for.
async fn trade(shared: Arc<Shared>, rate: u32, mut truth: Option<TruthFile>) {
    let mut steps = interval(Duration::from_millis(STEP_MS));
    steps.set_missed_tick_behavior(MissedTickBehavior::Burst);
    // In thousandths of a trade.
    let (mut due, per_step) = (0u64, u64::from(rate) * STEP_MS);
    // An error means that no client is connected.
    let send = |event| drop(shared.events.send(Arc::new(event)));
    loop {
        steps.tick().await;
        let lines = {
            let mut market = shared.market();
            // Read while no answer can be made: an update is later than all snapshots before it.
            let now = shared.now_us();
            if !shared.halted.load(Ordering::Relaxed) {
                due += per_step;
            }
            while due >= 1000 {
                due -= 1000;
                let (update, trade) = market.step(now);
                if let Some(update) = update {
                    send(Event::Book(update));
                }
                send(Event::Trade(trade));
            }
            for update in market.books_mut().due(now) {
                send(Event::Book(update));
            }
            market.books_mut().truth_mut().take_lines(&shared.products)
        };
        if let Some(file) = &mut truth
            && let Err(error) = file.append(&lines)
        {
            tracing::error!(%error, "cannot write the truth; it is incomplete from here on");
            truth = None;
        }
    }
}

/// One client: a request that is answered, or a feed from handshake to end.
async fn serve(socket: TcpStream, peer: SocketAddr, shared: Arc<Shared>) {
    let _ = socket.set_nodelay(true);
    let _open = Open::new(&shared, peer.ip());
    let Ok(Some(head)) = timeout(HANDSHAKE_WITHIN, Head::peek(&socket)).await else { return };
    let now = shared.now_us();
    if let Some(refusal) = shared.refusal(peer.ip(), &head, now) {
        tracing::info!(%peer, seconds = refusal.retry_after(), "client refused");
        let _ = timeout(HANDSHAKE_WITHIN, http::reply(socket, &refusal, now)).await;
        return;
    }
    if !head.upgrade {
        let (answer, delay) = shared.answer(&head);
        if !delay.is_zero() {
            sleep(delay).await;
        }
        let _ = timeout(HANDSHAKE_WITHIN, http::reply(socket, &answer, now)).await;
        return;
    }
    tracing::info!(%peer, "client connected");
    let why = connection::serve(socket, &head, shared).await;
    tracing::info!(%peer, why, "client gone");
}
