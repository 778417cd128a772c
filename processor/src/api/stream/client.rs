//! One streaming client, whatever its transport: admitted, known to the hub, and gone when dropped.

use std::sync::atomic::Ordering;
use std::time::Duration;

use axum::http::HeaderMap;
use tokio::sync::{OwnedSemaphorePermit, oneshot};

use super::client_queue::{CloseReason, HubRequest, Outbox, QUEUE, queue};
use super::service::StreamService;
use crate::api::budget::Budget;
use crate::api::error::Refusal;

/// Of a message while it is sent: the one that is written for this client, and the socket's own.
pub(super) const COPIES: usize = 2;
/// How long a client that is sent away may take to hear why.
pub(super) const FAREWELL: Duration = Duration::from_secs(5);

/// A place for one more client, or why there is none.
pub(super) fn enter(
    streaming: &StreamService,
    headers: &HeaderMap,
) -> Result<OwnedSemaphorePermit, Refusal> {
    let refuse = |reason: &str, refusal: Refusal| {
        streaming.metrics.dropped.with_label_values(&[reason]).inc();
        refusal
    };
    if !streaming.origins.allow(headers) {
        let text = "this origin may not stream here: --allowed-origins";
        return Err(refuse("origin", Refusal::forbidden(text)));
    }
    let place = streaming.client_permits.clone().try_acquire_owned();
    place.map_err(|_| refuse("full", Refusal::full()))
}

/// A client that the hub knows.
pub(super) struct StreamClient {
    pub(super) streaming: StreamService,
    transport: &'static str,
    /// Its number.
    pub(super) number: u64,
    /// What it is to be sent.
    pub(super) queue: Outbox,
    /// Why it is sent away.
    pub(super) end: oneshot::Receiver<CloseReason>,
    _permit: OwnedSemaphorePermit,
}

impl StreamClient {
    /// Introduces a client to the hub; `None` when the hub is too busy.
    pub(super) fn new(
        streaming: StreamService,
        transport: &'static str,
        permit: OwnedSemaphorePermit,
    ) -> Option<Self> {
        let number = streaming.next.fetch_add(1, Ordering::Relaxed);
        let (sender, queue) = queue(QUEUE);
        let (ends, end) = oneshot::channel();
        if !streaming.hub.ask(HubRequest::Join { client: number, queue: sender, end: ends }) {
            streaming.metrics.dropped.with_label_values(&["busy"]).inc();
            return None;
        }
        streaming.metrics.clients.with_label_values(&[transport]).inc();
        Some(Self { streaming, transport, number, queue, end, _permit: permit })
    }

    /// The memory of what readers have not taken yet.
    pub(super) fn budget(&self) -> Budget {
        self.streaming.reads.budget.clone()
    }

    /// Asks the hub something; false when it is too busy.
    pub(super) fn ask(&self, command: HubRequest) -> bool {
        self.streaming.hub.ask(command)
    }
}

impl Drop for StreamClient {
    fn drop(&mut self) {
        self.streaming.metrics.clients.with_label_values(&[self.transport]).dec();
        // A hub that is too busy finds its queue closed.
        self.ask(HubRequest::Leave { client: self.number });
    }
}
