//! A simulated venue: it listens, lets the market trade, and serves each client.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use anyhow::Context;
use serde_json::json;
use tokio::net::{TcpListener, TcpStream};
use tokio::time::{MissedTickBehavior, interval, sleep, timeout};

use crate::book::Level;
use crate::book::truth::{Fault, Quote};
use crate::book::truth_file::TruthFile;
use crate::config::SimulatorConfig;
use crate::connection;
use crate::http::{self, Head};
use crate::listings::ListingChange;
use crate::market::{Market, Product, Trade};
use crate::shared::{Event, HANDSHAKE_WITHIN, Open, Shared};
use crate::surface::instrument::Life;

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
        let mut market = self.0.market();
        let now = self.0.now_us();
        match &change {
            ListingChange::Listed(name) => {
                market.find(name).into_iter().for_each(|index| market.surface_mut().list(index));
            }
            ListingChange::Ended(name) => {
                market
                    .find(name)
                    .into_iter()
                    .for_each(|index| market.surface_mut().end(index, now));
            }
        }
        drop(market);
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

    /// The number of products that are listed.
    pub fn products(&self) -> usize {
        let market = self.shared.market();
        (0..market.products().len()).filter(|index| market.surface().is_open(*index)).count()
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
    let mut ticks = 0;
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
                // An instrument that is not listed trades as well, so that the seed decides the
                // market of the others, and no client hears of it.
                if market.surface().is_open(trade.product) {
                    if let Some(update) = update {
                        send(Event::Book(update));
                    }
                    send(Event::Trade(trade));
                }
            }
            for update in market.books_mut().due(now) {
                if market.surface().is_open(update.product) {
                    send(Event::Book(update));
                }
            }
            for change in advance(&mut market, &shared.products, now) {
                let _ = shared.changes.send(change);
            }
            if market.surface().ticks() > ticks {
                ticks = market.surface().ticks();
                let time_us = market.surface().now_us();
                send(Event::Tick { number: ticks, time_us });
            }
            let mut lines = market.books_mut().truth_mut().take_lines(&shared.products);
            lines.extend(market.surface_mut().take_lines());
            lines
        };
        if let Some(file) = &mut truth
            && let Err(error) = file.append(&lines)
        {
            tracing::error!(%error, "cannot write the truth; it is incomplete from here on");
            truth = None;
        }
    }
}

/// Lets time pass for the surface; what is listed and what ends by now.
fn advance(market: &mut Market, products: &[Product], now_us: i64) -> Vec<ListingChange> {
    let changes = market.surface_mut().advance(now_us);
    let change = |(product, life): (usize, Life)| {
        let name = products[product].name.clone();
        let word = if life == Life::Open { "listed" } else { "ended" };
        let line = json!({"product": name, "time_us": now_us, "listing": word});
        market.surface_mut().note(line.to_string());
        if life == Life::Open { ListingChange::Listed(name) } else { ListingChange::Ended(name) }
    };
    changes.into_iter().map(change).collect()
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
