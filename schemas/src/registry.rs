//! The schema registry: our schemas are registered at start, and others are looked up by id.
//!
//! Each subject is set to BACKWARD before its schema is registered, so that an incompatible one
//! is refused by the registry and not found out by a reader.
//!
//! Every call blocks: never on the async runtime.

use std::error::Error;
use std::fmt;
use std::path::PathBuf;
use std::str::FromStr;
use std::sync::Arc;
use std::time::Duration;

use reqwest::StatusCode;
use reqwest::blocking::{Client, ClientBuilder, RequestBuilder, Response};
use schema_registry_converter::blocking::schema_registry::{SrSettings, get_schema_by_id};
use schema_registry_converter::error::SRCError;
use serde_json::{Value, json};

use crate::clock;
use crate::codec::Codec;
use crate::kind::Kind;
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

/// A failure of the registry; each message names the way out.
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
    /// Its certificate does not prove who it is.
    #[error(
        "schema registry {url} is not trusted: {reason}; renew its certificate, or name its \
         authority with --schema-registry-ca"
    )]
    Untrusted {
        /// Its address.
        url: String,
        /// The words of TLS.
        reason: String,
    },
    /// It does not accept the user.
    #[error(
        "schema registry {url} refuses the request: {status}; correct --schema-registry-user, or \
         allow that user to register schemas"
    )]
    Denied {
        /// Its address.
        url: String,
        /// The status of its answer.
        status: String,
    },
    /// The file of `--schema-registry-ca` is of no use.
    #[error("--schema-registry-ca {file}: {reason}; name a file of PEM certificates")]
    Authority {
        /// Its path.
        file: String,
        /// Why.
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

/// A user of the registry, as `USER:PASSWORD`. The password is never printed.
#[derive(Clone, PartialEq, Eq)]
pub struct Login {
    user: String,
    password: String,
}

impl FromStr for Login {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        match text.split_once(':') {
            Some((user, password)) if !user.is_empty() => {
                Ok(Self { user: user.into(), password: password.into() })
            }
            // Without the text: it may be a password.
            _ => Err("a user is USER:PASSWORD"),
        }
    }
}

impl fmt::Debug for Login {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:***", self.user)
    }
}

/// How the registry is spoken to, beside its address.
#[derive(Clone, Debug, Default)]
pub struct Access {
    /// A file of authorities that are trusted beside the public ones.
    pub ca: Option<PathBuf>,
    /// Who asks.
    pub login: Option<Login>,
}

impl Access {
    /// A client that trusts the authorities.
    fn client(&self) -> Result<ClientBuilder, RegistryError> {
        let mut client = Client::builder().timeout(TIMEOUT);
        let Some(file) = &self.ca else {
            return Ok(client);
        };
        let name = file.display().to_string();
        let useless = |reason: String| RegistryError::Authority { file: name.clone(), reason };
        let pem = std::fs::read(file).map_err(|error| useless(error.to_string()))?;
        let authorities = reqwest::Certificate::from_pem_bundle(&pem);
        let authorities = authorities.map_err(|error| useless(innermost(&error)))?;
        if authorities.is_empty() {
            return Err(useless("it holds no certificate".into()));
        }
        for authority in authorities {
            client = client.add_root_certificate(authority);
        }
        Ok(client)
    }
}

/// A Confluent-compatible registry.
#[derive(Clone)]
pub struct Registry {
    url: String,
    login: Option<Login>,
    http: Client,
    settings: Arc<SrSettings>,
}

impl Registry {
    /// The registry at `url`, for example `http://127.0.0.1:8081/apis/ccompat/v7`. Connects to
    /// nothing yet.
    pub fn new(url: &str) -> Result<Self, RegistryError> {
        Self::with(url, &Access::default())
    }

    /// The same with authorities and a user of one's own.
    pub fn with(url: &str, access: &Access) -> Result<Self, RegistryError> {
        let unreachable = |reason: String| RegistryError::Unreachable { url: masked(url), reason };
        let http = access.client()?.build().map_err(|error| unreachable(innermost(&error)))?;
        let mut settings = SrSettings::new_builder(url.to_owned());
        settings.set_timeout(TIMEOUT);
        if let Some(Login { user, password }) = &access.login {
            settings.set_basic_authorization(user, Some(password));
        }
        let settings = settings.build_with(access.client()?);
        let settings = settings.map_err(|error| unreachable(error.to_string()))?;
        let login = access.login.clone();
        Ok(Self { url: url.into(), login, http, settings: Arc::new(settings) })
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
        let request = || {
            self.http
                .post(format!("{}/subjects/{subject}/versions", self.url))
                .header("content-type", CONTENT_TYPE)
                .body(json!({"schemaType": "AVRO", "schema": kind.schema()}).to_string())
        };
        let answer = self.send(request)?;
        let status = answer.status();
        let text = answer.text().map_err(|error| self.failed(&error))?;
        if matches!(status, StatusCode::CONFLICT | StatusCode::UNPROCESSABLE_ENTITY) {
            let subject = subject.to_owned();
            return Err(RegistryError::Incompatible { subject, reason: reason(&text) });
        }
        let id = serde_json::from_str(&text).ok().and_then(|answer: Value| answer["id"].as_i64());
        match id.and_then(|id| i32::try_from(id).ok()).filter(|_| status.is_success()) {
            Some(id) => Ok(id),
            None => Err(self.unreachable(format!("{status}: {}", reason(&text)))),
        }
    }

    /// Sets BACKWARD; false when the registry does not know the subject.
    fn set_backward(&self, subject: &str) -> Result<bool, RegistryError> {
        let request = || {
            self.http
                .put(format!("{}/config/{subject}", self.url))
                .header("content-type", CONTENT_TYPE)
                .body(r#"{"compatibility":"BACKWARD"}"#)
        };
        let answer = self.send(request)?;
        if answer.status() == StatusCode::NOT_FOUND {
            return Ok(false);
        }
        answer.error_for_status().map(|_| true).map_err(|error| self.failed(&error))
    }

    /// Sends a request as our user, and again while the registry answers with a conflict. A repetition
    /// must do no harm.
    #[expect(
        clippy::disallowed_methods,
        reason = "it waits for the registry, as each request does"
    )]
    fn send(&self, request: impl Fn() -> RequestBuilder) -> Result<Response, RegistryError> {
        let send = || self.signed(request()).send().map_err(|error| self.failed(&error));
        let mut answer = send()?;
        for _ in 1..TRIES {
            if answer.status() != StatusCode::CONFLICT {
                break;
            }
            std::thread::sleep(PAUSE);
            answer = send()?;
        }
        let status = answer.status();
        if matches!(status, StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN) {
            return Err(RegistryError::Denied {
                url: masked(&self.url),
                status: status.to_string(),
            });
        }
        Ok(answer)
    }

    fn signed(&self, request: RequestBuilder) -> RequestBuilder {
        match &self.login {
            Some(login) => request.basic_auth(&login.user, Some(&login.password)),
            None => request,
        }
    }

    fn unreachable(&self, reason: String) -> RegistryError {
        RegistryError::Unreachable { url: masked(&self.url), reason }
    }

    /// Why no answer came.
    fn failed(&self, error: &reqwest::Error) -> RegistryError {
        let reason = innermost(error);
        if reason.contains("certificate") {
            return RegistryError::Untrusted { url: masked(&self.url), reason };
        }
        self.unreachable(reason)
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
        match self.signed(self.http.get(format!("{}/schemas/ids/{id}", self.url))).send() {
            Ok(answer) if answer.status() == StatusCode::NOT_FOUND => Ok(None),
            _ => Err(error.to_string()),
        }
    }
}

/// The cause of an error that has no further one: the client's own words say no more than that a request
/// failed.
fn innermost(error: &dyn Error) -> String {
    let mut cause = error;
    while let Some(source) = cause.source() {
        cause = source;
    }
    cause.to_string()
}

/// The registry's words: the message of its answer, else the beginning of whatever it sent.
fn reason(text: &str) -> String {
    let message: Option<Value> = serde_json::from_str(text).ok();
    let message = message.as_ref().and_then(|answer| answer["message"].as_str());
    message.map_or_else(|| text.chars().take(SHOWN).collect(), str::to_owned)
}

/// Every subject and its schema: key and value of each topic (`TopicNameStrategy`), and by topic and
/// record name what shares a topic with its values: feed marks, the facts of instruments and of pools,
/// the heads of chains. Records of repartition topics have subjects by their names alone.
fn subjects(prefix: &str) -> Vec<(String, Kind)> {
    let mut subjects = Vec::new();
    for topic in Topic::ALL {
        let name = topic.name(prefix);
        if let Some((key, value)) = topic.kinds() {
            subjects.push((format!("{name}-key"), key));
            subjects.push((format!("{name}-value"), value));
        }
    }
    let marked = Topic::MARKED.into_iter().map(|topic| (topic, Kind::FeedMark));
    let listed = Topic::LISTED.into_iter().map(|topic| (topic, Kind::Instrument));
    let of_chains = Topic::CHAINS
        .into_iter()
        .flat_map(|topic| [Kind::ChainHead, Kind::Pool].map(|kind| (topic, kind)));
    for (topic, kind) in marked.chain(listed).chain(of_chains) {
        subjects.push((format!("{}-market.{}", topic.name(prefix), kind.as_str()), kind));
    }
    // Repartition topics are the processor's, and their names depend on its application id.
    let only_repartitioned = [Kind::TokenKey, Kind::TokenLeg, Kind::IndexLeg];
    subjects
        .extend(only_repartitioned.map(|kind| (format!("{prefix}market.{}", kind.as_str()), kind)));
    subjects
}

/// A URL as it may be shown: without user and password.
pub fn masked(url: &str) -> String {
    let (scheme, rest) = url.split_once("://").unwrap_or(("", url));
    let (host, path) = rest.split_at(rest.find(['/', '?', '#']).unwrap_or(rest.len()));
    let separator = if scheme.is_empty() { "" } else { "://" };
    // The last @ before the path: a password may hold one.
    match host.rsplit_once('@') {
        Some((_, host)) => format!("{scheme}{separator}***@{host}{path}"),
        None => url.to_owned(),
    }
}
