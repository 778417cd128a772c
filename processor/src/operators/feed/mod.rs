//! The state of an exchange's feed: its clock, its healthy stretches, and its gaps.
//!
//! ```text
//! clock mark   healthy_from ──────── healthy_until        a stretch; joined to the one it touches
//! gap mark            gap_from ─── gap_until              of the feed, or of one pair
//!                     first_missing_id, missing           counts down as the ids arrive
//!
//! state bytes  version | forgotten_until | stretches (from, length)* | gaps*     as Avro longs
//!   version 2: | connections (name, stretches)* | carriers (content, since, connection)*
//!   version 3: | spilled_until | overflow_until | work?
//! ```
//!
//! A pair may have its own state beside that of its exchange. It holds the connections that carry
//! the pair (`carriers.rs`), and the pair's gaps for which the exchange's state has no room. An
//! event older than `spilled_until` reads it; newer events do not.
//!
//! A mark over many windows is processed in steps; `work` is its rest (`work.rs`).
//!
//! The marks of a candle are a function of this value and of the window, for minutes, hours and
//! days alike: [`FeedState::marks`]. A gap of the feed is one gap to every window over it. Its missing
//! trades are an upper bound for each of these windows.
//!
//! Invariants:
//! - A gap with ids is here only while some of them are missing.
//! - A window that begins before `forgotten_until` may overlap a gap that is no longer here.
//! - No gap in the own state of a pair ends after its exchange's `spilled_until`.

mod carriers;
mod gap;
mod merged;
mod states;
mod steps;
mod stretches;
mod work;

pub use carriers::{Carrier, Content};
pub use gap::Gap;
pub(super) use states::FeedStates;
pub use steps::STEP_WINDOWS;
pub(super) use steps::{MarkSteps, MarkedPairs};
pub(super) use stretches::{Span, union};
pub(super) use work::{Stage, Work};

use schemas::avro::{self, Reader};
use schemas::{FeedMark, MarketEvent, PairChange, Timestamp};

use stretches::{Stretches, count, write_count};

use crate::interval::Interval;
use crate::operators::rules::REVISION_HORIZON_MS;

/// Gaps kept in one state. An event is compared with each gap of its exchange, and the state is
/// written with each clock mark: 256 gaps are some 15 KB. Beyond it the pair's gap that ends first
/// moves into the pair's own state.
///
/// A pair's state has the same limit, and an exchange-wide gap cannot move. Beyond it the gap that
/// ends first is forgotten, which is counted as `gap_overflow`. Windows keep its mark. A window
/// that an event creates later is marked `gap`, because it may overlap the forgotten one.
pub(super) const MAX_GAPS: usize = 256;
/// An event up to this long after the end of all gaps in pairs' own states may have an id that such
/// a gap lost. A venue's times are in the order of its ids to within that.
const SPILLED_SLACK_MS: i64 = Interval::Minute.length_ms();
/// Connections kept per exchange: twice the largest plan. Beyond it the one that was silent for
/// longest is forgotten.
const MAX_CONNECTIONS: usize = 64;
/// The versions of the state bytes: of a single connection; of several; with gaps in pairs' own
/// states or unfinished work.
const VERSIONS: [i64; 3] = [1, 2, 3];

/// The marks of a window.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[expect(clippy::struct_excessive_bools, reason = "each is said, or kept back, on its own")]
pub struct WindowMarks {
    /// A gap overlaps the window.
    pub gap: bool,
    /// Trades known to be missing in gaps over the window.
    pub missing: Option<i64>,
    /// Milliseconds of the window in which the feed was healthy.
    pub coverage_ms: Option<i64>,
    /// The feed was not healthy when the window began, and was later in it.
    pub partial_start: bool,
    /// The window may overlap a gap that is forgotten, because of its age or the limit of gaps.
    pub forgotten: bool,
    /// The same, because of the limit.
    pub overflowed: bool,
}

/// The gaps near an event.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[expect(clippy::struct_excessive_bools, reason = "answers to questions that are asked at once")]
pub struct GapLookup {
    /// The feed has a state, so its windows have marks.
    pub marked: bool,
    /// A gap of the pair overlaps the event's minute.
    pub window: bool,
    /// A gap of the pair lost the event's id.
    pub id: bool,
    /// The pair's own state may have another gap.
    pub spilled: bool,
}

impl GapLookup {
    /// Adds the result for the pair's own state.
    pub fn and(self, own: Self) -> Self {
        Self { window: self.window | own.window, id: self.id | own.id, ..self }
    }
}

/// The part of a pair's own state that adds to its exchange's.
#[derive(Clone, Debug, Default)]
pub(super) struct PairFeed {
    pub(super) carriers: Vec<Carrier>,
    pub(super) gaps: Vec<Gap>,
    pub(super) forgotten_until: Timestamp,
    pub(super) overflow_until: Timestamp,
}

/// The state of one exchange's feed in one partition, or the own state of a pair.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FeedState {
    /// The mark that moved the clock last; before the first one, `healthy_until` is 0. Its own
    /// `state` is empty, because the fields below replace it.
    mark: FeedMark,
    /// Of the whole exchange.
    stretches: Stretches,
    /// Of each of several connections, by name.
    connections: Vec<(String, Stretches)>,
    /// Only in a pair's own state.
    carriers: Vec<Carrier>,
    gaps: Vec<Gap>,
    forgotten_until: Timestamp,
    /// The end of gaps that were forgotten because of the limit.
    overflow_until: Timestamp,
    spilled_until: Timestamp,
    /// The rest of the last mark.
    work: Option<Box<Work>>,
}

impl FeedState {
    /// A state without stretches and gaps, for the feed of a first mark.
    pub fn new(first: &FeedMark) -> Self {
        let mark = FeedMark::healthy(first.feed.clone(), Timestamp(0), first.received_at);
        Self {
            mark,
            stretches: Stretches::default(),
            connections: Vec::new(),
            carriers: Vec::new(),
            gaps: Vec::new(),
            forgotten_until: Timestamp(0),
            overflow_until: Timestamp(0),
            spilled_until: Timestamp(0),
            work: None,
        }
    }

    /// The time until which the feed is healthy, if it has marked one.
    pub fn clock(&self) -> Option<Timestamp> {
        Some(self.mark.healthy_until).filter(|until| until.0 > 0)
    }

    /// The gap that ends last, of those that are not complete.
    pub fn last_gap(&self) -> Option<&Gap> {
        self.gaps.iter().max_by_key(|gap| gap.until)
    }

    /// Takes a clock mark: a newer one, or one of several connections, which may be behind the
    /// clock.
    pub fn tick(&mut self, mark: &FeedMark) {
        if let Some(from) = mark.healthy_from {
            let span = (from, mark.healthy_until);
            match mark.part {
                Some(_) => self.connection(&mark.feed).add(span),
                None => self.stretches.add(span),
            }
        }
        if self.clock().is_some_and(|clock| clock >= mark.healthy_until) {
            return;
        }
        self.mark = FeedMark { state: Vec::new(), ..mark.clone() };
        self.forget_old(mark.healthy_until);
    }

    /// Forgets gaps behind the horizon, in which no event can arrive any more.
    pub(super) fn forget_old(&mut self, clock: Timestamp) {
        let horizon = Timestamp(clock.0.saturating_sub(REVISION_HORIZON_MS));
        for old in self.gaps.extract_if(.., |gap| gap.until < horizon) {
            self.forgotten_until = self.forgotten_until.max(old.until);
        }
    }

    /// The stretches of a connection.
    fn connection(&mut self, name: &str) -> &mut Stretches {
        let at =
            self.connections.iter().position(|(known, _)| known == name).unwrap_or_else(|| {
                if self.connections.len() >= MAX_CONNECTIONS {
                    let silent = (0..self.connections.len())
                        .min_by_key(|&index| self.connections[index].1.end());
                    self.connections.remove(silent.unwrap_or_default());
                }
                self.connections.push((name.to_owned(), Stretches::default()));
                self.connections.len() - 1
            });
        &mut self.connections[at].1
    }

    /// Whether several connections have marked clocks of their own.
    pub(super) fn has_connections(&self) -> bool {
        !self.connections.is_empty()
    }

    /// Records that the pair of this state has ended at `time`; `told` is the stream time of the
    /// mark.
    pub(super) fn end(&mut self, time: Timestamp, told: Timestamp) {
        // A pair's own state has no clock, so the mark's times are free.
        let mark = &mut self.mark;
        (mark.healthy_until, mark.received_at) = (time, told);
        mark.change = Some(PairChange::Ended);
    }

    /// The end of the pair of this state, and the stream time of its mark.
    pub(super) fn ended(&self) -> Option<(Timestamp, Timestamp)> {
        let times = (self.mark.healthy_until, self.mark.received_at);
        self.mark.change.map(|_| times)
    }

    /// Records that the pair of this state has not ended.
    pub(super) fn begin_again(&mut self) {
        self.mark.change = None;
        self.mark.healthy_until = Timestamp(0);
    }

    /// Removes the clock, stretches and gaps after `at`.
    pub(super) fn set_back(&mut self, at: Timestamp) {
        self.carriers.retain(|carrier| carrier.since <= at);
        if self.clock().is_none_or(|clock| clock <= at) {
            return;
        }
        self.mark.healthy_until = at;
        self.stretches.cut(at);
        self.connections.iter_mut().for_each(|(_, part)| part.cut(at));
        self.gaps.retain(|gap| gap.from < at);
        self.gaps.iter_mut().for_each(|gap| gap.until = gap.until.min(at));
        self.forgotten_until = self.forgotten_until.min(at);
        self.overflow_until = self.overflow_until.min(at);
    }

    /// Records the connection that carries the pair of this state.
    pub(super) fn carry(&mut self, carrier: Carrier) {
        carriers::add(&mut self.carriers, carrier);
    }

    /// The part of this state, a pair's own, that adds to its exchange's.
    pub(super) fn pair_feed(&self) -> PairFeed {
        PairFeed {
            carriers: self.carriers.clone(),
            gaps: self.gaps.clone(),
            forgotten_until: self.forgotten_until,
            overflow_until: self.overflow_until,
        }
    }

    /// Whether a pair's own state may have a gap at that time, or an id of an event then.
    pub(super) const fn has_spilled(&self, time: Timestamp) -> bool {
        time.0 < self.spilled_until.0.saturating_add(SPILLED_SLACK_MS)
    }

    /// The rest of the last mark.
    pub(super) fn work(&self) -> Option<&Work> {
        self.work.as_deref()
    }

    /// Saves the rest of the last mark, or that it is finished.
    pub(super) fn set_work(&mut self, work: Option<Work>) {
        self.work = work.map(Box::new);
    }

    /// The healthy spans of the connection that carried the content; of any connection where that is
    /// not known.
    fn healthy(&self, carriers: &[Carrier], content: Content) -> Vec<Span> {
        let mut spans = self.stretches.spans().to_vec();
        let terms = carriers::terms(carriers, content);
        for (name, part) in &self.connections {
            if terms.is_empty() {
                spans.extend(part.spans());
            }
            for (_, (from, until)) in terms.iter().filter(|(carrier, _)| carrier == name) {
                let within = part.spans().iter().map(|&(a, b)| (a.max(*from), b.min(*until)));
                spans.extend(within.filter(|(a, b)| a < b));
            }
        }
        union(spans)
    }

    /// Adds a gap. False when it is known, or complete.
    pub fn add(&mut self, gap: Gap) -> bool {
        if gap.is_complete() || self.knows(&gap) {
            return false;
        }
        self.gaps.push(gap);
        true
    }

    /// Whether the gap is here.
    pub(super) fn knows(&self, gap: &Gap) -> bool {
        self.gaps.iter().any(|known| known.is_same(gap))
    }

    /// Removes the pair's gap that ends first when there are too many, to move it into the pair's
    /// own state.
    pub(super) fn spill(&mut self) -> Option<Gap> {
        let of_pairs = |index: &usize| !self.gaps[*index].pair.is_empty();
        let too_many = (self.gaps.len() > MAX_GAPS).then_some(0..self.gaps.len())?;
        let oldest = too_many.filter(of_pairs).min_by_key(|&index| self.gaps[index].until)?;
        let gap = self.gaps.remove(oldest);
        self.spilled_until = self.spilled_until.max(gap.until);
        Some(gap)
    }

    /// Forgets the gap that ends first when there are too many. Returns whether it did.
    pub fn overflow(&mut self) -> bool {
        if self.gaps.len() <= MAX_GAPS {
            return false;
        }
        let oldest = (0..self.gaps.len()).min_by_key(|&index| self.gaps[index].until);
        if let Some(oldest) = oldest {
            let gap = self.gaps.remove(oldest);
            self.forgotten_until = self.forgotten_until.max(gap.until);
            self.overflow_until = self.overflow_until.max(gap.until);
        }
        true
    }

    /// Whether a gap lost that id of a pair.
    pub fn has_lost(&self, pair: &[u8], id: i64) -> bool {
        self.gaps.iter().any(|gap| *gap.pair == *pair && gap.lost(id))
    }

    /// Counts an id of a pair that has arrived. Returns the gaps that are now complete.
    pub fn arrived(&mut self, pair: &[u8], id: i64) -> Vec<Gap> {
        for gap in self.gaps.iter_mut().filter(|gap| *gap.pair == *pair && gap.lost(id)) {
            gap.missing -= 1;
        }
        self.gaps.extract_if(.., |gap| gap.is_complete()).collect()
    }

    /// The gaps near an event of that minute. O(1) without gaps.
    #[inline]
    pub fn look_up(
        &self,
        pair: &[u8],
        event: &MarketEvent,
        start: Timestamp,
        end: Timestamp,
    ) -> GapLookup {
        let mut near = GapLookup {
            marked: true,
            window: start < self.overflow_until,
            spilled: self.has_spilled(event.event_time),
            ..GapLookup::default()
        };
        for gap in &self.gaps {
            let lost = event.trade_id.is_some_and(|id| gap.lost(id));
            let over = gap.overlaps(start, end);
            if (lost || over) && gap.concerns(pair, event.basis.into()) {
                near.id |= lost;
                near.window |= over;
            }
        }
        near
    }

    /// The marks of a window; `own` is of the pair.
    pub(super) fn marks(
        &self,
        pair: &[u8],
        content: impl Into<Content>,
        own: &PairFeed,
        (start, end): Span,
    ) -> WindowMarks {
        let content = content.into();
        let gaps = self.gaps.iter().chain(&own.gaps);
        let over: Vec<&Gap> =
            gaps.filter(|gap| gap.overlaps(start, end) && gap.concerns(pair, content)).collect();
        let counted = over.iter().filter(|gap| gap.ids.is_some());
        let missing = counted.map(|gap| gap.missing).reduce(i64::saturating_add);
        let told = |stretches: &Stretches| !stretches.spans().is_empty();
        let told = told(&self.stretches) || self.connections.iter().any(|(_, part)| told(part));
        let healthy = self.healthy(&own.carriers, content);
        let coverage = told.then(|| covered(&healthy, &over, (start, end)));
        let begins_healthy = healthy.iter().any(|&(a, b)| a <= start && start < b);
        WindowMarks {
            gap: !over.is_empty(),
            missing,
            coverage_ms: coverage,
            partial_start: !begins_healthy && coverage.is_some_and(|covered| covered > 0),
            forgotten: start < self.forgotten_until.max(own.forgotten_until),
            overflowed: start < self.overflow_until.max(own.overflow_until),
        }
    }

    /// The mark of the private changelog, with this state.
    pub fn to_mark(&self) -> FeedMark {
        let mut state = Vec::new();
        let is_known = !self.stretches.spans().is_empty() || !self.gaps.is_empty();
        if is_known || self.version() > VERSIONS[0] || self.forgotten_until.0 != 0 {
            self.write(&mut state);
        }
        FeedMark { state, ..self.mark.clone() }
    }

    /// The smallest version that can hold the state.
    fn version(&self) -> i64 {
        let times = self.spilled_until.max(self.overflow_until);
        if times.0 != 0 || self.work.is_some() {
            return VERSIONS[2];
        }
        VERSIONS[usize::from(self.is_shared())]
    }

    fn write(&self, out: &mut Vec<u8>) {
        let version = self.version();
        avro::long(out, version);
        avro::long(out, self.forgotten_until.0);
        self.stretches.write(out);
        write_count(out, self.gaps.len());
        self.gaps.iter().for_each(|gap| gap.write(out));
        if version >= VERSIONS[1] {
            write_count(out, self.connections.len());
            for (name, part) in &self.connections {
                avro::string(out, name);
                part.write(out);
            }
            carriers::write(&self.carriers, out);
        }
        if version >= VERSIONS[2] {
            avro::long(out, self.spilled_until.0);
            avro::long(out, self.overflow_until.0);
            avro::optional(out, self.work.as_deref(), |out, work| work.write(out));
        }
    }

    /// Whether the exchange has several connections.
    fn is_shared(&self) -> bool {
        !self.connections.is_empty() || !self.carriers.is_empty()
    }

    /// The state of a mark in the private changelog.
    pub fn of_mark(mut mark: FeedMark) -> Result<Self, String> {
        let state = std::mem::take(&mut mark.state);
        let mut feed = Self::new(&mark);
        feed.mark = mark;
        if !state.is_empty() {
            feed.read(&mut Reader::new(&state)).ok_or("the state of a feed is malformed")?;
        }
        Ok(feed)
    }

    fn read(&mut self, reader: &mut Reader<'_>) -> Option<()> {
        let version = reader.long().ok().filter(|version| VERSIONS.contains(version))?;
        self.forgotten_until = Timestamp(reader.long().ok()?);
        self.stretches = Stretches::read(reader)?;
        for _ in 0..count(reader, MAX_GAPS)? {
            self.gaps.push(Gap::read(reader)?);
        }
        if version >= VERSIONS[1] {
            for _ in 0..count(reader, MAX_CONNECTIONS)? {
                let name = reader.string().ok()?.to_owned();
                self.connections.push((name, Stretches::read(reader)?));
            }
            self.carriers = carriers::read(reader)?;
        }
        if version >= VERSIONS[2] {
            self.spilled_until = Timestamp(reader.long().ok()?);
            self.overflow_until = Timestamp(reader.long().ok()?);
            self.work = reader.optional(Work::read).ok()?.map(Box::new);
        }
        reader.is_empty().then_some(())
    }
}

/// Milliseconds of the window that are in a healthy span and in no gap.
fn covered(healthy: &[Span], gaps: &[&Gap], (start, end): Span) -> i64 {
    let mut gaps: Vec<(i64, i64)> = gaps.iter().map(|gap| (gap.from.0, gap.until.0)).collect();
    gaps.sort_unstable();
    let mut covered = 0;
    for &(from, until) in healthy {
        let (mut from, until) = (from.max(start).0, until.min(end).0);
        for &(a, b) in &gaps {
            covered += (a.min(until) - from).max(0);
            from = from.max(b);
        }
        covered += (until - from).max(0);
    }
    covered
}

#[cfg(test)]
mod carriers_tests;
#[cfg(test)]
mod tests;
