//! Who may read, how often, and for how long: what stands in front of the reads.
//!
//! ```text
//! watch (metrics, log) ─► other origins ─► compression ─► rate ─► token ─► time ─► route
//! ```
//!
//! A client is an address as the socket says it: behind a proxy all of them are one, and the
//! proxy's own limits stand.

use std::fmt;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use axum::extract::{ConnectInfo, Request, State};
use axum::http::{HeaderValue, Method, header};
use axum::middleware::Next;
use axum::response::Response;
use schemas::Timestamp;
use tower_http::cors::{AllowOrigin, CorsLayer};

use super::answer;
use super::budget::{Budget, Held};
use super::connections::Line;
use super::error::Refusal;
use super::rate::Rates;
use super::routes::MAX_BODY;

/// How long a browser keeps what it was told of other origins: an hour, beyond which most do not.
const CORS_MAX_AGE: Duration = Duration::from_hours(1);

/// A secret that readers send. It is shown to nobody.
#[derive(Clone, PartialEq, Eq)]
pub struct Token(String);

impl Token {
    /// Of what is no white space; `None` when there is nothing.
    pub fn new(text: &str) -> Option<Self> {
        let text = text.trim();
        (!text.is_empty()).then(|| Self(text.to_owned()))
    }

    /// The header that carries it.
    pub fn bearer(&self) -> String {
        format!("Bearer {}", self.0)
    }

    /// The same text, found in a time that does not depend on where they differ.
    fn is(&self, other: &str) -> bool {
        let (ours, theirs) = (self.0.as_bytes(), other.as_bytes());
        let differences = ours.iter().zip(theirs).fold(0, |found, (a, b)| found | (a ^ b));
        ours.len() == theirs.len() && differences == 0
    }
}

impl fmt::Debug for Token {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("***")
    }
}

/// What readers may.
#[derive(Clone, Debug)]
pub struct Guards {
    /// What they must send, if anything.
    pub token: Option<Token>,
    /// Pages of these origins may read in a browser.
    pub origins: Vec<HeaderValue>,
    /// Requests of one address a second, and at once after a pause. None is no limit.
    pub rate: Option<(u32, u32)>,
    /// Reads at once.
    pub max_reads: usize,
    /// The time in which a read is answered, or refused.
    pub timeout: Duration,
}

impl Guards {
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

/// What each request is held against.
#[derive(Clone)]
pub(super) struct Gate {
    token: Option<Token>,
    /// Taken by each request, for one look into a map.
    rates: Option<Arc<Mutex<Rates>>>,
    now: fn() -> Timestamp,
    timeout: Duration,
    budget: Budget,
}

impl Gate {
    pub(super) fn new(guards: &Guards, now: fn() -> Timestamp, budget: &Budget) -> Self {
        let rates = guards.rate.map(|(rate, burst)| Arc::new(Mutex::new(Rates::new(rate, burst))));
        let (token, timeout, budget) = (guards.token.clone(), guards.timeout, budget.clone());
        Self { token, rates, now, timeout, budget }
    }

    fn rate(&self, client: IpAddr) -> Result<(), Refusal> {
        let Some(rates) = &self.rates else {
            return Ok(());
        };
        let now = (self.now)();
        let mut rates = rates.lock().unwrap_or_else(PoisonError::into_inner);
        rates.take(client, now.0).map_err(Refusal::too_often)
    }

    /// The memory of a body, which is gathered before it is read.
    fn body(&self, request: &Request) -> Result<Option<Held>, Refusal> {
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
        let held = self.budget.hold(length, request.extensions().get::<Line>());
        held.map(Some).ok_or_else(Refusal::no_memory)
    }

    fn token(&self, request: &Request) -> Result<(), Refusal> {
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

/// The address that asks; without a socket, as in tests, it is one of nobody.
fn client(request: &Request) -> IpAddr {
    let info = request.extensions().get::<ConnectInfo<SocketAddr>>();
    info.map_or(IpAddr::V4(Ipv4Addr::UNSPECIFIED), |ConnectInfo(address)| address.ip())
}

/// Lets through who may read. What is long-lived has this and not [`in_time`].
pub(super) async fn allowed(
    State(gate): State<Gate>,
    request: Request,
    next: Next,
) -> Result<Response, Refusal> {
    gate.rate(client(&request))?;
    gate.token(&request)?;
    Ok(next.run(request).await)
}

/// Answers in time. The read itself goes on, and holds its permit, until it is done.
pub(super) async fn in_time(
    State(gate): State<Gate>,
    request: Request,
    next: Next,
) -> Result<Response, Refusal> {
    let _body = gate.body(&request)?;
    let answer = tokio::time::timeout(gate.timeout, next.run(request)).await;
    answer.map_err(|_| {
        Refusal::unavailable(format!("the read took longer than {} ms", gate.timeout.as_millis()))
    })
}
