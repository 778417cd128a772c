//! The feed of a chain: one connection to a node, whose frames the [`Follower`] reads.
//!
//! ```text
//!            ┌──────────────── back-off ◀────────────────┐
//!            ▼                                           │ cause
//! connect ─→ requests ─→ frame ─→ Follower ─→ Output, through a bounded channel
//!                          ▲         │
//!                          └─ node ◀─┘ requests: facts of pools, missed blocks and logs
//! ```
//!
//! The follower keeps its position over a lost connection and asks for what was missed, so this feed
//! has no backfill of its own. The channel is the back-pressure, as in [`super`].
//!
//! Cancellation: the future of [`ChainFeed::run`] ends at the next frame, wait or send after
//! `shutdown` turns true.
//!
//! # What this does not do
//!
//! A process follows one chain: several chains are several producers, each with `--metrics` and
//! `--spool-dir` of its own.

mod forks;
mod liveness;

use std::time::Duration;

use futures_util::{SinkExt, StreamExt};
use rand::Rng;
use schemas::Timestamp;
use serde::Deserialize;
use tokio::time::{sleep, timeout};
use tokio_tungstenite::tungstenite::{Error, Message as Frame};
use venues::Limits;
use venues::ethereum::{Follower, FollowerConfig, NAME, Notice};
use venues::pipeline::Output;

use self::forks::Forks;
use self::liveness::{Due, Liveness};
use super::backoff::Backoff;
use super::capture::LineKind;
use super::context::{CircuitBreaker, FeedContext};
use super::reconnects::Reconnects;
use super::socket::{self, Failed, Socket};
use super::{CLOSE_TIMEOUT, LIMITED_WAIT};
use crate::clock;
use crate::labels::{Cause, Method, NodeFrame};
use crate::metrics::LastFrame;
use crate::plan::feed_url::FeedUrl;

/// The limits of a node. It has one connection; attempts are as few as a hosted node counts in a
/// minute.
pub const NODE_LIMITS: Limits = Limits {
    streams: 2,
    connections: 1,
    messages_in_10s: 1_000,
    attempts: 60,
    window: Duration::from_mins(1),
};

/// Bytes at the begin of a frame in which a subscription's method stands.
const METHOD_WITHIN: usize = 64;
/// The method of a subscription's frame.
const NOTIFICATION: &[u8] = b"eth_subscription";
/// Characters of a node's words that are logged.
const MAX_WORDS: usize = 256;

/// The settings of the feed of a chain.
#[derive(Clone, Debug)]
pub struct ChainFeedConfig {
    /// The address of the node.
    pub url: FeedUrl,
    /// The chain, its pools and the first block.
    pub follower: FollowerConfig,
    /// The time without a new head after which the connection is replaced.
    pub head_timeout: Duration,
    /// Waits between attempts.
    pub backoff: Backoff,
    /// The rule by which connecting is paused.
    pub breaker: CircuitBreaker,
}

/// The reason for which a chain cannot be followed at all.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Unfollowable {
    /// The node is of another chain.
    #[error(
        "the node at {url} is of chain {found}, not of --chain-id {expected}: correct --url or \
         --chain-id"
    )]
    WrongChain {
        /// The node.
        url: String,
        /// The chain that was asked for.
        expected: i64,
        /// The chain of the node.
        found: i64,
    },
    /// No pool can be followed.
    #[error(
        "none of --pools can be followed: the node at {url} gives the tokens of none; see the log, \
         and correct --pools"
    )]
    NoPools {
        /// The node.
        url: String,
    },
}

/// The end of one connection.
#[derive(Debug)]
enum End {
    /// The feed reconnects.
    Again(Cause),
    /// The feed stops.
    Stop,
    /// Another connection would not do either.
    Failed(Unfollowable),
}

/// The feed of one chain.
pub struct ChainFeed<R> {
    url: FeedUrl,
    head_timeout: Duration,
    context: FeedContext,
    follower: Follower,
    forks: Forks,
    last_frame: LastFrame,
    reconnects: Reconnects<R>,
    /// Reused for every frame.
    outputs: Vec<Output>,
}

/// A connection to the node.
struct Connection {
    socket: Socket,
    liveness: Liveness,
    since: Duration,
}

impl<R: Rng> ChainFeed<R> {
    /// A feed that writes to the outputs of its context until they shut down.
    pub fn new(config: ChainFeedConfig, context: FeedContext, rng: R) -> Self {
        Self {
            url: config.url,
            head_timeout: config.head_timeout,
            follower: Follower::new(config.follower),
            forks: Forks::default(),
            last_frame: context.metrics.watch(),
            reconnects: Reconnects::new(config.backoff, config.breaker, rng),
            context,
            outputs: Vec::new(),
        }
    }

    /// Follows the chain, over as many connections as it takes.
    pub async fn run(mut self) -> Result<(), Unfollowable> {
        loop {
            let (cause, was_open) = match self.attempt().await {
                (End::Stop, _) => return Ok(()),
                (End::Failed(error), _) => return Err(error),
                (End::Again(cause), was_open) => (cause, was_open),
            };
            if was_open {
                self.follower.lost();
                self.line(LineKind::Closed, "").await;
            }
            self.context.metrics.reconnects.with_label_values(&[NAME, cause.as_str()]).inc();
            let wait = self.reconnects.wait_after(cause);
            tracing::warn!(
                venue = NAME, cause = cause.as_str(), url = %self.url, ?wait,
                "the feed of the chain is down, connecting again"
            );
            let paused = self.reconnects.is_open();
            if paused {
                tracing::error!(
                    venue = NAME, pause = ?wait,
                    "the node refused its subscriptions too often: it must offer newHeads and logs"
                );
            }
            let breakers = self.context.metrics.breakers.with_label_values(&[NAME]);
            breakers.add(i64::from(paused));
            let stopped = self.context.pause(wait).await;
            breakers.sub(i64::from(paused));
            if stopped {
                return Ok(());
            }
        }
    }

    /// One connection, from the rate limiter to its end; true when the node was connected.
    async fn attempt(&mut self) -> (End, bool) {
        loop {
            let admitted = self.context.limiter().attempt(self.context.now());
            let Err(wait) = admitted else { break };
            if self.context.pause(wait).await {
                return (End::Stop, false);
            }
        }
        let connected = tokio::select! {
            connected = socket::connect(String::from(&*self.url)) => connected,
            () = self.context.stopped() => return (End::Stop, false),
        };
        let socket = match connected {
            Ok(socket) => socket,
            Err(failed) => return (End::Again(self.failed(&failed)), false),
        };
        tracing::info!(venue = NAME, url = %self.url, "the node is connected");
        self.line(LineKind::Open, "").await;
        let since = self.context.now();
        let mut connection =
            Connection { socket, liveness: Liveness::new(self.head_timeout, since), since };
        let standing = self.context.metrics.connections.with_label_values(&[NAME]);
        standing.inc();
        let end = self.read(&mut connection).await.err().unwrap_or(End::Stop);
        standing.dec();
        if connection.liveness.has_head() {
            self.reconnects.ended(self.context.now().saturating_sub(connection.since));
        }
        let _ = timeout(CLOSE_TIMEOUT, connection.socket.close(None)).await;
        (end, true)
    }

    /// Logs a failed attempt, and obeys a rate limit.
    fn failed(&self, failed: &Failed) -> Cause {
        tracing::warn!(venue = NAME, url = %self.url, error = %failed, "cannot connect to the node");
        let Failed::Limited { wait, .. } = failed else { return Cause::Connect };
        self.context.close(wait.unwrap_or(LIMITED_WAIT));
        Cause::Limited
    }

    /// Reads the connection to its end, which is the error.
    async fn read(&mut self, connection: &mut Connection) -> Result<(), End> {
        let context = self.context.clone();
        let requests = self.follower.start();
        self.send(connection, requests).await?;
        loop {
            let now = self.context.now();
            let due = connection.liveness.next_due();
            tokio::select! {
                frame = connection.socket.next() => self.frame(frame, connection).await?,
                () = sleep(due.saturating_sub(now)) => self.due(connection).await?,
                () = context.stopped() => return Err(End::Stop),
            }
        }
    }

    async fn due(&mut self, connection: &mut Connection) -> Result<(), End> {
        match connection.liveness.due(self.context.now()) {
            None => Ok(()),
            Some(Due::Stale) => Err(End::Again(Cause::Stale)),
            Some(Due::Ping) => {
                let ping = Frame::Ping(Vec::new().into());
                connection.socket.send(ping).await.map_err(|_| End::Again(Cause::Lost))
            }
        }
    }

    async fn frame(
        &mut self,
        frame: Option<Result<Frame, Error>>,
        connection: &mut Connection,
    ) -> Result<(), End> {
        let text = match frame {
            None | Some(Ok(Frame::Close(_))) => return Err(End::Again(Cause::Closed)),
            Some(Err(error)) => {
                // A frame beyond the bound of the socket is such an error.
                tracing::warn!(venue = NAME, url = %self.url, %error, "the connection broke");
                return Err(End::Again(Cause::Lost));
            }
            Some(Ok(Frame::Text(text))) => text,
            // The library answers pings, with their payload.
            Some(Ok(frame)) => {
                if matches!(frame, Frame::Binary(_)) {
                    self.received(NodeFrame::Binary);
                }
                self.last_frame.set(clock::now());
                return Ok(());
            }
        };
        let at = clock::now();
        self.last_frame.set(at);
        self.capture(at, LineKind::Frame, &text).await;
        let kind = kind(&text);
        self.received(kind);
        let mut outputs = std::mem::take(&mut self.outputs);
        let requests = self.follower.take(&text, at, &mut outputs);
        if kind == NodeFrame::Answer && !self.follower.is_live() {
            connection.liveness.answered(self.context.now());
        }
        self.pass_on(&mut outputs, connection).await?;
        self.outputs = outputs;
        self.obey()?;
        self.send(connection, requests).await
    }

    fn received(&self, kind: NodeFrame) {
        self.context.metrics.received.with_label_values(&[NAME, kind.as_str()]).inc();
    }

    /// Counts records and passes them on.
    async fn pass_on(
        &mut self,
        outputs: &mut Vec<Output>,
        connection: &mut Connection,
    ) -> Result<(), End> {
        for output in outputs.drain(..) {
            let chains = &self.context.metrics.chains;
            match &output {
                Output::Head { head, .. } => {
                    chains.heads.with_label_values(&[NAME]).inc();
                    connection.liveness.head(self.context.now());
                    let replaced = self.forks.head(head);
                    if replaced > 0 {
                        let depth = f64::from(u32::try_from(replaced).unwrap_or(u32::MAX));
                        chains.depths.with_label_values(&[NAME]).observe(depth);
                    }
                }
                Output::Swap { swap, .. } => {
                    chains.swaps.with_label_values(&[NAME, swap.status.as_str()]).inc();
                }
                _ => {}
            }
            self.context.outputs.send(output).await.map_err(|_| End::Stop)?;
        }
        if self.follower.is_live() {
            // The subscriptions stand.
            self.reconnects.accepted();
        }
        Ok(())
    }

    /// Counts, logs and obeys the notices of the follower.
    fn obey(&mut self) -> Result<(), End> {
        let notices: Vec<_> = self.follower.notices().collect();
        notices.into_iter().try_for_each(|notice| self.notice(notice))
    }

    fn notice(&self, notice: Notice) -> Result<(), End> {
        let (metrics, url) = (&self.context.metrics, self.url.to_string());
        match notice {
            Notice::WrongChain { expected, found } => {
                Err(End::Failed(Unfollowable::WrongChain { url, expected, found }))
            }
            Notice::NoPools => Err(End::Failed(Unfollowable::NoPools { url })),
            Notice::PoolRefused { pool, reason } => {
                metrics.chains.refused.with_label_values(&[NAME]).inc();
                metrics.instruments.with_label_values(&[NAME]).dec();
                tracing::error!(
                    venue = NAME,
                    pool,
                    reason,
                    "a pool is not followed, its tokens cannot be read: correct --pools"
                );
                Ok(())
            }
            Notice::Reconnect(reason) => {
                tracing::warn!(venue = NAME, url, reason, "the node is of no use as it is");
                Err(End::Again(Cause::Refused))
            }
            Notice::Failed { method, code, message } => {
                let labels = [NAME, Method::of(method).as_str()];
                metrics.chains.errors.with_label_values(&labels).inc();
                let message: String = message.chars().take(MAX_WORDS).collect();
                tracing::warn!(
                    venue = NAME,
                    method,
                    code,
                    message,
                    "the node answered with an error"
                );
                Ok(())
            }
            Notice::Gap => {
                metrics.chains.gaps.with_label_values(&[NAME]).inc();
                Ok(())
            }
            Notice::Ignored(reason) => {
                metrics.ignored.with_label_values(&[NAME, reason.as_str()]).inc();
                Ok(())
            }
        }
    }

    async fn send(&self, connection: &mut Connection, requests: Vec<String>) -> Result<(), End> {
        for request in requests {
            let labels = [NAME, method(&request).as_str()];
            self.context.metrics.chains.requests.with_label_values(&labels).inc();
            self.line(LineKind::Sent, &request).await;
            let sent = connection.socket.send(Frame::text(request)).await;
            sent.map_err(|_| End::Again(Cause::Lost))?;
        }
        Ok(())
    }

    async fn line(&self, kind: LineKind, raw: &str) {
        self.capture(clock::now(), kind, raw).await;
    }

    /// A captured line has the host alone: the path of the address may be a key.
    async fn capture(&self, at: Timestamp, kind: LineKind, raw: &str) {
        if self.context.capture.is_some() {
            self.context.line(at, kind, &self.url.to_string(), raw).await;
        }
    }
}

/// The kind of a text frame, by its begin: the follower reads all of it.
fn kind(text: &str) -> NodeFrame {
    let begin = &text.as_bytes()[..text.len().min(METHOD_WITHIN)];
    let is_notification = begin.windows(NOTIFICATION.len()).any(|part| part == NOTIFICATION);
    if is_notification { NodeFrame::Notification } else { NodeFrame::Answer }
}

/// The method of a request.
fn method(request: &str) -> Method {
    #[derive(Deserialize)]
    struct Request<'a> {
        method: &'a str,
    }
    serde_json::from_str::<Request<'_>>(request)
        .map_or(Method::Other, |request| Method::of(request.method))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_request_is_counted_by_its_method_and_a_frame_by_its_kind() {
        let request = r#"{"jsonrpc":"2.0","id":7,"method":"eth_getLogs","params":[]}"#;
        assert_eq!(method(request), Method::Logs);
        assert_eq!(method(r#"{"method":"net_version"}"#), Method::Other);
        let frame = r#"{"jsonrpc":"2.0","method":"eth_subscription","params":{}}"#;
        assert_eq!(kind(frame), NodeFrame::Notification);
        for text in [
            "",
            "{",
            r#"{"jsonrpc":"2.0","id":1,"result":"0x1"}"#,
            "ééééééééééééééééééééééééééééééééé",
        ] {
            assert_eq!(kind(text), NodeFrame::Answer, "{text}");
        }
    }
}
