//! The rotation of a connection: its replacement before the venue closes it.
//!
//! ```text
//! old  ───────────── read ─────────────────┤ closed
//! new         connect ─ request ─ granted ─ overlap ┬ kept frames are parsed, then new ones
//!                             └── frames kept ──────┘
//! ```
//!
//! Both connections together miss nothing: the new one stands before the old one ends. Until then
//! only the old one is parsed, so ids never seem to jump. Events that both connections brought are
//! dropped from the new one, also when it was read later than the old one.
//!
//! A ticker is the whole state of its instrument: one that is not newer than those of the old connection
//! is dropped as well.
//!
//! Order books are no events: each connection has its own, and those of the new one are read as they
//! come. The new connection takes over once they are in sync, so there is no gap.
//!
//! A value: the feed connects, sends and parses.

use std::collections::BTreeSet;
use std::future::pending;
use std::pin::Pin;
use std::time::Duration;

use futures_util::StreamExt;
use rustc_hash::{FxHashMap, FxHashSet};
use schemas::{Basis, MarketEvent, PairKey, Timestamp};
use tokio_tungstenite::tungstenite::{Error, Message as Frame, Utf8Bytes};
use venues::pipeline::Books;

use super::books::snapshots::Answer;
use super::connection::Connection;
use super::socket::{Failed, Socket};

/// Frames that are kept of a new connection: a minute of the busiest one. Beyond it the new
/// connection takes over at once.
const MAX_KEPT: usize = 200_000;
/// Events are compared with those of the old connection for this long after it ended: more than a
/// socket that is read late may be behind.
const COMPARED_FOR: Duration = Duration::from_mins(1);

/// The longest wait for the books of a new connection. More books than can be fetched in this time are
/// marked as out of sync at the take-over.
const BOOKS_WITHIN: Duration = Duration::from_mins(1);

/// The socket, the kept frames and the books of a take-over.
type Taken = (Socket, Vec<(Timestamp, Utf8Bytes)>, Books);

type Connecting = Pin<Box<dyn Future<Output = Result<Socket, Failed>> + Send>>;

/// The rotation of one connection.
pub(super) struct Rotation {
    /// The time in which both connections are read.
    overlap: Duration,
    replacement: Replacement,
    seen: SeenEvents,
}

enum Replacement {
    None,
    Connecting(Connecting),
    Standing(Box<Standing>),
}

/// A replacement that is connected.
struct Standing {
    connection: Connection,
    kept: Vec<(Timestamp, Utf8Bytes)>,
    books: Books,
    /// The books that are not in sync yet.
    unready: BTreeSet<PairKey>,
    /// The time until which they are waited for; set once every subscription is granted.
    latest: Option<Duration>,
    /// Set once they are in sync.
    takes_over_at: Option<Duration>,
}

/// An event of the replacement's socket.
pub(super) enum Event {
    Connected(Box<Result<Socket, Failed>>),
    Frame(Option<Result<Frame, Error>>),
    /// The answer to a request for the snapshot of one of its books.
    Answer(Answer),
}

/// The next step of a rotation.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Step {
    Wait,
    /// Connect the replacement.
    Connect,
    /// The replacement takes over.
    TakeOver,
}

impl Rotation {
    pub(super) fn new(overlap: Duration) -> Self {
        Self { overlap, replacement: Replacement::None, seen: SeenEvents::default() }
    }

    /// Every subscription is granted to the replacement: it can take over when the old one ends.
    pub(super) fn is_ready(&self) -> bool {
        matches!(&self.replacement, Replacement::Standing(it) if it.connection.session.is_complete())
    }

    /// Waits for an event of the replacement. Cancel safe.
    pub(super) async fn event(&mut self) -> Event {
        match &mut self.replacement {
            Replacement::None => pending().await,
            Replacement::Connecting(connecting) => Event::Connected(Box::new(connecting.await)),
            Replacement::Standing(standing) => {
                let Connection { socket, snapshots, .. } = &mut standing.connection;
                tokio::select! {
                    frame = socket.next() => Event::Frame(frame),
                    answer = snapshots.answer() => Event::Answer(answer),
                }
            }
        }
    }

    /// The time of the next step of a connection that is to be replaced at `rotate_at`.
    pub(super) fn next_due(&self, rotate_at: Option<Duration>) -> Option<Duration> {
        match &self.replacement {
            Replacement::None => rotate_at,
            Replacement::Connecting(_) => None,
            Replacement::Standing(standing) => {
                let due = standing.connection.next_due();
                let step = standing.takes_over_at.or(standing.latest);
                Some(step.map_or(due, |at| at.min(due)))
            }
        }
    }

    /// The step that is due for a connection that is to be replaced at `rotate_at`.
    pub(super) fn step(&mut self, rotate_at: Option<Duration>, now: Duration) -> Step {
        match &self.replacement {
            Replacement::None => {
                self.seen.forget(now);
                if rotate_at.is_some_and(|at| now >= at) { Step::Connect } else { Step::Wait }
            }
            Replacement::Standing(standing)
                if standing.takes_over_at.is_some_and(|at| now >= at) =>
            {
                Step::TakeOver
            }
            Replacement::Connecting(_) | Replacement::Standing(_) => Step::Wait,
        }
    }

    /// The replacement is being connected; the events of the old connection are noted.
    pub(super) fn connect(&mut self, connecting: Connecting) {
        self.seen = SeenEvents { state: State::Noting, ..SeenEvents::default() };
        self.replacement = Replacement::Connecting(connecting);
    }

    /// The replacement is connected; its frames are kept, and `books` are those of the pairs.
    pub(super) fn connected(
        &mut self,
        connection: Connection,
        books: Books,
        pairs: BTreeSet<PairKey>,
    ) {
        let standing = Standing {
            connection,
            kept: Vec::new(),
            books,
            unready: pairs,
            latest: None,
            takes_over_at: None,
        };
        self.replacement = Replacement::Standing(Box::new(standing));
    }

    /// The replacement, once it is connected.
    pub(super) fn standing(&mut self) -> Option<&mut Connection> {
        match &mut self.replacement {
            Replacement::Standing(standing) => Some(&mut standing.connection),
            _ => None,
        }
    }

    /// The replacement and its books, once it is connected.
    pub(super) fn standing_books(&mut self) -> Option<(&mut Connection, &mut Books)> {
        match &mut self.replacement {
            Replacement::Standing(standing) => {
                let Standing { connection, books, .. } = &mut **standing;
                Some((connection, books))
            }
            _ => None,
        }
    }

    /// Schedules the take-over once every subscription is granted and every book is in sync.
    pub(super) fn check_granted(&mut self, now: Duration) {
        let Replacement::Standing(standing) = &mut self.replacement else { return };
        if standing.takes_over_at.is_some() || !standing.connection.session.is_complete() {
            return;
        }
        let soon = now + self.overlap;
        let latest = *standing.latest.get_or_insert(soon + BOOKS_WITHIN);
        let books = &standing.books;
        standing.unready.retain(|pair| !books.is_in_sync(pair));
        if standing.unready.is_empty() {
            standing.takes_over_at = Some(soon);
        } else if now >= latest {
            standing.takes_over_at = Some(now);
        }
    }

    /// Keeps a frame of the replacement; true when no more can be kept.
    pub(super) fn keep(&mut self, at: Timestamp, text: Utf8Bytes) -> bool {
        let Replacement::Standing(standing) = &mut self.replacement else { return false };
        standing.kept.push((at, text));
        standing.kept.len() >= MAX_KEPT
    }

    /// Puts the replacement in the place of `connection`; the old socket, and what the new one has.
    pub(super) fn take_over(&mut self, connection: &mut Connection) -> Option<Taken> {
        let replacement = std::mem::replace(&mut self.replacement, Replacement::None);
        let Replacement::Standing(mut standing) = replacement else { return None };
        std::mem::swap(connection, &mut standing.connection);
        self.seen.state = State::Comparing;
        Some((standing.connection.socket, standing.kept, standing.books))
    }

    /// The kept frames are parsed; more events that both connections have may be on their way.
    pub(super) fn took_over(&mut self, now: Duration) {
        self.seen.took_over(now);
    }

    /// Drops the replacement.
    pub(super) fn abandon(&mut self) {
        *self = Self::new(self.overlap);
    }

    /// Notes an event of the old connection, or tells that the old connection brought it.
    pub(super) fn repeats(&mut self, pair: &PairKey, event: &MarketEvent) -> bool {
        self.seen.repeats(pair, event)
    }

    /// Notes the time of a ticker of the old connection, or tells that the old connection brought one
    /// that is as new.
    pub(super) fn has_newer(&mut self, pair: &PairKey, event_time: Timestamp) -> bool {
        self.seen.has_newer(pair, event_time)
    }
}

/// Events that the old connection brought while it was being replaced: trades by their ids,
/// samples by their content.
#[derive(Debug, Default)]
struct SeenEvents {
    events: FxHashSet<(PairKey, Basis, i64)>,
    /// The time of the newest ticker of each pair: as many as the connection has streams.
    tickers: FxHashMap<PairKey, Timestamp>,
    state: State,
    /// The end of comparing; set once the new connection has taken over.
    until: Option<Duration>,
}

#[derive(Debug, Default, PartialEq, Eq)]
enum State {
    #[default]
    Idle,
    Noting,
    Comparing,
}

impl SeenEvents {
    fn repeats(&mut self, pair: &PairKey, event: &MarketEvent) -> bool {
        let id = match (&self.state, event.identity()) {
            (State::Idle, _) | (_, None) => return false,
            (_, Some(id)) => id,
        };
        let event = (pair.clone(), event.basis, id);
        match self.state {
            State::Noting => {
                // A repetition by the venue itself is passed on, as always.
                self.events.insert(event);
                false
            }
            _ => self.events.contains(&event),
        }
    }

    fn has_newer(&mut self, pair: &PairKey, event_time: Timestamp) -> bool {
        match self.state {
            State::Idle => false,
            State::Noting => {
                let newest = self.tickers.entry(pair.clone()).or_insert(event_time);
                *newest = event_time.max(*newest);
                false
            }
            State::Comparing => self.tickers.get(pair).is_some_and(|newest| event_time <= *newest),
        }
    }

    fn took_over(&mut self, now: Duration) {
        self.until = Some(now + COMPARED_FOR);
    }

    /// Ends the comparison when it is time.
    fn forget(&mut self, now: Duration) {
        if self.until.is_some_and(|until| now >= until) {
            *self = Self::default();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_the_old_connection_brought_is_left_out_of_the_new_ones() {
        let pair = PairKey::new("BTC", "USD", "coinbase");
        let trade = |id| MarketEvent {
            trade_id: Some(id),
            ..MarketEvent::trade(schemas::Decimal::ONE, schemas::Decimal::ONE, Timestamp(1))
        };
        let mut seen = SeenEvents::default();
        assert!(!seen.repeats(&pair, &trade(1)));
        seen.state = State::Noting;
        assert!(!seen.repeats(&pair, &trade(2)));
        assert!(!seen.repeats(&pair, &trade(2)), "the venue's own repetition is passed on");
        seen.state = State::Comparing;
        let left_out: Vec<_> = (1..=3).filter(|id| seen.repeats(&pair, &trade(*id))).collect();
        assert_eq!(left_out, [2]);
    }

    #[test]
    fn what_is_still_on_its_way_is_left_out_for_a_while() {
        let pair = PairKey::new("BTC", "USDT", "binance");
        let trade = MarketEvent {
            trade_id: Some(1),
            ..MarketEvent::trade(schemas::Decimal::ONE, schemas::Decimal::ONE, Timestamp(1))
        };
        let mut seen = SeenEvents { state: State::Noting, ..SeenEvents::default() };
        seen.repeats(&pair, &trade);
        seen.state = State::Comparing;
        let taken = Duration::from_secs(5);
        seen.took_over(taken);
        for (after, is_left_out) in [(0, true), (59, true), (60, false)] {
            seen.forget(taken + Duration::from_secs(after));
            assert_eq!(seen.repeats(&pair, &trade), is_left_out, "after {after} s");
        }
    }

    #[test]
    fn a_ticker_that_is_not_newer_than_the_old_connections_is_left_out() {
        let pair = PairKey::new("BTC-PERPETUAL", "USD", "deribit");
        let mut seen = SeenEvents::default();
        assert!(!seen.has_newer(&pair, Timestamp(1)) && seen.tickers.is_empty());
        seen.state = State::Noting;
        // The venue's own repetition is passed on.
        assert!([5, 7, 7, 6].iter().all(|time| !seen.has_newer(&pair, Timestamp(*time))));
        seen.state = State::Comparing;
        let left_out: Vec<_> =
            (5..=9).filter(|time| seen.has_newer(&pair, Timestamp(*time))).collect();
        assert_eq!(left_out, [5, 6, 7]);
        let other = PairKey::new("ETH-PERPETUAL", "USD", "deribit");
        assert!(!seen.has_newer(&other, Timestamp(1)));
        seen.took_over(Duration::ZERO);
        seen.forget(COMPARED_FOR);
        assert!(!seen.has_newer(&pair, Timestamp(5)) && seen.tickers.is_empty());
    }

    #[test]
    fn a_sample_that_the_old_connection_brought_is_left_out_as_well() {
        let pair = PairKey::new("BTC", "USDT", "binance");
        let sample = |time| MarketEvent::sample(schemas::Decimal::ONE, Timestamp(time));
        let mut seen = SeenEvents { state: State::Noting, ..SeenEvents::default() };
        assert!(!seen.repeats(&pair, &sample(1)));
        seen.state = State::Comparing;
        let again = MarketEvent { received_at: Timestamp(9), ..sample(1) };
        assert!(seen.repeats(&pair, &again), "when it was received says nothing");
        assert!(!seen.repeats(&pair, &sample(2)));
        let dearer = MarketEvent { base_volume_24h: Some(schemas::Decimal::ONE), ..sample(1) };
        assert!(!seen.repeats(&pair, &dearer));
    }
}
