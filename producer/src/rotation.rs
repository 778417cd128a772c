//! Replacing a connection before the venue ends it, without a gap and without a repetition.
//!
//! ```text
//! old  ───────────── read ─────────────────┤ closed
//! new         connect ─ ask ─ granted ─ overlap ┬ what it said since is read, then the rest
//!                             └── kept ─────────┘
//! ```
//!
//! The new connection stands before the old one ends, so together they miss nothing; the old one
//! is read alone until then, so ids never seem to jump. Events that the old one brought in the
//! meantime are left out when the new one brings them, also those that were still on their way
//! when it took over: on a busy machine it is read later than the old one.

use std::future::pending;
use std::pin::Pin;
use std::time::Duration;

use futures_util::{FutureExt, StreamExt};
use rand::Rng;
use rustc_hash::FxHashSet;
use schemas::{Basis, MarketEvent, PairKey, Timestamp};
use tokio_tungstenite::tungstenite::{Error, Message as Frame, Utf8Bytes};
use venues::Parsed;
use venues::pipeline::Control;

use crate::clock;
use crate::feed::{Connection, End, Feed};
use crate::socket::{self, Failed, Socket};

/// A replacement that failed is tried again after this: the old connection goes on.
const RETRY: Duration = Duration::from_secs(30);
/// Frames that are kept of a new connection: a minute of the busiest one there is. Beyond it the
/// old one is left at once.
const MAX_KEPT: usize = 200_000;
/// After it took over, a connection's events are compared with what the old one brought for so long:
/// more than a socket that is read too late may be behind.
const COMPARED_FOR: Duration = Duration::from_mins(1);

type Connecting = Pin<Box<dyn Future<Output = Result<Socket, Failed>> + Send>>;

/// The replacement of a connection.
pub(crate) enum Next {
    /// There is none yet.
    None,
    /// It is being made.
    Connecting(Connecting),
    /// It is there, and what it says is kept.
    Standing(Box<Standing>),
}

/// A replacement that is there.
pub(crate) struct Standing {
    connection: Connection,
    kept: Vec<(Timestamp, Utf8Bytes)>,
    /// When it takes over; set once everything is granted.
    until: Option<Duration>,
}

/// What happened to a replacement.
pub(crate) enum Happened {
    Connected(Box<Result<Socket, Failed>>),
    Frame(Option<Result<Frame, Error>>),
}

impl Next {
    /// Everything is granted to it: it may take over at any time.
    pub(crate) fn is_ready(&self) -> bool {
        matches!(self, Self::Standing(standing) if standing.until.is_some())
    }

    /// Waits for something to happen to it. Cancel safe.
    pub(crate) async fn happens(&mut self) -> Happened {
        match self {
            Self::None => pending().await,
            Self::Connecting(connecting) => Happened::Connected(Box::new(connecting.await)),
            Self::Standing(standing) => Happened::Frame(standing.connection.socket.next().await),
        }
    }
}

/// Events that came over the old connection while the new one was being made: trades by their ids,
/// samples by what they say.
#[derive(Debug, Default)]
pub(crate) struct Seen {
    events: FxHashSet<(PairKey, Basis, i64)>,
    /// What the new connection brings is compared with what was seen.
    state: State,
    /// When comparing ends; set once the new connection has taken over.
    until: Option<Duration>,
}

#[derive(Debug, Default, PartialEq, Eq)]
enum State {
    #[default]
    Idle,
    Noting,
    Comparing,
}

impl Seen {
    /// Takes note of an event, or says that it was there before.
    pub(crate) fn repeats(&mut self, pair: &PairKey, event: &MarketEvent) -> bool {
        let id = match (&self.state, event.identity()) {
            (State::Idle, _) | (_, None) => return false,
            (_, Some(id)) => id,
        };
        let event = (pair.clone(), event.basis, id);
        match self.state {
            State::Noting => {
                // A repetition of the venue's own is passed on, as always.
                self.events.insert(event);
                false
            }
            _ => self.events.contains(&event),
        }
    }

    /// The new connection has said all that was kept of it; more may be on its way.
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

impl<R: Rng> Feed<R> {
    /// When something is due for the connection, its replacement, or the change of both.
    pub(crate) fn next_due(
        &self,
        connection: &Connection,
        next: &mut Next,
        now: Duration,
    ) -> Duration {
        let due = connection.session.next_due();
        match next {
            Next::None => connection.rotate_at.map_or(due, |at| at.min(due)),
            Next::Connecting(_) => due,
            Next::Standing(standing) => {
                self.slots(&mut standing.connection.session, now);
                let due = due.min(standing.connection.session.next_due());
                standing.until.map_or(due, |until| until.min(due))
            }
        }
    }

    /// Begins a replacement when it is time, moves one on, or lets it take over.
    pub(crate) async fn rotate(
        &mut self,
        connection: &mut Connection,
        next: &mut Next,
        now: Duration,
    ) -> Result<(), End> {
        match next {
            Next::None => {
                self.seen.forget(now);
                if connection.rotate_at.is_none_or(|at| now < at) {
                    return Ok(());
                }
                let admitted = self.around.gate().attempt(now);
                if let Err(wait) = admitted {
                    connection.rotate_at = Some(now + wait);
                    return Ok(());
                }
                tracing::info!(
                    venue = self.config.venue.as_str(),
                    feed = self.config.line.name,
                    "the connection is being replaced"
                );
                self.seen = Seen { state: State::Noting, ..Seen::default() };
                *next = Next::Connecting(socket::connect(self.config.url.clone()).boxed());
            }
            Next::Connecting(_) => {}
            Next::Standing(standing) => {
                if standing.until.is_some_and(|until| now >= until) {
                    return self.replace(connection, next).await;
                }
                while let Some(due) = standing.connection.session.due(now) {
                    if self.act(due, &mut standing.connection).await.is_err() {
                        self.give_up(connection, next);
                        return Ok(());
                    }
                    self.slots(&mut standing.connection.session, now);
                    if standing.connection.session.is_complete() && standing.until.is_none() {
                        standing.until = Some(now + self.config.rotation.overlap);
                    }
                }
            }
        }
        Ok(())
    }

    /// Something happened to the replacement.
    pub(crate) async fn replacement(
        &mut self,
        happened: Happened,
        connection: &mut Connection,
        next: &mut Next,
    ) -> Result<(), End> {
        match happened {
            Happened::Connected(connected) => match *connected {
                Ok(socket) => {
                    let connection = self.connection(socket);
                    let standing = Standing { connection, kept: Vec::new(), until: None };
                    *next = Next::Standing(Box::new(standing));
                }
                Err(failed) => {
                    self.failed(&failed);
                    self.give_up(connection, next);
                }
            },
            Happened::Frame(Some(Ok(Frame::Text(text)))) => {
                let Next::Standing(standing) = next else { return Ok(()) };
                if self.keep(text, standing).await.is_err() {
                    self.give_up(connection, next);
                } else if standing.kept.len() >= MAX_KEPT {
                    return self.replace(connection, next).await;
                }
            }
            Happened::Frame(Some(Ok(frame))) if !frame.is_close() => {
                if let Next::Standing(standing) = next {
                    standing.connection.session.frame(false, self.around.now());
                }
            }
            Happened::Frame(_) => self.give_up(connection, next),
        }
        Ok(())
    }

    /// Keeps a frame of the replacement, and hears what of it concerns the connection.
    async fn keep(&mut self, text: Utf8Bytes, standing: &mut Standing) -> Result<(), End> {
        let (now, at) = (self.around.now(), clock::now());
        standing.connection.session.frame(true, now);
        let mut parsed: Vec<Parsed> = Vec::new();
        // What is malformed is counted when the frame is read.
        let _ = self.config.venue.parse(&text, at, &mut parsed);
        for control in parsed.into_iter().filter_map(|parsed| Control::of(parsed.message)) {
            let outcome = standing.connection.session.accept(control, now);
            self.obey(outcome, &mut standing.connection).await?;
        }
        if standing.connection.session.is_complete() && standing.until.is_none() {
            standing.until = Some(now + self.config.rotation.overlap);
        }
        standing.kept.push((at, text));
        Ok(())
    }

    /// The replacement takes over: first what it said meanwhile, less what was there before.
    pub(crate) async fn replace(
        &mut self,
        connection: &mut Connection,
        next: &mut Next,
    ) -> Result<(), End> {
        let Next::Standing(mut standing) = std::mem::replace(next, Next::None) else {
            return Ok(());
        };
        std::mem::swap(connection, &mut standing.connection);
        let mut old = standing.connection.socket;
        // Nobody waits for its good-bye.
        tokio::spawn(async move { old.close(None).await });
        self.seen.state = State::Comparing;
        for (at, text) in std::mem::take(&mut standing.kept) {
            self.kept(&text, at, connection).await?;
        }
        self.seen.took_over(self.around.now());
        let venue = self.config.venue.as_str();
        self.around.metrics.rotations.with_label_values(&[venue]).inc();
        tracing::info!(venue, feed = self.config.line.name, "the connection is replaced");
        Ok(())
    }

    /// There will be another replacement, later.
    fn give_up(&mut self, connection: &mut Connection, next: &mut Next) {
        *next = Next::None;
        self.seen = Seen::default();
        connection.rotate_at = Some(self.around.now() + RETRY);
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
        let mut seen = Seen::default();
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
        let mut seen = Seen { state: State::Noting, ..Seen::default() };
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
    fn a_sample_that_the_old_connection_brought_is_left_out_as_well() {
        let pair = PairKey::new("BTC", "USDT", "binance");
        let sample = |time| MarketEvent::sample(schemas::Decimal::ONE, Timestamp(time));
        let mut seen = Seen { state: State::Noting, ..Seen::default() };
        assert!(!seen.repeats(&pair, &sample(1)));
        seen.state = State::Comparing;
        let again = MarketEvent { received_at: Timestamp(9), ..sample(1) };
        assert!(seen.repeats(&pair, &again), "when it was received says nothing");
        assert!(!seen.repeats(&pair, &sample(2)));
        let dearer = MarketEvent { base_volume_24h: Some(schemas::Decimal::ONE), ..sample(1) };
        assert!(!seen.repeats(&pair, &dearer));
    }
}
