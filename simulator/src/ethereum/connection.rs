//! One client's connection, from handshake to end, with its faults.
//!
//! The number of a log decides its faults, so every connection has the same; the count of logs or heads
//! that a connection has sent decides its own.

use std::sync::Arc;
use std::time::Duration;

use futures_util::{SinkExt as _, StreamExt as _};
use serde_json::Value;
use tokio::net::TcpStream;
use tokio::sync::broadcast::error::RecvError;
use tokio::time::{sleep, timeout};
use tokio_tungstenite::tungstenite::{Error, Message};
use tokio_tungstenite::{WebSocketStream, accept_async};

use super::answer::{self, Control};
use super::chain::{Block, Log, Step};
use super::filter::Filter;
use super::frames;
use super::node::Shared;
use crate::faults::hits;
use crate::shared::HANDSHAKE_WITHIN;

/// How long a connection that is half open stays so.
const FOR_EVER: Duration = Duration::from_hours(24);
/// Subscriptions of a connection.
const MAX_SUBSCRIPTIONS: usize = 100;

/// Why a connection ended.
enum End {
    /// The node had a reason to.
    Done(&'static str),
    /// It broke.
    Broken,
}

impl From<Error> for End {
    fn from(_: Error) -> Self {
        Self::Broken
    }
}

/// The subject of a subscription.
enum Wanted {
    Heads,
    Logs(Filter),
}

struct Connection {
    socket: WebSocketStream<TcpStream>,
    shared: Arc<Shared>,
    subscriptions: Vec<(String, Wanted)>,
    /// Logs and heads sent.
    logs: u64,
    heads: u64,
    /// A log that waits for the next one.
    held: Option<String>,
}

/// Serves a client; returns the reason for the end.
pub(super) async fn serve(socket: TcpStream, shared: Arc<Shared>) -> &'static str {
    let Ok(Ok(socket)) = timeout(HANDSHAKE_WITHIN, accept_async(socket)).await else {
        return "no handshake";
    };
    let subscriptions = Vec::new();
    let mut connection =
        Connection { socket, shared, subscriptions, logs: 0, heads: 0, held: None };
    match connection.run().await {
        Ok(why) | Err(End::Done(why)) => why,
        Err(End::Broken) => "connection lost",
    }
}

impl Connection {
    async fn run(&mut self) -> Result<&'static str, End> {
        let mut steps = self.shared.steps.subscribe();
        loop {
            tokio::select! {
                step = steps.recv() => match step {
                    Ok(step) => {
                        self.step(&step).await?;
                        // Flushed once the burst is through, not for every step.
                        if steps.is_empty() {
                            self.socket.flush().await?;
                        }
                    }
                    Err(RecvError::Lagged(_)) => return Ok("too slow"),
                    Err(RecvError::Closed) => return Ok("simulator stopped"),
                },
                message = self.socket.next() => match message {
                    None => return Ok("client closed"),
                    Some(message) => self.request(&message?).await?,
                },
            }
        }
    }

    /// Answers a message of the client; pings are answered by the library.
    async fn request(&mut self, message: &Message) -> Result<(), End> {
        let Message::Text(text) = message else { return Ok(()) };
        let shared = Arc::clone(&self.shared);
        let is_limited = shared.is_limited();
        let subscribes = text.contains("eth_subscribe");
        let may_subscribe = self.subscriptions.len() < MAX_SUBSCRIPTIONS
            && !(subscribes && shared.refuses_subscription());
        let answer = {
            let mut next_id = || shared.subscription();
            answer::answer(&shared.chain(), text, &mut next_id, is_limited, may_subscribe)
        };
        self.socket.send(Message::text(answer.text)).await?;
        for control in answer.controls {
            match control {
                Control::Heads(id) => self.subscriptions.push((id, Wanted::Heads)),
                Control::Logs(id, filter) => self.subscriptions.push((id, Wanted::Logs(filter))),
                Control::Unsubscribe(id) => self.subscriptions.retain(|(known, _)| *known != id),
                Control::Halt => shared.halt(),
                Control::Reorganise(depth) => shared.reorganise(depth),
            }
        }
        Ok(())
    }

    async fn step(&mut self, step: &Step) -> Result<(), End> {
        match step {
            Step::Pending(transaction, number) => {
                let logs = frames::pending(&self.shared.chain(), transaction);
                for (pool, log) in logs {
                    let texts = self.notifications(pool, &topics(&log), &log);
                    self.log(*number, texts).await?;
                }
            }
            Step::Removed(block) => {
                for log in block.logs.iter().rev() {
                    self.block_log(block, log, true).await?;
                }
            }
            Step::Added { block, has_head, logs_first } => {
                if !logs_first && *has_head {
                    self.head(block).await?;
                }
                for log in &block.logs {
                    self.block_log(block, log, false).await?;
                }
                if *logs_first && *has_head {
                    // A log that waits for the next one comes before the head, too.
                    self.release().await?;
                    self.head(block).await?;
                }
            }
        }
        Ok(())
    }

    async fn head(&mut self, block: &Block) -> Result<(), End> {
        let header = frames::header(block);
        let mut is_sent = false;
        for (id, wanted) in &self.subscriptions {
            if matches!(wanted, Wanted::Heads) {
                self.socket.feed(Message::text(frames::notification(id, &header))).await?;
                is_sent = true;
            }
        }
        self.heads += u64::from(is_sent);
        let forgets = self.shared.chain().settings().forget_subscriptions_every;
        if is_sent && hits(forgets, self.heads) {
            self.subscriptions.clear();
        }
        // A log that was the last one of its block does not wait for ever.
        self.release().await
    }

    async fn block_log(&mut self, block: &Block, log: &Log, removed: bool) -> Result<(), End> {
        let (pool, value) = (log.pool, frames::log(&self.shared.chain(), block, log, removed));
        let texts = self.notifications(pool, &topics(&value), &value);
        self.log(log.number, texts).await
    }

    /// The texts of a log, one for each subscription that wants it.
    fn notifications(&self, pool: usize, topics: &[String], log: &Value) -> Vec<String> {
        let address = self.shared.chain().pools()[pool].address.clone();
        let wants = |wanted: &Wanted| match wanted {
            Wanted::Heads => false,
            Wanted::Logs(filter) => filter.takes(&address, topics),
        };
        let wanted = self.subscriptions.iter().filter(|(_, wanted)| wants(wanted));
        wanted.map(|(id, _)| frames::notification(id, log)).collect()
    }

    /// Sends a log with its faults.
    async fn log(&mut self, number: u64, texts: Vec<String>) -> Result<(), End> {
        let faults = self.shared.faults;
        for text in texts {
            if hits(faults.malformed_every, number) {
                self.socket.feed(Message::text(text[..text.len() / 2].to_owned())).await?;
            }
            if !faults.slow.is_zero() {
                self.socket.flush().await?;
                sleep(faults.slow).await;
            }
            if hits(faults.reorder_every, number) && self.held.is_none() {
                self.held = Some(text);
            } else {
                if hits(faults.repeat_every, number) {
                    self.socket.feed(Message::text(text.clone())).await?;
                }
                self.socket.feed(Message::text(text)).await?;
                self.release().await?;
            }
            self.logs += 1;
            self.interrupt().await?;
        }
        Ok(())
    }

    /// Sends the log that waits.
    async fn release(&mut self) -> Result<(), End> {
        if let Some(held) = self.held.take() {
            self.socket.feed(Message::text(held)).await?;
        }
        Ok(())
    }

    /// The faults after this many logs.
    async fn interrupt(&mut self) -> Result<(), End> {
        let faults = self.shared.faults;
        if hits(faults.silence_every, self.logs) {
            self.socket.flush().await?;
            sleep(faults.silence).await;
        }
        if hits(faults.half_open_every, self.logs) {
            self.socket.flush().await?;
            sleep(FOR_EVER).await;
        }
        if hits(faults.disconnect_every, self.logs) {
            return Err(End::Done("cut on demand"));
        }
        Ok(())
    }
}

/// The topics of a log that is written.
fn topics(log: &Value) -> Vec<String> {
    let topics = log["topics"].as_array().into_iter().flatten();
    topics.filter_map(|topic| topic.as_str().map(str::to_owned)).collect()
}
