//! Server-sent events: one subscription for those who cannot open a WebSocket.
//!
//! `GET /v1/events?channel=candles&base=BTC&interval=1m` sends what the WebSocket would: the event's
//! name is the message's type, its data the message, its id the resume token. A browser that
//! reconnects sends that id as `Last-Event-ID` by itself.

use std::convert::Infallible;

use axum::Json;
use axum::extract::{Query, State};
use axum::http::{HeaderMap, HeaderName, StatusCode, header};
use axum::response::sse::{Event, Sse};
use axum::response::{IntoResponse, Response};
use futures_util::stream::{self, Stream, StreamExt as _};
use serde::Deserialize;
use serde_json::json;

use super::Streaming;
use super::door::{Command, End};
use super::origin::Origins;
use super::pattern::{Channel, Pattern};
use super::protocol::{Frame, Resume};
use super::socket::{Guest, enter};

/// The header by which a browser goes on.
const LAST_EVENT_ID: HeaderName = HeaderName::from_static("last-event-id");
/// The number of the only subscription.
const ID: u32 = 1;

#[derive(Deserialize)]
pub(super) struct Asked {
    channel: String,
    exchange: Option<String>,
    base: Option<String>,
    quote: Option<String>,
    interval: Option<String>,
    resume: Option<String>,
}

/// `GET /v1/events`.
pub(super) async fn events(
    State(streaming): State<Streaming>,
    Query(asked): Query<Asked>,
    headers: HeaderMap,
) -> Response {
    let refused = |status: StatusCode, reason: &str| {
        (status, Json(json!({ "error": reason }))).into_response()
    };
    let pattern = Channel::parse(&asked.channel, asked.interval.as_deref())
        .and_then(|channel| Pattern::new(channel, asked.base, asked.quote, asked.exchange));
    let pattern = match pattern {
        Ok(pattern) => pattern,
        Err(reason) => return refused(StatusCode::BAD_REQUEST, &reason),
    };
    let place = match enter(&streaming, &headers) {
        Ok(place) => place,
        Err(refused) => return *refused,
    };
    let last = headers.get(LAST_EVENT_ID).and_then(|id| id.to_str().ok()).map(str::to_owned);
    let resume = last.or(asked.resume).filter(|id| !id.is_empty()).map(|id| Resume::read(&id));
    let busy = "too much is asked at the moment: try again later";
    let Some(guest) = Guest::new(streaming, "events", place) else {
        return refused(StatusCode::SERVICE_UNAVAILABLE, busy);
    };
    let client = guest.number;
    if !guest.ask(Command::Subscribe { client, id: ID, pattern, resume }) {
        return refused(StatusCode::SERVICE_UNAVAILABLE, busy);
    }
    let mut response = Sse::new(events_of(guest)).into_response();
    if let Some(origin) = Origins::header(&headers) {
        response.headers_mut().insert(header::ACCESS_CONTROL_ALLOW_ORIGIN, origin);
        response.headers_mut().insert(header::VARY, header::ORIGIN.into());
    }
    response
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
