//! Requests for trades of the past, and their answers.
//!
//! | venue | cursor of a page | between requests | documented limit |
//! |---|---|---|---|
//! | Coinbase | ids below it | 250 ms | 8 a second |
//! | Binance | the first id | 500 ms | 240 a minute: 6,000 of weight, 25 each |
//! | Kraken | a time, then ids select | 1 s | 1 a second |
//! | Deribit | the first id, and the last | 250 ms | 20 a second |
//!
//! Invariant: a fetched trade equals the event that the feed would have made of it, except the
//! sequence number of its message, which only Coinbase's feed has.

use std::time::Duration;

use schemas::{FeedMark, MarketEvent, PairKey, Timestamp};

use crate::malformed::Result;
use crate::request::HttpRequest;

/// Trades that every venue gives in one answer.
pub const PAGE_SIZE: u32 = 1000;
/// The longest wait that a venue may ask for: Binance bans for three days at most.
pub const MAX_WAIT: Duration = Duration::from_hours(72);

/// How a venue is asked for trades of the past.
#[derive(Debug)]
pub struct TradeHistory {
    /// The cursor of the first page: an id or a time.
    pub first_cursor: fn(&MissingTrades) -> i64,
    /// The request for the page at a cursor.
    pub request: fn(&MissingTrades, i64) -> HttpRequest,
    /// The answer for the page at a cursor, received at a time.
    pub parse: fn(&MissingTrades, i64, &str, Timestamp) -> Result<HistoryAnswer>,
    /// The time between two requests: at most half of the limit, except Kraken's whole second.
    pub pace: Duration,
}

/// Trades that a feed missed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MissingTrades {
    /// The pair.
    pub pair: PairKey,
    /// The first id.
    pub first: i64,
    /// The last id.
    pub last: i64,
    /// The time of the trade before the first.
    pub since: Timestamp,
}

impl MissingTrades {
    /// The trades that a gap's mark says are missing.
    pub fn of(pair: &PairKey, mark: &FeedMark) -> Option<Self> {
        let (first, count) = (mark.first_missing_id?, mark.missing?);
        let last = first.checked_add(count.checked_sub(1)?)?;
        let since = mark.gap_from?;
        (first <= last).then(|| Self { pair: pair.clone(), first, last, since })
    }

    /// The number of trades.
    pub fn count(&self) -> u64 {
        self.last.abs_diff(self.first).saturating_add(1)
    }

    /// The page of an answer whose ids grow from page to page: the wanted trades, and the next
    /// cursor as `next` makes it of the newest id.
    pub(crate) fn ascending(&self, trades: Vec<MarketEvent>, next: impl Fn(i64) -> i64) -> Page {
        let newest = trades.iter().filter_map(|event| event.trade_id).max();
        let next = newest.filter(|newest| *newest < self.last).map(next);
        Page { trades: self.wanted(trades), next }
    }

    /// The trades of an answer that are missing.
    pub(crate) fn wanted(&self, mut trades: Vec<MarketEvent>) -> Vec<MarketEvent> {
        let ids = self.first..=self.last;
        trades.retain(|event| event.trade_id.is_some_and(|id| ids.contains(&id)));
        trades
    }
}

/// The answer of a venue.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum HistoryAnswer {
    /// Trades.
    Page(Page),
    /// The venue is rate limiting or not available.
    RetryAfter {
        /// The venue's reason.
        reason: String,
        /// The time to wait.
        wait: Duration,
    },
    /// The venue refused the request, with its reason.
    Refused(String),
}

/// Some of the missing trades.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Page {
    /// The trades.
    pub trades: Vec<MarketEvent>,
    /// The cursor of the next page, if there may be one.
    pub next: Option<i64>,
}

#[cfg(test)]
#[path = "history_tests.rs"]
mod tests;
