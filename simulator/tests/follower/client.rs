//! A follower on a socket, as the producer drives it, whose records are folded.

use std::future::pending;
use std::pin::pin;
use std::time::Duration;

use anyhow::{Context as _, Result};
use futures_util::{SinkExt as _, StreamExt as _};
use schemas::Timestamp;
use simulator::ethereum::{FIRST, NodeHandle};
use tokio::net::TcpStream;
use tokio::time::{Interval, MissedTickBehavior, interval, timeout};
use tokio_tungstenite::tungstenite::Message;
use tokio_tungstenite::{MaybeTlsStream, WebSocketStream, connect_async};
use venues::ethereum::{Follower, FollowerConfig, Notice, listing};
use venues::pipeline::Output;

use super::fold::Fold;

/// The least time between two connections.
const BACKOFF: Duration = Duration::from_millis(10);
/// The receipt of every frame.
const AT: Timestamp = Timestamp(1_700_000_000_000);

/// See the module.
pub(crate) struct Client {
    url: String,
    config: FollowerConfig,
    follower: Follower,
    /// Paces connections.
    attempts: Interval,
    socket: Option<WebSocketStream<MaybeTlsStream<TcpStream>>>,
    outputs: Vec<Output>,
    /// The records so far.
    pub(crate) fold: Fold,
    /// Heads among them.
    pub(crate) heads: usize,
    /// Connections that were made.
    pub(crate) connections: usize,
}

impl Client {
    /// A client of the pools of a node, from its first block on.
    pub(crate) fn new(url: String, node: &NodeHandle) -> Result<Self> {
        let pools = node.pools().into_iter().map(|line| listing::parse(&line.to_string()));
        let pools = pools.collect::<Result<Vec<_>, _>>()?;
        let from_block = Some(i64::try_from(FIRST)?);
        let config =
            FollowerConfig { chain: Some(1), pools, from_block, ..FollowerConfig::default() };
        let follower = Follower::new(config.clone());
        let mut attempts = interval(BACKOFF);
        attempts.set_missed_tick_behavior(MissedTickBehavior::Delay);
        Ok(Self {
            url,
            config,
            follower,
            attempts,
            socket: None,
            outputs: Vec::new(),
            fold: Fold::default(),
            heads: 0,
            connections: 0,
        })
    }

    /// Loses the connection.
    pub(crate) fn cut(&mut self) {
        self.socket = None;
        self.follower.lost();
    }

    /// Another follower takes its place, which knows nothing.
    pub(crate) fn kill(&mut self) {
        self.socket = None;
        self.follower = Follower::new(self.config.clone());
    }

    /// Follows for a time, or until `is_done`.
    pub(crate) async fn run(
        &mut self,
        time: Duration,
        is_done: impl Fn(&Self) -> bool,
    ) -> Result<()> {
        // Only the wait for a frame is given up: a request that is half sent would get no answer.
        let mut end = pin!(timeout(time, pending::<()>()));
        while !is_done(self) {
            if self.socket.is_none() {
                self.connect().await?;
            }
            let Some(socket) = &mut self.socket else { continue };
            let frame = tokio::select! {
                _ = &mut end => return Ok(()),
                frame = socket.next() => frame,
            };
            match frame {
                Some(Ok(Message::Text(text))) => self.frame(&text).await?,
                Some(Ok(_)) => {}
                Some(Err(_)) | None => self.cut(),
            }
        }
        Ok(())
    }

    async fn connect(&mut self) -> Result<()> {
        self.attempts.tick().await;
        self.connections += 1;
        self.socket = Some(connect_async(&self.url).await.context("no node")?.0);
        let requests = self.follower.start();
        self.send(requests).await;
        Ok(())
    }

    async fn frame(&mut self, text: &str) -> Result<()> {
        let mut outputs = std::mem::take(&mut self.outputs);
        let requests = self.follower.take(text, AT, &mut outputs);
        for output in outputs.drain(..) {
            self.heads += usize::from(matches!(output, Output::Head { .. }));
            self.fold.take(output)?;
        }
        self.outputs = outputs;
        if self.follower.notices().any(|notice| matches!(notice, Notice::Reconnect(_))) {
            self.cut();
            return Ok(());
        }
        self.send(requests).await;
        Ok(())
    }

    /// A request that cannot be sent is one of a connection that is lost.
    async fn send(&mut self, requests: Vec<String>) {
        let Some(socket) = &mut self.socket else { return };
        for request in requests {
            if socket.send(Message::text(request)).await.is_err() {
                return;
            }
        }
    }
}
