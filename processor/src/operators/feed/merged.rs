//! One state of the states that an exchange's feed has in several partitions, for another number of them.

use schemas::Timestamp;

use super::{FeedState, Gap};

impl FeedState {
    /// The state of a partition whose pairs come from several partitions; `has` tells of a pair's store key
    /// that it is one of them.
    ///
    /// Marks stand in every partition, so the states differ in the gaps of pairs. Where a producer died
    /// between two partitions, one of them lacks the last clock mark: the earliest clock holds, because
    /// every pair is healthy up to it.
    ///
    /// # Errors
    /// `None` without a state, or while one has the rest of a mark to process.
    pub fn merged(states: &[Self], has: impl Fn(&[u8]) -> bool) -> Option<Self> {
        if states.iter().any(|state| state.work.is_some()) {
            return None;
        }
        let mut merged = states.iter().min_by_key(|state| state.mark.healthy_until)?.clone();
        merged.gaps.clear();
        for state in states {
            for gap in &state.gaps {
                let is_here = gap.pair.is_empty() || has(&gap.pair);
                if is_here && !merged.gaps.contains(gap) {
                    merged.gaps.push(gap.clone());
                }
            }
        }
        let latest = |time: fn(&Self) -> Timestamp| states.iter().map(time).max();
        merged.forgotten_until = latest(|state| state.forgotten_until)?;
        merged.overflow_until = latest(|state| state.overflow_until)?;
        merged.spilled_until = latest(|state| state.spilled_until)?;
        merged.gaps.sort_by(|a: &Gap, b: &Gap| {
            (a.from, a.until, &a.pair).cmp(&(b.from, b.until, &b.pair))
        });
        // Each forgets the gap that ends first.
        while merged.overflow() {}
        Some(merged)
    }
}

#[cfg(test)]
mod tests {
    use schemas::FeedMark;

    use super::super::Work;
    use super::*;

    fn mark(from: i64, until: i64) -> FeedMark {
        let healthy = FeedMark::healthy("feed", Timestamp(until), Timestamp(until));
        FeedMark { healthy_from: Some(Timestamp(from)), ..healthy }
    }

    fn gap(pair: &[u8], from: i64) -> Gap {
        let until = Timestamp(from + 10);
        Gap { pair: pair.into(), from: Timestamp(from), until, ids: None, missing: 0 }
    }

    fn state(until: i64, gaps: &[Gap]) -> FeedState {
        let mut state = FeedState::new(&mark(0, until));
        state.tick(&mark(0, until));
        for gap in gaps {
            assert!(state.add(gap.clone()));
        }
        state
    }

    #[test]
    fn a_partition_has_the_gaps_of_its_pairs_and_the_earliest_clock() {
        let (of_all, a, b) = (gap(b"", 100), gap(b"a", 50), gap(b"b", 70));
        let states = [state(1_000, &[of_all.clone(), a.clone()]), state(900, &[b, of_all.clone()])];
        let merged = FeedState::merged(&states, |pair| pair == b"a").unwrap();
        assert_eq!(merged.clock(), Some(Timestamp(900)));
        assert_eq!(merged.gaps, [a, of_all]);
        assert_eq!(merged, FeedState::of_mark(merged.to_mark()).unwrap());
    }

    #[test]
    fn too_many_gaps_are_forgotten_and_say_so() {
        let gaps = |first: i64| (first..first + 200).map(|n| gap(b"a", n * 20)).collect::<Vec<_>>();
        let states = [state(100_000, &gaps(0)), state(100_000, &gaps(200))];
        let merged = FeedState::merged(&states, |_| true).unwrap();
        assert_eq!(merged.gaps.len(), super::super::MAX_GAPS);
        assert_eq!(
            merged.overflow_until,
            Timestamp(143 * 20 + 10),
            "the end of the last that is gone"
        );
    }

    #[test]
    fn an_unfinished_mark_has_no_merged_state() {
        let mut unfinished = state(1_000, &[]);
        unfinished.set_work(Some(Work::new(&mark(0, 1_000))));
        assert_eq!(FeedState::merged(&[state(1_000, &[]), unfinished], |_| true), None);
        assert_eq!(FeedState::merged(&[], |_| true), None);
    }
}
