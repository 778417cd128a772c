//! Snapshots of order books over HTTP, for all feeds of a process.
//!
//! ```text
//! feeds ── requests, bounded ──→ paced, a few at a time ── GET ──→ answer ──→ the feed that asked
//!                                    │ 429, 418: a pause for all
//! ```
//!
//! A request is sent once. The feed decides when it asks again (`resyncs.rs`).
//!
//! Invariants:
//! - Requests of all pairs together keep the venue's pace.
//! - After 429 or 418 no request is sent for as long as the venue asks.
//! - At most `IN_FLIGHT` answers of at most `MAX_BODY_BYTES` are in memory, and as many in the
//!   feeds' channels.

use std::time::Duration;

use futures_util::StreamExt;
use futures_util::stream::FuturesUnordered;
use reqwest::{Client, Response};
use schemas::{PairKey, Timestamp};
use tokio::sync::mpsc;
use tokio::time::sleep;
use venues::history::MAX_WAIT;

use crate::clock::{self, Stopwatch};
use crate::feed::http;
use crate::labels::NoSnapshot;

/// Requests that wait: more than any venue lists pairs in one currency. A feed repeats a request for
/// which there was no room.
const WAITING: usize = 4096;
/// Requests on their way. A venue answers within a second, and no pace is faster than ten a second.
const IN_FLIGHT: usize = 8;
/// Answers that wait for a feed.
const ANSWERS: usize = 2;
/// An answer that is larger is not read on. The largest has some megabytes: all orders of a Bitstamp
/// pair, or 5,000 levels of Binance.
const MAX_BODY_BYTES: usize = 16 << 20;
/// The pause after a rate limit that names none.
const LIMITED_WAIT: Duration = Duration::from_secs(10);

/// The answer to a request.
#[derive(Debug)]
pub(crate) struct Answer {
    /// The pair of the book.
    pub(crate) pair: PairKey,
    /// The address.
    pub(crate) url: String,
    /// The body, and when it was received.
    pub(crate) body: Result<(String, Timestamp), Failure>,
}

/// A request without a usable answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Failure {
    pub(crate) why: NoSnapshot,
    /// The words of the venue or of the client.
    pub(crate) detail: String,
    /// The time that the venue asks to wait.
    pub(crate) wait: Duration,
}

impl Failure {
    /// The answer is not a snapshot.
    pub(crate) fn malformed(detail: String) -> Self {
        Self { why: NoSnapshot::Malformed, detail, wait: Duration::ZERO }
    }
}

/// A request of a feed.
struct Wanted {
    pair: PairKey,
    url: String,
    answers: mpsc::Sender<Answer>,
}

/// Takes the requests of feeds. Clones share the venue's pace.
#[derive(Clone, Debug)]
pub struct Snapshots {
    rest_url: String,
    requests: mpsc::Sender<Wanted>,
}

/// The requests and the answers of one connection. With it, its requests are gone.
#[derive(Debug)]
pub(crate) struct SnapshotClient {
    snapshots: Option<Snapshots>,
    sender: mpsc::Sender<Answer>,
    answers: mpsc::Receiver<Answer>,
}

impl Snapshots {
    /// Starts the task that sends the requests, `pace` apart. It ends with the last clone.
    pub fn start(rest_url: String, pace: Duration) -> reqwest::Result<Self> {
        let (requests, inbox) = mpsc::channel(WAITING);
        tokio::spawn(send(http::client()?, pace, inbox));
        Ok(Self { rest_url, requests })
    }
}

impl SnapshotClient {
    /// The client of one connection. Without `snapshots` every request fails.
    pub(crate) fn new(snapshots: Option<Snapshots>) -> Self {
        let (sender, answers) = mpsc::channel(ANSWERS);
        Self { snapshots, sender, answers }
    }

    /// Asks for a snapshot; false when too many requests wait.
    pub(crate) fn ask(&self, pair: PairKey, request: &venues::HttpRequest) -> bool {
        let Some(snapshots) = &self.snapshots else { return false };
        let url = request.url(&snapshots.rest_url);
        let wanted = Wanted { pair, url, answers: self.sender.clone() };
        snapshots.requests.try_send(wanted).is_ok()
    }

    /// Waits for an answer. Cancel safe.
    pub(crate) async fn answer(&mut self) -> Answer {
        match self.answers.recv().await {
            Some(answer) => answer,
            // Its own sender keeps the channel open.
            None => std::future::pending().await,
        }
    }
}

/// Sends requests until there can be no more.
async fn send(client: Client, pace: Duration, mut inbox: mpsc::Receiver<Wanted>) {
    let watch = Stopwatch::start();
    let mut in_flight = FuturesUnordered::new();
    let mut next = Duration::ZERO;
    loop {
        let now = watch.elapsed();
        let has_room = in_flight.len() < IN_FLIGHT;
        tokio::select! {
            wanted = inbox.recv(), if has_room && now >= next => match wanted {
                None => return,
                // Its feed has another connection by now.
                Some(wanted) if wanted.answers.is_closed() => {}
                Some(wanted) => {
                    next = now + pace;
                    in_flight.push(answer(client.clone(), wanted));
                }
            },
            () = sleep(next.saturating_sub(now)), if has_room && now < next => {}
            Some(pause) = in_flight.next() => next = next.max(watch.elapsed() + pause),
        }
    }
}

/// Sends one request and passes its answer on; the pause that is due for all.
async fn answer(client: Client, wanted: Wanted) -> Duration {
    let Wanted { pair, url, answers } = wanted;
    let body = fetch(&client, &url).await.map(|body| (body, clock::now()));
    let limited = body.as_ref().err().filter(|failure| failure.why == NoSnapshot::Limited);
    let pause = limited.map_or(Duration::ZERO, |failure| failure.wait);
    // An error means that the connection of the feed has ended.
    let _ = answers.send(Answer { pair, url, body }).await;
    pause
}

async fn fetch(client: &Client, url: &str) -> Result<String, Failure> {
    let fail =
        |why, detail: String, wait: Duration| Failure { why, detail, wait: wait.min(MAX_WAIT) };
    let broken =
        |error: reqwest::Error| fail(NoSnapshot::Unavailable, error.to_string(), Duration::ZERO);
    let mut response = http::get(client, url).send().await.map_err(broken)?;
    let (status, wish) = (response.status(), http::wish(response.headers()));
    if http::is_limit(status) {
        let wait = if wish.is_zero() { LIMITED_WAIT } else { wish };
        return Err(fail(NoSnapshot::Limited, status.to_string(), wait));
    }
    if !status.is_success() {
        let why = if http::passes(status) { NoSnapshot::Unavailable } else { NoSnapshot::Refused };
        return Err(fail(why, status.to_string(), wish));
    }
    let body = read(&mut response).await.map_err(broken)?;
    let Some(body) = body else {
        let detail = format!("more than {MAX_BODY_BYTES} bytes");
        return Err(fail(NoSnapshot::TooLarge, detail, Duration::ZERO));
    };
    // Text that is not UTF-8 is malformed, which its parser tells.
    Ok(String::from_utf8_lossy(&body).into_owned())
}

/// The body of an answer; `None` when it is too large.
async fn read(response: &mut Response) -> reqwest::Result<Option<Vec<u8>>> {
    let mut body = Vec::new();
    while let Some(part) = response.chunk().await? {
        if body.len() + part.len() > MAX_BODY_BYTES {
            return Ok(None);
        }
        body.extend_from_slice(&part);
    }
    Ok(Some(body))
}

#[cfg(test)]
#[path = "snapshots_tests.rs"]
mod tests;
