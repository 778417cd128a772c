//! Candles of every pair: events reach the minute; hours and days are merged from closed minutes.
//!
//! ```text
//!            own event past end + grace,
//!  event     or the feed's clock              late event
//!    └─► OPEN ─────────────────► CLOSED ────────────────► REVISED ─► …
//!         minute                    │ whole minute           │ the event alone
//!                                   └─► hour, day            └─► hour, day
//! ```
//!
//! A pair's clock is the greater of its own latest event time and its exchange's feed clock. One
//! pair's clock does not close another's windows: venues and instruments lag and replay at paces of
//! their own, and a window closed early turns honest trades into revisions.
//!
//! A parent takes each minute once, when it closes, and afterwards each late event alone, so that
//! it is always the merge of its closed minutes. Its live value is that merged with the minutes
//! that are still open, which readers do.
//!
//! What a feed lost, and how far it was healthy, is in `feed.rs`; `gaps.rs` brings it into windows;
//! `parts.rs` says which of several connections a pair comes by; `work.rs` splits marks over many
//! windows into steps; `changes.rs` ends a pair and sets one back.
//!
//! Invariants:
//! - A closed window changes only by a revision, which counts up.
//! - An id counts once in a window.
//! - The same log gives the same candles, byte for byte, however it is batched.

use schemas::{Basis, Candle, MarketEvent, Status, Timestamp};
use streams::punctuation::Schedule;
use streams::store::{StoreEntry, StoreHandle, ValueRef};
use streams::{Context, Failure, Processor};

mod changes;
mod feed;
mod gaps;
mod index;
mod merge;
mod seen;
mod window;
mod work;

pub use feed::{Carrier, Feed, Gap};
pub use merge::{merge, single};
pub use seen::Seen;
pub use window::Window;
pub use work::STEP_WINDOWS;

use changes::SWEEP;
use gaps::Change;
use index::Index;
use merge::is_too_large;
use seen::Seeing;

use super::pairs::NO_PAIR;
use super::rules::{GRACE_MS, Interval, REVISION_HORIZON_MS, is_closed};
use super::{Entry, Pair, TaskStores};
use crate::store_keys;

/// Keeps `ohlc_1m`, `ohlc_1h` and `ohlc_1d`; forwards what is too late.
pub struct Candles {
    pub(super) stores: TaskStores,
    index: Index,
    /// The window's key at hand.
    key: Vec<u8>,
    /// The feed's key at hand.
    feed_key: Vec<u8>,
    /// The exchange whose last mark is not done, as far as this instance knows: the state decides.
    pub(super) at_work: Option<Box<[u8]>>,
    pub(super) step_windows: usize,
}

/// The minute of an event.
#[derive(Clone, Copy)]
struct Place {
    start: Timestamp,
    /// It has closed.
    late: bool,
    /// The newest event that the pair had before.
    newest: Option<Timestamp>,
}

/// What became of an event in its minute.
struct Added {
    seeing: Seeing,
    /// The minute is new.
    created: bool,
    /// The minute has closed, and its parents have it.
    closed: bool,
    /// Each sum fits, or was null before.
    fits: bool,
}

/// A move of a pair's clock, and the newest event that the pair had before.
#[derive(Clone, Copy)]
pub(super) struct Tick {
    pub(super) newest: Timestamp,
    pub(super) from: Timestamp,
    pub(super) to: Timestamp,
}

impl Candles {
    /// Into these stores. A step of a mark looks at `step_windows` windows: this changes when a
    /// commit may come, and no candle.
    pub fn in_steps(stores: TaskStores, step_windows: usize) -> Self {
        Self {
            stores,
            index: Index::default(),
            key: Vec::new(),
            feed_key: Vec::new(),
            at_work: None,
            step_windows,
        }
    }

    pub(super) fn store(&self, interval: Interval) -> &StoreHandle<Window> {
        match interval {
            Interval::Minute => &self.stores.minutes,
            Interval::Hour => &self.stores.hours,
            Interval::Day => &self.stores.days,
        }
    }

    /// One window of a pair.
    pub(super) fn window(
        &mut self,
        pair: &[u8],
        basis: Basis,
        (interval, start): (Interval, Timestamp),
    ) -> Result<StoreEntry<'_, Window>, Failure> {
        self.key.clear();
        store_keys::candle_key(interval, pair, basis, start, &mut self.key);
        Ok(self.store(interval).entry(&self.key)?)
    }

    /// The state of an exchange's feed.
    pub(super) fn feed(&mut self, exchange: &[u8]) -> Result<StoreEntry<'_, Feed>, Failure> {
        self.feed_key.clear();
        self.feed_key.extend_from_slice(&NO_PAIR);
        self.feed_key.extend_from_slice(exchange);
        Ok(self.stores.feeds.entry(&self.feed_key)?)
    }

    // Events.

    fn event(
        &mut self,
        context: &mut Context<'_, Entry>,
        pair: &Pair,
        event: &MarketEvent,
    ) -> Result<bool, Failure> {
        let latest = self.stores.latest.get_near(&pair.in_latest, pair.key())?;
        let newest = latest.map(|latest| latest.event_time);
        let start = Interval::Minute.start(event.event_time);
        let end = Timestamp(start.0 + Interval::Minute.length_ms());
        let feed = self.stores.feeds.get_near(&pair.in_feeds, pair.feed())?;
        let near =
            |feed: ValueRef<'_, Feed>| (feed.clock(), feed.near(pair.key(), event, start, end));
        let (feed_clock, mut near) = feed.map(near).unwrap_or_default();
        let clock = newest.max(feed_clock);
        let late = clock.filter(|&clock| is_closed(Interval::Minute, start, clock));
        if late.is_some_and(|clock| clock.0 - event.event_time.0 > REVISION_HORIZON_MS) {
            context.count("too_late");
            return Ok(false);
        }
        if near.spilled {
            near = near.and(self.own_near(pair.key(), event, (start, end))?);
        }
        let part = single(event, context.offset().0);
        let place = Place { start, late: late.is_some(), newest };
        let Added { seeing, created, closed, fits } = self.add(pair, event, place, &part)?;
        if !fits {
            context.count("volume_overflow");
        }
        match seeing {
            Seeing::Duplicate => {
                context.count("duplicate");
                return Ok(true);
            }
            Seeing::Overflow => context.count("seen_overflow"),
            Seeing::New => {}
        }
        if let Some(clock) = late {
            context.late(clock.0 - event.event_time.0);
        }
        if closed {
            let clock = clock.unwrap_or(event.event_time);
            self.add_to_parents(context, pair.key(), event.basis, &part, start, clock)?;
        }
        if created {
            self.index.is_alive(pair);
        }
        if near.window || near.id || (near.marked && created && late.is_some()) {
            let id = event.trade_id.filter(|_| near.id && seeing == Seeing::New);
            let change = if created { Change::Created } else { Change::Ordinary };
            self.mark_event(context, pair.key(), event, id, change)?;
        }
        if let (Some(newest), Some(from)) = (newest, clock) {
            let to = from.max(event.event_time);
            return self.advance(context, pair.key(), Tick { newest, from, to }).map(|_| true);
        }
        // A new pair: a feed's clock must find it, also before it is committed.
        self.index.add(pair.exchange(), pair.key());
        Ok(true)
    }

    /// Counts an event into its minute.
    fn add(
        &mut self,
        pair: &Pair,
        event: &MarketEvent,
        place: Place,
        part: &Candle,
    ) -> Result<Added, Failure> {
        let Place { start, late, newest } = place;
        self.key.clear();
        store_keys::candle_key(Interval::Minute, pair.key(), event.basis, start, &mut self.key);
        let (hint, minutes) = (pair.in_minutes(event.basis), &self.stores.minutes);
        // No window of a pair begins after that of its newest event: one that does is new. A pair
        // without one may have been forgotten, and its windows be there.
        let mut window = if newest.is_some_and(|newest| Interval::Minute.start(newest) < start) {
            minutes.new_entry_near(hint, &self.key)?
        } else {
            minutes.entry_near(hint, &self.key)?
        };
        let identity = event.identity();
        let seen = window.as_ref().zip(identity);
        let seeing = seen.map_or(Seeing::New, |(known, id)| known.seen.look(id));
        if seeing == Seeing::Duplicate {
            return Ok(Added { seeing, created: false, closed: late, fits: true });
        }
        let Some(known) = window.as_mut() else {
            let mut new = Window::new(part.clone());
            if late {
                new.candle.status = Status::Closed;
            }
            if let Some(id) = identity {
                new.seen.insert(id);
            }
            *window = Some(new);
            return Ok(Added { seeing, created: true, closed: late, fits: !is_too_large(part) });
        };
        // Closed by its clock, or by the clock that the pair had before it was set back.
        let closed = late || known.candle.status != Status::Open;
        let fits = merge(&mut known.candle, part) && !is_too_large(part);
        if let Some(id) = identity {
            known.seen.insert(id);
        }
        if closed {
            known.revise();
        }
        Ok(Added { seeing, created: false, closed, fits })
    }

    /// Merges a late event, or a minute that closes at `clock`, into its hour and its day.
    fn add_to_parents(
        &mut self,
        context: &mut Context<'_, Entry>,
        pair: &[u8],
        basis: Basis,
        part: &Candle,
        start: Timestamp,
        clock: Timestamp,
    ) -> Result<(), Failure> {
        for interval in [Interval::Hour, Interval::Day] {
            let parent = interval.start(start);
            let closed = is_closed(interval, parent, clock);
            let mut window = self.window(pair, basis, (interval, parent))?;
            let (created, fits) = (window.is_none(), add_to_parent(&mut window, part, closed));
            drop(window);
            if !fits {
                context.count("volume_overflow");
            }
            if created {
                self.stamp(pair, basis, (interval, parent), Change::Created)?;
            }
        }
        Ok(())
    }

    // Time.

    /// Closes what the pair's clock has passed: minutes first, whose parents then hold all of them.
    /// Returns how many windows that looked at.
    pub(super) fn advance(
        &mut self,
        context: &mut Context<'_, Entry>,
        pair: &[u8],
        tick: Tick,
    ) -> Result<usize, Failure> {
        // Hours and days end where a minute does, with the same grace.
        let mut looked_at = 0;
        if !closes_minute(tick.from, tick.to) {
            return Ok(looked_at);
        }
        for interval in Interval::ALL {
            // Grace is shorter than any window: only the window of the newest event and the one
            // before it can still be open.
            let last = interval.start(tick.newest);
            for start in [Timestamp(last.0 - interval.length_ms()), last] {
                let closes =
                    !is_closed(interval, start, tick.from) && is_closed(interval, start, tick.to);
                if !closes {
                    continue;
                }
                for basis in [Basis::Trade, Basis::Ticker] {
                    looked_at += 1;
                    let candle = self.close(pair, basis, (interval, start))?;
                    if let (Some(candle), Interval::Minute) = (candle, interval) {
                        // The parent is as open as it was before this tick: its own turn comes.
                        self.add_to_parents(context, pair, basis, &candle, start, tick.from)?;
                    }
                }
            }
        }
        Ok(looked_at)
    }

    /// Closes a window, if there is one; returns its candle.
    fn close(
        &mut self,
        pair: &[u8],
        basis: Basis,
        window: (Interval, Timestamp),
    ) -> Result<Option<Candle>, Failure> {
        let mut known = self.window(pair, basis, window)?;
        if known.as_ref().is_none_or(|known| known.candle.status != Status::Open) {
            return Ok(None);
        }
        let closed = known.as_mut().map(|known| {
            known.candle.status = Status::Closed;
            // A gap's count may have gone down since this minute heard of it: the parent knows.
            Candle { missing_trades: None, ..known.candle.clone() }
        });
        drop(known);
        self.stamp(pair, basis, window, Change::Ordinary)?;
        Ok(closed)
    }

    // Pairs.

    /// The time of the newest event of a pair.
    pub(super) fn newest(&self, pair: &[u8]) -> Result<Option<Timestamp>, Failure> {
        Ok(self.stores.latest.get(pair)?.map(|latest| latest.event_time))
    }
}

impl Processor for Candles {
    type In = Entry;
    type Out = Entry;

    fn schedule(&self) -> Option<Schedule> {
        Some(SWEEP)
    }

    fn punctuate(
        &mut self,
        context: &mut Context<'_, Entry>,
        time: streams::record::Timestamp,
    ) -> Result<(), Failure> {
        self.sweep(context, Timestamp(time.0))
    }

    fn process(&mut self, context: &mut Context<'_, Entry>, entry: &Entry) -> Result<(), Failure> {
        match entry {
            Entry::Mark { feed, mark } => self.mark(context, feed, mark),
            Entry::Event { pair, event } => {
                if self.event(context, pair, event)? {
                    return Ok(());
                }
                context.forward(entry)
            }
        }
    }

    fn resume(&mut self, context: &mut Context<'_, Entry>) -> Result<(), Failure> {
        self.go_on(context)
    }
}

/// Merges into a parent. False when a sum did not fit.
pub(super) fn add_to_parent(window: &mut Option<Window>, part: &Candle, closed: bool) -> bool {
    let Some(known) = window else {
        let status = if closed { Status::Closed } else { Status::Open };
        *window = Some(Window::new(Candle { status, revision: 0, ..part.clone() }));
        return true;
    };
    if closed || known.candle.status != Status::Open {
        known.revise();
    }
    merge(&mut known.candle, part)
}

/// Whether some minute closes between two readings of a clock.
pub(super) fn closes_minute(from: Timestamp, to: Timestamp) -> bool {
    let minute = Interval::Minute;
    let last_closed =
        |clock: Timestamp| minute.start(Timestamp(clock.0 - minute.length_ms() - GRACE_MS));
    last_closed(from) < last_closed(to)
}

/// The last part of a pair's store key: its exchange, length and all.
pub(super) fn exchange_of(pair: &[u8]) -> &[u8] {
    let mut rest = pair;
    for _ in 0..2 {
        let mut reader = schemas::avro::Reader::new(rest);
        let _ = reader.bytes();
        rest = reader.rest();
    }
    rest
}
