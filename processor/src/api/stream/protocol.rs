//! The messages of both directions: text in, values out.
//!
//! Every frame is one line of JSON. It contains rows that were encoded once for all subscribers.

use std::fmt::Write as _;
use std::sync::Arc;

use axum::extract::ws::Utf8Bytes;
use serde::Deserialize;
use serde_json::json;

use super::pattern::{AskedParts, Channel, Pattern};
use super::resume_token::ResumeToken;
use crate::api::budget::SharedText;

/// Bytes of one message of a client: the longest pattern with the longest token.
pub(super) const MAX_MESSAGE: usize = 16 << 10;
/// Bytes of a resume token as text: one of a thousand partitions.
const MAX_TOKEN: usize = 12 << 10;

/// A request of a client.
#[derive(Debug, PartialEq)]
pub(super) enum ClientRequest {
    /// Subscribe to changes.
    Subscribe {
        /// The client's own id of the subscription.
        id: u32,
        /// The channel and the pairs.
        pattern: Pattern,
        /// The token to resume from; without it a snapshot is sent.
        resume: Option<Resume>,
    },
    /// End a subscription.
    Unsubscribe {
        /// The client's own id of the subscription.
        id: u32,
    },
    /// Check the connection.
    Ping,
}

/// A resume token as received. A token that cannot be read is answered with `gone`, not with an
/// error.
#[derive(Debug, PartialEq)]
pub(super) enum Resume {
    /// A valid token.
    From(ResumeToken),
    /// Any other text.
    Unknown,
}

impl Resume {
    /// Parses a token.
    pub(super) fn read(text: &str) -> Self {
        ResumeToken::read(text).map_or(Self::Unknown, Self::From)
    }
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RawRequest {
    op: String,
    id: Option<u32>,
    channel: Option<String>,
    exchange: Option<String>,
    base: Option<String>,
    quote: Option<String>,
    currency: Option<String>,
    expiry: Option<String>,
    instrument: Option<String>,
    chain: Option<ChainPart>,
    token: Option<String>,
    pool: Option<String>,
    interval: Option<String>,
    resume: Option<String>,
}

/// A chain as clients write it: 1, "1" or "*".
#[derive(Deserialize)]
#[serde(untagged)]
enum ChainPart {
    Number(i64),
    Text(String),
}

impl ChainPart {
    fn text(self) -> String {
        match self {
            Self::Number(number) => number.to_string(),
            Self::Text(text) => text,
        }
    }
}

impl ClientRequest {
    /// Parses one message.
    ///
    /// # Errors
    /// States the error, and repeats no text of the client.
    pub(super) fn read(text: &str) -> Result<Self, String> {
        if text.len() > MAX_MESSAGE {
            return Err(format!("a message is at most {MAX_MESSAGE} bytes"));
        }
        let request: RawRequest = serde_json::from_str(text).map_err(|error| {
            let (line, column) = (error.line(), error.column());
            format!("not a message: line {line}, column {column}; see the documentation")
        })?;
        let id = request.id.ok_or_else(|| format!("id is missing: a number up to {}", u32::MAX));
        match request.op.as_str() {
            "subscribe" => {
                let channel = request.channel.ok_or("channel is missing")?;
                let channel = Channel::parse(&channel, request.interval.as_deref())?;
                let parts = AskedParts {
                    base: request.base,
                    quote: request.quote,
                    exchange: request.exchange,
                    currency: request.currency,
                    expiry: request.expiry,
                    instrument: request.instrument,
                    chain: request.chain.map(ChainPart::text),
                    token: request.token,
                    pool: request.pool,
                };
                let pattern = Pattern::new(channel, parts)?;
                if request.resume.as_ref().is_some_and(|token| token.len() > MAX_TOKEN) {
                    return Err(format!("resume is at most {MAX_TOKEN} bytes"));
                }
                let resume = request.resume.map(|token| Resume::read(&token));
                Ok(Self::Subscribe { id: id?, pattern, resume })
            }
            "unsubscribe" => Ok(Self::Unsubscribe { id: id? }),
            "ping" => Ok(Self::Ping),
            _ => Err("op is not subscribe, unsubscribe or ping".into()),
        }
    }
}

/// One message to a client. Clones share the rows.
#[derive(Clone, Debug)]
pub(super) struct Frame {
    /// Its type, which is also in the text: the name of a server-sent event.
    pub(super) kind: &'static str,
    /// The whole JSON, or the part before the rows.
    head: Utf8Bytes,
    /// The rows, the same for all subscribers.
    rows: Option<Arc<SharedText>>,
    /// The token in the text, for transports that send it as well outside the text.
    pub(super) resume: Option<Arc<str>>,
}

/// The text between the rows and the token.
const RESUME: &str = ",\"resume\":\"";

impl Frame {
    /// Bytes of the JSON.
    pub(super) fn len(&self) -> usize {
        let rows = self.rows.as_ref().map_or(0, |rows| rows.len() + "]}".len());
        let resume = self.resume.as_ref().map_or(0, |token| RESUME.len() + token.len() + 1);
        self.head.len() + rows + resume
    }

    /// The JSON. It is assembled by the task that sends it, not by the hub.
    pub(super) fn text(&self) -> Utf8Bytes {
        let Some(rows) = &self.rows else { return self.head.clone() };
        let mut text = String::with_capacity(self.len());
        text.push_str(&self.head);
        text.push_str(rows);
        text.push(']');
        if let Some(resume) = &self.resume {
            text.push_str(RESUME);
            text.push_str(resume);
            text.push('"');
        }
        text.push('}');
        text.into()
    }
}

/// Frames of one moment. Clones share them.
pub(super) type Frames = Arc<[Frame]>;

fn frame(kind: &'static str, text: String) -> Frame {
    Frame { kind, head: text.into(), rows: None, resume: None }
}

/// The first message: the limits and periods of the server.
pub(super) fn welcome(updates_per_second: u32, heartbeat_seconds: u64, max: usize) -> Frame {
    let text = json!({
        "type": "welcome",
        "updates_per_second": updates_per_second,
        "heartbeat_seconds": heartbeat_seconds,
        "max_subscriptions": max,
        "max_message_bytes": MAX_MESSAGE,
    });
    frame("welcome", text.to_string())
}

/// The answer to a ping.
pub(super) fn pong() -> Frame {
    frame("pong", json!({ "type": "pong" }).to_string())
}

/// A request cannot be fulfilled: the reason.
pub(super) fn refused(id: Option<u32>, reason: &str) -> Frame {
    frame("error", json!({ "type": "error", "id": id, "error": reason }).to_string())
}

/// The end of a subscription.
pub(super) fn unsubscribed(id: u32) -> Frame {
    frame("unsubscribed", json!({ "type": "unsubscribed", "id": id }).to_string())
}

/// The start of a subscription; updates count on from `sequence`.
pub(super) fn subscribed(id: u32, pattern: &Pattern, sequence: u64) -> Frame {
    let interval = pattern.channel.interval().map(crate::operators::Interval::as_str);
    let mut text = json!({
        "type": "subscribed", "id": id, "sequence": sequence,
        "channel": pattern.channel.name(), "interval": interval,
    });
    for (name, part) in pattern.parts() {
        text[name] = part.into();
    }
    frame("subscribed", text.to_string())
}

/// Changes before here are not known any more; a snapshot follows.
pub(super) fn gone(id: u32, reason: &str, partitions: &[i32]) -> Frame {
    let text = json!({ "type": "gone", "id": id, "reason": reason, "partitions": partitions });
    frame("gone", text.to_string())
}

/// A heartbeat with a resume token for each channel. A client that still waits for first rows gets
/// no channels, because the token would be newer than the rows that it has.
pub(super) fn heartbeat(time: &str, channels: &serde_json::Value) -> Frame {
    frame(
        "heartbeat",
        json!({ "type": "heartbeat", "time": time, "channels": channels }).to_string(),
    )
}

/// Rows of one subscription: JSON objects separated by commas. The token is at the end of the last
/// part, so a client that has the token has all rows.
pub(super) fn rows(
    kind: &'static str,
    id: u32,
    sequence: u64,
    part: (usize, usize),
    rows: &Arc<SharedText>,
    resume: Option<&Arc<str>>,
) -> Frame {
    let (part, parts) = part;
    let mut text = format!("{{\"type\":\"{kind}\",\"id\":{id},\"sequence\":{sequence}");
    if parts > 1 {
        // Writing to a string does not fail.
        let _ = write!(text, ",\"part\":{part},\"parts\":{parts}");
    }
    text.push_str(",\"rows\":[");
    Frame { kind, head: text.into(), rows: Some(Arc::clone(rows)), resume: resume.cloned() }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::api::budget::Budget;
    use crate::operators::Interval;

    #[test]
    fn a_subscription_is_read_with_its_defaults() {
        let read =
            ClientRequest::read(r#"{"op":"subscribe","id":7,"channel":"candles","base":"BTC"}"#);
        let channel = Channel::Candles(Interval::Minute);
        let parts = AskedParts { base: Some("BTC".into()), ..AskedParts::default() };
        let pattern = Pattern::new(channel, parts).unwrap();
        assert_eq!(read, Ok(ClientRequest::Subscribe { id: 7, pattern, resume: None }));
        assert_eq!(
            ClientRequest::read(r#"{"op":"unsubscribe","id":7}"#),
            Ok(ClientRequest::Unsubscribe { id: 7 })
        );
        assert_eq!(ClientRequest::read(r#"{"op":"ping"}"#), Ok(ClientRequest::Ping));
    }

    #[test]
    fn what_is_wrong_is_named() {
        for (text, word) in [
            ("", "not a message"),
            ("[]", "not a message"),
            (r#"{"op":"subscribe"}"#, "channel"),
            (r#"{"op":"subscribe","channel":"latest"}"#, "id"),
            (r#"{"op":"subscribe","id":1,"channel":"trades"}"#, "channel"),
            (r#"{"op":"subscribe","id":1,"channel":"latest","interval":"1m"}"#, "interval"),
            (r#"{"op":"subscribe","id":1,"channel":"candles","interval":"2m"}"#, "interval"),
            (r#"{"op":"subscribe","id":1,"channel":"quotes","interval":"1m"}"#, "interval"),
            (r#"{"op":"subscribe","id":1,"channel":"books"}"#, "options, tokens, swaps or index"),
            (r#"{"op":"subscribe","id":1,"channel":"options","base":"BTC"}"#, "send instrument"),
            (r#"{"op":"subscribe","id":1,"channel":"options","interval":"1m"}"#, "interval"),
            (r#"{"op":"subscribe","id":1,"channel":"options","expiry":"soon"}"#, "expiry"),
            (r#"{"op":"subscribe","id":1,"channel":"quotes","currency":"BTC"}"#, "currency"),
            (r#"{"op":"subscribe","id":1,"channel":"latest","base":""}"#, "base"),
            (r#"{"op":"subscribe","id":1,"channel":"latest","chain":1}"#, "chain"),
            (r#"{"op":"subscribe","id":1,"channel":"tokens","pool":"*"}"#, "send chain, token"),
            (r#"{"op":"subscribe","id":1,"channel":"swaps","token":"*"}"#, "send chain, pool"),
            (r#"{"op":"subscribe","id":1,"channel":"index","exchange":"x"}"#, "send base, quote"),
            (r#"{"op":"subscribe","id":1,"channel":"tokens","token":"WETH"}"#, "40 hexadecimal"),
            (r#"{"op":"subscribe","id":1,"channel":"swaps","chain":0}"#, "id of a chain"),
            (r#"{"op":"subscribe","id":1,"channel":"swaps","chain":"eth"}"#, "id of a chain"),
            (r#"{"op":"unsubscribe"}"#, "id"),
            (r#"{"op":"dance","id":1}"#, "op"),
            (r#"{"op":"ping","more":1}"#, "not a message"),
        ] {
            let error = ClientRequest::read(text).unwrap_err();
            assert!(error.contains(word), "{text}: {error}");
        }
    }

    #[test]
    fn a_token_that_is_none_is_gone_and_no_error() {
        let text = r#"{"op":"subscribe","id":1,"channel":"latest","resume":"x"}"#;
        let Ok(ClientRequest::Subscribe { resume, .. }) = ClientRequest::read(text) else {
            panic!("it is a subscription");
        };
        assert_eq!(resume, Some(Resume::Unknown));
    }

    proptest! {
        #[test]
        fn arbitrary_text_never_panics(text: String) {
            let _ = ClientRequest::read(&text);
        }

        #[test]
        fn every_frame_is_json(id: u32, sequence: u64, reason: String, many: bool) {
            let part = (1, 1 + usize::from(many));
            let token: Arc<str> = "abc-_".into();
            let text = |text: &str| SharedText::new(text.into(), &Budget::new(1));
            for frame in [
                rows("update", id, sequence, part, &text("{\"a\":\"1\"},{}"), Some(&token)),
                rows("snapshot", id, sequence, part, &text(""), None),
                refused(Some(id), &reason), gone(id, &reason, &[0, 3]), pong(), unsubscribed(id),
                welcome(4, 5, 9),
            ] {
                let value: serde_json::Value = serde_json::from_str(&frame.text()).unwrap();
                prop_assert_eq!(frame.text().len(), frame.len());
                prop_assert_eq!(value["type"].as_str(), Some(frame.kind));
            }
        }
    }
}
