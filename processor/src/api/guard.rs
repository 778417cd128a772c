//! The access policy in front of the reads: token, request rate, timeout, CORS.
//!
//! ```text
//! watch (metrics, log) ─► CORS ─► compression ─► rate ─► token ─► timeout ─► route
//! ```
//!
//! A client is an address of the socket. Behind a proxy all clients share one address, and the
//! proxy's own limits apply.

use std::fmt;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use axum::extract::{ConnectInfo, Request, State};
use axum::http::{HeaderValue, Method, header};
use axum::middleware::Next;
use axum::response::Response;
use schemas::Timestamp;
use subtle::ConstantTimeEq as _;
use tower_http::cors::{AllowOrigin, CorsLayer};

use super::answer;
use super::budget::{Budget, Held};
use super::connections::ConnectionHandle;
use super::error::{Refusal, Result};
use super::rate::Rates;

/// Bytes of a request body: 1,000 pairs of the longest names, and JSON around them.
pub(super) const MAX_BODY: usize = 512 << 10;
/// How long a browser caches a CORS preflight answer: an hour, the longest that most accept.
const CORS_MAX_AGE: Duration = Duration::from_hours(1);

/// A bearer token. Its `Debug` output hides it.
#[derive(Clone, PartialEq, Eq)]
pub struct AccessToken(String);

impl AccessToken {
    /// The text without surrounding white space; `None` when it is empty.
    pub fn new(text: &str) -> Option<Self> {
        let text = text.trim();
        (!text.is_empty()).then(|| Self(text.to_owned()))
    }

    /// The value of the `authorization` header.
    pub fn bearer(&self) -> String {
        format!("Bearer {}", self.0)
    }

    /// Compares in constant time: the duration does not depend on where the texts differ.
    fn is(&self, other: &str) -> bool {
        self.0.as_bytes().ct_eq(other.as_bytes()).into()
    }
}

impl fmt::Debug for AccessToken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("***")
    }
}

/// The access policy of readers.
#[derive(Clone, Debug)]
pub struct AccessPolicy {
    /// The token that readers must send, if any.
    pub token: Option<AccessToken>,
    /// Origins whose pages may read in a browser.
    pub origins: Vec<HeaderValue>,
    /// Requests of one address per second, and their burst. `None` is no limit.
    pub rate: Option<(u32, u32)>,
    /// Concurrent reads.
    pub max_reads: usize,
    /// The time in which a read is answered or refused.
    pub timeout: Duration,
}

impl AccessPolicy {
    pub(super) fn cors(&self) -> CorsLayer {
        CorsLayer::new()
            .allow_origin(AllowOrigin::list(self.origins.iter().cloned()))
            .allow_methods([Method::GET, Method::POST])
            .allow_headers([header::ACCEPT, header::AUTHORIZATION, header::CONTENT_TYPE])
            .expose_headers([
                answer::AS_OF,
                answer::LAG,
                answer::POSITIONS,
                answer::NEXT_CURSOR,
                answer::RESOLUTION,
                answer::HISTORY,
                header::ETAG,
                header::RETRY_AFTER,
            ])
            .max_age(CORS_MAX_AGE)
    }
}

/// The access policy with its state.
#[derive(Clone)]
pub(super) struct Guard {
    token: Option<AccessToken>,
    /// Locked by each request for one look-up.
    rates: Option<Arc<Mutex<Rates>>>,
    now: fn() -> Timestamp,
    timeout: Duration,
    budget: Budget,
}

impl Guard {
    pub(super) fn new(guards: &AccessPolicy, now: fn() -> Timestamp, budget: &Budget) -> Self {
        let rates = guards.rate.map(|(rate, burst)| Arc::new(Mutex::new(Rates::new(rate, burst))));
        let (token, timeout, budget) = (guards.token.clone(), guards.timeout, budget.clone());
        Self { token, rates, now, timeout, budget }
    }

    fn rate(&self, client: IpAddr) -> Result<()> {
        let Some(rates) = &self.rates else {
            return Ok(());
        };
        let now = (self.now)();
        let mut rates = rates.lock().unwrap_or_else(PoisonError::into_inner);
        rates.take(client, now.0).map_err(Refusal::too_often)
    }

    /// Reserves the memory of a request's body, which is buffered before the route runs.
    fn body(&self, request: &Request) -> Result<Option<Held>> {
        let headers = request.headers();
        let length =
            headers.get(header::CONTENT_LENGTH).and_then(|v| v.to_str().ok()?.parse().ok());
        let length = match length {
            Some(length) => MAX_BODY.min(length),
            None if headers.contains_key(header::TRANSFER_ENCODING) => MAX_BODY,
            None => 0,
        };
        if length == 0 {
            return Ok(None);
        }
        let held = self.budget.hold(length, request.extensions().get::<ConnectionHandle>());
        held.map(Some).ok_or_else(Refusal::no_memory)
    }

    fn token(&self, request: &Request) -> Result<()> {
        let Some(token) = &self.token else {
            return Ok(());
        };
        let sent = request.headers().get(header::AUTHORIZATION).and_then(|v| v.to_str().ok());
        let sent = sent.and_then(|sent| sent.split_once(' '));
        match sent {
            Some((scheme, sent)) if scheme.eq_ignore_ascii_case("bearer") && token.is(sent) => {
                Ok(())
            }
            _ => Err(Refusal::unauthorized()),
        }
    }
}

/// The client's address; requests of unit tests have none.
fn client(request: &Request) -> IpAddr {
    let info = request.extensions().get::<ConnectInfo<SocketAddr>>();
    info.map_or(IpAddr::V4(Ipv4Addr::UNSPECIFIED), |ConnectInfo(address)| address.ip())
}

/// Checks rate and token. Streaming routes have this layer and not [`in_time`].
pub(super) async fn allowed(
    State(gate): State<Guard>,
    request: Request,
    next: Next,
) -> Result<Response> {
    gate.rate(client(&request))?;
    gate.token(&request)?;
    Ok(next.run(request).await)
}

/// Answers in time. The read itself goes on, and holds its permit, until it is done.
pub(super) async fn in_time(
    State(gate): State<Guard>,
    request: Request,
    next: Next,
) -> Result<Response> {
    let _body = gate.body(&request)?;
    let answer = tokio::time::timeout(gate.timeout, next.run(request)).await;
    answer.map_err(|_| {
        Refusal::unavailable(format!("the read took longer than {} ms", gate.timeout.as_millis()))
    })
}
