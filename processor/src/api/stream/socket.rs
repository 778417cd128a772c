//! One WebSocket client: its messages to the hub, its queue to the socket.
//!
//! Invariant: the task ends in bounded time after its client is sent away, and its place is free.

use std::time::{Duration, Instant};

use axum::extract::State;
use axum::extract::ws::rejection::WebSocketUpgradeRejection;
use axum::extract::ws::{CloseFrame, Message, WebSocket, WebSocketUpgrade, close_code};
use axum::http::HeaderMap;
use axum::response::Response;
use tokio::sync::OwnedSemaphorePermit;
use tokio::time::timeout;

use super::client::{COPIES, FAREWELL, StreamClient, enter};
use super::client_queue::{CloseReason, Delivery, HubRequest, MAX_SUBSCRIPTIONS};
use super::hub::HEARTBEAT;
use super::protocol::{self, Frame, MAX_MESSAGE, Request};
use super::service::StreamService;
use crate::api::answer::ReadRequest;
use crate::api::budget::Budget;
use crate::api::clock;
use crate::api::error::Refusal;

/// Of the socket's own buffers: clients say little, and updates are written as they come.
const BUFFER: usize = 4 << 10;
/// Messages that a client may send at once; one more each [`PER_MESSAGE`]. A client subscribes to
/// its screen and then pings.
const BURST: u32 = 100;
/// How often one more message is allowed.
const PER_MESSAGE: Duration = Duration::from_millis(100);
/// Messages that could not be understood, after which a client is sent away.
const MAX_MALFORMED: u32 = 20;

/// `GET /v1/stream`.
pub(super) async fn upgrade(
    State(streaming): State<StreamService>,
    ask: ReadRequest,
    headers: HeaderMap,
    upgrade: Result<WebSocketUpgrade, WebSocketUpgradeRejection>,
) -> Result<Response, Refusal> {
    ask.params.just(&[])?;
    let upgrade = upgrade?;
    let place = enter(&streaming, &headers)?;
    let response = upgrade
        .read_buffer_size(BUFFER)
        .write_buffer_size(0)
        .max_message_size(MAX_MESSAGE)
        .max_frame_size(MAX_MESSAGE)
        .on_upgrade(move |socket| async move { serve(socket, streaming, place).await });
    Ok(response)
}

/// What a client is told when the connection ends.
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

async fn serve(mut socket: WebSocket, streaming: StreamService, place: OwnedSemaphorePermit) {
    let updates = streaming.hub.updates_per_second;
    let Some(mut client) = StreamClient::new(streaming, "websocket", place) else {
        return close(&mut socket, CloseMessage { code: close_code::AGAIN, reason: "busy" }).await;
    };
    let welcome = protocol::welcome(updates, HEARTBEAT.as_secs(), MAX_SUBSCRIPTIONS);
    let farewell = match socket.send(Message::Text(welcome.text())).await {
        Ok(()) => converse(&mut socket, &mut client).await,
        Err(_) => None,
    };
    // Its place is given back and the hub forgets it before it is bidden farewell, which may take
    // its time.
    drop(client);
    if let Some(farewell) = farewell {
        close(&mut socket, farewell).await;
    }
}

/// Speaks with a client until one of the two ends it. Returns what is to be said at last, if the
/// client may still hear it.
async fn converse(socket: &mut WebSocket, client: &mut StreamClient) -> Option<CloseMessage> {
    let budget = client.budget();
    let mut messages = MessageLimit { left: BURST, since: clock::instant(), malformed: 0 };
    loop {
        tokio::select! {
            // It is told why before it is told anything else.
            biased;
            end = &mut client.end => return Some(CloseMessage::of(end.unwrap_or(CloseReason::Stopping))),
            delivery = client.queue.next() => {
                let Some(delivery) = delivery else {
                    // The hub closes the queue a moment before it says why.
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
                    // It broke off, or what came is no WebSocket any more.
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

/// How a client behaves.
struct MessageLimit {
    /// Messages that it may still send.
    left: u32,
    since: Instant,
    malformed: u32,
}

impl MessageLimit {
    /// One more message. False when there were too many.
    fn allow(&mut self, now: Instant) -> bool {
        let earned = now.duration_since(self.since).as_millis() / PER_MESSAGE.as_millis();
        if earned > 0 {
            self.since = now;
            self.left = self.left.saturating_add(u32::try_from(earned).unwrap_or(BURST)).min(BURST);
        }
        self.left.checked_sub(1).map(|left| self.left = left).is_some()
    }

    /// Does what a message asks. Returns what is to be answered at once, or why it was the last.
    fn answer(
        &mut self,
        client: &StreamClient,
        text: &str,
    ) -> Result<Option<Frame>, (&'static str, u16)> {
        if !self.allow(clock::instant()) {
            return Err(("too many messages", close_code::POLICY));
        }
        let number = client.number;
        let (id, command) = match Request::read(text) {
            Ok(Request::Ping) => return Ok(Some(protocol::pong())),
            Ok(Request::Subscribe { id, pattern, resume }) => {
                (id, HubRequest::Subscribe { client: number, id, pattern, resume })
            }
            Ok(Request::Unsubscribe { id }) => (id, HubRequest::Unsubscribe { client: number, id }),
            Err(reason) => {
                client.streaming.metrics.malformed.inc();
                self.malformed += 1;
                let last = self.malformed >= MAX_MALFORMED;
                let frame = protocol::refused(None, &reason);
                return if last { Err(("malformed", close_code::POLICY)) } else { Ok(Some(frame)) };
            }
        };
        let busy = "too much is asked at the moment: try again later";
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

/// Says why, if the client still reads; it does not get longer for it than others wait.
async fn close(socket: &mut WebSocket, farewell: CloseMessage) {
    let frame = CloseFrame { code: farewell.code, reason: farewell.reason.into() };
    // Whoever does not read does not learn why.
    let _ = timeout(FAREWELL, socket.send(Message::Close(Some(frame)))).await;
}
