//! Between clients and the hub: what they ask, and the queues through which they are answered.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::mpsc::SyncSender;

use rustc_hash::FxHashMap;
use tokio::sync::{mpsc, oneshot};

use super::metrics::Metrics;
use super::pattern::Pattern;
use super::protocol::{Frames, Resume};

/// Deliveries that wait for one client: at the most updates a second that can be set, what a client
/// may be behind is three seconds; its socket's own buffers come on top.
pub(super) const QUEUE: usize = 64;
/// Requests of all clients that wait for the hub; more are refused as busy.
pub(super) const REQUESTS: usize = 16_384;
/// Subscriptions of one client: a screen full of charts.
pub(super) const MAX_SUBSCRIPTIONS: usize = 64;

/// A client's number.
pub(super) type ClientId = u64;

/// Why a client is sent away.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum End {
    /// Its queue was full.
    Slow,
    /// The process ends.
    Stopping,
}

impl End {
    /// As clients and metrics are told.
    pub(super) const fn as_str(self) -> &'static str {
        match self {
            Self::Slow => "slow",
            Self::Stopping => "stopping",
        }
    }
}

/// What clients ask of the hub.
pub(super) enum Command {
    /// A client has come.
    Join {
        /// Its number.
        client: ClientId,
        /// Where its frames go.
        queue: mpsc::Sender<Frames>,
        /// Told when it is sent away.
        end: oneshot::Sender<End>,
    },
    /// It wants to hear of something.
    Subscribe {
        /// Its number.
        client: ClientId,
        /// Its number for it.
        id: u32,
        /// What.
        pattern: Pattern,
        /// From where on.
        resume: Option<Resume>,
    },
    /// It no longer does.
    Unsubscribe {
        /// Its number.
        client: ClientId,
        /// Its number for it.
        id: u32,
    },
    /// It has gone.
    Leave {
        /// Its number.
        client: ClientId,
    },
}

/// How clients reach the hub.
#[derive(Clone)]
pub(super) struct Door {
    pub(super) requests: SyncSender<Command>,
    /// Ticks a second.
    pub(super) updates_per_second: u32,
}

impl Door {
    /// Asks something; false when the hub is too busy, or gone.
    pub(super) fn ask(&self, command: Command) -> bool {
        self.requests.try_send(command).is_ok()
    }
}

/// A client as the hub knows it.
pub(super) struct Client {
    queue: mpsc::Sender<Frames>,
    end: oneshot::Sender<End>,
    /// What it hears of, by its own numbers.
    pub(super) subscriptions: HashMap<u32, Pattern>,
}

/// Every client, and those whose queue was full.
pub(super) struct Clients {
    known: FxHashMap<ClientId, Client>,
    slow: Vec<ClientId>,
    metrics: Metrics,
}

impl Clients {
    /// Nobody.
    pub(super) fn new(metrics: Metrics) -> Self {
        Self { known: FxHashMap::default(), slow: Vec::new(), metrics }
    }

    /// One more.
    pub(super) fn add(
        &mut self,
        client: ClientId,
        queue: mpsc::Sender<Frames>,
        end: oneshot::Sender<End>,
    ) {
        self.known.insert(client, Client { queue, end, subscriptions: HashMap::new() });
    }

    /// One of them.
    pub(super) fn get(&mut self, client: ClientId) -> Option<&mut Client> {
        self.known.get_mut(&client)
    }

    /// Nobody is here.
    pub(super) fn is_empty(&self) -> bool {
        self.known.is_empty()
    }

    /// Puts frames into a client's queue, or notes that it is full.
    pub(super) fn give(&mut self, client: ClientId, frames: &Frames) {
        let Some(known) = self.known.get(&client) else { return };
        match known.queue.try_send(Arc::clone(frames)) {
            Ok(()) => self.metrics.messages.inc_by(frames.len() as u64),
            Err(mpsc::error::TrySendError::Full(_)) => self.slow.push(client),
            // It is about to leave.
            Err(mpsc::error::TrySendError::Closed(_)) => {}
        }
    }

    /// Puts frames into every queue.
    pub(super) fn give_all(&mut self, frames: &Frames) {
        let all: Vec<ClientId> = self.known.keys().copied().collect();
        all.into_iter().for_each(|client| self.give(client, frames));
    }

    /// Those whose queue was full since this was last asked.
    pub(super) fn take_slow(&mut self) -> Vec<ClientId> {
        std::mem::take(&mut self.slow)
    }

    /// Those who have gone without a word: the hub was too busy to hear it.
    pub(super) fn gone(&self) -> Vec<ClientId> {
        let gone = self.known.iter().filter(|(_, client)| client.queue.is_closed());
        gone.map(|(client, _)| *client).collect()
    }

    /// Everybody.
    pub(super) fn all(&self) -> Vec<ClientId> {
        self.known.keys().copied().collect()
    }

    /// Forgets a client, and tells it why if it is sent away. Returns what it heard of.
    pub(super) fn remove(&mut self, client: ClientId, why: Option<End>) -> HashMap<u32, Pattern> {
        let Some(Client { subscriptions, end, .. }) = self.known.remove(&client) else {
            return HashMap::new();
        };
        self.metrics.subscriptions.sub(i64::try_from(subscriptions.len()).unwrap_or(0));
        if let Some(why) = why {
            self.metrics.dropped.with_label_values(&[why.as_str()]).inc();
            // Who has gone meanwhile need not be told.
            let _ = end.send(why);
        }
        subscriptions
    }
}
