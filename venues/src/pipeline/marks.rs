//! The gaps of a feed, and the clock of its venue.

use rustc_hash::{FxHashMap, FxHashSet};
use schemas::{PairKey, Timestamp};

/// Pairs remembered. Past it, new ones are not watched: a venue that makes up names must not fill
/// memory. The largest venue lists about 4,000.
pub(super) const MAX_PAIRS: usize = 100_000;

/// The minimum milliseconds between two clock marks of a feed.
const CLOCK_INTERVAL_MS: i64 = 1000;

/// Trades that a feed lost.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct IdGap {
    /// The last id seen before.
    pub after: i64,
    /// How many ids are missing.
    pub missing: i64,
    /// When the last trade before was.
    pub from: Timestamp,
    /// Just past the first trade after: the missing ones may share its millisecond.
    pub until: Timestamp,
}

/// Finds missing trades where ids are dense.
///
/// Invariant: the id held for a pair never decreases, so a repeated or late trade is never a gap.
/// It outlives a connection: trades lost between two connections show at the next trade.
///
/// ```
/// use venues::pipeline::Continuity;
/// use schemas::{PairKey, Timestamp};
/// let pair = PairKey::new("BTC", "USD", "coinbase");
/// let mut continuity = Continuity::default();
/// assert_eq!(continuity.observe(&pair, 7, Timestamp(1000)), None);
/// assert_eq!(continuity.observe(&pair, 8, Timestamp(1001)), None);
/// assert_eq!(continuity.observe(&pair, 7, Timestamp(1000)), None);
/// assert_eq!(continuity.observe(&pair, 11, Timestamp(1005)).map(|gap| gap.missing), Some(2));
/// ```
#[derive(Debug, Default)]
pub struct Continuity {
    newest: FxHashMap<PairKey, (i64, Timestamp)>,
}

impl Continuity {
    /// Takes note of a trade; the gap before it, if there is one.
    pub fn observe(&mut self, pair: &PairKey, id: i64, time: Timestamp) -> Option<IdGap> {
        let Some((newest, newest_time)) = self.newest.get_mut(pair) else {
            if self.newest.len() < MAX_PAIRS {
                self.newest.insert(pair.clone(), (id, time));
            }
            return None;
        };
        if id <= *newest {
            return None;
        }
        let (after, from) = (*newest, *newest_time);
        (*newest, *newest_time) = (id, time);
        let missing = id.saturating_sub(after) - 1;
        // The venue's clock may have gone back: the gap is a span all the same.
        let until = Timestamp(time.max(from).0.saturating_add(1));
        (missing > 0).then_some(IdGap { after, missing, from, until })
    }
}

/// A stretch of time in which a feed was healthy.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Healthy {
    /// The start: the clock mark before, or the first clock of the connection.
    pub from: Timestamp,
    /// The end.
    pub until: Timestamp,
}

/// The clock of a feed: the earliest of its pairs' heartbeats.
///
/// The messages of a connection come in order, so a heartbeat of a pair says that everything of
/// that pair before it has come. The feed is as far as the pair that is least far.
///
/// Invariants:
/// - The marked time never decreases, and two marks are at least a second apart.
/// - No mark is due while a pair that should have a heartbeat has none.
#[derive(Debug, Default)]
pub struct FeedClock {
    expected: FxHashSet<PairKey>,
    heard: FxHashMap<PairKey, Timestamp>,
    told: Option<Timestamp>,
    /// Since when the first telling of all was healthy.
    began: Option<Timestamp>,
    /// Since when the connection is healthy without a break.
    since: Option<Timestamp>,
    /// Subscriptions stand: the venue's clock covers our pairs.
    open: bool,
}

impl FeedClock {
    /// The pairs that have heartbeats from now on.
    pub fn expect(&mut self, pairs: impl Iterator<Item = PairKey>) {
        self.open = true;
        self.expected = pairs.take(MAX_PAIRS).collect();
        self.heard.retain(|pair, _| self.expected.contains(pair));
    }

    /// The connection is lost: every pair needs a heartbeat again.
    pub fn reset(&mut self) {
        self.open = false;
        self.expected.clear();
        self.heard.clear();
        self.since = None;
    }

    /// Takes note of a clock that speaks for the whole connection; how far the feed is healthy when
    /// that is due to be told. Nothing before the connection's subscriptions stand.
    pub fn connection(&mut self, time: Timestamp) -> Option<Healthy> {
        if self.open { self.tell(time) } else { None }
    }

    /// Notes a heartbeat; the healthy span when a mark is due.
    pub fn heartbeat(&mut self, pair: PairKey, time: Timestamp) -> Option<Healthy> {
        if !self.expected.contains(&pair) {
            return None;
        }
        self.heard.insert(pair, time);
        if self.heard.len() < self.expected.len() {
            return None;
        }
        let time = *self.heard.values().min()?;
        self.tell(time)
    }

    fn tell(&mut self, time: Timestamp) -> Option<Healthy> {
        let from = *self.since.get_or_insert(time);
        if self.told.is_some_and(|told| time.0 < told.0.saturating_add(CLOCK_INTERVAL_MS)) {
            return None;
        }
        self.began.get_or_insert(from);
        (self.told, self.since) = (Some(time), Some(time));
        Some(Healthy { from, until: time })
    }

    /// The start of the first span that was marked.
    pub fn began(&self) -> Option<Timestamp> {
        self.began
    }

    /// The time of the last mark.
    pub fn told(&self) -> Option<Timestamp> {
        self.told
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn pair(base: &str) -> PairKey {
        PairKey::new(base, "USD", "coinbase")
    }

    #[test]
    fn a_gap_lies_between_the_trades_around_it() {
        let mut continuity = Continuity::default();
        continuity.observe(&pair("BTC"), 10, Timestamp(500));
        let gap = continuity.observe(&pair("BTC"), 13, Timestamp(700));
        let expected = IdGap { after: 10, missing: 2, from: Timestamp(500), until: Timestamp(701) };
        assert_eq!(gap, Some(expected));
        assert_eq!(continuity.observe(&pair("ETH"), 99, Timestamp(700)), None, "its first trade");
        // Trades whose times go back: an empty span would not be accepted as a gap.
        let back = continuity.observe(&pair("ETH"), 101, Timestamp(600));
        let span = back.map(|gap| (gap.from, gap.until));
        assert_eq!(span, Some((Timestamp(700), Timestamp(701))));
        assert_eq!(continuity.observe(&pair("BTC"), 12, Timestamp(600)), None, "late, not lost");
        assert_eq!(continuity.observe(&pair("BTC"), i64::MIN, Timestamp(0)), None);
        assert!(continuity.observe(&pair("BTC"), i64::MAX, Timestamp(i64::MAX)).is_some());
    }

    #[test]
    fn the_clock_waits_for_every_pair_and_for_a_second() {
        let told = |from, until| Some(Healthy { from: Timestamp(from), until: Timestamp(until) });
        let mut clock = FeedClock::default();
        assert_eq!(clock.heartbeat(pair("BTC"), Timestamp(1000)), None, "nothing is expected yet");
        clock.expect([pair("BTC"), pair("ETH")].into_iter());
        assert_eq!(clock.heartbeat(pair("BTC"), Timestamp(2000)), None);
        assert_eq!(clock.heartbeat(pair("ETH"), Timestamp(1500)), told(1500, 1500));
        assert_eq!(clock.heartbeat(pair("ETH"), Timestamp(2400)), None, "BTC is at 2000");
        assert_eq!(clock.heartbeat(pair("BTC"), Timestamp(3000)), None, "ETH is at 2400");
        assert_eq!(clock.heartbeat(pair("ETH"), Timestamp(3500)), told(1500, 3000));
        clock.reset();
        clock.expect([pair("BTC"), pair("ETH")].into_iter());
        assert_eq!(clock.heartbeat(pair("BTC"), Timestamp(9000)), None, "ETH is not heard again");
        assert_eq!(clock.told(), Some(Timestamp(3000)));
        let again = clock.heartbeat(pair("ETH"), Timestamp(8000));
        assert_eq!(again, told(8000, 8000), "what was between is not known");
    }

    proptest! {
        #[test]
        fn all_missing_ids_are_counted_once(ids in proptest::collection::vec(0i64..200, 1..60)) {
            let mut continuity = Continuity::default();
            let missing: i64 = ids
                .iter()
                .filter_map(|&id| continuity.observe(&pair("BTC"), id, Timestamp(id)))
                .map(|gap| gap.missing)
                .sum();
            // Every id between the first and the largest that was not a new largest one.
            let mut records = vec![ids[0]];
            for &id in &ids {
                if id > records[records.len() - 1] {
                    records.push(id);
                }
            }
            let span = records[records.len() - 1] - records[0] + 1;
            prop_assert_eq!(missing, span - i64::try_from(records.len()).unwrap());
        }
    }
}
