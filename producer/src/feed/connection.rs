//! A connection: a socket, its session, and its books.

use std::time::Duration;

use futures_util::SinkExt;
use tokio_tungstenite::tungstenite::{Error, Message as Frame};

use super::books::Resyncs;
use super::books::snapshots::SnapshotClient;
use super::capture::LineKind;
use super::context::FeedContext;
use super::session::Session;
use super::socket::Socket;
use crate::clock;

/// A socket, its session, and its books.
pub(super) struct Connection {
    pub(super) socket: Socket,
    pub(super) session: Session,
    /// The time of the connect.
    pub(super) since: Duration,
    /// The time of the replacement, if any.
    pub(super) rotate_at: Option<Duration>,
    /// The books that are out of sync.
    pub(super) resyncs: Resyncs,
    /// The requests for their snapshots.
    pub(super) snapshots: SnapshotClient,
}

impl Connection {
    /// The time of the next action.
    pub(super) fn next_due(&self) -> Duration {
        let due = self.session.next_due();
        self.resyncs.next_due().map_or(due, |at| at.min(due))
    }

    /// Takes a slot of the rate limiter for the next request.
    pub(super) fn take_slot(&mut self, context: &FeedContext, now: Duration) {
        if self.session.wants_slot() {
            self.session.take_slot(context.limiter().message(now));
        }
    }

    /// Sends a text frame, which is captured.
    pub(super) async fn send(
        &mut self,
        context: &FeedContext,
        url: &str,
        text: &str,
    ) -> Result<(), Error> {
        context.line(clock::now(), LineKind::Sent, url, text).await;
        self.socket.send(Frame::text(text)).await
    }

    /// Sends a ping without a payload.
    pub(super) async fn ping(&mut self) -> Result<(), Error> {
        self.socket.send(Frame::Ping(Vec::new().into())).await
    }
}
