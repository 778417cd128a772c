//! What a feed's marks say of a window, computed by other means than the product's: missing ids are
//! a set, and coverage is looked at piece by piece between all the times that matter.

use std::collections::{BTreeSet, HashMap};

use schemas::{Basis, FeedMark, PairKey, Part};

/// What a candle says of its feed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Marks {
    /// Part of the window was lost.
    pub gap: bool,
    /// Trades missing from gaps over the window.
    pub missing: Option<i64>,
    /// Milliseconds in which the feed was healthy.
    pub coverage: Option<i64>,
    /// The feed was not healthy when the window began, and was later in it.
    pub partial: bool,
}

/// A gap of an exchange, or of one pair.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Gap {
    /// Whom it concerns; everybody without it.
    pub pair: Option<PairKey>,
    /// From here,
    pub from: i64,
    /// to before here.
    pub until: i64,
    /// The first id and how many, as the mark had them.
    ids: Option<(i64, i64)>,
    missing: BTreeSet<i64>,
}

impl Gap {
    /// Whether it concerns candles of that basis.
    pub fn concerns(&self, pair: &PairKey, basis: Basis) -> bool {
        let of_pair = self.pair.as_ref().is_none_or(|own| own == pair);
        of_pair && (self.ids.is_none() || basis == Basis::Trade)
    }

    /// Whether some of it lies in `[start, end)`.
    pub fn over(&self, start: i64, end: i64) -> bool {
        self.from.max(start) < self.until.min(end)
    }
}

/// All that the marks of one exchange have said.
#[derive(Default)]
pub struct Facts {
    /// How far it is healthy.
    pub clock: Option<i64>,
    /// Without a name where the mark spoke for all of the exchange.
    healthy: Vec<(Option<String>, i64, i64)>,
    /// Since when which connection carries a pair.
    carriers: HashMap<(PairKey, Basis), Vec<(i64, String)>>,
    gaps: Vec<Gap>,
}

impl Facts {
    /// Takes a gap, of which `arrived` have come; `None` when it is known or is none.
    pub fn lost(
        &mut self,
        pair: Option<&PairKey>,
        mark: &FeedMark,
        arrived: &BTreeSet<i64>,
    ) -> Option<Gap> {
        let (from, until) = (mark.gap_from?.0, mark.gap_until?.0);
        let ids = mark.first_missing_id.zip(mark.missing).filter(|_| pair.is_some());
        let all = ids.into_iter().flat_map(|(first, count)| first..first + count);
        let missing: BTreeSet<i64> = all.filter(|id| !arrived.contains(id)).collect();
        let known = self.gaps.iter().any(|gap| {
            (gap.pair.as_ref(), gap.from, gap.until, gap.ids) == (pair, from, until, ids)
        });
        if known || from >= until || (ids.is_some() && missing.is_empty()) {
            return None;
        }
        let gap = Gap { pair: pair.cloned(), from, until, ids, missing };
        self.gaps.push(gap.clone());
        Some(gap)
    }

    /// Takes a clock.
    pub fn tick(&mut self, mark: &FeedMark) {
        self.clock = self.clock.max(Some(mark.healthy_until.0));
        let name = mark.part.map(|_| mark.feed.clone());
        self.healthy.extend(mark.healthy_from.map(|from| (name, from.0, mark.healthy_until.0)));
        self.healthy.retain(|(_, from, until)| from < until);
    }

    /// Takes a connection that carries a pair, if the mark is of one.
    pub fn carry(&mut self, pair: &PairKey, mark: &FeedMark) {
        let basis = match mark.part {
            Some(Part::Trades) => Basis::Trade,
            Some(Part::Tickers) => Basis::Ticker,
            _ => return,
        };
        let carriers = self.carriers.entry((pair.clone(), basis)).or_default();
        if carriers.last().is_none_or(|(_, name)| *name != mark.feed) {
            carriers.push((mark.healthy_from.unwrap_or_default().0, mark.feed.clone()));
        }
    }

    /// Whether a connection carries that basis of a pair, or did.
    pub fn is_carried(&self, pair: &PairKey, basis: Basis, name: &str) -> bool {
        let carriers = self.carriers.get(&(pair.clone(), basis));
        carriers.is_some_and(|carriers| carriers.iter().any(|(_, carrier)| carrier == name))
    }

    /// Whether what carries that basis of a pair was healthy at that time.
    fn is_healthy(&self, carriers: &[(i64, String)], at: i64) -> bool {
        let term = |index: usize| {
            let from = if index == 0 { i64::MIN } else { carriers[index].0 };
            from..carriers.get(index + 1).map_or(i64::MAX, |(next, _)| *next)
        };
        let carries = |name: &str| {
            let own = (0..carriers.len()).filter(|index| carriers[*index].1 == name);
            carriers.is_empty() || own.map(term).any(|term| term.contains(&at))
        };
        let mut over = self.healthy.iter().filter(|(_, from, until)| (*from..*until).contains(&at));
        over.any(|(name, ..)| name.as_deref().is_none_or(carries))
    }

    /// A trade came. `None` when no gap had lost it, else the gaps that are whole now.
    pub fn came(&mut self, pair: &PairKey, id: i64) -> Option<Vec<Gap>> {
        let mut found = false;
        for gap in &mut self.gaps {
            found |= gap.pair.as_ref() == Some(pair) && gap.missing.remove(&id);
        }
        let whole = |gap: &mut Gap| gap.ids.is_some() && gap.missing.is_empty();
        found.then(|| self.gaps.extract_if(.., whole).collect())
    }

    /// Whether a gap lies over a window.
    pub fn is_near(&self, pair: &PairKey, basis: Basis, start: i64, end: i64) -> bool {
        self.gaps.iter().any(|gap| gap.concerns(pair, basis) && gap.over(start, end))
    }

    /// What a candle of `[start, end)` says.
    pub fn marks(&self, pair: &PairKey, basis: Basis, start: i64, end: i64) -> Marks {
        let near = |gap: &&Gap| gap.concerns(pair, basis) && gap.over(start, end);
        let over: Vec<&Gap> = self.gaps.iter().filter(near).collect();
        let within =
            |spans: &[(i64, i64)], at: i64| spans.iter().any(|(a, b)| (*a..*b).contains(&at));
        let lost: Vec<(i64, i64)> = over.iter().map(|gap| (gap.from, gap.until)).collect();
        let carriers = self.carriers.get(&(pair.clone(), basis)).map_or(&[][..], Vec::as_slice);
        let told = self.healthy.iter().flat_map(|(_, from, until)| [*from, *until]);
        let changes = carriers.iter().map(|(since, _)| *since);
        let ends = lost.iter().flat_map(|(a, b)| [*a, *b]).chain(told).chain(changes);
        let times: BTreeSet<i64> =
            ends.map(|at| at.clamp(start, end)).chain([start, end]).collect();
        let times: Vec<i64> = times.into_iter().collect();
        let pieces = times.windows(2).map(|piece| (piece[0], piece[1] - piece[0]));
        let healthy =
            pieces.filter(|(at, _)| self.is_healthy(carriers, *at) && !within(&lost, *at));
        let covered: i64 = healthy.map(|(_, long)| long).sum();
        let counted = over.iter().any(|gap| gap.ids.is_some());
        Marks {
            gap: !over.is_empty(),
            missing: counted.then(|| over.iter().flat_map(|gap| &gap.missing).map(|_| 1).sum()),
            coverage: (!self.healthy.is_empty()).then_some(covered),
            partial: !self.is_healthy(carriers, start) && covered > 0,
        }
    }
}
