//! Between clients and the hub: what they ask, and the queues through which they are answered.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::mpsc::SyncSender;

use rustc_hash::FxHashMap;
use tokio::sync::{mpsc, oneshot};

use super::metrics::StreamMetrics;
use super::pattern::Pattern;
use super::protocol::{Frame, Frames, Resume};

/// Deliveries that wait for one client: the answers to twice as many subscriptions as it may have, or
/// the updates of so many ticks, half a minute of them unless set otherwise. What waits is shared with
/// those who have read it already.
pub(super) const QUEUE: usize = 2 * MAX_SUBSCRIPTIONS;
/// Bytes that wait for one client, beyond which it gets no more: a snapshot of everything, and some.
const MAX_WAITING: usize = 8 << 20;
/// Requests of all clients that wait for the hub; more are refused as busy.
pub(super) const REQUESTS: usize = 16_384;
/// Subscriptions of one client: a screen full of charts.
pub(super) const MAX_SUBSCRIPTIONS: usize = 64;

/// What a client is sent at one moment.
#[derive(Default)]
pub(super) struct Delivery {
    frames: Vec<Frames>,
    /// Of all of them.
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

/// Where a client's deliveries go.
pub(super) struct Inbox {
    queue: mpsc::Sender<Delivery>,
    waiting: Arc<AtomicUsize>,
}

/// Where a client takes its deliveries from.
pub(super) struct Outbox {
    queue: mpsc::Receiver<Delivery>,
    /// Bytes of what was not sent yet.
    waiting: Arc<AtomicUsize>,
}

/// A queue of one client, with room for so many deliveries.
pub(super) fn queue(deliveries: usize) -> (Inbox, Outbox) {
    let (sender, receiver) = mpsc::channel(deliveries);
    let waiting = Arc::<AtomicUsize>::default();
    let inbox = Inbox { queue: sender, waiting: Arc::clone(&waiting) };
    (inbox, Outbox { queue: receiver, waiting })
}

impl Inbox {
    /// False when there is no room: the client is slow.
    fn put(&self, delivery: Delivery) -> bool {
        if self.waiting.load(Ordering::Relaxed) > MAX_WAITING {
            return false;
        }
        self.waiting.fetch_add(delivery.bytes, Ordering::Relaxed);
        // Whoever has closed it is about to leave.
        !matches!(self.queue.try_send(delivery), Err(mpsc::error::TrySendError::Full(_)))
    }
}

impl Outbox {
    /// The next delivery; `None` when no more come.
    pub(super) async fn next(&mut self) -> Option<Delivery> {
        self.queue.recv().await
    }

    /// So many bytes are sent, and make room.
    pub(super) fn sent(&self, bytes: usize) {
        self.waiting.fetch_sub(bytes, Ordering::Relaxed);
    }

    /// The next delivery, if it waits already.
    #[cfg(test)]
    pub(super) fn take(&mut self) -> Option<Delivery> {
        let delivery = self.queue.try_recv().ok()?;
        self.sent(delivery.bytes);
        Some(delivery)
    }
}

/// A client's number.
pub(super) type ClientId = u64;

/// Why a client is sent away.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum CloseReason {
    /// Its queue was full.
    Slow,
    /// Readers hold too much memory, and most of it waits for this one.
    Memory,
    /// The process ends.
    Stopping,
}

impl CloseReason {
    /// As clients and metrics are told.
    pub(super) const fn as_str(self) -> &'static str {
        match self {
            Self::Slow => "slow",
            Self::Memory => "memory",
            Self::Stopping => "stopping",
        }
    }
}

/// What clients ask of the hub.
pub(super) enum HubRequest {
    /// A client has come.
    Join {
        /// Its number.
        client: ClientId,
        /// Where its frames go.
        queue: Inbox,
        /// Told when it is sent away.
        end: oneshot::Sender<CloseReason>,
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
pub(super) struct HubHandle {
    pub(super) requests: SyncSender<HubRequest>,
    /// Ticks a second.
    pub(super) updates_per_second: u32,
}

impl HubHandle {
    /// Asks something; false when the hub is too busy, or gone.
    pub(super) fn ask(&self, command: HubRequest) -> bool {
        self.requests.try_send(command).is_ok()
    }
}

/// A client as the hub knows it.
pub(super) struct HubClient {
    queue: Inbox,
    end: oneshot::Sender<CloseReason>,
    /// What goes into the queue when the hub has given it everything of the moment.
    pending: Delivery,
    /// What it hears of, by its own numbers.
    pub(super) subscriptions: HashMap<u32, Subscription>,
}

/// What a client asked for.
pub(super) struct Subscription {
    /// Which pairs.
    pub(super) pattern: Pattern,
    /// The number under which it waits for its beginning, while it does.
    pub(super) waits: Option<u64>,
}

impl HubClient {
    /// It has not got the beginning of each of its subscriptions.
    fn waits(&self) -> bool {
        self.subscriptions.values().any(|subscription| subscription.waits.is_some())
    }
}

/// Every client, and those whose queue was full.
pub(super) struct Clients {
    known: FxHashMap<ClientId, HubClient>,
    /// Those with something pending.
    given: Vec<ClientId>,
    metrics: StreamMetrics,
}

impl Clients {
    /// Nobody.
    pub(super) fn new(metrics: StreamMetrics) -> Self {
        Self { known: FxHashMap::default(), given: Vec::new(), metrics }
    }

    /// One more.
    pub(super) fn add(
        &mut self,
        client: ClientId,
        queue: Inbox,
        end: oneshot::Sender<CloseReason>,
    ) {
        let (pending, subscriptions) = (Delivery::default(), HashMap::new());
        self.known.insert(client, HubClient { queue, end, pending, subscriptions });
    }

    /// One of them.
    pub(super) fn get(&mut self, client: ClientId) -> Option<&mut HubClient> {
        self.known.get_mut(&client)
    }

    /// Nobody is here.
    pub(super) fn is_empty(&self) -> bool {
        self.known.is_empty()
    }

    /// Something for a client, to be sent with everything else of the moment.
    pub(super) fn give(&mut self, client: ClientId, frames: &Frames) {
        let Some(known) = self.known.get_mut(&client) else { return };
        if known.pending.frames.is_empty() {
            self.given.push(client);
        }
        known.pending.push(frames);
    }

    /// A heartbeat for everybody: `bare` is for those who wait for a beginning.
    pub(super) fn beat(&mut self, full: &Frames, bare: &Frames) {
        for client in self.all() {
            let waits = self.known.get(&client).is_some_and(HubClient::waits);
            self.give(client, if waits { bare } else { full });
        }
    }

    /// The clients for which most bytes wait, slowest first, that hold so many bytes together.
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

    /// Puts what was given into the queues. Returns the clients whose queue was full.
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

    /// Those who have gone without a word: the hub was too busy to hear it.
    pub(super) fn gone(&self) -> Vec<ClientId> {
        let gone = self.known.iter().filter(|(_, client)| client.queue.queue.is_closed());
        gone.map(|(client, _)| *client).collect()
    }

    /// Everybody.
    pub(super) fn all(&self) -> Vec<ClientId> {
        self.known.keys().copied().collect()
    }

    /// Forgets a client, and tells it why if it is sent away. Returns what it heard of.
    pub(super) fn remove(
        &mut self,
        client: ClientId,
        why: Option<CloseReason>,
    ) -> HashMap<u32, Subscription> {
        let Some(HubClient { subscriptions, end, .. }) = self.known.remove(&client) else {
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
