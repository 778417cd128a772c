//! The requests from clients to the hub, and one bounded queue of messages per client.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::mpsc::SyncSender;

use rustc_hash::FxHashMap;
use tokio::sync::{mpsc, oneshot};

use super::metrics::StreamMetrics;
use super::pattern::Pattern;
use super::protocol::{Frame, Frames, Resume};

/// Deliveries queued for one client: the answers to twice as many subscriptions as it may have, or
/// the updates of so many ticks, half a minute by default. Queued rows are shared with the other
/// subscribers.
pub(super) const QUEUE: usize = 2 * MAX_SUBSCRIPTIONS;
/// Bytes queued for one client, beyond which it is disconnected: more than a snapshot of every
/// pair.
const MAX_WAITING: usize = 8 << 20;
/// Queued requests of all clients; further ones are refused as busy.
pub(super) const REQUESTS: usize = 16_384;
/// Subscriptions of one client: a screen full of charts.
pub(super) const MAX_SUBSCRIPTIONS: usize = 64;

/// The messages that a client gets at one moment.
#[derive(Default)]
pub(super) struct Delivery {
    frames: Vec<Frames>,
    /// Bytes of all frames.
    pub(super) bytes: usize,
}

impl Delivery {
    /// Every frame, in order.
    pub(super) fn frames(&self) -> impl Iterator<Item = &Frame> {
        self.frames.iter().flat_map(|frames| frames.iter())
    }

    fn push(&mut self, frames: &Frames) {
        self.bytes += frames.iter().map(Frame::len).sum::<usize>();
        self.frames.push(Arc::clone(frames));
    }
}

/// The hub's end of a client's queue.
pub(super) struct Inbox {
    queue: mpsc::Sender<Delivery>,
    waiting: Arc<AtomicUsize>,
}

/// The client's end of its queue.
pub(super) struct ClientOutbox {
    queue: mpsc::Receiver<Delivery>,
    /// Bytes that are not sent yet.
    waiting: Arc<AtomicUsize>,
}

/// A queue with room for so many deliveries.
pub(super) fn queue(deliveries: usize) -> (Inbox, ClientOutbox) {
    let (sender, receiver) = mpsc::channel(deliveries);
    let waiting = Arc::<AtomicUsize>::default();
    let inbox = Inbox { queue: sender, waiting: Arc::clone(&waiting) };
    (inbox, ClientOutbox { queue: receiver, waiting })
}

impl Inbox {
    /// False when the queue is full: the client is too slow.
    fn put(&self, delivery: Delivery) -> bool {
        if self.waiting.load(Ordering::Relaxed) > MAX_WAITING {
            return false;
        }
        self.waiting.fetch_add(delivery.bytes, Ordering::Relaxed);
        // A closed queue belongs to a client that is leaving.
        !matches!(self.queue.try_send(delivery), Err(mpsc::error::TrySendError::Full(_)))
    }
}

impl ClientOutbox {
    /// The next delivery; `None` after the last.
    pub(super) async fn next(&mut self) -> Option<Delivery> {
        self.queue.recv().await
    }

    /// Frees the room of bytes that were sent.
    pub(super) fn sent(&self, bytes: usize) {
        self.waiting.fetch_sub(bytes, Ordering::Relaxed);
    }

    /// The next delivery, if one is queued.
    #[cfg(test)]
    pub(super) fn take(&mut self) -> Option<Delivery> {
        let delivery = self.queue.try_recv().ok()?;
        self.sent(delivery.bytes);
        Some(delivery)
    }
}

/// A client's number.
pub(super) type ClientId = u64;

/// The reason to disconnect a client.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum CloseReason {
    /// Its queue is full.
    Slow,
    /// Readers hold too much memory, and this client has the longest queue.
    Memory,
    /// The process stops.
    Stopping,
}

impl CloseReason {
    /// The name in messages and metrics.
    pub(super) const fn as_str(self) -> &'static str {
        match self {
            Self::Slow => "slow",
            Self::Memory => "memory",
            Self::Stopping => "stopping",
        }
    }
}

/// A request from a client to the hub.
pub(super) enum HubRequest {
    /// A client has connected.
    Join {
        /// The client's number.
        client: ClientId,
        /// The queue of its messages.
        queue: Inbox,
        /// Receives the reason when it is disconnected.
        end: oneshot::Sender<CloseReason>,
    },
    /// The client subscribes.
    Subscribe {
        /// The client's number.
        client: ClientId,
        /// The client's own id of the subscription.
        id: u32,
        /// The pairs that it subscribes to.
        pattern: Pattern,
        /// The token to resume from.
        resume: Option<Resume>,
    },
    /// The client unsubscribes.
    Unsubscribe {
        /// The client's number.
        client: ClientId,
        /// The client's own id of the subscription.
        id: u32,
    },
    /// The client has disconnected.
    Leave {
        /// The client's number.
        client: ClientId,
    },
}

/// The clients' handle of the hub.
#[derive(Clone)]
pub(super) struct HubHandle {
    pub(super) requests: SyncSender<HubRequest>,
    /// Ticks per second.
    pub(super) updates_per_second: u32,
}

impl HubHandle {
    /// Sends a request; false when the hub is too busy or has stopped.
    pub(super) fn ask(&self, command: HubRequest) -> bool {
        self.requests.try_send(command).is_ok()
    }
}

/// A client as the hub knows it.
pub(super) struct HubClient {
    queue: Inbox,
    end: oneshot::Sender<CloseReason>,
    /// The delivery of the current moment, before it is queued.
    pending: Delivery,
    /// Its subscriptions, by its own ids.
    pub(super) subscriptions: HashMap<u32, ClientSubscription>,
}

/// A subscription of one client.
pub(super) struct ClientSubscription {
    /// Its channel and pairs.
    pub(super) pattern: Pattern,
    /// The number under which it waits for its first rows, while it does.
    pub(super) waits: Option<u64>,
}

impl HubClient {
    /// Whether some subscription still waits for its first rows.
    fn waits(&self) -> bool {
        self.subscriptions.values().any(|subscription| subscription.waits.is_some())
    }
}

/// All clients.
pub(super) struct Clients {
    known: FxHashMap<ClientId, HubClient>,
    /// Clients with a pending delivery.
    given: Vec<ClientId>,
    metrics: StreamMetrics,
}

impl Clients {
    /// Without clients.
    pub(super) fn new(metrics: StreamMetrics) -> Self {
        Self { known: FxHashMap::default(), given: Vec::new(), metrics }
    }

    /// Adds a client.
    pub(super) fn add(
        &mut self,
        client: ClientId,
        queue: Inbox,
        end: oneshot::Sender<CloseReason>,
    ) {
        let (pending, subscriptions) = (Delivery::default(), HashMap::new());
        self.known.insert(client, HubClient { queue, end, pending, subscriptions });
    }

    /// The client of that number.
    pub(super) fn get(&mut self, client: ClientId) -> Option<&mut HubClient> {
        self.known.get_mut(&client)
    }

    /// Whether there is no client.
    pub(super) fn is_empty(&self) -> bool {
        self.known.is_empty()
    }

    /// Adds frames to a client's pending delivery.
    pub(super) fn give(&mut self, client: ClientId, frames: &Frames) {
        let Some(known) = self.known.get_mut(&client) else { return };
        if known.pending.frames.is_empty() {
            self.given.push(client);
        }
        known.pending.push(frames);
    }

    /// Gives every client a heartbeat: `bare` to those that wait for first rows, `full` to the
    /// others.
    pub(super) fn send_heartbeat(&mut self, full: &Frames, bare: &Frames) {
        for client in self.all() {
            let waits = self.known.get(&client).is_some_and(HubClient::waits);
            self.give(client, if waits { bare } else { full });
        }
    }

    /// The clients with the most bytes queued, slowest first, until `bytes` are reached.
    pub(super) fn slowest(&self, bytes: usize) -> Vec<ClientId> {
        let waiting = |client: &HubClient| client.queue.waiting.load(Ordering::Relaxed);
        let mut slow: Vec<_> =
            self.known.iter().map(|(id, client)| (waiting(client), *id)).collect();
        slow.retain(|(waiting, _)| *waiting > 0);
        slow.sort_unstable_by(|one, other| other.cmp(one));
        let mut left = bytes;
        let enough = slow.iter().take_while(|(waiting, _)| {
            let more = left > 0;
            left = left.saturating_sub(*waiting);
            more
        });
        enough.map(|(_, client)| *client).collect()
    }

    /// Queues the pending deliveries. Returns the clients whose queue is full.
    pub(super) fn send(&mut self) -> Vec<ClientId> {
        let mut slow = Vec::new();
        for client in self.given.drain(..) {
            let Some(known) = self.known.get_mut(&client) else { continue };
            let delivery = std::mem::take(&mut known.pending);
            self.metrics.messages.inc_by(delivery.frames().count() as u64);
            if !known.queue.put(delivery) {
                slow.push(client);
            }
        }
        slow
    }

    /// Clients that have closed their queue without a request, because the hub was too busy.
    pub(super) fn gone(&self) -> Vec<ClientId> {
        let gone = self.known.iter().filter(|(_, client)| client.queue.queue.is_closed());
        gone.map(|(client, _)| *client).collect()
    }

    /// The numbers of all clients.
    pub(super) fn all(&self) -> Vec<ClientId> {
        self.known.keys().copied().collect()
    }

    /// Removes a client, and sends it the reason if there is one. Returns its subscriptions.
    pub(super) fn remove(
        &mut self,
        client: ClientId,
        why: Option<CloseReason>,
    ) -> HashMap<u32, ClientSubscription> {
        let Some(HubClient { subscriptions, end, .. }) = self.known.remove(&client) else {
            return HashMap::new();
        };
        self.metrics.subscriptions.sub(i64::try_from(subscriptions.len()).unwrap_or(0));
        if let Some(why) = why {
            self.metrics.dropped.with_label_values(&[why.as_str()]).inc();
            // A client that has left meanwhile needs no reason.
            let _ = end.send(why);
        }
        subscriptions
    }
}
