//! The refusal of a request: one type, one form.
//!
//! Every refusal is JSON with an `error` that names the parameter and the remedy. It contains no
//! internal detail: an internal failure is logged.

use axum::Json;
use axum::extract::rejection::{JsonRejection, PathRejection, QueryRejection};
use axum::extract::ws::rejection::WebSocketUpgradeRejection;
use axum::http::{HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use serde_json::{Map, Value};

/// Seconds after which a client that was refused for load may try again: longer than a burst of
/// reads.
const BUSY_RETRY_S: u64 = 1;

/// The result of everything that can be refused.
pub(super) type Result<T, E = Refusal> = std::result::Result<T, E>;

/// A status and a reason, with optional fields.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Refusal {
    status: StatusCode,
    fields: Map<String, Value>,
    retry_after_s: Option<u64>,
}

impl Refusal {
    fn new(status: StatusCode, reason: impl Into<String>) -> Self {
        let fields = Map::from_iter([("error".to_owned(), Value::String(reason.into()))]);
        Self { status, fields, retry_after_s: None }
    }

    /// 400: a parameter or the body is invalid.
    pub fn bad(reason: impl Into<String>) -> Self {
        Self::new(StatusCode::BAD_REQUEST, reason)
    }

    /// 401: the token is missing or wrong.
    pub fn unauthorized() -> Self {
        let reason = "the token is missing or wrong: send authorization: Bearer TOKEN";
        Self::new(StatusCode::UNAUTHORIZED, reason)
    }

    /// 403: the client has no permission.
    pub fn forbidden(reason: impl Into<String>) -> Self {
        Self::new(StatusCode::FORBIDDEN, reason)
    }

    /// 404: the resource is not known here.
    pub fn not_found(reason: impl Into<String>) -> Self {
        Self::new(StatusCode::NOT_FOUND, reason)
    }

    /// 405: the route has no such method.
    pub fn method() -> Self {
        let reason =
            "this route does not support the method: /v1/openapi.json lists those that it does";
        Self::new(StatusCode::METHOD_NOT_ALLOWED, reason)
    }

    /// 406: the route offers none of the accepted media types.
    pub fn not_acceptable(formats: &str) -> Self {
        Self::new(StatusCode::NOT_ACCEPTABLE, format!("accept: this route answers {formats}"))
    }

    /// 429: the client exceeds its request rate.
    pub fn too_often(retry_after_s: u64) -> Self {
        let reason = "too many requests from this address: wait as retry-after says";
        Self::new(StatusCode::TOO_MANY_REQUESTS, reason).retry_after(retry_after_s)
    }

    /// 503: temporarily unavailable.
    pub fn unavailable(reason: impl Into<String>) -> Self {
        Self::new(StatusCode::SERVICE_UNAVAILABLE, reason)
    }

    /// 503: the limit of concurrent reads is reached.
    pub fn busy() -> Self {
        let reason = "too many concurrent reads: try again, or use another view";
        Self::unavailable(reason).retry_after(BUSY_RETRY_S)
    }

    /// 503: readers hold all the memory that they may.
    pub fn no_memory() -> Self {
        let reason = "other clients hold too much memory: try again, or request fewer rows";
        Self::unavailable(reason).retry_after(BUSY_RETRY_S)
    }

    /// 503: the limit of streaming clients is reached, or the hub is behind.
    pub fn full() -> Self {
        let reason = "too many streaming clients: try again later";
        Self::unavailable(reason).retry_after(BUSY_RETRY_S)
    }

    /// 500: an internal failure. `cause` is logged.
    pub fn broken(cause: &dyn std::fmt::Display) -> Self {
        tracing::error!(error = %cause, "a read failed");
        Self::new(StatusCode::INTERNAL_SERVER_ERROR, "internal error: see the server's log")
    }

    /// Adds a field.
    #[must_use]
    pub fn with(mut self, name: &str, value: impl Into<Value>) -> Self {
        self.fields.insert(name.to_owned(), value.into());
        self
    }

    fn retry_after(mut self, seconds: u64) -> Self {
        self.retry_after_s = Some(seconds);
        self
    }

    /// The status of the answer.
    pub const fn status(&self) -> StatusCode {
        self.status
    }
}

impl IntoResponse for Refusal {
    fn into_response(self) -> Response {
        let mut response = (self.status, Json(Value::Object(self.fields))).into_response();
        let headers = response.headers_mut();
        if let Some(seconds) = self.retry_after_s {
            headers.insert(header::RETRY_AFTER, HeaderValue::from(seconds));
        }
        if self.status == StatusCode::UNAUTHORIZED {
            headers.insert(header::WWW_AUTHENTICATE, HeaderValue::from_static("Bearer"));
        }
        response
    }
}

/// A store failed to read.
impl From<streams::Error> for Refusal {
    fn from(error: streams::Error) -> Self {
        Self::broken(&error)
    }
}

impl From<QueryRejection> for Refusal {
    fn from(rejection: QueryRejection) -> Self {
        Self::bad(rejection.body_text())
    }
}

impl From<PathRejection> for Refusal {
    fn from(rejection: PathRejection) -> Self {
        Self::bad(rejection.body_text())
    }
}

impl From<WebSocketUpgradeRejection> for Refusal {
    fn from(rejection: WebSocketUpgradeRejection) -> Self {
        let reason = format!("this route needs a WebSocket upgrade: {}", rejection.body_text());
        Self::new(rejection.status(), reason)
    }
}

impl From<JsonRejection> for Refusal {
    fn from(rejection: JsonRejection) -> Self {
        // JSON of another shape is as invalid as text that is not JSON.
        let status = match rejection.status() {
            StatusCode::UNPROCESSABLE_ENTITY => StatusCode::BAD_REQUEST,
            status => status,
        };
        Self::new(status, format!("body: {}", rejection.body_text()))
    }
}
