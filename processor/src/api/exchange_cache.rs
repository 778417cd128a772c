//! The state of each exchange, gathered from every pair at most ten times a second.
//!
//! ```text
//! live    the feed's clock moves, and so do its prices
//! quiet   the feed's clock moves, and the newest event is more than a minute behind it
//! dead    the feed's last mark is older than half a minute by the local clock
//! ```
//!
//! An exchange whose events come without a feed's clock (files, posted prices) is live for a minute
//! after each receipt and quiet then. It is never dead, because it has no heartbeat to miss.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};

use schemas::{BookState, FeedMark, LatestPrice, PairKey, Timestamp, TopOfBook};
use serde::Serialize;

use super::error::Result;
use super::extent::Extent;
use crate::operators::FeedState;
use crate::store_keys;

/// The age of the newest event, behind the feed's clock, from which an exchange is quiet.
const QUIET_AFTER_MS: i64 = 60_000;
/// The age of the last mark from which a feed is dead. A feed marks its clock each second, so a
/// longer silence covers a lost connection and its first attempts to reconnect.
pub(super) const DEAD_AFTER_MS: i64 = 30_000;
/// How long gathered exchanges are reused when a request has no `max_lag_ms`: one commit interval
/// of the writer.
const KEPT_MS: i64 = 100;

/// Whether a feed works; see the module.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub(super) enum Health {
    Live,
    Quiet,
    Dead,
}

/// Pairs whose books are out of sync and that are named: a screen full. The count has all of them.
const MAX_NAMED: usize = 20;

/// The prices, the books and the feed of one exchange.
#[derive(Debug, Default)]
pub(super) struct ExchangeState {
    pub(super) pairs: usize,
    pub(super) books: BookStates,
    pub(super) last_event: Option<Timestamp>,
    pub(super) last_receipt: Option<Timestamp>,
    pub(super) mark: Option<FeedMark>,
    pub(super) gap: Option<LastGap>,
}

/// The states of the books of one exchange.
#[derive(Debug, Default)]
pub(super) struct BookStates {
    /// Pairs with quotes.
    pub(super) pairs: usize,
    /// Pairs whose book is out of sync.
    pub(super) out_of_sync: usize,
    /// The first [`MAX_NAMED`] of them in the order of the stores.
    pub(super) named: Vec<PairKey>,
}

/// The last gap of a feed that is not filled.
#[derive(Clone, Debug)]
pub(super) struct LastGap {
    pub(super) from: Timestamp,
    pub(super) until: Timestamp,
    pub(super) reason: String,
}

impl LastGap {
    fn of(mark: &FeedMark) -> Option<Self> {
        let feed = FeedState::of_mark(mark.clone()).ok()?;
        if let Some(gap) = feed.last_gap() {
            let pair = store_keys::read_pair(&gap.pair)
                .map(|pair| format!("{}-{}", pair.base, pair.quote));
            let reason = match (pair, gap.missing) {
                (Some(pair), 1..) => format!("{pair}: {} trades missing", gap.missing),
                (Some(pair), _) => pair,
                (None, _) => mark.reason.clone(),
            };
            return Some(Self { from: gap.from, until: gap.until, reason });
        }
        let (from, until) = mark.gap_from.zip(mark.gap_until)?;
        Some(Self { from, until, reason: mark.reason.clone() })
    }
}

impl ExchangeState {
    /// Adds a pair.
    pub(super) fn price(&mut self, latest: &LatestPrice) {
        self.pairs += 1;
        self.last_event = self.last_event.max(Some(latest.event_time));
        self.last_receipt = self.last_receipt.max(Some(latest.received_at));
    }

    /// Adds the top of a book. A quote is an event: an exchange whose quotes move is live.
    pub(super) fn top(&mut self, pair: PairKey, top: &TopOfBook) {
        self.last_event = self.last_event.max(Some(top.event_time));
        self.last_receipt = self.last_receipt.max(Some(top.received_at));
        self.books.pairs += 1;
        if top.state == BookState::InSync {
            return;
        }
        self.books.out_of_sync += 1;
        if self.books.named.len() < MAX_NAMED {
            self.books.named.push(pair);
        }
    }

    /// Takes a mark. Every partition has the marks, and may be behind another.
    pub(super) fn mark(&mut self, mark: FeedMark) {
        if let Some(gap) = LastGap::of(&mark)
            && self.gap.as_ref().is_none_or(|known| known.until < gap.until)
        {
            self.gap = Some(gap);
        }
        let newest = self.mark.as_ref().map(|mark| mark.healthy_until);
        if newest < Some(mark.healthy_until) {
            self.mark = Some(mark);
        }
    }

    /// The health of the feed by the local clock.
    pub(super) fn health(&self, now: Timestamp) -> Health {
        let older = |time: Option<Timestamp>, clock: Timestamp, by: i64| {
            time.is_none_or(|time| clock.0.saturating_sub(time.0) > by)
        };
        match &self.mark {
            Some(mark) if older(Some(mark.received_at), now, DEAD_AFTER_MS) => Health::Dead,
            Some(mark) if older(self.last_event, mark.healthy_until, QUIET_AFTER_MS) => {
                Health::Quiet
            }
            None if older(self.last_receipt, now, QUIET_AFTER_MS) => Health::Quiet,
            _ => Health::Live,
        }
    }
}

/// Exchanges by name.
pub(super) type ByExchange = BTreeMap<String, ExchangeState>;

/// The exchanges that were gathered last. The lock is held while they are gathered, so that
/// requests that arrive meanwhile wait for the result instead of gathering again.
#[derive(Default)]
pub(super) struct ExchangeCache(Mutex<Option<CachedExchanges>>);

struct CachedExchanges {
    at: Timestamp,
    exchanges: Arc<ByExchange>,
    /// The extent of the stores that they were gathered from.
    extent: Extent,
}

impl ExchangeCache {
    /// The exchanges and their extent: those of the last [`KEPT_MS`] if `may_be_kept`, or new ones.
    pub(super) fn get(
        &self,
        now: Timestamp,
        may_be_kept: bool,
        gather: impl FnOnce() -> Result<(ByExchange, Extent)>,
    ) -> Result<(Arc<ByExchange>, Extent)> {
        let mut cached = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(CachedExchanges { at, exchanges, extent }) = &*cached
            && may_be_kept
            && (at.0..at.0.saturating_add(KEPT_MS)).contains(&now.0)
        {
            return Ok((Arc::clone(exchanges), extent.clone()));
        }
        let (exchanges, extent) = gather()?;
        let exchanges = Arc::new(exchanges);
        *cached = Some(CachedExchanges {
            at: now,
            exchanges: Arc::clone(&exchanges),
            extent: extent.clone(),
        });
        Ok((exchanges, extent))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn known(last_event: i64, healthy_until: i64, received_at: i64) -> ExchangeState {
        ExchangeState {
            pairs: 1,
            last_event: Some(Timestamp(last_event)),
            last_receipt: Some(Timestamp(last_event)),
            mark: Some(FeedMark::healthy("1", Timestamp(healthy_until), Timestamp(received_at))),
            gap: None,
            books: BookStates::default(),
        }
    }

    #[test]
    fn a_feed_is_live_quiet_or_dead_by_its_clock() {
        let now = Timestamp(1_000_000);
        assert_eq!(known(5_000, 65_000, 970_000).health(now), Health::Live);
        assert_eq!(known(5_000, 65_001, 970_000).health(now), Health::Quiet);
        assert_eq!(known(5_000, 5_000, 969_999).health(now), Health::Dead);
    }

    #[test]
    fn the_gap_that_ends_last_is_told_of_whatever_partition() {
        let pair = schemas::PairKey::new("BTC", "USD", "coinbase");
        let lost = |from: i64, missing| {
            let lost = FeedMark {
                gap_from: Some(Timestamp(from)),
                gap_until: Some(Timestamp(from + 10)),
                first_missing_id: Some(7),
                missing: Some(missing),
                ..FeedMark::healthy("1", Timestamp(5), Timestamp(5))
            };
            let mut feed = FeedState::new(&lost);
            feed.add(crate::operators::Gap::of(&lost, &store_keys::pair_key(&pair)).unwrap());
            feed.to_mark()
        };
        let mut known = ExchangeState::default();
        for mark in [lost(100, 3), lost(300, 2), lost(200, 9)] {
            known.mark(mark);
        }
        let gap = known.gap.unwrap();
        assert_eq!((gap.until, gap.reason.as_str()), (Timestamp(310), "BTC-USD: 2 trades missing"));
    }

    #[test]
    fn without_a_feeds_clock_an_exchange_is_never_dead() {
        let without = |received: i64| ExchangeState { mark: None, ..known(received, 0, 0) };
        assert_eq!(without(100).health(Timestamp(60_100)), Health::Live);
        assert_eq!(without(100).health(Timestamp(60_101)), Health::Quiet);
    }
}
