//! Rows for windows without trades, between stored candles.
//!
//! ```text
//! stored   A     .     .     B          C(gap)   .     D      clock
//! filled   A  [A.close, A.close]  B     C               D     up to the last window that has closed
//! ```
//!
//! A filled row states that no trade happened, which is unknown while the feed was down. Therefore
//! no row is filled after a candle marked `gap`, before such a candle, or in the feed's last
//! outage. After that outage, filling resumes with the next candle.

use schemas::{Candle, Decimal, Timestamp};

use crate::api::rows::CandleRow;
use crate::operators::{Interval, is_closed};

/// The content of a row without a candle.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Fill {
    /// No row.
    None,
    /// The close of the candle before.
    Previous,
    /// Null.
    Null,
}

/// The fill of a page, and its bounds.
#[derive(Clone, Copy, Debug)]
pub(super) struct Filling {
    pub(super) fill: Fill,
    pub(super) interval: Interval,
    /// The first `open_time` of the page.
    pub(super) from: Timestamp,
    /// Before this `open_time`.
    pub(super) to: Timestamp,
    /// The greater of the pair's newest event and its feed's clock: windows before it are closed.
    pub(super) clock: Timestamp,
    /// The last outage of the feed.
    pub(super) outage: Option<(Timestamp, Timestamp)>,
    /// Rows of the page, and one more that marks the next page.
    pub(super) limit: usize,
}

/// A row, and the stored candle that it is or follows.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Filled {
    pub(super) row: CandleRow,
    /// The `open_time` of that candle.
    pub(super) anchor: Timestamp,
}

#[derive(Clone, Copy)]
struct Anchor {
    open_time: Timestamp,
    close: Decimal,
    gap: bool,
}

impl Anchor {
    fn new((open_time, candle): &(Timestamp, Candle)) -> Self {
        Self { open_time: *open_time, close: candle.close, gap: candle.gap }
    }
}

impl Filling {
    /// The rows of a page: `candles` in the order of time, after `before`.
    pub(super) fn rows(
        &self,
        before: Option<&(Timestamp, Candle)>,
        candles: &[(Timestamp, Candle)],
    ) -> Vec<Filled> {
        let mut rows = Vec::new();
        let mut anchor = before.map(Anchor::new);
        for candle in candles {
            if let Some(anchor) = anchor.filter(|_| !candle.1.gap) {
                self.between(anchor, candle.0, &mut rows);
            }
            if rows.len() >= self.limit {
                break;
            }
            anchor = Some(Anchor::new(candle));
            let row = CandleRow::stored(self.interval, candle.0, &candle.1);
            rows.push(Filled { row, anchor: candle.0 });
        }
        if let Some(anchor) = anchor.filter(|_| candles.len() < self.limit) {
            self.between(anchor, self.to, &mut rows);
        }
        rows.truncate(self.limit);
        rows
    }

    /// Adds the closed windows between `anchor` and `until`, up to the first that the outage
    /// overlaps.
    fn between(&self, anchor: Anchor, until: Timestamp, rows: &mut Vec<Filled>) {
        if self.fill == Fill::None || anchor.gap {
            return;
        }
        let length = self.interval.length_ms();
        let price = (self.fill == Fill::Previous).then_some(anchor.close);
        let mut start = Timestamp(anchor.open_time.0.saturating_add(length));
        while start < until && rows.len() < self.limit {
            let end = Timestamp(start.0.saturating_add(length));
            let lost = self.outage.is_some_and(|(from, to)| from < end && start < to);
            if lost || !is_closed(self.interval, start, self.clock) {
                return;
            }
            if start >= self.from {
                let row = CandleRow::filled(start, price);
                rows.push(Filled { row, anchor: anchor.open_time });
            }
            start = end;
        }
    }
}

#[cfg(test)]
mod tests {
    use schemas::MarketEvent;

    use super::*;
    use crate::operators::single;

    const MINUTE: i64 = 60_000;

    fn candle(minute: i64, price: &str, gap: bool) -> (Timestamp, Candle) {
        let time = Timestamp(minute * MINUTE);
        let event = MarketEvent::trade(price.parse().unwrap(), Decimal::ONE, time);
        (time, Candle { gap, ..single(&event, 0) })
    }

    fn previous() -> Filling {
        Filling {
            fill: Fill::Previous,
            interval: Interval::Minute,
            from: Timestamp(0),
            to: Timestamp(i64::MAX),
            clock: Timestamp(0),
            outage: None,
            limit: 100,
        }
    }

    /// Minute and close of each row; a stored one has a star.
    fn shown(rows: &[Filled]) -> Vec<String> {
        let show = |row: &CandleRow| {
            let close = row.close.map_or("null".into(), |close| close.0.to_string());
            let star = if row.filled == Some(true) { "" } else { "*" };
            format!("{}{star} {close}", row.open_time.0.0 / MINUTE)
        };
        rows.iter().map(|filled| show(&filled.row)).collect()
    }

    #[test]
    fn quiet_windows_have_the_close_before_them_up_to_what_is_over() {
        let candles = [candle(1, "7", false), candle(4, "8", false)];
        // Minute 5 closes five seconds after its end.
        let clock = Timestamp(6 * MINUTE + 5_000);
        let filling = Filling { clock, ..previous() };
        let rows = filling.rows(None, &candles);
        assert_eq!(shown(&rows), ["1* 7", "2 7", "3 7", "4* 8", "5 8"]);
        let filling = Filling { fill: Fill::Null, ..filling };
        assert_eq!(shown(&filling.rows(None, &candles))[1], "2 null");
        let filling = Filling { fill: Fill::None, ..filling };
        assert_eq!(shown(&filling.rows(None, &candles)), ["1* 7", "4* 8"]);
    }

    #[test]
    fn nothing_is_filled_across_what_the_feed_lost() {
        let clock = Timestamp(100 * MINUTE);
        let to = Timestamp(8 * MINUTE);
        let filling = Filling { to, clock, ..previous() };
        let gap_after = [candle(1, "7", true), candle(4, "8", false), candle(6, "9", true)];
        assert_eq!(shown(&filling.rows(None, &gap_after)), ["1* 7", "4* 8", "6* 9"]);
        let outage = Some((Timestamp(3 * MINUTE + 1), Timestamp(3 * MINUTE + 2)));
        let filling = Filling { outage, ..filling };
        let quiet = [candle(1, "7", false), candle(5, "8", false)];
        assert_eq!(shown(&filling.rows(None, &quiet)), ["1* 7", "2 7", "5* 8", "6 8", "7 8"]);
    }

    #[test]
    fn a_page_goes_on_from_the_candle_before_it() {
        let clock = Timestamp(100 * MINUTE);
        let all = [candle(1, "7", false), candle(5, "8", false)];
        let first = Filling { clock, limit: 3, ..previous() }.rows(None, &all);
        assert_eq!(shown(&first), ["1* 7", "2 7", "3 7"]);
        let from = first[2].row.open_time.0;
        let second = Filling { clock, from, limit: 3, ..previous() }.rows(Some(&all[0]), &all[1..]);
        assert_eq!(shown(&second), ["3 7", "4 7", "5* 8"]);
    }
}
