//! The check of published quotes against the best bids and asks that a simulated venue showed, and the
//! faults under which it holds.
//!
//! Two tests share this file: `producer/tests/book_feeds.rs`, with a channel in the place of Kafka, and
//! `tests/book_faults.rs`, with programs as users start them and a real Kafka.
//!
//! ```text
//! shown       a   b   c   d   e   f   g      each change of the best bid or ask
//! published   a   b ┆ lost ┆ gap [b, f) ┆ f   g
//! ```
//!
//! The venue's times are milliseconds in quotes and marks; snapshots of some venues have none, and count
//! as of their receipt.

use anyhow::{Context, Result, ensure};
use schemas::{Decimal, FeedMark, Part, Quote};
use venues::Venue;

/// The best bid and ask of a product from a time on, each price and size.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Shown {
    /// The venue's time, in microseconds since the epoch.
    pub time_us: i64,
    /// The id of the state.
    pub id: u64,
    /// Price and size.
    pub bid: (Decimal, Decimal),
    /// Price and size.
    pub ask: (Decimal, Decimal),
}

impl Shown {
    fn millis(&self) -> i64 {
        self.time_us.div_euclid(1000)
    }

    /// The quote is of this state.
    fn is(&self, venue: Venue, quote: &Quote) -> bool {
        let prices = (quote.bid, quote.ask) == (Some(self.bid.0), Some(self.ask.0));
        let sizes = (quote.bid_size, quote.ask_size) == (Some(self.bid.1), Some(self.ask.1));
        let has_ids = [Venue::Binance, Venue::Deribit].contains(&venue);
        let is_reached = |id: i64| id >= self.id.cast_signed();
        // Deribit's sizes are dollars, and coins when read.
        prices
            && (sizes || venue == Venue::Deribit)
            && (!has_ids || quote.sequence.is_none_or(is_reached))
    }
}

/// A record of one pair's book in `quotes`, in the order of publication.
#[derive(Clone, Debug)]
pub enum Entry {
    /// The best bid or ask changed.
    Quote(Quote),
    /// The book left the sync, or its gap is known.
    Mark(FeedMark),
}

/// The entries of a pair as far as they are read.
struct Reading<'a> {
    venue: Venue,
    shown: &'a [Shown],
    /// The states that the last quote may be of: a venue may show the same best twice.
    places: Vec<usize>,
    /// The greatest time of a quote.
    newest: i64,
    lost: Option<&'a FeedMark>,
    gaps: Vec<&'a FeedMark>,
    /// The first of the gaps since the last quote.
    since: Option<usize>,
}

/// The gaps of a pair, after everything between them was compared with the truth:
///
/// - Each quote is a state that the venue showed.
/// - A state that is not published lies in a gap, but for `skipped` in a row.
/// - No quote lies in a gap, and none is published between a loss and its gap; the one after it ends it.
/// - Each loss has one gap, with its reason and from its last moment in sync on.
pub fn gaps(
    venue: Venue,
    entries: &[Entry],
    shown: &[Shown],
    skipped: usize,
) -> Result<Vec<FeedMark>> {
    let mut reading = Reading {
        venue,
        shown,
        places: Vec::new(),
        newest: i64::MIN,
        lost: None,
        gaps: Vec::new(),
        since: Some(0),
    };
    for entry in entries {
        match entry {
            Entry::Mark(mark) => reading.mark(mark)?,
            Entry::Quote(quote) => reading.quote(quote, skipped)?,
        }
    }
    ensure!(!reading.places.is_empty(), "there is no quote");
    Ok(reading.gaps.into_iter().cloned().collect())
}

impl<'a> Reading<'a> {
    fn mark(&mut self, mark: &'a FeedMark) -> Result<()> {
        let is_of_book = mark.part == Some(Part::Book) && mark.healthy_from.is_none();
        ensure!(is_of_book, "it is not of a book that lost the sync: {mark:?}");
        let Some((from, until)) = mark.gap_from.zip(mark.gap_until) else {
            ensure!(self.lost.is_none(), "it is lost twice: {mark:?}");
            ensure!(
                self.newest <= mark.healthy_until.0,
                "a quote is later than the loss: {mark:?}"
            );
            self.lost = Some(mark);
            return Ok(());
        };
        let lost = self.lost.take().with_context(|| format!("a gap without a loss: {mark:?}"))?;
        ensure!(lost.reason == mark.reason && from < until, "{mark:?} after {lost:?}");
        ensure!(from == lost.healthy_until, "{mark:?} does not begin at {lost:?}");
        self.since.get_or_insert(self.gaps.len());
        self.gaps.push(mark);
        Ok(())
    }

    fn quote(&mut self, quote: &Quote, skipped: usize) -> Result<()> {
        ensure!(self.lost.is_none(), "a quote while it is out of sync: {quote:?}");
        let at = quote.event_time;
        let inside = |mark: &&&FeedMark| {
            mark.gap_from.is_some_and(|from| from <= at)
                && mark.gap_until.is_some_and(|until| at < until)
        };
        let gap = self.gaps.iter().find(inside);
        ensure!(gap.is_none(), "{quote:?} is inside of {gap:?}");
        let places = match self.since.take() {
            Some(first) => {
                let ended = self.gaps.get(first..).and_then(<[_]>::last);
                let until = ended.and_then(|gap| gap.gap_until);
                ensure!(until.is_none_or(|until| until == at), "{quote:?} does not end {ended:?}");
                self.behind(quote, self.gaps.get(first).copied())
            }
            None => self.following(quote, skipped),
        };
        let around = self.places.first().map_or(0, |place| *place);
        ensure!(
            !places.is_empty(),
            "{quote:?} is not the next that was shown or marked, after {:?} and {:?}",
            self.shown.get(around..(around + 3).min(self.shown.len())),
            self.gaps.last()
        );
        self.places = places;
        self.newest = self.newest.max(at.0);
        Ok(())
    }

    /// The states that a quote may be of which follows another one.
    fn following(&self, quote: &Quote, skipped: usize) -> Vec<usize> {
        let mut places: Vec<usize> =
            self.places.iter().flat_map(|place| place + 1..=place + 1 + skipped).collect();
        places.sort_unstable();
        places.dedup();
        let is =
            |place: &usize| self.shown.get(*place).is_some_and(|one| one.is(self.venue, quote));
        places.into_iter().filter(is).collect()
    }

    /// The states that the first quote after a gap may be of. Those between it and the last quote were
    /// not published, so none of them lies between that quote and the gap.
    fn behind(&self, quote: &Quote, gap: Option<&FeedMark>) -> Vec<usize> {
        let first = self.places.first().copied();
        let from = gap.and_then(|gap| gap.gap_from).map_or(i64::MIN, |from| from.0);
        let is_unmarked = |one: &Shown| self.newest < one.millis() && one.millis() < from;
        let is = |place: &usize| {
            let shown = &self.shown[*place];
            let between = first.and_then(|first| self.shown.get(first + 1..*place));
            shown.is(self.venue, quote)
                && shown.millis() <= quote.event_time.0
                && !between.unwrap_or_default().iter().any(is_unmarked)
        };
        (first.unwrap_or(0)..self.shown.len()).filter(is).collect()
    }
}

/// A fault of the books of one venue.
#[derive(Clone, Copy, Debug)]
pub struct Case {
    /// For people.
    pub name: &'static str,
    /// The flags of `producer simulate`.
    pub flags: &'static [&'static str],
    /// The reason of each gap of the faulty book; `None` where it has none.
    pub reason: Option<&'static str>,
    /// Gaps of the faulty book that a test waits for.
    pub gaps: u32,
    /// Both books have the fault.
    pub is_of_all: bool,
}

const fn case(name: &'static str, flags: &'static [&'static str]) -> Case {
    Case { name, flags, reason: None, gaps: 0, is_of_all: false }
}

const fn marked(
    name: &'static str,
    flags: &'static [&'static str],
    reason: &'static str,
    gaps: u32,
) -> Case {
    Case { reason: Some(reason), gaps, ..case(name, flags) }
}

/// The faults of a venue, those of all venues first.
pub fn cases(venue: Venue) -> Vec<Case> {
    let drop = marked("drop", &["--disconnect-every", "80"], "DISCONNECTED", 3);
    let mut cases = vec![
        case("nothing", &[]),
        marked("crossed", &["--cross-book-every", "9"], "CROSSED", 3),
        Case { is_of_all: true, ..drop },
        case("slow snapshot", &["--slow-snapshot", "300ms"]),
    ];
    // Without a proof nothing tells that an update is missing.
    let skipped = match venue {
        Venue::Kraken => Some("CHECKSUM"),
        Venue::Binance | Venue::Deribit => Some("SEQUENCE_GAP"),
        Venue::Coinbase | Venue::Bitstamp => None,
    };
    cases.extend(
        skipped.map(|reason| marked("skipped update", &["--skip-book-every", "9"], reason, 3)),
    );
    if venue == Venue::Kraken {
        let flags = &["--checksum-every", "20", "--checksum-for", "1"];
        cases.push(marked("wrong checksum", flags, "CHECKSUM", 3));
    }
    if venue == Venue::Coinbase {
        cases.push(case("refused channel", &["--refuse-channels", "level2_batch"]));
    }
    if venue.adapter().books.snapshot_request.is_some() {
        let flags = &["--snapshot-answers", "429,418,500,503,html,half", "--retry-after", "1s"];
        cases.push(case(BAD_ANSWERS, flags));
        let flags = &["--snapshot-answers", "stale,stale"];
        cases.push(marked("stale snapshot", flags, "STALE_SNAPSHOT", 1));
    }
    cases
}

/// The case in which requests for snapshots have answers without one, and how a producer counts them.
pub const BAD_ANSWERS: &str = "bad answers";
/// The reasons.
pub const NO_SNAPSHOT: [&str; 3] = ["limited", "unavailable", "malformed"];

impl Case {
    /// The gaps of a book are those of the case.
    pub fn fits(&self, is_faulty: bool, gaps: &[FeedMark]) -> bool {
        match self.reason.filter(|_| is_faulty || self.is_of_all) {
            Some(reason) => !gaps.is_empty() && gaps.iter().all(|gap| gap.reason == reason),
            None => gaps.is_empty(),
        }
    }
}

#[cfg(test)]
mod tests {
    use schemas::{Proof, Timestamp};

    use super::*;

    fn decimal(number: u64) -> Decimal {
        number.to_string().parse().unwrap_or(Decimal::ZERO)
    }

    /// Five states a millisecond apart, from 1 ms on; each has its number as bid.
    fn shown() -> Vec<Shown> {
        let one = |number: u64| {
            let level = |units: u64| (decimal(units), Decimal::ONE);
            let time_us = i64::try_from(number).unwrap_or_default() * 1000;
            Shown { time_us, id: 0, bid: level(number), ask: level(number + 1) }
        };
        (1..=5).map(one).collect()
    }

    fn quote(number: u64, at: i64) -> Entry {
        let side = |units: u64| Some(decimal(units));
        Entry::Quote(Quote {
            bid: side(number),
            bid_size: Some(Decimal::ONE),
            ask: side(number + 1),
            ask_size: Some(Decimal::ONE),
            ..Quote::empty(Proof::None, Timestamp(at))
        })
    }

    fn lost(at: i64) -> FeedMark {
        let mark = FeedMark::healthy("0", Timestamp(at), Timestamp(at));
        FeedMark { part: Some(Part::Book), reason: "CROSSED".into(), ..mark }
    }

    fn gap(from: i64, until: i64) -> Entry {
        let (from, until) = (Timestamp(from), Timestamp(until));
        Entry::Mark(FeedMark { gap_from: Some(from), gap_until: Some(until), ..lost(from.0) })
    }

    /// The number of gaps, or the beginning of the error.
    fn said(entries: &[Entry]) -> String {
        match gaps(Venue::Kraken, entries, &shown(), 0) {
            Ok(gaps) => gaps.len().to_string(),
            Err(error) => error.to_string(),
        }
    }

    #[test]
    fn a_state_is_published_or_in_a_gap_and_never_both() {
        let q = |number: u64| quote(number, i64::try_from(number).unwrap_or_default());
        let l = |at| Entry::Mark(lost(at));
        for (entries, expected) in [
            (vec![q(1), q(2), q(3)], "0"),
            (vec![q(2), l(2), gap(2, 4), q(4), q(5)], "1"),
            (vec![l(0), gap(0, 3), q(3), l(3), gap(3, 5), q(5)], "2"),
            (vec![q(1), q(3)], "is not the next that was shown or marked"),
            (vec![q(1), l(3), gap(3, 5), q(5)], "is not the next that was shown or marked"),
            (vec![q(1), l(1), gap(1, 3), q(4)], "does not end"),
            (vec![q(1), l(1), gap(1, 9), q(3)], "is inside of"),
            (vec![q(2), l(1)], "a quote is later than the loss"),
            (vec![q(1), l(1), q(2)], "a quote while it is out of sync"),
            (vec![q(1), gap(1, 2)], "a gap without a loss"),
            (vec![q(1), l(1), l(1)], "it is lost twice"),
            (vec![q(1), quote(9, 2)], "is not the next that was shown or marked"),
            (vec![], "there is no quote"),
        ] {
            let said = said(&entries);
            assert!(said.contains(expected), "{said}\nis not {expected} of {entries:?}");
        }
    }
}
