//! Server-sent events: one subscription, for clients without WebSocket.
//!
//! `GET /v1/events?channel=candles&base=BTC&interval=1m` sends the same messages as the WebSocket.
//! The event's name is the message's type, its data is the message, and its id is the resume token.
//! A browser sends that id as `Last-Event-ID` when it reconnects.

use std::convert::Infallible;

use axum::Extension;
use axum::extract::State;
use axum::http::{HeaderMap, HeaderName, header};
use axum::response::sse::{Event, Sse};
use axum::response::{IntoResponse, Response};
use futures_util::stream::{self, Stream, StreamExt as _};
use serde_json::json;
use tokio::sync::oneshot;
use tokio::time::timeout;

use super::client::{CLOSE_TIMEOUT, COPIES, StreamClient, enter};
use super::client_queue::{CloseReason, HubRequest};
use super::origin::Origins;
use super::pattern::{AskedParts, Channel, Pattern};
use super::protocol::{Frame, Resume};
use super::service::StreamService;
use crate::api::answer::ReadRequest;
use crate::api::budget::{Budget, Held};
use crate::api::connections::ConnectionHandle;
use crate::api::error::{Refusal, Result};

/// The header by which a browser resumes.
const LAST_EVENT_ID: HeaderName = HeaderName::from_static("last-event-id");
/// The id of the only subscription.
const ID: u32 = 1;

const NAMES: [&str; 12] = [
    "channel",
    "exchange",
    "base",
    "quote",
    "currency",
    "expiry",
    "instrument",
    "chain",
    "token",
    "pool",
    "interval",
    "resume",
];

/// `GET /v1/events`.
pub(super) async fn events(
    State(streaming): State<StreamService>,
    ask: ReadRequest,
    handle: Option<Extension<ConnectionHandle>>,
    headers: HeaderMap,
) -> Result<Response> {
    ask.params.just(&NAMES)?;
    let asked = |name: &str| ask.params.get(name).map(str::to_owned);
    let parts = AskedParts {
        base: asked("base"),
        quote: asked("quote"),
        exchange: asked("exchange"),
        currency: asked("currency"),
        expiry: asked("expiry"),
        instrument: asked("instrument"),
        chain: asked("chain"),
        token: asked("token"),
        pool: asked("pool"),
    };
    let channel = asked("channel").ok_or_else(|| Refusal::bad("channel: is missing"))?;
    let pattern = Channel::parse(&channel, ask.params.get("interval"))
        .and_then(|channel| Pattern::new(channel, parts))
        .map_err(Refusal::bad)?;
    let permit = enter(&streaming, &headers)?;
    let last = headers.get(LAST_EVENT_ID).and_then(|id| id.to_str().ok()).map(str::to_owned);
    let resume =
        last.or_else(|| asked("resume")).filter(|id| !id.is_empty()).map(|id| Resume::read(&id));
    let client = StreamClient::new(streaming, "events", permit).ok_or_else(Refusal::full)?;
    let number = client.number;
    if !client.ask(HubRequest::Subscribe { client: number, id: ID, pattern, resume }) {
        return Err(Refusal::full());
    }
    let mut response =
        Sse::new(events_of(client, handle.map(|Extension(handle)| handle))).into_response();
    if let Some(origin) = Origins::header(&headers) {
        response.headers_mut().insert(header::ACCESS_CONTROL_ALLOW_ORIGIN, origin);
        response.headers_mut().insert(header::VARY, header::ORIGIN.into());
    }
    Ok(response)
}

/// One client's events. The HTTP server takes one at a time; the others stay in the counted queue.
struct EventStream {
    client: StreamClient,
    end: oneshot::Receiver<CloseReason>,
    /// The rest of the current delivery.
    frames: std::vec::IntoIter<Frame>,
    bytes: usize,
    /// The copies of the event being sent.
    copies: Option<Held>,
    budget: Budget,
    /// Dropped with it, which ends the task that watches it.
    _here: oneshot::Sender<()>,
}

impl EventStream {
    async fn next(mut self) -> Option<(Event, Option<Self>)> {
        loop {
            if let Some(frame) = self.frames.next() {
                self.copies = Some(self.budget.keep(COPIES * frame.len()));
                return Some((event(&frame), Some(self)));
            }
            self.copies = None;
            self.client.queue.sent(std::mem::take(&mut self.bytes));
            tokio::select! {
                biased;
                end = &mut self.end => return Some((closing(end.unwrap_or(CloseReason::Stopping)), None)),
                delivery = self.client.queue.next() => {
                    let Some(delivery) = delivery else {
                        // The hub closes the queue just before it sends the reason.
                        let end = (&mut self.end).await;
                        return Some((closing(end.unwrap_or(CloseReason::Stopping)), None));
                    };
                    self.bytes = delivery.bytes;
                    self.frames = delivery.frames().cloned().collect::<Vec<_>>().into_iter();
                }
            }
        }
    }
}

fn events_of(
    mut client: StreamClient,
    handle: Option<ConnectionHandle>,
) -> impl Stream<Item = Result<Event, Infallible>> {
    let ((told, end), (here, gone)) = (oneshot::channel(), oneshot::channel());
    let (_, none) = oneshot::channel();
    let ends = std::mem::replace(&mut client.end, none);
    tokio::spawn(async move {
        // The server does not poll this stream while the client does not read, so a task waits for
        // the reason and cuts the connection.
        let _ = told.send(ends.await.unwrap_or(CloseReason::Stopping));
        if timeout(CLOSE_TIMEOUT, gone).await.is_err()
            && let Some(handle) = handle
        {
            handle.cut();
        }
    });
    let budget = client.budget();
    let frames = Vec::new().into_iter();
    let events = EventStream { client, end, frames, bytes: 0, copies: None, budget, _here: here };
    stream::unfold(Some(events), |events| async move { events?.next().await }).map(Ok)
}

fn event(frame: &Frame) -> Event {
    let event = Event::default().event(frame.kind).data(frame.text().as_str());
    match &frame.resume {
        Some(resume) => event.id(resume),
        None => event,
    }
}

fn closing(end: CloseReason) -> Event {
    Event::default()
        .event("close")
        .data(json!({ "type": "close", "reason": end.as_str() }).to_string())
}
