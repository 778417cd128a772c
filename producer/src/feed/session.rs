//! The session of one connection: requests to send, subscriptions granted, actions due.
//!
//! ```text
//! requests ─ paced ─→ sent ─→ granted ───────────────→ complete
//!   ▲                   │  └─→ not in time: logged, and no longer expected
//!   └── rate limited ───┘
//! ```
//!
//! A value without a socket: controls and times go in, actions come out. All times are spans since
//! the process began.

use std::collections::VecDeque;
use std::time::Duration;

use rustc_hash::{FxHashMap, FxHashSet};
use schemas::PairKey;
use venues::{Adapter, Class, Control, Follow, ListingChange, SocketRequest, Subscription, Venue};

/// A request that is not answered in this time was not granted: a venue answers within
/// milliseconds, and a longer wait would leave an unnoticed gap.
const ANSWER_WITHIN: Duration = Duration::from_secs(10);
/// Sent requests that are remembered, to be sent again when the venue puts them off. Beyond it all are
/// forgotten: books that are subscribed over and over would fill memory.
const MAX_SENT: usize = 4096;

/// The silences after which a connection is given up.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Timeouts {
    /// Silence of the whole connection after which it is given up.
    pub stale_after: Duration,
    /// Silence of a class of instruments after which the connection is given up.
    pub quiet_after: Duration,
}

/// An action that is due.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Due {
    /// Send this text.
    Send(String),
    /// Send a ping.
    Ping,
    /// These subscriptions were not granted in time.
    Unanswered(Vec<Subscription>),
    /// The whole connection was silent for too long.
    Stale,
    /// A class was silent for too long.
    Quiet(Class),
}

/// The consequence of a control.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// Nothing.
    Go,
    /// Everything that was asked for stands, as of now.
    Complete,
    /// Send this text at once.
    Send(&'static str),
    /// One of several things is refused.
    Rejected(String),
    /// The connection is of no use.
    Refused(String),
    /// The connection is of no use before this time has passed.
    Limited(Duration),
    /// The venue will close the connection.
    Closing,
    /// An instrument came or went.
    Changed(ListingChange),
    /// The venue offers books of this depth only.
    OnlyDepth(usize, String),
}

/// The state of one connection.
///
/// Invariants:
/// - A subscription is missing from when it is asked until it is granted, given up or ended.
/// - A request that the venue put off is sent again before any other.
#[derive(Debug)]
pub struct Session {
    adapter: &'static Adapter,
    follow: Follow,
    timeouts: Timeouts,
    waiting: VecDeque<SocketRequest>,
    sent: FxHashMap<u64, SocketRequest>,
    next_id: u64,
    missing: FxHashSet<Subscription>,
    granted: usize,
    complete: bool,
    /// The time of the next request, once it is known.
    slot: Option<Duration>,
    answer_by: Option<Duration>,
    heard: Duration,
    ping_at: Duration,
    keepalive_at: Option<Duration>,
    /// The newest event of each class that is subscribed.
    classes: [Option<Duration>; Class::ALL.len()],
}

impl Session {
    /// A connection that begins now and subscribes these streams.
    pub fn new(
        venue: Venue,
        streams: &[String],
        follow: Follow,
        timeouts: Timeouts,
        now: Duration,
    ) -> Self {
        let adapter = venue.adapter();
        let mut session = Self {
            adapter,
            follow,
            timeouts,
            waiting: VecDeque::new(),
            sent: FxHashMap::default(),
            next_id: 1,
            missing: FxHashSet::default(),
            granted: 0,
            complete: false,
            slot: None,
            answer_by: None,
            heard: now,
            ping_at: now,
            keepalive_at: adapter.liveness.keepalive.map(|(every, _)| now + every),
            classes: [None; Class::ALL.len()],
        };
        session.add(streams);
        session
    }

    /// Subscribes further streams.
    pub fn add(&mut self, streams: &[String]) {
        let subscriptions = &self.adapter.subscriptions;
        let requests = (subscriptions.requests)(streams, self.follow, self.next_id);
        self.missing.extend((subscriptions.expected)(streams, self.follow));
        self.complete = false;
        self.ask(requests);
    }

    /// Subscribes the book of a pair again: the venue answers with a snapshot.
    pub fn resubscribe(&mut self, pair: &PairKey) {
        self.ask((self.adapter.books.resubscribe)(pair, self.follow, self.next_id));
    }

    /// Subscribes these streams of books, of which the venue offers this depth only.
    pub fn change_depth(&mut self, streams: &[String], depth: usize) {
        for refused in (self.adapter.subscriptions.expected)(streams, self.follow) {
            self.missing.remove(&refused);
        }
        self.follow.depth = Some(depth);
        self.add(streams);
    }

    fn ask(&mut self, requests: Vec<SocketRequest>) {
        self.next_id += requests.len() as u64;
        self.waiting.extend(requests);
    }

    /// No longer waits for a stream: its instrument has ended.
    pub fn drop_stream(&mut self, stream: &str) {
        for ended in (self.adapter.subscriptions.expected)(&[stream.to_owned()], self.follow) {
            self.missing.remove(&ended);
        }
    }

    /// Every subscription was granted or given up.
    pub fn is_complete(&self) -> bool {
        self.complete
    }

    /// A request waits for a slot.
    pub fn wants_slot(&self) -> bool {
        self.slot.is_none() && !self.waiting.is_empty()
    }

    /// The next request may be sent then.
    pub fn take_slot(&mut self, at: Duration) {
        self.slot = Some(at);
    }

    /// A frame came. A ping or a pong proves a connection only where the venue may have nothing
    /// else to say; the others have heartbeats, or answer our keep-alive.
    pub fn frame(&mut self, is_text: bool, now: Duration) {
        if is_text || self.adapter.liveness.pings_count {
            self.heard = now;
        }
    }

    /// An event of a class was received.
    pub fn event(&mut self, class: Class, now: Duration) {
        self.classes[class as usize] = Some(now);
    }

    /// The time of the next action.
    pub fn next_due(&self) -> Duration {
        let quiet = self.classes.iter().flatten().map(|last| *last + self.timeouts.quiet_after);
        [self.slot, self.answer_by, self.keepalive_at]
            .into_iter()
            .flatten()
            .chain(quiet)
            .fold(self.ping_at.min(self.heard + self.timeouts.stale_after), Duration::min)
    }

    /// The next action that is due; to be called until there is none.
    pub fn due(&mut self, now: Duration) -> Option<Due> {
        if now >= self.heard + self.timeouts.stale_after {
            return Some(Due::Stale);
        }
        for class in Class::ALL {
            let last = self.classes[class as usize];
            if last.is_some_and(|last| now >= last + self.timeouts.quiet_after) {
                return Some(Due::Quiet(class));
            }
        }
        if self.slot.is_some_and(|slot| now >= slot) {
            self.slot = None;
            let request = self.waiting.pop_front()?;
            let text = request.text.clone();
            if self.sent.len() >= MAX_SENT {
                self.sent.clear();
            }
            self.sent.insert(request.id, request);
            if self.waiting.is_empty() && !self.complete {
                self.answer_by = Some(now + ANSWER_WITHIN);
            }
            return Some(Due::Send(text));
        }
        if self.answer_by.is_some_and(|by| now >= by) {
            self.answer_by = None;
            self.complete = true;
            let mut missing: Vec<_> = self.missing.drain().collect();
            missing.sort();
            return Some(Due::Unanswered(missing));
        }
        if let (Some(at), Some((every, text))) =
            (self.keepalive_at, self.adapter.liveness.keepalive)
            && now >= at
        {
            self.keepalive_at = Some(now + every);
            return Some(Due::Send(text.into()));
        }
        if now >= self.ping_at {
            // Thrice within the time after which silence counts.
            self.ping_at = now + self.timeouts.stale_after / 3;
            return Some(Due::Ping);
        }
        None
    }

    /// The number of granted subscriptions.
    pub fn granted(&self) -> usize {
        self.granted
    }

    /// Handles a control of the venue.
    pub fn accept(&mut self, control: Control, now: Duration) -> Outcome {
        match control {
            Control::Subscribed(granted) => return self.grant(&granted),
            Control::Refused(reason) => return Outcome::Refused(reason),
            Control::Rejected { reason, pair } => {
                // It will not be granted, in whatever channel.
                self.missing.retain(|one| pair.as_ref() != Some(&one.pair));
                self.settle();
                return Outcome::Rejected(reason);
            }
            Control::RetryAfter { id: None, wait, .. } => return Outcome::Limited(wait),
            Control::RetryAfter { id: Some(id), wait, .. } => {
                // One that is not known is a keep-alive, of which there will be another.
                if let Some(request) = self.sent.remove(&id) {
                    self.waiting.push_front(request);
                    self.slot = Some(now + wait);
                    self.answer_by = None;
                }
            }
            Control::Reply(text) => return Outcome::Send(text),
            Control::Closing => return Outcome::Closing,
            Control::Listing(change) => return Outcome::Changed(change),
            Control::OnlyDepth { depth, reason } => return Outcome::OnlyDepth(depth, reason),
            // Of the pipeline: the feed acts on them.
            Control::Resync { .. } | Control::Refresh(_) => {}
        }
        Outcome::Go
    }

    fn grant(&mut self, granted: &[Subscription]) -> Outcome {
        self.granted += granted.len();
        for one in granted {
            self.missing.remove(one);
        }
        if granted.is_empty() && self.granted == 0 && self.adapter.subscriptions.empty_is_refusal {
            return Outcome::Refused("nothing was granted".into());
        }
        if self.settle() { Outcome::Complete } else { Outcome::Go }
    }

    /// Completes the session when nothing is missing; true when it completes now.
    fn settle(&mut self) -> bool {
        if self.complete || !self.missing.is_empty() || !self.waiting.is_empty() {
            return false;
        }
        self.answer_by = None;
        self.complete = true;
        true
    }
}

#[cfg(test)]
#[path = "session_tests.rs"]
mod tests;
