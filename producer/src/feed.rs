//! The socket of a live feed: connect, subscribe, read, and start over when it fails.
//!
//! ```text
//!            ┌────────────── back-off ◀───────────────┐
//!            ▼                                        │ cause
//! connect ─→ subscribe ─→ read frames ─→ lost, stale, refused, closed
//!                              │
//!                              └─→ Output, through a bounded channel
//! ```
//!
//! The channel is the back-pressure: when the sink does not take, no frame is read, the venue's
//! own buffers fill, and at worst it cuts the connection. Nothing is dropped here, and what the
//! venue dropped shows in the trade ids.
//!
//! Cancellation: the future of [`Feed::run`] ends at the next frame, wait or send after
//! `shutdown` turns true, with everything read handed over.

use std::sync::Arc;
use std::time::Duration;

use futures_util::{SinkExt, StreamExt};
use rand::Rng;
use schemas::Timestamp;
use tokio::net::TcpStream;
use tokio::sync::{mpsc, watch};
use tokio::time::timeout;
use tokio_tungstenite::tungstenite::Message as Frame;
use tokio_tungstenite::{MaybeTlsStream, WebSocketStream, connect_async};

use crate::backoff::Backoff;
use crate::capture::{Capture, Kind};
use crate::clock;
use crate::exchange::{Subscription, Venue};
use crate::metrics::Metrics;
use crate::pipeline::{Control, Output, Pipeline};

/// A handshake, or the sending of a subscription, that takes longer has failed.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);

/// A good-bye that takes longer is not waited for.
const CLOSE_TIMEOUT: Duration = Duration::from_secs(1);

/// Why a connection ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Cause {
    /// It was never made.
    Connect,
    /// The venue refused the subscription.
    Refused,
    /// The venue closed it properly.
    Closed,
    /// It broke.
    Lost,
    /// It was silent for too long.
    Stale,
}

impl Cause {
    /// Every cause.
    pub const ALL: [Self; 5] =
        [Self::Connect, Self::Refused, Self::Closed, Self::Lost, Self::Stale];

    /// As metrics have it.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Connect => "connect",
            Self::Refused => "refused",
            Self::Closed => "closed",
            Self::Lost => "lost",
            Self::Stale => "stale",
        }
    }
}

/// How one connection ended.
enum End {
    /// It is to be made again.
    Again(Cause),
    /// Nobody wants the feed any more.
    Stop,
}

/// What a feed reads, and how patient it is.
#[derive(Clone, Debug)]
pub struct FeedConfig {
    /// Where.
    pub url: String,
    /// Whose protocol.
    pub venue: Venue,
    /// What to subscribe.
    pub products: Vec<String>,
    /// Silence after which the connection is given up.
    pub stale_after: Duration,
    /// Waits between attempts.
    pub backoff: Backoff,
}

/// One live feed.
pub struct Feed<R> {
    config: FeedConfig,
    pipeline: Pipeline,
    metrics: Arc<Metrics>,
    outputs: mpsc::Sender<Output>,
    shutdown: watch::Receiver<bool>,
    rng: R,
    capture: Option<Capture>,
}

type Socket = WebSocketStream<MaybeTlsStream<TcpStream>>;

impl<R: Rng> Feed<R> {
    /// A feed that writes to `outputs` until `shutdown` turns true.
    pub fn new(
        config: FeedConfig,
        metrics: Arc<Metrics>,
        outputs: mpsc::Sender<Output>,
        shutdown: watch::Receiver<bool>,
        rng: R,
    ) -> Self {
        let name = format!("{}-0", config.venue);
        let pipeline = Pipeline::new(config.venue, name, Arc::clone(&metrics));
        Self { config, pipeline, metrics, outputs, shutdown, rng, capture: None }
    }

    /// Writes down everything that is read and sent.
    #[must_use]
    pub fn captured(mut self, capture: Option<Capture>) -> Self {
        self.capture = capture;
        self
    }

    async fn capture(&mut self, at_us: i64, kind: Kind, raw: &str) {
        if let Some(capture) = &self.capture
            && !capture.line(at_us, kind, &self.config.url, raw).await
        {
            self.capture = None;
        }
    }

    /// Reads the feed over as many connections as it takes.
    pub async fn run(mut self) {
        loop {
            let cause = match self.connection().await {
                End::Stop => return,
                End::Again(cause) => cause,
            };
            self.pipeline.disconnected();
            let venue = self.config.venue.as_str();
            self.metrics.reconnects.with_label_values(&[venue, cause.as_str()]).inc();
            let wait = self.config.backoff.next(&mut self.rng);
            tracing::warn!(
                venue, cause = cause.as_str(), url = self.config.url, wait = ?wait,
                "feed is down, connecting again"
            );
            tokio::select! {
                () = tokio::time::sleep(wait) => {}
                _ = self.shutdown.wait_for(|stop| *stop) => return,
            }
        }
    }

    /// One connection, from handshake to end.
    async fn connection(&mut self) -> End {
        let mut shutdown = self.shutdown.clone();
        let connected = tokio::select! {
            connected = connect(&self.config) => connected,
            _ = shutdown.wait_for(|stop| *stop) => return End::Stop,
        };
        let Some(mut socket) = connected else { return End::Again(Cause::Connect) };
        let at = clock::now_micros();
        self.capture(at, Kind::Open, "").await;
        for ask in self.config.venue.subscribe(&self.config.products) {
            self.capture(at, Kind::Sent, &ask).await;
        }
        tracing::info!(
            venue = self.config.venue.as_str(),
            url = self.config.url,
            "feed is connected"
        );
        let end = self.read(&mut socket, &mut shutdown).await;
        let _ = timeout(CLOSE_TIMEOUT, socket.close(None)).await;
        end
    }

    async fn read(&mut self, socket: &mut Socket, shutdown: &mut watch::Receiver<bool>) -> End {
        let mut outputs = Vec::new();
        loop {
            let frame = tokio::select! {
                frame = timeout(self.config.stale_after, socket.next()) => frame,
                _ = shutdown.wait_for(|stop| *stop) => return End::Stop,
            };
            let text = match frame {
                Err(_) => return End::Again(Cause::Stale),
                Ok(None | Some(Ok(Frame::Close(_)))) => return End::Again(Cause::Closed),
                Ok(Some(Err(error))) => {
                    tracing::warn!(venue = self.config.venue.as_str(), %error, "connection broke");
                    return End::Again(Cause::Lost);
                }
                Ok(Some(Ok(Frame::Text(text)))) => text,
                // The library answers pings, with their payload.
                Ok(Some(Ok(_))) => {
                    self.metrics.frame(clock::now());
                    continue;
                }
            };
            let at = clock::now_micros();
            let now = Timestamp::from_micros(at);
            self.metrics.frame(now);
            self.capture(at, Kind::Frame, &text).await;
            let control = self.pipeline.frame(&text, now, &mut outputs);
            for output in outputs.drain(..) {
                if self.outputs.send(output).await.is_err() {
                    return End::Stop;
                }
            }
            if let Some(control) = control
                && !self.accept(control)
            {
                return End::Again(Cause::Refused);
            }
        }
    }

    /// Compares an answer with what was asked; false when the connection is of no use.
    fn accept(&mut self, control: Control) -> bool {
        let venue = self.config.venue.as_str();
        let granted = match control {
            Control::Refused(reason) => {
                tracing::error!(
                    venue,
                    reason,
                    products = self.config.products.join(","),
                    "the venue refused the subscription: correct --products"
                );
                return false;
            }
            Control::Subscribed(granted) => granted,
        };
        let missing = missing(&self.config.venue.asked(&self.config.products), &granted);
        if missing.is_empty() {
            tracing::info!(venue, subscriptions = granted.len(), "subscribed");
        } else {
            tracing::warn!(
                venue,
                missing = missing.join(","),
                "not everything asked for was subscribed"
            );
        }
        if granted.is_empty() {
            return false;
        }
        self.config.backoff.reset();
        true
    }
}

/// Connects and subscribes; `None` when that fails, with the reason logged.
async fn connect(config: &FeedConfig) -> Option<Socket> {
    let venue = config.venue.as_str();
    let attempt = async {
        let (mut socket, _) = connect_async(config.url.as_str()).await?;
        for ask in config.venue.subscribe(&config.products) {
            socket.send(Frame::text(ask)).await?;
        }
        Ok::<_, tokio_tungstenite::tungstenite::Error>(socket)
    };
    match timeout(CONNECT_TIMEOUT, attempt).await {
        Ok(Ok(socket)) => Some(socket),
        Ok(Err(error)) => {
            tracing::warn!(venue, url = config.url, %error, "cannot connect");
            None
        }
        Err(_) => {
            tracing::warn!(venue, url = config.url, "cannot connect: no answer in time");
            None
        }
    }
}

/// What was asked for and is not there, as `channel:BASE-QUOTE`.
fn missing(asked: &[Subscription], granted: &[Subscription]) -> Vec<String> {
    let absent = asked.iter().filter(|ask| !granted.contains(ask));
    absent.map(|ask| format!("{}:{}-{}", ask.channel, ask.pair.base, ask.pair.quote)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_not_granted_is_named() {
        let asked = Venue::Coinbase.asked(&["BTC-USDC".into(), "ETH-USD".into()]);
        let mut granted = asked.clone();
        assert_eq!(missing(&asked, &granted), Vec::<String>::new());
        granted.retain(|one| one.pair.base != "ETH" || one.channel != "ticker");
        assert_eq!(missing(&asked, &granted), ["ticker:ETH-USD"]);
    }
}
