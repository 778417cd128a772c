//! One client's connection, from handshake to end, with its faults.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use futures_util::{SinkExt, StreamExt};
use tokio::net::TcpStream;
use tokio::sync::broadcast::{self, error::RecvError};
use tokio::time::{Interval, MissedTickBehavior, interval, sleep, timeout};
use tokio_tungstenite::tungstenite::{Bytes, Error, Message};
use tokio_tungstenite::{WebSocketStream, accept_async};

use crate::clock;
use crate::faults::hits;
use crate::http::Head;
use crate::market::Trade;
use crate::reply::Reply;
use crate::session::Session;
use crate::shared::{Event, HANDSHAKE_WITHIN, Shared};

/// How long a connection that is half open stays so.
const FOR_EVER: Duration = Duration::from_hours(24);

type Socket = WebSocketStream<TcpStream>;

/// Why a connection ended.
enum End {
    /// The simulator had a reason to.
    Done(&'static str),
    /// It broke.
    Broken,
}

impl From<Error> for End {
    fn from(_: Error) -> Self {
        Self::Broken
    }
}

/// Serves a client; returns the reason for the end.
pub(crate) async fn serve(socket: TcpStream, head: &Head, shared: Arc<Shared>) -> &'static str {
    let Ok(Ok(socket)) = timeout(HANDSHAKE_WITHIN, accept_async(socket)).await else {
        return "no handshake";
    };
    let events = shared.events.subscribe();
    let mut session = Session::new(shared.venue, &shared.service);
    session.open(&head.path, &head.query(), &shared.market());
    let mut connection =
        Connection { socket, shared, session, matches: 0, held: HashMap::new(), ping: None };
    let within = connection.session.subscribe_within();
    let end = match timeout(within, connection.first_subscription()).await {
        Err(_) => return "did not subscribe in time",
        Ok(Ok(())) => connection.run(events).await,
        Ok(Err(end)) => Err(end),
    };
    match end {
        Ok(why) | Err(End::Done(why)) => why,
        Err(End::Broken) => "connection lost",
    }
}

struct Connection {
    socket: Socket,
    shared: Arc<Shared>,
    session: Session,
    /// Matches sent.
    matches: u64,
    /// Matches that wait for the next one of their product.
    held: HashMap<usize, String>,
    /// The payload that the client's next pong must have.
    ping: Option<Bytes>,
}

impl Connection {
    async fn first_subscription(&mut self) -> Result<(), End> {
        self.say(self.session.greeting().into()).await?;
        while !self.session.is_subscribed() {
            let message = self.socket.next().await.ok_or(Error::ConnectionClosed)??;
            self.request(&message).await?;
        }
        Ok(())
    }

    async fn run(
        &mut self,
        mut events: broadcast::Receiver<Arc<Event>>,
    ) -> Result<&'static str, End> {
        let mut seconds = every(Duration::from_secs(1));
        let mut pings = every(self.session.ping_every().unwrap_or(FOR_EVER));
        let mut tickers = every(self.shared.tickers_every.unwrap_or(FOR_EVER));
        let mut changes = self.shared.changes.subscribe();
        loop {
            tokio::select! {
                event = events.recv() => match event {
                    Ok(event) => {
                        if let Some(why) = self.event(&event).await? {
                            return Ok(why);
                        }
                        // Flushed once the burst is through, not for every event.
                        if events.is_empty() {
                            self.socket.flush().await?;
                        }
                    }
                    Err(RecvError::Lagged(_)) => return Ok("too slow"),
                    Err(RecvError::Closed) => return Ok("simulator stopped"),
                },
                _ = seconds.tick() => {
                    let reply = self.session.beat(&self.shared.market(), self.shared.now_us());
                    self.say(reply).await?;
                }
                _ = tickers.tick(), if self.shared.tickers_every.is_some() => {
                    let reply = self.session.tickers(&self.shared.market(), self.shared.now_us());
                    self.say(reply).await?;
                }
                _ = pings.tick(), if self.session.ping_every().is_some() => self.ping().await?,
                Ok(change) = changes.recv() => {
                    let reply = self.session.change(&change, self.shared.now_us());
                    self.say(reply.into_iter().collect::<Vec<_>>().into()).await?;
                }
                message = self.socket.next() => match message {
                    None => return Ok("client closed"),
                    Some(message) => self.request(&message?).await?,
                },
            }
        }
    }

    /// Sends what the client follows of an event; why the connection is to be cut, when it is.
    async fn event(&mut self, event: &Event) -> Result<Option<&'static str>, End> {
        match event {
            Event::Trade(trade) => self.trade(trade).await,
            Event::Tick { number, time_us } => {
                if self.session.has_tickers() {
                    let reply = {
                        let market = self.shared.market();
                        self.session.tick(&market, *number, *time_us)
                    };
                    self.feed(reply).await?;
                }
                Ok(None)
            }
            Event::Book(update) => {
                for text in self.session.book(&self.shared.products, update) {
                    self.socket.feed(Message::text(text)).await?;
                }
                Ok(None)
            }
        }
    }

    /// Sends a trade with its faults; why the connection is to be cut, when it is.
    async fn trade(&mut self, trade: &Trade) -> Result<Option<&'static str>, End> {
        let shared = Arc::clone(&self.shared);
        if let Some(ticker) = self.session.ticker(&shared.products, trade) {
            self.socket.feed(Message::text(ticker)).await?;
        }
        let Some(matched) = self.session.matched(&shared.products, trade) else {
            return Ok(None);
        };
        let faults = shared.faults.of_trade(trade.id);
        if faults.malformed {
            let half = matched[..matched.len() / 2].to_owned();
            self.socket.feed(Message::text(half)).await?;
        }
        if !shared.faults.slow.is_zero() {
            self.socket.flush().await?;
            sleep(shared.faults.slow).await;
        }
        if hits(shared.faults.reorder_every, trade.id) && faults.copies > 0 {
            self.held.insert(trade.product, matched);
        } else {
            for _ in 0..faults.copies {
                self.socket.feed(Message::text(matched.clone())).await?;
            }
            if let Some(held) = self.held.remove(&trade.product) {
                self.socket.feed(Message::text(held)).await?;
            }
        }
        self.matches += 1;
        self.interrupt().await
    }

    /// The faults after this many matches.
    async fn interrupt(&mut self) -> Result<Option<&'static str>, End> {
        let faults = self.shared.faults;
        if hits(faults.silence_every, self.matches) {
            self.socket.flush().await?;
            sleep(faults.silence).await;
        }
        if hits(faults.half_open_every, self.matches) {
            self.socket.flush().await?;
            sleep(FOR_EVER).await;
        }
        if hits(faults.maintenance_every, self.matches) {
            let reply = self.session.maintenance(self.shared.now_us());
            self.say(reply.into_iter().collect::<Vec<_>>().into()).await?;
            self.socket.close(None).await?;
            return Ok(Some("closed for maintenance"));
        }
        let cut = hits(faults.disconnect_every, self.matches);
        Ok(cut.then_some("cut on demand"))
    }

    /// The client must return the payload of the last ping before the next one.
    async fn ping(&mut self) -> Result<(), End> {
        if self.ping.is_some() {
            return Err(End::Done("a ping was not answered"));
        }
        let payload = Bytes::from(clock::now_micros().to_string());
        self.ping = Some(payload.clone());
        self.socket.send(Message::Ping(payload)).await?;
        Ok(())
    }

    /// Answers a message of the client; pings are answered by the library.
    async fn request(&mut self, message: &Message) -> Result<(), End> {
        let text = match message {
            Message::Text(text) => text,
            Message::Pong(payload) => {
                if self.ping.take().is_some_and(|sent| sent != *payload) {
                    return Err(End::Done("a pong bore something else"));
                }
                return Ok(());
            }
            _ => return Ok(()),
        };
        let shared = Arc::clone(&self.shared);
        if let Some(refusal) = self.session.refusal(text)
            && shared.refuses_subscription()
        {
            return self.say(refusal.into()).await;
        }
        let reply = self.session.request(text, &shared.market(), shared.now_us());
        self.say(reply).await
    }

    async fn say(&mut self, reply: Reply) -> Result<(), End> {
        let cut = reply.cut;
        self.feed(reply).await?;
        self.socket.flush().await?;
        cut.map_or(Ok(()), |why| Err(End::Done(why)))
    }

    /// Sends the texts with the next flush. The truth has them before the client does.
    async fn feed(&mut self, reply: Reply) -> Result<(), End> {
        if !(reply.faults.is_empty() && reply.truth.is_empty()) {
            let mut market = self.shared.market();
            let now = self.shared.now_us();
            for (product, fault) in &reply.faults {
                market.books_mut().truth_mut().fault(*product, now, *fault);
            }
            reply.truth.into_iter().for_each(|line| market.surface_mut().note(line));
        }
        for text in reply.texts {
            self.socket.feed(Message::text(text)).await?;
        }
        Ok(())
    }
}

/// Ticks at this interval; missed ticks are skipped.
fn every(span: Duration) -> Interval {
    let mut ticks = interval(span);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Skip);
    ticks
}
