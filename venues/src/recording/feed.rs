//! A captured feed: the lines of a capture, in order, become the outputs of the live feed.
//!
//! | kind | content | effect |
//! |---|---|---|
//! | `open` | what is followed, as JSON, or nothing | books are out of sync; the first one sets what is followed |
//! | `closed` | nothing | books are out of sync |
//! | `carry` | further streams, as JSON | their books are followed |
//! | `frame` | a frame | records |
//! | `http` | the answer to a request | records of a book, if it is a snapshot; of instruments, if it is a listing |
//! | `next_open` | nothing | a connection that will replace this one begins |
//! | `next`, `next_http` | a frame or an answer of that connection | its books take it |
//! | `kept` | a frame of that connection, later | records of events; its books have taken it |
//! | `take_over` | nothing | its books are published from here on |
//! | other | requests of the recorder | none |

use schemas::PairKey;
use serde::Deserialize;

use crate::channel::{Channels, Follow};
use crate::pipeline::{Books, Pipeline, Produced};
use crate::venue::Venue;

use super::Captured;

/// What a live feed follows, as its capture tells it.
#[derive(Deserialize)]
struct Opened {
    channels: String,
    depth: Option<usize>,
    streams: Vec<String>,
}

/// The feed of one venue.
pub(super) struct CapturedFeed {
    venue: Venue,
    pipeline: Pipeline,
    without_aggregates: bool,
    /// The capture has told what is followed.
    is_told: bool,
    /// The books of a connection that will replace this one.
    next: Option<Books>,
}

impl CapturedFeed {
    /// A feed that follows everything that comes, until the capture tells otherwise.
    pub(super) fn new(venue: Venue, without_aggregates: bool) -> Self {
        let pipeline = pipeline(venue, Follow::ALL, without_aggregates);
        Self { venue, pipeline, without_aggregates, is_told: false, next: None }
    }

    /// Appends the outputs and counts of a line.
    pub(super) fn line(&mut self, line: &Captured<'_>, out: &mut Produced) {
        match line.kind {
            "frame" => _ = self.pipeline.frame(line.raw, line.at, out),
            "kept" => _ = self.pipeline.events(line.raw, line.at, out),
            "http" => {
                if let Some(pair) = self.pair_of_snapshot(line) {
                    self.pipeline.snapshot(&pair, line.raw, line.at, out);
                } else if self.venue.adapter().tickers.is_some()
                    && let Ok(listed) = self.venue.instruments(line.raw)
                {
                    self.pipeline.listing(&listed, line.at, out);
                }
            }
            "open" => {
                self.pipeline.disconnected(line.at, out);
                self.opened(line.raw);
            }
            "closed" => self.pipeline.disconnected(line.at, out),
            "carry" => self.carry(line.raw),
            "next_open" => self.next = Some(self.pipeline.fresh_books()),
            "next" => {
                // The requests were those of the live feed.
                _ = self.next.as_mut().map(|books| books.frame(line.raw));
            }
            "next_http" => {
                if let Some((pair, books)) = self.pair_of_snapshot(line).zip(self.next.as_mut()) {
                    // One that is no snapshot was counted live.
                    _ = books.snapshot(&pair, line.raw);
                }
            }
            "take_over" => {
                if let Some(books) = self.next.take() {
                    self.pipeline.take_over(books, line.at, out);
                }
            }
            _ => {}
        }
    }

    /// Ends the recording.
    pub(super) fn finish(&mut self, out: &mut Produced) {
        self.pipeline.finish(out);
    }

    /// The pair of an answer with the snapshot of a book; `None` for any other answer. One without an
    /// address is of the only book that the file has had so far.
    fn pair_of_snapshot(&self, line: &Captured<'_>) -> Option<PairKey> {
        let books = &self.venue.adapter().books;
        if line.url.is_empty() {
            let pair = self.pipeline.only_book()?;
            return books.snapshot?(line.raw).is_ok().then_some(pair);
        }
        self.venue.pair((books.product_of_request)(line.url)?).ok()
    }

    fn opened(&mut self, raw: &str) {
        let Ok(opened) = serde_json::from_str::<Opened>(raw) else { return };
        let Ok(channels) = opened.channels.parse::<Channels>() else { return };
        let follow = Follow { channels, depth: opened.depth, ..Follow::default() };
        if !std::mem::replace(&mut self.is_told, true) {
            self.pipeline = pipeline(self.venue, follow, self.without_aggregates);
        }
        self.pipeline.carry(&opened.streams);
    }

    fn carry(&mut self, raw: &str) {
        if self.is_told
            && let Ok(streams) = serde_json::from_str::<Vec<String>>(raw)
        {
            self.pipeline.carry(&streams);
        }
    }
}

fn pipeline(venue: Venue, follow: Follow, without_aggregates: bool) -> Pipeline {
    let pipeline = Pipeline::new(venue, format!("{venue}-0"), follow);
    if without_aggregates { pipeline.without_aggregates() } else { pipeline }
}
