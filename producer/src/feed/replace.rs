//! The replacement of a connection: it is connected and read beside the old one, and takes over.

use std::time::Duration;

use futures_util::FutureExt;
use rand::Rng;
use schemas::Timestamp;
use tokio_tungstenite::tungstenite::{Message as Frame, Utf8Bytes};
use venues::{Channel, Message, Parsed};

use super::books::snapshots::{Answer, Failure};
use super::capture::LineKind;
use super::connection::Connection;
use super::rotation::{Event, Rotation};
use super::{End, Feed, socket};
use crate::clock;

/// The wait after a replacement that failed: the old connection goes on.
const ROTATION_RETRY: Duration = Duration::from_secs(30);

impl<R: Rng> Feed<R> {
    /// Connects the replacement, as soon as the rate limiter admits it.
    pub(super) fn connect_replacement(
        &self,
        connection: &mut Connection,
        rotation: &mut Rotation,
        now: Duration,
    ) {
        let admitted = self.context.limiter().attempt(now);
        if let Err(wait) = admitted {
            connection.rotate_at = Some(now + wait);
            return;
        }
        let venue = self.config.venue.as_str();
        tracing::info!(venue, feed = self.name(), "the connection is being replaced");
        rotation.connect(socket::connect(self.config.url.clone()).boxed());
    }

    /// Handles an event of the replacement.
    pub(super) async fn replacement(
        &mut self,
        event: Event,
        connection: &mut Connection,
        rotation: &mut Rotation,
    ) -> Result<(), End> {
        match event {
            Event::Connected(connected) => match *connected {
                Ok(socket) => {
                    if self.config.follow().has(Channel::Book) {
                        let (at, url) = (clock::now(), &self.config.url);
                        self.context.line(at, LineKind::NextOpen, url, "").await;
                    }
                    let books = self.pipeline.fresh_books();
                    rotation.connected(self.connection(socket), books, self.book_pairs());
                }
                Err(failed) => {
                    self.failed(&failed);
                    self.abandon(connection, rotation);
                }
            },
            Event::Frame(Some(Ok(Frame::Text(text)))) => match self.keep(text, rotation).await {
                Err(_) => self.abandon(connection, rotation),
                Ok(true) => return self.take_over(connection, rotation).await,
                Ok(false) => {}
            },
            Event::Frame(Some(Ok(frame))) if !frame.is_close() => {
                if let Some(replacement) = rotation.standing() {
                    replacement.session.frame(false, self.context.now());
                }
            }
            Event::Frame(_) => self.abandon(connection, rotation),
            Event::Answer(answer) => self.answer_to_replacement(answer, rotation).await,
        }
        Ok(())
    }

    /// Keeps a frame of the replacement and handles its controls; true when no more can be kept.
    async fn keep(&mut self, text: Utf8Bytes, rotation: &mut Rotation) -> Result<bool, End> {
        let Some(replacement) = rotation.standing() else { return Ok(false) };
        let (now, at) = (self.context.now(), clock::now());
        replacement.session.frame(true, now);
        let mut parsed: Vec<Parsed> = Vec::new();
        // A malformed frame is counted when it is published.
        let _ = self.config.venue.parse(&text, at, &mut parsed);
        let has_book = self.config.follow().has(Channel::Book)
            && parsed.iter().any(|one| self.is_of_book(one.kind));
        let is_book_alone = has_book
            && parsed
                .iter()
                .all(|one| self.is_of_book(one.kind) && matches!(one.message, Message::Ignored(_)));
        if is_book_alone {
            self.count_received(&parsed);
        }
        for Parsed { message, .. } in parsed {
            if let Message::Control(control) = message {
                let outcome = replacement.session.accept(control, now);
                self.obey(outcome, replacement).await?;
            }
        }
        if has_book {
            self.read_books(&text, at, rotation).await;
        }
        rotation.check_granted(now);
        // The books have taken all that it has.
        Ok(!is_book_alone && rotation.keep(at, text))
    }

    fn is_of_book(&self, kind: &'static str) -> bool {
        self.config.venue.adapter().books.kinds.contains(&kind)
    }

    fn count_received(&self, parsed: &[Parsed]) {
        let venue = self.config.venue.as_str();
        for one in parsed {
            self.context.metrics.received.with_label_values(&[venue, one.kind]).inc();
        }
    }

    /// The books of the replacement take a frame.
    async fn read_books(&self, text: &str, at: Timestamp, rotation: &mut Rotation) {
        self.context.line(at, LineKind::Next, &self.config.url, text).await;
        let Some((replacement, books)) = rotation.standing_books() else { return };
        let controls = books.frame(text);
        self.resync(controls, replacement);
        let now = self.context.now();
        replacement.resyncs.learn(|pair| books.is_in_sync(pair));
        self.ask_for_snapshots(replacement, now);
    }

    /// The books of the replacement take the answer to a request.
    async fn answer_to_replacement(&self, answer: Answer, rotation: &mut Rotation) {
        let now = self.context.now();
        let Some((replacement, books)) = rotation.standing_books() else { return };
        let Some((pair, url, body, at)) = self.accept_answer(answer, replacement) else { return };
        self.context.line(at, LineKind::NextHttp, &url, &body).await;
        match books.snapshot(&pair, &body) {
            Ok(controls) => _ = self.resync(controls, replacement),
            Err(malformed) => {
                let failure = Failure::malformed(malformed.to_string());
                self.no_snapshot(&pair, &url, &failure, replacement);
            }
        }
        replacement.resyncs.learn(|pair| books.is_in_sync(pair));
        rotation.check_granted(now);
    }

    /// The replacement takes over: its kept frames are published, without the events that the old
    /// connection brought.
    pub(super) async fn take_over(
        &mut self,
        connection: &mut Connection,
        rotation: &mut Rotation,
    ) -> Result<(), End> {
        let Some((mut old, kept, books)) = rotation.take_over(connection) else { return Ok(()) };
        // The close of the old socket is not waited for.
        tokio::spawn(async move { old.close(None).await });
        let has_books = self.config.follow().has(Channel::Book);
        for (at, text) in kept {
            if has_books {
                self.publish_kept(&text, at, connection, rotation).await?;
            } else {
                self.publish(&text, at, connection, rotation).await?;
            }
        }
        if has_books {
            let at = clock::now();
            self.context.line(at, LineKind::TakeOver, &self.config.url, "").await;
            let mut produced = std::mem::take(&mut self.produced);
            self.pipeline.take_over(books, at, &mut produced);
            self.pass_on(produced, connection, rotation).await?;
        }
        rotation.took_over(self.context.now());
        let venue = self.config.venue.as_str();
        self.context.metrics.rotations.with_label_values(&[venue]).inc();
        tracing::info!(venue, feed = self.name(), "the connection is replaced");
        Ok(())
    }

    /// Passes on the records of a kept frame, whose books are read.
    async fn publish_kept(
        &mut self,
        text: &str,
        at: Timestamp,
        connection: &mut Connection,
        rotation: &mut Rotation,
    ) -> Result<(), End> {
        self.context.line(at, LineKind::Kept, &self.config.url, text).await;
        let mut produced = std::mem::take(&mut self.produced);
        // Its controls were handled when it came.
        self.pipeline.events(text, at, &mut produced);
        self.pass_on(produced, connection, rotation).await
    }

    /// Drops the replacement; another one follows later.
    pub(super) fn abandon(&self, connection: &mut Connection, rotation: &mut Rotation) {
        rotation.abandon();
        connection.rotate_at = Some(self.context.now() + ROTATION_RETRY);
    }
}
