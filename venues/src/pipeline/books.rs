//! The books of one connection: text frames and snapshots in; outcomes, and requests to the owner of
//! the socket, out.
//!
//! A feed has one value for its connection, inside its pipeline. While it replaces the connection, it
//! has a second one for the new connection, which is in sync before the pipeline takes it over.
//!
//! Invariants:
//! - The books of two pairs share no state: a frame of one changes no other.
//! - At most [`MAX_BOOKS`] books are held, each with bounded levels and a bounded buffer.
//! - A snapshot is asked for once until it comes, except after each frame that could not be used.

use rustc_hash::{FxHashMap, FxHashSet};
use schemas::{PairKey, Timestamp};

use super::marks::MAX_PAIRS;
use crate::book::{
    Book, BookFrame, BookMessage, FrameKind, Outcome, Precision, Reason, Rules, Terms,
};
use crate::channel::{Channel, Follow};
use crate::malformed::{Malformed, Result};
use crate::message::Control;
use crate::venue::Venue;

/// Books held at most. Past it, frames of new pairs are not used: a venue that makes up names must not
/// fill memory. The largest venue lists about 4,000.
pub const MAX_BOOKS: usize = 5_000;

/// The books of one connection.
pub struct Books {
    venue: Venue,
    follow: Follow,
    /// The followed pairs; `None` for all that come.
    followed: Option<FxHashSet<PairKey>>,
    /// The pair whose frames are the clock and may come unasked.
    clock: Option<PairKey>,
    held: FxHashMap<PairKey, Held>,
    /// Of all pairs that the venue lists: the listing comes before the books.
    precisions: FxHashMap<PairKey, Precision>,
    /// Reused for every frame.
    messages: Vec<BookMessage>,
}

/// A book and its state at the venue.
#[derive(Default)]
struct Held {
    /// `None` before its terms are known.
    book: Option<(Rules, Book)>,
    /// From the acknowledgement.
    depth: Option<usize>,
    /// The owner was asked for a snapshot that has not come.
    is_asked: bool,
    /// A frame could not be used, because the terms were not known.
    is_missed: bool,
}

/// A frame of a book, after the book has taken it.
pub(super) struct Step<'a> {
    pub(super) pair: &'a PairKey,
    pub(super) book: &'a Book,
    pub(super) outcome: Outcome,
    /// The venue's time of the frame.
    pub(super) time: Option<Timestamp>,
}

/// Gets each step in order.
pub(super) type Take<'a> = dyn FnMut(&Step<'_>) + 'a;

impl Books {
    /// The books of all pairs that come, if they are followed.
    pub(super) fn new(venue: Venue, follow: Follow) -> Self {
        let clock = venue.adapter().books.clock_product;
        Self {
            venue,
            follow,
            followed: (!follow.has(Channel::Book)).then(FxHashSet::default),
            clock: clock.and_then(|product| venue.pair(product).ok()),
            held: FxHashMap::default(),
            precisions: FxHashMap::default(),
            messages: Vec::new(),
        }
    }

    /// Without a frame, and with the same pairs and depth.
    pub(super) fn fresh(&self) -> Self {
        let followed = self.followed.clone();
        Self { followed, clock: self.clock.clone(), ..Self::new(self.venue, self.follow) }
    }

    /// Follows the books of these streams, and of no others but those of earlier calls.
    pub fn carry(&mut self, streams: &[String]) {
        if self.follow.has(Channel::Book) {
            let pair_of = self.venue.adapter().books.pair_of_stream;
            let pairs = streams.iter().filter_map(|stream| pair_of(stream));
            self.followed.get_or_insert_default().extend(pairs);
        }
    }

    /// The book of the pair is followed.
    pub(super) fn follows(&self, pair: &PairKey) -> bool {
        self.followed.as_ref().is_none_or(|followed| followed.contains(pair))
    }

    /// No book is followed, or none has come where all are.
    pub(super) fn is_empty(&self) -> bool {
        self.followed.as_ref().map_or(self.held.is_empty(), FxHashSet::is_empty)
    }

    /// The only pair that has a book.
    pub(super) fn only_pair(&self) -> Option<PairKey> {
        let mut pairs = self.held.keys();
        pairs.next().filter(|_| pairs.next().is_none()).cloned()
    }

    /// The book of a pair.
    pub(super) fn get(&self, pair: &PairKey) -> Option<&Book> {
        self.held.get(pair)?.book.as_ref().map(|(_, book)| book)
    }

    /// The book of a pair is in sync.
    pub fn is_in_sync(&self, pair: &PairKey) -> bool {
        self.get(pair).is_some_and(Book::is_in_sync)
    }

    /// The pairs in the order of their names.
    pub(super) fn pairs(&self) -> Vec<PairKey> {
        let mut pairs: Vec<_> = self.held.keys().cloned().collect();
        pairs.sort();
        pairs
    }

    /// Takes a text frame of a connection whose books are not published yet; returns the requests to
    /// the owner of its socket.
    #[must_use]
    pub fn frame(&mut self, text: &str) -> Vec<Control> {
        let mut controls = Vec::new();
        // A frame that cannot be read is a dead letter of the connection that is published.
        let _ = self.take(text, &mut controls, &mut |_| {});
        controls
    }

    /// Takes the answer to a request for a snapshot of such a connection.
    ///
    /// # Errors
    /// The answer is no snapshot.
    pub fn snapshot(&mut self, pair: &PairKey, body: &str) -> Result<Vec<Control>> {
        let mut controls = Vec::new();
        self.take_snapshot(pair, body, &mut controls, &mut |_| {})?;
        Ok(controls)
    }

    /// Takes the book messages of a text frame.
    pub(super) fn take(
        &mut self,
        text: &str,
        controls: &mut Vec<Control>,
        take: &mut Take<'_>,
    ) -> Result<()> {
        let mut messages = std::mem::take(&mut self.messages);
        let mut result = (self.venue.adapter().books.parse)(text, &mut messages);
        for message in messages.drain(..) {
            result = result.and(self.message(message, controls, take));
        }
        self.messages = messages;
        result
    }

    /// Takes the body of an answer with a snapshot.
    pub(super) fn take_snapshot(
        &mut self,
        pair: &PairKey,
        body: &str,
        controls: &mut Vec<Control>,
        take: &mut Take<'_>,
    ) -> Result<()> {
        let Some(read) = self.venue.adapter().books.snapshot else { return Ok(()) };
        match read(body) {
            Ok(frame) => self.message(BookMessage::Frame(pair.clone(), frame), controls, take),
            Err(malformed) => {
                if let Some(held) = self.held.get_mut(pair) {
                    held.is_asked = true;
                    controls.push(Control::Refresh(pair.clone()));
                }
                Err(malformed)
            }
        }
    }

    /// Drops the book of a pair: its instrument has ended.
    pub(super) fn forget(&mut self, pair: &PairKey) {
        self.held.remove(pair);
    }

    /// The connection ended: every book is lost.
    pub(super) fn disconnect(&mut self, take: &mut Take<'_>) {
        for pair in &self.pairs() {
            let Some(held) = self.held.get_mut(pair) else { continue };
            (held.is_asked, held.is_missed) = (false, false);
            if let Some((_, book)) = &mut held.book {
                let outcome = book.lose(Reason::Disconnected);
                take(&Step { pair, book, outcome, time: None });
            }
        }
    }

    fn message(
        &mut self,
        message: BookMessage,
        controls: &mut Vec<Control>,
        take: &mut Take<'_>,
    ) -> Result<()> {
        match message {
            BookMessage::Frame(pair, frame) => {
                if self.is_of_use(&pair)? {
                    let (held, rules) = self.held(&pair);
                    held.frame(&pair, frame, rules, controls, take);
                }
            }
            BookMessage::Lost(pair) => {
                if self.is_of_use(&pair)? {
                    let (held, rules) = self.held(&pair);
                    held.lose(&pair, rules, controls, take);
                }
            }
            BookMessage::Depth(pair, depth) => {
                if self.is_of_use(&pair)? {
                    self.held(&pair).0.depth = Some(depth);
                    self.terms_known(&pair, controls);
                }
            }
            BookMessage::Precision(pair, precision) => {
                if self.precisions.len() < MAX_PAIRS || self.precisions.contains_key(&pair) {
                    self.precisions.insert(pair.clone(), precision);
                    self.terms_known(&pair, controls);
                }
            }
        }
        Ok(())
    }

    /// A frame of the pair is used. One of the clock is not, when its book is not followed.
    fn is_of_use(&self, pair: &PairKey) -> Result<bool> {
        if self.follows(pair) {
            return Ok(self.held.contains_key(pair) || self.held.len() < MAX_BOOKS);
        }
        if self.clock.as_ref() == Some(pair) || !self.follow.has(Channel::Book) {
            return Ok(false);
        }
        Err(Malformed::OtherProduct(format!("{}-{}", pair.base, pair.quote)))
    }

    /// The state of a pair, and the rules of its book.
    fn held(&mut self, pair: &PairKey) -> (&mut Held, Option<Rules>) {
        let precision = self.precisions.get(pair);
        let held = self.held.entry(pair.clone()).or_default();
        let terms = held.depth.zip(precision.copied());
        let terms = terms.map(|(depth, precision)| Terms { depth, precision });
        let rules = (self.venue.adapter().books.rules)(self.follow, terms);
        (held, rules)
    }

    /// Asks for the snapshot of a book whose frames came before its terms.
    fn terms_known(&mut self, pair: &PairKey, controls: &mut Vec<Control>) {
        if !self.held.contains_key(pair) {
            return;
        }
        let (held, rules) = self.held(pair);
        if rules.is_some() && std::mem::take(&mut held.is_missed) {
            held.refresh(pair, controls);
        }
    }
}

impl Held {
    /// The book, which begins with the first frame after its terms are known. Terms change with a new
    /// subscription, which begins with a snapshot.
    fn begin(&mut self, rules: Option<Rules>, is_snapshot: bool) -> Option<&mut Book> {
        let Some(rules) = rules else {
            self.is_missed = true;
            return None;
        };
        if self.book.as_ref().is_none_or(|(old, _)| is_snapshot && *old != rules) {
            self.book = Some((rules, Book::new(rules)));
        }
        self.book.as_mut().map(|(_, book)| book)
    }

    fn frame(
        &mut self,
        pair: &PairKey,
        frame: BookFrame,
        rules: Option<Rules>,
        controls: &mut Vec<Control>,
        take: &mut Take<'_>,
    ) {
        let is_snapshot = frame.kind == FrameKind::Snapshot;
        let Some(book) = self.begin(rules, is_snapshot) else { return };
        let time = frame.event_time;
        let outcome = book.apply(frame);
        take(&Step { pair, book, outcome, time });
        // It has none where it is fetched, or the best prices have left the range of its own.
        let needs_snapshot = book.needs_snapshot() || (book.is_in_sync() && !book.is_covered());
        self.is_asked &= !is_snapshot;
        if let Outcome::Resync(reason) = outcome {
            self.is_asked = true;
            controls.push(Control::Resync { pair: pair.clone(), reason });
        } else if needs_snapshot {
            self.refresh(pair, controls);
        }
    }

    /// Notes that a frame is lost. It may have been the snapshot, so one is asked for in any case.
    fn lose(
        &mut self,
        pair: &PairKey,
        rules: Option<Rules>,
        controls: &mut Vec<Control>,
        take: &mut Take<'_>,
    ) {
        let reason = Reason::SequenceGap;
        let Some(book) = self.begin(rules, false) else { return };
        let outcome = book.lose(reason);
        take(&Step { pair, book, outcome, time: None });
        self.is_asked = true;
        controls.push(Control::Resync { pair: pair.clone(), reason });
    }

    fn refresh(&mut self, pair: &PairKey, controls: &mut Vec<Control>) {
        if !std::mem::replace(&mut self.is_asked, true) {
            controls.push(Control::Refresh(pair.clone()));
        }
    }
}
