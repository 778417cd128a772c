//! The publication of books: quotes, the best levels, and the marks of what was not published.
//!
//! ```text
//!                ┌─ changed best ─→ quote ─┐
//! step of a book ┼─ other change ──────────┴─ a second after the last one ─→ book
//!                └─ lost ─→ out of sync, once … in sync again ─→ gap, quote, book
//! ```
//!
//! Times of gaps and quotes are the venue's; the time of receipt where the venue gives none.
//!
//! Invariants:
//! - No quote of a pair lies inside a gap of the pair, whatever arrives.
//! - A loss of sync has one gap, however often it is lost again before it is regained.
//! - The gap precedes the quote that ends it.
//! - The books of a pair are a second apart by receipt, except the one that follows a gap and the last.
//! - A followed book that has no quote in time (`awaited.rs`) is out of sync from its first frame on.

use std::collections::BTreeSet;

use rustc_hash::FxHashMap;
use schemas::{FeedMark, PairKey, Part, Timestamp};

use super::awaited::Awaited;
use super::books::{Books, MAX_BOOKS, Step};
use super::marks::FeedClock;
use super::{Count, Output, Produced};
use crate::book::{BOOK_LEVELS, Book, Level, Outcome, Proof, Quote, Reason, published};

/// The minimum milliseconds between two records of a pair in `books`.
const BOOK_INTERVAL_MS: i64 = 1000;

/// The publication of the books of one feed. It outlives the connection.
pub(super) struct Quotes {
    feed: String,
    /// The connection is one of several, so its pairs are marked as carried.
    is_one_of_several: bool,
    states: FxHashMap<PairKey, State>,
    /// Followed books without a quote.
    awaited: Awaited,
    /// Pairs whose newest levels wait, by the receipt time from which they may be published.
    due: BTreeSet<(Timestamp, PairKey)>,
    /// The newest receipt time.
    received: Timestamp,
}

/// The publication of one book.
struct State {
    /// The time of its first frame.
    first: Timestamp,
    /// The newest time at which the book was in sync.
    good: Option<Timestamp>,
    /// The first reason, while the book is out of sync.
    lost: Option<Reason>,
    /// The end of the last gap: no quote may be earlier.
    floor: Timestamp,
    /// It was marked as carried by this connection.
    is_carried: bool,
    /// The time up to which an earlier connection was published, while the book of this one has not passed
    /// it.
    ahead: Option<Timestamp>,
    /// The best bid and ask of the last quote.
    best: Option<(Option<Level>, Option<Level>)>,
    /// The receipt time of the last record in `books`.
    book_at: Option<Timestamp>,
    /// Its time in `due`.
    due_at: Option<Timestamp>,
}

impl Quotes {
    pub(super) fn new(feed: String) -> Self {
        Self {
            feed,
            is_one_of_several: false,
            states: FxHashMap::default(),
            awaited: Awaited::default(),
            due: BTreeSet::new(),
            received: Timestamp(i64::MIN),
        }
    }

    pub(super) fn one_of_several(&mut self) {
        self.is_one_of_several = true;
    }

    /// The books of these pairs are followed: each has its first quote in time, or is out of sync.
    pub(super) fn follow(&mut self, pairs: impl Iterator<Item = PairKey>) {
        self.awaited.follow(pairs);
    }

    /// Publishes a step that was received at a time.
    pub(super) fn step(
        &mut self,
        step: &Step<'_>,
        clock: &FeedClock,
        received_at: Timestamp,
        out: &mut Produced,
    ) {
        let time = step.time.unwrap_or(received_at);
        self.received = self.received.max(received_at);
        let Some(state) = self.state(step.pair, time) else { return };
        if step.book.is_in_sync() && step.book.proof() == Proof::Checksum {
            out.counts.push(Count::Checksum);
        }
        let outcome = match state.ahead {
            Some(_) if matches!(step.outcome, Outcome::Resync(_)) => step.outcome,
            Some(ahead) if time <= ahead => return,
            Some(_) => {
                state.ahead = None;
                // Another state than the published one, or the same.
                let quote = step.book.quote();
                let changed = quote.filter(|quote| state.best != Some((quote.bid, quote.ask)));
                changed.map_or(Outcome::Unchanged, Outcome::Quote)
            }
            None => step.outcome,
        };
        match outcome {
            Outcome::Resync(reason) => self.lose(step.pair, reason, received_at, out),
            Outcome::Unchanged if step.book.is_in_sync() => {
                state.good = state.good.max(Some(time));
                self.publish(step.pair, step.book, Pace::Interval, received_at, out);
            }
            Outcome::Unchanged => {}
            Outcome::Quote(quote) => self.quote(step, &quote, clock, received_at, out),
        }
    }

    /// Publishes a quote, behind the marks that it ends or begins.
    fn quote(
        &mut self,
        step: &Step<'_>,
        quote: &Quote,
        clock: &FeedClock,
        received_at: Timestamp,
        out: &mut Produced,
    ) {
        let Some(state) = self.states.get_mut(step.pair) else { return };
        let time = quote.event_time.unwrap_or(received_at);
        let pace = if state.lost.is_some() { Pace::Now } else { Pace::Interval };
        let gap = state.close(&self.feed, time, received_at);
        let time = time.max(state.floor);
        state.good = state.good.max(Some(time));
        state.best = Some((quote.bid, quote.ask));
        let is_new = self.is_one_of_several && !std::mem::replace(&mut state.is_carried, true);
        let carrier = is_new.then(|| carrier(&self.feed, time, clock, received_at));
        for mark in carrier.into_iter().chain(gap) {
            out.outputs.push(Output::BookMark { pair: step.pair.clone(), mark });
        }
        let quote = record(quote, time, received_at);
        out.outputs.push(Output::Quote { pair: step.pair.clone(), quote });
        self.publish(step.pair, step.book, pace, received_at, out);
    }

    /// Notes that a book is out of sync, and marks it once.
    fn lose(&mut self, pair: &PairKey, reason: Reason, received_at: Timestamp, out: &mut Produced) {
        out.counts.push(Count::Resync(reason));
        let Some(state) = self.states.get_mut(pair).filter(|state| state.lost.is_none()) else {
            return;
        };
        (state.lost, state.ahead) = (Some(reason), None);
        let mark = state.lost_mark(&self.feed, reason, received_at);
        out.outputs.push(Output::BookMark { pair: pair.clone(), mark });
    }

    /// Publishes the books of a new connection from here on. A book that is behind what is published is
    /// published when it has passed it: time does not go back. Several states may share a millisecond, so
    /// one of the same time may be behind.
    pub(super) fn take_over(
        &mut self,
        books: &Books,
        clock: &FeedClock,
        received_at: Timestamp,
        out: &mut Produced,
    ) {
        let mut pairs: Vec<_> = self.states.keys().cloned().chain(books.pairs()).collect();
        pairs.sort();
        pairs.dedup();
        for pair in &pairs {
            let Some((book, quote)) = books.get(pair).and_then(|book| Some((book, book.quote()?)))
            else {
                self.lose(pair, Reason::Disconnected, received_at, out);
                continue;
            };
            let state = self.states.get_mut(pair).filter(|state| state.lost.is_none());
            if let Some(state) = state
                && quote.event_time.is_some_and(|time| Some(time) <= state.good)
            {
                state.ahead = state.good;
                continue;
            }
            let is_published = self.is_published(pair, &quote);
            let outcome = if is_published { Outcome::Unchanged } else { Outcome::Quote(quote) };
            let step = Step { pair, book, outcome, time: quote.event_time };
            self.step(&step, clock, received_at, out);
        }
    }

    /// The best bid and ask are those of the last quote, and nothing was lost since.
    fn is_published(&self, pair: &PairKey, quote: &Quote) -> bool {
        let state = self.states.get(pair).filter(|state| state.lost.is_none());
        state.and_then(|state| state.best) == Some((quote.bid, quote.ask))
    }

    /// Publishes the levels that have waited long enough, and the loss of books that never had a quote.
    pub(super) fn flush(&mut self, books: &Books, received_at: Timestamp, out: &mut Produced) {
        self.received = self.received.max(received_at);
        while let Some((since, pair)) = self.awaited.late(received_at) {
            let never = |state: &mut State| state.good.is_none() && state.lost.is_none();
            if self.state(&pair, since).is_some_and(never) {
                self.lose(&pair, Reason::StaleSnapshot, received_at, out);
            }
        }
        self.publish_due(books, received_at, received_at, out);
    }

    /// Publishes the levels that are due at a time.
    fn publish_due(
        &mut self,
        books: &Books,
        due: Timestamp,
        received_at: Timestamp,
        out: &mut Produced,
    ) {
        while self.due.first().is_some_and(|(at, _)| due >= *at)
            && let Some((_, pair)) = self.due.pop_first()
        {
            if let Some(state) = self.states.get_mut(&pair) {
                state.due_at = None;
            }
            if let Some(book) = books.get(&pair) {
                self.publish(&pair, book, Pace::Now, received_at, out);
            }
        }
    }

    /// The book of a pair has had a frame, or is out of sync without one.
    pub(super) fn knows(&self, pair: &PairKey) -> bool {
        self.states.contains_key(pair)
    }

    /// Ends the publication of one pair, whose instrument has ended: the gap of a book that is out of
    /// sync.
    pub(super) fn forget(&mut self, pair: &PairKey, received_at: Timestamp) -> Option<FeedMark> {
        self.awaited.forget(pair);
        let mut state = self.states.remove(pair)?;
        if let Some(at) = state.due_at {
            self.due.remove(&(at, pair.clone()));
        }
        state.close(&self.feed, received_at, received_at)
    }

    /// Ends the publication: levels that wait are published, and books that are out of sync have a gap up
    /// to the last receipt.
    pub(super) fn finish(&mut self, books: &Books, out: &mut Produced) {
        let received = self.received;
        self.publish_due(books, Timestamp(i64::MAX), received, out);
        let lost = self.states.iter().filter(|(_, state)| state.lost.is_some());
        let mut pairs: Vec<_> = lost.map(|(pair, _)| pair.clone()).collect();
        pairs.sort();
        for pair in pairs {
            let state = self.states.get_mut(&pair);
            let gap = state.and_then(|state| state.close(&self.feed, received, received));
            out.outputs.extend(gap.map(|mark| Output::BookMark { pair, mark }));
        }
    }

    /// The publication of a pair whose first frame has a time. `None` past the bound.
    fn state(&mut self, pair: &PairKey, time: Timestamp) -> Option<&mut State> {
        if !self.states.contains_key(pair) {
            if self.states.len() >= MAX_BOOKS {
                return None;
            }
            self.states.insert(pair.clone(), State::new(time));
        }
        self.states.get_mut(pair)
    }

    /// Publishes the levels of a book in sync, or lets them wait for the interval.
    fn publish(
        &mut self,
        pair: &PairKey,
        book: &Book,
        pace: Pace,
        received_at: Timestamp,
        out: &mut Produced,
    ) {
        let Some(state) = self.states.get_mut(pair).filter(|state| state.ahead.is_none()) else {
            return;
        };
        let at = state.book_at.map(|at| Timestamp(at.0.saturating_add(BOOK_INTERVAL_MS)));
        if let (Pace::Interval, Some(at)) = (pace, at.filter(|at| received_at < *at)) {
            if state.due_at.is_none() {
                state.due_at = Some(at);
                self.due.insert((at, pair.clone()));
            }
            return;
        }
        let Some(depth) = book.depth(BOOK_LEVELS) else { return };
        if let Some(at) = state.due_at.take() {
            self.due.remove(&(at, pair.clone()));
        }
        state.book_at = Some(received_at);
        let levels = |side: Vec<Level>| side.into_iter().map(published).collect();
        let book = schemas::Book {
            bids: levels(depth.bids),
            asks: levels(depth.asks),
            sequence: depth.sequence,
            proof: depth.proof,
            event_time: depth.event_time.unwrap_or(received_at).max(state.floor),
            received_at,
        };
        out.outputs.push(Output::Book { pair: pair.clone(), book });
    }
}

/// When the levels of a book are published.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Pace {
    /// At once.
    Now,
    /// An interval after the last ones.
    Interval,
}

impl State {
    const fn new(first: Timestamp) -> Self {
        Self {
            first,
            good: None,
            lost: None,
            floor: Timestamp(i64::MIN),
            is_carried: false,
            ahead: None,
            best: None,
            book_at: None,
            due_at: None,
        }
    }

    /// The start of a gap: the last moment in sync, or the first frame.
    fn since(&self) -> Timestamp {
        self.good.unwrap_or(self.first)
    }

    fn lost_mark(&self, feed: &str, reason: Reason, received_at: Timestamp) -> FeedMark {
        FeedMark {
            reason: reason.as_str().into(),
            part: Some(Part::Book),
            ..FeedMark::healthy(feed, self.since(), received_at)
        }
    }

    /// Ends the loss of sync at a time; its gap, if there was one. The venue's clock may have gone
    /// back: the gap is a span all the same, and the quote is not earlier than its end.
    fn close(&mut self, feed: &str, time: Timestamp, received_at: Timestamp) -> Option<FeedMark> {
        let reason = self.lost.take()?;
        let from = self.since();
        let until = time.max(Timestamp(from.0.saturating_add(1)));
        self.floor = until;
        Some(FeedMark {
            gap_from: Some(from),
            gap_until: Some(until),
            ..self.lost_mark(feed, reason, received_at)
        })
    }
}

/// The mark that the connection carries the book of a pair from its first quote on.
fn carrier(feed: &str, since: Timestamp, clock: &FeedClock, received_at: Timestamp) -> FeedMark {
    let until = clock.told().unwrap_or(received_at).max(since);
    FeedMark {
        healthy_from: Some(since),
        part: Some(Part::Book),
        ..FeedMark::healthy(feed, until, received_at)
    }
}

fn record(quote: &Quote, event_time: Timestamp, received_at: Timestamp) -> schemas::Quote {
    let [bid, ask] = [quote.bid, quote.ask];
    schemas::Quote {
        bid: bid.map(|level| level.price),
        bid_size: bid.map(|level| level.size),
        ask: ask.map(|level| level.price),
        ask_size: ask.map(|level| level.size),
        sequence: quote.sequence,
        proof: quote.proof,
        event_time,
        received_at,
    }
}

#[cfg(test)]
#[path = "awaited_tests.rs"]
mod awaited_tests;
#[cfg(test)]
#[path = "quotes_property_tests.rs"]
mod properties;
#[cfg(test)]
#[path = "quotes_tests.rs"]
mod tests;
