//! The settings of a feed, and the context that all feeds of a process share.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use schemas::Timestamp;
use tokio::sync::{broadcast, mpsc, watch};
use tokio::time::sleep;
use venues::pipeline::Output;
use venues::{Follow, Venue};

use super::backoff::Backoff;
use super::books::snapshots::Snapshots;
use super::capture::{Capture, LineKind};
use super::listing::Announced;
use super::listings::Listings;
use super::rooms::Rooms;
use super::session::Timeouts;
use crate::clock::Stopwatch;
use crate::metrics::Metrics;
use crate::plan::ConnectionPlan;
use crate::plan::budget::RateLimiter;
use crate::plan::followed::Followed;

/// Listing changes that a feed may be behind: more than any venue lists at once.
const MAX_CHANGES: usize = 4096;

/// The rule by which a feed pauses connecting.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CircuitBreaker {
    /// Consecutive refusals.
    pub after: u32,
    /// The pause.
    pub pause: Duration,
}

/// The rule by which a connection is replaced.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RotationConfig {
    /// The age of the connection, less a random tenth; `None` is never.
    pub after: Option<Duration>,
    /// The time in which both connections are read.
    pub overlap: Duration,
}

/// The settings of a feed.
#[derive(Clone, Debug)]
pub struct FeedConfig {
    /// The address.
    pub url: String,
    /// The venue.
    pub venue: Venue,
    /// The name of the feed and its streams.
    pub connection: ConnectionPlan,
    /// The data that is followed of each product.
    pub followed: Followed,
    /// The most streams that it may come to have.
    pub max_streams: usize,
    /// Silences after which a connection is given up.
    pub timeouts: Timeouts,
    /// Waits between attempts.
    pub backoff: Backoff,
    /// The rule by which a connection is replaced.
    pub rotation: RotationConfig,
    /// The rule by which connecting is paused.
    pub breaker: CircuitBreaker,
}

/// The context that all feeds of a process share.
#[derive(Clone)]
pub struct FeedContext {
    /// The metrics.
    pub metrics: Arc<Metrics>,
    /// The channel of the records.
    pub outputs: mpsc::Sender<Output>,
    /// Turns true when the feeds must stop.
    pub shutdown: watch::Receiver<bool>,
    /// The limits of the venue. Guards a few numbers; never held across an await.
    pub limiter: Arc<Mutex<RateLimiter>>,
    /// Listing changes, from the feed that carries the listing to all.
    pub(super) changes: broadcast::Sender<Announced>,
    /// The streams of all connections. Guards a few sets of names; never held across an await.
    rooms: Arc<Mutex<Rooms>>,
    /// The time that the limiter is asked about.
    pub watch: Stopwatch,
    /// The requests for snapshots of books, if any.
    pub snapshots: Option<Snapshots>,
    /// The listing of the venue, where whole tickers are followed.
    pub listings: Option<Listings>,
    /// The capture of everything read and sent, if any.
    pub capture: Option<Capture>,
}

impl FeedConfig {
    /// The channels and the depth of books.
    pub(super) fn follow(&self) -> Follow {
        self.followed.follow
    }

    /// The streams of books.
    pub(super) fn book_streams(&self) -> Vec<String> {
        let pair_of = self.venue.adapter().books.pair_of_stream;
        let streams = self.connection.streams.iter();
        streams.filter(|stream| pair_of(stream).is_some()).cloned().collect()
    }
}

impl FeedContext {
    /// A context that starts now and has no capture.
    pub fn new(
        metrics: Arc<Metrics>,
        outputs: mpsc::Sender<Output>,
        shutdown: watch::Receiver<bool>,
        limiter: RateLimiter,
    ) -> Self {
        Self {
            metrics,
            outputs,
            shutdown,
            limiter: Arc::new(Mutex::new(limiter)),
            changes: broadcast::Sender::new(MAX_CHANGES),
            rooms: Arc::default(),
            watch: Stopwatch::start(),
            snapshots: None,
            listings: None,
            capture: None,
        }
    }

    /// The same for a feed whose records go elsewhere, and which stops by itself.
    #[must_use]
    pub fn beside(self, outputs: mpsc::Sender<Output>, shutdown: watch::Receiver<bool>) -> Self {
        Self { outputs, shutdown, ..self }
    }

    /// Fetches snapshots of books.
    #[must_use]
    pub fn fetching(self, snapshots: Option<Snapshots>) -> Self {
        Self { snapshots, ..self }
    }

    /// Tells the facts of instruments.
    #[must_use]
    pub fn listing(self, listings: Option<Listings>) -> Self {
        Self { listings, ..self }
    }

    /// Captures everything that is read and sent.
    #[must_use]
    pub fn captured(self, capture: Option<Capture>) -> Self {
        Self { capture, ..self }
    }

    /// Writes a line to the capture. After a failure, which the capture logs, nothing is written.
    pub(super) async fn line(&self, at: Timestamp, kind: LineKind, url: &str, raw: &str) {
        if let Some(capture) = &self.capture {
            capture.line(at.0.saturating_mul(1000), kind, url, raw).await;
        }
    }

    /// The time since the process began.
    pub(super) fn now(&self) -> Duration {
        self.watch.elapsed()
    }

    /// Ends when the feeds must stop.
    pub(super) async fn stopped(&self) {
        // An error says that the sender is gone, which stops the feeds as well.
        let _ = self.shutdown.clone().wait_for(|stop| *stop).await;
    }

    /// Waits; true when the feeds must stop.
    pub(super) async fn pause(&self, wait: Duration) -> bool {
        tokio::select! {
            () = sleep(wait) => false,
            () = self.stopped() => true,
        }
    }

    /// No feed of this process connects for this time.
    pub(super) fn close(&self, wait: Duration) {
        self.limiter().close(self.now(), wait);
    }

    pub(super) fn rooms(&self) -> MutexGuard<'_, Rooms> {
        self.rooms.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn limiter(&self) -> MutexGuard<'_, RateLimiter> {
        self.limiter.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
