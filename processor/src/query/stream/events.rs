//! Server-sent events: one subscription for those who cannot open a WebSocket.
//!
//! `GET /v1/events?channel=candles&base=BTC&interval=1m` sends what the WebSocket would: the event's
//! name is the message's type, its data the message, its id the resume token. A browser that
//! reconnects sends that id as `Last-Event-ID` by itself.

use std::convert::Infallible;

use axum::extract::State;
use axum::http::{HeaderMap, HeaderName, header};
use axum::response::sse::{Event, Sse};
use axum::response::{IntoResponse, Response};
use futures_util::stream::{self, Stream, StreamExt as _};
use serde_json::json;

use super::Streaming;
use super::door::{Command, End};
use super::origin::Origins;
use super::pattern::{Channel, Pattern};
use super::protocol::{Frame, Resume};
use super::socket::{Guest, enter};
use crate::query::answer::Ask;
use crate::query::error::Refusal;

/// The header by which a browser goes on.
const LAST_EVENT_ID: HeaderName = HeaderName::from_static("last-event-id");
/// The number of the only subscription.
const ID: u32 = 1;

const NAMES: [&str; 6] = ["channel", "exchange", "base", "quote", "interval", "resume"];

/// `GET /v1/events`.
pub(super) async fn events(
    State(streaming): State<Streaming>,
    ask: Ask,
    headers: HeaderMap,
) -> Result<Response, Refusal> {
    ask.params.just(&NAMES)?;
    let asked = |name: &str| ask.params.get(name).map(str::to_owned);
    let channel = asked("channel").ok_or_else(|| Refusal::bad("channel: is missing"))?;
    let pattern = Channel::parse(&channel, ask.params.get("interval"))
        .and_then(|channel| Pattern::new(channel, asked("base"), asked("quote"), asked("exchange")))
        .map_err(Refusal::bad)?;
    let place = enter(&streaming, &headers)?;
    let last = headers.get(LAST_EVENT_ID).and_then(|id| id.to_str().ok()).map(str::to_owned);
    let resume =
        last.or_else(|| asked("resume")).filter(|id| !id.is_empty()).map(|id| Resume::read(&id));
    let guest = Guest::new(streaming, "events", place).ok_or_else(Refusal::full)?;
    let client = guest.number;
    if !guest.ask(Command::Subscribe { client, id: ID, pattern, resume }) {
        return Err(Refusal::full());
    }
    let mut response = Sse::new(events_of(guest)).into_response();
    if let Some(origin) = Origins::header(&headers) {
        response.headers_mut().insert(header::ACCESS_CONTROL_ALLOW_ORIGIN, origin);
        response.headers_mut().insert(header::VARY, header::ORIGIN.into());
    }
    Ok(response)
}

fn events_of(guest: Guest) -> impl Stream<Item = Result<Event, Infallible>> {
    let deliveries = stream::unfold(Some(guest), |guest| async move {
        let mut guest = guest?;
        tokio::select! {
            biased;
            end = &mut guest.end => {
                let end = end.unwrap_or(End::Stopping);
                Some((vec![farewell(end)], None))
            }
            delivery = guest.queue.next() => {
                let delivery = delivery?;
                let events = delivery.frames().map(event).collect();
                guest.queue.sent(&delivery);
                Some((events, Some(guest)))
            }
        }
    });
    deliveries.flat_map(|events| stream::iter(events.into_iter().map(Ok)))
}

fn event(frame: &Frame) -> Event {
    let event = Event::default().event(frame.kind).data(frame.text.as_str());
    match &frame.resume {
        Some(resume) => event.id(resume),
        None => event,
    }
}

fn farewell(end: End) -> Event {
    Event::default()
        .event("close")
        .data(json!({ "type": "close", "reason": end.as_str() }).to_string())
}
