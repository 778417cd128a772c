//! The sockets of a live feed: connect, subscribe, read, replace in time, and start over when one
//! fails.
//!
//! ```text
//!            ┌────────────── back-off ◀───────────────┐
//!            ▼                                        │ cause
//! connect ─→ ask, one a slot ─→ read frames ─→ lost, stale, quiet, refused, limited, closed
//!                                 │    ▲
//!                                 │    └─ a replacement, before the venue ends the connection
//!                                 └─→ Output, through a bounded channel
//! ```
//!
//! The channel is the back-pressure: when the sink does not take, no frame is read, the venue's
//! own buffers fill, and at worst it cuts the connection. Nothing is dropped here, and what the
//! venue dropped shows in the trade ids.
//!
//! A replacement is made while the old connection goes on (`rotation.rs`): what it says is
//! kept until everything is granted and both have overlapped for a while, then it takes the old
//! one's place, and the events that both brought are left out.
//!
//! Feeds of one process share the gate of the budget and tell each other of instruments; one that
//! fails disturbs no other.
//!
//! Cancellation: the future of [`Feed::run`] ends at the next frame, wait or send after
//! `shutdown` turns true, with everything read handed over.

use std::time::Duration;

use futures_util::{SinkExt, StreamExt};
use rand::Rng;
use schemas::Timestamp;
use tokio::sync::{broadcast, watch};
use tokio::time::{sleep, timeout};
use tokio_tungstenite::tungstenite::{Error, Message as Frame};
use venues::ListingChange;
use venues::pipeline::{Control, Output, Pipeline, Produced};

use crate::capture::Kind;
use crate::clock;
use crate::connection::{Due, Outcome, Session};
use crate::metrics::LastFrame;
use crate::rotation::{Next, Seen};
use crate::socket::{self, Failed, Socket};
pub use crate::surroundings::{Breaker, FeedConfig, Rotation, Surroundings};

/// A good-bye that takes longer is not waited for.
const CLOSE_TIMEOUT: Duration = Duration::from_secs(1);
/// The wait where a venue that is asked too often names none.
const LIMITED_WAIT: Duration = Duration::from_secs(10);

/// Why a connection ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Cause {
    /// It was never made.
    Connect,
    /// The venue refused the subscription.
    Refused,
    /// The venue wants to be left alone.
    Limited,
    /// The venue closed it properly.
    Closed,
    /// It broke.
    Lost,
    /// It was silent for too long.
    Stale,
    /// A class of instruments was silent for too long.
    Quiet,
}

impl Cause {
    /// Every cause.
    pub const ALL: [Self; 7] = [
        Self::Connect,
        Self::Refused,
        Self::Limited,
        Self::Closed,
        Self::Lost,
        Self::Stale,
        Self::Quiet,
    ];

    /// As metrics have it.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Connect => "connect",
            Self::Refused => "refused",
            Self::Limited => "limited",
            Self::Closed => "closed",
            Self::Lost => "lost",
            Self::Stale => "stale",
            Self::Quiet => "quiet",
        }
    }
}

/// How one connection ended.
#[derive(Clone, Copy, Debug)]
pub(crate) enum End {
    /// It is to be made again.
    Again(Cause),
    /// Nobody wants the feed any more.
    Stop,
}

/// One live feed.
pub struct Feed<R> {
    pub(crate) config: FeedConfig,
    pub(crate) around: Surroundings,
    pipeline: Pipeline,
    changes: broadcast::Receiver<ListingChange>,
    last_frame: LastFrame,
    rng: R,
    /// Refusals in a row.
    refusals: u32,
    /// Events that the old connection brought while a new one was there as well.
    pub(crate) seen: Seen,
    /// Reused for every frame.
    produced: Produced,
}

/// A socket and its conversation.
pub(crate) struct Connection {
    pub(crate) socket: Socket,
    pub(crate) session: Session,
    /// When it was made.
    pub(crate) since: Duration,
    /// When it is to be replaced.
    pub(crate) rotate_at: Option<Duration>,
}

impl<R: Rng> Feed<R> {
    /// A feed that writes to the outputs of its surroundings until they shut down.
    pub fn new(config: FeedConfig, around: Surroundings, rng: R) -> Self {
        let name = config.line.name.clone();
        Self {
            pipeline: Pipeline::new(config.venue, name),
            changes: around.changes.subscribe(),
            last_frame: around.metrics.watch(),
            config,
            around,
            rng,
            refusals: 0,
            seen: Seen::default(),
            produced: Produced::default(),
        }
    }

    /// The exchange needs other connections as well, and this one speaks for its own pairs only.
    #[must_use]
    pub fn one_of_several(mut self) -> Self {
        self.pipeline = self.pipeline.one_of_several();
        self
    }

    /// Reads the feed over as many connections as it takes.
    pub async fn run(mut self) {
        let venue = self.config.venue.as_str();
        loop {
            let cause = match self.attempt().await {
                End::Stop => return,
                End::Again(cause) => cause,
            };
            self.pipeline.disconnected();
            self.seen = Seen::default();
            self.around.metrics.reconnects.with_label_values(&[venue, cause.as_str()]).inc();
            let wait = self.wait_after(cause);
            tracing::warn!(
                venue, feed = self.config.line.name, cause = cause.as_str(),
                url = self.config.url, wait = ?wait, "feed is down, connecting again"
            );
            let paused = self.refusals >= self.config.breaker.after;
            let breakers = self.around.metrics.breakers.with_label_values(&[venue]);
            breakers.add(i64::from(paused));
            let stopped = self.pause(wait).await;
            breakers.sub(i64::from(paused));
            if stopped {
                return;
            }
        }
    }

    /// The wait before the next attempt: longer each time, and long after too many refusals.
    fn wait_after(&mut self, cause: Cause) -> Duration {
        let wait = self.config.backoff.next(&mut self.rng);
        if cause == Cause::Refused {
            self.refusals = self.refusals.saturating_add(1);
        }
        if self.refusals < self.config.breaker.after {
            return wait;
        }
        tracing::error!(
            venue = self.config.venue.as_str(), feed = self.config.line.name,
            refusals = self.refusals, pause = ?self.config.breaker.pause,
            "refused over and over: correct --products or --currency"
        );
        self.config.breaker.pause.max(wait)
    }

    /// Waits; true when it is time to stop.
    async fn pause(&mut self, wait: Duration) -> bool {
        tokio::select! {
            () = sleep(wait) => false,
            _ = self.around.shutdown.wait_for(|stop| *stop) => true,
        }
    }

    /// One connection, from the gate to its end.
    async fn attempt(&mut self) -> End {
        loop {
            let admitted = self.around.gate().attempt(self.around.now());
            let Err(wait) = admitted else { break };
            if self.pause(wait).await {
                return End::Stop;
            }
        }
        let mut shutdown = self.around.shutdown.clone();
        let connected = tokio::select! {
            connected = socket::connect(self.config.url.clone()) => connected,
            _ = shutdown.wait_for(|stop| *stop) => return End::Stop,
        };
        let venue = self.config.venue.as_str();
        let socket = match connected {
            Ok(socket) => socket,
            Err(failed) => return End::Again(self.failed(&failed)),
        };
        tracing::info!(
            venue,
            feed = self.config.line.name,
            url = self.config.url,
            "feed is connected"
        );
        self.around.line(clock::now(), Kind::Open, &self.config.url, "").await;
        let mut connection = self.connection(socket);
        let standing = self.around.metrics.connections.with_label_values(&[venue]);
        standing.inc();
        let end = self.read(&mut connection, &mut shutdown).await;
        standing.dec();
        let lived = self.around.now().saturating_sub(connection.since);
        // One that was cut at once would otherwise be made again without end and without a wait.
        if connection.session.granted() > 0 && lived >= self.config.backoff.cap() {
            self.config.backoff.reset();
        }
        let _ = timeout(CLOSE_TIMEOUT, connection.socket.close(None)).await;
        end
    }

    /// Says why there is no connection, and obeys when the venue wants to be left alone.
    pub(crate) fn failed(&self, failed: &Failed) -> Cause {
        let (venue, feed) = (self.config.venue.as_str(), self.config.line.name.as_str());
        tracing::warn!(venue, feed, url = self.config.url, error = %failed, "cannot connect");
        let Failed::Limited { wait, .. } = failed else { return Cause::Connect };
        self.limited(wait.unwrap_or(LIMITED_WAIT))
    }

    /// Nobody of this process connects for so long.
    pub(crate) fn limited(&self, wait: Duration) -> Cause {
        self.around.gate().close(self.around.now(), wait);
        Cause::Limited
    }

    pub(crate) fn connection(&mut self, socket: Socket) -> Connection {
        let since = self.around.now();
        let (venue, streams) = (self.config.venue, &self.config.line.streams);
        let session = Session::new(venue, streams, self.config.patience, since);
        let rotate_at = self.config.rotation.after.map(|after| {
            // Not all at once: that would be as many handshakes in one moment.
            since + after.saturating_sub(self.rng.random_range(Duration::ZERO..=after / 10))
        });
        Connection { socket, session, since, rotate_at }
    }

    async fn read(
        &mut self,
        connection: &mut Connection,
        shutdown: &mut watch::Receiver<bool>,
    ) -> End {
        let mut next = Next::None;
        loop {
            let now = self.around.now();
            self.slots(&mut connection.session, now);
            let due = self.next_due(connection, &mut next, now);
            let end = tokio::select! {
                frame = connection.socket.next() => match self.frame(frame, connection).await {
                    // The replacement is as good as the old one was.
                    Err(End::Again(_)) if next.is_ready() => self.replace(connection, &mut next).await,
                    result => result,
                },
                happened = next.happens() => {
                    self.replacement(happened, connection, &mut next).await
                }
                () = sleep(due.saturating_sub(now)) => self.due(connection, &mut next).await,
                Ok(change) = self.changes.recv() => {
                    self.changed(&change, connection);
                    Ok(())
                }
                () = stopped(shutdown) => Err(End::Stop),
            };
            if let Err(end) = end {
                return end;
            }
        }
    }

    /// Takes a slot of the budget for the next request.
    pub(crate) fn slots(&self, session: &mut Session, now: Duration) {
        if session.wants_slot() {
            session.take_slot(self.around.gate().message(now));
        }
    }

    async fn frame(
        &mut self,
        frame: Option<Result<Frame, Error>>,
        connection: &mut Connection,
    ) -> Result<(), End> {
        let venue = self.config.venue.as_str();
        let text = match frame {
            None | Some(Ok(Frame::Close(_))) => return Err(End::Again(Cause::Closed)),
            Some(Err(error)) => {
                tracing::warn!(venue, feed = self.config.line.name, %error, "connection broke");
                return Err(End::Again(Cause::Lost));
            }
            Some(Ok(Frame::Text(text))) => text,
            // The library answers pings, with their payload.
            Some(Ok(_)) => {
                self.last_frame.set(clock::now());
                connection.session.frame(false, self.around.now());
                return Ok(());
            }
        };
        self.text(&text, clock::now(), connection).await
    }

    /// What a text frame of the connection says.
    async fn text(
        &mut self,
        text: &str,
        at: Timestamp,
        connection: &mut Connection,
    ) -> Result<(), End> {
        let now = self.around.now();
        connection.session.frame(true, now);
        let controls = self.kept(text, at, connection).await?;
        for control in controls {
            let outcome = connection.session.accept(control, now);
            self.obey(outcome, connection).await?;
        }
        Ok(())
    }

    /// Hands over what a text frame says of the market; the rest is returned.
    pub(crate) async fn kept(
        &mut self,
        text: &str,
        at: Timestamp,
        connection: &mut Connection,
    ) -> Result<Vec<Control>, End> {
        self.last_frame.set(at);
        self.around.line(at, Kind::Frame, &self.config.url, text).await;
        let now = self.around.now();
        let mut produced = std::mem::take(&mut self.produced);
        let controls = self.pipeline.frame(text, at, &mut produced);
        self.around.metrics.count(self.config.venue, &mut produced);
        for output in produced.outputs.drain(..) {
            if let Output::Event { pair, event } = &output {
                connection.session.event(self.config.venue.class(pair), now);
                if self.seen.repeats(pair, event) {
                    let venue = self.config.venue.as_str();
                    self.around.metrics.repeated.with_label_values(&[venue]).inc();
                    continue;
                }
            }
            if self.around.outputs.send(output).await.is_err() {
                return Err(End::Stop);
            }
        }
        self.produced = produced;
        Ok(controls)
    }

    pub(crate) async fn obey(
        &mut self,
        outcome: Outcome,
        connection: &mut Connection,
    ) -> Result<(), End> {
        let (venue, feed) = (self.config.venue.as_str(), self.config.line.name.clone());
        match outcome {
            Outcome::Go => {}
            Outcome::Complete => {
                self.refusals = 0;
                let now = self.around.now();
                for stream in &self.config.line.streams {
                    if let Some(class) =
                        (self.config.venue.adapter().subscriptions.class_of_stream)(stream)
                    {
                        connection.session.event(class, now);
                    }
                }
                let subscriptions = connection.session.granted();
                tracing::info!(venue, feed, subscriptions, "subscribed");
            }
            Outcome::Send(text) => self.send(connection, text).await?,
            Outcome::Rejected(reason) => {
                self.around.metrics.refused_streams.with_label_values(&[venue]).inc();
                tracing::warn!(venue, feed, reason, "the venue refused one of several streams");
                if connection.session.granted() > 0 {
                    self.refusals = 0;
                }
            }
            Outcome::Refused(reason) => {
                tracing::error!(
                    venue,
                    feed,
                    reason,
                    "the venue refused the subscription: correct --products or --currency"
                );
                return Err(End::Again(Cause::Refused));
            }
            Outcome::Limited(wait) => {
                tracing::warn!(venue, feed, ?wait, "the venue wants to be left alone");
                return Err(End::Again(self.limited(wait)));
            }
            // The replacement is made at once, and the old one is read to its end.
            Outcome::Closing => connection.rotate_at = Some(self.around.now()),
            Outcome::Changed(change) => self.heard(change),
        }
        Ok(())
    }

    async fn send(&self, connection: &mut Connection, text: &str) -> Result<(), End> {
        self.around.line(clock::now(), Kind::Sent, &self.config.url, text).await;
        socket::send(&mut connection.socket, text).await
    }

    /// What has become due for the connection, and for its replacement.
    async fn due(&mut self, connection: &mut Connection, next: &mut Next) -> Result<(), End> {
        let now = self.around.now();
        while let Some(due) = connection.session.due(now) {
            self.act(due, connection).await?;
            self.slots(&mut connection.session, now);
        }
        self.rotate(connection, next, now).await
    }

    pub(crate) async fn act(&mut self, due: Due, connection: &mut Connection) -> Result<(), End> {
        let (venue, feed) = (self.config.venue.as_str(), self.config.line.name.as_str());
        match due {
            Due::Send(text) => self.send(connection, &text).await,
            Due::Ping => match connection.socket.send(Frame::Ping(Vec::new().into())).await {
                Ok(()) => Ok(()),
                Err(_) => Err(End::Again(Cause::Lost)),
            },
            Due::Stale => Err(End::Again(Cause::Stale)),
            Due::Quiet(class) => {
                tracing::warn!(venue, feed, class = class.as_str(), "a class has fallen silent");
                Err(End::Again(Cause::Quiet))
            }
            Due::Unanswered(missing) => {
                let count = missing.len() as u64;
                self.around.metrics.refused_streams.with_label_values(&[venue]).inc_by(count);
                let names: Vec<_> = missing.iter().take(20).map(ToString::to_string).collect();
                tracing::warn!(
                    venue,
                    feed,
                    count,
                    missing = names.join(","),
                    "not everything asked for was subscribed"
                );
                if connection.session.granted() == 0 {
                    return Err(End::Again(Cause::Refused));
                }
                self.refusals = 0;
                Ok(())
            }
        }
    }
}

/// Waits until it is time to stop; keeps no guard, so that a future that waits can be moved.
async fn stopped(shutdown: &mut watch::Receiver<bool>) {
    let _ = shutdown.wait_for(|stop| *stop).await;
}
