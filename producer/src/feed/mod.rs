//! A live feed: connects, subscribes, reads, replaces its connection in time, and reconnects.
//!
//! ```text
//!            ┌────────────── back-off ◀───────────────┐
//!            ▼                                        │ cause
//! connect ─→ requests, paced ─→ read frames ─→ lost, stale, quiet, refused, limited, closed
//!                                 │    ▲
//!                                 │    └─ rotation, before the venue closes the connection
//!                                 └─→ Output, through a bounded channel
//! ```
//!
//! The channel is the back-pressure. While the sink is full no frame is read, the venue's buffers
//! fill, and at worst the venue closes the connection. The feed drops nothing itself, and the trade
//! ids show what the venue dropped.
//!
//! Feeds of one process share the rate limiter and announce listing changes to each other. A feed
//! that fails does not disturb the others.
//!
//! Cancellation: the future of [`Feed::run`] ends at the next frame, wait or send after `shutdown`
//! turns true, with every frame it read passed on.

pub mod backfill;
pub mod backoff;
pub mod books;
pub mod capture;
pub mod chain;
pub mod clock_skew;
mod connection;
mod context;
mod facts;
mod http;
mod listing;
pub mod listings;
mod reconnects;
mod replace;
mod resync;
pub mod rooms;
mod rotation;
pub mod session;
mod socket;

use std::time::Duration;

use futures_util::StreamExt;
use rand::Rng;
use schemas::Timestamp;
use tokio::sync::broadcast;
use tokio::time::{sleep, timeout};
use tokio_tungstenite::tungstenite::{Error, Message as Frame};
use venues::Control;
use venues::pipeline::{Output, Pipeline, Produced};

use self::books::SyncGauge;
use self::books::snapshots::SnapshotClient;
use self::capture::LineKind;
use self::connection::Connection;
pub use self::context::{CircuitBreaker, FeedConfig, FeedContext, RotationConfig};
use self::facts::Facts;
use self::listing::Announced;
use self::listings::Listings;
use self::reconnects::Reconnects;
use self::rotation::{Rotation, Step};
use self::session::{Due, Outcome, Session};
use self::socket::{Failed, Socket};
use crate::clock;
use crate::labels::Cause;
use crate::metrics::LastFrame;

/// The longest wait for the close of a socket.
const CLOSE_TIMEOUT: Duration = Duration::from_secs(1);
/// The wait after a rate limit that names none.
const LIMITED_WAIT: Duration = Duration::from_secs(10);

/// The end of one connection.
#[derive(Clone, Copy, Debug)]
enum End {
    /// The feed reconnects.
    Again(Cause),
    /// The feed stops.
    Stop,
}

/// One live feed.
pub struct Feed<R> {
    config: FeedConfig,
    context: FeedContext,
    pipeline: Pipeline,
    changes: broadcast::Receiver<Announced>,
    last_frame: LastFrame,
    reconnects: Reconnects<R>,
    /// The books in the metrics.
    sync: SyncGauge,
    /// The listing of the venue, where whole tickers are followed.
    listings: Option<Listings>,
    facts: Facts,
    /// Reused for every frame.
    produced: Produced,
}

impl<R: Rng> Feed<R> {
    /// A feed that writes to the outputs of its context until they shut down.
    pub fn new(config: FeedConfig, context: FeedContext, rng: R) -> Self {
        let (name, streams) = (config.connection.name.clone(), &config.connection.streams);
        context.rooms().open(&name, streams.iter().cloned(), config.max_streams);
        let pipeline = Pipeline::new(config.venue, name, config.follow());
        Self {
            pipeline: pipeline.carrying(&config.connection.streams),
            sync: SyncGauge::new(config.venue, &context.metrics, context.now()),
            changes: context.changes.subscribe(),
            last_frame: context.metrics.watch(),
            reconnects: Reconnects::new(config.backoff, config.breaker, rng),
            listings: context.listings.clone(),
            facts: Facts::default(),
            config,
            context,
            produced: Produced::default(),
        }
    }

    /// Marks only its own pairs: the exchange needs other connections as well.
    #[must_use]
    pub fn one_of_several(mut self) -> Self {
        self.pipeline = self.pipeline.one_of_several();
        self
    }

    /// Reads the feed, over as many connections as it takes.
    pub async fn run(mut self) {
        let venue = self.config.venue.as_str();
        let books = self.config.book_streams().len();
        self.sync.set(books, books, self.context.now());
        loop {
            let cause = match self.attempt().await {
                End::Stop => return self.finish().await,
                End::Again(cause) => cause,
            };
            if self.disconnected().await.is_err() {
                return;
            }
            self.context.metrics.reconnects.with_label_values(&[venue, cause.as_str()]).inc();
            let wait = self.reconnects.wait_after(cause);
            tracing::warn!(
                venue, feed = self.name(), cause = cause.as_str(), url = self.config.url,
                wait = ?wait, "feed is down, connecting again"
            );
            let paused = self.reconnects.is_open();
            if paused {
                tracing::error!(
                    venue, feed = self.name(), pause = ?wait,
                    "the venue refused too often: correct --products or --currency"
                );
            }
            let breakers = self.context.metrics.breakers.with_label_values(&[venue]);
            breakers.add(i64::from(paused));
            let stopped = self.context.pause(wait).await;
            breakers.sub(i64::from(paused));
            if stopped {
                return self.finish().await;
            }
        }
    }

    fn name(&self) -> &str {
        &self.config.connection.name
    }

    /// One connection, from the rate limiter to its end.
    async fn attempt(&mut self) -> End {
        loop {
            let admitted = self.context.limiter().attempt(self.context.now());
            let Err(wait) = admitted else { break };
            if self.context.pause(wait).await {
                return End::Stop;
            }
        }
        let connected = tokio::select! {
            connected = socket::connect(self.config.url.clone()) => connected,
            () = self.context.stopped() => return End::Stop,
        };
        let venue = self.config.venue.as_str();
        let socket = match connected {
            Ok(socket) => socket,
            Err(failed) => return End::Again(self.failed(&failed)),
        };
        tracing::info!(venue, feed = self.name(), url = self.config.url, "feed is connected");
        let opened = self.opened();
        self.context.line(clock::now(), LineKind::Open, &self.config.url, &opened).await;
        let mut connection = self.connection(socket);
        let standing = self.context.metrics.connections.with_label_values(&[venue]);
        standing.inc();
        let end = self.read(&mut connection).await;
        standing.dec();
        if connection.session.granted() > 0 {
            self.reconnects.ended(self.context.now().saturating_sub(connection.since));
        }
        let _ = timeout(CLOSE_TIMEOUT, connection.socket.close(None)).await;
        end
    }

    /// Logs a failed attempt, and obeys a rate limit.
    fn failed(&self, failed: &Failed) -> Cause {
        let venue = self.config.venue.as_str();
        let (feed, url) = (self.name(), &self.config.url);
        tracing::warn!(venue, feed, url, error = %failed, "cannot connect");
        let Failed::Limited { wait, .. } = failed else { return Cause::Connect };
        self.context.close(wait.unwrap_or(LIMITED_WAIT));
        Cause::Limited
    }

    fn connection(&mut self, socket: Socket) -> Connection {
        let since = self.context.now();
        let (venue, streams) = (self.config.venue, &self.config.connection.streams);
        let (follow, timeouts) = (self.config.follow(), self.config.timeouts);
        let session = Session::new(venue, streams, follow, timeouts, since);
        let after = self.config.rotation.after;
        let rotate_at = after.map(|after| since + self.reconnects.rotate_after(after));
        let resyncs = self.resyncs();
        let snapshots = SnapshotClient::new(self.context.snapshots.clone());
        Connection { socket, session, since, rotate_at, resyncs, snapshots }
    }

    async fn read(&mut self, connection: &mut Connection) -> End {
        let context = self.context.clone();
        let mut rotation = Rotation::new(self.config.rotation.overlap);
        loop {
            let now = self.context.now();
            connection.take_slot(&self.context, now);
            if let Some(replacement) = rotation.standing() {
                replacement.take_slot(&self.context, now);
            }
            let (books, out_of_sync) = (connection.resyncs.len(), connection.resyncs.out_of_sync());
            self.sync.set(books, out_of_sync, now);
            let due = connection.next_due();
            let due = rotation.next_due(connection.rotate_at).map_or(due, |at| at.min(due));
            let end = tokio::select! {
                frame = connection.socket.next() => {
                    match self.frame(frame, connection, &mut rotation).await {
                        // The replacement has everything that the old connection had.
                        Err(End::Again(_)) if rotation.is_ready() => {
                            self.take_over(connection, &mut rotation).await
                        }
                        result => result,
                    }
                }
                event = rotation.event() => {
                    self.replacement(event, connection, &mut rotation).await
                }
                answer = connection.snapshots.answer() => {
                    self.answered(answer, connection, &mut rotation).await
                }
                () = sleep(due.saturating_sub(now)) => self.due(connection, &mut rotation).await,
                Ok(change) = self.changes.recv() => {
                    self.listed(&change, connection).await;
                    Ok(())
                }
                () = listings::changed(&mut self.listings) => self.read_listing(connection).await,
                () = context.stopped() => Err(End::Stop),
            };
            if let Err(end) = end {
                return end;
            }
        }
    }

    async fn frame(
        &mut self,
        frame: Option<Result<Frame, Error>>,
        connection: &mut Connection,
        rotation: &mut Rotation,
    ) -> Result<(), End> {
        let text = match frame {
            None | Some(Ok(Frame::Close(_))) => return Err(End::Again(Cause::Closed)),
            Some(Err(error)) => {
                let venue = self.config.venue.as_str();
                tracing::warn!(venue, feed = self.name(), %error, "connection broke");
                return Err(End::Again(Cause::Lost));
            }
            Some(Ok(Frame::Text(text))) => text,
            // The library answers pings, with their payload.
            Some(Ok(_)) => {
                self.last_frame.set(clock::now());
                connection.session.frame(false, self.context.now());
                return Ok(());
            }
        };
        let now = self.context.now();
        connection.session.frame(true, now);
        for control in self.publish(&text, clock::now(), connection, rotation).await? {
            let outcome = connection.session.accept(control, now);
            self.obey(outcome, connection).await?;
        }
        Ok(())
    }

    /// Passes on the records of a text frame; returns the messages that concern the connection.
    async fn publish(
        &mut self,
        text: &str,
        at: Timestamp,
        connection: &mut Connection,
        rotation: &mut Rotation,
    ) -> Result<Vec<Control>, End> {
        self.last_frame.set(at);
        self.context.line(at, LineKind::Frame, &self.config.url, text).await;
        let mut produced = std::mem::take(&mut self.produced);
        let controls = self.pipeline.frame(text, at, &mut produced);
        self.pass_on(produced, connection, rotation).await?;
        Ok(self.resync(controls, connection))
    }

    /// Counts records and passes them on.
    async fn pass_on(
        &mut self,
        mut produced: Produced,
        connection: &mut Connection,
        rotation: &mut Rotation,
    ) -> Result<(), End> {
        let (venue, now) = (self.config.venue, self.context.now());
        self.context.metrics.count(venue, &mut produced);
        for output in produced.outputs.drain(..) {
            match &output {
                Output::Event { pair, event } => {
                    connection.session.event(venue.class(pair), now);
                    if rotation.repeats(pair, event) {
                        self.context.metrics.repeated.with_label_values(&[venue.as_str()]).inc();
                        continue;
                    }
                }
                Output::Quote { pair, .. } => self.is_back(pair, connection),
                Output::Ticker { pair, ticker } => {
                    connection.session.event(venue.class(pair), now);
                    if rotation.has_newer(pair, ticker.event_time) {
                        let repeated = &self.context.metrics.tickers.repeated;
                        repeated.with_label_values(&[venue.as_str()]).inc();
                        continue;
                    }
                }
                _ => {}
            }
            self.context.outputs.send(output).await.map_err(|_| End::Stop)?;
        }
        self.produced = produced;
        Ok(())
    }

    /// Passes on the end of a connection.
    async fn disconnected(&mut self) -> Result<(), End> {
        let (at, books) = (clock::now(), self.config.book_streams().len());
        self.context.line(at, LineKind::Closed, &self.config.url, "").await;
        self.sync.set(books, books, self.context.now());
        self.miss_facts();
        let mut produced = std::mem::take(&mut self.produced);
        self.pipeline.disconnected(at, &mut produced);
        self.context.metrics.count(self.config.venue, &mut produced);
        self.send_all(&mut produced).await?;
        self.produced = produced;
        Ok(())
    }

    /// Passes on the end of the feed.
    async fn finish(mut self) {
        let mut produced = std::mem::take(&mut self.produced);
        self.pipeline.finish(&mut produced);
        // An error means that the sink has ended first, which is logged.
        let _ = self.send_all(&mut produced).await;
    }

    async fn send_all(&self, produced: &mut Produced) -> Result<(), End> {
        for output in produced.outputs.drain(..) {
            self.context.outputs.send(output).await.map_err(|_| End::Stop)?;
        }
        Ok(())
    }

    async fn obey(&mut self, outcome: Outcome, connection: &mut Connection) -> Result<(), End> {
        let (venue, feed) = (self.config.venue.as_str(), self.name());
        match outcome {
            Outcome::Go => {}
            Outcome::Complete => {
                let subscriptions = connection.session.granted();
                tracing::info!(venue, feed, subscriptions, "subscribed");
                self.reconnects.accepted();
                connection.resyncs.subscribed(self.context.now());
                let (now, streams) = (self.context.now(), &self.config.connection.streams);
                let class_of = self.config.venue.adapter().subscriptions.class_of_stream;
                for class in streams.iter().filter_map(|stream| class_of(stream)) {
                    connection.session.event(class, now);
                }
                self.tell_facts(connection).await?;
            }
            Outcome::Send(text) => self.send(connection, text).await?,
            Outcome::Rejected(reason) => {
                self.context.metrics.refused_streams.with_label_values(&[venue]).inc();
                tracing::warn!(venue, feed, reason, "the venue refused one of several streams");
                if connection.session.granted() > 0 {
                    self.reconnects.accepted();
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
                tracing::warn!(venue, feed, ?wait, "the venue is rate limiting");
                self.context.close(wait);
                return Err(End::Again(Cause::Limited));
            }
            Outcome::OnlyDepth(depth, reason) => self.change_depth(depth, &reason, connection),
            // The replacement is connected at once, and the old connection is read to its end.
            Outcome::Closing => connection.rotate_at = Some(self.context.now()),
            Outcome::Changed(change) => {
                if self.config.connection.grows {
                    listing::announce(&self.config, &self.context, change);
                }
            }
        }
        Ok(())
    }

    async fn send(&self, connection: &mut Connection, text: &str) -> Result<(), End> {
        let sent = connection.send(&self.context, &self.config.url, text).await;
        sent.map_err(|_| End::Again(Cause::Lost))
    }

    /// Does what is due for the connection and for its replacement.
    async fn due(
        &mut self,
        connection: &mut Connection,
        rotation: &mut Rotation,
    ) -> Result<(), End> {
        let now = self.context.now();
        self.due_of(connection, now).await?;
        self.ask_for_snapshots(connection, now);
        match rotation.step(connection.rotate_at, now) {
            Step::Wait => {}
            Step::Connect => self.connect_replacement(connection, rotation, now),
            Step::TakeOver => return self.take_over(connection, rotation).await,
        }
        if let Some(replacement) = rotation.standing() {
            if self.due_of(replacement, now).await.is_err() {
                self.abandon(connection, rotation);
            }
            rotation.check_granted(now);
        }
        if let Some((replacement, books)) = rotation.standing_books() {
            replacement.resyncs.learn(|pair| books.is_in_sync(pair));
            self.ask_for_snapshots(replacement, now);
        }
        Ok(())
    }

    async fn due_of(&mut self, connection: &mut Connection, now: Duration) -> Result<(), End> {
        while let Some(due) = connection.session.due(now) {
            self.act(due, connection).await?;
            connection.take_slot(&self.context, now);
        }
        Ok(())
    }

    async fn act(&mut self, due: Due, connection: &mut Connection) -> Result<(), End> {
        let (venue, feed) = (self.config.venue.as_str(), self.name());
        match due {
            Due::Send(text) => self.send(connection, &text).await,
            Due::Ping => connection.ping().await.map_err(|_| End::Again(Cause::Lost)),
            Due::Stale => Err(End::Again(Cause::Stale)),
            Due::Quiet(class) => {
                tracing::warn!(venue, feed, class = class.as_str(), "a class has fallen silent");
                Err(End::Again(Cause::Quiet))
            }
            Due::Unanswered(missing) => {
                let count = missing.len() as u64;
                self.context.metrics.refused_streams.with_label_values(&[venue]).inc_by(count);
                let names: Vec<_> = missing.iter().take(20).map(ToString::to_string).collect();
                let missing = names.join(",");
                tracing::warn!(venue, feed, count, missing, "subscriptions were not acknowledged");
                if connection.session.granted() == 0 {
                    return Err(End::Again(Cause::Refused));
                }
                self.reconnects.accepted();
                connection.resyncs.subscribed(self.context.now());
                self.tell_facts(connection).await
            }
        }
    }
}
