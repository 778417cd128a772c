//! The schema registry: our schemas are registered at start, and others are looked up by id.
//!
//! Each subject is set to BACKWARD before its schema is registered, so that an incompatible one
//! is refused by the registry and not found out by a reader.
//!
//! Every call blocks: never on the async runtime.

use std::sync::Arc;
use std::time::Duration;

use reqwest::StatusCode;
use reqwest::blocking::{RequestBuilder, Response};
use schema_registry_converter::blocking::schema_registry::{SrSettings, get_schema_by_id};
use schema_registry_converter::error::SRCError;
use serde_json::{Value, json};

use crate::clock;
use crate::codec::{Codec, Kind};
use crate::setting::masked;
use crate::topic::Topic;

/// A registry that has not answered in this time is unavailable.
const TIMEOUT: Duration = Duration::from_secs(30);
/// Members that start at the same time register the same: the registry answers one of them with a
/// conflict, and as agreed once the other is done. A schema that is incompatible stays so.
const TRIES: usize = 5;
/// Between two of them: a registry writes to its topic meanwhile.
const PAUSE: Duration = Duration::from_millis(200);
/// The API's own name for JSON.
const CONTENT_TYPE: &str = "application/vnd.schemaregistry.v1+json";
/// Characters of an answer that are shown when it is not the API's own.
const SHOWN: usize = 200;

/// What went wrong with the registry; each message names the way out.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum RegistryError {
    /// It did not answer.
    #[error(
        "schema registry {url} does not answer: {reason}; start it or set --schema-registry-url"
    )]
    Unreachable {
        /// Its address.
        url: String,
        /// The client's words.
        reason: String,
    },
    /// It holds a schema that ours cannot follow.
    #[error(
        "subject {subject}: the schema registered there is incompatible with ours (BACKWARD): \
         {reason}; use another --topic-prefix or delete the subject"
    )]
    Incompatible {
        /// The subject.
        subject: String,
        /// The registry's words.
        reason: String,
    },
}

/// A Confluent-compatible registry.
#[derive(Clone)]
pub struct Registry {
    url: String,
    http: reqwest::blocking::Client,
    settings: Arc<SrSettings>,
}

impl Registry {
    /// The registry at `url`, for example `http://127.0.0.1:8081/apis/ccompat/v7`. Connects to
    /// nothing yet.
    pub fn new(url: &str) -> Result<Self, RegistryError> {
        let unreachable = |reason: String| RegistryError::Unreachable { url: masked(url), reason };
        let http = reqwest::blocking::Client::builder()
            .timeout(TIMEOUT)
            .build()
            .map_err(|error| unreachable(error.to_string()))?;
        let settings = SrSettings::new_builder(url.to_owned())
            .set_timeout(TIMEOUT)
            .build()
            .map_err(|error| unreachable(error.to_string()))?;
        Ok(Self { url: url.into(), http, settings: Arc::new(settings) })
    }

    /// Registers every subject of the topic table and returns the codec of the ids.
    pub fn codec(&self, topic_prefix: &str) -> Result<Codec, RegistryError> {
        let mut ids = [0; Kind::ALL.len()];
        for (subject, kind) in subjects(topic_prefix) {
            ids[kind as usize] = self.register(&subject, kind)?;
        }
        let lookup = self.clone();
        let codec = Codec::new(ids, Box::new(move |id| lookup.schema(id)));
        Ok(codec.waiting(Box::new(clock::elapsed)))
    }

    /// Registers one schema under BACKWARD; returns its id.
    fn register(&self, subject: &str, kind: Kind) -> Result<i32, RegistryError> {
        // A registry may not know the configuration of a subject that does not exist yet.
        let exists = self.set_backward(subject)?;
        let id = self.post_schema(subject, kind)?;
        if !exists {
            self.set_backward(subject)?;
        }
        Ok(id)
    }

    /// Posts one schema. By our own client, not the converter's: that one does not look at the
    /// status, and an outage would read as a schema that is refused.
    fn post_schema(&self, subject: &str, kind: Kind) -> Result<i32, RegistryError> {
        let unreachable =
            |reason: String| RegistryError::Unreachable { url: masked(&self.url), reason };
        let request = || {
            self.http
                .post(format!("{}/subjects/{subject}/versions", self.url))
                .header("content-type", CONTENT_TYPE)
                .body(json!({"schemaType": "AVRO", "schema": kind.schema()}).to_string())
        };
        let answer = send(request).map_err(|error| unreachable(error.to_string()))?;
        let status = answer.status();
        let text = answer.text().map_err(|error| unreachable(error.to_string()))?;
        if matches!(status, StatusCode::CONFLICT | StatusCode::UNPROCESSABLE_ENTITY) {
            let subject = subject.to_owned();
            return Err(RegistryError::Incompatible { subject, reason: reason(&text) });
        }
        let id = serde_json::from_str(&text).ok().and_then(|answer: Value| answer["id"].as_i64());
        match id.and_then(|id| i32::try_from(id).ok()).filter(|_| status.is_success()) {
            Some(id) => Ok(id),
            None => Err(unreachable(format!("{status}: {}", reason(&text)))),
        }
    }

    /// Sets BACKWARD; false when the registry does not know the subject.
    fn set_backward(&self, subject: &str) -> Result<bool, RegistryError> {
        let unreachable = |error: reqwest::Error| RegistryError::Unreachable {
            url: masked(&self.url),
            reason: error.to_string(),
        };
        let request = || {
            self.http
                .put(format!("{}/config/{subject}", self.url))
                .header("content-type", CONTENT_TYPE)
                .body(r#"{"compatibility":"BACKWARD"}"#)
        };
        let answer = send(request).map_err(unreachable)?;
        if answer.status() == StatusCode::NOT_FOUND {
            return Ok(false);
        }
        answer.error_for_status().map(|_| true).map_err(unreachable)
    }

    /// The schema of an id; `None` when there is none.
    fn schema(&self, id: i32) -> Result<Option<String>, String> {
        match get_schema_by_id(id.cast_unsigned(), &self.settings) {
            Ok(found) => Ok(Some(found.schema)),
            Err(error) => self.absent(id, &error),
        }
    }

    /// The client does not tell "no such id" from "not now"; the status of the answer does.
    fn absent(&self, id: i32, error: &SRCError) -> Result<Option<String>, String> {
        match self.http.get(format!("{}/schemas/ids/{id}", self.url)).send() {
            Ok(answer) if answer.status() == StatusCode::NOT_FOUND => Ok(None),
            _ => Err(error.to_string()),
        }
    }
}

/// Sends a request whose repetition does no harm, again while the registry answers with a conflict.
#[expect(clippy::disallowed_methods, reason = "it waits for the registry, as each request does")]
fn send(request: impl Fn() -> RequestBuilder) -> reqwest::Result<Response> {
    let mut answer = request().send()?;
    for _ in 1..TRIES {
        if answer.status() != StatusCode::CONFLICT {
            break;
        }
        std::thread::sleep(PAUSE);
        answer = request().send()?;
    }
    Ok(answer)
}

/// The registry's words: the message of its answer, else the beginning of whatever it sent.
fn reason(text: &str) -> String {
    let message: Option<Value> = serde_json::from_str(text).ok();
    let message = message.as_ref().and_then(|answer| answer["message"].as_str());
    message.map_or_else(|| text.chars().take(SHOWN).collect(), str::to_owned)
}

/// Every subject and its schema: key and value of each topic (`TopicNameStrategy`), and the feed
/// marks, which share a topic with the events, by topic and record name.
fn subjects(prefix: &str) -> Vec<(String, Kind)> {
    let mut subjects = Vec::new();
    for topic in Topic::ALL {
        let name = topic.name(prefix);
        if let Some((key, value)) = topic.kinds() {
            subjects.push((format!("{name}-key"), key));
            subjects.push((format!("{name}-value"), value));
        }
    }
    subjects.push((format!("{}-market.FeedMark", Topic::Events.name(prefix)), Kind::FeedMark));
    subjects
}
