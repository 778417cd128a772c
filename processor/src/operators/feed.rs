//! What is known of an exchange's feed: its clock, when it was healthy, and what it lost.
//!
//! ```text
//! clock mark   healthy_from ──────── healthy_until        a stretch; joined to the one it touches
//! gap mark            gap_from ─── gap_until              of the feed, or of one pair
//!                     first_missing_id, missing           counts down as the ids arrive
//!
//! state bytes  version | forgotten_until | stretches (from, length)*
//!              | gaps (pair, from, until, first id?, ids, missing)*        as Avro longs and bytes
//!   version 2: | parts (connection, stretches)* | carriers (ticker?, since, connection)*
//! ```
//!
//! An exchange that needs several connections has stretches for each of them, and its pairs have
//! states of their own, which say by which they come: `parts.rs`.
//!
//! What a candle says of its feed is a function of this value and of the window, for minutes, hours
//! and days alike: [`Feed::marks`]. A gap of the feed is one gap to every window over it, so its
//! missing trades are those of the gap, and at most so many belong to the window.
//!
//! Invariants:
//! - A gap with ids is here only while some of them are missing.
//! - A window that begins before `forgotten_until` may overlap a gap that is no longer here.

use schemas::avro::{self, Reader};
use schemas::{Basis, FeedMark, MarketEvent, PairChange, Timestamp};

use super::parts::{self, Carrier};
use super::rules::REVISION_HORIZON_MS;
use super::stretches::{Span, Stretches, count, union, write_count};

/// Gaps remembered of an exchange, in one partition. An event looks at each of them, while there
/// are any; a reconnect loses at most one for each pair. Beyond it the oldest is forgotten, which
/// is counted as `gap_overflow`: its candles stay marked, and windows to come are not.
pub(super) const MAX_GAPS: usize = 256;
/// Connections remembered of an exchange: twice what the largest budget allows. Beyond it the one
/// that has been silent for longest is forgotten.
const MAX_PARTS: usize = 64;
/// The form of the state bytes where an exchange has one connection, and where it has several.
const VERSIONS: [i64; 2] = [1, 2];

/// What a feed lost.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Gap {
    /// The store key of the pair; empty when it concerns all of the exchange.
    pub pair: Box<[u8]>,
    /// From here,
    pub from: Timestamp,
    /// to before here.
    pub until: Timestamp,
    /// The first id that was lost and how many, where ids are dense.
    pub ids: Option<(i64, i64)>,
    /// How many of them have not arrived.
    pub missing: i64,
}

impl Gap {
    /// The gap that a mark tells of, if it tells of one. `pair` is empty for all of the exchange.
    pub fn of(mark: &FeedMark, pair: &[u8]) -> Option<Self> {
        let (from, until) = (mark.gap_from?, mark.gap_until?);
        // Ids are those of one pair; a count without an id cannot be counted down.
        let ids = mark.first_missing_id.zip(mark.missing);
        let ids = ids.filter(|&(first, count)| {
            count > 0 && !pair.is_empty() && first.checked_add(count).is_some()
        });
        let missing = ids.map_or(0, |(_, count)| count);
        (from < until).then(|| Self { pair: pair.into(), from, until, ids, missing })
    }

    /// Whether it concerns candles of that pair, made from trades or from samples: dense ids are
    /// those of trades, and say nothing of samples.
    fn concerns(&self, pair: &[u8], basis: Basis) -> bool {
        let of_basis = basis == Basis::Trade || self.ids.is_none();
        of_basis && (self.pair.is_empty() || *self.pair == *pair)
    }

    fn overlaps(&self, start: Timestamp, end: Timestamp) -> bool {
        self.from < end && start < self.until
    }

    /// Whether it lost that id.
    pub fn lost(&self, id: i64) -> bool {
        self.ids.is_some_and(|(first, count)| first <= id && id - first < count)
    }
}

/// What a candle says of its feed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Marks {
    /// Part of the window was lost.
    pub gap: bool,
    /// Trades known to be missing from gaps over the window.
    pub missing: Option<i64>,
    /// Milliseconds of the window in which the feed was healthy.
    pub coverage_ms: Option<i64>,
    /// The feed was not healthy when the window began, and was later in it.
    pub partial_start: bool,
    /// The window may overlap a gap that is forgotten.
    pub forgotten: bool,
}

/// What an event has to know of its feed's gaps.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Near {
    /// The feed has left marks, so its windows bear them.
    pub marked: bool,
    /// A gap of the pair overlaps the event's minute.
    pub window: bool,
    /// A gap of the pair lost the event's id.
    pub id: bool,
}

/// What is known of one exchange's feed, in one partition.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Feed {
    /// The mark that moved the clock last; before there was one, its `healthy_until` is 0. Its own
    /// `state` is empty: the rest stands for it.
    mark: FeedMark,
    /// Told for all of the exchange.
    stretches: Stretches,
    /// Told by each connection of several, by name.
    parts: Vec<(String, Stretches)>,
    /// Of a pair's own state, which has nothing else.
    carriers: Vec<Carrier>,
    gaps: Vec<Gap>,
    forgotten_until: Timestamp,
}

impl Feed {
    /// Nothing is known, but who made the first mark.
    pub fn new(first: &FeedMark) -> Self {
        let mark = FeedMark::healthy(first.feed.clone(), Timestamp(0), first.received_at);
        Self {
            mark,
            stretches: Stretches::default(),
            parts: Vec::new(),
            carriers: Vec::new(),
            gaps: Vec::new(),
            forgotten_until: Timestamp(0),
        }
    }

    /// How far it is healthy, if it has said so.
    pub fn clock(&self) -> Option<Timestamp> {
        Some(self.mark.healthy_until).filter(|until| until.0 > 0)
    }

    /// The gap that ends last, of those that are not complete.
    pub fn last_gap(&self) -> Option<&Gap> {
        self.gaps.iter().max_by_key(|gap| gap.until)
    }

    /// Takes a clock mark: one that is newer than the clock, or one of a connection of several,
    /// which may be behind the clock that another has told.
    pub fn tick(&mut self, mark: &FeedMark) {
        if let Some(from) = mark.healthy_from {
            let span = (from, mark.healthy_until);
            match mark.part {
                Some(_) => self.part(&mark.feed).add(span),
                None => self.stretches.add(span),
            }
        }
        if self.clock().is_some_and(|clock| clock >= mark.healthy_until) {
            return;
        }
        self.mark = FeedMark { state: Vec::new(), ..mark.clone() };
        // Nothing behind the horizon can arrive any more.
        let horizon = mark.healthy_until.0.saturating_sub(REVISION_HORIZON_MS);
        if self.gaps.iter().any(|gap| gap.until.0 < horizon) {
            let old = self.gaps.iter().filter(|gap| gap.until.0 < horizon).map(|gap| gap.until);
            self.forgotten_until = self.forgotten_until.max(old.max().unwrap_or_default());
            self.gaps.retain(|gap| gap.until.0 >= horizon);
        }
    }

    /// What that connection has told.
    fn part(&mut self, name: &str) -> &mut Stretches {
        let at = self.parts.iter().position(|(known, _)| known == name).unwrap_or_else(|| {
            if self.parts.len() >= MAX_PARTS {
                let silent = (0..self.parts.len()).min_by_key(|&index| self.parts[index].1.end());
                self.parts.remove(silent.unwrap_or_default());
            }
            self.parts.push((name.to_owned(), Stretches::default()));
            self.parts.len() - 1
        });
        &mut self.parts[at].1
    }

    /// Some connection has told a clock of its own.
    pub(super) fn has_parts(&self) -> bool {
        !self.parts.is_empty()
    }

    /// The pair whose state this is has ended at `time`, told at that stream time.
    pub(super) fn end(&mut self, time: Timestamp, told: Timestamp) {
        // A pair's own state has no clock: its mark's times are free.
        let mark = &mut self.mark;
        (mark.healthy_until, mark.received_at) = (time, told);
        mark.change = Some(PairChange::Ended);
    }

    /// The pair whose state this is has ended: when, and the stream time at which that was told.
    pub(super) fn ended(&self) -> Option<(Timestamp, Timestamp)> {
        let times = (self.mark.healthy_until, self.mark.received_at);
        self.mark.change.map(|_| times)
    }

    /// The pair whose state this is has not ended.
    pub(super) fn begin_again(&mut self) {
        self.mark.change = None;
        self.mark.healthy_until = Timestamp(0);
    }

    /// Forgets what was told of the time after `at`; whether the clock was ahead of it.
    pub(super) fn set_back(&mut self, at: Timestamp) -> bool {
        self.carriers.retain(|carrier| carrier.since <= at);
        if self.clock().is_none_or(|clock| clock <= at) {
            return false;
        }
        self.mark.healthy_until = at;
        self.stretches.cut(at);
        self.parts.iter_mut().for_each(|(_, part)| part.cut(at));
        self.gaps.retain(|gap| gap.from < at);
        self.gaps.iter_mut().for_each(|gap| gap.until = gap.until.min(at));
        self.forgotten_until = self.forgotten_until.min(at);
        true
    }

    /// Remembers which connection carries the pair whose state this is.
    pub(super) fn carry(&mut self, carrier: Carrier) {
        parts::add(&mut self.carriers, carrier);
    }

    /// The connections that carry the pair whose state this is.
    pub(super) fn carriers(&self) -> &[Carrier] {
        &self.carriers
    }

    /// When the connection was healthy that carried that basis; when any was, where that is not
    /// known.
    fn healthy(&self, carriers: &[Carrier], basis: Basis) -> Vec<Span> {
        let mut spans = self.stretches.spans().to_vec();
        let terms = parts::terms(carriers, basis);
        for (name, part) in &self.parts {
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

    /// Remembers a gap. False when it is known, or when nothing of it is missing.
    pub fn add(&mut self, gap: Gap) -> bool {
        let complete = gap.ids.is_some() && gap.missing == 0;
        let same = |known: &Gap| {
            (&known.pair, known.from, known.until, known.ids)
                == (&gap.pair, gap.from, gap.until, gap.ids)
        };
        if complete || self.gaps.iter().any(same) {
            return false;
        }
        self.gaps.push(gap);
        true
    }

    /// Forgets the gap that ends first when there are too many; whether it did.
    pub fn overflow(&mut self) -> bool {
        if self.gaps.len() <= MAX_GAPS {
            return false;
        }
        let oldest = (0..self.gaps.len()).min_by_key(|&index| self.gaps[index].until);
        if let Some(oldest) = oldest {
            let gap = self.gaps.remove(oldest);
            self.forgotten_until = self.forgotten_until.max(gap.until);
        }
        true
    }

    /// An id of a pair has arrived; returns the gaps that are now complete.
    pub fn arrived(&mut self, pair: &[u8], id: i64) -> Vec<Gap> {
        for gap in self.gaps.iter_mut().filter(|gap| *gap.pair == *pair && gap.lost(id)) {
            gap.missing -= 1;
        }
        let complete = |gap: &mut Gap| gap.ids.is_some() && gap.missing <= 0;
        self.gaps.extract_if(.., complete).collect()
    }

    /// What an event of that minute has to know. O(1) when there is no gap.
    #[inline]
    pub fn near(&self, pair: &[u8], event: &MarketEvent, start: Timestamp, end: Timestamp) -> Near {
        let mut near = Near { marked: true, ..Near::default() };
        for gap in &self.gaps {
            let lost = event.trade_id.is_some_and(|id| gap.lost(id));
            let over = gap.overlaps(start, end);
            if (lost || over) && gap.concerns(pair, event.basis) {
                near.id |= lost;
                near.window |= over;
            }
        }
        near
    }

    /// What a candle of that window says; `carriers` are those of the pair, if any are known.
    pub fn marks(
        &self,
        pair: &[u8],
        basis: Basis,
        carriers: &[Carrier],
        (start, end): Span,
    ) -> Marks {
        let over: Vec<&Gap> = self
            .gaps
            .iter()
            .filter(|gap| gap.overlaps(start, end) && gap.concerns(pair, basis))
            .collect();
        let counted = over.iter().filter(|gap| gap.ids.is_some());
        let missing = counted.map(|gap| gap.missing).reduce(i64::saturating_add);
        let told = |stretches: &Stretches| !stretches.spans().is_empty();
        let told = told(&self.stretches) || self.parts.iter().any(|(_, part)| told(part));
        let healthy = self.healthy(carriers, basis);
        let coverage = told.then(|| covered(&healthy, &over, (start, end)));
        let begins_healthy = healthy.iter().any(|&(a, b)| a <= start && start < b);
        Marks {
            gap: !over.is_empty(),
            missing,
            coverage_ms: coverage,
            partial_start: !begins_healthy && coverage.is_some_and(|covered| covered > 0),
            forgotten: start < self.forgotten_until,
        }
    }

    /// As it stands in the private changelog.
    pub fn to_mark(&self) -> FeedMark {
        let mut state = Vec::new();
        let plain = self.stretches.spans().is_empty() && self.gaps.is_empty() && !self.is_shared();
        if !plain || self.forgotten_until.0 != 0 {
            self.write(&mut state);
        }
        FeedMark { state, ..self.mark.clone() }
    }

    fn write(&self, out: &mut Vec<u8>) {
        avro::long(out, VERSIONS[usize::from(self.is_shared())]);
        avro::long(out, self.forgotten_until.0);
        self.stretches.write(out);
        write_count(out, self.gaps.len());
        for gap in &self.gaps {
            avro::bytes(out, &gap.pair);
            avro::long(out, gap.from.0);
            avro::long(out, gap.until.0);
            avro::optional(out, gap.ids, |out, (first, count)| {
                avro::long(out, first);
                avro::long(out, count);
                avro::long(out, gap.missing);
            });
        }
        if self.is_shared() {
            write_count(out, self.parts.len());
            for (name, part) in &self.parts {
                avro::string(out, name);
                part.write(out);
            }
            parts::write(&self.carriers, out);
        }
    }

    /// Something of it is known of one connection of several.
    fn is_shared(&self) -> bool {
        !self.parts.is_empty() || !self.carriers.is_empty()
    }

    /// Out of the private changelog.
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
            let pair = reader.bytes().ok()?.into();
            let (from, until) = (reader.long().ok()?, reader.long().ok()?);
            let ids =
                reader.optional(|reader| Ok((reader.long()?, reader.long()?, reader.long()?)));
            let ids = ids.ok()?;
            if let Some((first, count, missing)) = ids {
                first.checked_add(count)?;
                (0 < missing && missing <= count).then_some(())?;
            }
            self.gaps.push(Gap {
                pair,
                from: Timestamp(from),
                until: Timestamp(until),
                ids: ids.map(|(first, count, _)| (first, count)),
                missing: ids.map_or(0, |(_, _, missing)| missing),
            });
        }
        if version == VERSIONS[1] {
            for _ in 0..count(reader, MAX_PARTS)? {
                let name = reader.string().ok()?.to_owned();
                self.parts.push((name, Stretches::read(reader)?));
            }
            self.carriers = parts::read(reader)?;
        }
        reader.is_empty().then_some(())
    }
}

/// Milliseconds of the window that lie in a stretch and in none of the gaps.
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
#[path = "feed_tests.rs"]
mod tests;
