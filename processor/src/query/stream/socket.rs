//! One WebSocket client: its messages to the hub, its queue to the socket.
//!
//! Invariant: the task ends in bounded time after its client is sent away, and its place is free.

use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use axum::extract::State;
use axum::extract::ws::rejection::WebSocketUpgradeRejection;
use axum::extract::ws::{CloseFrame, Message, WebSocket, WebSocketUpgrade, close_code};
use axum::http::HeaderMap;
use axum::response::Response;
use tokio::sync::{OwnedSemaphorePermit, oneshot};
use tokio::time::timeout;

use super::Streaming;
use super::door::{Command, Delivery, End, MAX_SUBSCRIPTIONS, Outbox, QUEUE, queue};
use super::hub::HEARTBEAT;
use super::protocol::{self, Frame, MAX_MESSAGE, Request};
use crate::query::answer::Ask;
use crate::query::budget::Budget;
use crate::query::clock;
use crate::query::error::Refusal;

/// Of the socket's own buffers: clients say little, and updates are written as they come.
const BUFFER: usize = 4 << 10;
/// Of a message while it is sent: the one that is written for this client, and the socket's own.
pub(super) const COPIES: usize = 2;
/// How long a client that is sent away may take to hear why.
pub(super) const FAREWELL: Duration = Duration::from_secs(5);
/// Messages that a client may send at once; one more each [`PER_MESSAGE`]. A client subscribes to
/// its screen and then pings.
const BURST: u32 = 100;
/// How often one more message is allowed.
const PER_MESSAGE: Duration = Duration::from_millis(100);
/// Messages that could not be understood, after which a client is sent away.
const MAX_MALFORMED: u32 = 20;

/// `GET /v1/stream`.
pub(super) async fn upgrade(
    State(streaming): State<Streaming>,
    ask: Ask,
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

/// A place for one more client, or why there is none.
pub(super) fn enter(
    streaming: &Streaming,
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
    let place = streaming.places.clone().try_acquire_owned();
    place.map_err(|_| refuse("full", Refusal::full()))
}

/// A client that the hub knows.
pub(super) struct Guest {
    streaming: Streaming,
    transport: &'static str,
    /// Its number.
    pub(super) number: u64,
    /// What it is to be sent.
    pub(super) queue: Outbox,
    /// Why it is sent away.
    pub(super) end: oneshot::Receiver<End>,
    _place: OwnedSemaphorePermit,
}

impl Guest {
    /// Introduces a client to the hub; `None` when the hub is too busy.
    pub(super) fn new(
        streaming: Streaming,
        transport: &'static str,
        place: OwnedSemaphorePermit,
    ) -> Option<Self> {
        let number = streaming.next.fetch_add(1, Ordering::Relaxed);
        let (sender, queue) = queue(QUEUE);
        let (ends, end) = oneshot::channel();
        if !streaming.door.ask(Command::Join { client: number, queue: sender, end: ends }) {
            streaming.metrics.dropped.with_label_values(&["busy"]).inc();
            return None;
        }
        streaming.metrics.clients.with_label_values(&[transport]).inc();
        Some(Self { streaming, transport, number, queue, end, _place: place })
    }

    /// The memory of what readers have not taken yet.
    pub(super) fn budget(&self) -> Budget {
        self.streaming.served.budget.clone()
    }

    /// Asks the hub something; false when it is too busy.
    pub(super) fn ask(&self, command: Command) -> bool {
        self.streaming.door.ask(command)
    }
}

impl Drop for Guest {
    fn drop(&mut self) {
        self.streaming.metrics.clients.with_label_values(&[self.transport]).dec();
        // A hub that is too busy finds its queue closed.
        self.ask(Command::Leave { client: self.number });
    }
}

/// What a client is told when the connection ends.
struct Farewell {
    code: u16,
    reason: &'static str,
}

impl Farewell {
    fn of(end: End) -> Self {
        let code = match end {
            End::Slow | End::Memory => close_code::AGAIN,
            End::Stopping => close_code::AWAY,
        };
        Self { code, reason: end.as_str() }
    }
}

async fn serve(mut socket: WebSocket, streaming: Streaming, place: OwnedSemaphorePermit) {
    let updates = streaming.door.updates_per_second;
    let Some(mut guest) = Guest::new(streaming, "websocket", place) else {
        return close(&mut socket, Farewell { code: close_code::AGAIN, reason: "busy" }).await;
    };
    let welcome = protocol::welcome(updates, HEARTBEAT.as_secs(), MAX_SUBSCRIPTIONS);
    let farewell = match socket.send(Message::Text(welcome.text())).await {
        Ok(()) => converse(&mut socket, &mut guest).await,
        Err(_) => None,
    };
    // Its place is given back and the hub forgets it before it is bidden farewell, which may take
    // its time.
    drop(guest);
    if let Some(farewell) = farewell {
        close(&mut socket, farewell).await;
    }
}

/// Speaks with a client until one of the two ends it. Returns what is to be said at last, if the
/// client may still hear it.
async fn converse(socket: &mut WebSocket, guest: &mut Guest) -> Option<Farewell> {
    let budget = guest.budget();
    let mut manners = Manners { left: BURST, since: clock::instant(), malformed: 0 };
    loop {
        tokio::select! {
            // It is told why before it is told anything else.
            biased;
            end = &mut guest.end => return Some(Farewell::of(end.unwrap_or(End::Stopping))),
            delivery = guest.queue.next() => {
                let Some(delivery) = delivery else {
                    // The hub closes the queue a moment before it says why.
                    let end = (&mut guest.end).await;
                    return Some(Farewell::of(end.unwrap_or(End::Stopping)));
                };
                tokio::select! {
                    biased;
                    end = &mut guest.end => {
                        return Some(Farewell::of(end.unwrap_or(End::Stopping)));
                    }
                    sent = send(socket, &delivery, &budget) => sent.ok()?,
                }
                guest.queue.sent(delivery.bytes);
            }
            said = socket.recv() => {
                let answered = match said? {
                    Ok(Message::Text(text)) => manners.answer(guest, &text),
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
                        guest.streaming.metrics.dropped.with_label_values(&[reason]).inc();
                        return Some(Farewell { code, reason });
                    }
                }
            }
        }
    }
}

/// How a client behaves.
struct Manners {
    /// Messages that it may still send.
    left: u32,
    since: Instant,
    malformed: u32,
}

impl Manners {
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
    fn answer(&mut self, guest: &Guest, text: &str) -> Result<Option<Frame>, (&'static str, u16)> {
        if !self.allow(clock::instant()) {
            return Err(("too many messages", close_code::POLICY));
        }
        let client = guest.number;
        let (id, command) = match Request::read(text) {
            Ok(Request::Ping) => return Ok(Some(protocol::pong())),
            Ok(Request::Subscribe { id, pattern, resume }) => {
                (id, Command::Subscribe { client, id, pattern, resume })
            }
            Ok(Request::Unsubscribe { id }) => (id, Command::Unsubscribe { client, id }),
            Err(reason) => {
                guest.streaming.metrics.malformed.inc();
                self.malformed += 1;
                let last = self.malformed >= MAX_MALFORMED;
                let frame = protocol::refused(None, &reason);
                return if last { Err(("malformed", close_code::POLICY)) } else { Ok(Some(frame)) };
            }
        };
        let busy = "too much is asked at the moment: try again later";
        Ok((!guest.ask(command)).then(|| protocol::refused(Some(id), busy)))
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
async fn close(socket: &mut WebSocket, farewell: Farewell) {
    let frame = CloseFrame { code: farewell.code, reason: farewell.reason.into() };
    // Whoever does not read does not learn why.
    let _ = timeout(FAREWELL, socket.send(Message::Close(Some(frame)))).await;
}
