//! A venue on a real socket: its protocol, a seeded market, faults on demand.
//!
//! Any client can be pointed at it. The market goes on whether somebody listens or not, and all
//! connections see the same one, so trade ids are dense across reconnects and what a client
//! missed is really missing.
//!
//! ```text
//! Market ─ one task, every 10 ms ─→ broadcast ─→ connection: session, faults ─→ socket
//! ```

pub mod coinbase;
pub mod faults;
pub mod history;
pub mod market;

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use anyhow::Context;
use futures_util::{SinkExt, StreamExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::broadcast::{self, error::RecvError};
use tokio::time::{MissedTickBehavior, interval, sleep, timeout};
use tokio_tungstenite::tungstenite::{Error, Message};
use tokio_tungstenite::{WebSocketStream, accept_async};

use self::coinbase::Session;
use self::faults::Faults;
use self::market::{Market, Product, Trade};
use crate::clock;

/// The venue drops a client that has not subscribed in this time.
const SUBSCRIBE_WITHIN: Duration = Duration::from_secs(5);
/// A handshake that takes longer is given up.
const HANDSHAKE_WITHIN: Duration = Duration::from_secs(5);
/// How often trades are made, in milliseconds.
const STEP_MS: u64 = 10;
/// Trades that a slow client may be behind before it is cut, as a venue would do it.
const MAX_BEHIND: usize = 65_536;

/// What to simulate.
#[derive(Clone, Debug, Default)]
pub struct SimulatorConfig {
    /// Decides the market.
    pub seed: u64,
    /// The products; the usual ones when empty.
    pub products: Vec<String>,
    /// Trades a second over all products.
    pub rate: u32,
    /// What goes wrong.
    pub faults: Faults,
}

/// A simulator that listens.
pub struct Simulator {
    listener: TcpListener,
    shared: Arc<Shared>,
    rate: u32,
}

struct Shared {
    /// Guards the one market: held to make the trades of a step and hand them to the broadcast,
    /// and to answer a request, so that an answer and the trades after it fit together. Never
    /// held across an await.
    market: Mutex<Market>,
    /// Names and tick sizes, which do not change.
    products: Vec<Product>,
    trades: broadcast::Sender<Arc<Trade>>,
    faults: Faults,
}

impl Shared {
    fn market(&self) -> MutexGuard<'_, Market> {
        self.market.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Simulator {
    /// Listens at `address`.
    pub async fn bind(address: &str, config: &SimulatorConfig) -> anyhow::Result<Self> {
        let listener = TcpListener::bind(address).await.with_context(|| {
            format!("cannot listen at {address}: choose another --listen or free the port")
        })?;
        let market = Market::new(config.seed, &config.products, clock::now_micros())?;
        let shared = Shared {
            products: market.products().to_vec(),
            market: Mutex::new(market),
            trades: broadcast::Sender::new(MAX_BEHIND),
            faults: config.faults,
        };
        Ok(Self { listener, shared: Arc::new(shared), rate: config.rate })
    }

    /// Where it listens.
    pub fn url(&self) -> anyhow::Result<String> {
        Ok(format!("ws://{}", self.listener.local_addr()?))
    }

    /// How many products there are.
    pub fn products(&self) -> usize {
        self.shared.products.len()
    }

    /// The products, and every trade from now on, for [`history::serve`].
    pub fn market(&self) -> (Vec<Product>, broadcast::Receiver<Arc<Trade>>) {
        (self.shared.products.clone(), self.shared.trades.subscribe())
    }

    /// Serves until it is dropped.
    pub async fn run(self) {
        let mut connections = tokio::task::JoinSet::new();
        connections.spawn(trade(Arc::clone(&self.shared), self.rate));
        loop {
            match self.listener.accept().await {
                Ok((socket, peer)) => {
                    tracing::info!(%peer, "client connected");
                    let shared = Arc::clone(&self.shared);
                    connections.spawn(async move {
                        let why = serve(socket, shared).await;
                        tracing::info!(%peer, why, "client gone");
                    });
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
        due += per_step;
        let now = clock::now_micros();
        let mut market = shared.market();
        while due >= 1000 {
            due -= 1000;
            // An error only says that nobody listens.
            let _ = shared.trades.send(Arc::new(market.trade(now)));
        }
    }
}

type Socket = WebSocketStream<TcpStream>;

/// One client from handshake to end; says why it ended.
async fn serve(socket: TcpStream, shared: Arc<Shared>) -> &'static str {
    let _ = socket.set_nodelay(true);
    let Ok(Ok(socket)) = timeout(HANDSHAKE_WITHIN, accept_async(socket)).await else {
        return "no handshake";
    };
    let trades = shared.trades.subscribe();
    let mut connection = Connection { socket, shared, session: Session::default(), matches: 0 };
    match timeout(SUBSCRIBE_WITHIN, connection.first_subscription()).await {
        Err(_) => return "did not subscribe in time",
        Ok(Err(_)) => return "connection lost",
        Ok(Ok(())) => {}
    }
    connection.run(trades).await.unwrap_or("connection lost")
}

struct Connection {
    socket: Socket,
    shared: Arc<Shared>,
    session: Session,
    /// Matches sent.
    matches: u64,
}

impl Connection {
    async fn first_subscription(&mut self) -> Result<(), Error> {
        while !self.session.is_subscribed() {
            let message = self.socket.next().await.ok_or(Error::ConnectionClosed)??;
            self.request(&message).await?;
        }
        Ok(())
    }

    async fn run(
        &mut self,
        mut trades: broadcast::Receiver<Arc<Trade>>,
    ) -> Result<&'static str, Error> {
        let mut heartbeat = interval(Duration::from_secs(1));
        heartbeat.set_missed_tick_behavior(MissedTickBehavior::Skip);
        loop {
            tokio::select! {
                trade = trades.recv() => match trade {
                    Ok(trade) => {
                        if self.trade(&trade).await? {
                            return Ok("cut on demand");
                        }
                        // Flushed once the burst is through, not for every trade.
                        if trades.is_empty() {
                            self.socket.flush().await?;
                        }
                    }
                    Err(RecvError::Lagged(_)) => return Ok("too slow"),
                    Err(RecvError::Closed) => return Ok("simulator stopped"),
                },
                _ = heartbeat.tick() => {
                    let beats =
                        self.session.heartbeats(&self.shared.market(), clock::now_micros());
                    self.say(beats).await?;
                }
                message = self.socket.next() => match message {
                    None => return Ok("client closed"),
                    Some(message) => self.request(&message?).await?,
                },
            }
        }
    }

    /// Sends a trade with its faults; true when the connection is to be cut.
    async fn trade(&mut self, trade: &Trade) -> Result<bool, Error> {
        let shared = Arc::clone(&self.shared);
        if let Some(ticker) = self.session.ticker(&shared.products, trade) {
            self.socket.feed(Message::text(ticker)).await?;
        }
        let Some(matched) = self.session.matched(&shared.products, trade) else {
            return Ok(false);
        };
        let faults = shared.faults.of_trade(trade.id);
        if faults.malformed {
            let half = matched[..matched.len() / 2].to_owned();
            self.socket.feed(Message::text(half)).await?;
        }
        for _ in 0..faults.copies {
            self.socket.feed(Message::text(matched.clone())).await?;
        }
        self.matches += 1;
        if shared.faults.silences(self.matches) {
            self.socket.flush().await?;
            sleep(shared.faults.silence).await;
        }
        Ok(shared.faults.disconnects(self.matches))
    }

    /// Answers a message of the client; pings are answered by the library.
    async fn request(&mut self, message: &Message) -> Result<(), Error> {
        let Message::Text(text) = message else { return Ok(()) };
        let answers = self.session.request(text, &self.shared.market());
        self.say(answers).await
    }

    async fn say(&mut self, texts: Vec<String>) -> Result<(), Error> {
        for text in texts {
            self.socket.feed(Message::text(text)).await?;
        }
        self.socket.flush().await
    }
}
