//! One WebSocket client: from its messages to the hub, from its queue to the socket.
//!
//! Invariant: after a client is disconnected, the task ends in bounded time and its permit is free.

use std::time::{Duration, Instant};

use axum::extract::State;
use axum::extract::ws::rejection::WebSocketUpgradeRejection;
use axum::extract::ws::{CloseFrame, Message, WebSocket, WebSocketUpgrade, close_code};
use axum::http::HeaderMap;
use axum::response::Response;
use tokio::sync::OwnedSemaphorePermit;
use tokio::time::timeout;

use super::client::{CLOSE_TIMEOUT, COPIES, StreamClient, enter};
use super::client_queue::{CloseReason, Delivery, HubRequest, MAX_SUBSCRIPTIONS};
use super::hub::HEARTBEAT;
use super::protocol::{self, ClientRequest, Frame, MAX_MESSAGE};
use super::service::StreamService;
use crate::api::answer::ReadRequest;
use crate::api::budget::Budget;
use crate::api::clock;
use crate::api::error::Result;

/// The socket's buffers: clients send short messages, and updates are written as they come.
const BUFFER: usize = 4 << 10;
/// Messages that a client may send at once; one more each [`PER_MESSAGE`]. A client subscribes to
/// its screen and then pings.
const BURST: u32 = 100;
/// The period in which one more message is allowed.
const PER_MESSAGE: Duration = Duration::from_millis(100);
/// Malformed messages after which a client is disconnected.
const MAX_MALFORMED: u32 = 20;

/// `GET /v1/stream`.
pub(super) async fn upgrade(
    State(streaming): State<StreamService>,
    ask: ReadRequest,
    headers: HeaderMap,
    upgrade: Result<WebSocketUpgrade, WebSocketUpgradeRejection>,
) -> Result<Response> {
    ask.params.just(&[])?;
    let upgrade = upgrade?;
    let permit = enter(&streaming, &headers)?;
    let response = upgrade
        .read_buffer_size(BUFFER)
        .write_buffer_size(0)
        .max_message_size(MAX_MESSAGE)
        .max_frame_size(MAX_MESSAGE)
        .on_upgrade(move |socket| async move { serve(socket, streaming, permit).await });
    Ok(response)
}

/// The close frame: its code and its reason.
struct CloseMessage {
    code: u16,
    reason: &'static str,
}

impl CloseMessage {
    fn of(end: CloseReason) -> Self {
        let code = match end {
            CloseReason::Slow | CloseReason::Memory => close_code::AGAIN,
            CloseReason::Stopping => close_code::AWAY,
        };
        Self { code, reason: end.as_str() }
    }
}

async fn serve(mut socket: WebSocket, streaming: StreamService, permit: OwnedSemaphorePermit) {
    let updates = streaming.hub.updates_per_second;
    let Some(mut client) = StreamClient::new(streaming, "websocket", permit) else {
        return close(&mut socket, CloseMessage { code: close_code::AGAIN, reason: "busy" }).await;
    };
    let welcome = protocol::welcome(updates, HEARTBEAT.as_secs(), MAX_SUBSCRIPTIONS);
    let closing = match socket.send(Message::Text(welcome.text())).await {
        Ok(()) => converse(&mut socket, &mut client).await,
        Err(_) => None,
    };
    // Sending the close frame may take time, so the permit and the hub's entry are freed first.
    drop(client);
    if let Some(closing) = closing {
        close(&mut socket, closing).await;
    }
}

/// Serves a client until either side ends it. Returns the close frame, if the client may still
/// read.
async fn converse(socket: &mut WebSocket, client: &mut StreamClient) -> Option<CloseMessage> {
    let budget = client.budget();
    let mut messages = MessageLimit { left: BURST, since: clock::instant(), malformed: 0 };
    loop {
        tokio::select! {
            // The reason of a disconnect comes before further messages.
            biased;
            end = &mut client.end => return Some(CloseMessage::of(end.unwrap_or(CloseReason::Stopping))),
            delivery = client.queue.next() => {
                let Some(delivery) = delivery else {
                    // The hub closes the queue just before it sends the reason.
                    let end = (&mut client.end).await;
                    return Some(CloseMessage::of(end.unwrap_or(CloseReason::Stopping)));
                };
                tokio::select! {
                    biased;
                    end = &mut client.end => {
                        return Some(CloseMessage::of(end.unwrap_or(CloseReason::Stopping)));
                    }
                    sent = send(socket, &delivery, &budget) => sent.ok()?,
                }
                client.queue.sent(delivery.bytes);
            }
            said = socket.recv() => {
                let answered = match said? {
                    Ok(Message::Text(text)) => messages.answer(client, &text),
                    Ok(Message::Ping(_) | Message::Pong(_)) => Ok(None),
                    Ok(Message::Close(_)) => return None,
                    Ok(Message::Binary(_)) => Err(("binary", close_code::UNSUPPORTED)),
                    // The connection broke, or the data is not WebSocket.
                    Err(_) => Err(("broken", close_code::PROTOCOL)),
                };
                match answered {
                    Ok(None) => {}
                    Ok(Some(frame)) => socket.send(Message::Text(frame.text())).await.ok()?,
                    Err((reason, code)) => {
                        client.streaming.metrics.dropped.with_label_values(&[reason]).inc();
                        return Some(CloseMessage { code, reason });
                    }
                }
            }
        }
    }
}

/// The limits of a client's messages.
struct MessageLimit {
    /// Messages that it may send now.
    left: u32,
    since: Instant,
    malformed: u32,
}

impl MessageLimit {
    /// Counts a message. False when there were too many.
    fn allow(&mut self, now: Instant) -> bool {
        let earned = now.duration_since(self.since).as_millis() / PER_MESSAGE.as_millis();
        if earned > 0 {
            self.since = now;
            self.left = self.left.saturating_add(u32::try_from(earned).unwrap_or(BURST)).min(BURST);
        }
        self.left.checked_sub(1).map(|left| self.left = left).is_some()
    }

    /// Handles a message. Returns the answer, or the reason to disconnect.
    fn answer(
        &mut self,
        client: &StreamClient,
        text: &str,
    ) -> Result<Option<Frame>, (&'static str, u16)> {
        if !self.allow(clock::instant()) {
            return Err(("too many messages", close_code::POLICY));
        }
        let number = client.number;
        let (id, command) = match ClientRequest::read(text) {
            Ok(ClientRequest::Ping) => return Ok(Some(protocol::pong())),
            Ok(ClientRequest::Subscribe { id, pattern, resume }) => {
                (id, HubRequest::Subscribe { client: number, id, pattern, resume })
            }
            Ok(ClientRequest::Unsubscribe { id }) => {
                (id, HubRequest::Unsubscribe { client: number, id })
            }
            Err(reason) => {
                client.streaming.metrics.malformed.inc();
                self.malformed += 1;
                let last = self.malformed >= MAX_MALFORMED;
                let frame = protocol::refused(None, &reason);
                return if last { Err(("malformed", close_code::POLICY)) } else { Ok(Some(frame)) };
            }
        };
        let busy = "the server is busy: try again later";
        Ok((!client.ask(command)).then(|| protocol::refused(Some(id), busy)))
    }
}

async fn send(
    socket: &mut WebSocket,
    delivery: &Delivery,
    budget: &Budget,
) -> Result<(), axum::Error> {
    for frame in delivery.frames() {
        let _copies = budget.keep(COPIES * frame.len());
        socket.send(Message::Text(frame.text())).await?;
    }
    Ok(())
}

/// Sends the close frame, within [`CLOSE_TIMEOUT`].
async fn close(socket: &mut WebSocket, closing: CloseMessage) {
    let frame = CloseFrame { code: closing.code, reason: closing.reason.into() };
    // A client that does not read does not get the reason.
    let _ = timeout(CLOSE_TIMEOUT, socket.send(Message::Close(Some(frame)))).await;
}
