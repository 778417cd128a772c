//! The quote in force: a function of the newest quote of a pair and of its book's state.

use schemas::{BookState, Decimal, Timestamp, TopOfBook};

use crate::operators::feed::Span;

/// A quote with the time in which it is in force.
///
/// ```text
/// quote ──────────────────────────► next quote, or the loss of sync
///   since         in force             until; not known yet for the newest one in sync
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct InForce {
    /// The pair's time of the quote.
    pub(super) since: Timestamp,
    /// The end, exclusive.
    pub(super) until: Option<Timestamp>,
    /// Spread and mid; `None` when a side is empty.
    pub(super) measures: Option<(Decimal, Decimal)>,
}

impl InForce {
    /// The newest quote of a pair.
    pub(super) fn of(top: &TopOfBook) -> Self {
        Self {
            since: top.since,
            until: (top.state == BookState::OutOfSync).then_some(top.clock),
            measures: top.spread().zip(top.mid()),
        }
    }

    /// The same, ended by a quote at that time unless it had ended before.
    pub(super) fn ended(self, at: Timestamp) -> Self {
        Self { until: self.until.or(Some(at)), ..self }
    }

    /// Milliseconds in force within a window; the rest of the window where the end is not known.
    pub(super) fn ms_within(&self, (start, end): Span) -> u32 {
        let from = self.since.max(start);
        let until = self.until.map_or(end, |until| until.min(end));
        // A window has a day at most.
        u32::try_from(until.0.saturating_sub(from.0)).unwrap_or(0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_time_in_force_is_cut_to_the_window() {
        let ms = |since: i64, until: Option<i64>| {
            let until = until.map(Timestamp);
            let quote = InForce { since: Timestamp(since), until, measures: None };
            quote.ms_within((Timestamp(100), Timestamp(200)))
        };
        for (since, until, expected) in [
            (0, None, 100),
            (150, None, 50),
            (200, None, 0),
            (250, None, 0),
            (0, Some(50), 0),
            (0, Some(150), 50),
            (120, Some(150), 30),
            (120, Some(120), 0),
            (120, Some(300), 80),
        ] {
            assert_eq!(ms(since, until), expected, "{since} to {until:?}");
        }
    }
}
