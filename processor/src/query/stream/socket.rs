//! One WebSocket client: its messages to the hub, its queue to the socket.
//!
//! Invariant: the task ends in bounded time after its client is sent away, and its place is free.

use std::borrow::Cow;
use std::time::{Duration, Instant};

use axum::Json;
use axum::extract::State;
use axum::extract::ws::{CloseFrame, Message, WebSocket, WebSocketUpgrade, close_code};
use axum::http::{HeaderMap, StatusCode};
use axum::response::{IntoResponse, Response};
use serde_json::json;
use std::sync::atomic::Ordering;
use tokio::sync::{OwnedSemaphorePermit, mpsc, oneshot};
use tokio::time::timeout;

use super::door::{Command, End, MAX_SUBSCRIPTIONS, QUEUE};
use super::hub::HEARTBEAT;
use super::protocol::{self, Frames, MAX_MESSAGE, Request};
use super::{Streaming, clock};

/// Of the socket's own buffers: clients say little, and updates are written as they come.
const BUFFER: usize = 4 << 10;
/// How long a client that is sent away may take to hear why.
const FAREWELL: Duration = Duration::from_secs(5);
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
    headers: HeaderMap,
    upgrade: WebSocketUpgrade,
) -> Response {
    let place = match enter(&streaming, &headers) {
        Ok(place) => place,
        Err(refused) => return *refused,
    };
    upgrade
        .read_buffer_size(BUFFER)
        .write_buffer_size(0)
        .max_message_size(MAX_MESSAGE)
        .max_frame_size(MAX_MESSAGE)
        .on_upgrade(move |socket| async move { serve(socket, streaming, place).await })
}

/// A place for one more client, or why there is none.
pub(super) fn enter(
    streaming: &Streaming,
    headers: &HeaderMap,
) -> Result<OwnedSemaphorePermit, Box<Response>> {
    let refuse = |reason: &str, status: StatusCode, text: &str| {
        streaming.metrics.dropped.with_label_values(&[reason]).inc();
        Err(Box::new((status, Json(json!({ "error": text }))).into_response()))
    };
    if !streaming.origins.allow(headers) {
        let text = "this origin may not stream here: --allowed-origins";
        return refuse("origin", StatusCode::FORBIDDEN, text);
    }
    match streaming.places.clone().try_acquire_owned() {
        Ok(place) => Ok(place),
        Err(_) => {
            let text = "no place for another streaming client: try again later";
            refuse("full", StatusCode::SERVICE_UNAVAILABLE, text)
        }
    }
}

/// A client that the hub knows.
pub(super) struct Guest {
    streaming: Streaming,
    transport: &'static str,
    /// Its number.
    pub(super) number: u64,
    /// What it is to be sent.
    pub(super) queue: mpsc::Receiver<Frames>,
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
        let (sender, queue) = mpsc::channel(QUEUE);
        let (ends, end) = oneshot::channel();
        if !streaming.door.ask(Command::Join { client: number, queue: sender, end: ends }) {
            streaming.metrics.dropped.with_label_values(&["busy"]).inc();
            return None;
        }
        streaming.metrics.clients.with_label_values(&[transport]).inc();
        Some(Self { streaming, transport, number, queue, end, _place: place })
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

/// Messages that a client may still send.
struct Allowance {
    left: u32,
    since: Instant,
}

impl Allowance {
    fn new(now: Instant) -> Self {
        Self { left: BURST, since: now }
    }

    fn take(&mut self, now: Instant) -> bool {
        let earned = now.duration_since(self.since).as_millis() / PER_MESSAGE.as_millis();
        if earned > 0 {
            self.since = now;
            self.left = self.left.saturating_add(u32::try_from(earned).unwrap_or(BURST)).min(BURST);
        }
        self.left.checked_sub(1).map(|left| self.left = left).is_some()
    }
}

/// What a client is told when the connection ends.
struct Farewell {
    code: u16,
    reason: Cow<'static, str>,
}

impl Farewell {
    fn of(end: End) -> Self {
        let code = match end {
            End::Slow => close_code::AGAIN,
            End::Stopping => close_code::AWAY,
        };
        Self { code, reason: end.as_str().into() }
    }
}

async fn serve(mut socket: WebSocket, streaming: Streaming, place: OwnedSemaphorePermit) {
    let metrics = streaming.metrics.clone();
    let updates = streaming.door.updates_per_second;
    let Some(mut guest) = Guest::new(streaming, "websocket", place) else {
        return close(&mut socket, Farewell { code: close_code::AGAIN, reason: "busy".into() })
            .await;
    };
    let welcome = protocol::welcome(updates, HEARTBEAT.as_secs(), MAX_SUBSCRIPTIONS);
    if socket.send(Message::Text(welcome.text)).await.is_err() {
        return;
    }
    let mut allowance = Allowance::new(clock::instant());
    let mut malformed = 0;
    let farewell = loop {
        tokio::select! {
            // It is told why before it is told anything else.
            biased;
            end = &mut guest.end => break Some(Farewell::of(end.unwrap_or(End::Stopping))),
            frames = guest.queue.recv() => {
                let Some(frames) = frames else { break None };
                let sent = tokio::select! {
                    biased;
                    end = &mut guest.end => break Some(Farewell::of(end.unwrap_or(End::Stopping))),
                    sent = send(&mut socket, &frames) => sent,
                };
                if sent.is_err() {
                    break None;
                }
            }
            said = socket.recv() => {
                let text = match said {
                    Some(Ok(Message::Text(text))) => text,
                    Some(Ok(Message::Ping(_) | Message::Pong(_))) => continue,
                    Some(Ok(Message::Binary(_))) => {
                        break Some(refuse(&metrics, "binary", close_code::UNSUPPORTED));
                    }
                    Some(Ok(Message::Close(_))) | None => break None,
                    Some(Err(_)) => break Some(refuse(&metrics, "protocol", close_code::PROTOCOL)),
                };
                if !allowance.take(clock::instant()) {
                    break Some(refuse(&metrics, "too many messages", close_code::POLICY));
                }
                match answer(&guest, &text) {
                    Ok(None) => {}
                    Ok(Some(frame)) => {
                        if socket.send(Message::Text(frame.text)).await.is_err() {
                            break None;
                        }
                    }
                    Err(reason) => {
                        metrics.malformed.inc();
                        malformed += 1;
                        let frame = protocol::refused(None, &reason);
                        if socket.send(Message::Text(frame.text)).await.is_err() {
                            break None;
                        }
                        if malformed >= MAX_MALFORMED {
                            break Some(refuse(&metrics, "malformed", close_code::POLICY));
                        }
                    }
                }
            }
        }
    };
    // Its place is given back and the hub forgets it before it is bidden farewell, which may take
    // its time.
    drop(guest);
    if let Some(farewell) = farewell {
        close(&mut socket, farewell).await;
    }
}

fn refuse(metrics: &super::metrics::Metrics, reason: &'static str, code: u16) -> Farewell {
    metrics.dropped.with_label_values(&[reason]).inc();
    Farewell { code, reason: reason.into() }
}

/// Does what a message asks. Returns what is to be answered at once.
fn answer(guest: &Guest, text: &str) -> Result<Option<protocol::Frame>, String> {
    let client = guest.number;
    let (id, command) = match Request::read(text)? {
        Request::Ping => return Ok(Some(protocol::pong())),
        Request::Subscribe { id, pattern, resume } => {
            (id, Command::Subscribe { client, id, pattern, resume })
        }
        Request::Unsubscribe { id } => (id, Command::Unsubscribe { client, id }),
    };
    let busy = || protocol::refused(Some(id), "too much is asked at the moment: try again later");
    Ok((!guest.ask(command)).then(busy))
}

async fn send(socket: &mut WebSocket, frames: &Frames) -> Result<(), axum::Error> {
    for frame in frames.iter() {
        socket.send(Message::Text(frame.text.clone())).await?;
    }
    Ok(())
}

/// Says why, if the client still reads; it does not get longer for it than others wait.
async fn close(socket: &mut WebSocket, farewell: Farewell) {
    let frame = CloseFrame { code: farewell.code, reason: farewell.reason.as_ref().into() };
    // Whoever does not read does not learn why.
    let _ = timeout(FAREWELL, socket.send(Message::Close(Some(frame)))).await;
}
