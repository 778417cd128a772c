//! What a feed is told at its start, and what it has in common with the others of its process.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use schemas::Timestamp;
use tokio::sync::{broadcast, mpsc, watch};
use venues::pipeline::Output;
use venues::{ListingChange, Venue};

use crate::backoff::Backoff;
use crate::budget::Gate;
use crate::capture::{Capture, Kind};
use crate::clock::Stopwatch;
use crate::connection::Patience;
use crate::metrics::Metrics;
use crate::plan::Line;

/// Changes of instruments that a feed may be behind: more than any venue lists at once.
const MAX_CHANGES: usize = 4096;

/// When a feed stops trying for a while.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Breaker {
    /// Refusals in a row.
    pub after: u32,
    /// For how long.
    pub pause: Duration,
}

/// Replacing a connection before the venue ends it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Rotation {
    /// The age at which it is replaced, less a tenth at random; never without it.
    pub after: Option<Duration>,
    /// How long both are read once the new one stands.
    pub overlap: Duration,
}

/// What a feed reads, and how patient it is.
#[derive(Clone, Debug)]
pub struct FeedConfig {
    /// Where.
    pub url: String,
    /// Whose protocol.
    pub venue: Venue,
    /// Its name, and what to subscribe.
    pub line: Line,
    /// The most streams that it may come to have.
    pub max_streams: usize,
    /// Silences after which a connection is given up.
    pub patience: Patience,
    /// Waits between attempts.
    pub backoff: Backoff,
    /// What is done about a connection's lifetime.
    pub rotation: Rotation,
    /// What is done about refusals.
    pub breaker: Breaker,
}

/// What all feeds of a process have in common.
#[derive(Clone)]
pub struct Surroundings {
    /// What is counted.
    pub metrics: Arc<Metrics>,
    /// Where outputs go.
    pub outputs: mpsc::Sender<Output>,
    /// Turns true when it is time to stop.
    pub shutdown: watch::Receiver<bool>,
    /// The budget. Guards a few numbers; never held across an await.
    pub gate: Arc<Mutex<Gate>>,
    /// Instruments that come and go, from the feed that hears of them to all.
    pub changes: broadcast::Sender<ListingChange>,
    /// The time that the gate is asked about.
    pub watch: Stopwatch,
    /// Where everything that is read and sent is written down, if anywhere.
    pub capture: Option<Capture>,
}

impl Surroundings {
    /// With a gate of its own, and from now on.
    pub fn new(
        metrics: Arc<Metrics>,
        outputs: mpsc::Sender<Output>,
        shutdown: watch::Receiver<bool>,
        gate: Gate,
    ) -> Self {
        Self {
            metrics,
            outputs,
            shutdown,
            gate: Arc::new(Mutex::new(gate)),
            changes: broadcast::Sender::new(MAX_CHANGES),
            watch: Stopwatch::start(),
            capture: None,
        }
    }

    /// Writes down everything that is read and sent.
    #[must_use]
    pub fn captured(self, capture: Option<Capture>) -> Self {
        Self { capture, ..self }
    }

    /// Writes a line down. Once that has failed, which the capture says itself, nothing is.
    pub(crate) async fn line(&self, at: Timestamp, kind: Kind, url: &str, raw: &str) {
        if let Some(capture) = &self.capture {
            capture.line(at.0.saturating_mul(1000), kind, url, raw).await;
        }
    }

    /// The time since the process began.
    pub(crate) fn now(&self) -> Duration {
        self.watch.elapsed()
    }

    pub(crate) fn gate(&self) -> MutexGuard<'_, Gate> {
        self.gate.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
