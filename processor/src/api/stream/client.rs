//! One streaming client of either transport. Dropping it frees its permit and removes it from the
//! hub.

use std::sync::atomic::Ordering;
use std::time::Duration;

use axum::http::HeaderMap;
use tokio::sync::{OwnedSemaphorePermit, oneshot};

use super::client_queue::{ClientOutbox, CloseReason, HubRequest, QUEUE, queue};
use super::service::StreamService;
use crate::api::budget::Budget;
use crate::api::error::{Refusal, Result};

/// Copies of a message while it is sent: one written for this client, and the socket's own.
pub(super) const COPIES: usize = 2;
/// The time in which a client that is disconnected may read the reason.
pub(super) const CLOSE_TIMEOUT: Duration = Duration::from_secs(5);

/// A permit for one more client, or the refusal.
pub(super) fn enter(
    streaming: &StreamService,
    headers: &HeaderMap,
) -> Result<OwnedSemaphorePermit> {
    let refuse = |reason: &str, refusal: Refusal| {
        streaming.metrics.dropped.with_label_values(&[reason]).inc();
        refusal
    };
    if !streaming.origins.allow(headers) {
        let text = "this origin may not stream: add it to --allowed-origins";
        return Err(refuse("origin", Refusal::forbidden(text)));
    }
    let permit = streaming.client_permits.clone().try_acquire_owned();
    permit.map_err(|_| refuse("full", Refusal::full()))
}

/// A client that has joined the hub.
pub(super) struct StreamClient {
    pub(super) streaming: StreamService,
    transport: &'static str,
    /// The number by which the hub knows it.
    pub(super) number: u64,
    /// The messages to send.
    pub(super) queue: ClientOutbox,
    /// The reason why the hub disconnects it.
    pub(super) end: oneshot::Receiver<CloseReason>,
    _permit: OwnedSemaphorePermit,
}

impl StreamClient {
    /// Joins the hub; `None` when the hub is too busy.
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

    /// The bound on the memory that readers hold.
    pub(super) fn budget(&self) -> Budget {
        self.streaming.reads.budget.clone()
    }

    /// Sends a request to the hub; false when it is too busy.
    pub(super) fn ask(&self, command: HubRequest) -> bool {
        self.streaming.hub.ask(command)
    }
}

impl Drop for StreamClient {
    fn drop(&mut self) {
        self.streaming.metrics.clients.with_label_values(&[self.transport]).dec();
        // If the hub is too busy, it finds the closed queue later.
        self.ask(HubRequest::Leave { client: self.number });
    }
}
