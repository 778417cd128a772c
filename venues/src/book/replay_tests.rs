//! Recorded traffic through the books of a venue, as a caller with one book for each pair does it.

use std::collections::BTreeMap;

use anyhow::{Context as _, Result};
use schemas::PairKey;

use super::{Book, BookFrame, BookMessage, Outcome, Precision, Reason, Terms};
use crate::test_data;
use crate::{Follow, Venue};

/// A line of a capture.
pub(crate) struct Line {
    /// `open`, `sent`, `frame` or `http`.
    pub(crate) kind: String,
    /// The address of an answer.
    pub(crate) url: String,
    /// The text.
    pub(crate) raw: String,
}

/// The lines of a capture.
pub(crate) fn capture(name: &str) -> Result<Vec<Line>> {
    let line = |text: &String| -> Result<Line> {
        let json: serde_json::Value = serde_json::from_str(text)?;
        let field = |name: &str| json[name].as_str().unwrap_or_default().to_owned();
        Ok(Line { kind: field("kind"), url: field("url"), raw: field("raw") })
    };
    test_data::lines(name)?.iter().map(line).collect()
}

/// The books of a venue and what they gave.
pub(crate) struct Replay {
    venue: Venue,
    /// A depth instead of the acknowledged one.
    pub(crate) own_depth: Option<usize>,
    pub(crate) books: BTreeMap<String, Book>,
    pub(crate) frames: usize,
    pub(crate) quotes: usize,
    pub(crate) resyncs: Vec<(String, Reason)>,
    depths: BTreeMap<String, usize>,
    precisions: BTreeMap<String, Precision>,
}

impl Replay {
    pub(crate) fn new(venue: Venue) -> Self {
        Self {
            venue,
            own_depth: None,
            books: BTreeMap::new(),
            frames: 0,
            quotes: 0,
            resyncs: Vec::new(),
            depths: BTreeMap::new(),
            precisions: BTreeMap::new(),
        }
    }

    /// Takes a text frame; the pairs of the book frames in it.
    pub(crate) fn frame(&mut self, text: &str) -> Result<Vec<String>> {
        let (mut messages, mut pairs) = (Vec::new(), Vec::new());
        (self.venue.adapter().books.parse)(text, &mut messages)?;
        for message in messages {
            match message {
                BookMessage::Frame(pair, frame) => {
                    self.apply(&name(&pair), frame)?;
                    pairs.push(name(&pair));
                }
                BookMessage::Depth(pair, depth) => {
                    self.depths.insert(name(&pair), self.own_depth.unwrap_or(depth));
                }
                BookMessage::Precision(pair, precision) => {
                    self.precisions.insert(name(&pair), precision);
                }
                BookMessage::Lost(pair) => anyhow::bail!("a frame of {pair:?} is lost: {text}"),
            }
        }
        Ok(pairs)
    }

    /// Takes a fetched snapshot.
    pub(crate) fn snapshot(&mut self, pair: &str, body: &str) -> Result<()> {
        let read = self.venue.adapter().books.snapshot.context("the venue sends its snapshots")?;
        self.apply(pair, read(body)?)
    }

    fn apply(&mut self, pair: &str, frame: BookFrame) -> Result<()> {
        self.frames += 1;
        if !self.books.contains_key(pair) {
            let terms = self.depths.get(pair).zip(self.precisions.get(pair));
            let terms =
                terms.map(|(depth, precision)| Terms { depth: *depth, precision: *precision });
            let rules = (self.venue.adapter().books.rules)(Follow::default(), terms)
                .context("a book without terms")?;
            self.books.insert(pair.to_owned(), Book::new(rules));
        }
        let book = self.books.get_mut(pair).context("no book")?;
        match book.apply(frame) {
            Outcome::Quote(quote) => {
                self.quotes += 1;
                assert_eq!(book.quote(), Some(quote));
                assert!(quote.spread().is_none_or(|spread| !spread.is_negative()), "{quote:?}");
            }
            Outcome::Unchanged => {}
            Outcome::Resync(reason) => {
                assert_eq!(book.quote(), None);
                self.resyncs.push((pair.to_owned(), reason));
            }
        }
        Ok(())
    }
}

/// A pair as text.
pub(crate) fn name(pair: &PairKey) -> String {
    format!("{}-{}", pair.base, pair.quote)
}
