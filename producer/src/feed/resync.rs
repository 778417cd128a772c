//! The books of a feed: their controls are obeyed, and their snapshots are asked for and passed on.

use std::collections::BTreeSet;
use std::time::Duration;

use rand::Rng;
use schemas::{PairKey, Timestamp};
use serde_json::json;
use venues::pipeline::Output;
use venues::{Control, ListingChange};

use super::books::snapshots::{Answer, Failure};
use super::books::{Due, Resyncs, Source};
use super::capture::LineKind;
use super::connection::Connection;
use super::listing::Announced;
use super::rotation::Rotation;
use super::{End, Feed, listing};
use crate::clock;
use crate::labels::NoSnapshot;

impl<R: Rng> Feed<R> {
    /// The pairs whose books come over this feed.
    pub(super) fn book_pairs(&self) -> BTreeSet<PairKey> {
        self.config.connection.books(self.config.venue).collect()
    }

    /// The books of a new connection, all of them out of sync.
    pub(super) fn resyncs(&mut self) -> Resyncs {
        let is_fetched = self.config.venue.adapter().books.snapshot_request.is_some();
        let source = if is_fetched { Source::Fetched } else { Source::Sent };
        let mut resyncs = Resyncs::new(source, self.config.backoff, self.reconnects.seed());
        for pair in self.book_pairs() {
            resyncs.add(pair);
        }
        resyncs
    }

    /// The content of the line `open` of a capture: a replay follows the same.
    pub(super) fn opened(&self) -> String {
        let (follow, streams) = (self.config.follow(), &self.config.connection.streams);
        let channels = follow.channels.to_string();
        json!({"channels": channels, "depth": follow.depth, "streams": streams}).to_string()
    }

    /// Takes the controls of books out of those of a pipeline and obeys them.
    pub(super) fn resync(
        &self,
        mut controls: Vec<Control>,
        connection: &mut Connection,
    ) -> Vec<Control> {
        let (venue, feed, now) = (self.config.venue.as_str(), self.name(), self.context.now());
        controls.retain(|control| match control {
            Control::Resync { pair, reason } => {
                tracing::warn!(venue, feed, %pair, reason = reason.as_str(), "a book is out of sync");
                connection.resyncs.lost(pair, now);
                false
            }
            Control::Refresh(pair) => {
                connection.resyncs.refresh(pair, now);
                false
            }
            _ => true,
        });
        controls
    }

    /// Notes a quote: the book of its pair is in sync.
    pub(super) fn is_back(&self, pair: &PairKey, connection: &mut Connection) {
        if connection.resyncs.quoted(pair) {
            let (venue, feed) = (self.config.venue.as_str(), self.name());
            tracing::debug!(venue, feed, %pair, "a book is in sync");
        }
    }

    /// Asks for the snapshots that are due: over the connection, or by a request.
    pub(super) fn ask_for_snapshots(&self, connection: &mut Connection, now: Duration) {
        let (books, follow) = (&self.config.venue.adapter().books, self.config.follow());
        while let Some(due) = connection.resyncs.due(now) {
            match (due, books.snapshot_request) {
                (Due::Late(pair), _) => {
                    let (detail, wait) = ("it was not sent in time".into(), Duration::ZERO);
                    let failure = Failure { why: NoSnapshot::Late, detail, wait };
                    self.no_snapshot(&pair, &self.config.url, &failure, connection);
                }
                (Due::Ask(pair), None) => connection.session.resubscribe(&pair),
                (Due::Ask(pair), Some(request)) => {
                    let request = request(&pair, follow);
                    if !connection.snapshots.ask(pair.clone(), &request) {
                        let (detail, wait) = ("too many requests wait".into(), Duration::ZERO);
                        let failure = Failure { why: NoSnapshot::QueueFull, detail, wait };
                        self.no_snapshot(&pair, &request.path, &failure, connection);
                    }
                }
            }
        }
    }

    /// Counts and logs that a snapshot did not come; it is asked for again after a back-off.
    pub(super) fn no_snapshot(
        &self,
        pair: &PairKey,
        url: &str,
        failure: &Failure,
        connection: &mut Connection,
    ) {
        let (venue, why) = (self.config.venue.as_str(), failure.why.as_str());
        let failed = &self.context.metrics.books.snapshots_failed;
        failed.with_label_values(&[venue, why]).inc();
        let detail = &failure.detail;
        tracing::warn!(
            venue, %pair, url, why, detail,
            "there is no snapshot of a book: it stays out of sync, and is asked for again"
        );
        connection.resyncs.failed(pair, failure.wait, self.context.now());
    }

    /// The body of an answer that was waited for: pair, address, body and time.
    pub(super) fn accept_answer(
        &self,
        answer: Answer,
        connection: &mut Connection,
    ) -> Option<(PairKey, String, String, Timestamp)> {
        let Answer { pair, url, body } = answer;
        if !connection.resyncs.answered(&pair) {
            return None;
        }
        match body {
            Ok((body, at)) => {
                let venue = self.config.venue.as_str();
                self.context.metrics.books.snapshots.with_label_values(&[venue]).inc();
                Some((pair, url, body, at))
            }
            Err(failure) => {
                self.no_snapshot(&pair, &url, &failure, connection);
                None
            }
        }
    }

    /// Passes on the records of an answer to a request for a snapshot.
    pub(super) async fn answered(
        &mut self,
        answer: Answer,
        connection: &mut Connection,
        rotation: &mut Rotation,
    ) -> Result<(), End> {
        let Some((pair, url, body, at)) = self.accept_answer(answer, connection) else {
            return Ok(());
        };
        self.context.line(at, LineKind::Http, &url, &body).await;
        let mut produced = std::mem::take(&mut self.produced);
        let controls = self.pipeline.snapshot(&pair, &body, at, &mut produced);
        let letters = produced.outputs.iter().find_map(|output| match output {
            Output::DeadLetter(letter) => Some(letter.detail.clone()),
            _ => None,
        });
        if let Some(detail) = letters {
            self.no_snapshot(&pair, &url, &Failure::malformed(detail), connection);
        }
        self.resync(controls, connection);
        self.pass_on(produced, connection, rotation).await
    }

    /// Follows the books in the channel that the venue offers.
    pub(super) fn change_depth(&mut self, depth: usize, reason: &str, connection: &mut Connection) {
        let (venue, follow) = (self.config.venue.as_str(), self.config.follow());
        if follow.depth == Some(depth) {
            self.context.metrics.refused_streams.with_label_values(&[venue]).inc();
            tracing::error!(
                venue,
                feed = self.name(),
                reason,
                "the venue refuses every channel of books: leave book out of --channels"
            );
            return;
        }
        tracing::warn!(venue, feed = self.name(), depth, reason, "the venue offers smaller books");
        self.config.followed.follow.depth = Some(depth);
        connection.session.change_depth(&self.config.book_streams(), depth);
    }

    /// Follows a change of the listing.
    pub(super) async fn listed(&mut self, announced: &Announced, connection: &mut Connection) {
        let before = self.config.connection.streams.len();
        listing::apply(&mut self.config, &self.context.metrics, announced, &mut connection.session);
        let pairs = self.book_pairs();
        match &announced.change {
            ListingChange::Listed(_) => {
                let added = self.config.connection.streams.get(before..).unwrap_or_default();
                if added.is_empty() {
                    return;
                }
                let streams = json!(added).to_string();
                self.pipeline.carry(added);
                self.look_for_facts();
                for pair in pairs {
                    connection.resyncs.add(pair);
                }
                self.context.line(clock::now(), LineKind::Carry, &self.config.url, &streams).await;
            }
            ListingChange::Ended(name) => {
                self.pipeline.forget_facts(name);
                if let Ok(pair) = self.config.venue.pair(name)
                    && !pairs.contains(&pair)
                {
                    connection.resyncs.remove(&pair);
                }
            }
        }
    }
}
